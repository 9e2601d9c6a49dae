/* Requests that bring a VM up: create and relaunch. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/auth.h"
#include "api/core/disks.h"
#include "api/core/policy.h"
#include "api/core/ssh_line.h"
#include "api/core/timers.h"

void tag_list_done(struct tag_list *t)
{
	while (t->n)
		free(t->v[--t->n]);
}

/* Every C_T_TAG of the request. */
int wish_tags(const struct ask *a, struct tag_list *out, struct fault *f)
{
	struct wire_iter it;
	struct wire_field fd;

	wire_iter_init(&it, a->m->p, a->m->n);
	while (wire_next(&it, &fd)) { /* as many as the frame holds */
		char *tag;
		int err;

		if (fd.tag != C_T_TAG)
			continue;
		if (out->n == TAGS_MAX)
			return fault_set(f, -EINVAL, "at most %u tags are possible", TAGS_MAX);
		if (!tag_is_valid((const char *)fd.p, fd.n))
			return fault_set(f, -EINVAL, "a tag must be 1 to %u bytes of UTF-8 text without control characters", TAG_MAX);
		tag = wire_field_dup(&fd);
		if (!tag)
			return fault_errno(f, -ENOMEM, "tags");
		out->v[out->n++] = tag;
		err = strncmp(tag, "name=", 5) == 0 ? tags_check_name(a, NULL, tag, f) : 0;
		if (err)
			return err;
	}
	return 0;
}

static bool has_tag(const struct wire_msg *m, uint16_t tag)
{
	struct wire_field f;

	return wire_get(m, tag, &f);
}

/* Sizes: at most the group's, at least what boots. */
int wish_sizes(const struct ask *a, struct vm_wish *w, struct fault *f)
{
	uint64_t v = 0;

	if (wire_get_u64(a->m, C_T_RAM_BYTES, &v) && v) {
		if (v > w->group->ram_bytes)
			return fault_set(f, -EINVAL, "'ram_bytes' %llu is above host group '%s's %llu: lower it", (unsigned long long)v, w->group->name,
					 (unsigned long long)w->group->ram_bytes);
		if (v < RAM_MIN_BYTES || v % 4096)
			return fault_set(f, -EINVAL, "'ram_bytes' %llu must be at least %llu and a multiple of 4096", (unsigned long long)v, RAM_MIN_BYTES);
		w->ram_bytes = v;
	}
	if (wire_get_u64(a->m, C_T_CPUS, &v) && v) {
		if (v > w->group->vcpus)
			return fault_set(f, -EINVAL, "'cpus' %llu is above host group '%s's %u: lower it", (unsigned long long)v, w->group->name,
					 w->group->vcpus);
		w->vcpus = (unsigned)v;
	}
	return 0;
}

/* One limit of the network card: at most the group's. */
static int take_limit(const struct ask *a, uint16_t tag, const char *name, uint64_t least, uint64_t groups, uint64_t *to, struct fault *f)
{
	uint64_t v = 0;

	if (!wire_get_u64(a->m, tag, &v) || !v)
		return 0;
	if (v < least || v > NET_RATE_MAX)
		return fault_set(f, -EINVAL, "'network.%s' is %llu: at least %llu", name, (unsigned long long)v, (unsigned long long)least);
	if (groups && v > groups)
		return fault_set(f, -EINVAL, "'network.%s' %llu is above its host group's %llu: lower it", name, (unsigned long long)v,
				 (unsigned long long)groups);
	*to = v;
	return 0;
}

static int take_limits(const struct ask *a, struct vm_wish *w, struct fault *f)
{
	int err = take_limit(a, C_T_NET_BYTES_S, "bytes_per_s", NET_BYTES_S_MIN, w->group->net_bytes_s, &w->net_bytes_s, f);

	return err ? err : take_limit(a, C_T_NET_PACKETS_S, "packets_per_s", 1, w->group->net_packets_s, &w->net_packets_s, f);
}

/* What this version cannot keep is refused, not forgotten. */
static int take_rest(const struct ask *a, struct vm_wish *w, char **userdata, struct fault *f)
{
	struct wire_field fd;
	char ip[ADDR_TEXT_MAX + 1];
	uint64_t v = 0;
	struct cidr c;
	int err = wire_get_str(a->m, C_T_IP, ip, sizeof(ip));

	if (wire_get_u64(a->m, C_T_GPU_COUNT, &v) && v)
		return fault_set(f, -EINVAL, "GPUs are not in this version");
	if (err != -ENOENT && (err || (ip[0] && cidr_parse(ip, addr_pool_bits(&w->group->pool), &c))))
		return fault_set(f, -EINVAL, "'ip' is no IPv4 address");
	if (!err && ip[0])
		w->addr = c.addr;
	w->persistent = wire_get_u64(a->m, C_T_PERSISTENT, &v) ? v != 0 : false;
	if (wire_get(a->m, C_T_IMAGE, &fd) && fd.n) {
		char name[IMAGE_NAME_MAX + 1];

		w->image = wire_get_str(a->m, C_T_IMAGE, name, sizeof(name)) ? NULL : images_find(&a->core->images, name);
		if (!w->image)
			return fault_set(f, -EINVAL, "'image' names no image of the store: 'mica image list' shows all");
	}
	if (!wire_get(a->m, C_T_USERDATA, &fd) || !fd.n)
		return 0;
	if (fd.n > USERDATA_MAX)
		return fault_set(f, -EINVAL, "'userdata' is longer than %u bytes", USERDATA_MAX);
	*userdata = wire_field_dup(&fd);
	w->userdata = *userdata;
	return *userdata ? 0 : fault_set(f, -EINVAL, "'userdata' holds a NUL byte");
}

/* Network rules of its own: absent is the group's. */
int wish_rules(const struct ask *a, struct vm_wish *w, struct policy_lists *l, struct fault *f)
{
	int err = policy_lists_take(l, a->m, f);

	if (!err && (l->text[0] || l->text[1]) && !group_has_rules(w->group))
		return fault_set(f, -EINVAL, "host group '%s' has network mode '%s', where 'network' rules would not hold: use a group with 'network: { mode: isolated }', or 'bridge'",
				 w->group->name, config_net_mode(w->group));
	if (!err)
		err = policy_lists_fit(l, w->group, f);
	w->allow = l->text[POLICY_ALLOW];
	w->drop = l->text[POLICY_DROP];
	return err;
}

/* Which secrets it may have: absent is all, an empty list none. */
int wish_secrets(const struct ask *a, struct vm_wish *w, struct buf *names, struct fault *f)
{
	struct wire_iter it;
	struct wire_field fd;
	unsigned n = 0;

	if (!has_tag(a->m, C_T_SECRETS_SET) && !has_tag(a->m, C_T_SECRET))
		return 0;
	wire_iter_init(&it, a->m->p, a->m->n);
	while (wire_next(&it, &fd)) { /* as many as the frame holds */
		char name[SECRET_NAME_MAX + 1] = "";

		if (fd.tag != C_T_SECRET)
			continue;
		if (n == SECRETS_MAX)
			return fault_set(f, -EINVAL, "'secrets' names more than %u", SECRETS_MAX);
		if (fd.n <= SECRET_NAME_MAX)
			memcpy(name, fd.p, fd.n);
		if (strlen(name) != fd.n || !secret_name_is_valid(name) || !secrets_find(&a->core->secrets, name))
			return fault_set(f, -EINVAL, "'secrets' names '%s', which is not there: 'mica secret list' shows all", name);
		buf_printf(names, "%s%s", n++ ? " " : "", name);
	}
	w->secrets = n ? buf_cstr(names) : "";
	return w->secrets ? 0 : fault_errno(f, -ENOMEM, "secrets");
}

/* Keys for its default user. */
static int take_ssh_keys(const struct ask *a, struct vm_wish *w, struct buf *lines, struct fault *f)
{
	struct wire_iter it;
	struct wire_field fd;

	wire_iter_init(&it, a->m->p, a->m->n);
	while (wire_next(&it, &fd)) { /* as many as the frame holds */
		int err = fd.tag == C_T_SSH_KEY ? ssh_keys_add(lines, (const char *)fd.p, fd.n) : 0;

		if (err)
			return fault_set(f, -EINVAL, err == -EINVAL ? "'ssh_keys' must be lines as in ~/.ssh/id_ed25519.pub" : "'ssh_keys' are longer than %u bytes",
					 SSH_KEYS_BYTES_MAX / 2);
	}
	w->ssh_keys = buf_len(lines) ? buf_cstr(lines) : NULL;
	return 0;
}

/* Ports of the host that lead into it: what a forward needs is needed here too. */
static int take_publish(struct ask *a, struct vm_wish *w, struct buf *lines, struct fault *f)
{
	struct wire_iter it;
	struct wire_field fd;
	int err = 0;

	wire_iter_init(&it, a->m->p, a->m->n);
	while (!err && wire_next(&it, &fd)) { /* as many as the frame holds */
		char *text = fd.tag == C_T_PUBLISH ? wire_field_dup(&fd) : NULL;

		if (fd.tag == C_T_PUBLISH)
			err = text ? publish_add(lines, text, f) : fault_set(f, -EINVAL, "'publish' holds a NUL byte");
		free(text);
	}
	w->publish = buf_len(lines) ? buf_cstr(lines) : NULL;
	return err;
}

int wish_wait(const struct ask *a, enum req_goal *goal, uint64_t *timeout_ms, struct fault *f)
{
	char wait[16] = "";
	int err = wire_get_str(a->m, C_T_WAIT, wait, sizeof(wait));

	*timeout_ms = 0;
	if (err == -ENOENT || !wait[0] || strcmp(wait, "none") == 0)
		return 0;
	if (strcmp(wait, "agent") == 0)
		*goal = GOAL_READY;
	else if (strcmp(wait, "userdata") == 0)
		*goal = GOAL_USERDATA;
	else
		return fault_set(f, -EINVAL, "'wait' must be 'agent' or 'userdata'");
	if (!wire_get_u64(a->m, C_T_TIMEOUT_MS, timeout_ms) || !*timeout_ms)
		*timeout_ms = CREATE_WAIT_MS;
	return 0;
}

/* NULL: answered. */
static const struct host_group *take_group(struct ask *a)
{
	char group[VM_NAME_MAX + 1];
	const struct host_group *g = NULL;

	if (!wire_get_str(a->m, C_T_GROUP, group, sizeof(group))) {
		if (auth_bars_group(a, group))
			return NULL;
		g = config_group(&a->core->config, group);
		if (g && g->pending) /* it is not acknowledged yet */
			g = NULL;
	}
	if (!g)
		reply_err(a->core, a->id, 404, "no host group of that name: 'mica vm group' shows all");
	return g;
}

unsigned wish_status(int err)
{
	return err == -EEXIST ? 409 : err == -ENOMEM ? 500 : 400;
}

/* The launch ends before there is a VM. */
void wish_refuse(const struct ask *a, const struct vm_wish *w, unsigned status, const char *text)
{
	metrics_launch(&a->core->metrics, w->group->name, status);
	reply_err(a->core, a->id, status, "%s", text);
}

void wish_begin(const struct ask *a, struct vm_wish *w, enum req_goal goal, uint64_t timeout_ms)
{
	struct fault f = { "" };
	unsigned status;
	struct vm *vm;

	w->token = a->token ? a->token->name : NULL;
	if (vm_create(a->core, w, &vm, &status, &f)) {
		wish_refuse(a, w, status, f.text);
	} else if (req_add(vm, a->id, a->who, goal, true, timeout_ms)) {
		wish_refuse(a, w, 500, "out of memory");
		vm_remove(vm);
	}
}

void ask_create(struct ask *a)
{
	struct vm_wish w = { .group = take_group(a) };
	enum req_goal goal = GOAL_MADE;
	struct tag_list tags = { .n = 0 };
	struct policy_lists rules = { { NULL, NULL } };
	struct fault f = { "" };
	uint64_t timeout_ms;
	char *userdata = NULL;
	struct buf secrets, keys, ports;
	int err;

	if (!w.group || (has_tag(a->m, C_T_PUBLISH) && !auth_has(a, SCOPE_NET)))
		return;
	buf_init(&ports, PUBLISH_LINES_MAX);
	buf_init(&keys, SSH_KEYS_BYTES_MAX / 2);
	buf_init(&secrets, SECRETS_MAX * (SECRET_NAME_MAX + 1));
	err = wish_wait(a, &goal, &timeout_ms, &f);
	if (!err)
		err = wish_secrets(a, &w, &secrets, &f);
	if (!err)
		err = take_ssh_keys(a, &w, &keys, &f);
	if (!err)
		err = take_publish(a, &w, &ports, &f);
	if (!err)
		err = wish_sizes(a, &w, &f);
	if (!err)
		err = take_limits(a, &w, &f);
	if (!err)
		err = take_rest(a, &w, &userdata, &f);
	if (!err)
		err = wish_rules(a, &w, &rules, &f);
	if (!err)
		err = wish_tags(a, &tags, &f);
	w.tags = (const char *const *)tags.v;
	w.n_tags = tags.n;
	if (err)
		wish_refuse(a, &w, wish_status(err), f.text);
	else
		wish_begin(a, &w, goal, timeout_ms);
	tag_list_done(&tags);
	policy_lists_done(&rules);
	buf_done(&secrets);
	buf_done(&keys);
	buf_done(&ports);
	free(userdata);
}

void ask_relaunch(struct ask *a)
{
	enum req_goal goal = GOAL_MADE;
	struct fault f = { "" };
	uint64_t timeout_ms;
	unsigned status = 500;

	if (wish_wait(a, &goal, &timeout_ms, &f)) {
		reply_err(a->core, a->id, 400, "%s", f.text);
	} else if (a->vm->state != VM_STOPPED) {
		reply_err(a->core, a->id, 409, "VM '%s' is not stopped: shut it down first", a->name);
	} else if (a->vm->commit) {
		reply_err(a->core, a->id, 409, "VM '%s' is being committed: wait for that", a->name);
	} else if (!a->vm->r.persistent && !a->vm->r.protected_) {
		reply_err(a->core, a->id, 409, "VM '%s' is not persistent, its disk is gone: delete it and launch another", a->name);
	} else if (a->vm->disk_job) {
		reply_err(a->core, a->id, 409, "the disk of VM '%s' is being exported or sparsified: try again", a->name);
	} else if (!a->vm->group) {
		reply_err(a->core, a->id, 409, "VM '%s' cannot start: its host group '%s' is not in the daemon's file any more", a->name,
			  a->vm->r.group);
	} else if (vm_disks_free(a->vm, &f)) {
		reply_err(a->core, a->id, 409, "%s", f.text);
	} else if (vm_admit(a->core, a->vm->r.ram_bytes, &status, &f)) {
		reply_err(a->core, a->id, status, "%s", f.text);
	} else {
		vm_queue(a->vm);
		if (req_add(a->vm, a->id, a->who, goal, false, timeout_ms))
			reply_err(a->core, a->id, 500, "out of memory");
		req_reached(a->vm, GOAL_MADE);
	}
}
