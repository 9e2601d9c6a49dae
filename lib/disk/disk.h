/*
 * lib/disk: a VM's disk as the host keeps it: one raw file, or an overlay: a read-only base that many VMs share, and the VM's own sparse
 * file (`top`) of the disk's whole size, in which every byte stands at its own offset. A map, one bit for each 4 KiB of the base, says which
 * of them the top has taken over; past the base's end everything is the top's. So a disk over a base of any size is made in
 * microseconds, and discarding gives the top's space back. Knows descriptors and offsets; no path, no guest. Used by
 * vmm/dev (one disk, several threads at once) and by core's helpers that export a disk. Foreign: sizes and contents of the
 * files, though they are ours; offsets come checked (inside disk_bytes).
 *
 * Power cuts: bits are only ever set, and reach the map after the data they speak of has reached the top (disk_flush: take a copy of
 * the bits, fdatasync top, write the copy, fdatasync map). So after a cut each grain is as at the last flush or newer, and a map of which half a
 * page was written is still true. The end of a process without flush loses what a cut would lose.
 *
 * Threads: any number may move bytes of one disk at once, but for disk_open, disk_done and disk_flatten. What two of them do to the same sectors
 * happens in either order, sector by sector. Whoever takes a grain over from the base has it alone while it does (two smaller writes
 * into one grain both last); a flush covers what had returned before it was asked for, whatever goes on meanwhile.
 */
#ifndef LIB_DISK_DISK_H
#define LIB_DISK_DISK_H

#include <pthread.h>
#include <sys/uio.h>
#include "lib/base/base.h"

#define DISK_SECTOR_BYTES 512u
#define DISK_GRAIN_BYTES 4096u           /* a guest's file system block: a smaller write to the base's part copies the rest of it once */
#define DISK_MAP_HEAD_BYTES 4096u        /* then the bits, lowest first: file of HEAD + ⌈⌈base/4096⌉/8⌉ bytes */
#define DISK_BUSY_MAX 16u                /* takings-over of grains at once; a thread beyond them waits */
#define DISK_BASE_MAX_BYTES (1ull << 40) /* 32 MiB of map */

/* The calls that move bytes, so that a test can cut the power between them. errno as the calls of these names. */
struct disk_io {
	ssize_t (*preadv)(int fd, const struct iovec *iov, int n, off_t at);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t at);
	int (*fdatasync)(int fd);
	int (*fallocate)(int fd, int mode, off_t at, off_t len);
	ssize_t (*preadv_now)(int fd, const struct iovec *iov, int n, off_t at); /* EAGAIN or EOPNOTSUPP rather than wait; NULL: not to be had */
};

struct disk_range {
	uint64_t first, end; /* grains; end 0: place is free */
};

struct disk {
	const struct disk_io *io;
	int top_fd;           /* owned; the raw file, or the VM's own */
	int base_fd, map_fd;  /* owned; -1: raw */
	pthread_mutex_t lock; /* covers bytes, own, dirty, any_dirty, busy; held for no I/O */
	pthread_cond_t freed; /* a place in busy */
	pthread_mutex_t flushing; /* one flush of the map at a time; taken before lock; covers copy */
	struct disk_range busy[DISK_BUSY_MAX]; /* grains on their way from the base to the top */
	uint64_t bytes;       /* of the disk */
	uint64_t base_bytes;
	uint64_t grains;      /* that the map speaks of; 0: raw */
	uint8_t *own;         /* owned: the map's bits */
	uint8_t *dirty;       /* owned: a byte for each 4 KiB of own: not yet in the map */
	_Atomic bool no_now;  /* this file system cannot read without waiting */
	uint8_t *copy;        /* owned: own as a flush found it, in the pages it writes */
	bool any_dirty;
};

struct disk_files {
	int top_fd, base_fd, map_fd; /* base_fd and map_fd -1: raw */
};

/* Takes the descriptors (also on error). io NULL: the real ones. top: regular file or block device of a multiple of 512 bytes; base: the same, not
 * larger than top, of just the size the map was made for, not written to since disk_map_seal(). fstat, ioctl BLKGETSIZE64, pread. 0, -EINVAL or -errno with a sentence. */
int disk_open(struct disk *d, const struct disk_files *files, const struct disk_io *io, struct fault *f);
void disk_done(struct disk *d); /* does not flush */
/* Looks at top's size again: after growing. 0 or -errno. */
int disk_measure(struct disk *d, struct fault *f);

/* Moves at least one byte of the iovecs from or to offset `at` and says how many; may stop early, where base and top meet. The iovecs may be
 * cut. At least one byte, all inside d->bytes. -errno (-EIO also when a file is shorter than it was). preadv pwritev */
ssize_t disk_readv(struct disk *d, struct iovec *iov, int n, uint64_t at);
ssize_t disk_writev(struct disk *d, struct iovec *iov, int n, uint64_t at);
/* As disk_readv, but -EAGAIN where it would have to wait for a device. preadv2 */
ssize_t disk_readv_now(struct disk *d, struct iovec *iov, int n, uint64_t at);
/* What was written is there after a power cut. fdatasync pwritev */
int disk_flush(struct disk *d);
/* Reads as zeros afterwards. unmap: give the space back where that is possible. fallocate pwritev preadv */
int disk_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap);
/* A hint: its contents may become anything old or zero; whole grains read as zeros and take no space where the file system can. */
int disk_discard(struct disk *d, uint64_t at, uint64_t bytes);

/* Writes all that the disk holds into an empty file, holes as holes, and gives it the disk's size; not flushed. lseek, ftruncate, and as the calls
 * above. 0 or -errno. */
int disk_flatten(struct disk *d, int to_fd);

/* Makes an empty map for a base of that size in an empty file. 0 or -errno. */
int disk_map_create(int map_fd, uint64_t base_bytes, struct fault *f);
/* Keeps the date of the base's last write in the map: disk_open() refuses a base that was written to since. fstat pwrite. 0 or -errno. */
int disk_map_seal(int map_fd, int base_fd, struct fault *f);

#endif
