/*
 * vmm/dev/net.h: a network card on a tap (virtio 1.2 §5.1): one queue pair, 12-byte header passed through to the tap after checking,
 * mergeable receive buffers, checksum and TCP segmentation offloads both ways when the guest accepts them. Never blocks; a bounded number of packets
 * per turn of the loop. Packets that the guest has no buffer for stay in the tap, which drops the newest.
 * Syscalls of the loop's thread: read writev ioctl(TUNSETOFFLOAD), and the loop's (read write epoll_pwait epoll_ctl).
 */
#ifndef VMM_DEV_NET_H
#define VMM_DEV_NET_H

#include "vmm/virtio/vdev.h"

struct net;
/* tap_fd: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR; the device owns it on success and makes it non-blocking. A descriptor that is no tap (a
 * SOCK_DGRAM or SEQPACKET socketpair in tests) works without offloads. ioctl(TUNSETVNETHDRSZ) fcntl. */
int net_new(struct net **out, struct gm *gm, int tap_fd, const uint8_t mac[6], struct fault *f);
void net_free(struct net *n); /* loop's thread, or after it has ended; NULL is fine */
struct vdev *net_vdev(struct net *n);

#endif
