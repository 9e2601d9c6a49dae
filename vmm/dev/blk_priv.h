/* Shared by the files of the disk device: blk.c (registers, life), blk_work.c (who does what when; with the lock) and blk_io.c (what a
 * request does; without). */
#ifndef VMM_DEV_BLK_PRIV_H
#define VMM_DEV_BLK_PRIV_H

#include <linux/virtio_blk.h>
#include "lib/disk/disk.h"
#include "vmm/dev/blk.h"

#define SECTOR_BYTES DISK_SECTOR_BYTES
#define QUEUE_SIZE 256u
#define SEG_MAX (QUEUE_SIZE - 2)           /* head and status take two descriptors */
#define SIZE_MAX_BYTES (1u << 20)          /* of one segment: SEG_MAX of them stay below VQ_CHAIN_BYTES_MAX */
#define RANGES_MAX 16u                     /* ranges in one discard or write-zeroes request */
#define DISCARD_SECTORS_MAX (1u << 22)     /* 2 GiB */
#define ZEROES_SECTORS_MAX (1u << 16)      /* 32 MiB: may have to be written out */
#define NOW_MAX_BYTES (128u << 10)         /* a larger copy would keep the loop from other work */
#define STATUS_LATER 0xffu                 /* of blk_perform(): not a status, but work for somebody who may wait */

/* A request that is out of its ring, on its way: in `ready`, or its thread's alone while it is performed without the lock. */
struct blk_job {
	struct blk_job *next; /* in free or ready */
	struct blk *b;
	struct vq *q;
	uint64_t epoch;
	bool may_wait;        /* for a device; else STATUS_LATER may come, and the rest is done another time */
	bool write_through;   /* the guest knows no flush */
	uint64_t sectors;     /* of the disk */
	uint64_t sector;
	uint32_t type;
	uint32_t data_bytes;
	uint32_t done;        /* bytes moved */
	uint32_t written;     /* bytes put into the guest's buffers */
	int host_error;       /* errno; 0: none */
	struct vq_chain chain;
	struct iovec iov[VQ_SIZE_MAX];
};

struct blk {
	struct vdev v; /* first */
	struct disk disk;
	bool read_only;
	char id[BLK_ID_BYTES]; /* padded with NUL */
	/* all below with the lock */
	uint64_t epoch;        /* counts resets: what was begun in an earlier one is not completed */
	uint64_t sectors;
	struct blk_job job[BLK_JOBS];
	struct blk_job *free, *ready, **ready_end; /* lists; each job is in one of them, or at work */
	unsigned n_out;        /* jobs that are not free */
	unsigned n_workers, n_waiting; /* threads for blk_work(); of those: in want of work */
	struct blk_job *writing; /* the write that a worker is at: the next ones wait in ready; NULL: none */
	unsigned held;         /* > 0: no request is taken */
	unsigned untold;       /* bit of each queue with completions that the driver has had no interrupt for yet */
	unsigned turn;         /* queue that is looked at first */
	bool quit;
	pthread_cond_t work;   /* ready has one, or quit */
	pthread_cond_t idle;   /* n_out became 0 */
	struct shape shape;    /* of SHAPE_OUT alone: reads and writes together */
	bool limited;
	bool asked_loop;       /* a worker met the limit, and the loop was told to set the timer */
	struct ev_timer timer; /* the next request may go on */
	int trouble;           /* errno; 0: none */
	uint64_t trouble_ms;   /* of the last host error */
	void (*on_trouble)(void *arg);
	void *on_trouble_arg;
};

/* blk_io.c: carries out j->type: the status byte for the guest, or STATUS_LATER; j->written and j->host_error are set. Without the lock. */
uint8_t blk_perform(struct blk_job *j);
/* Bytes of data in the request: its type and chain say so. */
uint32_t blk_data_bytes(const struct blk_job *j);

/* blk_work.c, with the lock. */
void blk_jobs_init(struct blk *b);
void blk_kick(struct vdev *v, unsigned queue);
void blk_reset(struct vdev *v); /* no job is out when it returns, and none is completed */
void blk_on_timer(struct ev_timer *t); /* takes the lock */

#endif
