/*
 * vmm/virtio/vdev.h: the frame every virtio device stands in. A device is a struct whose first member is
 * `struct vdev`, plus one const, complete table of ops. The host of the device (vmm/machine, or a
 * test) gives it an interrupt callback and, unless it is a test, an event loop.
 *
 * Threads. One mutex per device (`lock`) covers its registers, queues and counters; `irq_status` alone is atomic, so that
 * a guest's interrupt handler never waits for a device at work. mmio_read/mmio_write (mmio.h) run on vCPU threads and take the
 * lock themselves. Everything else of a device runs on the thread of its loop: one loop and I/O thread for vsock, rng; a loop and thread of its
 * own for each net, which a flood from outside keeps busy, and blk, which has workers besides (the lock is dropped while they do I/O). Nothing touches
 * a loop from another thread: `activate` and `reset` may run on a vCPU thread and only change memory; then `sync` runs on the
 * loop's thread (at once when there is no loop) before any further work of the device.
 * Order of locks: a device's lock is the innermost but for the irq callback, which must take none.
 */
#ifndef VMM_VIRTIO_VDEV_H
#define VMM_VIRTIO_VDEV_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <stdatomic.h>
#include "lib/ev/ev.h"
#include "vmm/virtio/queue.h"

#define VDEV_QUEUES_MAX 9u
#define VDEV_F(bit) (1ull << (bit))
#define VDEV_IRQ_USED 1u   /* InterruptStatus bits */
#define VDEV_IRQ_CONFIG 2u

/* Counters since the device was made (they survive resets). in = into the guest, out = out of it. */
struct vdev_stats {
	uint64_t kicks;       /* queue notifications served */
	uint64_t irqs;        /* interrupts raised */
	uint64_t requests;    /* chains completed */
	uint64_t in_bytes, out_bytes;
	uint64_t errors;      /* requests answered with an error, packets dropped or reset */
	uint64_t host_errors; /* of those: the host's fault (ENOSPC, EIO, …) */
	uint64_t needs_reset; /* the guest broke a rule */
	uint64_t resets;
};

struct vdev;
struct vdev_ops {
	const char *name;    /* "blk" */
	uint32_t id;         /* VIRTIO_ID_* */
	unsigned queues;     /* ≤ VDEV_QUEUES_MAX */
	unsigned rare_queues; /* of those, the last so many are seldom notified: not worth an ioeventfd */
	uint16_t queue_size; /* QueueNumMax, power of two ≤ VQ_SIZE_MAX */
	/* all with the lock held; none may be NULL */
	uint64_t (*features)(struct vdev *v); /* offered, without VERSION_1 EVENT_IDX INDIRECT_DESC, which are always */
	void (*config_read)(struct vdev *v, uint32_t off, void *dst, uint32_t len); /* dst comes zeroed; past the end stays so */
	void (*config_write)(struct vdev *v, uint32_t off, const void *src, uint32_t len);
	int (*activate)(struct vdev *v); /* DRIVER_OK was set; features are in v->driver_features. -errno: needs reset */
	void (*reset)(struct vdev *v);   /* back to what it was after init; on return guest memory is touched no more */
	void (*sync)(struct vdev *v);    /* loop's thread, after activate or reset: follow with watchers and timers */
	void (*kick)(struct vdev *v, unsigned queue); /* loop's thread; the device is active and the queue is ready */
	void (*detach)(struct vdev *v);  /* loop's thread: remove every watcher; the lock is held */
};

struct vdev_kick { /* one queue's eventfd in the loop */
	struct ev_io io;
	struct vdev *v;
	unsigned queue;
	int fd; /* owned; -1 without a loop */
};

struct vdev {
	const struct vdev_ops *ops;
	struct gm *gm;             /* borrowed */
	struct ev_loop *loop;      /* borrowed; NULL: everything happens at once, on the caller's thread (tests) */
	pthread_mutex_t lock;
	void (*irq)(void *arg);    /* raise the device's (edge) interrupt: write the irqfd. Any thread, lock held; may be NULL */
	void *irq_arg;
	struct vq q[VDEV_QUEUES_MAX];
	uint64_t driver_features;  /* accepted ones once FEATURES_OK is set */
	/* registers */
	uint32_t status;           /* VIRTIO_CONFIG_S_* */
	uint32_t features_sel, driver_sel, queue_sel;
	uint32_t config_generation;
	_Atomic uint32_t irq_status; /* VDEV_IRQ_*, when there is no window … */
	_Atomic uint32_t *irq_at;  /* … where they are: there, or in the window, which holds the one and only copy then */
	uint8_t *window;           /* borrowed; see vdev_set_window(); NULL: none */
	bool active;               /* DRIVER_OK, not broken */
	bool resync;               /* ops->sync is due */
	const char *broken_why;    /* static text; NULL when nothing is broken */
	struct vdev_kick kick[VDEV_QUEUES_MAX];
	struct ev_io note_io;      /* eventfd: ops->sync is due */
	int note_fd;               /* owned; -1 without a loop */
	struct vdev_stats stats;
};

/* ---- for the host of the device (vmm/machine) ---- */

/* Puts the device on a loop: makes an eventfd per queue and watches it. Before vCPUs run. eventfd2 epoll_ctl. 0 or -errno. */
int vdev_attach(struct vdev *v, struct ev_loop *loop);
/* The eventfd to bind QueueNotify of that queue to (KVM_IOEVENTFD at base+0x50, 4 bytes, datamatch queue); -1 without a loop. */
int vdev_kick_fd(const struct vdev *v, unsigned queue);
void vdev_set_irq(struct vdev *v, void (*irq)(void *arg), void *arg);
/* Optional, before vCPUs run: a zeroed page of MMIO_BYTES that the guest can read and not write, in place of reads of the registers; its
 * writes still go to mmio_write(). The device keeps it up to date: at the end of every write, and when it breaks or its
 * configuration changes. Saves the exit of every read, of InterruptStatus in each interrupt above all. */
void vdev_set_window(struct vdev *v, void *page);
/* A copy of the counters. Any thread. */
struct vdev_stats vdev_stats_get(struct vdev *v);

/* ---- for devices ---- */

/* Called by a device's own init and done. vdev_done runs on the loop's thread, or after that has ended. */
int vdev_init(struct vdev *v, const struct vdev_ops *ops, struct gm *gm);
void vdev_done(struct vdev *v);
/* Around a device's own callbacks on the loop: locks and runs a due sync (true: it ran, and what the callback was about
 * may be gone); unlocks. */
bool vdev_enter(struct vdev *v);
void vdev_leave(struct vdev *v);
/* The rest with the lock held. */
static inline bool vdev_has(const struct vdev *v, unsigned feature_bit)
{
	return v->driver_features >> feature_bit & 1;
}
/* The next chain of q. false: there is none (the driver is asked for a kick), or the ring is broken (and so is the device now). */
bool vdev_pop(struct vdev *v, struct vq *q, struct vq_chain *c);
/* Completed chains were pushed on q: interrupt if the driver wants one. */
void vdev_used(struct vdev *v, struct vq *q);
void vdev_raise_irq(struct vdev *v, uint32_t irq_status_bits);
/* Capacity, link or such changed: new generation and a configuration interrupt. */
void vdev_config_changed(struct vdev *v);
/* The guest broke a rule: DEVICE_NEEDS_RESET, counted; nothing more is served until it resets. why is static text. */
void vdev_break(struct vdev *v, const char *why);
/* Come back to this queue in the next turn of the loop (bounded work per turn). */
void vdev_kick_again(struct vdev *v, unsigned queue);
/* Copies the part of a little-endian config struct that [off, off+len) asks for. */
void vdev_config_copy(void *dst, uint32_t off, uint32_t len, const void *config, size_t config_bytes);

/* ---- between vdev.c and mmio.c, lock held ---- */

/* ops->sync soon, on the loop's thread. */
void vdev_resync(struct vdev *v);
/* Serves a notification of one of the device's queues now, on the loop's thread (or without a loop). */
void vdev_kicked(struct vdev *v, unsigned queue);
/* QueueNotify was written: wakes the loop, or serves at once without one. */
void vdev_notify(struct vdev *v, unsigned queue);

#endif
