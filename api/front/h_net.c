/* What a VM's network card does to packets on purpose, and what it counts. Core passes it on to the VM's own process, which keeps it. */
#include <errno.h>
#include <string.h>
#include "api/front/front.h"

static const struct {
	const char *key;
	uint16_t tag;
	bool flag;
} settings[] = {
	{ "cut", C_T_NET_CUT, true },
	{ "delay_us", C_T_NET_DELAY_US, false },
	{ "jitter_us", C_T_NET_JITTER_US, false },
	{ "loss_ppm", C_T_NET_LOSS_PPM, false },
	{ "rx_bytes_per_s", C_T_NET_RX_BYTES_S, false },
	{ "tx_bytes_per_s", C_T_NET_TX_BYTES_S, false },
	{ "rx_packets_per_s", C_T_NET_RX_PACKETS_S, false },
	{ "tx_packets_per_s", C_T_NET_TX_PACKETS_S, false },
};

void put_chaos(struct json_out *o, const struct wire_msg *m)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		uint64_t v = 0;

		wire_get_u64(m, settings[i].tag, &v);
		if (settings[i].flag)
			json_put_bool(o, settings[i].key, v != 0);
		else
			json_put_u64(o, settings[i].key, v);
	}
}

static void put_counters(struct json_out *o, const struct wire_msg *m)
{
	struct wire_iter it;
	struct wire_field f;
	struct wire_msg counter;
	char name[40];
	uint64_t v;

	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f))
		if (f.tag == C_T_COUNTER && !wire_sub(&f, &counter) && !wire_get_str(&counter, C_T_NAME, name, sizeof(name)) &&
		    wire_get_u64(&counter, C_T_COUNT, &v))
			json_put_u64(o, name, v);
}

static void chaos_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	(void)fds;
	(void)n_fds;
	reply_object(r, 200, m, put_chaos);
}

static void stats_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	(void)fds;
	(void)n_fds;
	reply_object(r, 200, m, put_counters);
}

static void late(struct req *r)
{
	reply_error(r, 503, "the VM's process did not answer in time");
}

/* NULL: answered. */
static struct buf *begin(struct req *r)
{
	const char *vm = vm_name(r);
	struct buf *b;

	if (!vm)
		return NULL;
	r->deadline_ms = now_mono_ms() + AGENT_ANSWER_MS;
	r->on_deadline = late;
	b = ask_begin(r, C_NET);
	wire_str(b, C_T_VM, vm);
	return b;
}

void h_net_chaos(struct req *r)
{
	if (begin(r))
		ask_send(r, chaos_answer);
}

void h_net_stats(struct req *r)
{
	if (begin(r))
		ask_send(r, stats_answer);
}

void h_net_heal(struct req *r)
{
	struct buf *b = begin(r);

	if (!b)
		return;
	wire_u64(b, C_T_NET_HEAL, 1);
	ask_send(r, chaos_answer);
}

/* false: answered. */
static bool take_setting(struct req *r, struct buf *b, const struct json_val *root, size_t i)
{
	bool flag = false;
	int64_t v = 0;
	int err = settings[i].flag ? json_get_bool(root, settings[i].key, &flag) : json_get_i64(root, settings[i].key, &v);

	if (err == -ENOENT)
		return true;
	if (err || v < 0) {
		reply_error(r, 400, "'%s' must be %s", settings[i].key, settings[i].flag ? "true or false" : "a whole number, 0 for none");
		return false;
	}
	wire_u64(b, settings[i].tag, settings[i].flag ? flag : (uint64_t)v);
	return true;
}

static bool is_setting(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		if (strcmp(settings[i].key, key) == 0)
			return true;
	return false;
}

void h_net_chaos_change(struct req *r)
{
	struct json j = { 0 };
	struct buf *b;
	bool good = true;

	if (!body_json(r, &j))
		return;
	for (const struct json_val *v = json_first(json_root(&j)); v && good; v = json_next(json_root(&j), v))
		if (!is_setting(v->key)) {
			reply_error(r, 400, "'%.40s' is no setting: cut, delay_us, jitter_us, loss_ppm, rx_bytes_per_s, tx_bytes_per_s, "
				    "rx_packets_per_s and tx_packets_per_s are", v->key);
			good = false;
		}
	b = good ? begin(r) : NULL;
	for (size_t i = 0; b && good && i < ARRAY_LEN(settings); i++)
		good = take_setting(r, b, json_root(&j), i);
	if (b && good)
		ask_send(r, chaos_answer);
	json_done(&j);
}
