/* virtio-net on a tap: features, configuration, what the loop watches. Packets: net_rx.c, net_tx.c; commands: net_ctrl.c; see net.h. */
#include "vmm/dev/net_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a tap may leave to others, and the features by which a driver takes it (in) and gives it (out). */
static const struct {
	unsigned tap;
	uint64_t in, out;
} offloads[] = {
	{ TUN_F_CSUM, VDEV_F(VIRTIO_NET_F_GUEST_CSUM), VDEV_F(VIRTIO_NET_F_CSUM) },
	{ TUN_F_TSO4, VDEV_F(VIRTIO_NET_F_GUEST_TSO4), VDEV_F(VIRTIO_NET_F_HOST_TSO4) },
	{ TUN_F_TSO6, VDEV_F(VIRTIO_NET_F_GUEST_TSO6), VDEV_F(VIRTIO_NET_F_HOST_TSO6) },
	{ TUN_F_TSO_ECN, VDEV_F(VIRTIO_NET_F_GUEST_ECN), VDEV_F(VIRTIO_NET_F_HOST_ECN) },
	{ TAP_USO, VDEV_F(VIRTIO_NET_F_GUEST_USO4) | VDEV_F(VIRTIO_NET_F_GUEST_USO6), VDEV_F(VIRTIO_NET_F_HOST_USO) },
};

static uint64_t net_features(struct vdev *v)
{
	struct net *n = (struct net *)v;
	uint64_t f = VDEV_F(VIRTIO_NET_F_MAC) | VDEV_F(VIRTIO_NET_F_STATUS) | VDEV_F(VIRTIO_NET_F_MRG_RXBUF) | VDEV_F(VIRTIO_NET_F_CTRL_VQ) |
		     VDEV_F(VIRTIO_NET_F_CTRL_RX) | VDEV_F(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDEV_F(VIRTIO_NET_F_GUEST_ANNOUNCE) |
		     (n->pairs > 1 ? VDEV_F(VIRTIO_NET_F_MQ) : 0) | (n->can ? VDEV_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) : 0);

	for (size_t i = 0; i < ARRAY_LEN(offloads); i++)
		f |= n->can & offloads[i].tap ? offloads[i].in | offloads[i].out : 0;
	return f;
}

unsigned net_offloads(const struct net *n, enum shape_way way)
{
	uint64_t have = way == SHAPE_IN ? n->guest_offloads : n->v.driver_features;
	unsigned on = 0;

	for (size_t i = 0; i < ARRAY_LEN(offloads); i++) {
		uint64_t need = way == SHAPE_IN ? offloads[i].in : offloads[i].out;

		on |= (have & need) == need ? offloads[i].tap : 0;
	}
	return on;
}

bool net_gso_ok(unsigned on, uint8_t gso_type)
{
	static const unsigned needs[] = { [VIRTIO_NET_HDR_GSO_TCPV4] = TUN_F_TSO4, [VIRTIO_NET_HDR_GSO_TCPV6] = TUN_F_TSO6, [VIRTIO_NET_HDR_GSO_UDP_L4] = TAP_USO };
	uint8_t kind = gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	unsigned need = kind < ARRAY_LEN(needs) ? needs[kind] : 0;

	if (gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	if (kind != gso_type)
		need = need && need != TAP_USO ? need | TUN_F_TSO_ECN : 0;
	return need && (on & need) == need;
}

static void net_config_read(struct vdev *v, uint32_t off, void *dst, uint32_t len)
{
	struct net *n = (struct net *)v;
	struct virtio_net_config c = { .max_virtqueue_pairs = (uint16_t)n->pairs };

	if (!n->shape.chaos.cut)
		c.status = VIRTIO_NET_S_LINK_UP | (n->announce ? VIRTIO_NET_S_ANNOUNCE : 0);
	memcpy(c.mac, n->mac, sizeof(c.mac));
	vdev_config_copy(dst, off, len, &c, offsetof(struct virtio_net_config, mtu));
}

static void net_config_write(struct vdev *v, uint32_t off, const void *src, uint32_t len)
{
	(void)v, (void)off, (void)src, (void)len; /* the MAC is changed by command (§5.1.4.2) */
}

static int net_activate(struct vdev *v)
{
	struct net *n = (struct net *)v;

	if (!net_offloads_make_sense(v->driver_features))
		return -EINVAL;
	n->guest_offloads = v->driver_features & NET_GUEST_OFFLOADS;
	return v->q[0].ready && v->q[1].ready ? 0 : -EINVAL;
}

static void pair_reset(struct net_pair *p)
{
	p->tx_full = p->rx_stuck = p->rx_held = p->tx_held = false;
	p->packet_bytes = p->rest_bytes = p->rest_at = p->expect_bytes = 0;
	p->chains = 0;
	p->tx_bulk = 0;
}

static void net_reset(struct vdev *v)
{
	struct net *n = (struct net *)v;

	for (unsigned i = 0; i < n->pairs; i++)
		pair_reset(&n->pair[i]);
	n->active_pairs = 1; /* until the driver says otherwise (§5.1.6.5.5) */
	n->guest_offloads = 0;
	n->announce = false;
	memcpy(n->mac, n->own_mac, sizeof(n->mac));
	delay_clear(&n->delay);
}

/* ---- what the loop watches ---- */

/* A queue that the driver does not use must not be given packets by the tap. */
static void pair_attach(struct net_pair *p, bool attach)
{
	if (p->attached == attach)
		return;
	if (p->n->tap && p->n->pairs > 1 && tap_attach(p->fd, attach) < 0)
		p->n->v.stats.host_errors++;
	p->attached = attach;
}

static void pair_watch(struct net_pair *p)
{
	struct net *n = p->n;
	bool in = n->v.active && p->attached && !p->rx_stuck && !p->rx_held && net_rxq(p)->ready;
	uint32_t want = (in ? (uint32_t)EPOLLIN : 0) | (n->v.active && p->tx_full ? (uint32_t)EPOLLOUT : 0);

	if (!n->v.loop)
		return;
	if (!want)
		ev_del(n->v.loop, &p->io);
	else if (p->io.fd < 0)
		(void)ev_add(n->v.loop, &p->io, p->fd, want); /* a closed or odd descriptor shows up as read errors, not here */
	else
		(void)ev_mod(n->v.loop, &p->io, want);
}

void net_watch(struct net *n)
{
	for (unsigned i = 0; i < n->pairs; i++) {
		if (n->v.active)
			pair_attach(&n->pair[i], i < n->active_pairs);
		pair_watch(&n->pair[i]);
	}
}

void net_apply_offloads(struct net *n)
{
	unsigned on = net_offloads(n, SHAPE_IN);

	if (!n->can || on == n->applied) /* the host's networking stands still for a change */
		return;
	if (tap_set_offload(n->pair[0].fd, on) < 0)
		n->v.stats.host_errors++;
	else
		n->applied = on;
}

void net_timer(struct net *n, uint64_t wait_ns)
{
	uint64_t ms = wait_ns / 1000000 + (wait_ns % 1000000 != 0);

	if (n->v.loop && (!n->timer.slot || n->timer.at_ms > now_mono_ms() + ms))
		(void)ev_timer_set(n->v.loop, &n->timer, ms); /* cannot fail: net_reserve() */
}

/* Everything that may go on now does; work that is left asks for the next turn itself. */
static void go_on(struct net *n)
{
	net_tx_due(n);
	for (unsigned i = 0; i < n->pairs && n->v.active; i++) {
		struct net_pair *p = &n->pair[i];

		if (p->tx_held)
			net_tx(p);
		if (n->v.active && p->rx_held)
			net_rx(p);
	}
	net_watch(n);
}

static void net_sync(struct vdev *v)
{
	struct net *n = (struct net *)v;

	if (v->active)
		net_apply_offloads(n);
	for (unsigned i = 0; i < n->pairs; i++)
		n->pair[i].rx_stuck = n->pair[i].rest_bytes != 0; /* a line that is cut meanwhile needs no buffers */
	go_on(n);
}

static void net_detach(struct vdev *v)
{
	struct net *n = (struct net *)v;

	for (unsigned i = 0; i < n->pairs; i++)
		ev_del(v->loop, &n->pair[i].io), ev_timer_del(v->loop, &n->pair[i].late);
	ev_timer_del(v->loop, &n->timer);
}

static void timer_event(struct ev_timer *t)
{
	struct net *n = t->arg;

	vdev_enter(&n->v);
	if (n->v.active)
		go_on(n);
	vdev_leave(&n->v);
}

/* The driver has not come to the number of packets that it was to kick for. */
static void late_event(struct ev_timer *t)
{
	struct net_pair *p = t->arg;

	vdev_enter(&p->n->v);
	p->tx_bulk = NET_AHEAD_LATE;
	if (p->n->v.active)
		net_tx(p);
	pair_watch(p);
	vdev_leave(&p->n->v);
}

static void net_kick(struct vdev *v, unsigned queue)
{
	struct net *n = (struct net *)v;
	unsigned ctrl = vdev_has(v, VIRTIO_NET_F_MQ) ? 2 * n->pairs : 2;

	if (queue >= ctrl) {
		if (queue == ctrl && vdev_has(v, VIRTIO_NET_F_CTRL_VQ))
			net_ctrl(n, queue);
		return;
	}
	if (queue & 1)
		net_tx(&n->pair[queue / 2]);
	else
		net_rx(&n->pair[queue / 2]);
	pair_watch(&n->pair[queue / 2]);
}

static void tap_event(struct ev_io *io, uint32_t events)
{
	struct net_pair *p = io->arg;
	struct net *n = p->n;

	vdev_enter(&n->v);
	if (n->v.active && events & EPOLLIN)
		net_rx(p);
	if (n->v.active && p->late.slot && vq_avail(net_txq(p)) > 0)
		net_tx(p);
	if (n->v.active && events & EPOLLOUT) {
		p->tx_full = false;
		net_tx_due(n);
		if (!p->tx_full)
			net_tx(p);
	}
	if (events & (EPOLLHUP | EPOLLERR) && !(events & (EPOLLIN | EPOLLOUT))) {
		n->v.stats.host_errors++; /* the interface is gone: the link is dead, the machine is not */
		ev_del(n->v.loop, &p->io);
	} else {
		net_watch(n); /* packets that waited may have filled another queue of the tap */
	}
	vdev_leave(&n->v);
}

/* ---- made and ended ---- */

/* A device with so many pairs; the control queue is the last (§5.1.2) and seldom used. */
#define NET_OPS(n_pairs)                                                                                                                     \
	{                                                                                                                                    \
		.name = "net", .id = VIRTIO_ID_NET, .queues = 2 * (n_pairs) + 1, .rare_queues = 1, .queue_size = 256, .features = net_features, \
		.config_read = net_config_read, .config_write = net_config_write, .activate = net_activate, .reset = net_reset,              \
		.sync = net_sync, .kick = net_kick, .detach = net_detach,                                                                    \
	}
static const struct vdev_ops net_ops[NET_PAIRS_MAX] = { NET_OPS(1), NET_OPS(2), NET_OPS(3), NET_OPS(4) };

static int prepare_taps(struct net *n, const int *taps, struct fault *f)
{
	for (unsigned i = 0; i < n->pairs; i++) {
		struct net_pair *p = &n->pair[i];
		bool tap;
		int err = tap_prepare(taps[i], (int)NET_HDR_BYTES, &n->can, &tap, f); /* the same for all queues of a tap */

		if (err)
			return err;
		p->n = n;
		p->index = i;
		p->fd = -1;
		p->attached = true;
		p->io = (struct ev_io){ .fn = tap_event, .arg = p, .fd = -1 };
		p->late = (struct ev_timer){ .fn = late_event, .arg = p };
		n->tap = tap;
	}
	return 0;
}

int net_new(struct net **out, struct gm *gm, const int *taps, unsigned n_taps, const uint8_t mac[6], struct fault *f)
{
	struct net *n = n_taps && n_taps <= NET_PAIRS_MAX ? calloc(1, sizeof(*n)) : NULL;
	uint64_t seed = 0;
	int err;

	if (!n)
		return n_taps && n_taps <= NET_PAIRS_MAX ? fault_set(f, -ENOMEM, "out of memory") :
			fault_set(f, -EINVAL, "a network card has 1 to %u queue pairs", NET_PAIRS_MAX);
	n->pairs = n_taps;
	n->active_pairs = 1;
	err = prepare_taps(n, taps, f);
	if (!err)
		err = vdev_init(&n->v, &net_ops[n_taps - 1], gm) ? fault_set(f, -ENOMEM, "mutex") : 0;
	if (err) {
		free(n);
		return err;
	}
	for (unsigned i = 0; i < n_taps; i++)
		n->pair[i].fd = taps[i];
	memcpy(n->mac, mac, sizeof(n->mac));
	memcpy(n->own_mac, mac, sizeof(n->own_mac));
	(void)random_fill(&seed, sizeof(seed)); /* without: the same dice each time */
	shape_init(&n->shape, seed);
	n->timer = (struct ev_timer){ .fn = timer_event, .arg = n };
	*out = n;
	return 0;
}

void net_free(struct net *n)
{
	if (!n)
		return;
	vdev_done(&n->v);
	for (unsigned i = 0; i < n->pairs; i++)
		fd_close(&n->pair[i].fd);
	delay_close(&n->delay);
	free(n);
}

int net_reserve(struct net *n)
{
	int err = ev_timer_set(n->v.loop, &n->timer, 0); /* makes room in the loop's heap */

	ev_timer_del(n->v.loop, &n->timer);
	return err;
}

struct vdev *net_vdev(struct net *n)
{
	return &n->v;
}
