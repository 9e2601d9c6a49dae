/*
 * Fuzzing a virtio device through its registers and rings. The input is a list of steps: an operation byte and its arguments
 * (missing ones read as 0). Guest memory is 1 MiB, zeroed before each input; the device is started once before the first step.
 *   0 register write: number, u32      1 any write: u16 offset, width, u64     2 any read: u16 offset, width
 *   3 memory write: u16 page-ish address, length, bytes                        4 chain: queue, segments, each u16 address, u16 length, flags
 *   5 kick: queue, and let the loop turn                                       6 the host's side: the target's own
 *   7 reset and start: u8 features, size
 */
#ifndef TESTS_FUZZ_VDEV_FUZZ_H
#define TESTS_FUZZ_VDEV_FUZZ_H

#include "tests/unit/gmdrv.h"
#include "tests/unit/vdrv.h"

#define FUZZ_STEPS_MAX 400

struct fuzz_in {
	const uint8_t *p;
	size_t left;
};
struct fuzz {
	struct fuzz_in in;
	struct gm *gm;
	struct ev_loop *loop;
	struct vdrv d;
	uint64_t features; /* those that the device offers, to choose from */
	void (*host)(struct fuzz *f);
};

static inline uint64_t fuzz_u(struct fuzz *f, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && f->in.left; i++, f->in.p++, f->in.left--)
		v |= (uint64_t)*f->in.p << (8 * i);
	return v;
}

static inline void fuzz_start(struct fuzz *f)
{
	uint8_t pick = (uint8_t)fuzz_u(f, 1), size = (uint8_t)(fuzz_u(f, 1) & 7);
	/* One bit of the input keeps or drops every second group of features. */
	uint64_t features = (pick & 1 ? f->features : 0) | (pick & 2 ? VDEV_F(VIRTIO_RING_F_EVENT_IDX) : 0) | (uint64_t)(pick >> 4) << 4;
	uint16_t n = (uint16_t)(1u << size);

	if (n > f->d.v->ops->queue_size)
		n = f->d.v->ops->queue_size;
	vdrv_start(&f->d, f->gm, f->d.v, pick & 8 ? features : features & f->features, n);
}

static inline void fuzz_chain(struct fuzz *f)
{
	struct vdrv_seg s[16];
	unsigned queue = (unsigned)fuzz_u(f, 1) % f->d.v->ops->queues, n = (unsigned)(fuzz_u(f, 1) & 15) + 1;

	for (unsigned i = 0; i < n; i++) {
		s[i].gpa = fuzz_u(f, 2) << 4;
		s[i].len = (uint32_t)fuzz_u(f, 2);
		s[i].write = fuzz_u(f, 1) & 1;
	}
	if (f->d.q[queue].size)
		vdrv_add(&f->d, queue, s, n);
}

static inline void fuzz_turn(struct fuzz *f)
{
	for (int i = 0; f->loop && i < 8 && ev_once(f->loop, 0) > 0; i++)
		;
}

static inline void fuzz_step(struct fuzz *f)
{
	uint8_t bytes[256];
	uint64_t at;
	unsigned n;

	switch (fuzz_u(f, 1) & 7) {
	case 0:
		at = fuzz_u(f, 1) << 2;
		vdrv_wr(&f->d, (uint32_t)at, (uint32_t)fuzz_u(f, 4));
		break;
	case 1:
		at = fuzz_u(f, 2);
		n = (unsigned)fuzz_u(f, 1);
		mmio_write(f->d.v, (uint32_t)at, n, fuzz_u(f, 8));
		break;
	case 2:
		at = fuzz_u(f, 2);
		(void)mmio_read(f->d.v, (uint32_t)at, (unsigned)fuzz_u(f, 1));
		break;
	case 3:
		at = fuzz_u(f, 2) << 4;
		n = (unsigned)fuzz_u(f, 1);
		for (unsigned i = 0; i < n; i++)
			bytes[i] = (uint8_t)fuzz_u(f, 1);
		gm_write(f->gm, at, bytes, n);
		break;
	case 4:
		fuzz_chain(f);
		break;
	case 5:
		vdrv_kick(&f->d, (uint32_t)fuzz_u(f, 1));
		fuzz_turn(f);
		break;
	case 6:
		f->host(f);
		break;
	default:
		fuzz_start(f);
		fuzz_turn(f);
		break;
	}
}

/* What the guest reads in the window is what a read of the register would have answered. */
static inline void fuzz_window(struct fuzz *f, const uint8_t *window)
{
	static const uint32_t regs[] = { VIRTIO_MMIO_DEVICE_FEATURES, VIRTIO_MMIO_QUEUE_NUM_MAX, VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_STATUS,
					 VIRTIO_MMIO_INTERRUPT_STATUS, VIRTIO_MMIO_CONFIG_GENERATION, VIRTIO_MMIO_CONFIG };

	for (unsigned i = 0; i < ARRAY_LEN(regs); i++) {
		uint32_t shown;

		memcpy(&shown, window + regs[i], sizeof(shown));
		if (shown != vdrv_rd(&f->d, regs[i]))
			abort();
	}
}

static inline void fuzz_run(struct fuzz *f, const uint8_t *data, size_t size)
{
	static _Alignas(4096) uint8_t window[MMIO_BYTES];

	f->in = (struct fuzz_in){ data, size };
	vdev_set_window(f->d.v, window);
	gm_zero(f->gm, 0, 1 << 20);
	fuzz_start(f);
	fuzz_turn(f);
	for (int i = 0; i < FUZZ_STEPS_MAX && f->in.left; i++)
		fuzz_step(f);
	fuzz_window(f, window);
	vdrv_wr(&f->d, VIRTIO_MMIO_STATUS, 0);
	fuzz_turn(f);
	if (f->gm->iov_live) /* an iovec that was not given back */
		abort();
}

#endif
