#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/peer.h"

#define RECV_BURST 64 /* frames a turn, so that one peer cannot keep the loop */

struct peer_call {
	struct peer_call *next;
	uint32_t id;
	peer_reply_fn *fn;
	void *arg;
};

static void close_fds(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fd_close(&fds[i]);
}

static void nobody(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	(void)arg; (void)m; (void)fds; (void)n_fds;
}

static void gone(struct peer *p, int err)
{
	void (*on_gone)(struct peer *, int) = p->on_gone;

	peer_done(p);
	if (on_gone)
		on_gone(p, err);
}

static struct peer_call *take_call(struct peer *p, const struct wire_msg *m)
{
	struct peer_call **at = &p->calls, *c;

	if (!m->id || (m->type != WIRE_OK && m->type != WIRE_ERR))
		return NULL;
	while (*at && (*at)->id != m->id)
		at = &(*at)->next;
	c = *at;
	if (c)
		*at = c->next;
	return c;
}

/* false: it is no answer, of one that only answers: what it was asked would wait for good. (Answers that nobody waits for are those to peer_send().) */
static bool dispatch(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct peer_call *c = take_call(p, m);
	bool known = p->on_msg || m->type == WIRE_OK || m->type == WIRE_ERR;

	if (c) {
		c->fn(c->arg, m, fds, n_fds);
		free(c);
	} else if (p->on_msg) {
		p->on_msg(p, m, fds, n_fds);
	}
	close_fds(fds, n_fds);
	return known;
}

static void on_io(struct ev_io *io, uint32_t events)
{
	struct peer *p = io->arg;
	struct wire_msg m;
	int fds[WIRE_FDS_MAX], r;
	unsigned n_fds;

	if (events & EPOLLOUT) {
		r = chan_flush(&p->chan);
		if (r && r != -EAGAIN) {
			gone(p, r);
			return;
		}
	}
	for (int i = 0; i < RECV_BURST; i++) {
		n_fds = 0;
		r = chan_recv(&p->chan, &m, fds, &n_fds);
		if (r == 0)
			break;
		if (r < 0) {
			gone(p, r);
			return;
		}
		if (!dispatch(p, &m, fds, n_fds)) {
			gone(p, -EPROTO);
			return;
		}
		if (!peer_there(p))
			return;
	}
	ev_mod(p->loop, &p->io, chan_want(&p->chan));
}

void peer_drain(struct peer *p)
{
	for (int i = 0; i < RECV_BURST && peer_there(p); i++)
		on_io(&p->io, EPOLLIN);
}

int peer_init(struct peer *p, struct ev_loop *loop, int fd_taken, size_t queued_max_bytes)
{
	int r = chan_init(&p->chan, fd_taken, queued_max_bytes);

	if (r)
		return r;
	buf_init(&p->out, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	p->loop = loop;
	p->calls = NULL;
	p->io = (struct ev_io){ .fn = on_io, .arg = p, .fd = -1 };
	r = ev_add(loop, &p->io, p->chan.fd, EPOLLIN);
	if (r)
		peer_done(p);
	return r;
}

void peer_done(struct peer *p)
{
	struct peer_call *calls = p->calls;

	if (!p->loop)
		return;
	ev_del(p->loop, &p->io);
	chan_done(&p->chan);
	buf_done(&p->out);
	p->loop = NULL;
	p->calls = NULL;
	while (calls) {
		struct peer_call *c = calls;

		calls = c->next;
		c->fn(c->arg, NULL, NULL, 0);
		free(c);
	}
}

struct buf *peer_begin_reply(struct peer *p, uint16_t type, uint32_t id)
{
	buf_clear(&p->out);
	p->mark = wire_begin(&p->out, type, id);
	return &p->out;
}

struct buf *peer_begin(struct peer *p, uint16_t type)
{
	if (++p->last_id == 0)
		p->last_id = 1;
	return peer_begin_reply(p, type, p->last_id);
}

int peer_send(struct peer *p, const int *fds, unsigned n_fds)
{
	int r;

	if (!peer_there(p))
		return -EPIPE;
	r = wire_end(&p->out, p->mark);
	if (!r)
		r = chan_send(&p->chan, &p->out, fds, n_fds);
	if (!r)
		ev_mod(p->loop, &p->io, chan_want(&p->chan));
	return r;
}

int peer_call(struct peer *p, const int *fds, unsigned n_fds, peer_reply_fn *fn, void *arg)
{
	struct peer_call *c = malloc(sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct peer_call){ p->calls, p->last_id, fn, arg };
	r = peer_send(p, fds, n_fds);
	if (r)
		free(c);
	else
		p->calls = c;
	return r;
}

void peer_forget(struct peer *p, const void *arg)
{
	for (struct peer_call *c = p->calls; c; c = c->next)
		if (c->arg == arg)
			c->fn = nobody;
}

int peer_result(const struct wire_msg *m, const char *who, struct fault *f, unsigned *status)
{
	char text[sizeof(f->text)];
	uint64_t v;
	int err = -EIO;

	if (m && m->type == WIRE_OK)
		return 0;
	if (status)
		*status = 503;
	if (!m)
		return fault_set(f, -EPIPE, "%s went away", who);
	if (status)
		*status = wire_get_u64(m, WIRE_T_STATUS, &v) && v >= 400 && v <= 599 ? (unsigned)v : 500;
	if (wire_get_u64(m, WIRE_T_ERRNO, &v) && v > 0 && v < 4096)
		err = -(int)v;
	if (wire_get_str(m, WIRE_T_TEXT, text, sizeof(text)))
		return fault_set(f, err, "%s refused: %s", who, strerror(-err));
	return fault_set(f, err, "%s", text);
}
