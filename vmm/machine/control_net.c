/* What core asks of a network card while it runs: chaos and its end, counters. lib/wire/vmm.h: V_NET. */
#include "vmm/machine/control.h"

#include <errno.h>
#include <stdio.h>

static void take_u32(const struct wire_msg *m, uint16_t tag, uint32_t *to)
{
	uint64_t v;

	if (wire_get_u64(m, tag, &v))
		*to = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v; /* shape_check() refuses that */
}

static const struct {
	uint16_t tag;
	enum shape_way way;
	size_t at; /* in struct shape_limit */
} limits[] = {
	{ V_T_RX_BYTES_S, SHAPE_IN, offsetof(struct shape_limit, bytes_s) },
	{ V_T_TX_BYTES_S, SHAPE_OUT, offsetof(struct shape_limit, bytes_s) },
	{ V_T_RX_PACKETS_S, SHAPE_IN, offsetof(struct shape_limit, packets_s) },
	{ V_T_TX_PACKETS_S, SHAPE_OUT, offsetof(struct shape_limit, packets_s) },
};

static void take_policy(const struct wire_msg *m, struct shape_policy *p)
{
	uint64_t flag;

	if (wire_get_u64(m, V_T_HEAL, &flag) && flag)
		*p = (struct shape_policy){ .cut = false };
	if (wire_get_u64(m, V_T_CUT, &flag))
		p->cut = flag;
	take_u32(m, V_T_DELAY_US, &p->delay_us);
	take_u32(m, V_T_JITTER_US, &p->jitter_us);
	take_u32(m, V_T_LOSS_PPM, &p->loss_ppm);
	for (size_t i = 0; i < ARRAY_LEN(limits); i++)
		wire_get_u64(m, limits[i].tag, (uint64_t *)(void *)((char *)&p->limit[limits[i].way] + limits[i].at));
}

static void put_policy(struct buf *b, const struct shape_policy *p)
{
	wire_u64(b, V_T_CUT, p->cut);
	wire_u64(b, V_T_DELAY_US, p->delay_us);
	wire_u64(b, V_T_JITTER_US, p->jitter_us);
	wire_u64(b, V_T_LOSS_PPM, p->loss_ppm);
	for (size_t i = 0; i < ARRAY_LEN(limits); i++)
		wire_u64(b, limits[i].tag, *(const uint64_t *)(const void *)((const char *)&p->limit[limits[i].way] + limits[i].at));
}

static void put_counts(struct control *c, struct net *n, const char *prefix)
{
	struct net_counts counts = net_counts_get(n);
	const char *name;
	uint64_t value;
	char full[48];

	for (unsigned i = 0; net_count(&counts, i, &name, &value); i++) {
		snprintf(full, sizeof(full), "%s%s", prefix, name);
		control_stat(c, full, value);
	}
}

void control_net_stats(struct control *c)
{
	char prefix[16];

	for (unsigned i = 0; c->built && i < c->m.n_nets; i++) {
		snprintf(prefix, sizeof(prefix), "net%u.", i);
		put_counts(c, c->m.net[i], prefix);
	}
	if (c->built && c->m.n_nets) {
		struct shape s = net_shape(c->m.net[0]);

		put_policy(&c->out, &s.chaos);
	}
}

void control_net(struct control *c, const struct wire_msg *m)
{
	struct fault f = { "" };
	struct shape_policy p;
	struct net *n;
	uint64_t index = 0;
	size_t mark;
	int err;

	wire_get_u64(m, V_T_NET_INDEX, &index);
	n = c->built && index < c->m.n_nets ? c->m.net[index] : NULL;
	if (!n) {
		control_err(c, m->id, 404, -ENODEV, "this VM has no such network card");
		return;
	}
	p = net_shape(n).chaos;
	take_policy(m, &p);
	err = shape_check(&p, &f);
	if (!err && net_set_chaos(n, &p))
		err = fault_set(&f, -ENOMEM, "there is no memory for packets that wait");
	if (err) {
		control_err(c, m->id, err == -ENOMEM ? 503 : 400, err, f.text);
		return;
	}
	mark = wire_begin(&c->out, WIRE_OK, m->id);
	put_policy(&c->out, &p);
	put_counts(c, n, "");
	control_send(c, mark, NULL, 0);
}
