/*
 * vmm/back: the host's side of devices: tap set-up, streams on socketpairs. Knows descriptors, byte
 * counts and credit; no virtio, no rings, no guest memory (iovecs over it are lent for one call). No
 * paths and no new privilege: descriptors are given. Threads: the device's loop, under its lock.
 */
#ifndef VMM_BACK_TAP_H
#define VMM_BACK_TAP_H

#include "lib/base/base.h"

struct tap_offload { /* what the guest takes from us unsegmented or without checksum */
	bool csum, tso4, tso6;
};

/* Non-blocking, virtio header of hdr_bytes. *offload: the tap can checksum and segment. Descriptors that are no tap are let through
 * without offload. ioctl TUNGETIFF TUNSETVNETHDRSZ TUNSETOFFLOAD, fcntl. 0 or -errno. */
int tap_prepare(int fd, int hdr_bytes, bool *offload, struct fault *f);
/* ioctl TUNSETOFFLOAD. */
int tap_set_offload(int fd, const struct tap_offload *o);

#endif
