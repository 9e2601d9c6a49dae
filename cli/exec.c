/* exec: a chunked upload of stdin and an NDJSON answer at the same time, on one poll loop. */
#include "cli/exec.h"
#include "cli/out.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LINE_MAX_BYTES (1u << 20)
#define QUEUE_HIGH (256u << 10) /* stdin rests while that much waits for the socket */

/* ---- the request ---- */

/* Single quotes around what a shell would read otherwise. */
static void quote_word(struct buf *b, const char *w)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
	if (*w && w[strspn(w, plain)] == 0) {
		buf_adds(b, w);
		return;
	}
	buf_adds(b, "'");
	for (; *w; w++) {
		if (*w == '\'')
			buf_adds(b, "'\\''");
		else
			buf_add(b, w, 1);
	}
	buf_adds(b, "'");
}

/* With a shell: one word is a script; several are one command, each word kept whole. */
static void add_command(struct buf *target, bool *first, const struct exec_ask *ask)
{
	if (!ask->shell || !*ask->shell) {
		http_add_param(target, first, "cmd", ask->words[0]);
		for (int i = 1; i < ask->n_words; i++)
			http_add_param(target, first, "args", ask->words[i]);
		return;
	}
	struct buf script;
	buf_init(&script, HTTP_TARGET_MAX);
	for (int i = 0; i < ask->n_words; i++) {
		if (i)
			buf_adds(&script, " ");
		if (ask->n_words == 1)
			buf_adds(&script, ask->words[i]);
		else
			quote_word(&script, ask->words[i]);
	}
	const char *s = buf_cstr(&script);
	if (s)
		http_add_param(target, first, "cmd", s);
	else
		target->failed = true;
	http_add_param(target, first, "shell", ask->shell);
	buf_done(&script);
}

int exec_target(struct buf *target, const char *vm, const struct exec_ask *ask)
{
	char ring[24];
	bool first = true;
	unsigned i = 0;
	const char *e;
	buf_clear(target);
	vm_target(target, vm, "/exec");
	add_command(target, &first, ask);
	while (ask->env && (e = arg_next(ask->env, "env", &i))) {
		const char *own = strchr(e, '=') ? NULL : getenv(e); /* --env NAME: our value */
		http_add_param(target, &first, "env", e);
		if (!strchr(e, '=')) {
			http_escape(target, "=");
			http_escape(target, own ? own : "");
		}
	}
	http_add_param(target, &first, "cwd", ask->cwd);
	http_add_param(target, &first, "uid", ask->uid);
	http_add_param(target, &first, "gid", ask->gid);
	if (ask->with_stdin)
		http_add_param(target, &first, "stdin", "true");
	http_add_param(target, &first, "stdio", "base64");
	snprintf(ring, sizeof(ring), "%llu", (unsigned long long)ask->ring_bytes);
	http_add_param(target, &first, "background", ask->background ? "true" : NULL);
	http_add_param(target, &first, "ring_bytes", ask->background && ask->ring_bytes ? ring : NULL);
	return buf_cstr(target) && buf_len(target) <= HTTP_TARGET_MAX - 64 ? 0 : out_error(EXIT_OURS,
		"command, arguments and environment have room for about 60 kB", "copy a script in and run that", "the command line is too long");
}

/* ---- the loop ---- */

struct session {
	struct call *c;
	const struct exec_ask *ask;
	struct buf line, scratch;
	struct json json;
	bool stdin_open;
	bool over;        /* the last frame came */
	int code;         /* what to return then */
	const char *vm;
};

int write_wait(int fd, const uint8_t *p, size_t n, int cancel_fd)
{
	while (n) {
		ssize_t got = write(fd, p, n);
		if (got >= 0) {
			p += got;
			n -= (size_t)got;
		} else if (errno == EAGAIN) {
			struct pollfd pfd[2] = { { .fd = fd, .events = POLLOUT }, { .fd = cancel_fd, .events = POLLIN } };
			if (poll(pfd, 2, -1) > 0 && pfd[1].revents)
				return -ECANCELED;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static int put(struct session *s, int fd, const uint8_t *p, size_t n)
{
	if (s->ask->quiet_output || !n)
		return 0;
	int err = write_wait(fd, p, n, s->c->r->cancel_fd);
	if (!err)
		return 0;
	s->over = true;
	s->code = 128 + SIGINT;
	if (err == -ECANCELED)
		return 0;
	if (err == -EPIPE) { /* as a program of this machine would end: `… | head` is no error */
		s->code = 128 + SIGPIPE;
		return 0;
	}
	s->code = out_error(EXIT_OURS, strerror(-err), "make room, or check where the output goes", "cannot write the command's output");
	return err;
}

static int on_frame(struct session *s, const char *line, size_t n)
{
	struct exec_frame f;
	if (!n)
		return 0;
	if (exec_frame_read(line, n, &s->json, &s->scratch, &f)) {
		s->over = true;
		s->code = out_error(EXIT_OURS, "a line of the answer is no frame", "'mica info' shows the daemon's version", "lost the command in %s", s->vm);
		return -EPROTO;
	}
	if (f.type == FRAME_STDOUT || f.type == FRAME_STDERR)
		return put(s, f.type == FRAME_STDOUT ? 1 : 2, f.data, f.n);
	if (f.type == FRAME_EXIT) {
		s->over = true;
		s->code = f.exit_code;
	} else if (f.type == FRAME_ERROR) {
		char cause[512];
		bool start = f.exit_code == EXIT_NOT_FOUND || f.exit_code == EXIT_NOT_EXECUTABLE;
		out_clean(cause, sizeof(cause), f.error);
		s->over = true;
		s->code = out_error(start ? f.exit_code : EXIT_OURS, cause,
				    start ? "check the command's name and the guest's PATH" : "'mica vm logs' shows the guest's console",
				    start ? "cannot start %s in %s" : "the command '%s' in %s was lost", s->ask->words[0], s->vm);
	}
	return 0;
}

static int on_bytes(struct session *s, const uint8_t *p, size_t n)
{
	while (n && !s->over) {
		const uint8_t *nl = memchr(p, '\n', n);
		size_t part = nl ? (size_t)(nl - p) : n;
		if (nl && !buf_len(&s->line)) { /* the usual case: no copy */
			on_frame(s, (const char *)p, part);
		} else {
			if (buf_add(&s->line, p, part)) {
				s->over = true;
				s->code = out_error(EXIT_OURS, "a line of the answer is too long", "'mica info' shows the daemon's version", "lost the command in %s", s->vm);
				return -EPROTO;
			}
			if (nl) {
				on_frame(s, (const char *)buf_data(&s->line), buf_len(&s->line));
				buf_clear(&s->line);
			}
		}
		part += nl ? 1 : 0;
		p += part;
		n -= part;
	}
	return 0;
}

/* Everything that was read already. An answer that ends without an exit frame is a lost agent. */
static void eat(struct session *s)
{
	const uint8_t *p;
	size_t n;
	struct fault f = { 0 };
	int got = 0;
	while (!s->over && (got = call_piece(s->c, &p, &n, &f)) == 1)
		on_bytes(s, p, n);
	if (s->over || !got)
		return;
	s->over = true;
	char cause[1024];
	out_clean(cause, sizeof(cause), got == 2 ? "the answer ended without an exit code: the VM, its agent or the daemon went away" : f.text);
	s->code = out_error(EXIT_OURS, cause, "'mica vm list' and 'mica vm logs' show what happened; the command may have done part of its work",
		"lost the command in %s", s->vm);
}

static int read_stdin(struct session *s)
{
	static uint8_t block[32768];
	ssize_t n = read(0, block, sizeof(block));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n > 0)
		return call_send(s->c, block, (size_t)n);
	call_send_end(s->c);
	s->stdin_open = false;
	return 0;
}

static int pump(struct session *s, struct fault *f)
{
	while (!s->over) {
		bool queued = call_has_out(s->c), reads = s->stdin_open && buf_len(&s->c->out) < QUEUE_HIGH;
		struct pollfd p[3] = {
			{ .fd = s->c->fd, .events = (short)(POLLIN | (queued ? POLLOUT : 0)) },
			{ .fd = reads ? 0 : -1, .events = POLLIN },
			{ .fd = s->c->r->cancel_fd, .events = POLLIN },
		};
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			return fault_errno(f, -errno, "poll");
		if (p[2].revents)
			return -ECANCELED;
		int err = p[1].revents ? read_stdin(s) : 0;
		if (!err)
			err = call_flush(s->c);
		if (!err && p[0].revents)
			err = call_fill(s->c);
		if (err)
			return fault_errno(f, err, "connection");
		eat(s);
	}
	return 0;
}

static int read_refusal(struct call *c, const struct remote *r, const char *vm)
{
	struct buf text;
	struct fault f;
	char doing[VM_NAME_MAX + 40];
	buf_init(&text, 65536);
	call_body(c, &text, &f);
	snprintf(doing, sizeof(doing), "cannot run a command in %s", vm);
	int code = remote_refused(r, EXIT_OURS, c->head.status, &text, doing);
	buf_done(&text);
	return code;
}

/* One attempt. -ENOENT: no such VM, nothing was said yet. */
static int attempt(struct session *s, const struct remote *r, const char *target, struct fault *f, bool last)
{
	int err = call_open(s->c, r, "POST", target, s->ask->with_stdin ? CALL_CHUNKED : CALL_LENGTH, 0, NULL, f);
	if (err)
		return err;
	s->stdin_open = s->ask->with_stdin;
	/* stdin is not touched before the daemon has agreed: a refused command must not eat it. */
	err = call_wait_head(s->c, f);
	if (!err && s->c->head.status == 404 && !last)
		err = -ENOENT;
	else if (!err && s->c->head.status >= 300)
		s->code = read_refusal(s->c, r, s->vm);
	else if (!err) {
		eat(s);
		err = pump(s, f);
	}
	call_done(s->c);
	return err;
}

static int run_rounds(struct session *s, const struct remote *r, char vm[VM_NAME_MAX], struct fault *f)
{
	struct buf target;
	int err = 0;
	buf_init(&target, HTTP_TARGET_MAX);
	for (int round = 0; round < 2; round++) {
		s->code = exec_target(&target, vm, s->ask);
		if (s->code)
			break;
		s->code = EXIT_OURS;
		err = attempt(s, r, buf_cstr(&target), f, round == 1);
		if (err != -ENOENT || f->text[0] || round == 1) /* with a text: the socket does not exist */
			break;
		remote_friendly(r, vm, vm); /* when it is none, the second answer is the 404 to show */
		err = 0;
	}
	buf_done(&target);
	return err;
}

int exec_run(const struct remote *remote, char vm[VM_NAME_MAX], const struct exec_ask *ask)
{
	struct session s = { .ask = ask, .vm = vm, .code = EXIT_OURS };
	struct remote r = *remote;
	struct fault f = { 0 };
	sigset_t old;
	s.c = calloc(1, sizeof(*s.c));
	if (!s.c)
		return out_error(EXIT_OURS, strerror(ENOMEM), "free some memory", "cannot run the command");
	buf_init(&s.line, LINE_MAX_BYTES);
	buf_init(&s.scratch, LINE_MAX_BYTES);
	/* Ctrl-C must close the connection (which ends the command in the guest), not leave it running. */
	if (remote->cancel_fd < 0)
		r.cancel_fd = cancel_signals(&old);
	int err = run_rounds(&s, &r, vm, &f);
	if (err == -ECANCELED)
		s.code = 128 + SIGINT;
	else if (err)
		s.code = remote_broken(&r, EXIT_OURS, err, &f, "lost the connection");
	if (remote->cancel_fd < 0 && r.cancel_fd >= 0) {
		struct signalfd_siginfo si;
		while (read(r.cancel_fd, &si, sizeof(si)) > 0) /* taken, or it would end us when unblocked */
			;
		close(r.cancel_fd);
		sigprocmask(SIG_SETMASK, &old, NULL);
	}
	buf_done(&s.line);
	buf_done(&s.scratch);
	json_done(&s.json);
	free(s.c);
	return s.code;
}
