/*
 * vmm/dev/net.h: a network card on a tap (virtio 1.2 §5.1): a queue pair for each descriptor of the tap, a control queue, mergeable receive
 * buffers, checksum and segmentation offloads both ways as far as tap and guest agree; limits and chaos on the way (vmm/back/shape.h). Packets go
 * from the tap into the guest's buffers without a copy of ours, and as the guest's iovecs out. Never blocks; bounded work per turn of the
 * loop. A driver with EVENT_IDX kicks for several packets of a bulk transfer at once; what it adds behind them is looked for, a millisecond
 * later at most. Packets that the guest has no buffer for stay in the tap, which drops the newest. The state of chaos lives here, so it outlives core.
 * Syscalls of the loop's thread: readv write writev ioctl(TUNSETOFFLOAD TUNSETQUEUE) clock_gettime, and the loop's (read epoll_pwait epoll_ctl); it
 * allocates nothing.
 */
#ifndef VMM_DEV_NET_H
#define VMM_DEV_NET_H

#include "vmm/back/shape.h"
#include "vmm/virtio/vdev.h"

#define NET_PAIRS_MAX 4u

struct net;
/* taps: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, one a queue pair, 1 to NET_PAIRS_MAX of one tap (with IFF_MULTI_QUEUE when several); the device owns them on
 * success and makes them non-blocking. Descriptors that are no tap (a SOCK_DGRAM or SEQPACKET socketpair in tests) work without offloads.
 * ioctl(TUNGETIFF TUNSETVNETHDRSZ TUNSETOFFLOAD) fcntl getrandom. */
int net_new(struct net **out, struct gm *gm, const int *taps, unsigned n_taps, const uint8_t mac[6], struct fault *f);
void net_free(struct net *n); /* loop's thread, or after it has ended; NULL is fine */
struct vdev *net_vdev(struct net *n);
/* After vdev_attach(), before the loop runs: takes what the loop's thread may not. 0 or -ENOMEM. */
int net_reserve(struct net *n);

/* Any thread. What its owner allows it; 0 for no limit. Before the guest runs. */
void net_set_base(struct net *n, const struct shape_limit base[SHAPE_WAYS]);
/* Any thread. A policy that passed shape_check(); all zero heals. mmap. 0 or -ENOMEM. */
int net_set_chaos(struct net *n, const struct shape_policy *p);
struct shape net_shape(struct net *n);

/* Counters since the device was made. Frames of Ethernet, without the header of virtio. */
struct net_counts {
	uint64_t rx_packets, rx_bytes; /* into the guest */
	uint64_t tx_packets, tx_bytes; /* out of it; those that wait their delay count already */
	uint64_t rx_bad;     /* dropped: does not fit what the driver agreed to, or its buffer */
	uint64_t tx_bad;     /* dropped: the guest's header or length breaks a rule */
	uint64_t tx_refused; /* dropped: the tap would not take it */
	uint64_t rx_cut, tx_cut, rx_lost, tx_lost; /* dropped on purpose */
	uint64_t tx_delay_full; /* dropped: too much waits for its delay already */
	uint64_t rx_held, tx_held; /* times that a limit made packets wait */
};
struct net_counts net_counts_get(struct net *n);
/* Their names, as V_STATS and the API have them: i-th name and value; false at the end. */
bool net_count(const struct net_counts *c, unsigned i, const char **name, uint64_t *value);

#endif
