/* vm bg: what became of commands in the background, and their end (contract §1.8). */
#include "cli/bg.h"
#include "cli/cli.h"
#include "cli/out.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define WAIT_ROUND_S 60u   /* one question; the daemon takes up to 600 */
#define EXIT_TIMEOUT 124   /* as timeout(1) */

/* ---- list, info ---- */

static const struct opt json_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

/* "running", "exit 3", "signal TERM" */
static void state_of(const struct json_val *v, char *dst, size_t cap)
{
	bool running = false;
	const char *signal = "";
	json_get_bool(v, "running", &running);
	json_get_str(v, "signal", &signal);
	if (running)
		snprintf(dst, cap, "running");
	else if (*signal)
		snprintf(dst, cap, "signal %s", signal);
	else if (json_get(v, "exit_code"))
		snprintf(dst, cap, "exit %lld", (long long)json_int(v, "exit_code"));
	else
		snprintf(dst, cap, "ended");
}

static void command_of(const struct json_val *v, char *dst, size_t cap)
{
	const struct json_val *args = json_get(v, "args");
	size_t n = (size_t)snprintf(dst, cap, "%s", json_text(v, "command", "?"));
	for (const struct json_val *w = json_first(args); w && n < cap; w = json_next(args, w))
		n += (size_t)snprintf(dst + n, cap - n, " %s", json_str(w) ? json_str(w) : "?");
}

static const struct opt list_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ "quiet", 'q', OPT_FLAG, NULL, "ids only" },
	{ 0 },
};

static void print_ids(const struct json_val *list)
{
	char clean[80];
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
		out_clean(clean, sizeof(clean), json_text(v, "exec_id", "?"));
		puts(clean);
	}
}

static int run_list(struct args *a)
{
	static const char *const titles[] = { "EXEC_ID", "PID", "UID", "STATE", "STARTED", "WRITTEN", "COMMAND" };
	struct remote r;
	struct answer an;
	struct table t;
	char vm[VM_NAME_MAX], state[64], command[100], size[WORDS_MAX], age[WORDS_MAX];
	int code = vm_ask_first(a, &r, "GET", "/exec", NULL, vm, &an, "list the commands in");
	if (code)
		return code;
	const struct json_val *list = json_root(&an.json);
	if (!list || list->kind != JSON_ARRAY)
		return answer_odd(&an);
	if (arg_flag(a, "quiet", false)) {
		print_ids(list);
	} else if (!answer_as_json(a, &an)) {
		table_init(&t, ARRAY_LEN(titles), titles);
		for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
			state_of(v, state, sizeof(state));
			command_of(v, command, sizeof(command));
			table_cell(&t, "%s", json_text(v, "exec_id", "?"));
			table_cell(&t, "%lld", (long long)json_int(v, "pid"));
			table_cell(&t, "%lld", (long long)json_int(v, "uid"));
			table_cell(&t, "%s", state);
			table_cell(&t, "%s", words_age(rfc3339_age_s(json_text(v, "started_at", "")), age));
			table_cell(&t, "%s", words_bytes((uint64_t)json_int(v, "bytes_written"), size));
			table_cell(&t, "%s", command);
		}
		table_print(&t, stdout);
	}
	answer_done(&an);
	return 0;
}

static void row(const char *label, const char *value)
{
	char clean[1024];
	out_clean(clean, sizeof(clean), value);
	printf("%-10s %s\n", label, clean);
}

static int run_info(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX], text[1024], n[WORDS_MAX];
	int code = bg_begin(a, &r, vm);
	if (!code)
		code = bg_ask(&r, vm, "GET", a->pos[1], "", NULL, EXIT_FAIL, "look at", &an);
	if (code)
		return code;
	const struct json_val *v = json_root(&an.json);
	if (!v)
		return answer_odd(&an);
	if (!answer_as_json(a, &an)) {
		row("Exec:", json_text(v, "exec_id", "?"));
		state_of(v, text, sizeof(text));
		row("State:", text);
		command_of(v, text, sizeof(text));
		row("Command:", text);
		row("Folder:", json_text(v, "cwd", "-"));
		snprintf(text, sizeof(text), "%lld", (long long)json_int(v, "pid"));
		row("Pid:", text);
		snprintf(text, sizeof(text), "%lld", (long long)json_int(v, "uid"));
		row("User:", text);
		row("Started:", json_text(v, "started_at", "-"));
		row("Ended:", json_text(v, "ended_at", "-"));
		row("Written:", words_bytes((uint64_t)json_int(v, "bytes_written"), n));
		row("Dropped:", words_bytes((uint64_t)json_int(v, "bytes_dropped"), n));
		row("Ring:", words_bytes((uint64_t)json_int(v, "ring_bytes"), n));
	}
	answer_done(&an);
	return 0;
}

/* ---- kill, wait, remove ---- */

static const struct opt kill_opts[] = {
	{ "signal", 0, OPT_TEXT, "NAME", "TERM (default), KILL, INT, HUP, QUIT, USR1 or USR2" },
	{ "grace", 0, OPT_DURATION, "TIME", "after TERM: until KILL follows (default 5s)" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static int run_kill(struct args *a)
{
	struct remote r;
	struct answer an;
	struct buf body;
	struct json_out o;
	char vm[VM_NAME_MAX];
	bool running = false;
	int code = bg_begin(a, &r, vm);
	if (code)
		return code;
	buf_init(&body, 4096);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_put_str(&o, "signal", arg_text(a, "signal") ? arg_text(a, "signal") : "TERM");
	json_put_u64(&o, "grace_ms", arg_u64(a, "grace", 5000));
	json_end(&o);
	code = bg_ask(&r, vm, "POST", a->pos[1], "/kill", &body, EXIT_FAIL, "kill", &an);
	buf_done(&body);
	if (code)
		return code;
	const char *sent = json_text(json_root(&an.json), "signal_sent", "");
	json_get_bool(json_root(&an.json), "running", &running);
	if (!answer_as_json(a, &an)) {
		char clean[64];
		out_clean(clean, sizeof(clean), sent);
		printf(*sent ? "%s: %s sent\n" : "%s: it had ended before%s\n", a->pos[1], clean);
	}
	answer_done(&an);
	return 0;
}

static const struct opt wait_opts[] = {
	{ "timeout", 0, OPT_DURATION, "TIME", "give up after that, with exit code 124 (default: wait until it ends)" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

/* One question. 1: it has ended, 0: not yet (an is freed), -1: *code. */
static int wait_once(const struct remote *r, char vm[VM_NAME_MAX], const char *id, uint64_t seconds, struct answer *an, int *code)
{
	char what[64];
	bool running = true;
	snprintf(what, sizeof(what), "/wait-exit?timeout=%llu", (unsigned long long)seconds);
	*code = bg_ask(r, vm, "GET", id, what, NULL, EXIT_OURS, "wait for", an);
	if (*code)
		return -1;
	if (json_get_bool(json_root(&an->json), "running", &running)) {
		answer_odd(an);
		*code = EXIT_OURS;
		return -1;
	}
	if (!running)
		return 1;
	answer_done(an);
	return 0;
}

static int run_wait(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX], state[64];
	sigset_t old;
	bool limited = arg_text(a, "timeout") != NULL;
	uint64_t end_ms = now_mono_ms() + arg_u64(a, "timeout", 0);
	int code = bg_begin(a, &r, vm), got = 0;
	if (code)
		return code;
	r.cancel_fd = cancel_signals(&old);
	for (bool last = false; !got && !last;) {
		uint64_t now = now_mono_ms(), seconds = WAIT_ROUND_S;
		if (limited) { /* whole seconds, rounded up: the last question may ask a little longer */
			uint64_t left = now < end_ms ? (end_ms - now + 999) / 1000 : 0;
			last = left <= seconds;
			seconds = last ? left : seconds;
		}
		got = wait_once(&r, vm, a->pos[1], seconds, &an, &code);
	}
	if (got < 0)
		return code;
	if (!got)
		return out_error(EXIT_TIMEOUT, "it still runs", "wait longer, or 'mica vm bg kill' it", "%s has not ended", a->pos[1]);
	const struct json_val *v = json_root(&an.json);
	int64_t exit_code = -1;
	if (json_get_i64(v, "exit_code", &exit_code) || exit_code < 0 || exit_code > 255) { /* never made up */
		answer_odd(&an);
		return EXIT_OURS;
	}
	if (!answer_as_json(a, &an)) {
		state_of(v, state, sizeof(state));
		printf("%s: %s\n", a->pos[1], state);
	}
	answer_done(&an);
	return (int)exit_code;
}

static int run_remove(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int failed = 0, code = bg_begin(a, &r, vm);
	for (int i = 1; i < a->n_pos && !code; i++) {
		int one = bg_ask(&r, vm, "DELETE", a->pos[i], "", NULL, EXIT_FAIL, "remove", &an);
		failed = failed ? failed : one;
		if (one)
			continue;
		if (!answer_as_json(a, &an))
			printf("%s removed\n", a->pos[i]);
		answer_done(&an);
	}
	return code ? code : failed;
}

const struct cmd cmd_bg_list = { .group = "vm bg", .name = "list", .aliases = "ls", .synopsis = "VM", .summary = "List the commands in the background of a VM",
	.opts = list_opts, .examples = "mica vm bg list vm-1\nmica vm bg list vm-1 --json", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_list };
const struct cmd cmd_bg_info = { .group = "vm bg", .name = "info", .aliases = "status", .synopsis = "VM ID", .summary = "Show one command in the background",
	.opts = json_opts, .examples = "mica vm bg info vm-1 ex_1f0a", .min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_info };
const struct cmd cmd_bg_kill = { .group = "vm bg", .name = "kill", .aliases = "stop", .synopsis = "VM ID", .summary = "Send the command and its children a signal",
	.opts = kill_opts, .examples = "mica vm bg kill vm-1 ex_1f0a\nmica vm bg kill vm-1 ex_1f0a --signal INT\nmica vm bg kill vm-1 ex_1f0a --grace 30s",
	.min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_kill };
const struct cmd cmd_bg_wait = { .group = "vm bg", .name = "wait", .synopsis = "VM ID", .summary = "Wait until the command ends; its exit code is ours",
	.opts = wait_opts, .examples = "mica vm bg wait vm-1 ex_1f0a --timeout 10m\nexit code: the command's; 124 it still runs; 125 mica could not wait for it",
	.min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_wait };
const struct cmd cmd_bg_remove = { .group = "vm bg", .name = "remove", .aliases = "rm delete reap", .synopsis = "VM ID…",
	.summary = "Forget commands that have ended, and their output", .opts = json_opts, .examples = "mica vm bg remove vm-1 ex_1f0a",
	.min_pos = 2, .max_pos = -1, .command_at = -1, .flags = CMD_REMOTE, .run = run_remove };
