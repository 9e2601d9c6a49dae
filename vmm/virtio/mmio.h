/*
 * vmm/virtio/mmio.h: the register file of virtio-mmio version 2 (virtio 1.2 §4.2.2), 4 KiB at an address the machine chooses.
 * A pure function of the device's state: no KVM, no address, no allocation. vCPU threads; takes the
 * device's lock, except for InterruptStatus and InterruptACK. An access that the specification forbids
 * (width, alignment, order) reads as 0 and writes nothing; a forbidden queue or status breaks the device.
 */
#ifndef VMM_VIRTIO_MMIO_H
#define VMM_VIRTIO_MMIO_H

#include "vmm/virtio/vdev.h"

#define MMIO_BYTES 0x1000u       /* size of the register window */
#define MMIO_QUEUE_NOTIFY 0x050u /* where the ioeventfds go */

/* off < MMIO_BYTES, width 1, 2, 4 or 8. Registers answer to width 4 alone, config space (from 0x100) to any. */
uint64_t mmio_read(struct vdev *v, uint32_t off, unsigned width);
void mmio_write(struct vdev *v, uint32_t off, unsigned width, uint64_t value);
/* Brings the window (vdev_set_window) up to date; nothing without one. The lock is held. */
void mmio_window(struct vdev *v);

#endif
