/* virtio-vsock: life of streams, and what the loop says about them. See vsock_priv.h. */
#include "vmm/dev/vsock_priv.h"

#include <errno.h>

static void stream_event(struct ev_io *io, uint32_t events);
static void stream_timeout(struct ev_timer *t);

void vsock_remove_stream(struct vsock *s, struct vstream *st)
{
	ev_del(s->v.loop, &st->io);
	ev_timer_del(s->v.loop, &st->timer);
	s->by_guest -= st->by_guest;
	vstream_done(st);
	vtable_remove(&s->t, st);
}

/* The host's end is closed and all it wrote was sent: only the guest's RST is missing. */
static void enter_closing(struct vsock *s, struct vstream *st)
{
	st->state = VSTREAM_CLOSING;
	st->readable = false;
	st->owed |= OWE_SHUTDOWN;
	ev_del(s->v.loop, &st->io);
	fd_close(&st->fd);
	(void)ev_timer_set(s->v.loop, &st->timer, LINGER_MS);
}

bool vsock_settle(struct vsock *s, struct vstream *st)
{
	uint32_t want;

	if (st->state == VSTREAM_DRAINING && !buf_len(&st->to_host)) { /* a host that takes no more leaves nothing there */
		vsock_remove_stream(s, st);
		return true;
	}
	if (st->state == VSTREAM_OPEN && st->host_hup && st->host_eof)
		enter_closing(s, st);
	if (st->state == VSTREAM_OPEN && vstream_credit_due(st))
		st->owed |= OWE_CREDIT_UPDATE;
	if (vstream_has_data(st) && !vstream_credit(st) && !st->asked_credit) {
		st->asked_credit = true;
		st->owed |= OWE_CREDIT_REQUEST;
	}
	if (st->owed || (vstream_has_data(st) && vstream_credit(st)))
		vtable_todo_add(&s->t, st);
	else
		vtable_todo_del(&s->t, st);
	want = vstream_wants(st);
	if (want == UINT32_MAX)
		ev_del(s->v.loop, &st->io);
	else
		(void)ev_mod(s->v.loop, &st->io, want);
	return false;
}

void vsock_detach(struct vsock *s, struct vstream *st, int err)
{
	if (st->state == VSTREAM_CONNECTING) {
		st->connected(st->connected_arg, err);
		vsock_remove_stream(s, st);
		return;
	}
	vtable_unhash(&s->t, st);
	ev_timer_del(s->v.loop, &st->timer);
	st->state = VSTREAM_DRAINING;
	st->owed = 0;
	st->readable = false;
	st->guest_no_send = true;
	vsock_settle(s, st);
}

void vsock_reset_stream(struct vsock *s, struct vstream *st)
{
	vsock_reply_rst(s, st->host_port, st->guest_port, VIRTIO_VSOCK_TYPE_STREAM);
	vsock_detach(s, st, -ECONNREFUSED);
}

/* Both ends known: from here on the loop watches ours. */
static int stream_start(struct vsock *s, struct vstream *st)
{
	st->state = VSTREAM_OPEN;
	st->io.fn = stream_event;
	st->io.arg = st;
	return ev_add(s->v.loop, &st->io, st->fd, EPOLLIN);
}

struct vstream *vsock_stream_new(struct vsock *s, uint32_t host_port, uint32_t guest_port, int *err)
{
	struct vstream *st = vtable_add(&s->t, host_port, guest_port);

	*err = -EMFILE;
	if (!st)
		return NULL;
	st->dev = s;
	st->timer.fn = stream_timeout;
	st->timer.arg = st;
	*err = vstream_open(st, &st->peer_fd);
	if (*err) {
		vsock_remove_stream(s, st);
		return NULL;
	}
	return st;
}

void vsock_connected(struct vsock *s, struct vstream *st)
{
	int fd = st->peer_fd, err = stream_start(s, st);

	ev_timer_del(s->v.loop, &st->timer);
	if (err) { /* the host's limit on watches: as if the guest had refused */
		s->v.stats.host_errors++;
		st->state = VSTREAM_CONNECTING;
		vsock_reset_stream(s, st);
		return;
	}
	st->peer_fd = -1;
	st->connected(st->connected_arg, fd);
	vsock_settle(s, st);
}

int vsock_incoming(struct vsock *s, const struct virtio_vsock_hdr *h)
{
	struct listener *l = vsock_find_listener(s, h->dst_port);
	struct vstream *st;
	int err, fd;

	if (!l || s->by_guest == VSOCK_INCOMING_MAX)
		return -ECONNREFUSED;
	st = vsock_stream_new(s, h->dst_port, h->src_port, &err);
	if (!st)
		return err;
	st->by_guest = true;
	s->by_guest++;
	st->peer_alloc = h->buf_alloc;
	st->peer_fwd = h->fwd_cnt;
	fd = st->peer_fd;
	err = stream_start(s, st);
	if (!err)
		err = l->fn(l->arg, h->dst_port, h->src_port, fd);
	if (err) {
		vsock_remove_stream(s, st); /* closes both ends */
		return err;
	}
	st->peer_fd = -1;
	st->owed |= OWE_RESPONSE;
	vsock_settle(s, st);
	return 0;
}

/* ---- events of the loop ---- */

static void host_event(struct vsock *s, struct vstream *st, uint32_t events)
{
	if (events & EPOLLOUT)
		vstream_flush(st);
	if (events & (EPOLLHUP | EPOLLERR)) {
		vstream_hup(st);
		if (st->state == VSTREAM_OPEN)
			(void)ev_timer_set(s->v.loop, &st->timer, LINGER_MS);
	} else if (events & EPOLLIN) {
		st->readable = true;
	}
	/* Serve first and settle then: a socket that was emptied goes on being watched without a system call. */
	if (st->state == VSTREAM_OPEN && st->readable) {
		vtable_todo_add(&s->t, st);
		vsock_service(s);
	}
	if (!vsock_settle(s, st) && st->owed)
		vsock_service(s);
}

/* After a sync the stream that an event or a timer was about may have been freed. */
static bool stream_lives(const struct vsock *s, const struct vstream *st)
{
	for (const struct vstream *i = s->t.all; i; i = i->next)
		if (i == st)
			return true;
	return false;
}

static void stream_event(struct ev_io *io, uint32_t events)
{
	struct vstream *st = io->arg;
	struct vsock *s = st->dev;

	if (!vdev_enter(&s->v) || stream_lives(s, st))
		host_event(s, st, events);
	vsock_flush_irqs(s);
	vdev_leave(&s->v);
}

static void stream_timeout(struct ev_timer *t)
{
	struct vstream *st = t->arg;
	struct vsock *s = st->dev;

	if (!vdev_enter(&s->v) || stream_lives(s, st)) {
		if (!(st->owed & OWE_REQUEST)) /* else the guest has never heard of it */
			vsock_reply_rst(s, st->host_port, st->guest_port, VIRTIO_VSOCK_TYPE_STREAM);
		vsock_detach(s, st, -ETIMEDOUT);
		vsock_service(s);
	}
	vsock_flush_irqs(s);
	vdev_leave(&s->v);
}
