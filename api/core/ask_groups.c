/* Requests about host groups: list, make, change, delete. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/auth.h"
#include "api/core/gate.h"
#include "api/core/groups.h"
#include "api/core/net.h"
#include "api/core/policy.h"
#include "lib/wire/netd.h"

/* ---- what answers hold ---- */

static unsigned vms_of(const struct core *c, const struct host_group *g)
{
	unsigned count = 0;

	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		count += !vm->remove && strcmp(vm->r.group, g->name) == 0;
	return count;
}

static void group_put(struct buf *b, const struct core *c, const struct host_group *g)
{
	char gateway[ADDR_TEXT_MAX];

	wire_str(b, C_T_NAME, g->name);
	wire_u64(b, C_T_COUNT, vms_of(c, g));
	wire_u64(b, C_T_RAM_BYTES, g->ram_bytes);
	wire_u64(b, C_T_CPUS, g->vcpus);
	wire_str(b, C_T_ARCH, "x86_64");
	wire_u64(b, C_T_GPU_COUNT, 0);
	wire_str(b, C_T_SOURCE, g->by_api ? "api" : "yaml");
	wire_u64(b, C_T_KEEPS, g->count);
	wire_u64(b, C_T_PERSISTENT, g->persistent);
	wire_u64(b, C_T_SIZE, g->disk_bytes);
	wire_str(b, C_T_IMAGE, g->image.path);
	wire_str(b, C_T_KERNEL, g->kernel.path);
	wire_str(b, C_T_NET_MODE, config_net_mode(g));
	if (g->net_mode == NET_NONE)
		return;
	if (group_dhcp(g))
		return;
	cidr_format(g->pool.gateway, gateway); /* isolated: the range */
	if (g->net_mode == NET_BRIDGE)
		wire_str(b, C_T_BRIDGE, g->bridge);
	wire_str(b, C_T_GATEWAY, gateway);
}

void ask_groups(struct ask *a)
{
	struct core *c = a->core;

	for (size_t i = 0; i < c->config.n_groups; i++) {
		if (c->config.groups[i].pending || !token_sees(a->token, c->config.groups[i].name))
			continue;
		group_put(peer_begin_reply(&c->front, C_ITEM, a->id), c, &c->config.groups[i]);
		peer_send(&c->front, NULL, 0);
	}
	reply_ok(c, a->id, NULL);
}

static void reply_group(struct core *c, uint32_t id, const struct host_group *g, const struct config_notes *notes)
{
	struct buf *b = peer_begin_reply(&c->front, WIRE_OK, id);

	group_put(b, c, g);
	for (size_t i = 0; i < notes->n; i++)
		wire_str(b, C_T_NOTE, notes->text[i]);
	peer_send(&c->front, NULL, 0);
}

static unsigned status_of(int err)
{
	return err == -EEXIST ? 409 : err == -ENOSPC || err == -EDQUOT ? 507 : err == -EINVAL ? 400 : 500;
}

static bool saved(struct ask *a, const struct host_group *g)
{
	int err = groups_save(a->core, g);

	if (err)
		reply_err(a->core, a->id, err == -EFBIG ? 400 : err == -ENOSPC || err == -EDQUOT ? 507 : 500,
			  "host group '%s' could not be written to the state folder: %s", g->name, strerror(-err));
	return !err;
}

/* ---- what VMs that are there say to it ---- */

static int fits_vm(const struct host_group *g, const struct vm *vm, struct fault *f)
{
	struct cidr c;

	if (vm->r.vcpus > g->vcpus)
		return fault_set(f, -EEXIST, "VM '%s' has %u vCPUs, host group '%s' would allow %u: delete the VM, or give more", vm->r.name, vm->r.vcpus,
				 g->name, g->vcpus);
	if (vm->r.ram_bytes > g->ram_bytes)
		return fault_set(f, -EEXIST, "VM '%s' has %llu MiB of RAM, host group '%s' would allow %llu: delete the VM, or give more", vm->r.name,
				 (unsigned long long)(vm->r.ram_bytes >> 20), g->name, (unsigned long long)(g->ram_bytes >> 20));
	if (g->net_mode != NET_NONE && vm->r.ip[0] && !cidr_parse(vm->r.ip, 99, &c) &&
	    (group_dhcp(g) ? c.bits : c.bits != addr_pool_bits(&g->pool) || !addr_pool_holds(&g->pool, c.addr)))
		return fault_set(f, -EEXIST, "VM '%s' has the address %s, which is none of host group '%s's network: delete the VM, or choose that network",
				 vm->r.name, vm->r.ip, g->name);
	return 0;
}

static int fits_vms(const struct core *c, const struct host_group *g, struct fault *f)
{
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next) {
		int err = strcmp(vm->r.group, g->name) == 0 ? fits_vm(g, vm, f) : 0;

		for (unsigned i = 0; !err && i < vm->r.n_tags; i++)
			if (tag_names_vm_of(vm->r.tags[i], g->name))
				err = fault_set(f, -EEXIST, "the name of VM '%s', '%s', looks like a VM of host group '%s': choose another name", vm->r.name,
						strchr(vm->r.tags[i], '=') + 1, g->name);
		if (err)
			return err;
	}
	return 0;
}

/* ---- create ---- */

/* netd is asked for the bridge; who wants the group waits. */
struct making {
	struct core *core; /* borrowed */
	uint32_t id;
	char name[GROUP_NAME_MAX + 1];
	struct config_notes notes; /* of the group */
};

static void made(struct core *c, uint32_t id, struct host_group *g, const struct config_notes *notes)
{
	groups_reclaim(c, g);
	reply_group(c, id, g, notes);
	core_keep_count(c, g);
	core_moved(c);
}

/* What netd had to say although it is done: no IPv6, and why. */
static void say_more(struct host_group *g, struct config_notes *notes, const struct wire_msg *m)
{
	char text[600];
	const char *kept;

	if (wire_get_str(m, WIRE_T_TEXT, text, sizeof(text)) || !text[0] || notes->n == NOTES_MAX)
		return;
	kept = yaml_doc_strdup(&g->doc, text);
	if (kept)
		notes->text[notes->n++] = kept;
}

static void on_bridge(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct making *k = arg;
	struct core *c = k->core;
	struct host_group *g = groups_find(c, k->name); /* it is there: while it is pending nobody may delete it */
	struct fault f = { "" };
	struct wire_field no_ipv6;
	unsigned status = 500;

	(void)fds; (void)n_fds;
	if (peer_result(m, "netd", &f, &status) == 0) {
		c->net_up[g - c->config.groups] = true;
		g->ipv6 &= !wire_get(m, WIRE_T_TEXT, &no_ipv6);
		g->pending = false;
		say_more(g, &k->notes, m);
		gate_bridge_up(c, g);
		made(c, k->id, g, &k->notes);
	} else {
		groups_unlink(c, k->name);
		groups_take_out(c, (size_t)(g - c->config.groups));
		reply_err(c, k->id, status, "host group '%s' is not made: its network could not be: %s", k->name, f.text);
	}
	free(k);
}

/* Another group with the same bridge. */
static const struct host_group *bridge_is_up(const struct core *c, const struct host_group *g)
{
	for (size_t i = 0; i < c->config.n_groups; i++) {
		const struct host_group *other = &c->config.groups[i];

		if (other != g && c->net_up[i] && other->net_mode == NET_BRIDGE && strcmp(other->bridge, g->bridge) == 0)
			return other;
	}
	return NULL;
}

static void say_no_network(struct config_notes *notes)
{
	if (notes->n < NOTES_MAX)
		notes->text[notes->n++] = "no network for VMs (that needs root): they are reached through the agent only";
}

/* true: netd was asked, on_bridge() answers. */
static bool ask_bridge(struct ask *a, struct host_group *g, const struct config_notes *notes)
{
	struct core *c = a->core;
	struct making *k = malloc(sizeof(*k));

	if (!k)
		return false;
	*k = (struct making){ .core = c, .id = a->id, .notes = *notes };
	snprintf(k->name, sizeof(k->name), "%s", g->name);
	g->pending = true;
	if (!net_group_up(c, g, on_bridge, k))
		return true;
	g->pending = false;
	free(k);
	return false;
}

static void create(struct ask *a, const struct host_group *taken, struct config_notes *notes)
{
	struct core *c = a->core;
	struct host_group *g = config_add(&c->config, taken);

	const struct host_group *same = g->net_mode == NET_BRIDGE ? bridge_is_up(c, g) : NULL;

	if (same) {
		c->net_up[g - c->config.groups] = true;
		memcpy(g->prefix6, same->prefix6, sizeof(g->prefix6));
		gate_bridge_up(c, g);
	} else if (g->net_mode != NET_NONE && !peer_there(&c->netd)) {
		say_no_network(notes);
	} else if (g->net_mode != NET_NONE) {
		if (ask_bridge(a, g, notes))
			return;
		say_no_network(notes);
	}
	made(c, a->id, g, notes);
}

void ask_group_create(struct ask *a)
{
	struct config_notes notes;
	struct fault f = { "" };
	struct host_group g;
	struct yaml_doc d;
	int err = group_tree(&d, a->m, &f);

	if (!err)
		err = config_check_added(&a->core->config, &d, NULL, &g, &notes, &f);
	if (err) {
		reply_err(a->core, a->id, status_of(err), "%s", f.text);
		return;
	}
	if (auth_bars_group(a, g.name)) {
		host_group_done(&g);
		return;
	}
	if (groups_left_out(a->core, g.name))
		err = fault_set(&f, -EEXIST, "a host group '%s' that was left out at start stands in the state folder, groups/%s.yaml: delete it first", g.name,
				g.name);
	else
		err = fits_vms(a->core, &g, &f);
	if (err)
		reply_err(a->core, a->id, status_of(err), "%s", f.text);
	else if (saved(a, &g)) {
		create(a, &g, &notes);
		return;
	}
	host_group_done(&g);
}

/* ---- change and delete ---- */

/* The group that GROUP names, if the API may touch it; NULL: answered. */
static struct host_group *take_group(struct ask *a)
{
	char name[VM_NAME_MAX + 1] = "";
	struct host_group *g = wire_get_str(a->m, C_T_GROUP, name, sizeof(name)) ? NULL : groups_find(a->core, name);

	if (g && auth_bars_group(a, name))
		return NULL;
	if (!g)
		reply_err(a->core, a->id, 404, "no host group of that name: 'mica group list' shows all");
	else if (!g->by_api)
		reply_err(a->core, a->id, 409, "host group '%s' is declared in %s: change or remove it there, and restart the daemon", g->name,
			  a->core->config.doc.file);
	else if (g->pending)
		reply_err(a->core, a->id, 409, "host group '%s' is being made: try again", g->name);
	else
		return g;
	return NULL;
}

/* NULL, or the key of `one`'s network that differs and may not, now that there are VMs. */
static const char *differs(const struct yaml_node *one, const struct yaml_node *other)
{
	/* these may, or are looked at as numbers */
	static const char *const others[] = { "range", "addresses", "bytes_per_s", "packets_per_s", "mode", "bridge", "gateway", "tap_prefix",
					     "allow", "drop" };

	for (const struct yaml_node *n = one ? one->first : NULL; n; n = n->next) {
		bool looked_at = false;

		for (size_t i = 0; i < ARRAY_LEN(others); i++)
			looked_at |= strcmp(n->key, others[i]) == 0;
		if (!looked_at && !group_tree_same(n, yaml_child(other, n->key)))
			return n->key;
	}
	return NULL;
}

/* A network is not changed under its name: addresses, bridges and rules hang on it. */
static int keeps_network(const struct core *c, const struct host_group *old, const struct host_group *g, struct fault *f)
{
	const struct yaml_node *was = yaml_child(old->doc.root, "network"), *is = yaml_child(g->doc.root, "network");
	const char *key = differs(was, is);

	if (g->net_mode != old->net_mode || strcmp(g->bridge, old->bridge) != 0 || strcmp(g->tap_prefix, old->tap_prefix) != 0 ||
	    strcmp(g->parent, old->parent) != 0 ||
	    g->pool.gateway.addr != old->pool.gateway.addr || g->pool.gateway.bits != old->pool.gateway.bits)
		return fault_set(f, -EEXIST, "host group '%s' cannot get another network: delete it and create it anew (range and addresses can change)",
				 g->name);
	if (!key)
		key = differs(is, was);
	return key && vms_of(c, g) ? fault_set(f, -EEXIST, "host group '%s' has VMs, so network.%s cannot change: delete them first", g->name, key) : 0;
}

/* Of the three ways to say how much RAM, the one given now counts. */
static void drop_other_rams(struct yaml_doc *patch)
{
	static const char *const keys[] = { "ram_gb", "ram_mb", "ram_bytes" };
	bool given = false;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		given |= yaml_child(patch->root, keys[i]) && !yaml_is_null(yaml_child(patch->root, keys[i]));
	for (size_t i = 0; given && i < ARRAY_LEN(keys); i++)
		if (!yaml_child(patch->root, keys[i]))
			yaml_append(patch->root, yaml_scalar(patch, keys[i], "", true));
}

/* What the group would be. */
static int changed(struct ask *a, const struct host_group *old, struct yaml_doc *patch, struct host_group *out, struct config_notes *notes, struct fault *f)
{
	struct yaml_doc d = { .file = NULL };

	drop_other_rams(patch);
	d.root = yaml_merged(&d, old->doc.root, patch->root);
	yaml_doc_done(patch);
	if (d.root)
		return config_check_added(&a->core->config, &d, old, out, notes, f);
	yaml_doc_done(&d);
	return fault_set(f, -EINVAL, "these are more keys than a host group can have");
}

bool group_apply(struct ask *a, struct host_group *g, struct yaml_doc *patch, struct config_notes *notes)
{
	struct config_notes unheard;
	struct host_group now;
	struct fault f = { "" };
	int err = changed(a, g, patch, &now, notes ? notes : &unheard, &f);

	if (err) {
		reply_err(a->core, a->id, status_of(err), "%s", f.text);
		return false;
	}
	err = keeps_network(a->core, g, &now, &f);
	if (!err)
		err = fits_vms(a->core, &now, &f);
	if (err)
		reply_err(a->core, a->id, status_of(err), "%s", f.text);
	if (err || !saved(a, &now)) {
		host_group_done(&now);
		return false;
	}
	now = groups_replace(g, &now);
	host_group_done(&now);
	gate_bridge_up(a->core, g); /* it may have DNS servers by now */
	return true;
}

/* Waits until its VMs are judged by its rules; the group may change again meanwhile, or go. */
struct changing {
	struct core *core;
	uint32_t id;
	char name[GROUP_NAME_MAX + 1];
	char *notes[NOTES_MAX]; /* owned; NULL: no more */
};

static void on_spread(void *arg, const struct fault *f)
{
	struct changing *x = arg;
	struct core *c = x->core;
	struct host_group *g = groups_find(c, x->name);
	struct config_notes notes = { .n = 0 };

	while (notes.n < NOTES_MAX && x->notes[notes.n]) {
		notes.text[notes.n] = x->notes[notes.n];
		notes.n++;
	}
	if (!g)
		reply_err(c, x->id, 404, "host group '%s' was deleted meanwhile", x->name);
	else if (f->text[0])
		reply_err(c, x->id, 500, "host group '%s' is changed, but its rules do not hold yet for all of its VMs: %s", x->name, f->text);
	else
		reply_group(c, x->id, g, &notes);
	while (notes.n)
		free(x->notes[--notes.n]);
	free(x);
}

/* After a change: to its VMs where its rules are others, then the answer. */
static void settle(struct ask *a, const struct host_group *g, const struct config_notes *notes, bool rules)
{
	struct changing *x = rules ? calloc(1, sizeof(*x)) : NULL;
	const struct fault none_left = { "out of memory" };

	if (!x) {
		reply_group(a->core, a->id, g, notes);
		return;
	}
	x->core = a->core;
	x->id = a->id;
	snprintf(x->name, sizeof(x->name), "%s", g->name);
	for (size_t i = 0; i < notes->n; i++)
		if (!(x->notes[i] = strdup(notes->text[i])))
			break;
	if (group_rules_spread(a->core, g, on_spread, x))
		on_spread(x, &none_left);
}

void ask_group_change(struct ask *a)
{
	struct host_group *g = take_group(a);
	struct config_notes notes;
	struct policy before = { 0 };
	struct fault f = { "" };
	struct yaml_doc patch;
	int err = g ? group_tree(&patch, a->m, &f) : 0;

	if (!g)
		return;
	if (err) {
		reply_err(a->core, a->id, status_of(err), "%s", f.text);
		return;
	}
	if (policy_copy_list(&before, &g->policy, POLICY_ALLOW) || policy_copy_list(&before, &g->policy, POLICY_DROP)) {
		yaml_doc_done(&patch);
		reply_err(a->core, a->id, 500, "out of memory");
	} else if (group_apply(a, g, &patch, &notes)) {
		settle(a, g, &notes, !policy_same(&before, &g->policy));
		core_keep_count(a->core, g);
		core_moved(a->core);
	}
	policy_done(&before);
}

/* A file without a group can be deleted, too. true: answered. */
static bool delete_left_out(struct ask *a)
{
	char name[VM_NAME_MAX + 1] = "", text[120];

	if (wire_get_str(a->m, C_T_GROUP, name, sizeof(name)) || !groups_left_out(a->core, name) || !token_sees(a->token, name) ||
	    groups_unlink(a->core, name))
		return false;
	snprintf(text, sizeof(text), "host group '%s', which was left out at start, is deleted", name);
	reply_ok(a->core, a->id, text);
	return true;
}

void ask_group_delete(struct ask *a)
{
	struct host_group *g = delete_left_out(a) ? NULL : take_group(a);
	struct core *c = a->core;
	char text[120];
	int err;

	if (!g)
		return;
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (strcmp(vm->r.group, g->name) == 0) {
			reply_err(c, a->id, 409, "host group '%s' still has VMs, '%s' is one: delete them first%s", g->name, vm->r.name,
				  vm->r.protected_ ? " (those that its count keeps: after setting count to 0)" : "");
			return;
		}
	err = groups_unlink(c, g->name);
	if (err) {
		reply_err(c, a->id, 500, "the file of host group '%s' could not be removed: %s", g->name, strerror(-err));
		return;
	}
	snprintf(text, sizeof(text), "host group '%s' is deleted", g->name);
	if (c->net_up[g - c->config.groups] && (g->net_mode != NET_BRIDGE || !bridge_is_up(c, g)))
		net_group_down(c, g);
	groups_take_out(c, (size_t)(g - c->config.groups));
	reply_ok(c, a->id, text);
}
