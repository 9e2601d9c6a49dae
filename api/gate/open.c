/* Addresses that answers to allowed names opened: asked of core, remembered while they are open. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/gate/gate.h"

static struct opened *find(struct vm *vm, const struct dns_addr *a, uint16_t port, uint16_t rule)
{
	for (unsigned i = 0; i < vm->n_opened; i++) {
		struct opened *o = &vm->opened[i];

		if (o->family == a->family && o->port == port && o->rule == rule && !memcmp(o->addr, a->addr, 16))
			return o;
	}
	return NULL;
}

static struct opened *add(struct vm *vm, const struct dns_addr *a, uint16_t port, uint16_t rule, const char *name)
{
	struct opened *o;

	if (!vm->opened && !(vm->opened = calloc(OPENED_MAX, sizeof(*vm->opened))))
		return NULL;
	if (vm->n_opened == OPENED_MAX)
		opened_sweep(vm, now_mono_ms());
	if (vm->n_opened == OPENED_MAX)
		return NULL;
	o = &vm->opened[vm->n_opened];
	*o = (struct opened){ .family = a->family, .port = port, .rule = rule, .name = strdup(name) };
	if (!o->name)
		return NULL;
	memcpy(o->addr, a->addr, 16);
	vm->n_opened++;
	return o;
}

static void remove_at(struct vm *vm, unsigned i)
{
	free(vm->opened[i].name);
	vm->opened[i] = vm->opened[--vm->n_opened];
}

/* What core said of the question with that id. */
static void settle(struct vm *vm, uint32_t id, bool yes)
{
	for (unsigned i = vm->n_opened; i--;) {
		if (vm->opened[i].ask_id != id)
			continue;
		if (yes)
			vm->opened[i].ask_id = 0;
		else
			remove_at(vm, i);
	}
}

static void on_opened(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct query *q = arg;
	bool yes = m && m->type == WIRE_OK;

	(void)fds; (void)n_fds;
	if (m)
		settle(q->vm, m->id, yes);
	q->failed |= !yes;
	if (--q->opening || q->state != QUERY_OPENING)
		return;
	if (q->failed) {
		query_fail(q, DNS_SERVFAIL);
		return;
	}
	serve_answer(q->vm, &q->asker, &q->q, q->msg, q->msg_len);
	query_free(q);
}

static struct buf *begin(struct vm *vm, const char *name, uint16_t rule, uint16_t port, uint64_t ttl_s)
{
	struct buf *b = link_begin(vm->gate, G_OPEN);

	wire_str(b, G_T_VM, vm->name);
	wire_str(b, G_T_NAME, name);
	wire_u64(b, G_T_RULE, rule);
	wire_u64(b, G_T_PORT, port);
	wire_u64(b, G_T_TTL_S, ttl_s);
	return b;
}

static uint64_t open_s(uint32_t ttl_s)
{
	return (ttl_s < TTL_FLOOR_S ? TTL_FLOOR_S : ttl_s > TTL_CAP_S ? TTL_CAP_S : ttl_s) + OPEN_GRACE_S;
}

/* For one entry: those that are not open, or not for as long as the guest will be told. */
static int open_rule(struct query *q, uint16_t rule, const struct dns_addr *addrs, unsigned n)
{
	struct vm *vm = q->vm;
	uint16_t port = vm->policy.list[POLICY_ALLOW][rule].port;
	uint64_t now = now_mono_ms(), most_s = 0;
	unsigned missing = 0;
	struct buf *b;

	for (unsigned i = 0; i < n; i++)
		most_s = open_s(addrs[i].ttl_s) > most_s ? open_s(addrs[i].ttl_s) : most_s;
	b = begin(vm, q->q.name, rule, port, most_s);
	for (unsigned i = 0; i < n; i++) {
		struct opened *o = find(vm, &addrs[i], port, rule);

		if (o && !o->ask_id && o->until_ms >= now + addrs[i].ttl_s * 1000ull && o->until_ms > now)
			continue;
		if (!o && !(o = add(vm, &addrs[i], port, rule, q->q.name)))
			return -ENOSPC;
		o->ask_id = vm->gate->last_id;
		o->until_ms = now + most_s * 1000;
		wire_bytes(b, G_T_ADDR, addrs[i].addr, addrs[i].family == 6 ? 16 : 4);
		missing++;
	}
	if (!missing)
		return 0;
	q->opening++;
	return link_call(vm->gate, on_opened, q);
}

int open_addrs(struct query *q, const struct dns_addr *addrs, unsigned n)
{
	const struct policy *p = &q->vm->policy;
	int err = 0;

	for (unsigned i = 0; !err && n && i < p->n[POLICY_ALLOW]; i++)
		if (policy_rule_names(p, i, q->q.name))
			err = open_rule(q, (uint16_t)i, addrs, n);
	return err;
}

/* ---- another policy ---- */

/* arg: the VM's counter of such questions, so that they can be forgotten alone. */
static void on_again(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = (struct vm *)((char *)arg - offsetof(struct vm, reopening));

	(void)fds; (void)n_fds;
	if (m)
		settle(vm, m->id, m->type == WIRE_OK);
	if (vm->reopening && --vm->reopening == 0)
		opened_settled(vm);
}

void opened_settled(struct vm *vm)
{
	uint32_t id = vm->policy_id;

	vm->policy_id = 0;
	if (id)
		link_ok(vm->gate, id);
}

/* The entry that names it now: one with the same port before others. */
static bool rule_again(struct vm *vm, struct opened *o)
{
	const struct policy *p = &vm->policy;
	unsigned best = UINT16_MAX;

	for (unsigned i = 0; i < p->n[POLICY_ALLOW]; i++)
		if (policy_rule_names(p, i, o->name) && (best == UINT16_MAX || (p->list[POLICY_ALLOW][best].port != o->port && p->list[POLICY_ALLOW][i].port == o->port)))
			best = i;
	if (best == UINT16_MAX)
		return false;
	o->rule = (uint16_t)best;
	o->port = p->list[POLICY_ALLOW][best].port;
	return true;
}

void opened_policy_changed(struct vm *vm)
{
	uint64_t now = now_mono_ms();

	opened_sweep(vm, now);
	link_forget(vm->gate, &vm->reopening); /* of a change before this one */
	vm->reopening = 0;
	for (unsigned i = vm->n_opened; i--;) {
		struct opened *o = &vm->opened[i];
		struct buf *b;

		if (!rule_again(vm, o)) {
			remove_at(vm, i);
			continue;
		}
		b = begin(vm, o->name, o->rule, o->port, (o->until_ms - now) / 1000 + 1);
		o->ask_id = vm->gate->last_id;
		wire_bytes(b, G_T_ADDR, o->addr, o->family == 6 ? 16 : 4);
		vm->reopening += link_call(vm->gate, on_again, &vm->reopening) == 0;
	}
}

void opened_sweep(struct vm *vm, uint64_t now_ms)
{
	for (unsigned i = vm->n_opened; i--;)
		if (vm->opened[i].until_ms <= now_ms)
			remove_at(vm, i);
}

void opened_free(struct vm *vm)
{
	while (vm->n_opened)
		remove_at(vm, vm->n_opened - 1);
	free(vm->opened);
	vm->opened = NULL;
}
