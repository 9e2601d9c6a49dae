/* Opening, sizes, zeroes; disk.h. What an overlay adds to each operation is in overlay.c. */
#include "lib/disk/disk_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static ssize_t real_preadv(int fd, const struct iovec *iov, int n, off_t at)
{
	return preadv(fd, iov, n, at);
}

static ssize_t real_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	return pwritev(fd, iov, n, at);
}

static int real_fallocate(int fd, int mode, off_t at, off_t len)
{
	return fallocate(fd, mode, at, len);
}

/* musl's name for it is newer than the one we build with. */
static ssize_t real_preadv_now(int fd, const struct iovec *iov, int n, off_t at)
{
	return syscall(SYS_preadv2, fd, iov, (long)n, (long)at, 0L, RWF_NOWAIT);
}

static const struct disk_io real_io = { real_preadv, real_pwritev, fdatasync, real_fallocate, real_preadv_now };

static int size_of(int fd, uint64_t *bytes, struct fault *f)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fault_errno(f, -errno, "fstat");
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, bytes) < 0)
			return fault_errno(f, -errno, "size of the block device");
	} else if (S_ISREG(st.st_mode)) {
		*bytes = (uint64_t)st.st_size;
	} else {
		return fault_set(f, -EINVAL, "neither a regular file nor a block device");
	}
	if (*bytes % DISK_SECTOR_BYTES)
		return fault_set(f, -EINVAL, "size %llu is not a multiple of 512", (unsigned long long)*bytes);
	return 0;
}

int disk_open(struct disk *d, const struct disk_files *files, const struct disk_io *io, struct fault *f)
{
	int err;

	*d = (struct disk){ .io = io ? io : &real_io, .top_fd = files->top_fd, .base_fd = files->base_fd, .map_fd = files->map_fd };
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->flushing, NULL);
	pthread_cond_init(&d->freed, NULL);
	err = size_of(d->top_fd, &d->bytes, f);
	if (!err && (d->base_fd >= 0) != (d->map_fd >= 0))
		err = fault_set(f, -EINVAL, "an overlay needs a base and a map");
	if (!err && d->base_fd >= 0) {
		err = size_of(d->base_fd, &d->base_bytes, f);
		if (err)
			fault_wrap(f, err, "base image");
		else if (d->base_bytes > d->bytes)
			err = fault_set(f, -EINVAL, "the base image has %llu bytes, the disk over it only %llu", (unsigned long long)d->base_bytes,
					(unsigned long long)d->bytes);
		else
			err = overlay_load(d, f);
	}
	if (err)
		disk_done(d);
	return err;
}

void disk_done(struct disk *d)
{
	fd_close(&d->top_fd);
	fd_close(&d->base_fd);
	fd_close(&d->map_fd);
	free(d->own);
	free(d->dirty);
	free(d->copy);
	d->own = d->dirty = d->copy = NULL;
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->flushing);
	pthread_cond_destroy(&d->freed);
}

int disk_measure(struct disk *d, struct fault *f)
{
	uint64_t bytes;
	int err = size_of(d->top_fd, &bytes, f);

	if (!err && bytes < d->base_bytes)
		err = fault_set(f, -EINVAL, "shorter than its base image");
	if (!err) {
		pthread_mutex_lock(&d->lock);
		d->bytes = bytes;
		pthread_mutex_unlock(&d->lock);
	}
	return err;
}

size_t disk_iov_cut(struct iovec *iov, int *n, uint64_t max)
{
	size_t sum = 0;

	for (int i = 0; i < *n; i++) {
		if (iov[i].iov_len >= max - sum) {
			iov[i].iov_len = (size_t)(max - sum);
			sum = (size_t)max;
			*n = i + 1;
			break;
		}
		sum += iov[i].iov_len;
	}
	return sum;
}

ssize_t disk_pread(struct disk *d, int fd, struct iovec *iov, int n, uint64_t at)
{
	ssize_t got;

	do
		got = d->io->preadv(fd, iov, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	return got > 0 ? got : got < 0 ? -errno : -EIO;
}

ssize_t disk_pwrite(struct disk *d, int fd, struct iovec *iov, int n, uint64_t at)
{
	ssize_t put;

	do
		put = d->io->pwritev(fd, iov, n, (off_t)at);
	while (put < 0 && errno == EINTR);
	return put > 0 ? put : put < 0 ? -errno : -ENOSPC;
}

int disk_pwrite_all(struct disk *d, int fd, const void *src, size_t len, uint64_t at)
{
	while (len) {
		union { const void *from; void *base; } p = { src }; /* pwritev only reads */
		struct iovec v = { p.base, len };
		ssize_t put = disk_pwrite(d, fd, &v, 1, at);

		if (put < 0)
			return (int)put;
		src = (const char *)src + put;
		at += (uint64_t)put;
		len -= (size_t)put;
	}
	return 0;
}

/* From base or top, whichever holds it; zeroes where the base ends inside its last grain. */
static ssize_t read_with(struct disk *d, ssize_t (*pread_fn)(struct disk *d, int fd, struct iovec *iov, int n, uint64_t at), struct iovec *iov, int n,
			 uint64_t at)
{
	size_t bytes = 0;
	int fd = d->grains ? overlay_source(d, iov, &n, at, &bytes) : d->top_fd;

	if (fd >= 0)
		return pread_fn(d, fd, iov, n, at);
	for (int i = 0; i < n; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	return (ssize_t)bytes;
}

static ssize_t pread_now(struct disk *d, int fd, struct iovec *iov, int n, uint64_t at)
{
	ssize_t got = d->io->preadv_now(fd, iov, n, (off_t)at);

	if (got < 0 && errno == EOPNOTSUPP)
		d->no_now = true;
	return got > 0 ? got : -EAGAIN; /* an error shows again when it is read with patience */
}

ssize_t disk_readv(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	return read_with(d, disk_pread, iov, n, at);
}

ssize_t disk_readv_now(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	return d->io->preadv_now && !d->no_now ? read_with(d, pread_now, iov, n, at) : -EAGAIN;
}

ssize_t disk_writev(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	return d->grains ? overlay_writev(d, iov, n, at) : disk_pwrite(d, d->top_fd, iov, n, at);
}

int disk_flush(struct disk *d)
{
	if (d->grains)
		return overlay_flush(d);
	return d->io->fdatasync(d->top_fd) < 0 ? -errno : 0;
}

/* For file systems without FALLOC_FL_ZERO_RANGE. */
static int write_zeros(struct disk *d, uint64_t at, uint64_t bytes)
{
	static const uint8_t zeros[65536];
	int err = 0;

	for (uint64_t n; bytes && !err; at += n, bytes -= n) {
		n = bytes < sizeof(zeros) ? bytes : sizeof(zeros);
		err = disk_pwrite_all(d, d->top_fd, zeros, (size_t)n, at);
	}
	return err;
}

int disk_top_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap)
{
	int mode = FALLOC_FL_KEEP_SIZE | (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);

	if (!bytes || d->io->fallocate(d->top_fd, mode, (off_t)at, (off_t)bytes) == 0)
		return 0;
	return errno == EOPNOTSUPP ? write_zeros(d, at, bytes) : -errno;
}

int disk_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap)
{
	return d->grains ? overlay_zero(d, at, bytes, unmap) : disk_top_zero(d, at, bytes, unmap);
}

int disk_discard(struct disk *d, uint64_t at, uint64_t bytes)
{
	if (!bytes)
		return 0;
	if (d->grains)
		return overlay_discard(d, at, bytes);
	if (d->io->fallocate(d->top_fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t)at, (off_t)bytes) == 0 || errno == EOPNOTSUPP)
		return 0;
	return -errno;
}
