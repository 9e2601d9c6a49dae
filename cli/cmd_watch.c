/* fs watch: file changes in a VM as they happen (server-sent events, contract §1.10). */
#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/out.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct opt watch_opts[] = {
	{ "pattern", 0, OPT_LIST, "GLOB", "only paths or names that match" },
	{ "event", 0, OPT_LIST, "KIND", "only create, write, remove, rename or chmod (default: all)" },
	{ "recursive", 'r', OPT_FLAG, NULL, "also in the folders below" },
	{ "debounce", 0, OPT_DURATION, "TIME", "one event for changes of a path within that time" },
	{ "stream", 0, OPT_FLAG, NULL, "until Ctrl-C or another limit (default; =false: as --one-shot)" },
	{ "one-shot", 0, OPT_FLAG, NULL, "end after the first event" },
	{ "max-events", 0, OPT_NUMBER, "N", "end after so many events" },
	{ "timeout", 0, OPT_DURATION, "TIME", "end after that" },
	{ "uid", 0, OPT_NUMBER, "N", "user to look as (default: root)" },
	{ "json", 0, OPT_FLAG, NULL, "print each event as a JSON object in a line" },
	{ 0 },
};

struct watch {
	struct json json;
	bool as_json;
	uint64_t events;
};

static void print_event(struct watch *w, const char *p, size_t n)
{
	const struct json_val *v = json_root(&w->json);
	const char *type = "?", *path = "", *time = "-", *message = "";
	int64_t size = 0;
	bool dir = false;
	char words[WORDS_MAX], clean[4200];
	if (w->as_json) {
		printf("%.*s\n", (int)n, p);
		return;
	}
	json_get_str(v, "type", &type);
	json_get_str(v, "path", &path);
	json_get_str(v, "timestamp", &time);
	json_get_str(v, "message", &message);
	json_get_i64(v, "size", &size);
	json_get_bool(v, "isDir", &dir);
	out_clean(clean, sizeof(clean), *path ? path : message);
	printf("%-30s %-7s %9s %s%s\n", time, type, dir ? "-" : words_bytes((uint64_t)size, words), clean, dir && *path ? "/" : "");
}

/* "data: {…}"; other fields, comments and blank lines say nothing new. */
static int on_line(struct lines *l, const char *p, size_t n)
{
	struct watch *w = l->arg;
	if (n && p[n - 1] == '\r')
		n--;
	if (n < 5 || memcmp(p, "data:", 5))
		return 0;
	p += 5, n -= 5;
	if (n && *p == ' ')
		p++, n--;
	if (json_parse_next(&w->json, p, n, 100, NULL) || json_root(&w->json)->kind != JSON_OBJECT)
		return out_error(EXIT_FAIL, "an event is no JSON object", "'mica info' shows the daemon's version", "%s", l->doing);
	w->events++;
	print_event(w, p, n);
	return fflush(stdout) ? EXIT_FAIL : 0; /* the reading end of a pipe has gone */
}

static int build(struct buf *tail, const struct args *a, bool one_shot)
{
	const char *v;
	bool first = true;
	unsigned i = 0;
	buf_adds(tail, "/fs/watch");
	for (int p = 1; p < a->n_pos; p++)
		http_add_param(tail, &first, "paths", a->pos[p]);
	while ((v = arg_next(a, "pattern", &i)))
		http_add_param(tail, &first, "patterns", v);
	for (i = 0; (v = arg_next(a, "event", &i));)
		http_add_param(tail, &first, "events", v);
	http_add_param(tail, &first, "recursive", arg_flag(a, "recursive", false) ? "true" : NULL);
	http_add_param(tail, &first, "one_shot", one_shot ? "true" : NULL);
	http_add_param(tail, &first, "debounce", arg_text(a, "debounce"));
	http_add_param(tail, &first, "timeout", arg_text(a, "timeout"));
	http_add_param(tail, &first, "max_events", arg_text(a, "max-events"));
	http_add_param(tail, &first, "uid", arg_text(a, "uid"));
	return buf_cstr(tail) ? 0 : out_error(EXIT_USAGE, "a request line has its limits", "watch a folder above with --recursive", "too many paths");
}

static int run_watch(struct args *a)
{
	struct remote r;
	struct buf tail;
	struct watch w = { .as_json = arg_flag(a, "json", false) };
	char vm[VM_NAME_MAX], doing[VM_NAME_MAX + 40];
	bool one_shot = arg_flag(a, "one-shot", !arg_flag(a, "stream", true)), limited = one_shot || arg_text(a, "timeout") || arg_text(a, "max-events");
	sigset_t old;
	int code = vm_name_take(vm, a->pos[0]);
	buf_init(&tail, HTTP_TARGET_MAX);
	if (!code)
		code = build(&tail, a, one_shot);
	if (!code)
		code = remote_init(&r, a);
	if (!code) {
		snprintf(doing, sizeof(doing), "cannot watch in %s", vm);
		struct lines l = { .line = on_line, .arg = &w, .fail = EXIT_FAIL, .doing = doing };
		r.cancel_fd = cancel_signals(&old);
		code = lines_read(&r, vm, buf_cstr(&tail), &l);
		fd_close(&r.cancel_fd);
		if (code == LINES_END && !limited)
			code = out_error(EXIT_FAIL, "the answer ended: the VM, its agent or the daemon went away", "'mica vm list' shows its status",
				"%s", doing);
		else if (code == LINES_END && one_shot && !w.events)
			code = out_error(EXIT_FAIL, "the time is over", "--timeout waits longer", "nothing happened in %s", vm);
		else if (code == LINES_END)
			code = 0;
	}
	buf_done(&tail);
	json_done(&w.json);
	return code;
}

const struct cmd cmd_fs_watch = { .group = "fs", .name = "watch", .synopsis = "VM PATH…", .summary = "Print file changes in a VM as they happen",
	.opts = watch_opts,
	.examples = "mica fs watch vm-1 /srv --recursive --pattern '*.c'\nmica fs watch vm-1 work/dist --event create --one-shot --timeout 5m\n"
		    "mica fs watch vm-1 /var/log --json | jq .path\nexit code: 130 after Ctrl-C; 1 when --one-shot saw nothing",
	.min_pos = 2, .max_pos = -1, .command_at = -1, .flags = CMD_REMOTE, .run = run_watch };
