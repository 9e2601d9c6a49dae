/* vm bg exec, logs: commands that go on in a VM without us (contract §1.8), and what they write. */
#include "cli/bg.h"
#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/lines.h"
#include "cli/out.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- logs ---- */

struct log_view {
	struct json json;
	struct buf scratch;
	bool raw, ended;
	int exit_code, cancel_fd;
};

static int put(struct lines *l, int fd, const void *p, size_t n)
{
	const struct log_view *v = l->arg;
	int err = n ? write_wait(fd, p, n, v->cancel_fd) : 0;
	if (!err)
		return 0;
	if (err == -ECANCELED)
		return 130;
	return err == -EPIPE ? 141 : out_error(l->fail, strerror(-err), "make room, or check where the output goes", "cannot write the command's output");
}

static int put_frame(struct lines *l, const struct exec_frame *f)
{
	struct log_view *v = l->arg;
	char n[WORDS_MAX], clean[512];
	switch (f->type) {
	case FRAME_STDOUT:
	case FRAME_STDERR:
		return put(l, f->type == FRAME_STDOUT ? 1 : 2, f->data, f->n);
	case FRAME_GAP:
		out_note("mica: %s of output are no longer kept", words_bytes(f->gap_bytes, n));
		return 0;
	case FRAME_ERROR:
		out_clean(clean, sizeof(clean), f->error);
		return out_error(l->fail, clean, "'mica vm logs' shows the guest's console", "%s", l->doing);
	case FRAME_EXIT:
		v->ended = true;
		v->exit_code = f->exit_code;
		return 0;
	default:
		return 0;
	}
}

static int log_line(struct lines *l, const char *p, size_t n)
{
	struct log_view *v = l->arg;
	struct exec_frame f;
	if (!n)
		return 0;
	if (exec_frame_read(p, n, &v->json, &v->scratch, &f))
		return out_error(l->fail, "a line of the answer is no frame", "'mica info' shows the daemon's version", "%s", l->doing);
	if (!v->raw)
		return put_frame(l, &f);
	if (f.type == FRAME_EXIT) {
		v->ended = true;
		v->exit_code = f.exit_code;
	}
	int code = put(l, 1, p, n);
	return code ? code : put(l, 1, "\n", 1);
}

/* Prints what the command wrote. 0: all of it, *exit_code is the command's, or -1 while it runs; else a code after saying why. */
static int show_logs(const struct remote *remote, char vm[VM_NAME_MAX], const char *id, bool follow, const char *from_id, bool raw, int fail, int *exit_code)
{
	struct log_view v = { .raw = raw, .exit_code = -1 };
	struct remote r = *remote;
	char tail[BG_TAIL_MAX], doing[VM_NAME_MAX + 128];
	sigset_t old;
	snprintf(tail, sizeof(tail), "/exec/%s/logs?follow=%s%s%s", id, follow ? "true" : "false", from_id ? "&from_id=" : "", from_id ? from_id : "");
	snprintf(doing, sizeof(doing), "cannot read the output of %s in %s", id, vm);
	fflush(stdout);
	bool own = r.cancel_fd < 0;
	v.cancel_fd = r.cancel_fd = own ? cancel_signals(&old) : r.cancel_fd;
	buf_init(&v.scratch, LINE_BYTES_MAX);
	struct lines l = { .line = log_line, .arg = &v, .fail = fail, .doing = doing };
	int code = lines_read(&r, vm, tail, &l);
	if (code == LINES_END && follow && !v.ended)
		code = out_error(fail, "the answer ended before the command did: the VM, its agent or the daemon went away",
			"'mica vm list' and 'mica vm logs' show what happened", "%s", doing);
	buf_done(&v.scratch);
	json_done(&v.json);
	if (own)
		fd_close(&r.cancel_fd);
	*exit_code = v.ended ? v.exit_code : -1;
	return code == LINES_END ? 0 : code;
}

static const struct opt logs_opts[] = {
	{ "follow", 'f', OPT_FLAG, NULL, "go on until the command ends (Ctrl-C: it goes on without us)" },
	{ "from-id", 0, OPT_NUMBER, "N", "only frames from this id on (--json shows the ids)" },
	{ "json", 0, OPT_FLAG, NULL, "print the frames, one JSON object a line" },
	{ 0 },
};

static int run_logs(struct args *a)
{
	struct remote r;
	char vm[VM_NAME_MAX];
	int exit_code, code = bg_begin(a, &r, vm);
	return code ? code : show_logs(&r, vm, a->pos[1], arg_flag(a, "follow", false), arg_text(a, "from-id"), arg_flag(a, "json", false), EXIT_FAIL,
		&exit_code);
}

/* ---- exec ---- */

static const struct opt exec_opts[] = {
	{ "cmd", 'c', OPT_TEXT, "BIN", "the program, instead of COMMAND" },
	{ "arg", 'a', OPT_LIST, "ARG", "with --cmd: an argument" },
	{ "shell", 's', OPT_TEXT, "PATH", "shell that runs COMMAND as a script (default: none)" },
	{ "uid", 0, OPT_NUMBER, "N", "user to run as (default: the image's user, 1000; 0: root)" },
	{ "gid", 0, OPT_NUMBER, "N", "group to run as" },
	{ "cwd", 0, OPT_TEXT, "PATH", "folder to run in (default: the user's home)" },
	{ "env", 'e', OPT_LIST, "K=V", "environment variable; K alone takes our value" },
	{ "ring-bytes", 0, OPT_SIZE, "SIZE", "how much of its output is kept for 'bg logs' (default 4M)" },
	{ "follow", 'f', OPT_FLAG, NULL, "print its output until it ends, and pass its exit code (Ctrl-C: it goes on without us)" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON; with --follow also the frames" },
	{ 0 },
};

/* The three forms of a command (contract §3.3). */
static int take_words(struct args *a, char **words, struct exec_ask *ask)
{
	const char *cmd = arg_text(a, "cmd"), *v;
	unsigned i = 0;
	if (!cmd && arg_text(a, "arg"))
		return out_error(EXIT_OURS, "--arg goes with --cmd", "--cmd /bin/ls --arg -l", "whose argument is it?");
	if (!cmd && a->n_pos < 2)
		return out_error(EXIT_OURS, "neither COMMAND nor --cmd is given", "mica vm bg exec vm-1 -- make dist", "what is to be run?");
	if (cmd && (a->n_pos > 1 || arg_text(a, "shell")))
		return out_error(EXIT_OURS, "--cmd stands alone with its --arg", "leave --cmd out and write the command behind --",
			"two ways of saying what is to be run");
	ask->words = a->pos + 1;
	ask->n_words = a->n_pos - 1;
	if (!cmd)
		return 0;
	ask->words = words;
	ask->n_words = 0;
	words[ask->n_words++] = strdup(cmd);
	while ((v = arg_next(a, "arg", &i)))
		words[ask->n_words++] = strdup(v);
	for (int w = 0; w < ask->n_words; w++)
		if (!words[w])
			return out_error(EXIT_OURS, strerror(ENOMEM), "free some memory", "cannot take the command");
	return 0;
}

static int launch(const struct remote *r, char vm[VM_NAME_MAX], const struct exec_ask *how, struct answer *an)
{
	struct buf target;
	char doing[VM_NAME_MAX + 64];
	int code = 0;
	buf_init(&target, HTTP_TARGET_MAX);
	snprintf(doing, sizeof(doing), "cannot start a command in %s", vm);
	for (int round = 0; round < 2; round++) {
		code = exec_target(&target, vm, how);
		int asked = code ? 0 : remote_ask(r, "POST", buf_cstr(&target), NULL, an);
		if (asked)
			code = asked == 130 ? asked : EXIT_OURS;
		if (code || an->status != 404 || round || !remote_friendly(r, vm, vm))
			break;
		answer_done(an);
	}
	buf_done(&target);
	if (!code && an->status >= 300)
		code = bg_refused(r, EXIT_OURS, an, doing);
	return code;
}

static int started(const struct args *a, const struct remote *r, char vm[VM_NAME_MAX], struct answer *an)
{
	char id[80];
	const char *given = NULL;
	const struct json_val *v = json_root(&an->json);
	if (json_get_str(v, "exec_id", &given) || strlen(given) >= sizeof(id) || bg_check_id(given)) {
		answer_odd(an);
		return EXIT_OURS;
	}
	strcpy(id, given);
	if (!answer_as_json(a, an))
		printf("started exec_id=%s pid=%lld ring_bytes=%lld\n", id, (long long)json_int(v, "pid"), (long long)json_int(v, "ring_bytes"));
	answer_done(an);
	if (!arg_flag(a, "follow", false))
		return 0;
	int exit_code, code = show_logs(r, vm, id, true, NULL, arg_flag(a, "json", false), EXIT_OURS, &exit_code);
	if (code == 130)
		out_note("mica: %s goes on; 'mica vm bg logs %s %s --follow' comes back to it", id, vm, id);
	return code ? code : exit_code;
}

static int run_exec(struct args *a)
{
	static char *words[ARGS_MAX + 1];
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	struct exec_ask how = { .shell = arg_text(a, "shell"), .cwd = arg_text(a, "cwd"), .uid = arg_text(a, "uid"), .gid = arg_text(a, "gid"), .env = a,
		.background = true, .ring_bytes = arg_u64(a, "ring-bytes", 0) };
	int code = vm_name_take(vm, a->pos[0]);
	if (!code)
		code = take_words(a, words, &how);
	if (!code)
		code = remote_init(&r, a);
	sigset_t old;
	if (!code && arg_flag(a, "follow", false)) /* from here on Ctrl-C only ends the following */
		r.cancel_fd = cancel_signals(&old);
	if (!code)
		code = launch(&r, vm, &how, &an);
	if (!code)
		code = started(a, &r, vm, &an);
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		free(words[i]);
	return code;
}

const struct cmd cmd_bg_exec = { .group = "vm bg", .name = "exec", .aliases = "run start", .synopsis = "VM [--] COMMAND [ARG…]",
	.summary = "Start a command that goes on without us; prints its id", .opts = exec_opts,
	.examples = "mica vm bg exec vm-1 -- npm run dev                       (prints: started exec_id=ex_… pid=…)\n"
		    "mica vm bg exec vm-1 --cmd /usr/bin/make --arg dist --cwd work --ring-bytes 16M\n"
		    "mica vm bg exec vm-1 --follow -s /bin/bash -- 'docker build . && docker push x'\n"
		    "exit code: 0 when it was started; with --follow the command's; 125 mica could not start or follow it",
	.min_pos = 1, .max_pos = -1, .command_at = 1, .flags = CMD_REMOTE, .run = run_exec };
const struct cmd cmd_bg_logs = { .group = "vm bg", .name = "logs", .synopsis = "VM ID", .summary = "Print what the command has written, as far as it is kept",
	.opts = logs_opts, .examples = "mica vm bg logs vm-1 ex_1f0a --follow\nmica vm bg logs vm-1 ex_1f0a --json --from-id 120",
	.min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_logs };
