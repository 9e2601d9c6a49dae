#include "api/core/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/wire/core.h"
#include "lib/wire/gate.h"
#include "lib/wire/netd.h"


/* ---- lists as text ---- */

static int take_list(const struct wire_msg *m, uint16_t tag, enum policy_list list, char **out, struct fault *f)
{
	struct policy p = { 0 };
	struct wire_iter it;
	struct wire_field x;
	struct buf b;
	int err = 0;

	buf_init(&b, POLICY_LIST_BYTES_MAX + 1);
	wire_iter_init(&it, m->p, m->n);
	while (!err && wire_next(&it, &x)) { /* as many as the frame holds */
		char entry[POLICY_TEXT_MAX + 1], *text;

		if (x.tag != tag)
			continue;
		text = wire_field_dup(&x);
		err = text ? policy_add(&p, list, text, f) : fault_set(f, -EINVAL, "an entry holds a NUL byte");
		free(text);
		if (err)
			break;
		policy_entry_format(&p.list[list][p.n[list] - 1], entry);
		buf_printf(&b, "%s%s", p.n[list] > 1 ? "\n" : "", entry);
	}
	policy_done(&p);
	*out = err ? NULL : strdup(buf_len(&b) ? buf_cstr(&b) : "");
	if (!err && (!*out || b.failed))
		err = fault_set(f, -EINVAL, "the lists are too long");
	buf_done(&b);
	return err;
}

int policy_lists_take(struct policy_lists *l, const struct wire_msg *m, struct fault *f)
{
	struct wire_field x;
	uint64_t v;
	int err = 0;

	*l = (struct policy_lists){ { NULL, NULL } };
	if ((wire_get_u64(m, C_T_NET_SET_ALLOW, &v) && v) || wire_get(m, C_T_NET_ALLOW, &x))
		err = take_list(m, C_T_NET_ALLOW, POLICY_ALLOW, &l->text[POLICY_ALLOW], f);
	if (!err && ((wire_get_u64(m, C_T_NET_SET_DROP, &v) && v) || wire_get(m, C_T_NET_DROP, &x)))
		err = take_list(m, C_T_NET_DROP, POLICY_DROP, &l->text[POLICY_DROP], f);
	if (err)
		policy_lists_done(l);
	return err;
}

void policy_lists_done(struct policy_lists *l)
{
	free(l->text[0]);
	free(l->text[1]);
	*l = (struct policy_lists){ { NULL, NULL } };
}

int policy_lists_fit(const struct policy_lists *l, const struct host_group *g, struct fault *f)
{
	struct policy p = { 0 };
	int err = 0;

	for (unsigned list = 0; !err && list < 2; list++)
		if (l->text[list])
			err = policy_add_lines(&p, (enum policy_list)list, l->text[list], f);
	if (!err)
		err = group_rules_fit(g, &p, f);
	policy_done(&p);
	return err;
}

bool policy_is_changed(const struct wire_msg *m)
{
	static const uint16_t tags[] = { C_T_NET_RESET, C_T_NET_SET_ALLOW, C_T_NET_ALLOW, C_T_NET_SET_DROP, C_T_NET_DROP };
	struct wire_field f;

	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		if (wire_get(m, tags[i], &f))
			return true;
	return false;
}

/* ---- the effective policy ---- */

int policy_add_lines(struct policy *p, enum policy_list list, const char *text, struct fault *f)
{
	int err = 0;

	while (!err && *text) {
		char entry[POLICY_TEXT_MAX + 1];
		size_t n = strcspn(text, "\n");

		if (n >= sizeof(entry))
			return fault_set(f, -EINVAL, "an entry of %zu bytes", n);
		memcpy(entry, text, n);
		entry[n] = '\0';
		err = policy_add(p, list, entry, f);
		text += n + (text[n] == '\n');
	}
	return err;
}

static int load_list(struct vm *vm, enum policy_list list, const char *own, struct fault *f)
{
	if (own)
		return policy_add_lines(&vm->policy, list, own, f);
	return vm->group ? policy_copy_list(&vm->policy, &vm->group->policy, list) : 0;
}

void policy_load(struct vm *vm)
{
	struct fault f = { "" };
	int err;

	policy_done(&vm->policy);
	err = load_list(vm, POLICY_ALLOW, vm->r.allow, &f);
	if (!err)
		err = load_list(vm, POLICY_DROP, vm->r.drop, &f);
	if (!err)
		return;
	core_say(vm->core, "NOTE", "%s: its network rules cannot be used, so it reaches nothing: %s", vm->r.name, f.text[0] ? f.text : strerror(-err));
	policy_done(&vm->policy);
	policy_add(&vm->policy, POLICY_DROP, "0.0.0.0/0", &f);
}

static int replace(char **at, const char *text, char **old)
{
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		return -ENOMEM;
	*old = *at;
	*at = copy;
	return 0;
}

int policy_set(struct vm *vm, const struct policy_lists *l, bool reset)
{
	char **at[2] = { &vm->r.allow, &vm->r.drop }, *old[2] = { NULL, NULL };
	bool changed[2] = { false, false };
	int err = 0;

	for (unsigned i = 0; i < 2 && !err; i++)
		if (reset || l->text[i]) {
			err = replace(at[i], l->text[i], &old[i]);
			changed[i] = !err;
		}
	if (!err && vm->dir_fd >= 0)
		err = record_save(&vm->r, vm->dir_fd, vm->r.persistent || vm->r.protected_);
	for (unsigned i = 0; i < 2; i++) {
		if (err && changed[i]) {
			free(*at[i]);
			*at[i] = old[i];
		} else if (changed[i]) {
			free(old[i]);
		}
	}
	if (!err)
		policy_load(vm);
	return err;
}

/* ---- as fields ---- */

static void put_entries(struct buf *b, uint16_t tag, const struct policy *p, enum policy_list list)
{
	for (size_t i = 0; i < p->n[list]; i++) {
		char entry[POLICY_TEXT_MAX + 1];

		policy_entry_format(&p->list[list][i], entry);
		wire_str(b, tag, entry);
	}
}

void policy_put(struct buf *b, const struct vm *vm)
{
	if (vm->r.allow) {
		wire_u64(b, C_T_NET_SET_ALLOW, 1);
		put_entries(b, C_T_NET_ALLOW, &vm->policy, POLICY_ALLOW);
	}
	if (vm->r.drop) {
		wire_u64(b, C_T_NET_SET_DROP, 1);
		put_entries(b, C_T_NET_DROP, &vm->policy, POLICY_DROP);
	}
	if (!vm->group)
		return;
	put_entries(b, C_T_GROUP_ALLOW, &vm->group->policy, POLICY_ALLOW);
	put_entries(b, C_T_GROUP_DROP, &vm->group->policy, POLICY_DROP);
}

void policy_put_rules(struct buf *b, const struct vm *vm)
{
	static uint8_t rules[POLICY_RULES_MAX][POLICY_RULE_BYTES];
	size_t n = vm->net_locked ? 0 : policy_pack(&vm->policy, rules);

	wire_u64(b, N_T_DEFAULT, !vm->net_locked && policy_default_allows(&vm->policy));
	for (size_t i = 0; i < n; i++)
		wire_bytes(b, N_T_RULE, rules[i], POLICY_RULE_BYTES);
}

void policy_put_entries(struct buf *b, const struct vm *vm)
{
	put_entries(b, G_T_ALLOW, &vm->policy, POLICY_ALLOW);
	put_entries(b, G_T_DROP, &vm->policy, POLICY_DROP);
}

size_t policy_own(const struct core *c, struct policy_net *out)
{
	size_t n = 0;

	for (size_t i = 0; i < c->config.n_groups && n < GROUPS_MAX; i++) {
		const struct host_group *g = &c->config.groups[i];
		uint32_t first = cidr_first(g->pool.gateway);

		if (g->net_mode == NET_NONE || !g->pool.gateway.bits)
			continue;
		out[n++] = (struct policy_net){ .family = 4, .prefix = (uint8_t)g->pool.gateway.bits,
						.addr = { (uint8_t)(first >> 24), (uint8_t)(first >> 16), (uint8_t)(first >> 8), (uint8_t)first } };
	}
	return n;
}
