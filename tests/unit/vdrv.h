/*
 * A driver for device tests: guest memory, rings built in it by hand, registers through mmio_read and mmio_write. It does
 * what a well-behaved driver does; tests that must misbehave write to the rings themselves.
 */
#ifndef TESTS_UNIT_VDRV_H
#define TESTS_UNIT_VDRV_H

#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/unit/gmdrv.h"
#include "vmm/virtio/mmio.h"

#define VDRV_F_BASE (VDEV_F(VIRTIO_F_VERSION_1) | VDEV_F(VIRTIO_RING_F_INDIRECT_DESC))

#define VDRV_NOWHERE 0xfffff000ull /* no RAM there */

struct vdrv_q {
	uint16_t size, avail_idx, used_seen, next_desc;
	uint64_t desc, avail, used;
};
struct vdrv {
	struct gm *gm;
	struct vdev *v;
	uint64_t heap; /* next free guest address */
	_Atomic unsigned irqs;
	struct vdrv_q q[VDEV_QUEUES_MAX];
};
struct vdrv_seg {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

static inline void vdrv_irq(void *arg)
{
	((struct vdrv *)arg)->irqs++;
}

static inline uint32_t vdrv_rd(struct vdrv *d, uint32_t off)
{
	return (uint32_t)mmio_read(d->v, off, 4);
}

static inline void vdrv_wr(struct vdrv *d, uint32_t off, uint32_t value)
{
	mmio_write(d->v, off, 4, value);
}

static inline uint64_t vdrv_alloc(struct vdrv *d, uint32_t bytes)
{
	uint64_t at = d->heap;

	d->heap += (bytes + 63u) & ~63u;
	if (!gm_has(d->gm, at, bytes))
		abort();
	return at;
}

static inline void vdrv_queue(struct vdrv *d, unsigned i, uint16_t size)
{
	struct vdrv_q *q = &d->q[i];

	*q = (struct vdrv_q){ .size = size };
	q->desc = vdrv_alloc(d, 16u * size);
	q->avail = vdrv_alloc(d, 6u + 2u * size);
	q->used = vdrv_alloc(d, 6u + 8u * size);
	gm_zero(d->gm, q->desc, 16u * size);
	gm_zero(d->gm, q->avail, 6u + 2u * size);
	gm_zero(d->gm, q->used, 6u + 8u * size);
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_SEL, i);
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_NUM, size);
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)q->desc);
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(q->desc >> 32));
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)q->avail);
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(q->avail >> 32));
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)q->used);
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(q->used >> 32));
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* Up to FEATURES_OK; the status register then tells. */
static inline uint32_t vdrv_features(struct vdrv *d, uint64_t features)
{
	vdrv_wr(d, VIRTIO_MMIO_STATUS, 0);
	vdrv_wr(d, VIRTIO_MMIO_STATUS, 1);
	vdrv_wr(d, VIRTIO_MMIO_STATUS, 3);
	vdrv_wr(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	vdrv_wr(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
	vdrv_wr(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	vdrv_wr(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
	vdrv_wr(d, VIRTIO_MMIO_STATUS, 11);
	return vdrv_rd(d, VIRTIO_MMIO_STATUS);
}

static inline uint64_t vdrv_offered(struct vdrv *d)
{
	uint64_t f;

	vdrv_wr(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	f = vdrv_rd(d, VIRTIO_MMIO_DEVICE_FEATURES);
	vdrv_wr(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return f | (uint64_t)vdrv_rd(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

/* The whole dance, all queues of one size. */
static inline uint32_t vdrv_start(struct vdrv *d, struct gm *gm, struct vdev *v, uint64_t features, uint16_t size)
{
	mmio_write(v, VIRTIO_MMIO_STATUS, 4, 0); /* nothing is in flight from here on */
	*d = (struct vdrv){ .gm = gm, .v = v, .heap = 0x10000 };
	if (v->irq_arg != d)
		vdev_set_irq(v, vdrv_irq, d);
	vdrv_features(d, features | VDRV_F_BASE);
	for (unsigned i = 0; i < v->ops->queues; i++)
		vdrv_queue(d, i, size);
	vdrv_wr(d, VIRTIO_MMIO_STATUS, 15);
	return vdrv_rd(d, VIRTIO_MMIO_STATUS);
}

/* The same as a driver that has forgotten some: queues 0 to all of them, those whose bit is not in `there` are not made. */
static inline void vdrv_start_some(struct vdrv *d, uint64_t features, unsigned there, uint16_t size)
{
	vdrv_wr(d, VIRTIO_MMIO_STATUS, 0);
	d->heap = 0x10000;
	vdrv_features(d, features | VDRV_F_BASE);
	for (unsigned i = 0; i < d->v->ops->queues; i++)
		if (there >> i & 1)
			vdrv_queue(d, i, size);
	vdrv_wr(d, VIRTIO_MMIO_STATUS, 15);
}

static inline void vdrv_desc(struct vdrv *d, uint64_t table, uint16_t i, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc e = { .addr = gpa, .len = len, .flags = flags, .next = next };

	gm_write(d->gm, table + 16u * i, &e, sizeof(e));
}

static inline void vdrv_avail(struct vdrv *d, unsigned queue, uint16_t head)
{
	struct vdrv_q *q = &d->q[queue];

	gm_write_u16(d->gm, q->avail + 4 + 2u * (q->avail_idx & (q->size - 1u)), head);
	gm_store_release_u16(d->gm, q->avail + 2, ++q->avail_idx);
}

/* A chain over the next free descriptors (they are taken round and round: keep fewer than `size` in flight). */
static inline uint16_t vdrv_add(struct vdrv *d, unsigned queue, const struct vdrv_seg *seg, unsigned n)
{
	struct vdrv_q *q = &d->q[queue];
	uint16_t head = q->next_desc;

	for (unsigned i = 0; i < n; i++) {
		uint16_t at = q->next_desc, next = (uint16_t)((at + 1) & (q->size - 1));

		vdrv_desc(d, q->desc, at, seg[i].gpa, seg[i].len,
			  (uint16_t)((seg[i].write ? VRING_DESC_F_WRITE : 0) | (i + 1 < n ? VRING_DESC_F_NEXT : 0)), next);
		q->next_desc = next;
	}
	vdrv_avail(d, queue, head);
	return head;
}

/* Shows one head so many times more. */
static inline void vdrv_repeat(struct vdrv *d, unsigned queue, uint16_t head, unsigned times)
{
	while (times--)
		vdrv_avail(d, queue, head);
}

static inline void vdrv_kick(struct vdrv *d, unsigned queue)
{
	vdrv_wr(d, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* Next used element. */
static inline bool vdrv_used(struct vdrv *d, unsigned queue, uint32_t *id, uint32_t *len)
{
	struct vdrv_q *q = &d->q[queue];
	uint16_t idx = 0;
	uint64_t at = q->used + 4 + 8u * (q->used_seen & (q->size - 1u));

	if (gm_load_acquire_u16(d->gm, q->used + 2, &idx) || idx == q->used_seen)
		return false;
	gm_read_u32(d->gm, at, id);
	gm_read_u32(d->gm, at + 4, len);
	q->used_seen++;
	return true;
}

static inline bool vdrv_broken(struct vdrv *d)
{
	return vdrv_rd(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* A loop on a thread of its own, for tests of what vCPU threads may do meanwhile. */
struct vdrv_thread {
	struct ev_loop *loop;
	pthread_t thread;
	struct ev_io stop;
	int pipe[2];
};

static inline void vdrv_thread_stop(struct ev_io *io, uint32_t events)
{
	(void)events;
	ev_stop(io->arg);
}

static inline void *vdrv_thread_main(void *arg)
{
	ev_run(arg);
	return NULL;
}

static inline void vdrv_thread_start(struct vdrv_thread *t, struct ev_loop *loop)
{
	*t = (struct vdrv_thread){ .loop = loop, .stop = { .fn = vdrv_thread_stop, .arg = loop, .fd = -1 } };
	if (pipe(t->pipe) || ev_add(loop, &t->stop, t->pipe[0], EPOLLIN) || pthread_create(&t->thread, NULL, vdrv_thread_main, loop))
		abort();
}

static inline void vdrv_thread_join(struct vdrv_thread *t)
{
	close(t->pipe[1]);
	pthread_join(t->thread, NULL);
	ev_del(t->loop, &t->stop);
	close(t->pipe[0]);
}

#endif
