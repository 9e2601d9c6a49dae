/* virtio-net on a tap: rings. The tap's side is vmm/back/tap.c. virtio 1.2 §5.1; see net.h. */
#include "vmm/dev/net.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include "vmm/back/tap.h"

#define RXQ 0u
#define TXQ 1u
#define HDR_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1)) /* 12 */
#define PACKET_BYTES_MAX (HDR_BYTES + 65550u)                 /* header, Ethernet, one IP packet */
#define TURN_MAX 64                                           /* packets per turn of the loop, each way */

struct net {
	struct vdev v; /* first */
	int fd;        /* owned */
	bool offload;  /* the tap can do it */
	bool tx_full;  /* the tap said EAGAIN: wait until it is writable */
	bool rx_stuck; /* `packet` waits for buffers: the tap is not watched for reading */
	uint8_t mac[6];
	struct ev_io io;
	struct vq_chain chain;
	struct iovec iov[VQ_SIZE_MAX + 1];
	size_t packet_bytes; /* in `packet`; 0: none */
	uint8_t packet[PACKET_BYTES_MAX];
};

static uint64_t net_features(struct vdev *v)
{
	struct net *n = (struct net *)v;
	uint64_t f = VDEV_F(VIRTIO_NET_F_MAC) | VDEV_F(VIRTIO_NET_F_STATUS) | VDEV_F(VIRTIO_NET_F_MRG_RXBUF);

	if (n->offload)
		f |= VDEV_F(VIRTIO_NET_F_CSUM) | VDEV_F(VIRTIO_NET_F_GUEST_CSUM) | VDEV_F(VIRTIO_NET_F_HOST_TSO4) |
		     VDEV_F(VIRTIO_NET_F_HOST_TSO6) | VDEV_F(VIRTIO_NET_F_GUEST_TSO4) | VDEV_F(VIRTIO_NET_F_GUEST_TSO6);
	return f;
}

static void net_config_read(struct vdev *v, uint32_t off, void *dst, uint32_t len)
{
	struct net *n = (struct net *)v;
	struct virtio_net_config c = { .status = VIRTIO_NET_S_LINK_UP };

	memcpy(c.mac, n->mac, sizeof(c.mac));
	vdev_config_copy(dst, off, len, &c, offsetof(struct virtio_net_config, max_virtqueue_pairs));
}

static void net_config_write(struct vdev *v, uint32_t off, const void *src, uint32_t len)
{
	(void)v, (void)off, (void)src, (void)len; /* the MAC is read-only without a control queue */
}

static int net_activate(struct vdev *v)
{
	bool tso = vdev_has(v, VIRTIO_NET_F_GUEST_TSO4) || vdev_has(v, VIRTIO_NET_F_GUEST_TSO6);
	bool host_tso = vdev_has(v, VIRTIO_NET_F_HOST_TSO4) || vdev_has(v, VIRTIO_NET_F_HOST_TSO6);

	/* §5.1.3.1: segmentation needs checksums. */
	if ((tso && !vdev_has(v, VIRTIO_NET_F_GUEST_CSUM)) || (host_tso && !vdev_has(v, VIRTIO_NET_F_CSUM)))
		return -EINVAL;
	return v->q[RXQ].ready && v->q[TXQ].ready ? 0 : -EINVAL;
}

static void net_reset(struct vdev *v)
{
	struct net *n = (struct net *)v;

	n->packet_bytes = 0;
	n->tx_full = n->rx_stuck = false;
}

/* Follows the state with what the loop watches; a closed or odd descriptor shows up as read errors, not here. */
static void watch(struct net *n)
{
	uint32_t want = n->v.active ? (n->rx_stuck ? 0u : (uint32_t)EPOLLIN) | (n->tx_full ? (uint32_t)EPOLLOUT : 0u) : 0;

	if (!n->v.loop)
		return;
	if (!want)
		ev_del(n->v.loop, &n->io);
	else if (n->io.fd < 0)
		(void)ev_add(n->v.loop, &n->io, n->fd, want);
	else
		(void)ev_mod(n->v.loop, &n->io, want);
}

static void net_sync(struct vdev *v)
{
	struct net *n = (struct net *)v;
	struct tap_offload o = {
		.csum = vdev_has(v, VIRTIO_NET_F_GUEST_CSUM),
		.tso4 = vdev_has(v, VIRTIO_NET_F_GUEST_TSO4),
		.tso6 = vdev_has(v, VIRTIO_NET_F_GUEST_TSO6),
	};

	if (v->active && n->offload && tap_set_offload(n->fd, &o) < 0)
		v->stats.host_errors++;
	watch(n);
}

static void net_detach(struct vdev *v)
{
	struct net *n = (struct net *)v;

	ev_del(v->loop, &n->io);
}

/* ---- host to guest ---- */

static void packet_drop(struct net *n)
{
	n->packet_bytes = 0;
	n->v.stats.errors++;
}

/* Where the byte at off lies, off < write_bytes: buffers may end anywhere, within a field too (§2.7.4.1). */
static uint64_t byte_gpa(const struct vq_chain *c, uint32_t off)
{
	const struct vq_seg *s = c->seg + c->readable;

	while (off >= s->len)
		off -= s++->len;
	return s->gpa + off;
}

/* The number of buffers is known last and stands in the first one; so that comes last, too. */
static bool packet_finish(struct net *n, struct vq *q, const uint64_t num_gpa[2], uint16_t chains)
{
	uint8_t num[2] = { (uint8_t)chains, (uint8_t)(chains >> 8) };

	if (gm_write(n->v.gm, num_gpa[0], &num[0], 1) || gm_write(n->v.gm, num_gpa[1], &num[1], 1) || vq_publish(q, chains)) {
		vdev_break(&n->v, "net: the receive ring breaks a rule");
		return false;
	}
	n->v.stats.requests++;
	n->v.stats.in_bytes += n->packet_bytes;
	n->packet_bytes = 0;
	return true;
}

/* Puts `packet` into as many chains as it takes (one without MRG_RXBUF). 1 done or dropped, 0 no buffers, -EPROTO device broken. */
static int packet_deliver(struct net *n)
{
	struct vq *q = &n->v.q[RXQ];
	bool mergeable = vdev_has(&n->v, VIRTIO_NET_F_MRG_RXBUF);
	uint64_t num_gpa[2] = { 0 };
	uint16_t chains = 0;
	size_t done = 0;

	while (done < n->packet_bytes) {
		size_t part;

		if (!vdev_pop(&n->v, q, &n->chain)) {
			vq_unpop(q, chains);
			return n->v.active ? 0 : -EPROTO;
		}
		if (n->chain.write_bytes == 0 || n->chain.readable || (chains == 0 && n->chain.write_bytes < HDR_BYTES)) {
			vdev_break(&n->v, "net: a receive buffer that cannot hold a header");
			return -EPROTO;
		}
		chains++;
		if (!mergeable && n->chain.write_bytes < n->packet_bytes) {
			vq_unpop(q, chains);
			packet_drop(n);
			return 1;
		}
		for (uint32_t i = 0; chains == 1 && i < 2; i++)
			num_gpa[i] = byte_gpa(&n->chain, (uint32_t)offsetof(struct virtio_net_hdr_v1, num_buffers) + i);
		part = n->packet_bytes - done < n->chain.write_bytes ? n->packet_bytes - done : n->chain.write_bytes;
		if (vq_chain_write(q, &n->chain, 0, n->packet + done, part) != (ssize_t)part ||
		    vq_fill(q, (uint16_t)(chains - 1), n->chain.head, (uint32_t)part)) {
			vdev_break(&n->v, "net: the receive ring breaks a rule");
			return -EPROTO;
		}
		done += part;
	}
	return packet_finish(n, q, num_gpa, chains) ? 1 : -EPROTO;
}

/* Next packet from the tap into `packet`. false: none now. */
static bool packet_read(struct net *n)
{
	ssize_t got = read(n->fd, n->packet, sizeof(n->packet));

	if (got < 0) {
		if (errno != EAGAIN && errno != EINTR)
			n->v.stats.host_errors++;
		return false;
	}
	if (got <= (ssize_t)HDR_BYTES)
		return false;
	n->packet_bytes = (size_t)got;
	return true;
}

/* The tap's header, cut to what the driver has agreed to (§5.1.6.4.1). It may say more: that it has verified a checksum, or what an earlier
 * driver had agreed to. false: the packet is of no use to this one. */
static bool packet_fits(struct net *n)
{
	bool csum = vdev_has(&n->v, VIRTIO_NET_F_GUEST_CSUM);
	struct virtio_net_hdr_v1 h;

	memcpy(&h, n->packet, sizeof(h));
	if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && !csum)
		return false;
	n->packet[offsetof(struct virtio_net_hdr_v1, flags)] = csum ? h.flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID) : 0;
	switch (h.gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return vdev_has(&n->v, VIRTIO_NET_F_GUEST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return vdev_has(&n->v, VIRTIO_NET_F_GUEST_TSO6);
	default:
		return false;
	}
}

static void net_rx(struct net *n)
{
	uint64_t before = n->v.stats.requests;

	n->rx_stuck = false;
	for (int i = 0; i < TURN_MAX; i++) {
		int err;

		if (!n->packet_bytes) {
			if (!packet_read(n))
				break;
			if (!packet_fits(n)) {
				packet_drop(n);
				continue;
			}
		}
		err = packet_deliver(n);
		if (err < 0)
			return;
		if (err == 0) {
			n->rx_stuck = true;
			break;
		}
	}
	if (n->v.stats.requests != before)
		vdev_used(&n->v, &n->v.q[RXQ]);
}

/* ---- guest to host ---- */

/* The header is the guest's word: only what was agreed on goes through, and the tap checks offsets against the packet. */
static bool header_ok(struct net *n, struct virtio_net_hdr_v1 *h)
{
	bool csum = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;

	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->num_buffers = 0;
	if (csum && !vdev_has(&n->v, VIRTIO_NET_F_CSUM))
		return false;
	switch (h->gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return csum && vdev_has(&n->v, VIRTIO_NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return csum && vdev_has(&n->v, VIRTIO_NET_F_HOST_TSO6);
	default:
		return false;
	}
}

/* 0 sent or dropped, -EAGAIN. */
static int packet_send(struct net *n, struct vq *q)
{
	struct virtio_net_hdr_v1 h;
	uint32_t body = n->chain.read_bytes - HDR_BYTES;
	size_t bytes;
	ssize_t put;
	int iovs, err;

	if (vq_chain_read(q, &n->chain, 0, &h, sizeof(h)) != (ssize_t)sizeof(h) || !header_ok(n, &h) || body == 0 ||
	    n->chain.read_bytes > PACKET_BYTES_MAX)
		goto drop;
	n->iov[0] = (struct iovec){ &h, sizeof(h) };
	iovs = vq_chain_iov(q, &n->chain, false, HDR_BYTES, body, n->iov + 1, (int)ARRAY_LEN(n->iov) - 1, &bytes);
	if (iovs <= 0 || bytes != body) {
		gm_iov_put(n->v.gm, iovs > 0 ? (unsigned)iovs : 0);
		goto drop;
	}
	put = writev(n->fd, n->iov, iovs + 1);
	err = put < 0 ? -errno : 0;
	gm_iov_put(n->v.gm, (unsigned)iovs);
	if (err == -EAGAIN || err == -EINTR)
		return -EAGAIN;
	if (err) {
		n->v.stats.errors++; /* EINVAL: the packet is bad; EIO: the interface is down. Lost as on a wire. */
		return 0;
	}
	n->v.stats.out_bytes += n->chain.read_bytes;
	return 0;
drop:
	n->v.stats.errors++;
	return 0;
}

static void net_tx(struct net *n)
{
	struct vq *q = &n->v.q[TXQ];
	int i;

	n->tx_full = false;
	for (i = 0; i < TURN_MAX && vdev_pop(&n->v, q, &n->chain); i++) {
		if (packet_send(n, q) == -EAGAIN) {
			vq_unpop(q, 1);
			n->tx_full = true;
			break;
		}
		n->v.stats.requests++;
		vq_push(q, n->chain.head, 0);
	}
	if (i)
		vdev_used(&n->v, q);
	if (i == TURN_MAX)
		vdev_kick_again(&n->v, TXQ);
}

/* ---- the loop's side ---- */

static void net_kick(struct vdev *v, unsigned queue)
{
	struct net *n = (struct net *)v;

	if (queue == RXQ)
		net_rx(n);
	else
		net_tx(n);
	watch(n);
}

static void tap_event(struct ev_io *io, uint32_t events)
{
	struct net *n = io->arg;

	vdev_enter(&n->v);
	if (n->v.active && events & EPOLLIN)
		net_rx(n);
	if (n->v.active && events & EPOLLOUT)
		net_tx(n);
	if (events & (EPOLLHUP | EPOLLERR) && !(events & (EPOLLIN | EPOLLOUT))) {
		n->v.stats.host_errors++; /* the interface is gone: the link is dead, the machine is not */
		ev_del(n->v.loop, &n->io);
	} else {
		watch(n);
	}
	vdev_leave(&n->v);
}

static const struct vdev_ops net_ops = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.queues = 2,
	.queue_size = 256,
	.features = net_features,
	.config_read = net_config_read,
	.config_write = net_config_write,
	.activate = net_activate,
	.reset = net_reset,
	.sync = net_sync,
	.kick = net_kick,
	.detach = net_detach,
};

int net_new(struct net **out, struct gm *gm, int tap_fd, const uint8_t mac[6], struct fault *f)
{
	struct net *n;
	bool offload;
	int err = tap_prepare(tap_fd, (int)HDR_BYTES, &offload, f);

	if (err)
		return err;
	n = calloc(1, sizeof(*n));
	if (!n)
		return fault_set(f, -ENOMEM, "out of memory");
	err = vdev_init(&n->v, &net_ops, gm);
	if (err) {
		free(n);
		return fault_errno(f, err, "mutex");
	}
	n->fd = tap_fd;
	n->offload = offload;
	memcpy(n->mac, mac, sizeof(n->mac));
	n->io = (struct ev_io){ .fn = tap_event, .arg = n, .fd = -1 };
	*out = n;
	return 0;
}

void net_free(struct net *n)
{
	if (!n)
		return;
	vdev_done(&n->v);
	fd_close(&n->fd);
	free(n);
}

struct vdev *net_vdev(struct net *n)
{
	return &n->v;
}
