/* vm top: what the agents say of their machines; rates are the difference of two samples. */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct opt top_opts[] = {
	{ "interval", 'i', OPT_DURATION, "TIME", "between two samples (default 1s)" },
	{ "count", 'c', OPT_NUMBER, "N", "that many tables, then end (default: until Ctrl-C on a terminal, else 1)" },
	{ "json", 0, OPT_FLAG, NULL, "one sample as the daemon's JSON" },
	{ 0 },
};

static const char *const titles[] = { "HOST", "IP", "CPU", "L1", "L5", "L15", "MEM_USED", "MEM_FREE", "DISK_USED%", "DISK_FREE",
	"NET_RX/s", "NET_TX/s", "DR/s", "DW/s", "UP" };
static const char *const rate_keys[] = { "networkReadTotal", "networkWriteTotal", "diskReadTotal", "diskWriteTotal" };

struct sample {
	struct answer an;
	uint64_t at_ms;
};

/* The elements: an array, or one object where a daemon sends that. */
static const struct json_val *first_of(const struct answer *an)
{
	const struct json_val *root = json_root(&an->json);
	return root && root->kind == JSON_OBJECT ? root : json_first(root);
}

static const struct json_val *next_of(const struct answer *an, const struct json_val *v)
{
	const struct json_val *root = json_root(&an->json);
	return v == root ? NULL : json_next(root, v);
}

/* What that sample knew of this VM; NULL: nothing. */
static const struct json_val *snapshot_of(const struct sample *s, const char *hostname)
{
	for (const struct json_val *v = first_of(&s->an); v; v = next_of(&s->an, v)) {
		const char *name = NULL;
		const struct json_val *snap = json_get(v, "snapshot");
		if (!json_get_str(v, "hostname", &name) && !strcmp(name, hostname))
			return snap && snap->kind == JSON_OBJECT ? snap : NULL;
	}
	return NULL;
}

static void bytes_cell(struct table *t, const struct json_val *snap, const char *key)
{
	char words[WORDS_MAX];
	int64_t n = -1;
	json_get_i64(snap, key, &n);
	table_cell(t, "%s", n >= 0 ? words_bytes((uint64_t)n, words) : "-");
}

static void real_cell(struct table *t, const struct json_val *snap, const char *key, const char *format)
{
	double d;
	char text[32] = "-";
	if (!json_get_real(snap, key, &d))
		snprintf(text, sizeof(text), format, d);
	table_cell(t, "%s", text);
}

/* A counter that went back belongs to another run of the VM: no rate. */
static void rate_cell(struct table *t, const struct json_val *now, const struct json_val *before, const char *key, uint64_t ms)
{
	char words[WORDS_MAX];
	int64_t a, b;
	if (!ms || json_get_i64(before, key, &a) || json_get_i64(now, key, &b) || a < 0 || b < a)
		table_cell(t, "-");
	else
		table_cell(t, "%s", words_bytes((uint64_t)((double)(b - a) * 1000.0 / (double)ms), words));
}

static void row(struct table *t, const struct json_val *v, const struct sample *now, const struct sample *before)
{
	const char *host = "?", *ip = "-", *up = "-";
	int64_t cpus = 0;
	json_get_str(v, "hostname", &host);
	json_get_str(v, "ip", &ip);
	table_cell(t, "%s", host);
	table_cell(t, "%s", ip);
	const struct json_val *snap = json_get(v, "snapshot");
	if (!snap || snap->kind != JSON_OBJECT) { /* paused, stopped, or silent */
		for (size_t i = 2; i < ARRAY_LEN(titles); i++)
			table_cell(t, "-");
		return;
	}
	const struct json_val *old = snapshot_of(before, host);
	json_get_i64(snap, "totalCpus", &cpus);
	json_get_str(snap, "uptime", &up);
	table_cell(t, "%lld", (long long)cpus);
	real_cell(t, snap, "loadAvg1", "%.2f");
	real_cell(t, snap, "loadAvg5", "%.2f");
	real_cell(t, snap, "loadAvg15", "%.2f");
	bytes_cell(t, snap, "memoryUsed");
	bytes_cell(t, snap, "memoryAvailable");
	real_cell(t, snap, "diskSpaceUsedPercent", "%.0f%%");
	bytes_cell(t, snap, "diskSpaceFree");
	for (size_t i = 0; i < ARRAY_LEN(rate_keys); i++)
		rate_cell(t, snap, old, rate_keys[i], now->at_ms - before->at_ms);
	table_cell(t, "%s", up);
}

static int take(const struct remote *r, const char *target, struct sample *s)
{
	int code = remote_ask(r, "GET", target, NULL, &s->an);
	s->at_ms = now_mono_ms();
	if (!code && s->an.status != 200) {
		code = remote_refused(r, EXIT_FAIL, s->an.status, &s->an.text, "cannot ask how the VMs are");
		answer_done(&s->an);
	} else if (!code && !json_root(&s->an.json)) {
		code = out_error(EXIT_FAIL, "the daemon answered with something else than expected", "'mica info' shows its version", "cannot read the answer");
		answer_done(&s->an);
	}
	return code;
}

static void show(const struct sample *now, const struct sample *before, bool screen)
{
	struct table t;
	table_init(&t, ARRAY_LEN(titles), titles);
	for (const struct json_val *v = first_of(&now->an); v; v = next_of(&now->an, v))
		row(&t, v, now, before);
	if (screen)
		fputs("\033[H\033[J", stdout);
	table_print(&t, stdout);
	fflush(stdout);
}

/* tables: 0 for no end. 130 after Ctrl-C. */
static int watch(const struct remote *r, const char *target, uint64_t tables, uint64_t interval_ms)
{
	struct sample before, now;
	bool screen = isatty(1) && tables != 1;
	int code = take(r, target, &before);
	if (code)
		return code;
	for (uint64_t i = 0; !code && (!tables || i < tables); i++) {
		struct pollfd p = { .fd = r->cancel_fd, .events = POLLIN };
		if (poll(&p, 1, interval_ms > INT32_MAX ? INT32_MAX : (int)interval_ms) > 0)
			code = tables ? 130 : EXIT_OK; /* Ctrl-C is how an endless one ends */
		else
			code = take(r, target, &now);
		if (code || p.revents)
			break;
		show(&now, &before, screen);
		answer_done(&before.an);
		before = now;
	}
	answer_done(&before.an);
	return code;
}

static int run_top(struct args *a)
{
	struct remote r;
	struct answer an;
	struct buf target;
	sigset_t old;
	char vm[VM_NAME_MAX];
	int code = remote_init(&r, a);
	if (!code && a->n_pos)
		code = vm_name_take(vm, a->pos[0]);
	if (!code && a->n_pos && !(code = vm_ask(&r, "GET", vm, "", NULL, &an, "cannot ask how the VM is"))) /* a friendly name becomes the hostname */
		answer_done(&an);
	if (code)
		return code;
	buf_init(&target, HTTP_TARGET_MAX);
	buf_adds(&target, a->n_pos ? "/node/" : "/nodes");
	if (a->n_pos)
		http_escape(&target, vm);
	buf_adds(&target, "/stats");
	AUTO_FD cancel = cancel_signals(&old);
	r.cancel_fd = cancel;
	const char *t = buf_cstr(&target);
	if (!t) {
		code = EXIT_FAIL;
	} else if (arg_flag(a, "json", false)) {
		struct sample s;
		code = take(&r, t, &s);
		if (!code) {
			printf("%s\n", buf_cstr(&s.an.text));
			answer_done(&s.an);
		}
	} else {
		code = watch(&r, t, arg_u64(a, "count", isatty(1) ? 0 : 1), arg_u64(a, "interval", 1000));
	}
	buf_done(&target);
	return code;
}

const struct cmd cmd_vm_top = { .group = "vm", .name = "top", .shortcut = "top", .synopsis = "[VM]",
	.summary = "Show load, memory, disk and network of the VMs", .opts = top_opts,
	.examples = "mica vm top\nmica vm top vm-1 --interval 5s --count 3\nmica vm top --json", .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_top };
