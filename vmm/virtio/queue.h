/*
 * vmm/virtio: the transport rooms share by all devices: split rings (queue.h), the device
 * frame (vdev.h), the virtio-mmio registers (mmio.h). Source: OASIS virtio 1.2. Knows no KVM,
 * no back end, no particular device. Threads and locks: see vdev.h.
 *
 * queue.h: one split virtqueue seen from the device (virtio 1.2 §2.7). All of the ring is hostile: sizes
 * are checked when the queue is made ready, every chain walk is counted, and the first broken rule
 * answers -EPROTO (or -EFAULT) and sets `broken`: the device then needs reset, and every later call does nothing.
 */
#ifndef VMM_VIRTIO_QUEUE_H
#define VMM_VIRTIO_QUEUE_H

#include "vmm/mem/gm.h"

#define VQ_SIZE_MAX 256u
#define VQ_CHAIN_BYTES_MAX (256u << 20) /* most bytes in one chain: reads and writes together */

struct vq {
	struct gm *gm; /* borrowed */
	uint16_t size; /* descriptors, power of two ≤ VQ_SIZE_MAX */
	uint64_t desc_gpa, avail_gpa, used_gpa;
	bool ready;
	bool broken;
	bool event_idx; /* VIRTIO_F_EVENT_IDX negotiated */
	bool indirect;  /* VIRTIO_F_INDIRECT_DESC negotiated */
	uint16_t next_avail; /* next chain to take */
	uint16_t next_used;  /* next used element to fill */
	uint16_t told_used;  /* used index when an interrupt was last considered */
	bool told;           /* told_used is valid */
	uint16_t kick_ahead; /* so many chains more may come without a kick (EVENT_IDX): the device looks for them itself in time */
};
struct vq_seg {
	uint64_t gpa;
	uint32_t len;
};
/* A chain that was checked: segs[0..readable) are for the device to read, the rest to write. */
struct vq_chain {
	uint16_t head;
	uint16_t segs;
	uint16_t readable;
	uint32_t read_bytes;
	uint32_t write_bytes;
	struct vq_seg seg[VQ_SIZE_MAX];
};

/* Checks size, alignment and that all three areas are RAM; sets ready. 0, -EINVAL, -EFAULT. */
int vq_start(struct vq *q);
void vq_reset(struct vq *q); /* forgets all but gm */

/* Takes the next chain: 1, 0 when there is none, -errno when the ring breaks a rule. */
int vq_pop(struct vq *q, struct vq_chain *c);
/* Gives back the last n chains that were popped and not pushed, so that the next pop sees them again. */
void vq_unpop(struct vq *q, uint16_t n);
/* Chains the driver has made available and we have not taken; ≤ size, or -errno. */
int vq_avail(struct vq *q);
/* Fills used element `ahead` places after the last published one (packets over several chains), … */
int vq_fill(struct vq *q, uint16_t ahead, uint16_t head, uint32_t written_bytes);
/* … and shows n filled ones to the driver at once. */
int vq_publish(struct vq *q, uint16_t n);
/* Both for one chain. */
int vq_push(struct vq *q, uint16_t head, uint32_t written_bytes);
/* After pushes: does the driver want an interrupt? */
bool vq_wants_irq(struct vq *q);
/* Asks the driver for a kick. true when chains came in meanwhile: go on working. */
bool vq_kicks_on(struct vq *q);

/* Copies out of the readable part (into the writable part) from byte off of it. Bytes copied: short at the end; or -errno. */
ssize_t vq_chain_read(struct vq *q, const struct vq_chain *c, uint32_t off, void *dst, size_t len);
ssize_t vq_chain_write(struct vq *q, const struct vq_chain *c, uint32_t off, const void *src, size_t len);
/* Iovecs over at most len bytes of the readable (writable) part from byte off, at most max of them. Returns how many, to be given
 * back with gm_iov_put(q->gm, n); or -errno. *bytes = what they hold. */
int vq_chain_iov(struct vq *q, const struct vq_chain *c, bool writable, uint32_t off, uint32_t len, struct iovec *iov, int max,
		 size_t *bytes);

#endif
