/* Connections: reading, settling, ending. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/front/front.h"

#define LINGER_BYTES_MAX (4u << 20)
#define FLUSH_TIMEOUT_MS 60000u
#define TRIM_BYTES 2048u
#define PROBE_MS 3000u

static void enter(struct conn *c, enum conn_state state)
{
	c->state = state;
	c->since_ms = now_mono_ms();
}

void conn_break(struct conn *c)
{
	c->broken = true;
}

bool conn_out_full(const struct conn *c)
{
	return buf_len(&c->out) > HIGH_BYTES;
}

void req_free(struct req *r)
{
	if (r->status)
		counts_add(&r->conn->front->counts, r->head.method.p, r->head.method.n, r->status, now_mono_ns() - r->begun_ns);
	ask_drop(r);
	stream_done(r);
	if (r->state && r->state_done)
		r->state_done(r->state);
	http_target_done(&r->target);
	buf_done(&r->gather);
	free(r->head_mem);
	free(r);
}

/* Of a local user's core has a descriptor, too: closing ours alone would tell nobody. */
static void end_socket(int fd, uint64_t local)
{
	if (local)
		shutdown(fd, SHUT_RDWR);
	close(fd);
}

static void conn_free(struct conn *c)
{
	struct front *f = c->front;

	if (c->req)
		req_free(c->req);
	ev_del(f->loop, &c->io);
	secure_free(c);
	end_socket(c->fd, c->local);
	buf_done(&c->in);
	buf_done(&c->out);
	free(c->head);
	if (c->prev)
		c->prev->next = c->next;
	else
		f->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	else
		f->oldest = c->prev;
	f->n_conns--;
	free(c);
}

static bool wants_input(const struct conn *c)
{
	const struct req *r = c->req;

	if (c->peer_gone)
		return false;
	switch (c->state) {
	case CONN_HEAD:
		return !conn_out_full(c);
	case CONN_REQUEST:
		return r->body == BODY_READING && !r->body_paused && buf_len(&c->in) < READ_BYTES;
	case CONN_LINGER:
		return true;
	case CONN_FLUSH:
		break;
	}
	return false;
}

static bool wants_bytes(const struct conn *c)
{
	const struct secure *s = c->secure;

	if (!s)
		return wants_input(c);
	return secure_has_room(c) && (!s->up || wants_input(c));
}

void conn_left(struct conn *c)
{
	if (!c->left_ms)
		c->left_ms = now_mono_ms();
}

/* Over TCP the end of what a client sends is all that is seen of one that went away, until it is written to; a unix socket
 * tells the two apart. */
static void hang_up(struct conn *c, bool whole)
{
	c->hung_up = true;
	if (whole || c->listener->tcp)
		conn_left(c);
}

static void conn_read(struct conn *c, uint32_t events)
{
	ssize_t n;

	if (events & (EPOLLHUP | EPOLLRDHUP))
		hang_up(c, events & EPOLLHUP);
	if (!wants_bytes(c)) { /* what it sent before stays in the socket until somebody takes it */
		if (c->hung_up && c->state != CONN_REQUEST)
			c->peer_gone = true;
		if (events & EPOLLERR)
			conn_break(c);
		return;
	}
	if (c->secure) {
		secure_read(c);
		return;
	}
	n = buf_read_fd(&c->in, c->fd, READ_BYTES);
	if (n == 0) {
		hang_up(c, false);
		c->peer_gone = true;
	} else if (n < 0 && n != -EAGAIN) {
		conn_break(c);
	}
}

static void conn_event(struct ev_io *io, uint32_t events)
{
	struct conn *c = io->arg;

	c->busy = true;
	if (events & ~(uint32_t)EPOLLOUT)
		conn_read(c, events);
	conn_settle(c);
}

/* true: there is more to read than before. */
static bool conn_flush(struct conn *c)
{
	int err;

	if (c->out.failed) { /* memory was short in the middle of an answer */
		conn_break(c);
		return false;
	}
	if (c->secure)
		return secure_move(c);
	err = buf_len(&c->out) ? buf_write_fd(&c->out, c->fd) : 0;
	if (err && err != -EAGAIN)
		conn_break(c);
	return false;
}

static bool has_out(const struct conn *c)
{
	return buf_len(&c->out) || (c->secure && secure_has_out(c));
}

/* The answer is complete: the next request, or the end. */
static void finish_request(struct conn *c)
{
	struct req *r = c->req;
	bool again = r->head.keep_alive && r->body == BODY_DONE && !r->body_raw && !c->peer_gone;

	c->req = NULL;
	req_free(r);
	enter(c, again ? CONN_HEAD : CONN_FLUSH);
}

/* The client closed its side while its request is at work. A command ends with its client. A question to core and a file on its way in are
 * finished when all of them is here: the client may only have closed its sending half. A body that is cut short ends both. */
static void client_gone(struct conn *c)
{
	struct req *r = c->req;

	if (r->ending)
		return;
	if (c->left_ms && r->with_client)
		conn_break(c);
	else if (c->peer_gone && r->body != BODY_DONE && !buf_len(&c->in)) /* else it is paused, and goes on */
		conn_break(c);
}

static bool settle_request(struct conn *c)
{
	struct req *r = c->req;
	bool moved = body_feed(c);

	if ((c->peer_gone || c->left_ms) && !r->ended)
		client_gone(c);
	if (c->broken) /* nothing is begun for a client that left while core was asked */
		return false;
	stream_flush(r);
	if (r->ending && !buf_len(&r->agent.out))
		r->ended = true;
	if (r->body_paused && buf_len(&r->agent.out) < LOW_BYTES) {
		r->body_paused = false;
		moved = true;
	}
	moved |= stream_pump(r);
	if (r->ended && !c->broken) {
		finish_request(c);
		return true;
	}
	return moved;
}

static bool settle_head(struct conn *c)
{
	struct http_refusal why;
	int err;

	if (conn_out_full(c))
		return false;
	if (!buf_len(&c->in)) {
		if (c->peer_gone)
			conn_break(c);
		return false;
	}
	if (!c->head) {
		c->head = malloc(sizeof(*c->head));
		if (!c->head) {
			conn_break(c);
			return false;
		}
		http_head_init(c->head, HTTP_REQUEST);
		enter(c, CONN_HEAD);
	}
	err = http_head_parse(c->head, buf_data(&c->in), buf_len(&c->in), &why);
	if (err == -EAGAIN) {
		if (c->peer_gone)
			conn_break(c);
		return false;
	}
	if (err) {
		c->front->rejects.n[reject_of(&why)]++;
		conn_refuse(c, why.status, why.text);
	} else {
		request_begin(c);
	}
	return true;
}

static void settle_end(struct conn *c)
{
	if (c->state == CONN_FLUSH && !has_out(c)) {
		if (c->peer_gone || shutdown(c->fd, SHUT_WR))
			conn_break(c);
		enter(c, CONN_LINGER);
	}
	if (c->state == CONN_LINGER) {
		c->linger_bytes += buf_len(&c->in);
		buf_clear(&c->in);
		if (c->peer_gone || c->linger_bytes > LINGER_BYTES_MAX)
			conn_break(c);
	}
}

static void conn_watch(struct conn *c)
{
	uint32_t want = 0;

	if (wants_bytes(c))
		want |= EPOLLIN;
	if (c->secure ? buf_len(&c->secure->out) != 0 : buf_len(&c->out) != 0)
		want |= EPOLLOUT;
	if (c->state == CONN_REQUEST && !c->hung_up)
		want |= EPOLLRDHUP;
	/* A hang-up is told without being asked for: to nobody who knows it already. */
	if (!want && (c->state != CONN_REQUEST || c->left_ms))
		ev_del(c->front->loop, &c->io);
	else if (c->io.fd >= 0)
		ev_mod(c->front->loop, &c->io, want);
	else if (ev_add(c->front->loop, &c->io, c->fd, want))
		conn_break(c);
}

void conn_settle(struct conn *c)
{
	bool moved = true;

	while (moved && !c->broken) {
		moved = conn_flush(c);
		if (c->broken)
			break;
		if (c->state == CONN_REQUEST)
			moved |= settle_request(c);
		else if (c->state == CONN_HEAD)
			moved |= settle_head(c);
		else
			settle_end(c);
	}
	if (!c->broken) {
		if (c->req) {
			stream_flush(c->req);
			stream_watch(c->req);
		}
		conn_flush(c);
	}
	if (!c->broken)
		conn_watch(c);
	if (c->broken)
		conn_free(c);
}

/* ---- time ---- */

static void trim(struct buf *b)
{
	if (!buf_len(b) && b->cap > TRIM_BYTES) {
		size_t max = b->max;

		buf_done(b);
		buf_init(b, max);
	}
}

/* A client whose upload stands still because its command takes nothing has its own end queued behind it: TCP shows neither. A blank before
 * the next line of JSON means nothing to one that is there, and makes the kernel of one that is not say so. */
static void probe(struct conn *c, struct req *r, uint64_t now_ms)
{
	bool stands = c->listener->tcp && r->with_client && r->replied && !r->body_raw && r->body == BODY_READING && r->body_paused;

	if (!stands || c->busy || !r->probe_ms)
		r->probe_ms = stands ? now_ms + PROBE_MS : 0;
	if (!stands || now_ms < r->probe_ms || buf_len(&c->out) || (c->secure && buf_len(&c->secure->out)))
		return;
	r->probe_ms = now_ms + PROBE_MS;
	reply_data(r, " ", 1);
}

static void keep_alive(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 }, { SOL_SOCKET, SO_KEEPALIVE, 1 },
		/* a client whose machine is gone is noticed after two minutes */
		{ IPPROTO_TCP, TCP_KEEPIDLE, 60 }, { IPPROTO_TCP, TCP_KEEPINTVL, 15 }, { IPPROTO_TCP, TCP_KEEPCNT, 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
}

static void conn_tick(struct conn *c, uint64_t now_ms)
{
	uint64_t age = now_ms - c->since_ms;
	struct req *r = c->req;

	if (!c->busy) {
		trim(&c->in);
		trim(&c->out);
		if (c->secure) {
			trim(&c->secure->in);
			trim(&c->secure->out);
			if (c->secure->tls && !c->secure->rested && !buf_len(&c->out))
				tls_rest(c->secure->tls);
			c->secure->rested = true;
		}
		if (r) {
			trim(&r->agent.in);
			trim(&r->agent.out);
			r->agent.read_bytes = 0;
		}
	} else if (c->secure) {
		c->secure->rested = false;
	}
	if (guard_late(c, now_ms))
		;
	else if (c->state == CONN_LINGER && age > LINGER_TIMEOUT_MS)
		conn_break(c);
	else if (c->state == CONN_FLUSH && !c->busy && age > FLUSH_TIMEOUT_MS)
		conn_break(c);
	else if (r && c->left_ms && r->body != BODY_DONE && now_ms - c->left_ms > FLUSH_TIMEOUT_MS)
		conn_break(c); /* the guest does not take what a client left behind */
	else if (r && r->deadline_ms && now_ms >= r->deadline_ms && !r->ended) {
		r->deadline_ms = 0;
		r->on_deadline(r);
	}
	if (c->req && !c->broken)
		probe(c, c->req, now_ms);
	c->busy = false;
	conn_settle(c);
}

void conn_sweep(struct front *f, uint64_t now_ms)
{
	struct conn *next;

	for (struct conn *c = f->conns; c; c = next) {
		next = c->next;
		conn_tick(c, now_ms);
	}
}

/* ---- beginning ---- */

void conn_new(const struct listener *l, int fd_taken, uint64_t local)
{
	struct front *f = l->front;
	struct conn *c = guard_room(f) ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		end_socket(fd_taken, local);
		return;
	}
	if (l->tcp)
		keep_alive(fd_taken);
	c->front = f;
	c->fd = fd_taken;
	c->io = (struct ev_io){ .fn = conn_event, .arg = c, .fd = -1 };
	c->listener = l;
	c->local = local;
	buf_init(&c->in, HTTP_HEAD_MAX + 2 * READ_BYTES);
	buf_init(&c->out, OUT_BYTES_MAX);
	if (l->tls && secure_new(c)) {
		buf_done(&c->in);
		buf_done(&c->out);
		close(fd_taken);
		free(c);
		return;
	}
	enter(c, CONN_HEAD);
	c->next = f->conns;
	if (f->conns)
		f->conns->prev = c;
	else
		f->oldest = c;
	f->conns = c;
	f->n_conns++;
	conn_settle(c);
}
