/* The loop of vm forward: every local connection gets a WebSocket of its own. */
#include "cli/forward.h"
#include "cli/forward_listen.h"
#include "cli/out.h"
#include "lib/ev/ev.h"
#include "lib/http/ws.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUEUE_MAX (256u << 10)   /* beyond that we stop reading the other side */
#define READ_BYTES 32768u
#define DIAL_MS 15000            /* the agent gives up after 10 s, the daemon a little later */
#define LAST_BYTES_MS 60000      /* what was sent before the end may take that long */
#define ACCEPT_PAUSE_MS 200

struct forward;
struct listener {
	struct forward *f;
	const struct forward_spec *spec;
	struct ev_io io;
	struct ev_timer retry;   /* after a shortage of descriptors */
	int fd;                  /* owned */
	char where[FORWARD_WHERE_MAX];
};

struct conn { /* owned by the loop's callbacks; conn_end() frees it */
	struct listener *l;
	struct conn *prev, *next;
	enum { DIALLING, OPEN, ENDING } state; /* ENDING: the client left; its last bytes and our close go out */
	int local;               /* owned */
	struct ev_io local_io, remote_io;
	struct ev_timer limit;
	struct call call;
	struct ws_decoder ws;
	struct buf to_local;
	char key[WS_KEY_LEN + 1];
	bool half;               /* the daemon takes an empty message as the end of our direction */
	bool local_over;         /* half: the client has sent all, and waits for the rest */
	bool remote_over;        /* the guest's side has ended: to_local is all there is */
	bool broken;             /* ... and not properly: the client is to see a reset */
};

struct forward {
	const struct remote *r;
	const char *vm;
	struct ev_loop *loop;
	struct ev_io stop;
	struct listener *listeners;
	unsigned n;
	struct conn *conns;
};

/* Bytes of the client that nobody will read would turn our close into a reset, which takes the last answer with it. */
static void say_end(int fd)
{
	char waste[16384];
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < 64 && recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0; i++)
		;
}

static void conn_end(struct conn *c, bool reset)
{
	struct forward *f = c->l->f;
	ev_del(f->loop, &c->local_io);
	ev_del(f->loop, &c->remote_io);
	ev_timer_del(f->loop, &c->limit);
	if (reset && c->local >= 0)
		setsockopt(c->local, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
	else if (c->local >= 0)
		say_end(c->local);
	fd_close(&c->local);
	call_done(&c->call);
	buf_done(&c->to_local);
	if (c->prev)
		c->prev->next = c->next;
	else
		f->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	free(c);
}

static void conn_fail(struct conn *c, const char *why)
{
	char clean[700];
	out_clean(clean, sizeof(clean), why);
	out_note("error: %s in %s: %s", c->l->spec->upstream, c->l->f->vm, clean);
	conn_end(c, true);
}

static void want(struct ev_loop *loop, struct ev_io *io, int fd, uint32_t events)
{
	/* A descriptor that hung up is reported even when nothing is asked: it must go to be quiet. */
	if (!events)
		ev_del(loop, io);
	else if (io->fd < 0)
		ev_add(loop, io, fd, events);
	else
		ev_mod(loop, io, events);
}

static void ask_events(struct conn *c)
{
	struct ev_loop *loop = c->l->f->loop;
	uint32_t local = 0, remote = 0;
	if (c->state == OPEN && !c->remote_over && !c->local_over && buf_len(&c->call.out) < QUEUE_MAX)
		local |= EPOLLIN;
	if (buf_len(&c->to_local))
		local |= EPOLLOUT;
	if (!c->remote_over && !c->call.eof && buf_len(&c->to_local) < QUEUE_MAX)
		remote |= EPOLLIN;
	if (call_has_out(&c->call))
		remote |= EPOLLOUT;
	if (c->local >= 0)
		want(loop, &c->local_io, c->local, local);
	want(loop, &c->remote_io, c->call.fd, remote);
}

static void send_ws(struct conn *c, enum ws_op op, const void *p, size_t n)
{
	uint8_t mask[4];
	if (!random_fill(mask, sizeof(mask)))
		ws_add_frame(&c->call.out, op, p, n, mask);
	else
		c->call.out.failed = true;
}

static void on_event(struct conn *c, const struct ws_event *e)
{
	if (e->op == WS_PING)
		send_ws(c, WS_PONG, e->data, e->n);
	if (e->op == WS_BINARY && c->state == OPEN)
		buf_add(&c->to_local, e->data, e->n);
	if (e->op == WS_CLOSE || e->op == WS_TEXT) {
		c->remote_over = true;
		c->broken = e->op == WS_TEXT || (e->close_code != WS_CLOSE_NORMAL && e->close_code != WS_CLOSE_NONE && e->close_code != WS_CLOSE_GOING_AWAY);
	}
}

static void take_frames(struct conn *c)
{
	while (buf_len(&c->call.in) && !c->remote_over) {
		struct ws_event e;
		size_t used = 0;
		int got = ws_step(&c->ws, buf_data(&c->call.in), buf_len(&c->call.in), &used, &e);
		if (got == 1)
			on_event(c, &e);
		buf_eat(&c->call.in, used);
		if (got < 0)
			c->remote_over = c->broken = true;
		if (got == 0 && !used)
			break;
	}
	if (c->call.eof && !c->remote_over)
		c->remote_over = c->broken = true; /* without a goodbye */
}

/* The answer to the opening. false: c is gone. */
static bool take_head(struct conn *c)
{
	struct fault f = { "" };
	int got = call_head(&c->call, &f);
	if (got == 0)
		return true;
	if (got > 0 && c->call.head.status == 101 && !ws_response_check(&c->call.head, c->key)) {
		char half[8];
		c->state = OPEN;
		c->half = !http_head_copy(&c->call.head, WS_HALF_CLOSE, half, sizeof(half));
		ev_timer_del(c->l->f->loop, &c->limit);
		return true;
	}
	if (got > 0 && c->call.head.status != 101) {
		struct buf text;
		char cause[600], why[700];
		buf_init(&text, 65536);
		/* What came with the head is enough for a sentence; waiting for more would hold up the others. */
		const uint8_t *p;
		size_t n;
		while (call_piece(&c->call, &p, &n, NULL) == 1 && !buf_add(&text, p, n))
			;
		if (!c->call.ended && !c->call.eof && c->call.head.body != HTTP_BODY_NONE && !buf_len(&text)) {
			buf_done(&text);
			return true; /* the body is on its way: the next bytes bring us back here */
		}
		remote_error_text(&text, cause, sizeof(cause));
		buf_done(&text);
		snprintf(why, sizeof(why), "%s (HTTP %d)", cause, c->call.head.status);
		conn_fail(c, why);
		return false;
	}
	conn_fail(c, f.text[0] ? f.text : "the answer to the WebSocket opening is wrong");
	return false;
}

/* After anything happened: move bytes on, end what has ended. May free c. */
static void step(struct conn *c)
{
	if (c->state == DIALLING && !take_head(c))
		return;
	if (c->state != DIALLING)
		take_frames(c);
	if (c->call.out.failed || c->to_local.failed) {
		conn_fail(c, "out of memory");
		return;
	}
	int err = call_flush(&c->call);
	if (!err && c->local >= 0 && buf_len(&c->to_local)) {
		err = buf_write_fd(&c->to_local, c->local);
		err = err == -EAGAIN ? 0 : err;
	}
	if (err || (c->remote_over && (!buf_len(&c->to_local) || c->state == ENDING))) {
		conn_end(c, err || c->broken);
		return;
	}
	ask_events(c);
}

static void on_remote(struct ev_io *io, uint32_t events)
{
	struct conn *c = io->arg;
	int err = events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? call_fill(&c->call) : 0;
	if (err)
		conn_fail(c, strerror(-err));
	else
		step(c);
}

static void limit_over(struct ev_timer *t)
{
	struct conn *c = t->arg;
	if (c->state == DIALLING)
		conn_fail(c, "no answer in time");
	else
		conn_end(c, true);
}

/* No half close (contract §1.12), or the client has gone: the first end drops both directions. What the client sent before still goes out. */
static void client_left(struct conn *c)
{
	uint8_t mask[4] = { 0 };
	struct ev_loop *loop = c->l->f->loop;
	c->state = ENDING;
	ev_del(loop, &c->local_io);
	fd_close(&c->local);
	buf_clear(&c->to_local);
	ws_add_close(&c->call.out, WS_CLOSE_NORMAL, NULL, mask);
	if (ev_timer_set(loop, &c->limit, LAST_BYTES_MS))
		c->call.out.failed = true;
}

static void on_local(struct ev_io *io, uint32_t events)
{
	struct conn *c = io->arg;
	uint8_t p[READ_BYTES];
	if (c->state == OPEN && !c->remote_over && !c->local_over && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		ssize_t n = read(c->local, p, sizeof(p));
		if (n > 0) {
			send_ws(c, WS_BINARY, p, (size_t)n);
		} else if (n == 0 && c->half && !(events & (EPOLLHUP | EPOLLERR))) {
			c->local_over = true;
			send_ws(c, WS_BINARY, NULL, 0);
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			client_left(c);
		}
	}
	step(c);
}

static int dial(struct conn *c, struct fault *fault)
{
	const struct forward *f = c->l->f;
	struct buf target, extra;
	char id[256] = "mica";
	int err = ws_key_new(c->key);
	if (err)
		return fault_errno(fault, err, "random numbers");
	gethostname(id, sizeof(id) - 1);
	buf_init(&target, 4096);
	buf_init(&extra, 4096);
	vm_target(&target, f->vm, "/forward");
	ws_add_request_fields(&extra, c->key);
	http_add_field(&extra, "X-Inlets-Client-ID", id);
	http_add_field(&extra, "X-Inlets-Mode", "local");
	http_add_field(&extra, "X-Inlets-Upstream", c->l->spec->upstream);
	http_add_field(&extra, WS_HALF_CLOSE, "1");
	err = buf_cstr(&target) && !extra.failed ? call_open(&c->call, f->r, "GET", buf_cstr(&target), CALL_NO_BODY, 0, &extra, fault) : -ENOMEM;
	buf_done(&target);
	buf_done(&extra);
	return err ? err : ev_timer_set(f->loop, &c->limit, DIAL_MS);
}

/* Owns fd from here on. */
static void conn_begin(struct listener *l, int fd)
{
	struct fault fault = { "" };
	struct conn *c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->l = l;
	c->local = fd;
	c->local_io = (struct ev_io){ .fn = on_local, .arg = c, .fd = -1 };
	c->remote_io = (struct ev_io){ .fn = on_remote, .arg = c, .fd = -1 };
	c->limit = (struct ev_timer){ .fn = limit_over, .arg = c };
	c->next = l->f->conns;
	if (c->next)
		c->next->prev = c;
	l->f->conns = c;
	buf_init(&c->to_local, QUEUE_MAX + (2u << 20)); /* one read more than the mark: call.in's bound */
	ws_decoder_init(&c->ws, false, 0);
	int err = dial(c, &fault);
	if (err)
		conn_fail(c, fault.text[0] ? fault.text : strerror(-err));
	else
		step(c);
}

static void on_accept(struct ev_io *io, uint32_t events)
{
	struct listener *l = io->arg;
	(void)events;
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		conn_begin(l, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		out_note("error: %s: %s; trying again", l->where, strerror(errno));
		ev_del(l->f->loop, &l->io);
		ev_timer_set(l->f->loop, &l->retry, ACCEPT_PAUSE_MS);
	}
}

static void on_retry(struct ev_timer *t)
{
	struct listener *l = t->arg;
	ev_add(l->f->loop, &l->io, l->fd, EPOLLIN);
}

static void on_stop(struct ev_io *io, uint32_t events)
{
	(void)events;
	ev_stop(io->arg);
}

static int listen_all(struct forward *f, const struct forward_spec *specs, unsigned n)
{
	struct fault fault = { "" };
	for (unsigned i = 0; i < n; i++) {
		struct listener *l = &f->listeners[i];
		*l = (struct listener){ .f = f, .spec = &specs[i], .io = { .fn = on_accept, .arg = l, .fd = -1 }, .retry = { .fn = on_retry, .arg = l } };
		l->fd = forward_listen(l->spec, l->where, &fault);
		if (l->fd < 0)
			return out_error(EXIT_FAIL, fault.text, "name an address of this machine that is free, for example 127.0.0.1:0:HOST:PORT", "cannot listen");
		f->n = i + 1;
		int err = ev_add(f->loop, &l->io, l->fd, EPOLLIN);
		if (err)
			return out_error(EXIT_FAIL, strerror(-err), NULL, "cannot wait for connections");
	}
	for (unsigned i = 0; i < n; i++)
		printf("Forwarding %s -> %s in %s\n", f->listeners[i].where, specs[i].upstream, f->vm);
	fflush(stdout);
	return 0;
}

int forward_run(const struct remote *r, const char *vm, const struct forward_spec *specs, unsigned n)
{
	struct forward f = { .r = r, .vm = vm };
	struct rlimit files;
	sigset_t old;
	if (!getrlimit(RLIMIT_NOFILE, &files)) { /* two for every connection */
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	AUTO_FD stop = cancel_signals(&old);
	f.listeners = calloc(n, sizeof(*f.listeners));
	int err = stop < 0 ? stop : f.listeners ? ev_new(&f.loop) : -ENOMEM;
	f.stop = (struct ev_io){ .fn = on_stop, .arg = f.loop, .fd = -1 };
	if (!err)
		err = ev_add(f.loop, &f.stop, stop, EPOLLIN);
	int code = err ? out_error(EXIT_FAIL, strerror(-err), NULL, "cannot start forwarding") : listen_all(&f, specs, n);
	if (!code && (err = ev_run(f.loop)))
		code = out_error(EXIT_FAIL, strerror(-err), NULL, "cannot go on forwarding");
	while (f.conns)
		conn_end(f.conns, false);
	for (unsigned i = 0; i < f.n; i++) {
		ev_timer_del(f.loop, &f.listeners[i].retry);
		ev_del(f.loop, &f.listeners[i].io);
		forward_unlisten(f.listeners[i].spec, &f.listeners[i].fd);
	}
	ev_free(f.loop);
	free(f.listeners);
	return code;
}
