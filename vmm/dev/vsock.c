/* virtio-vsock: registers, interrupts, interface. virtio 1.2 §5.10; see vsock.h. */
#include "vmm/dev/vsock_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void tx_irq(struct vsock *s)
{
	ev_timer_del(s->v.loop, &s->tx_timer);
	s->tx_used = 0;
	vdev_used(&s->v, &s->v.q[TXQ]);
}

static void tx_timeout(struct ev_timer *t)
{
	struct vsock *s = t->arg;

	vdev_enter(&s->v);
	if (s->tx_used)
		tx_irq(s);
	vdev_leave(&s->v);
}

void vsock_flush_irqs(struct vsock *s)
{
	if (s->rx_used)
		vdev_used(&s->v, &s->v.q[RXQ]);
	s->rx_used = false;
	if (!s->v.active)
		return;
	if (s->tx_used >= TX_IRQ_PACKETS || s->tx_used >= s->v.q[TXQ].size / 4u)
		tx_irq(s);
	else if (s->tx_used && !s->tx_timer.slot && ev_timer_set(s->v.loop, &s->tx_timer, TX_IRQ_MS))
		tx_irq(s); /* no memory for a timer */
}

/* ---- device ---- */

static uint64_t vsock_features(struct vdev *v)
{
	(void)v;
	return 0; /* streams need no bit; SEQPACKET is not offered */
}

static void vsock_config_read(struct vdev *v, uint32_t off, void *dst, uint32_t len)
{
	struct virtio_vsock_config c = { .guest_cid = ((struct vsock *)v)->cid };

	vdev_config_copy(dst, off, len, &c, sizeof(c));
}

static void vsock_config_write(struct vdev *v, uint32_t off, const void *src, uint32_t len)
{
	(void)v, (void)off, (void)src, (void)len;
}

static int vsock_activate(struct vdev *v)
{
	struct vsock *s = (struct vsock *)v;

	if (!v->loop || !v->q[RXQ].ready || !v->q[TXQ].ready)
		return -EINVAL;
	s->live = true;
	return 0;
}

/* vCPU thread. Streams that wait for a driver to come up survive its first reset. */
static void vsock_reset(struct vdev *v)
{
	struct vsock *s = (struct vsock *)v;

	s->drop = s->drop || s->live;
	s->live = false;
}

static void drop_streams(struct vsock *s)
{
	struct vstream *st = s->t.all, *next;

	for (; st; st = next) {
		next = st->next; /* a callback cannot come back here: vsock.h */
		if (st->state != VSTREAM_DRAINING)
			vsock_detach(s, st, -ENETDOWN);
	}
	s->replies = 0;
	s->tx_paused = false;
	s->rx_used = false;
	s->tx_used = 0;
}

static void vsock_sync(struct vdev *v)
{
	struct vsock *s = (struct vsock *)v;

	if (s->drop || (s->live && !v->active)) {
		drop_streams(s);
		s->live = v->active;
		s->drop = false;
	}
	vsock_service(s);
	vsock_flush_irqs(s);
}

static void vsock_kick(struct vdev *v, unsigned queue)
{
	struct vsock *s = (struct vsock *)v;

	if (queue == TXQ)
		vsock_transmit(s);
	vsock_service(s);
	vsock_flush_irqs(s);
}

static void vsock_detach_loop(struct vdev *v)
{
	struct vsock *s = (struct vsock *)v;

	drop_streams(s);
	ev_timer_del(s->v.loop, &s->tx_timer);
	while (s->t.all)
		vsock_remove_stream(s, s->t.all);
}

static const struct vdev_ops vsock_ops = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.queues = 3, /* receive, transmit, event (nothing to say there before snapshots) */
	.queue_size = 256,
	.features = vsock_features,
	.config_read = vsock_config_read,
	.config_write = vsock_config_write,
	.activate = vsock_activate,
	.reset = vsock_reset,
	.sync = vsock_sync,
	.kick = vsock_kick,
	.detach = vsock_detach_loop,
};

/* ---- interface ---- */

struct listener *vsock_find_listener(struct vsock *s, uint32_t port)
{
	for (unsigned i = 0; i < s->listeners; i++)
		if (s->listener[i].port == port)
			return &s->listener[i];
	return NULL;
}

int vsock_new(struct vsock **out, struct gm *gm, uint64_t guest_cid, struct fault *f)
{
	struct vsock *s;
	int err;

	if (guest_cid <= VSOCK_HOST_CID || guest_cid >= UINT32_MAX)
		return fault_set(f, -EINVAL, "vsock: context id %llu is reserved", (unsigned long long)guest_cid);
	s = calloc(1, sizeof(*s));
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	err = vdev_init(&s->v, &vsock_ops, gm);
	if (err) {
		free(s);
		return fault_errno(f, err, "mutex");
	}
	s->cid = guest_cid;
	s->tx_timer.fn = tx_timeout;
	s->tx_timer.arg = s;
	vtable_init(&s->t, VSOCK_STREAMS_MAX, VSOCK_BUDGET_BYTES, VSOCK_ALLOC_MIN_BYTES, VSOCK_ALLOC_MAX_BYTES);
	*out = s;
	return 0;
}

void vsock_free(struct vsock *s)
{
	if (!s)
		return;
	vdev_done(&s->v);
	free(s);
}

struct vdev *vsock_vdev(struct vsock *s)
{
	return &s->v;
}

int vsock_connect(struct vsock *s, uint32_t guest_port, unsigned timeout_ms, vsock_connect_fn *fn, void *arg)
{
	struct vstream *st;
	int err = 0;

	if (!s->v.loop)
		return -EINVAL;
	vdev_enter(&s->v);
	st = vsock_stream_new(s, vtable_free_port(&s->t, guest_port), guest_port, &err);
	if (st)
		err = ev_timer_set(s->v.loop, &st->timer, timeout_ms);
	if (st && err)
		vsock_remove_stream(s, st);
	if (st && !err) {
		st->connected = fn;
		st->connected_arg = arg;
		st->owed = OWE_REQUEST;
		vsock_settle(s, st);
		vsock_service(s);
		vsock_flush_irqs(s);
	}
	vdev_leave(&s->v);
	return err;
}

int vsock_listen(struct vsock *s, uint32_t port, vsock_incoming_fn *fn, void *arg)
{
	struct listener *l;
	int err = 0;

	vdev_enter(&s->v);
	l = vsock_find_listener(s, port);
	if (!fn) {
		if (l)
			*l = s->listener[--s->listeners];
	} else if (l || s->listeners < LISTENERS_MAX) {
		l = l ? l : &s->listener[s->listeners++];
		*l = (struct listener){ port, fn, arg };
	} else {
		err = -ENOSPC;
	}
	vdev_leave(&s->v);
	return err;
}

unsigned vsock_streams(const struct vsock *s)
{
	return s->t.streams;
}
