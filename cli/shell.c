/* A terminal in a VM: contract §1.11 over a WebSocket. */
#include "cli/exec.h"
#include "cli/out.h"
#include "lib/http/ws.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { SHELL_DATA = 1, SHELL_WINDOW = 2, SHELL_SHUTDOWN = 3, SHELL_HEARTBEAT = 4, SHELL_CLOSE = 5 };
#define SHELL_HEAD 5u
#define SHELL_PIECE 16384u       /* data bytes per message; contract: ≤ 32768 with the head */
#define SHELL_MESSAGE_MAX (1u << 20)
#define HEARTBEAT_MS 30000
#define DETACH 0x1d              /* Ctrl+] */

struct shell {
	struct call *c;
	struct ws_decoder ws;
	struct buf message;      /* the shell frame being collected */
	bool over, lost, stdin_open;
	bool raw;
	struct termios saved;
	int signal_fd;
};

static void put_u32be(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8), p[3] = (uint8_t)v;
}

static uint32_t get_u32be(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void send_ws(struct shell *s, enum ws_op op, const void *p, size_t n)
{
	uint8_t mask[4];
	if (!random_fill(mask, sizeof(mask)))
		ws_add_frame(&s->c->out, op, p, n, mask);
}

static void send_frame(struct shell *s, uint8_t type, const void *p, size_t n)
{
	uint8_t m[SHELL_HEAD + SHELL_PIECE];
	m[0] = type;
	put_u32be(m + 1, (uint32_t)n);
	if (n)
		memcpy(m + SHELL_HEAD, p, n);
	send_ws(s, WS_BINARY, m, SHELL_HEAD + n);
}

static void send_window(struct shell *s)
{
	struct winsize w;
	uint8_t p[8];
	if (ioctl(0, TIOCGWINSZ, &w) || !w.ws_col || !w.ws_row)
		return;
	put_u32be(p, w.ws_col);
	put_u32be(p + 4, w.ws_row);
	send_frame(s, SHELL_WINDOW, p, sizeof(p));
}

static void on_frames(struct shell *s)
{
	while (buf_len(&s->message) >= SHELL_HEAD && !s->over) {
		const uint8_t *p = buf_data(&s->message);
		uint32_t n = get_u32be(p + 1);
		if (n > SHELL_MESSAGE_MAX) {
			s->over = s->lost = true;
			return;
		}
		if (buf_len(&s->message) - SHELL_HEAD < n)
			return;
		if (p[0] == SHELL_DATA && write_wait(1, p + SHELL_HEAD, n, -1))
			s->over = true;
		else if (p[0] == SHELL_SHUTDOWN || p[0] == SHELL_CLOSE)
			s->over = true;
		buf_eat(&s->message, SHELL_HEAD + n);
	}
}

static void on_event(struct shell *s, const struct ws_event *e)
{
	if (e->op == WS_PING) {
		send_ws(s, WS_PONG, e->data, e->n);
	} else if (e->op == WS_CLOSE) {
		s->over = true;
		s->lost = e->close_code != WS_CLOSE_NORMAL && e->close_code != WS_CLOSE_NONE;
	} else if (e->op == WS_BINARY) {
		if (e->first)
			buf_clear(&s->message);
		if (buf_add(&s->message, e->data, e->n))
			s->over = s->lost = true;
		if (e->last)
			on_frames(s);
	}
}

static void on_socket(struct shell *s)
{
	while (buf_len(&s->c->in) && !s->over) {
		struct ws_event e;
		size_t used = 0;
		int got = ws_step(&s->ws, buf_data(&s->c->in), buf_len(&s->c->in), &used, &e);
		if (got == 1)
			on_event(s, &e);
		if (got < 0)
			s->over = s->lost = true;
		buf_eat(&s->c->in, used);
		if (got == 0 && !used)
			break;
	}
	if (s->c->eof && !s->over)
		s->over = s->lost = true;
}

static void on_stdin(struct shell *s)
{
	uint8_t p[SHELL_PIECE];
	ssize_t n = read(0, p, sizeof(p));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		s->stdin_open = false;
		send_frame(s, SHELL_DATA, "\4", 1); /* as a terminal says end of input */
		return;
	}
	uint8_t *detach = s->raw ? memchr(p, DETACH, (size_t)n) : NULL;
	if (detach)
		n = detach - p;
	if (n)
		send_frame(s, SHELL_DATA, p, (size_t)n);
	if (detach)
		s->over = true;
}

static void on_signal(struct shell *s)
{
	struct signalfd_siginfo si;
	if (read(s->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH)
		send_window(s);
	else
		s->over = true;
}

static int talk(struct shell *s, const struct shell_ask *ask)
{
	uint64_t beat_at = now_mono_ms() + HEARTBEAT_MS;
	send_window(s);
	if (ask->bootstrap) {
		size_t n = strlen(ask->bootstrap);
		send_frame(s, SHELL_DATA, ask->bootstrap, n < SHELL_PIECE ? n : SHELL_PIECE);
		send_frame(s, SHELL_DATA, "\r", 1);
	}
	on_socket(s);
	while (!s->over) {
		uint64_t now = now_mono_ms();
		if (now >= beat_at) {
			send_frame(s, SHELL_HEARTBEAT, NULL, 0);
			beat_at = now + HEARTBEAT_MS;
		}
		bool queued = call_has_out(s->c);
		struct pollfd p[3] = {
			{ .fd = s->c->fd, .events = (short)(POLLIN | (queued ? POLLOUT : 0)) },
			{ .fd = s->stdin_open && buf_len(&s->c->out) < 262144 ? 0 : -1, .events = POLLIN },
			{ .fd = s->signal_fd, .events = POLLIN },
		};
		if (poll(p, 3, (int)(beat_at - now)) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			on_stdin(s);
		if (p[2].revents)
			on_signal(s);
		int err = call_flush(s->c);
		if (!err && p[0].revents)
			err = call_fill(s->c);
		if (err)
			return err;
		on_socket(s);
	}
	/* Best effort: the daemon also ends the session when the connection goes. */
	send_frame(s, SHELL_SHUTDOWN, NULL, 0);
	uint8_t mask[4] = { 0 };
	ws_add_close(&s->c->out, WS_CLOSE_NORMAL, NULL, mask);
	call_flush(s->c);
	return 0;
}

static void raw_on(struct shell *s)
{
	if (!isatty(0) || tcgetattr(0, &s->saved))
		return;
	struct termios t = s->saved;
	cfmakeraw(&t);
	s->raw = tcsetattr(0, TCSANOW, &t) == 0;
}

static int session(struct shell *s, const struct shell_ask *ask)
{
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &old);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->stdin_open = true;
	ws_decoder_init(&s->ws, false, SHELL_MESSAGE_MAX);
	raw_on(s);
	int err = talk(s, ask);
	if (s->raw)
		tcsetattr(0, TCSANOW, &s->saved);
	fd_close(&s->signal_fd);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return err;
}

static void build_target(struct buf *t, const char *vm, const struct shell_ask *ask)
{
	bool first = true;
	buf_clear(t);
	vm_target(t, vm, "/shell");
	http_add_param(t, &first, "uid", ask->uid);
	http_add_param(t, &first, "gid", ask->gid);
	http_add_param(t, &first, "shell", ask->shell);
	http_add_param(t, &first, "cwd", ask->cwd);
}

/* Opens the WebSocket. 101 in *status when it stands. */
static int upgrade(struct shell *s, const struct remote *r, const char *target, int *status, struct fault *f)
{
	char key[WS_KEY_LEN + 1];
	struct buf extra;
	int err = ws_key_new(key);
	if (err)
		return fault_errno(f, err, "random numbers");
	buf_init(&extra, 1024);
	ws_add_request_fields(&extra, key);
	err = call_open(s->c, r, "GET", target, CALL_NO_BODY, 0, &extra, f);
	buf_done(&extra);
	if (err)
		return err;
	err = call_wait_head(s->c, f);
	*status = s->c->head.status;
	if (!err && *status == 101 && ws_response_check(&s->c->head, key))
		err = fault_set(f, -EPROTO, "the answer to the WebSocket opening is wrong");
	return err;
}

int shell_run(const struct remote *r, char vm[VM_NAME_MAX], const struct shell_ask *ask)
{
	struct shell s = { .signal_fd = -1 };
	struct fault f = { 0 };
	struct buf target;
	int status = 0, err, code = EXIT_OK;
	s.c = calloc(1, sizeof(*s.c));
	if (!s.c)
		return out_error(EXIT_OURS, strerror(ENOMEM), "free some memory", "cannot open a shell");
	buf_init(&target, HTTP_TARGET_MAX);
	buf_init(&s.message, SHELL_MESSAGE_MAX + SHELL_HEAD);
	build_target(&target, vm, ask);
	err = buf_cstr(&target) ? upgrade(&s, r, buf_cstr(&target), &status, &f) : -E2BIG;
	if (!err && status == 404 && remote_friendly(r, vm, vm)) {
		call_done(s.c);
		build_target(&target, vm, ask);
		err = buf_cstr(&target) ? upgrade(&s, r, buf_cstr(&target), &status, &f) : -E2BIG;
	}
	if (!err && status != 101) {
		struct buf text;
		buf_init(&text, 65536);
		call_body(s.c, &text, &f);
		code = remote_refused(r, EXIT_OURS, status, &text, "cannot open a shell");
		buf_done(&text);
	} else if (!err) {
		err = session(&s, ask);
		if (!err && s.lost)
			code = out_error(EXIT_OURS, "the connection to the VM's agent ended", "'mica vm list' and 'mica vm logs' show what happened", "lost the shell in %s", vm);
	}
	if (err)
		code = remote_broken(r, EXIT_OURS, err, &f, "cannot open a shell");
	call_done(s.c);
	buf_done(&s.message);
	buf_done(&target);
	free(s.c);
	return code;
}
