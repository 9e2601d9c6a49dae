/* virtio-net, guest to host: a chain is a header and a packet, which goes to the tap as the guest's iovecs, or into the delay ring as a copy.
 * virtio 1.2 §5.1.6.2. */
#include "vmm/dev/net_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* The header is the guest's word: only what was agreed on goes through, and the tap checks offsets against the packet. */
static bool header_ok(const struct net *n, struct virtio_net_hdr_v1 *h)
{
	unsigned on = net_offloads(n, SHAPE_OUT);

	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->num_buffers = 0;
	if (h->flags && !(on & TUN_F_CSUM))
		return false;
	return net_gso_ok(on, h->gso_type) && (h->flags || h->gso_type == VIRTIO_NET_HDR_GSO_NONE);
}

static int tx_drop(struct net *n, uint64_t *reason)
{
	n->v.stats.errors++;
	++*reason;
	return 0;
}

static void tx_sent(struct net *n, uint32_t body)
{
	n->v.stats.out_bytes += body + NET_HDR_BYTES;
	n->counts.tx_packets++;
	n->counts.tx_bytes += body;
}

/* What the tap said to one packet. EINVAL: it is bad; EIO: the interface is down. Lost as on a wire. */
static int tx_answer(struct net *n, ssize_t put)
{
	int err = put < 0 ? errno : 0;

	if (err == EAGAIN || err == EINTR)
		return -EAGAIN;
	if (err)
		tx_drop(n, &n->counts.tx_refused);
	return 0;
}

static int tx_write(struct net_pair *p, struct vq *q, struct virtio_net_hdr_v1 *h, uint32_t body)
{
	struct net *n = p->n;
	uint64_t refused = n->counts.tx_refused;
	size_t bytes = 0;
	int iovs = vq_chain_iov(q, &n->chain, false, NET_HDR_BYTES, body, n->iov + 1, (int)NET_IOVS, &bytes), err;

	if (iovs <= 0 || bytes != body) {
		gm_iov_put(n->v.gm, iovs > 0 ? (unsigned)iovs : 0);
		return tx_drop(n, &n->counts.tx_bad);
	}
	n->iov[0] = (struct iovec){ h, sizeof(*h) };
	err = tx_answer(n, writev(p->fd, n->iov, iovs + 1));
	gm_iov_put(n->v.gm, (unsigned)iovs);
	if (!err && n->counts.tx_refused == refused)
		tx_sent(n, body);
	return err;
}

static int tx_delay(struct net_pair *p, struct vq *q, const struct virtio_net_hdr_v1 *h, uint32_t body)
{
	struct net *n = p->n;
	uint64_t now_ns = now_mono_ns(), wait_ns = n->flush ? 0 : shape_delay_ns(&n->shape);
	uint8_t *to = delay_put(&n->delay, NET_HDR_BYTES + body, p->index, now_ns + wait_ns);

	if (!to)
		return tx_drop(n, &n->counts.tx_delay_full);
	memcpy(to, h, sizeof(*h));
	(void)vq_chain_read(q, &n->chain, NET_HDR_BYTES, to + NET_HDR_BYTES, body); /* all of it: the chain was checked */
	tx_sent(n, body);
	net_timer(n, wait_ns);
	return 0;
}

/* 0 sent or dropped, -EAGAIN. */
static int tx_one(struct net_pair *p, struct vq *q, size_t *bytes)
{
	struct net *n = p->n;
	struct virtio_net_hdr_v1 h;
	uint32_t body = n->chain.read_bytes - NET_HDR_BYTES;
	int err;

	if (n->chain.read_bytes <= NET_HDR_BYTES || n->chain.read_bytes > NET_PACKET_BYTES_MAX ||
	    vq_chain_read(q, &n->chain, 0, &h, sizeof(h)) != (ssize_t)sizeof(h) || !header_ok(n, &h))
		return tx_drop(n, &n->counts.tx_bad);
	*bytes += body;
	if (n->shape.chaos.cut) {
		n->counts.tx_cut++;
		return 0;
	}
	if (shape_loses(&n->shape)) {
		n->counts.tx_lost++;
		err = 0;
	} else if (n->shape.chaos.delay_us || n->delay.packets) { /* none overtakes those that wait */
		err = tx_delay(p, q, &h, body);
	} else {
		err = tx_write(p, q, &h, body);
	}
	if (!err && net_limited(n, SHAPE_OUT))
		shape_charge(&n->shape, SHAPE_OUT, body, net_wire_packets(body, &h), now_mono_ns());
	return err;
}

/* May a packet leave now? Else it stays in the ring, and the timer goes on. */
static bool tx_may(struct net_pair *p)
{
	struct net *n = p->n;
	uint64_t wait_ns;

	if (!net_limited(n, SHAPE_OUT))
		return true;
	wait_ns = shape_wait_ns(&n->shape, SHAPE_OUT, now_mono_ns());
	if (!wait_ns)
		return true;
	n->counts.tx_held += !p->tx_held;
	p->tx_held = true;
	net_timer(n, wait_ns);
	return false;
}

/* In a bulk transfer a kick and an interrupt for each packet are too many: the driver gives one for some, as many as it is seen to add
 * at a time. What is fewer is found when something comes in (an acknowledgement of what went before), or by the timer. */
static bool tx_next(struct net_pair *p, struct vq *q, size_t bytes)
{
	bool bulk = bytes >= NET_BULK_BYTES && p->tx_bulk > 0 && q->event_idx && p->n->v.loop;

	q->kick_ahead = bulk ? (uint16_t)p->tx_bulk / NET_AHEAD_STEP : 0;
	return vdev_pop(&p->n->v, q, &p->n->chain);
}

void net_tx(struct net_pair *p)
{
	struct net *n = p->n;
	struct vq *q = net_txq(p);
	size_t bytes = 0;
	bool more = false;
	int i;

	p->tx_full = p->tx_held = false;
	if (!q->ready)
		return;
	for (i = 0; (more = i < NET_TURN_PACKETS && bytes < NET_TURN_BYTES) && tx_may(p) && tx_next(p, q, bytes); i++) {
		if (tx_one(p, q, &bytes) == -EAGAIN) {
			vq_unpop(q, 1);
			p->tx_full = true;
			break;
		}
		n->v.stats.requests++;
		vq_push(q, n->chain.head, 0);
	}
	if (i)
		vdev_used(&n->v, q);
	p->tx_bulk += bytes >= NET_BULK_BYTES && p->tx_bulk < NET_AHEAD_MAX * NET_AHEAD_STEP;
	if (q->kick_ahead)
		(void)ev_timer_set(n->v.loop, &p->late, 1); /* cannot fail: net_reserve() */
	else
		ev_timer_del(n->v.loop, &p->late);
	if (!more && n->v.active)
		vdev_kick_again(&n->v, 2 * p->index + 1);
}

void net_tx_due(struct net *n)
{
	const uint8_t *packet;
	uint64_t due_ns, now_ns = now_mono_ns();
	size_t bytes;
	unsigned way;

	for (int i = 0; (packet = delay_first(&n->delay, &bytes, &way, &due_ns)); i++) {
		struct net_pair *p = &n->pair[way];

		if (!n->flush && due_ns > now_ns) {
			net_timer(n, due_ns - now_ns);
			return;
		}
		if (i == NET_TURN_PACKETS) {
			net_timer(n, 0);
			return;
		}
		if (tx_answer(n, write(p->fd, packet, bytes))) {
			p->tx_full = true; /* its EPOLLOUT goes on */
			return;
		}
		delay_pop(&n->delay);
	}
	n->flush = false;
}
