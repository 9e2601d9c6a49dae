/* virtio-net, the control queue: a class, a command, its data; one byte of answer. virtio 1.2 §5.1.6.5. */
#include "vmm/dev/net_priv.h"

#include <endian.h>
#include <string.h>

#define CTRL_TURN 64          /* commands per turn of the loop */
#define CHANGE_BURST 32u
#define CHANGE_NS 100000000u  /* one costs that much of the time */
#define MAC_ENTRIES_MAX 4096u /* of one table; we filter nothing by it, the host does */

struct command {
	struct net *n;
	struct vq *q;
	uint32_t bytes; /* of its data */
};

static bool data(const struct command *c, uint32_t off, void *dst, size_t len)
{
	return vq_chain_read(c->q, &c->n->chain, (uint32_t)sizeof(struct virtio_net_ctrl_hdr) + off, dst, len) == (ssize_t)len;
}

/* What to receive: we give all, which is allowed (§5.1.6.5.1: filtering is best effort). */
static bool rx_mode(const struct command *c, uint8_t cmd)
{
	uint8_t on;

	return cmd <= VIRTIO_NET_CTRL_RX_ALLMULTI && c->bytes == 1 && data(c, 0, &on, 1) && on <= 1;
}

/* Two tables: a number and as many addresses, each. They fill the data exactly. */
static bool mac_table(const struct command *c)
{
	uint64_t at = 0;

	for (int i = 0; i < 2; i++) {
		uint32_t entries;

		if (at + sizeof(entries) > c->bytes || !data(c, (uint32_t)at, &entries, sizeof(entries)))
			return false;
		entries = le32toh(entries);
		if (entries > MAC_ENTRIES_MAX)
			return false;
		at += sizeof(entries) + 6ull * entries;
	}
	return at == c->bytes;
}

static bool mac(const struct command *c, uint8_t cmd)
{
	struct net *n = c->n;
	uint8_t to[6];

	if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return vdev_has(&n->v, VIRTIO_NET_F_CTRL_RX) && mac_table(c);
	if (cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || !vdev_has(&n->v, VIRTIO_NET_F_CTRL_MAC_ADDR))
		return false;
	if (c->bytes != sizeof(to) || !data(c, 0, to, sizeof(to)) || to[0] & 1)
		return false;
	memcpy(n->mac, to, sizeof(n->mac));
	vdev_config_changed(&n->v);
	return true;
}

static bool announced(const struct command *c, uint8_t cmd)
{
	if (cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !vdev_has(&c->n->v, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	if (c->n->announce) {
		c->n->announce = false;
		vdev_config_changed(&c->n->v);
	}
	return true;
}

/* Each change of a tap takes the one lock of the host's networking: a driver may make some at a time and a few a second, no more. */
static bool may_change(struct net *n)
{
	uint64_t now_ns = now_mono_ns();

	if (n->change_clear_ns > now_ns + CHANGE_BURST * CHANGE_NS)
		return false;
	n->change_clear_ns = (n->change_clear_ns > now_ns ? n->change_clear_ns : now_ns) + CHANGE_NS;
	return true;
}

static bool queue_pairs(const struct command *c, uint8_t cmd)
{
	struct net *n = c->n;
	uint16_t pairs;

	if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !vdev_has(&n->v, VIRTIO_NET_F_MQ) || c->bytes != sizeof(pairs) || !data(c, 0, &pairs, sizeof(pairs)))
		return false;
	pairs = le16toh(pairs);
	if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > n->pairs)
		return false;
	for (unsigned i = 0; i < pairs; i++)
		if (!net_rxq(&n->pair[i])->ready || !net_txq(&n->pair[i])->ready)
			return false;
	if (pairs != n->active_pairs && !may_change(n))
		return false;
	n->active_pairs = pairs;
	net_watch(n);
	return true;
}

bool net_offloads_make_sense(uint64_t features)
{
	const uint64_t tso = VDEV_F(VIRTIO_NET_F_GUEST_TSO4) | VDEV_F(VIRTIO_NET_F_GUEST_TSO6);
	const uint64_t host_tso = VDEV_F(VIRTIO_NET_F_HOST_TSO4) | VDEV_F(VIRTIO_NET_F_HOST_TSO6);
	const struct {
		uint64_t any, needs_one; /* §5.1.3.1 */
	} rules[] = {
		{ tso | VDEV_F(VIRTIO_NET_F_GUEST_USO4) | VDEV_F(VIRTIO_NET_F_GUEST_USO6), VDEV_F(VIRTIO_NET_F_GUEST_CSUM) },
		{ VDEV_F(VIRTIO_NET_F_GUEST_ECN), tso },
		{ host_tso | VDEV_F(VIRTIO_NET_F_HOST_USO), VDEV_F(VIRTIO_NET_F_CSUM) },
		{ VDEV_F(VIRTIO_NET_F_HOST_ECN), host_tso },
		{ VDEV_F(VIRTIO_NET_F_CTRL_RX) | VDEV_F(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDEV_F(VIRTIO_NET_F_GUEST_ANNOUNCE) | VDEV_F(VIRTIO_NET_F_MQ) |
			  VDEV_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS),
		  VDEV_F(VIRTIO_NET_F_CTRL_VQ) },
	};

	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		if (features & rules[i].any && !(features & rules[i].needs_one))
			return false;
	return true;
}

static bool guest_offloads(const struct command *c, uint8_t cmd)
{
	struct net *n = c->n;
	uint64_t want;

	if (cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || !vdev_has(&n->v, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || c->bytes != sizeof(want) ||
	    !data(c, 0, &want, sizeof(want)))
		return false;
	want = le64toh(want);
	if (want & ~(n->v.driver_features & NET_GUEST_OFFLOADS) || !net_offloads_make_sense(want))
		return false;
	if (want != n->guest_offloads && !may_change(n))
		return false;
	n->guest_offloads = want;
	net_apply_offloads(n);
	return true;
}

static bool command_do(const struct command *c)
{
	struct virtio_net_ctrl_hdr h;

	if (vq_chain_read(c->q, &c->n->chain, 0, &h, sizeof(h)) != (ssize_t)sizeof(h))
		return false;
	switch (h.class) {
	case VIRTIO_NET_CTRL_RX:
		return vdev_has(&c->n->v, VIRTIO_NET_F_CTRL_RX) && rx_mode(c, h.cmd);
	case VIRTIO_NET_CTRL_MAC:
		return mac(c, h.cmd);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return announced(c, h.cmd);
	case VIRTIO_NET_CTRL_MQ:
		return queue_pairs(c, h.cmd);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return guest_offloads(c, h.cmd);
	default:
		return false;
	}
}

void net_ctrl(struct net *n, unsigned queue)
{
	struct vq *q = &n->v.q[queue];
	int i;

	for (i = 0; i < CTRL_TURN && vdev_pop(&n->v, q, &n->chain); i++) {
		struct command c = { n, q, n->chain.read_bytes - (uint32_t)sizeof(struct virtio_net_ctrl_hdr) };
		uint8_t answer = VIRTIO_NET_ERR;

		if (n->chain.read_bytes < sizeof(struct virtio_net_ctrl_hdr) || n->chain.write_bytes < 1) {
			vdev_break(&n->v, "net: a control command without room for its answer");
			return;
		}
		if (command_do(&c))
			answer = VIRTIO_NET_OK;
		else
			n->v.stats.errors++;
		if (vq_chain_write(q, &n->chain, 0, &answer, 1) != 1 || vq_push(q, n->chain.head, 1)) {
			vdev_break(&n->v, "net: the control ring breaks a rule");
			return;
		}
		n->v.stats.requests++;
	}
	if (i)
		vdev_used(&n->v, q);
	if (i == CTRL_TURN)
		vdev_kick_again(&n->v, queue);
}
