/* virtio-net, host to guest: a packet is read from the tap straight into as many receive buffers as the last one took; what is longer
 * lands in `spill` and is copied into further ones. virtio 1.2 §5.1.6.3, §5.1.6.4. */
#include "vmm/dev/net_priv.h"

#include <errno.h>
#include <sys/uio.h>

static int rx_break(struct net *n, const char *why)
{
	vdev_break(&n->v, why);
	return -EPROTO;
}

/* Where the byte at off lies, off < write_bytes: buffers may end anywhere, within a field too (§2.7.4.1). */
static uint64_t byte_gpa(const struct vq_chain *c, uint32_t off)
{
	const struct vq_seg *s = c->seg + c->readable;

	while (off >= s->len)
		off -= s++->len;
	return s->gpa + off;
}

static bool mergeable(const struct net *n)
{
	return vdev_has(&n->v, VIRTIO_NET_F_MRG_RXBUF);
}

static int pop_buffer(struct net *n, struct vq *q, struct vq_chain *c, bool first)
{
	if (!vdev_pop(&n->v, q, c))
		return n->v.active ? 0 : -EPROTO;
	if (c->write_bytes == 0 || c->readable || (first && c->write_bytes < NET_HDR_BYTES))
		return rx_break(n, "net: a receive buffer that cannot hold a header");
	return 1;
}

struct prepared {
	unsigned chains, iovs; /* n->slot[0..chains), n->iov[1..iovs] */
};

/* Buffers for a packet as long as the last one. 1, 0 none, -EPROTO. */
static int rx_prepare(struct net_pair *p, struct vq *q, struct prepared *out)
{
	struct net *n = p->n;
	size_t covered = 0;

	*out = (struct prepared){ 0, 0 };
	do {
		struct vq_chain *c = out->chains ? &n->chain : &n->first;
		uint32_t from = out->chains ? 0 : NET_HDR_BYTES;
		size_t bytes = 0;
		int got = pop_buffer(n, q, c, !out->chains), iovs = 0;

		if (got <= 0) {
			if (got == 0 && out->chains)
				return 1;
			gm_iov_put(n->v.gm, out->iovs);
			return got;
		}
		if (c->write_bytes > from)
			iovs = vq_chain_iov(q, c, true, from, c->write_bytes - from, n->iov + 1 + out->iovs, (int)(NET_IOVS - out->iovs), &bytes);
		if (iovs < 0 || bytes != c->write_bytes - from) {
			gm_iov_put(n->v.gm, out->iovs + (iovs > 0 ? (unsigned)iovs : 0));
			return rx_break(n, "net: a receive buffer outside memory");
		}
		out->iovs += (unsigned)iovs;
		n->slot[out->chains].head = c->head;
		n->slot[out->chains++].bytes = c->write_bytes;
		covered += c->write_bytes;
	} while (mergeable(n) && covered < p->expect_bytes && out->chains < NET_CHAINS && NET_IOVS - out->iovs >= VQ_SIZE_MAX);
	return 1;
}

/* The tap's header, cut to what the driver has agreed to (§5.1.6.4.1). It may say more: that it has verified a checksum, or what an earlier
 * driver had agreed to. false: the packet is of no use to this one. */
static bool header_fits(const struct net *n, struct virtio_net_hdr_v1 *h)
{
	unsigned on = net_offloads(n, SHAPE_IN);

	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && !(on & TUN_F_CSUM))
		return false;
	h->flags = on & TUN_F_CSUM ? h->flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID) : 0;
	return net_gso_ok(on, h->gso_type);
}

static void rx_done(struct net_pair *p)
{
	p->packet_bytes = p->rest_bytes = p->rest_at = 0;
	p->chains = 0;
}

static void rx_drop(struct net_pair *p, struct vq *q, unsigned popped, uint64_t *reason)
{
	vq_unpop(q, (uint16_t)popped);
	rx_done(p);
	p->n->v.stats.errors++;
	++*reason;
}

/* The number of buffers is known last and stands in the first one; so that comes last, too. */
static int rx_finish(struct net_pair *p, struct vq *q)
{
	struct net *n = p->n;
	uint8_t num[2] = { (uint8_t)p->chains, (uint8_t)(p->chains >> 8) };

	if (gm_write(n->v.gm, p->num_gpa[0], &num[0], 1) || gm_write(n->v.gm, p->num_gpa[1], &num[1], 1) || vq_publish(q, p->chains))
		return rx_break(n, "net: the receive ring breaks a rule");
	n->v.stats.requests++;
	n->v.stats.in_bytes += p->packet_bytes;
	n->counts.rx_packets++;
	n->counts.rx_bytes += p->packet_bytes - NET_HDR_BYTES;
	rx_done(p);
	return 1;
}

/* What no prepared buffer took. 1 done or dropped, 0 no buffers, -EPROTO. */
static int rx_rest(struct net_pair *p, struct vq *q)
{
	struct net *n = p->n;

	while (p->rest_bytes) {
		int got = pop_buffer(n, q, &n->chain, false);
		size_t part;

		if (got <= 0)
			return got;
		part = p->rest_bytes < n->chain.write_bytes ? p->rest_bytes : n->chain.write_bytes;
		if (vq_chain_write(q, &n->chain, 0, p->spill + p->rest_at, part) != (ssize_t)part || vq_fill(q, p->chains, n->chain.head, (uint32_t)part))
			return rx_break(n, "net: the receive ring breaks a rule");
		p->chains++;
		p->rest_at += part;
		p->rest_bytes -= part;
	}
	return rx_finish(p, q);
}

/* got bytes stand in the prepared buffers and behind them in spill. */
static int rx_deliver(struct net_pair *p, struct vq *q, const struct prepared *have, size_t got)
{
	struct net *n = p->n;
	size_t left = got;
	unsigned used = 0;

	if (!mergeable(n) && got > n->slot[0].bytes) {
		rx_drop(p, q, have->chains, &n->counts.rx_bad);
		return 1;
	}
	p->hdr.num_buffers = 0;
	if (vq_chain_write(q, &n->first, 0, &p->hdr, sizeof(p->hdr)) != (ssize_t)sizeof(p->hdr))
		return rx_break(n, "net: the receive ring breaks a rule");
	for (uint32_t i = 0; i < 2; i++)
		p->num_gpa[i] = byte_gpa(&n->first, (uint32_t)offsetof(struct virtio_net_hdr_v1, num_buffers) + i);
	for (; used < have->chains && left; used++) {
		uint32_t part = left < n->slot[used].bytes ? (uint32_t)left : n->slot[used].bytes;

		if (vq_fill(q, (uint16_t)used, n->slot[used].head, part))
			return rx_break(n, "net: the receive ring breaks a rule");
		left -= part;
	}
	vq_unpop(q, (uint16_t)(have->chains - used));
	p->packet_bytes = got;
	p->chains = (uint16_t)used;
	p->rest_bytes = left;
	p->rest_at = 0;
	return rx_rest(p, q);
}

/* Bytes of a packet, header included; 0: none now. iovs: over the guest's buffers; the header comes before, spill behind them. */
static size_t tap_read(struct net_pair *p, unsigned iovs)
{
	struct net *n = p->n;
	ssize_t got;

	n->iov[0] = (struct iovec){ &p->hdr, sizeof(p->hdr) };
	n->iov[iovs + 1] = (struct iovec){ p->spill, sizeof(p->spill) };
	got = readv(p->fd, n->iov, (int)iovs + 2);
	if (got < 0 && errno != EAGAIN && errno != EINTR)
		n->v.stats.host_errors++;
	return got > (ssize_t)NET_HDR_BYTES ? (size_t)got : 0;
}

/* One packet from the tap. 1 delivered or dropped, 0 none there, -EAGAIN no buffers, -EPROTO. */
static int rx_one(struct net_pair *p, struct vq *q, size_t *bytes)
{
	struct net *n = p->n;
	struct prepared have;
	int err = rx_prepare(p, q, &have);
	size_t got;

	if (err <= 0)
		return err ? err : -EAGAIN;
	got = tap_read(p, have.iovs);
	gm_iov_put(n->v.gm, have.iovs);
	if (!got) {
		vq_unpop(q, (uint16_t)have.chains);
		return 0;
	}
	*bytes += got;
	p->expect_bytes = got;
	if (net_limited(n, SHAPE_IN))
		shape_charge(&n->shape, SHAPE_IN, got - NET_HDR_BYTES, net_wire_packets(got, &p->hdr), now_mono_ns());
	if (shape_loses(&n->shape)) {
		vq_unpop(q, (uint16_t)have.chains);
		n->counts.rx_lost++;
		return 1;
	}
	if (!header_fits(n, &p->hdr)) {
		rx_drop(p, q, have.chains, &n->counts.rx_bad);
		return 1;
	}
	err = rx_deliver(p, q, &have, got);
	return err == 0 ? -EAGAIN : err;
}

/* A cut line takes nothing and keeps nothing for later. */
static int rx_discard(struct net_pair *p, size_t *bytes)
{
	size_t got = tap_read(p, 0);

	*bytes += got;
	p->n->counts.rx_cut += got != 0;
	return got != 0;
}

/* May a packet come in now? Else the timer goes on. */
static bool rx_may(struct net_pair *p)
{
	struct net *n = p->n;
	uint64_t wait_ns;

	if (!net_limited(n, SHAPE_IN))
		return true;
	wait_ns = shape_wait_ns(&n->shape, SHAPE_IN, now_mono_ns());
	if (!wait_ns)
		return true;
	n->counts.rx_held += !p->rx_held;
	p->rx_held = true;
	net_timer(n, wait_ns);
	return false;
}

void net_rx(struct net_pair *p)
{
	struct net *n = p->n;
	struct vq *q = net_rxq(p);
	uint64_t before = n->v.stats.requests;
	size_t bytes = 0;

	p->rx_stuck = p->rx_held = false;
	if (!p->attached || !q->ready)
		return;
	for (int i = 0; i < NET_TURN_PACKETS && bytes < NET_TURN_BYTES; i++) {
		int err;

		if (p->rest_bytes)
			err = rx_rest(p, q) ?: -EAGAIN;
		else if (n->shape.chaos.cut)
			err = rx_discard(p, &bytes);
		else if (rx_may(p))
			err = rx_one(p, q, &bytes);
		else
			break;
		if (err == -EPROTO)
			return;
		p->rx_stuck = err == -EAGAIN;
		if (err <= 0)
			break;
	}
	if (n->v.stats.requests != before)
		vdev_used(&n->v, q);
}
