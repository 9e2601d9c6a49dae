/* Shared by the two files of the disk device: blk.c (registers, queue, life; with the lock) and blk_io.c (what a request does; without). */
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

struct blk {
	struct vdev v; /* first */
	struct disk disk; /* the worker's while busy */
	bool read_only;
	bool busy;             /* the worker does I/O without the lock */
	uint64_t epoch;        /* counts resets: what was begun in an earlier one is not completed */
	pthread_cond_t idle;   /* busy became false */
	uint64_t sectors;
	char id[BLK_ID_BYTES]; /* padded with NUL */
	struct shape shape;    /* of SHAPE_OUT alone: reads and writes together */
	bool limited;
	struct ev_timer timer; /* the next request may go on */
	struct vq_chain chain; /* the worker's */
	struct iovec iov[VQ_SIZE_MAX];
};

/* One request while the lock is not held: what it may need was copied. */
struct blk_req {
	struct blk *b;
	struct vq *q;
	const struct vq_chain *c;
	uint64_t sectors;   /* of the disk */
	uint64_t sector;
	bool write_through; /* the guest knows no flush */
	uint32_t type;
	uint32_t data_bytes;
	uint32_t written;   /* bytes put into the guest's buffers */
	bool host_error;
};

/* Carries out r->type: the status byte for the guest; r->written and r->host_error are set. */
uint8_t blk_perform(struct blk_req *r);

#endif
