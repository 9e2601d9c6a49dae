/* C_GROUP_POLICY: what the VMs of a host group may reach, shown and changed while they run. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/auth.h"
#include "api/core/groups.h"
#include "api/core/policy.h"
#include "api/core/requests.h"

static void put_list(struct buf *b, uint16_t tag, const struct policy *p, enum policy_list list)
{
	for (size_t i = 0; i < p->n[list]; i++) {
		char entry[POLICY_TEXT_MAX + 1];

		policy_entry_format(&p->list[list][i], entry);
		wire_str(b, tag, entry);
	}
}

static void reply_rules(struct core *c, uint32_t id, const struct host_group *g)
{
	struct buf *b = peer_begin_reply(&c->front, WIRE_OK, id);

	wire_str(b, C_T_NAME, g->name);
	wire_str(b, C_T_NET_MODE, config_net_mode(g));
	wire_str(b, C_T_SOURCE, g->by_api || g->rules_kept ? "api" : "yaml");
	put_list(b, C_T_GROUP_ALLOW, &g->policy, POLICY_ALLOW);
	put_list(b, C_T_GROUP_DROP, &g->policy, POLICY_DROP);
	if (peer_send(&c->front, NULL, 0))
		reply_err(c, id, 500, "the rules of host group '%s' are longer than one answer", g->name);
}

/* ---- changing ---- */

struct changing {
	struct core *core;
	uint32_t id;
	char name[GROUP_NAME_MAX + 1];
};

static void on_spread(void *arg, const struct fault *f)
{
	struct changing *x = arg;
	const struct host_group *g = groups_find(x->core, x->name);

	if (f->text[0])
		reply_err(x->core, x->id, 500, "the rules of host group '%s' are kept, but do not hold yet for all of its VMs: %s", x->name, f->text);
	else if (g)
		reply_rules(x->core, x->id, g);
	else
		reply_err(x->core, x->id, 404, "host group '%s' was deleted meanwhile", x->name);
	free(x);
}

static void spread(struct ask *a, const struct host_group *g)
{
	struct changing *x = malloc(sizeof(*x));

	if (x) {
		*x = (struct changing){ .core = a->core, .id = a->id };
		snprintf(x->name, sizeof(x->name), "%s", g->name);
	}
	if (x && !group_rules_spread(a->core, g, on_spread, x))
		return;
	free(x);
	reply_err(a->core, a->id, 500, "the rules of host group '%s' are kept, but do not hold yet: out of memory", g->name);
}

/* The lists as they will be: what is given, over what there is (base NULL: nothing). */
static int wanted(struct policy *out, const struct policy *base, const struct policy_lists *l, struct fault *f)
{
	int err = 0;

	for (unsigned list = 0; !err && list < 2; list++)
		if (l->text[list])
			err = policy_add_lines(out, (enum policy_list)list, l->text[list], f);
		else if (base)
			err = policy_copy_list(out, base, (enum policy_list)list);
	return err;
}

/* A group of the file: the API's rules stand over its own. */
static int change_over(struct ask *a, struct host_group *g, const struct policy_lists *l, bool reset, struct fault *f)
{
	struct policy p = { 0 };
	bool given = l->text[0] || l->text[1];
	int err = given ? wanted(&p, reset && g->rules_kept ? &g->said : &g->policy, l, f) : 0;

	if (!err)
		err = group_rules_fit(g, &p, f);
	if (!err)
		err = given ? group_rules_set(a->core, g, &p) : group_rules_reset(a->core, g);
	policy_done(&p);
	return err;
}

static struct yaml_node *list_node(struct yaml_doc *d, const char *key, const struct policy_lists *l, enum policy_list list)
{
	struct yaml_node *seq = yaml_branch(d, key, YAML_SEQ);
	char *copy = strdup(l->text[list]), *save = NULL;

	for (char *s = copy && seq ? strtok_r(copy, "\n", &save) : NULL; s; s = strtok_r(NULL, "\n", &save)) {
		struct yaml_node *n = yaml_scalar(d, NULL, s, false);

		if (!n) {
			seq = NULL;
			break;
		}
		yaml_append(seq, n);
	}
	seq = copy ? seq : NULL;
	free(copy);
	return seq;
}

/* A group that the API made: its keys change. true: *patch says how. */
static bool patch_of(struct yaml_doc *patch, const struct policy_lists *l, bool reset)
{
	static const char *const keys[2] = { [POLICY_ALLOW] = "allow", [POLICY_DROP] = "drop" };
	struct yaml_node *network;

	*patch = (struct yaml_doc){ .file = NULL };
	patch->root = yaml_branch(patch, NULL, YAML_MAPPING);
	network = patch->root ? yaml_branch(patch, "network", YAML_MAPPING) : NULL;
	if (!network)
		return false;
	yaml_append(patch->root, network);
	for (unsigned list = 0; list < 2; list++) {
		struct yaml_node *n;

		if (!l->text[list] && !reset)
			continue;
		n = l->text[list] ? list_node(patch, keys[list], l, (enum policy_list)list) : yaml_scalar(patch, keys[list], "", true);
		if (!n)
			return false;
		yaml_append(network, n);
	}
	return true;
}

static void change(struct ask *a, struct host_group *g, const struct policy_lists *l, bool reset)
{
	struct fault f = { "" };
	struct yaml_doc patch;
	int err;

	if (g->by_api) {
		struct policy p = { 0 };

		err = wanted(&p, NULL, l, &f);
		if (!err)
			err = group_rules_fit(g, &p, &f);
		policy_done(&p);
		if (!err && !patch_of(&patch, l, reset)) {
			yaml_doc_done(&patch);
			err = fault_set(&f, -EINVAL, "these are more rules than a host group's keys can have");
		}
		if (!err && !group_apply(a, g, &patch, NULL))
			return; /* answered */
	} else {
		err = change_over(a, g, l, reset, &f);
	}
	if (err)
		reply_err(a->core, a->id, err == -EINVAL ? 400 : err == -ENOSPC || err == -EDQUOT ? 507 : 500, "%s%s", f.text[0] ? "" : "the rules cannot be kept: ",
			  f.text[0] ? f.text : strerror(-err));
	else
		spread(a, g);
}

void ask_group_policy(struct ask *a)
{
	char name[VM_NAME_MAX + 1] = "";
	struct host_group *g = wire_get_str(a->m, C_T_GROUP, name, sizeof(name)) ? NULL : groups_find(a->core, name);
	struct policy_lists l;
	struct fault f = { "" };
	uint64_t reset = 0;

	wire_get_u64(a->m, C_T_NET_RESET, &reset);
	if (g && !token_sees(a->token, name))
		g = NULL;
	if (!g || g->pending) {
		reply_err(a->core, a->id, 404, "no host group of that name: 'mica group list' shows all");
		return;
	}
	if (!auth_has(a, policy_is_changed(a->m) ? SCOPE_ADMIN : SCOPE_NET))
		return;
	if (policy_lists_take(&l, a->m, &f))
		reply_err(a->core, a->id, 400, "%s", f.text);
	else if (!group_has_rules(g))
		reply_err(a->core, a->id, 409, "no rules hold for the VMs of host group '%s': they belong to 'network: { mode: isolated }', or 'bridge'", name);
	else if (reset || l.text[0] || l.text[1])
		change(a, g, &l, reset != 0);
	else
		reply_rules(a->core, a->id, g);
	policy_lists_done(&l);
}
