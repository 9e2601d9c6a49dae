/* What vmm does to a VM's packets, and what it counts: carried between front and vmm, which keeps it. */
#include <stdlib.h>
#include <string.h>

#include "api/core/requests.h"
#include "api/core/timers.h"

static const struct { uint16_t front, vmm; } tags[] = {
	{ C_T_NET_HEAL, V_T_HEAL }, { C_T_NET_CUT, V_T_CUT }, { C_T_NET_DELAY_US, V_T_DELAY_US }, { C_T_NET_JITTER_US, V_T_JITTER_US },
	{ C_T_NET_LOSS_PPM, V_T_LOSS_PPM }, { C_T_NET_RX_BYTES_S, V_T_RX_BYTES_S }, { C_T_NET_TX_BYTES_S, V_T_TX_BYTES_S },
	{ C_T_NET_RX_PACKETS_S, V_T_RX_PACKETS_S }, { C_T_NET_TX_PACKETS_S, V_T_TX_PACKETS_S },
};

void net_put(struct buf *b, const struct wire_msg *from_vmm, bool only_chaos)
{
	uint64_t v, any = !only_chaos;

	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		any |= wire_get_u64(from_vmm, tags[i].vmm, &v) ? v : 0;
	for (size_t i = 0; any && i < ARRAY_LEN(tags); i++)
		if (wire_get_u64(from_vmm, tags[i].vmm, &v))
			wire_u64(b, tags[i].front, v);
}

static void put_counters(struct buf *b, const struct wire_msg *m)
{
	struct wire_iter it;
	struct wire_field f;
	struct wire_msg stat;
	char name[40];
	uint64_t v;

	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f)) { /* as many as the frame holds */
		size_t mark;

		if (f.tag != V_T_STAT || wire_sub(&f, &stat) || wire_get_str(&stat, V_T_NAME, name, sizeof(name)) || !wire_get_u64(&stat, V_T_VALUE, &v))
			continue;
		mark = wire_open(b, C_T_COUNTER);
		wire_str(b, C_T_NAME, name);
		wire_u64(b, C_T_COUNT, v);
		wire_close(b, mark);
	}
}

struct asking {
	struct vm *vm; /* borrowed: answers all its calls before it is freed */
	uint32_t id;
};

static void on_net(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct asking *q = arg;
	struct core *c = q->vm->core;
	struct fault f = { "" };
	unsigned status = 503;

	(void)fds; (void)n_fds;
	if (peer_result(m, "the VM", &f, &status)) {
		reply_err(c, q->id, status, "VM '%s': %s", q->vm->r.name, f.text);
	} else {
		struct buf *b = peer_begin_reply(&c->front, WIRE_OK, q->id);

		net_put(b, m, false);
		put_counters(b, m);
		peer_send(&c->front, NULL, 0);
	}
	free(q);
}

void ask_net(struct ask *a)
{
	bool runs = (a->vm->state == VM_RUNNING || a->vm->state == VM_PAUSED) && peer_there(&a->vm->vmm);
	struct asking *q = runs ? malloc(sizeof(*q)) : NULL;
	struct buf *b;
	uint64_t v;

	if (!q) {
		reply_err(a->core, a->id, runs ? 500 : 409, runs ? "out of memory" : "VM '%s' does not run: relaunch it first", a->name);
		return;
	}
	*q = (struct asking){ a->vm, a->id };
	b = peer_begin(&a->vm->vmm, V_NET);
	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		if (wire_get_u64(a->m, tags[i].front, &v))
			wire_u64(b, tags[i].vmm, v);
	if (peer_call(&a->vm->vmm, NULL, 0, on_net, q)) {
		reply_err(a->core, a->id, 503, "VM '%s' cannot be asked", a->name);
		free(q);
	}
}

/* ---- the counters of all, for /metrics ---- */

struct gather {
	struct core *core;
	uint32_t id;
	unsigned pending; /* vmms asked that have not answered, and one until all are asked */
	bool over;        /* front has its answer */
	struct ev_timer timer;
	void (*done)(struct core *c, uint32_t id);
};
struct gathering {
	struct gather *g;
	const struct vm *vm; /* borrowed: answers all its calls before it is freed */
};

static void gather_end(struct gather *g)
{
	if (!g->over && peer_there(&g->core->front))
		g->done(g->core, g->id);
	g->over = true;
	ev_timer_del(g->core->loop, &g->timer);
	if (!g->pending)
		free(g);
}

static void gather_late(struct ev_timer *t)
{
	gather_end(t->arg);
}

static void on_counters(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct gathering *one = arg;
	struct gather *g = one->g;

	(void)fds; (void)n_fds;
	if (!g->over && m && m->type == WIRE_OK && peer_there(&g->core->front)) {
		struct buf *b = peer_begin_reply(&g->core->front, C_ITEM, g->id);

		wire_str(b, C_T_VM, one->vm->r.name);
		wire_str(b, C_T_GROUP, one->vm->r.group);
		put_counters(b, m);
		peer_send(&g->core->front, NULL, 0);
	}
	free(one);
	if (--g->pending == 0)
		gather_end(g);
}

static void gather_one(struct gather *g, struct vm *vm)
{
	struct gathering *one = malloc(sizeof(*one));

	if (!one)
		return;
	*one = (struct gathering){ g, vm };
	peer_begin(&vm->vmm, V_NET);
	if (peer_call(&vm->vmm, NULL, 0, on_counters, one))
		free(one);
	else
		g->pending++;
}

void net_gather(struct ask *a, void (*done)(struct core *c, uint32_t id))
{
	struct gather *g = calloc(1, sizeof(*g));

	if (!g) {
		done(a->core, a->id);
		return;
	}
	*g = (struct gather){ .core = a->core, .id = a->id, .pending = 1, .done = done, .timer = { .fn = gather_late, .arg = g } };
	if (ev_timer_set(a->core->loop, &g->timer, GATHER_MS))
		g->over = true;
	for (struct vm *vm = a->core->reg.first; vm; vm = vm->next)
		if (vm->state == VM_RUNNING && peer_there(&vm->vmm) && token_sees(a->token, vm->r.group))
			gather_one(g, vm);
	if (g->over)
		done(a->core, a->id);
	if (--g->pending == 0)
		gather_end(g);
}
