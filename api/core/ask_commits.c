/* Requests about commits, and for VMs that start from one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/auth.h"
#include "api/core/policy.h"

void commit_put(struct buf *b, const struct commit *k)
{
	wire_str(b, C_T_COMMIT, k->id);
	wire_str(b, C_T_VM, k->source.name);
	wire_str(b, C_T_GROUP, k->source.group);
	wire_u64(b, C_T_CREATED_NS, k->created_ns);
	for (unsigned i = 0; i < k->n_tags; i++)
		wire_str(b, C_T_TAG, k->tags[i]);
	for (unsigned i = 0; i < k->n_labels; i++) {
		size_t mark = wire_open(b, C_T_LABEL);

		wire_str(b, C_T_NAME, k->labels[i].key);
		wire_str(b, C_T_VALUE, k->labels[i].value);
		wire_close(b, mark);
	}
	wire_str(b, C_T_CACHE_KEY, k->cache_key);
}

/* ---- commit ---- */

/* A label's or tag's text; NULL: it is none. Caller frees. */
static char *text_of(const struct wire_field *fd)
{
	return tag_is_valid((const char *)fd->p, fd->n) ? wire_field_dup(fd) : NULL;
}

static int take_label(struct commit *k, const struct wire_field *fd)
{
	char key[LABEL_KEY_MAX + 1], value[LABEL_VALUE_MAX + 1];
	struct wire_msg m;

	if (wire_sub(fd, &m) || wire_get_str(&m, C_T_NAME, key, sizeof(key)) || wire_get_str(&m, C_T_VALUE, value, sizeof(value)))
		return -EINVAL;
	return commit_add_label(k, key, value);
}

static int take_word(struct commit *k, const struct wire_field *fd, struct fault *f)
{
	char *text;
	int err = 0;

	switch (fd->tag) {
	case C_T_TAG:
		text = text_of(fd);
		err = text ? commit_add_tag(k, text) : -EINVAL;
		free(text);
		return err ? fault_set(f, -EINVAL, "at most %u tags of 1 to %u bytes of text are possible", TAGS_MAX, TAG_MAX) : 0;
	case C_T_LABEL:
		err = take_label(k, fd);
		return err ? fault_set(f, -EINVAL, "at most %u labels are possible: keys of 1 to %u bytes of text without '=', values of at most %u",
				       LABELS_MAX, LABEL_KEY_MAX, LABEL_VALUE_MAX) : 0;
	case C_T_CACHE_KEY:
		free(k->cache_key);
		k->cache_key = text_of(fd);
		return k->cache_key ? 0 : fault_set(f, -EINVAL, "'cache_key' must be 1 to %u bytes of text", TAG_MAX);
	default:
		return 0;
	}
}

static int take_words(const struct ask *a, struct commit *k, struct fault *f)
{
	struct wire_iter it;
	struct wire_field fd;
	int err = 0;

	wire_iter_init(&it, a->m->p, a->m->n);
	while (!err && wire_next(&it, &fd)) /* as many as the frame holds */
		err = take_word(k, &fd, f);
	return err;
}

static void reply_commit(struct ask *a, const struct commit *k)
{
	commit_put(peer_begin_reply(&a->core->front, WIRE_OK, a->id), k);
	peer_send(&a->core->front, NULL, 0);
}

/* Can a VM like this be committed at all? false: answered. */
static bool fits(struct ask *a)
{
	struct vm *vm = a->vm;

	if (!vm->r.persistent && !vm->r.protected_)
		reply_err(a->core, a->id, 409, "VM '%s' is not persistent, and only the disks of those can be committed: launch a persistent one", a->name);
	else if (vm->state != VM_STOPPED)
		reply_err(a->core, a->id, 409, "VM '%s' is not stopped: shut it down first ('mica vm shutdown %s')", a->name, a->name);
	else if (vm->r.fixups)
		reply_err(a->core, a->id, 409, "VM '%s' is a fork that never came up: relaunch it first", a->name);
	else if (!vm->commit && (vm->helper.loop || vm->disk_job))
		reply_err(a->core, a->id, 409, "the disk of VM '%s' is in use: try again", a->name);
	else
		return true;
	return false;
}

/* It was committed, or is being. true: answered, or it waits. */
static bool is_there(struct ask *a, const struct commit *k)
{
	struct vm *vm = a->vm;
	const struct commit *was = vm->commit ? vm->commit : commits_of(&a->core->commits, vm);

	if (!was)
		return false;
	if (!commit_same_words(was, k))
		reply_err(a->core, a->id, 409, "VM '%s' was committed as '%s' with other tags, labels or cache key, and a commit never changes: "
			  "fork it and commit the fork", a->name, was->id);
	else if (vm->commit && req_add(vm, a->id, a->who, GOAL_COMMITTED, false, 0))
		reply_err(a->core, a->id, 500, "out of memory");
	else if (!vm->commit && was->source_mtime_ns != vm_disk_mtime_ns(vm))
		reply_err(a->core, a->id, 409, "VM '%s' was committed as '%s' and has run since, and a commit never changes: fork it and commit the fork", a->name, was->id);
	else if (!vm->commit)
		reply_commit(a, was);
	return true;
}

static bool key_is_taken(struct ask *a, const struct commit *k)
{
	const struct commit *has = k->cache_key ? commits_with_key(&a->core->commits, k->cache_key) : NULL;

	if (has)
		reply_err(a->core, a->id, 409, "cache key '%s' belongs to commit '%s'", k->cache_key, has->id);
	return has != NULL;
}

void ask_commit(struct ask *a)
{
	struct fault f = { "" };
	struct commit *k;
	int err;

	if (!fits(a))
		return;
	k = commit_new(a->vm->r.name);
	err = k ? take_words(a, k, &f) : fault_errno(&f, -ENOMEM, "a commit");
	if (err) {
		reply_err(a->core, a->id, wish_status(err), "%s", f.text);
	} else if (!is_there(a, k) && !key_is_taken(a, k)) {
		if (a->core->commits.count >= COMMITS_MAX)
			reply_err(a->core, a->id, 507, "there are %u commits already: delete some", COMMITS_MAX);
		else if ((err = vm_commit(a->vm, k)))
			reply_err(a->core, a->id, 500, "VM '%s' cannot be committed: %s", a->name, strerror(-err));
		else if (k = NULL, req_add(a->vm, a->id, a->who, GOAL_COMMITTED, false, 0))
			reply_err(a->core, a->id, 500, "out of memory; it is committed all the same");
	}
	commit_free(k);
}

/* ---- list ---- */

struct filter {
	char tag[TAG_MAX + 1], key[TAG_MAX + 1], source[VM_NAME_MAX + 1], mode[16];
	bool by_tag, by_key, by_source;
};

/* false: nothing can match. */
static bool take_filter(const struct ask *a, struct filter *w)
{
	const struct { uint16_t tag; char *to; size_t cap; bool *by; } rows[] = {
		{ C_T_TAG, w->tag, sizeof(w->tag), &w->by_tag }, { C_T_CACHE_KEY, w->key, sizeof(w->key), &w->by_key },
		{ C_T_SOURCE_VM, w->source, sizeof(w->source), &w->by_source } };
	int err;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		err = wire_get_str(a->m, rows[i].tag, rows[i].to, rows[i].cap);
		if (err && err != -ENOENT)
			return false;
		*rows[i].by = !err;
	}
	err = wire_get_str(a->m, C_T_MODE, w->mode, sizeof(w->mode));
	return err == -ENOENT || (!err && strcmp(w->mode, "disk") == 0);
}

static bool matches(const struct filter *w, const struct commit *k)
{
	return (!w->by_tag || commit_has_tag(k, w->tag)) && (!w->by_key || (k->cache_key && strcmp(k->cache_key, w->key) == 0)) &&
	       (!w->by_source || strcmp(k->source.name, w->source) == 0);
}

void ask_commit_list(struct ask *a)
{
	struct core *c = a->core;
	struct filter w = { .by_tag = false };
	bool any = take_filter(a, &w);

	for (const struct commit *k = c->commits.first; any && k; k = k->next) {
		if (!token_sees(a->token, k->source.group) || !matches(&w, k))
			continue;
		commit_put(peer_begin_reply(&c->front, C_ITEM, a->id), k);
		if (peer_send(&c->front, NULL, 0)) {
			reply_err(c, a->id, 503, "more is asked of the daemon than it can answer now: try again");
			return;
		}
	}
	reply_ok(c, a->id, NULL);
}

/* The commit that COMMIT names; NULL: answered. */
static struct commit *take_commit(struct ask *a)
{
	char id[RECORD_PARENT_BYTES];
	struct commit *k = wire_get_str(a->m, C_T_COMMIT, id, sizeof(id)) ? NULL : commits_find(&a->core->commits, id);

	if (k && token_sees(a->token, k->source.group))
		return k;
	reply_err(a->core, a->id, 404, "no commit of that id: 'mica vm commit list' shows all");
	return NULL;
}

/* ---- delete ---- */

struct erasing {
	struct helper helper;
	struct core *core;
	char gone[RECORD_PARENT_BYTES + 1];
};

static int erase_work(void *arg)
{
	struct erasing *e = arg;

	return commits_erase(&e->core->commits, e->gone);
}

static void erased(struct helper *h, int err)
{
	struct erasing *e = h->arg;

	if (err)
		core_say(e->core, "NOTE", "commits/%s could not be removed: %s; it goes at the next start", e->gone, strerror(-err));
	free(e);
}

static void remove_commit(struct ask *a, struct commit *k)
{
	struct core *c = a->core;
	struct erasing *e = calloc(1, sizeof(*e));
	int err = e ? commits_take_out(&c->commits, k, e->gone) : -ENOMEM;

	if (err) {
		free(e);
		reply_err(c, a->id, 500, "the commit cannot be removed: %s", strerror(-err));
		return;
	}
	e->core = c;
	e->helper.done = erased;
	e->helper.arg = e;
	wire_str(peer_begin_reply(&c->front, WIRE_OK, a->id), C_T_COMMIT, e->gone + 1);
	peer_send(&c->front, NULL, 0);
	err = helper_start(&e->helper, c->loop, erase_work, e);
	if (err)
		erased(&e->helper, commits_erase(&c->commits, e->gone));
}

void ask_commit_delete(struct ask *a)
{
	const struct commit *own;
	struct commit *k = take_commit(a);

	if (!k)
		return;
	for (const struct vm *vm = a->core->reg.first; vm; vm = vm->next) {
		own = commits_of(&a->core->commits, vm);
		if (own != k && strcmp(vm->r.parent, k->id) != 0)
			continue;
		reply_err(a->core, a->id, 409, "VM '%s' %s: delete the VM first", vm->r.name, own == k ? "is what this was committed from" : "was forked from this commit");
		return;
	}
	remove_commit(a, k);
}

/* ---- fork ---- */

static int take_fixups(const struct ask *a, struct vm_wish *w, struct fault *f)
{
	static const struct { const char *name; unsigned bit; } rows[] = {
		{ "hostname", FIX_HOSTNAME }, { "machine-id", FIX_MACHINE_ID }, { "ssh-host-keys", FIX_SSH_KEYS } };
	struct wire_iter it;
	struct wire_field fd;
	uint64_t set = 0;

	w->fixups = wire_get_u64(a->m, C_T_FIXUPS_SET, &set) && set ? 0 : FIX_HOSTNAME | FIX_MACHINE_ID | FIX_SSH_KEYS;
	wire_iter_init(&it, a->m->p, a->m->n);
	while (wire_next(&it, &fd)) { /* as many as the frame holds */
		size_t i = 0;

		if (fd.tag != C_T_FIXUP)
			continue;
		while (i < ARRAY_LEN(rows) && (strlen(rows[i].name) != fd.n || memcmp(rows[i].name, fd.p, fd.n) != 0))
			i++;
		if (i == ARRAY_LEN(rows))
			return fault_set(f, -EINVAL, "'fixups' may hold hostname, machine-id and ssh-host-keys");
		w->fixups |= rows[i].bit;
	}
	return 0;
}

/* Its own tags, and its source's but for the name, which is one VM's. */
static int join_tags(const struct ask *a, const struct record *from, const struct tag_list *own, struct tag_list *out, struct fault *f)
{
	uint64_t replace = 0;
	unsigned n = 0;

	wire_get_u64(a->m, C_T_REPLACE_ALL, &replace);
	if (!replace)
		for (unsigned i = 0; i < from->n_tags; i++)
			if (strncmp(from->tags[i], "name=", 5) != 0)
				out->v[n++] = from->tags[i];
	for (unsigned i = 0; i < own->n; i++) {
		bool there = false;

		for (unsigned j = 0; j < n; j++)
			there |= strcmp(out->v[j], own->v[i]) == 0;
		if (!there && n == TAGS_MAX)
			return fault_set(f, -EINVAL, "with its source's it would have more than %u tags: use tag_mode 'replace'", TAGS_MAX);
		if (!there)
			out->v[n++] = own->v[i];
	}
	out->n = n;
	return 0;
}

/* What is not asked for is as with its source, as far as the host group still allows it. */
static void inherit(struct vm_wish *w, const struct record *from)
{
	const struct host_group *g = w->group;

	w->ram_bytes = from->ram_bytes < g->ram_bytes ? from->ram_bytes : g->ram_bytes;
	w->vcpus = from->vcpus < g->vcpus ? from->vcpus : g->vcpus;
	w->net_bytes_s = g->net_bytes_s && (!from->net_bytes_s || from->net_bytes_s > g->net_bytes_s) ? 0 : from->net_bytes_s;
	w->net_packets_s = g->net_packets_s && (!from->net_packets_s || from->net_packets_s > g->net_packets_s) ? 0 : from->net_packets_s;
	w->secrets = from->secrets;
}

static int take_wish(const struct ask *a, struct vm_wish *w, struct policy_lists *rules, struct buf *secrets, struct tag_list *own, struct tag_list *tags,
		     struct fault *f)
{
	const struct record *from = &w->from->source;
	uint64_t v;
	int err;

	inherit(w, from);
	w->persistent = wire_get_u64(a->m, C_T_PERSISTENT, &v) ? v != 0 : true;
	err = wish_sizes(a, w, f);
	if (!err)
		err = wish_secrets(a, w, secrets, f);
	if (!err)
		err = wish_rules(a, w, rules, f);
	if (!err)
		err = wish_tags(a, own, f);
	if (!err)
		err = join_tags(a, from, own, tags, f);
	if (!err)
		err = take_fixups(a, w, f);
	if (err)
		return err;
	if (!w->allow && group_has_rules(w->group))
		w->allow = from->allow;
	if (!w->drop && group_has_rules(w->group))
		w->drop = from->drop;
	w->tags = (const char *const *)tags->v;
	w->n_tags = tags->n;
	return 0;
}

void ask_fork(struct ask *a)
{
	struct vm_wish w = { .from = take_commit(a) };
	enum req_goal goal = GOAL_MADE;
	struct tag_list own = { .n = 0 }, tags = { .n = 0 }; /* tags: borrowed from own and the commit */
	struct policy_lists rules = { { NULL, NULL } };
	struct fault f = { "" };
	struct buf secrets;
	uint64_t timeout_ms;
	int err;

	if (!w.from)
		return;
	w.group = config_group(&a->core->config, w.from->source.group);
	if (!w.group || w.group->pending) {
		reply_err(a->core, a->id, 409, "host group '%s' of this commit is not there any more", w.from->source.group);
		return;
	}
	buf_init(&secrets, SECRETS_MAX * (SECRET_NAME_MAX + 1));
	err = wish_wait(a, &goal, &timeout_ms, &f);
	if (!err)
		err = take_wish(a, &w, &rules, &secrets, &own, &tags, &f);
	if (err)
		wish_refuse(a, &w, wish_status(err), f.text);
	else
		wish_begin(a, &w, goal, timeout_ms);
	tag_list_done(&own);
	policy_lists_done(&rules);
	buf_done(&secrets);
}
