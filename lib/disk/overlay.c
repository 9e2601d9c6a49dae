/* A sparse top over a shared base; disk.h tells the order that makes it safe. */
#include "lib/disk/disk_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRAIN DISK_GRAIN_BYTES
#define MAP_PAGE 4096u /* of bits; what one flush writes at least */
#define GRAINS_PER_PAGE (MAP_PAGE * 8u)

/* Little endian, at the start of the map. */
struct map_head {
	char magic[8];
	uint32_t grain_bytes, reserved;
	uint64_t base_bytes;
};
static const char map_magic[8] = { 'm', 'i', 'c', 'a', 'm', 'a', 'p', '1' };

static uint64_t grains_of(uint64_t base_bytes)
{
	return (base_bytes + GRAIN - 1) / GRAIN;
}

static uint64_t map_bytes_of(uint64_t grains)
{
	return (grains + 7) / 8;
}

int disk_map_create(int map_fd, uint64_t base_bytes, struct fault *f)
{
	struct map_head h = { .grain_bytes = GRAIN, .base_bytes = base_bytes };
	int err;

	memcpy(h.magic, map_magic, sizeof(h.magic));
	if (base_bytes == 0 || base_bytes > DISK_BASE_MAX_BYTES || base_bytes % DISK_SECTOR_BYTES)
		return fault_set(f, -EFBIG, "base image of %llu bytes: a multiple of 512 up to 1 TiB can lie under a disk", (unsigned long long)base_bytes);
	err = pwrite_full(map_fd, &h, sizeof(h), 0);
	if (!err && ftruncate(map_fd, (off_t)(DISK_MAP_HEAD_BYTES + map_bytes_of(grains_of(base_bytes)))) < 0)
		err = -errno;
	return err ? fault_errno(f, err, "map of the disk") : 0;
}

static int check_head(const struct disk *d, struct fault *f)
{
	struct map_head h;
	struct stat st;

	if (fstat(d->map_fd, &st) < 0 || pread_full(d->map_fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) ||
	    memcmp(h.magic, map_magic, sizeof(map_magic)) != 0 || h.grain_bytes != GRAIN)
		return fault_set(f, -EINVAL, "the map of the disk is broken, or of another version");
	if (h.base_bytes != d->base_bytes)
		return fault_set(f, -EINVAL, "the base image has %llu bytes now, and had %llu when the disk was made over it: put the old one back",
				 (unsigned long long)d->base_bytes, (unsigned long long)h.base_bytes);
	if (!h.base_bytes || h.base_bytes > DISK_BASE_MAX_BYTES || (uint64_t)st.st_size < DISK_MAP_HEAD_BYTES + map_bytes_of(grains_of(h.base_bytes)))
		return fault_set(f, -EINVAL, "the map of the disk is cut short");
	return 0;
}

/* Pages of the map without a bit are not touched in memory either. */
static int load_bits(struct disk *d, uint64_t bytes)
{
	static const uint8_t none[MAP_PAGE];
	uint8_t page[MAP_PAGE];

	for (uint64_t at = 0; at < bytes; at += MAP_PAGE) {
		size_t n = bytes - at < MAP_PAGE ? (size_t)(bytes - at) : MAP_PAGE;
		ssize_t got = pread_full(d->map_fd, page, n, DISK_MAP_HEAD_BYTES + at);

		if (got != (ssize_t)n)
			return got < 0 ? (int)got : -EIO;
		if (memcmp(page, none, n) != 0)
			memcpy(d->own + at, page, n);
	}
	return 0;
}

int overlay_load(struct disk *d, struct fault *f)
{
	uint64_t bytes;
	int err = check_head(d, f);

	if (err)
		return err;
	d->grains = grains_of(d->base_bytes);
	bytes = map_bytes_of(d->grains);
	d->own = calloc(1, (size_t)bytes);
	d->dirty = calloc(1, (size_t)(bytes / MAP_PAGE + 1));
	if (!d->own || !d->dirty)
		return fault_set(f, -ENOMEM, "out of memory for the map of the disk");
	err = load_bits(d, bytes);
	return err ? fault_errno(f, err, "map of the disk") : 0;
}

static bool owns(const struct disk *d, uint64_t grain)
{
	return grain >= d->grains || d->own[grain / 8] >> (grain % 8) & 1;
}

static void take(struct disk *d, uint64_t grain, uint64_t n)
{
	for (uint64_t g = grain; g < grain + n && g < d->grains; g++) {
		d->own[g / 8] |= (uint8_t)(1u << (g % 8));
		d->dirty[g / GRAINS_PER_PAGE] = 1;
	}
	d->any_dirty = true;
}

/* How many bytes from `at` on have the same owner, at most max. */
static uint64_t run(const struct disk *d, uint64_t at, uint64_t max, bool *own)
{
	uint64_t grain = at / GRAIN, end = at - at % GRAIN + GRAIN;

	*own = owns(d, grain);
	for (grain++; end - at < max && owns(d, grain) == *own; grain++) {
		if (grain >= d->grains)
			return max; /* all the rest is the top's */
		end += GRAIN;
	}
	return end - at < max ? end - at : max;
}

static uint64_t iov_bytes(const struct iovec *iov, int n)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

ssize_t overlay_readv(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	bool own;
	uint64_t bytes = run(d, at, iov_bytes(iov, n), &own);

	if (!own && at < d->base_bytes && bytes > d->base_bytes - at)
		bytes = d->base_bytes - at;
	disk_iov_cut(iov, &n, bytes);
	if (own || at < d->base_bytes)
		return disk_pread(d, own ? d->top_fd : d->base_fd, iov, n, at);
	for (int i = 0; i < n; i++) /* the base ends inside its last grain */
		memset(iov[i].iov_base, 0, iov[i].iov_len);
	return (ssize_t)bytes;
}

/* Copies a grain of the base into the top, so that a part of it can be written. */
static int adopt(struct disk *d, uint64_t grain)
{
	uint8_t data[GRAIN] = { 0 };
	uint64_t at = grain * GRAIN, there = d->base_bytes - at < GRAIN ? d->base_bytes - at : GRAIN, room = d->bytes - at;
	int err;

	for (uint64_t done = 0; done < there;) {
		struct iovec v = { data + done, (size_t)(there - done) };
		ssize_t got = disk_pread(d, d->base_fd, &v, 1, at + done);

		if (got < 0)
			return (int)got;
		done += (uint64_t)got;
	}
	err = disk_pwrite_all(d, d->top_fd, data, room < GRAIN ? (size_t)room : GRAIN, at); /* the disk may end inside the grain, too */
	if (!err)
		take(d, grain, 1);
	return err;
}

/* A part of one grain that is the base's still. */
static ssize_t write_part(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	int err = adopt(d, at / GRAIN);

	if (err)
		return err;
	disk_iov_cut(iov, &n, GRAIN - at % GRAIN);
	return disk_pwrite(d, d->top_fd, iov, n, at);
}

/* Whole grains that are the base's still: no copy. Of the last one, when it was not finished, nothing counts. */
static ssize_t write_fresh(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	ssize_t put = disk_pwrite(d, d->top_fd, iov, n, at);

	if (put < 0)
		return put;
	if (put < (ssize_t)GRAIN)
		return write_part(d, iov, n, at);
	put -= put % GRAIN;
	take(d, at / GRAIN, (uint64_t)put / GRAIN);
	return put;
}

ssize_t overlay_writev(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	bool own;
	uint64_t bytes = run(d, at, iov_bytes(iov, n), &own);

	if (own || (at % GRAIN == 0 && bytes >= GRAIN)) {
		disk_iov_cut(iov, &n, own ? bytes : bytes - bytes % GRAIN);
		return own ? disk_pwrite(d, d->top_fd, iov, n, at) : write_fresh(d, iov, n, at);
	}
	return write_part(d, iov, n, at);
}

/* The data is on the disk already. A page that could not be written stays dirty for the next try. */
int overlay_flush(struct disk *d)
{
	uint64_t bytes = map_bytes_of(d->grains), pages = (bytes + MAP_PAGE - 1) / MAP_PAGE;
	int err = 0;

	for (uint64_t p = 0; p < pages && !err; p++) {
		uint64_t at = p * MAP_PAGE, n = bytes - at < MAP_PAGE ? bytes - at : MAP_PAGE;

		if (d->dirty[p])
			err = disk_pwrite_all(d, d->map_fd, d->own + at, (size_t)n, DISK_MAP_HEAD_BYTES + at);
	}
	if (!err && d->io->fdatasync(d->map_fd) < 0)
		err = -errno;
	if (err)
		return err;
	memset(d->dirty, 0, (size_t)pages);
	d->any_dirty = false;
	return 0;
}

/* What lies before the first whole grain, the whole grains, and the rest. */
struct spans {
	uint64_t head, body, tail; /* bytes */
};

static struct spans split(uint64_t at, uint64_t bytes)
{
	uint64_t to_grain = (GRAIN - at % GRAIN) % GRAIN;
	struct spans s = { .head = to_grain < bytes ? to_grain : bytes };

	s.tail = (bytes - s.head) % GRAIN;
	s.body = bytes - s.head - s.tail;
	return s;
}

static int zero_part(struct disk *d, uint64_t at, uint64_t bytes)
{
	int err = bytes && !owns(d, at / GRAIN) ? adopt(d, at / GRAIN) : 0;

	return err ? err : disk_top_zero(d, at, bytes, false);
}

int overlay_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap)
{
	struct spans s = split(at, bytes);
	int err = zero_part(d, at, s.head);

	if (!err)
		err = disk_top_zero(d, at + s.head, s.body, unmap);
	if (!err && s.body)
		take(d, (at + s.head) / GRAIN, s.body / GRAIN);
	return err ? err : zero_part(d, at + s.head + s.body, s.tail);
}

/* Without holes the top would have to be filled to hide the base: then the base may as well stay. */
int overlay_discard(struct disk *d, uint64_t at, uint64_t bytes)
{
	struct spans s = split(at, bytes);

	at += s.head;
	if (!s.body)
		return 0;
	if (d->io->fallocate(d->top_fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t)at, (off_t)s.body) < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	take(d, at / GRAIN, s.body / GRAIN);
	return 0;
}
