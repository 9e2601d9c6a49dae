/* What a disk holds, raw or overlay, as one sparse file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/disk/disk_priv.h"

#define CHUNK_BYTES (256u << 10)

/* Offset of the next byte at or past `at` that may not be zero, as this file knows; end: none. */
static uint64_t next_data(int fd, uint64_t at, uint64_t end)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? end : at; /* else a file system without holes */
	return (uint64_t)data < end ? (uint64_t)data : end;
}

static uint64_t skip_holes(const struct disk *d, uint64_t at)
{
	uint64_t next = next_data(d->top_fd, at, d->bytes), base;

	if (d->base_fd < 0 || at >= d->base_bytes)
		return next;
	base = next_data(d->base_fd, at, d->base_bytes);
	if (base < d->base_bytes && base < next)
		next = base;
	return next;
}

static int read_chunk(struct disk *d, uint8_t *to, size_t n, uint64_t at)
{
	for (size_t done = 0; done < n;) { /* each round reads at least one byte */
		struct iovec iov = { to + done, n - done };
		ssize_t got = disk_readv(d, &iov, 1, at + done);

		if (got <= 0)
			return got < 0 ? (int)got : -EIO;
		done += (size_t)got;
	}
	return 0;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return !p[0] && memcmp(p, p + 1, n - 1) == 0;
}

/* Runs of grains that are not all zero. */
static int write_chunk(struct disk *d, int to_fd, const uint8_t *p, size_t n, uint64_t at)
{
	size_t from = 0;

	while (from < n) { /* each round passes at least one grain */
		size_t end = from, grain;
		int err;

		for (; end < n; end += grain) {
			grain = n - end < DISK_GRAIN_BYTES ? n - end : DISK_GRAIN_BYTES;
			if (is_zero(p + end, grain))
				break;
		}
		err = end > from ? disk_pwrite_all(d, to_fd, p + from, end - from, at + from) : 0;
		if (err)
			return err;
		from = end > from ? end : end + (n - end < DISK_GRAIN_BYTES ? n - end : DISK_GRAIN_BYTES);
	}
	return 0;
}

int disk_flatten(struct disk *d, int to_fd)
{
	uint8_t *chunk = malloc(CHUNK_BYTES);
	int err = chunk ? 0 : -ENOMEM;

	for (uint64_t at = 0; !err && (at = skip_holes(d, at)) < d->bytes;) { /* each round passes a chunk */
		size_t n;

		at &= ~(uint64_t)(DISK_GRAIN_BYTES - 1); /* not before the last chunk's end: that was at a grain's */
		n = d->bytes - at < CHUNK_BYTES ? (size_t)(d->bytes - at) : CHUNK_BYTES;
		err = read_chunk(d, chunk, n, at);
		if (!err)
			err = write_chunk(d, to_fd, chunk, n, at);
		at += n;
	}
	free(chunk);
	if (!err && ftruncate(to_fd, (off_t)d->bytes))
		err = -errno;
	return err;
}
