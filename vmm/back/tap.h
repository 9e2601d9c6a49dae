/*
 * vmm/back: the host's side of devices: tap set-up, what is done to packets on purpose (shape.h, delay.h), streams on socketpairs. Knows
 * descriptors, byte counts and credit; no virtio, no rings, no guest memory (iovecs over it are lent for one call). No
 * paths and no new privilege: descriptors are given. Threads: the device's loop, under its lock.
 */
#ifndef VMM_BACK_TAP_H
#define VMM_BACK_TAP_H

#include "lib/base/base.h"

struct tap_offload { /* what the guest takes from us unsegmented or without checksum; all but csum need csum */
	bool csum, tso4, tso6, ecn, uso;
};

/* Non-blocking, virtio header of hdr_bytes. *can: what the tap can leave to others (no field set: nothing), *tap: it is one. Descriptors that are
 * no tap are let through without. ioctl TUNGETIFF TUNSETVNETHDRSZ TUNSETOFFLOAD, fcntl. 0 or -errno. */
int tap_prepare(int fd, int hdr_bytes, struct tap_offload *can, bool *tap, struct fault *f);
/* For all queues of the tap. ioctl TUNSETOFFLOAD. */
int tap_set_offload(int fd, const struct tap_offload *o);
/* A queue that is detached gets no packets; one of a tap with several may be. ioctl TUNSETQUEUE. */
int tap_attach(int fd, bool attach);

#endif
