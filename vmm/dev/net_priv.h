/* What the net*.c share: the device, and a pair of queues with its tap descriptor. All under the device's lock. */
#ifndef VMM_DEV_NET_PRIV_H
#define VMM_DEV_NET_PRIV_H

#include "vmm/dev/net.h"

#include <linux/virtio_net.h>

#include "vmm/back/delay.h"
#include "vmm/back/tap.h"

#ifndef VIRTIO_NET_F_HOST_USO /* headers before Linux 6.2 */
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define NET_HDR_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1)) /* 12 */
#define NET_PACKET_BYTES_MAX (NET_HDR_BYTES + 65550u)             /* header, Ethernet, one IP packet */
#define NET_TURN_PACKETS 64                                       /* per turn of the loop, pair and way … */
#define NET_TURN_BYTES (2u << 20)                                 /* … whichever comes first */
#define NET_BULK_BYTES (16u << 10)                                /* a turn that sends as much is one of a bulk transfer */
#define NET_AHEAD_MAX 5                                           /* packets of one that the driver adds without a kick, … */
#define NET_AHEAD_STEP 4                                          /* … one more after so many turns, until a kick fails to come, … */
#define NET_AHEAD_LATE (-64)                                      /* … and then none for so many */
#define NET_CHAINS 64u                                            /* receive buffers that one read may fill */
#define NET_IOVS (2u * VQ_SIZE_MAX)

struct net;
struct net_pair {
	struct net *n;        /* borrowed */
	unsigned index;
	int fd;               /* owned */
	struct ev_io io;
	bool attached;        /* this queue of the tap gets packets */
	bool tx_full;         /* the tap said EAGAIN: wait until it is writable */
	bool rx_stuck;        /* the guest has no buffers: the tap is not watched for reading */
	bool rx_held, tx_held; /* a limit holds: the timer goes on */
	int tx_bulk;          /* turns of a bulk transfer */
	struct ev_timer late; /* looks for packets that are too few for a kick */
	/* the packet on its way into the guest */
	size_t packet_bytes;  /* header included; 0: none */
	size_t rest_bytes, rest_at; /* what of it waits in `spill` for buffers */
	uint16_t chains;      /* buffers filled with it that the driver has not been shown */
	uint64_t num_gpa[2];  /* where both bytes of their number go */
	size_t expect_bytes;  /* as long as the last one was: so many buffers are prepared */
	struct virtio_net_hdr_v1 hdr;
	uint8_t spill[NET_PACKET_BYTES_MAX];
};

struct net {
	struct vdev v; /* first */
	unsigned pairs, active_pairs; /* queues there are; those that the driver uses */
	bool tap;                     /* a real one */
	unsigned can, applied;        /* of TAP_ALL: what the tap is able to, what it was told last */
	uint64_t guest_offloads;      /* features GUEST_* in force */
	uint8_t mac[6], own_mac[6];   /* the driver may change the one */
	uint64_t change_clear_ns;     /* net_ctrl.c: changes of the tap are paid for until then */
	bool announce;                /* the driver shall tell the network where it is */
	struct shape shape;
	struct delay delay;
	bool flush;                   /* what waits its delay goes at once */
	struct ev_timer timer;        /* the next packet may pass, or is due */
	struct net_counts counts;
	struct net_pair pair[NET_PAIRS_MAX];
	/* for one call */
	struct vq_chain chain, first;
	struct { uint16_t head; uint32_t bytes; } slot[NET_CHAINS];
	struct iovec iov[NET_IOVS + 2];
};

static inline struct vq *net_rxq(struct net_pair *p)
{
	return &p->n->v.q[2 * p->index];
}

static inline struct vq *net_txq(struct net_pair *p)
{
	return &p->n->v.q[2 * p->index + 1];
}

/* Is there a limit that way? Then the clock is asked. */
static inline bool net_limited(const struct net *n, enum shape_way way)
{
	return n->shape.bytes[way].per_s || n->shape.packets[way].per_s;
}

/* A segmented packet is several on a wire; what a hostile header makes of that only slows itself. */
static inline uint64_t net_wire_packets(size_t bytes, const struct virtio_net_hdr_v1 *h)
{
	return h->gso_type != VIRTIO_NET_HDR_GSO_NONE && h->gso_size ? 1 + bytes / h->gso_size : 1;
}

/* net.c */
void net_watch(struct net *n);                    /* follows the state with what the loop watches */
void net_apply_offloads(struct net *n);
unsigned net_offloads(const struct net *n, enum shape_way way); /* what is agreed on that way, of TAP_ALL */
bool net_gso_ok(unsigned on, uint8_t gso_type);                 /* may a packet be of that kind then? */
void net_timer(struct net *n, uint64_t wait_ns);  /* at the latest then */
/* net_rx.c, net_tx.c: one turn's work */
void net_rx(struct net_pair *p);
void net_tx(struct net_pair *p);
void net_tx_due(struct net *n);                   /* packets whose delay is over */
/* net_ctrl.c */
#define NET_GUEST_OFFLOADS (VDEV_F(VIRTIO_NET_F_GUEST_CSUM) | VDEV_F(VIRTIO_NET_F_GUEST_TSO4) | VDEV_F(VIRTIO_NET_F_GUEST_TSO6) | \
			    VDEV_F(VIRTIO_NET_F_GUEST_ECN) | VDEV_F(VIRTIO_NET_F_GUEST_USO4) | VDEV_F(VIRTIO_NET_F_GUEST_USO6))
void net_ctrl(struct net *n, unsigned queue);
bool net_offloads_make_sense(uint64_t features);

#endif
