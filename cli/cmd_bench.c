/* bench: how long VMs take to start, so many at once. */
#include "cli/bench.h"
#include "cli/out.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX (1u << 20)

static const struct opt bench_opts[] = {
	{ "hostgroup", 0, OPT_TEXT, "GROUP", "host group to launch in (default: the only one)" },
	{ "concurrency", 0, OPT_TEXT, "N,N…", "launches at once, one row each (default 1,5,10)" },
	{ "runs", 0, OPT_NUMBER, "N", "how often each is repeated (default 3)" },
	{ "wait", 0, OPT_TEXT, "WHAT", "agent (default), userdata, or none" },
	{ "timeout", 0, OPT_DURATION, "TIME", "for one VM (default 5m)" },
	{ "verbose", 0, OPT_FLAG, NULL, "a line for each VM on stderr" },
	{ "json", 0, OPT_FLAG, NULL, "print JSON: receipt, config, observations, summary" },
	{ "keep", 0, OPT_FLAG, NULL, "leave the VMs running" },
	{ 0 },
};

struct launch {
	struct call call;
	struct buf text;
	uint64_t start_ns;
	bool open;
	struct observation *seen;
};
/* ---- one launch ---- */

static void launch_over(struct bench *b, struct launch *l, const char *error)
{
	struct observation *o = l->seen;
	o->ns = now_mono_ns() - l->start_ns;
	o->ok = !error;
	out_clean(o->error, sizeof(o->error), error ? error : "");
	if (l->open)
		call_done(&l->call);
	buf_done(&l->text);
	l->open = false;
	if (b->verbose)
		out_note("%u at once, run %u: %s %.1f ms%s%s", o->at_once, o->run, o->hostname[0] ? o->hostname : "-", (double)o->ns / 1e6, error ? ": " : "", o->error);
}

static void launch_begin(struct bench *b, struct launch *l, struct observation *o)
{
	struct fault f = { "" };
	struct buf body, target, extra;
	struct json_out j;
	char tag[40];
	bool first = true;
	*l = (struct launch){ .start_ns = now_mono_ns(), .seen = o };
	buf_init(&l->text, ANSWER_MAX);
	buf_init(&body, 4096);
	buf_init(&target, 4096);
	buf_init(&extra, 4096);
	snprintf(tag, sizeof(tag), "bench=%s", b->id);
	json_out_init(&j, &body);
	json_obj(&j, NULL);
	json_put_bool(&j, "persistent", false);
	json_arr(&j, "tags");
	json_put_str(&j, NULL, tag);
	json_end(&j);
	json_end(&j);
	buf_adds(&target, "/hostgroup/");
	http_escape(&target, b->group);
	buf_adds(&target, "/nodes");
	http_add_param(&target, &first, "wait", b->wait);
	http_add_param(&target, &first, "timeout", b->timeout);
	http_add_field(&extra, "Content-Type", "application/json");
	int err = call_open(&l->call, &b->r, "POST", buf_cstr(&target), CALL_LENGTH, buf_len(&body), &extra, &f);
	l->open = !err;
	if (!err)
		err = call_send(&l->call, buf_data(&body), buf_len(&body));
	if (err)
		launch_over(b, l, f.text[0] ? f.text : strerror(-err));
	buf_done(&body);
	buf_done(&target);
	buf_done(&extra);
}

static void launch_answered(struct bench *b, struct launch *l)
{
	char cause[256], error[300];
	const char *hostname = "";
	struct json j;
	if (!json_parse(&j, buf_data(&l->text), buf_len(&l->text), 10000, NULL)) {
		json_get_str(json_root(&j), "hostname", &hostname);
		out_clean(l->seen->hostname, sizeof(l->seen->hostname), hostname);
		json_done(&j);
	}
	if (l->call.head.status < 300 && l->seen->hostname[0]) {
		launch_over(b, l, NULL);
		return;
	}
	remote_error_text(&l->text, cause, sizeof(cause));
	snprintf(error, sizeof(error), "%s (HTTP %d)", cause, l->call.head.status);
	launch_over(b, l, error);
}

static void launch_step(struct bench *b, struct launch *l, short events)
{
	struct fault f = { "" };
	const uint8_t *p;
	size_t n;
	int err = call_flush(&l->call), got = 0;
	if (!err && (events & (POLLIN | POLLHUP | POLLERR)))
		err = call_fill(&l->call);
	if (!err)
		err = got = call_head(&l->call, &f);
	while (got > 0 && (got = err = call_piece(&l->call, &p, &n, &f)) == 1)
		if (buf_add(&l->text, p, n)) {
			err = fault_set(&f, -E2BIG, "the answer is too long");
			break;
		}
	if (err < 0)
		launch_over(b, l, f.text[0] ? f.text : strerror(-err));
	else if (got == 2)
		launch_answered(b, l);
}

/* All of one run at once. 0, or 130 after Ctrl-C. */
static int launch_many(struct bench *b, unsigned n, unsigned run)
{
	struct pollfd p[AT_ONCE_MAX + 1];
	for (unsigned i = 0; i < n; i++) {
		struct observation *o = &b->seen[b->n_seen++];
		*o = (struct observation){ .at_once = n, .run = run };
		launch_begin(b, &b->launches[i], o);
	}
	for (;;) {
		unsigned open = 0;
		for (unsigned i = 0; i < n; i++) {
			const struct launch *l = &b->launches[i];
			p[i] = (struct pollfd){ .fd = l->open ? l->call.fd : -1, .events = (short)(POLLIN | (l->open && call_has_out(&l->call) ? POLLOUT : 0)) };
			open += l->open;
		}
		p[n] = (struct pollfd){ .fd = b->r.cancel_fd, .events = POLLIN };
		if (!open)
			return 0;
		if (poll(p, n + 1, -1) < 0 && errno != EINTR)
			return out_error(EXIT_FAIL, strerror(errno), NULL, "cannot wait for the answers");
		bool cancelled = p[n].revents;
		for (unsigned i = 0; i < n; i++) {
			if (b->launches[i].open && cancelled)
				launch_over(b, &b->launches[i], "cancelled");
			else if (b->launches[i].open && p[i].revents)
				launch_step(b, &b->launches[i], p[i].revents);
		}
		if (cancelled)
			return 130;
	}
}

/* By tag, so that also those go whose answer never came. */
static int clean_up(const struct bench *b)
{
	struct remote r = b->r;
	struct answer list, gone = { 0 };
	char target[64];
	r.cancel_fd = -1; /* nothing is left behind for a Ctrl-C */
	snprintf(target, sizeof(target), "/nodes?tag=bench%%3D%s", b->id);
	int code = remote_ask(&r, "GET", target, NULL, &list);
	if (code)
		return code;
	const struct json_val *root = json_root(&list.json);
	if (list.status != 200)
		code = remote_refused(&r, EXIT_FAIL, list.status, &list.text, "cannot remove the VMs of the bench");
	for (const struct json_val *v = json_first(root); v; v = json_next(root, v)) {
		const char *hostname = "", *group = b->group;
		struct buf t;
		json_get_str(v, "hostname", &hostname);
		json_get_str(v, "hostgroup", &group);
		buf_init(&t, 4096);
		buf_adds(&t, "/hostgroup/");
		http_escape(&t, group);
		buf_adds(&t, "/nodes/");
		http_escape(&t, hostname);
		int one = *hostname && buf_cstr(&t) ? remote_ask(&r, "DELETE", buf_cstr(&t), NULL, &gone) : EXIT_FAIL;
		buf_done(&t);
		if (!one && gone.status >= 300 && gone.status != 404)
			one = remote_refused(&r, EXIT_FAIL, gone.status, &gone.text, "cannot delete a VM of the bench");
		answer_done(&gone);
		gone = (struct answer){ 0 };
		code = code ? code : one;
	}
	answer_done(&list);
	return code;
}

/* ---- the command ---- */

static int take_levels(struct bench *b, const char *text)
{
	while (*text) {
		char one[8];
		uint64_t n;
		size_t len = strcspn(text, ",");
		if (!len || len >= sizeof(one) || b->n_levels == LEVELS_MAX)
			break;
		memcpy(one, text, len);
		one[len] = 0;
		if (parse_u64(one, AT_ONCE_MAX, &n) || !n)
			break;
		b->levels[b->n_levels++] = (unsigned)n;
		text += len + (text[len] == ',' && text[len + 1]);
	}
	if (!*text && b->n_levels)
		return 0;
	return out_error(EXIT_USAGE, "numbers from 1 to 256, commas between, at most 32", "--concurrency 1,5,10", "--concurrency: cannot read '%s'", text);
}

static int take_args(struct bench *b, const struct args *a)
{
	const char *wait = arg_text(a, "wait");
	uint8_t id[8];
	uint64_t runs = arg_u64(a, "runs", 3);
	if (wait && strcmp(wait, "agent") && strcmp(wait, "userdata") && strcmp(wait, "none"))
		return out_error(EXIT_USAGE, "it is none of agent, userdata, none", "--wait agent", "--wait=%s", wait);
	if (!runs || runs > RUNS_MAX)
		return out_error(EXIT_USAGE, "from 1 to 1000", "--runs 3", "--runs=%llu", (unsigned long long)runs);
	b->wait = !wait ? "agent" : strcmp(wait, "none") ? wait : NULL;
	b->timeout = arg_text(a, "timeout") ? arg_text(a, "timeout") : "5m";
	b->runs = (unsigned)runs;
	b->verbose = arg_flag(a, "verbose", false);
	b->json = arg_flag(a, "json", false);
	b->keep = arg_flag(a, "keep", false);
	rfc3339_format(now_real_ns(), b->started);
	if (random_fill(id, sizeof(id)))
		return EXIT_FAIL;
	hex_encode(id, sizeof(id), b->id);
	return take_levels(b, arg_text(a, "concurrency") ? arg_text(a, "concurrency") : "1,5,10");
}

static int measure(struct bench *b)
{
	size_t all = 0;
	for (unsigned i = 0; i < b->n_levels; i++)
		all += (size_t)b->levels[i] * b->runs;
	b->seen = calloc(all, sizeof(*b->seen));
	b->launches = calloc(AT_ONCE_MAX, sizeof(*b->launches));
	if (!b->seen || !b->launches)
		return out_error(EXIT_FAIL, strerror(ENOMEM), "ask for fewer runs", "cannot keep the results");
	int code = 0;
	for (unsigned i = 0; i < b->n_levels && !code; i++)
		for (unsigned run = 1; run <= b->runs && !code; run++) {
			code = launch_many(b, b->levels[i], run);
			int cleaned = b->keep ? 0 : clean_up(b);
			code = code ? code : cleaned;
		}
	return code;
}

static int run_bench(struct args *a)
{
	static struct bench b;
	sigset_t old;
	const struct observation *bad = NULL;
	unsigned failures = 0;
	int code = take_args(&b, a);
	if (!code)
		code = remote_init(&b.r, a);
	if (!code)
		code = arg_text(a, "hostgroup") ? vm_name_take(b.group, arg_text(a, "hostgroup")) : group_only(&b.r, b.group);
	if (code)
		return code;
	AUTO_FD cancel = cancel_signals(&old);
	b.r.cancel_fd = cancel;
	code = measure(&b);
	for (size_t i = 0; i < b.n_seen; i++)
		if (!b.seen[i].ok) {
			bad = bad ? bad : &b.seen[i];
			failures++;
		}
	if (b.json && b.n_seen)
		code = bench_print_json(&b) ? EXIT_FAIL : code;
	else if (b.n_seen)
		bench_print_table(&b);
	if (bad && code != 130)
		code = out_error(EXIT_FAIL, bad->error, "'mica doctor' tests the host; --verbose says more", "%u of %zu launches failed", failures, b.n_seen);
	free(b.seen);
	free(b.launches);
	return code;
}

const struct cmd cmd_bench = { .name = "bench", .summary = "Measure how long VMs take to start, one and many at once", .opts = bench_opts,
	.examples = "mica bench\nmica bench --hostgroup sbox --concurrency 1,4,16 --runs 5\nmica bench --wait none --json > bench.json",
	.command_at = -1, .flags = CMD_REMOTE, .run = run_bench };
