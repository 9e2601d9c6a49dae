/* virtio-vsock: packets from the guest. See vsock_priv.h. */
#include "vmm/dev/vsock_priv.h"

#include <errno.h>

/* Payload of an RW packet that the guest had credit for. false: out of memory. */
static bool deliver(struct vsock *s, struct vstream *st, uint32_t bytes)
{
	struct vq *q = &s->v.q[TXQ];
	size_t have, sent;
	uint8_t *keep;
	int iovs = vq_chain_iov(q, &s->chain, false, HDR_BYTES, bytes, s->iov, (int)ARRAY_LEN(s->iov), &have);

	if (iovs <= 0 || have != bytes) { /* cannot be: the chain was checked and holds that much */
		gm_iov_put(s->v.gm, iovs > 0 ? (unsigned)iovs : 0);
		return false;
	}
	sent = vstream_send(st, s->iov, iovs, bytes);
	gm_iov_put(s->v.gm, (unsigned)iovs);
	if (sent == bytes)
		return true;
	keep = vstream_keep(st, bytes - sent);
	if (!keep) {
		s->v.stats.host_errors++;
		return false;
	}
	return vq_chain_read(q, &s->chain, HDR_BYTES + (uint32_t)sent, keep, bytes - sent) == (ssize_t)(bytes - sent);
}

static void on_rw(struct vsock *s, struct vstream *st, const struct virtio_vsock_hdr *h)
{
	bool sends = (st->state == VSTREAM_OPEN && !st->guest_no_send) || st->state == VSTREAM_CLOSING;

	if (!sends || !vstream_guest_may_send(st, h->len) || (h->len && !deliver(s, st, h->len))) {
		s->v.stats.errors++;
		vsock_reset_stream(s, st);
		return;
	}
	s->v.stats.out_bytes += h->len;
	vsock_settle(s, st);
}

/* Both flags: the guest has closed and wants RST. One: half of the stream ends. */
static void on_shutdown(struct vsock *s, struct vstream *st, const struct virtio_vsock_hdr *h)
{
	bool both;

	if (h->flags & VIRTIO_VSOCK_SHUTDOWN_SEND)
		st->guest_no_send = true;
	if (h->flags & VIRTIO_VSOCK_SHUTDOWN_RCV)
		vstream_stop_recv(st);
	both = st->guest_no_send && st->guest_no_recv;
	if (st->state == VSTREAM_CONNECTING || both) {
		vsock_reset_stream(s, st);
		return;
	}
	if (st->guest_no_send && !buf_len(&st->to_host))
		vstream_flush(st);
	vsock_settle(s, st);
}

/* A packet of a stream that we have. */
static void on_stream(struct vsock *s, struct vstream *st, const struct virtio_vsock_hdr *h)
{
	st->peer_alloc = h->buf_alloc;
	st->peer_fwd = h->fwd_cnt;
	st->asked_credit = false;
	switch (h->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (st->state == VSTREAM_CONNECTING && !(st->owed & OWE_REQUEST)) {
			vsock_connected(s, st);
			return;
		}
		break;
	case VIRTIO_VSOCK_OP_RST:
		vsock_detach(s, st, -ECONNREFUSED);
		return;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		on_shutdown(s, st, h);
		return;
	case VIRTIO_VSOCK_OP_RW:
		on_rw(s, st, h);
		return;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		if (st->state == VSTREAM_CONNECTING)
			break;
		st->owed |= OWE_CREDIT_UPDATE;
		vsock_settle(s, st);
		return;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		if (st->state == VSTREAM_CONNECTING)
			break;
		vsock_settle(s, st);
		return;
	default:
		break;
	}
	s->v.stats.errors++; /* an operation that this state does not have */
	vsock_reset_stream(s, st);
}

static void on_packet(struct vsock *s, const struct virtio_vsock_hdr *h)
{
	struct vstream *st;

	if (h->src_cid != s->cid || h->dst_cid != VSOCK_HOST_CID) {
		s->v.stats.errors++; /* nobody there to answer for */
		return;
	}
	if (h->type != VIRTIO_VSOCK_TYPE_STREAM) {
		s->v.stats.errors++;
		if (h->op != VIRTIO_VSOCK_OP_RST)
			vsock_reply_rst(s, h->dst_port, h->src_port, h->type);
		return;
	}
	st = vtable_find(&s->t, h->dst_port, h->src_port);
	if (st) {
		on_stream(s, st, h);
		return;
	}
	if (h->op == VIRTIO_VSOCK_OP_RST)
		return;
	if (h->op != VIRTIO_VSOCK_OP_REQUEST || vsock_incoming(s, h)) {
		s->v.stats.errors++;
		vsock_reply_rst(s, h->dst_port, h->src_port, h->type);
	}
}

void vsock_transmit(struct vsock *s)
{
	struct vq *q = &s->v.q[TXQ];

	for (int i = 0; s->v.active; i++) {
		struct virtio_vsock_hdr h;

		/* Each packet may need one reply: no packet is taken without room for it, so a guest that gives no buffers waits. */
		if (s->replies == REPLIES_MAX) {
			s->tx_paused = true;
			return;
		}
		if (i == TURN_PACKETS_MAX) {
			vdev_kick_again(&s->v, TXQ);
			return;
		}
		if (!vdev_pop(&s->v, q, &s->chain))
			return;
		if (vq_chain_read(q, &s->chain, 0, &h, HDR_BYTES) != (ssize_t)HDR_BYTES || h.len > s->chain.read_bytes - HDR_BYTES) {
			vdev_break(&s->v, "vsock: a packet shorter than its header says");
			return;
		}
		on_packet(s, &h);
		s->v.stats.requests++;
		s->tx_used++;
		vq_push(q, s->chain.head, 0);
	}
}
