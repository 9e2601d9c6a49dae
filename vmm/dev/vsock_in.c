/* virtio-vsock: packets to the guest. See vsock_priv.h. */
#include "vmm/dev/vsock_priv.h"

#include <errno.h>

/* Next receive buffer into s->chain; at least a header must fit. false: none, or the device is broken. */
static bool next_buffer(struct vsock *s)
{
	if (!vdev_pop(&s->v, &s->v.q[RXQ], &s->chain))
		return false;
	if (s->chain.readable == 0 && s->chain.write_bytes > HDR_BYTES)
		return true;
	vdev_break(&s->v, "vsock: a receive buffer that cannot hold a packet");
	return false;
}

static void broken_ring(struct vsock *s)
{
	vdev_break(&s->v, "vsock: the receive ring breaks a rule");
}

/* A packet without payload. false: no buffer now. */
static bool send_bare(struct vsock *s, const struct virtio_vsock_hdr *h)
{
	struct vq *q = &s->v.q[RXQ];

	if (!next_buffer(s))
		return false;
	if (vq_chain_write(q, &s->chain, 0, h, HDR_BYTES) != (ssize_t)HDR_BYTES || vq_push(q, s->chain.head, HDR_BYTES)) {
		broken_ring(s);
		return false;
	}
	s->rx_used = true;
	s->v.stats.requests++;
	return true;
}

static struct virtio_vsock_hdr header(const struct vsock *s, uint32_t host_port, uint32_t guest_port, uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = VSOCK_HOST_CID,
		.dst_cid = s->cid,
		.src_port = host_port,
		.dst_port = guest_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
	};
}

/* Every packet of a stream carries our credit. */
static struct virtio_vsock_hdr stream_header(const struct vsock *s, struct vstream *st, uint16_t op)
{
	struct virtio_vsock_hdr h = header(s, st->host_port, st->guest_port, op);

	h.buf_alloc = st->buf_alloc;
	h.fwd_cnt = st->fwd_cnt;
	return h;
}

static void credit_was_told(struct vstream *st, const struct virtio_vsock_hdr *h)
{
	st->fwd_told = h->fwd_cnt;
	st->owed &= ~(unsigned)OWE_CREDIT_UPDATE;
}

void vsock_reply_rst(struct vsock *s, uint32_t host_port, uint32_t guest_port, uint16_t type)
{
	if (s->replies == REPLIES_MAX)
		return;
	s->reply[(s->reply_first + s->replies++) % REPLIES_MAX] = (struct reply){ host_port, guest_port, type };
}

static bool send_reply(struct vsock *s)
{
	const struct reply *r = &s->reply[s->reply_first];
	struct virtio_vsock_hdr h = header(s, r->host_port, r->guest_port, VIRTIO_VSOCK_OP_RST);

	h.type = r->type;
	if (!send_bare(s, &h))
		return false;
	s->reply_first = (s->reply_first + 1) % REPLIES_MAX;
	s->replies--;
	return true;
}

/* What is owed, in the order in which it must arrive. */
static const struct {
	unsigned owed;
	uint16_t op;
} owed_ops[] = {
	{ OWE_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
	{ OWE_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
	{ OWE_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
	{ OWE_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_REQUEST },
	{ OWE_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN },
};

static bool send_owed(struct vsock *s, struct vstream *st, unsigned which)
{
	for (unsigned i = 0; i < ARRAY_LEN(owed_ops); i++) {
		struct virtio_vsock_hdr h;

		if (!(st->owed & which & owed_ops[i].owed))
			continue;
		h = stream_header(s, st, owed_ops[i].op);
		if (owed_ops[i].owed == OWE_SHUTDOWN)
			h.flags = (st->host_no_recv ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0u) | (st->host_eof ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0u);
		if (!send_bare(s, &h))
			return false;
		credit_was_told(st, &h);
		st->owed &= ~owed_ops[i].owed;
	}
	return true;
}

/* Takes buffers for at most `want` bytes into s->slot and their payload parts into s->iov. Returns the number of slots. */
static unsigned take_buffers(struct vsock *s, uint32_t want, int *iovs, uint32_t *room)
{
	struct vq *q = &s->v.q[RXQ];
	unsigned n = 0;

	*iovs = 0;
	*room = 0;
	while (n < SLOTS_MAX && *room < want && next_buffer(s)) {
		struct slot *k = &s->slot[n];
		int max = (int)ARRAY_LEN(s->iov) - *iovs, got;
		size_t bytes;

		k->head = s->chain.head;
		k->split = s->chain.seg[0].len < HDR_BYTES;
		k->hdr_gpa = s->chain.seg[0].gpa;
		if ((k->split && n) || s->chain.segs > max) { /* does not fit beside the others: alone, next time */
			vq_unpop(q, 1);
			break;
		}
		got = vq_chain_iov(q, &s->chain, true, HDR_BYTES, want - *room, s->iov + *iovs, max, &bytes);
		if (got <= 0) {
			broken_ring(s);
			break;
		}
		*iovs += got;
		*room += (uint32_t)bytes;
		k->room_bytes = (uint32_t)bytes;
		n++;
		if (k->split)
			break;
	}
	return n;
}

/* Writes the headers for `bytes` that lie in the slots now, and returns the buffers that were not needed. */
static void finish_buffers(struct vsock *s, struct vstream *st, unsigned slots, uint32_t bytes)
{
	struct vq *q = &s->v.q[RXQ];
	struct virtio_vsock_hdr h = stream_header(s, st, VIRTIO_VSOCK_OP_RW);
	unsigned used = 0;

	for (; used < slots && bytes; used++) {
		const struct slot *k = &s->slot[used];
		bool bad;

		h.len = bytes < k->room_bytes ? bytes : k->room_bytes;
		bytes -= h.len;
		bad = k->split ? vq_chain_write(q, &s->chain, 0, &h, HDR_BYTES) != (ssize_t)HDR_BYTES :
				 gm_write(s->v.gm, k->hdr_gpa, &h, HDR_BYTES) != 0;
		if (bad || vq_fill(q, (uint16_t)used, k->head, HDR_BYTES + h.len)) {
			broken_ring(s);
			return;
		}
	}
	vq_unpop(q, (uint16_t)(slots - used));
	if (!used)
		return;
	if (vq_publish(q, (uint16_t)used)) {
		broken_ring(s);
		return;
	}
	credit_was_told(st, &h);
	s->v.stats.requests += used;
	s->rx_used = true;
}

/* One batch from the host's socket into receive buffers. Bytes moved, 0 when there was nothing (or its end), -ENOBUFS without buffers. */
static ssize_t move_data(struct vsock *s, struct vstream *st)
{
	uint32_t credit = vstream_credit(st), want = credit < BATCH_BYTES_MAX ? credit : BATCH_BYTES_MAX, room;
	int iovs;
	unsigned slots = take_buffers(s, want, &iovs, &room);
	ssize_t got;

	if (!slots || !s->v.active) {
		gm_iov_put(s->v.gm, (unsigned)iovs);
		return -ENOBUFS;
	}
	got = vstream_recv(st, s->iov, iovs);
	gm_iov_put(s->v.gm, (unsigned)iovs);
	finish_buffers(s, st, slots, got > 0 ? (uint32_t)got : 0);
	if (got == 0) {
		st->host_eof = true;
		st->owed |= OWE_SHUTDOWN;
	}
	/* A short read has emptied the socket; after a hang-up only end of file says so. */
	if (!st->host_hup && got < (ssize_t)room)
		st->readable = false;
	if (got <= 0)
		return 0;
	if (st->host_hup) /* what a host left behind may take its time, as long as it moves */
		(void)ev_timer_set(s->v.loop, &st->timer, LINGER_MS);
	s->v.stats.in_bytes += (size_t)got;
	return got;
}

/* false: no buffers left. *bytes: moved. */
static bool serve(struct vsock *s, struct vstream *st, uint32_t *bytes)
{
	bool data = vstream_has_data(st) && vstream_credit(st);
	ssize_t got;

	*bytes = 0;
	/* A host that is gone may have left bytes: as long as they flow, SHUTDOWN waits and then tells both directions at once. */
	if (!send_owed(s, st, data ? ~(unsigned)OWE_SHUTDOWN : ~0u))
		return false;
	if (!data)
		return true;
	got = move_data(s, st);
	if (got < 0)
		return false;
	*bytes = (uint32_t)got;
	return true;
}

void vsock_service(struct vsock *s)
{
	uint32_t left = TURN_BYTES_MAX;
	int turns = 0;

	while (s->v.active && (s->replies || s->t.todo)) {
		struct vstream *st = s->t.todo;
		uint32_t bytes;

		if (turns++ == TURN_PACKETS_MAX || left == 0) {
			vdev_kick_again(&s->v, RXQ);
			break;
		}
		if (s->replies) {
			if (!send_reply(s))
				break;
			continue;
		}
		if (!serve(s, st, &bytes))
			break;
		left -= bytes < left ? bytes : left;
		vtable_todo_del(&s->t, st); /* to the end of the list, if it has more */
		vsock_settle(s, st);
	}
	if (s->tx_paused && s->replies < REPLIES_MAX / 2) {
		s->tx_paused = false;
		vdev_kick_again(&s->v, TXQ);
	}
}
