/*
 * vmm/back: the host's side of devices: tap set-up, what is done to packets on purpose (shape.h, delay.h), streams on socketpairs. Knows
 * descriptors, byte counts and credit; no virtio, no rings, no guest memory (iovecs over it are lent for one call). No
 * paths and no new privilege: descriptors are given. Threads: the device's loop, under its lock.
 */
#ifndef VMM_BACK_TAP_H
#define VMM_BACK_TAP_H

#include <linux/if_tun.h>

#include "lib/base/base.h"

#ifndef TUN_F_USO4 /* headers before Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#define TAP_USO ((unsigned)(TUN_F_USO4 | TUN_F_USO6))
#define TAP_ALL ((unsigned)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN) | TAP_USO)

/* Non-blocking, virtio header of hdr_bytes. *can: what the tap can leave to others, of TAP_ALL; *tap: it is one. Descriptors that are
 * no tap are let through without. ioctl TUNGETIFF TUNSETVNETHDRSZ TUNSETOFFLOAD, fcntl. 0 or -errno. */
int tap_prepare(int fd, int hdr_bytes, unsigned *can, bool *tap, struct fault *f);
/* What the guest takes from us unsegmented or without checksum, of TAP_ALL; without TUN_F_CSUM nothing. For all queues of the tap. ioctl TUNSETOFFLOAD. */
int tap_set_offload(int fd, unsigned on);
/* A queue that is detached gets no packets; one of a tap with several may be. ioctl TUNSETQUEUE. */
int tap_attach(int fd, bool attach);

#endif
