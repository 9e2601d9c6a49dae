/* vm net cut, heal, delay, loss, limit, stats: what a VM's network card does to packets, changed while it runs. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/net.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <stdio.h>

static const struct opt json_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static int bad(const char *what, const char *text, const char *fix)
{
	char shown[60];
	out_clean(shown, sizeof(shown), text);
	return out_error(EXIT_USAGE, NULL, fix, "'%s' is no %s", shown, what);
}

/* ---- asking ---- */

static void print_chaos(const char *vm, const struct json_val *v)
{
	char name[VM_NAME_MAX], words[300];
	out_clean(name, sizeof(name), vm);
	net_chaos_words(v, words, sizeof(words));
	printf("%s: %s\n", name, words[0] ? words : "as it should be");
}

/* body NULL: only looks, or heals with method DELETE. */
static int change(struct args *a, const char *method, const struct buf *body)
{
	struct remote r;
	struct answer an;
	char name[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, method, "/net/chaos", body, name, &an, "change the network of");
	if (code)
		return code;
	if (!answer_as_json(a, &an))
		print_chaos(name, json_root(&an.json));
	answer_done(&an);
	return 0;
}

struct setting {
	const char *key;
	uint64_t value;
};

static int change_to(struct args *a, const struct setting *s, unsigned n)
{
	struct buf body;
	struct json_out o;
	buf_init(&body, 4096);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	for (unsigned i = 0; i < n; i++)
		json_put_u64(&o, s[i].key, s[i].value);
	json_end(&o);
	int code = change(a, "PATCH", &body);
	buf_done(&body);
	return code;
}

/* ---- the verbs ---- */

static int run_cut(struct args *a)
{
	struct buf body;
	buf_init(&body, 64);
	buf_adds(&body, "{\"cut\":true}");
	int code = change(a, "PATCH", &body);
	buf_done(&body);
	return code;
}

static int run_heal(struct args *a)
{
	return change(a, "DELETE", NULL);
}

static int run_delay(struct args *a)
{
	struct setting s[2] = { { "delay_us", 0 }, { "jitter_us", 0 } };
	const char *jitter = arg_text(a, "jitter");
	if (!net_time_us(a->pos[1], &s[0].value))
		return bad("delay", a->pos[1], "write 100ms, 250us or 1s, at most 60s; 0ms for none");
	if (jitter && (!net_time_us(jitter, &s[1].value) || s[1].value > s[0].value))
		return bad("jitter", jitter, "write 10ms, at most as long as the delay");
	return change_to(a, s, 2);
}

static int run_loss(struct args *a)
{
	struct setting s = { "loss_ppm", 0 };
	if (!net_share_ppm(a->pos[1], &s.value))
		return bad("loss", a->pos[1], "write 5% or 0.1%, at most 100%; 0% for none");
	return change_to(a, &s, 1);
}

static int run_limit(struct args *a)
{
	struct setting s[4];
	unsigned n = 0;
	const char *rate = a->n_pos > 1 ? a->pos[1] : NULL, *pps = arg_text(a, "pps");
	bool in = arg_flag(a, "in", false), out = arg_flag(a, "out", false);
	uint64_t v;
	if (!rate && !pps)
		return out_error(EXIT_USAGE, "neither a rate nor --pps is given", "mica vm net limit VM 10mbit", "there is nothing to limit");
	if (rate && !net_rate_bytes_s(rate, &v))
		return bad("rate", rate, "write 10mbit, 512kbit or 5MiB (a second); 0bit for none");
	for (int way = 0; rate && way < 2; way++)
		if ((way ? out : in) || in == out)
			s[n++] = (struct setting){ way ? "tx_bytes_per_s" : "rx_bytes_per_s", v };
	if (pps && !net_count(pps, &v))
		return bad("number of packets", pps, "write 5000 or 10k; 0 for none");
	for (int way = 0; pps && way < 2; way++)
		if ((way ? out : in) || in == out)
			s[n++] = (struct setting){ way ? "tx_packets_per_s" : "rx_packets_per_s", v };
	return change_to(a, s, n);
}

static int run_stats(struct args *a)
{
	static const char *const titles[] = { "COUNTER", "VALUE" };
	struct remote r;
	struct answer an;
	struct table t;
	char name[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, "GET", "/net/stats", NULL, name, &an, "read the network counters of");
	if (code)
		return code;
	if (!answer_as_json(a, &an)) {
		table_init(&t, ARRAY_LEN(titles), titles);
		for (const struct json_val *v = json_first(json_root(&an.json)); v; v = json_next(json_root(&an.json), v)) {
			char key[60];
			out_clean(key, sizeof(key), v->key ? v->key : "?");
			table_cell(&t, "%s", key);
			table_cell(&t, "%lld", (long long)json_int(json_root(&an.json), v->key));
		}
		table_print(&t, stdout);
	}
	answer_done(&an);
	return 0;
}

#define NET_CMD(...) { .group = "vm net", .command_at = -1, .flags = CMD_REMOTE, __VA_ARGS__ }

const struct cmd cmd_net_cut = NET_CMD(.name = "cut", .synopsis = "VM",
	.summary = "Take the VM's network away: its link is down, packets are dropped both ways",
	.opts = json_opts, .examples = "mica vm net cut db-1\nmica vm net heal db-1", .min_pos = 1, .max_pos = 1, .run = run_cut);

const struct cmd cmd_net_heal = NET_CMD(.name = "heal", .synopsis = "VM", .summary = "End cut, delay, loss and limit; limits of the host group stay",
	.opts = json_opts, .examples = "mica vm net heal db-1", .min_pos = 1, .max_pos = 1, .run = run_heal);

static const struct opt delay_opts[] = {
	{ "jitter", 0, OPT_TEXT, "TIME", "more or less by up to that, evenly; packets keep their order" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};
const struct cmd cmd_net_delay = NET_CMD(.name = "delay", .synopsis = "VM TIME",
	.summary = "Hold every packet that leaves the VM: each round trip takes longer by that",
	.opts = delay_opts, .examples = "mica vm net delay db-1 100ms --jitter 10ms\nmica vm net delay db-1 0ms", .min_pos = 2, .max_pos = 2, .run = run_delay);

const struct cmd cmd_net_loss = NET_CMD(.name = "loss", .synopsis = "VM SHARE%", .summary = "Lose that share of packets, each way",
	.opts = json_opts, .examples = "mica vm net loss db-1 5%\nmica vm net loss db-1 0%", .min_pos = 2, .max_pos = 2, .run = run_loss);

static const struct opt limit_opts[] = {
	{ "pps", 0, OPT_TEXT, "N", "packets a second; 0 for no limit" },
	{ "in", 0, OPT_FLAG, NULL, "only what comes into the VM" },
	{ "out", 0, OPT_FLAG, NULL, "only what leaves it" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};
const struct cmd cmd_net_limit = NET_CMD(.name = "limit", .synopsis = "VM [RATE]",
	.summary = "Let only so much through, each way; beside the host group's own limit the stricter holds",
	.opts = limit_opts, .examples = "mica vm net limit db-1 10mbit\nmica vm net limit db-1 --pps 1k --out\nmica vm net limit db-1 0bit",
	.min_pos = 1, .max_pos = 2, .run = run_limit);

const struct cmd cmd_net_stats = NET_CMD(.name = "stats", .synopsis = "VM", .summary = "What the VM's network card counted: packets, bytes, drops by reason",
	.opts = json_opts, .examples = "mica vm net stats db-1\nmica vm net stats db-1 --json", .min_pos = 1, .max_pos = 1, .run = run_stats);
