/* What core knows for GET /metrics: groups, VMs by state, launches by outcome, the host. */
#include <string.h>

#include "api/core/requests.h"

static const char *const states[] = { "Running", "Paused", "Stopped" };

/* VMs of one group: how many were asked for by the API, or kept by its count, in each state. */
static void put_vms(struct ask *a, const char *group)
{
	unsigned n[2][ARRAY_LEN(states)] = { { 0 } };
	struct core *c = a->core;

	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		for (size_t i = 0; i < ARRAY_LEN(states); i++)
			n[!vm->r.protected_][i] += !vm->remove && strcmp(vm->r.group, group) == 0 && strcmp(vm_status(vm), states[i]) == 0;
	for (unsigned api = 0; api < 2; api++)
		for (size_t i = 0; i < ARRAY_LEN(states); i++) {
			struct buf *b = peer_begin_reply(&c->front, C_ITEM, a->id);

			wire_str(b, C_T_GROUP, group);
			wire_u64(b, C_T_BY_API, api);
			wire_str(b, C_T_STATUS, states[i]);
			wire_u64(b, C_T_COUNT, n[api][i]);
			peer_send(&c->front, NULL, 0);
		}
}

static void put_launches(struct ask *a)
{
	const struct metrics *m = &a->core->metrics;

	for (unsigned i = 0; i < m->n_counts; i++) {
		struct buf *b;

		if (!token_sees(a->token, m->counts[i].group))
			continue;
		b = peer_begin_reply(&a->core->front, C_ITEM, a->id);
		wire_str(b, C_T_GROUP, m->counts[i].group);
		wire_u64(b, C_T_CODE, m->counts[i].code);
		wire_u64(b, C_T_COUNT, m->counts[i].n);
		peer_send(&a->core->front, NULL, 0);
	}
}

static void put_host(struct core *c, uint32_t id)
{
	struct buf *b = peer_begin_reply(&c->front, WIRE_OK, id);

	metrics_put_host(&c->metrics, b);
	if (core_ram_total(c))
		wire_u64(b, C_T_MEM_TOTAL, core_ram_total(c));
	if (core_ram_available(c))
		wire_u64(b, C_T_MEM_AVAILABLE, core_ram_available(c));
	peer_send(&c->front, NULL, 0);
}

/* Does it have that counter? On a bridge DNS alone is counted. */
static bool counts(const struct vm *vm, size_t i)
{
	return vm->gated || (vm->named && (i == 4 || i == 5));
}

/* Counters of isolated VMs, and DNS of those on bridges, one counter after another. */
static void put_flows(struct ask *a)
{
	struct core *c = a->core;

	for (size_t i = 0; i < ARRAY_LEN(c->reg.first->net_counts); i++)
		for (const struct vm *vm = c->reg.first; vm; vm = vm->next) {
			struct buf *b;

			if (!counts(vm, i) || !token_sees(a->token, vm->r.group))
				continue;
			b = peer_begin_reply(&c->front, C_ITEM, a->id);
			wire_str(b, C_T_GROUP, vm->r.group);
			wire_str(b, C_T_VM, vm->r.name);
			wire_u64(b, C_T_FLOWS, i);
			wire_u64(b, C_T_COUNT, vm->net_counts[i]);
			peer_send(&c->front, NULL, 0);
		}
}

void ask_metrics(struct ask *a)
{
	struct core *c = a->core;
	struct buf *b;

	for (size_t i = 0; i < c->config.n_groups; i++) {
		if (!token_sees(a->token, c->config.groups[i].name))
			continue;
		b = peer_begin_reply(&c->front, C_ITEM, a->id);
		wire_str(b, C_T_GROUP, c->config.groups[i].name);
		wire_u64(b, C_T_GPU_COUNT, 0);
		peer_send(&c->front, NULL, 0);
	}
	for (size_t i = 0; i < c->config.n_groups; i++)
		if (token_sees(a->token, c->config.groups[i].name))
			put_vms(a, c->config.groups[i].name);
	put_launches(a);
	put_flows(a);
	net_gather(a, put_host);
}
