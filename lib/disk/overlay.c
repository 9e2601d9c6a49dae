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
#define DIRTY 1u    /* of a page of bits: the map lacks some of them … */
#define FLUSHING 2u /* … and a flush is at work on what was there when it began */

static int check_date(const struct disk *d, int64_t want_ns, struct fault *f)
{
	struct stat st;

	if (fstat(d->base_fd, &st) < 0)
		return fault_errno(f, -errno, "base image");
	if (!want_ns || disk_written_ns(&st) == want_ns)
		return 0;
	return fault_set(f, -EINVAL, "the base image was written to after the disk was made over it: put the old one back (if only its date is new: touch -d @%lld.%09lld)",
			 (long long)(want_ns / 1000000000), (long long)(want_ns % 1000000000));
}

static int check_head(const struct disk *d, struct fault *f)
{
	struct disk_map_head h;
	struct stat st;

	if (fstat(d->map_fd, &st) < 0 || pread_full(d->map_fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) ||
	    memcmp(h.magic, DISK_MAP_MAGIC, sizeof(h.magic)) != 0 || h.grain_bytes != GRAIN)
		return fault_set(f, -EINVAL, "the map of the disk is broken, or of another version");
	if (h.base_bytes != d->base_bytes)
		return fault_set(f, -EINVAL, "the base image has %llu bytes now, and had %llu when the disk was made over it: put the old one back",
				 (unsigned long long)d->base_bytes, (unsigned long long)h.base_bytes);
	if (!h.base_bytes || h.base_bytes > DISK_BASE_MAX_BYTES || (uint64_t)st.st_size < DISK_MAP_HEAD_BYTES + disk_map_bytes_of(disk_grains_of(h.base_bytes)))
		return fault_set(f, -EINVAL, "the map of the disk is cut short");
	return check_date(d, h.base_written_ns, f);
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
	d->grains = disk_grains_of(d->base_bytes);
	bytes = disk_map_bytes_of(d->grains);
	d->own = calloc(1, (size_t)bytes);
	d->dirty = calloc(1, (size_t)(bytes / MAP_PAGE + 1));
	d->copy = calloc(1, (size_t)bytes);
	if (!d->own || !d->dirty || !d->copy)
		return fault_set(f, -ENOMEM, "out of memory for the map of the disk");
	err = load_bits(d, bytes);
	return err ? fault_errno(f, err, "map of the disk") : 0;
}

/* ---- bits; with the lock ---- */

static bool owns(const struct disk *d, uint64_t grain)
{
	return grain >= d->grains || d->own[grain / 8] >> (grain % 8) & 1;
}

static void take(struct disk *d, uint64_t grain, uint64_t n)
{
	for (uint64_t g = grain; g < grain + n && g < d->grains; g++) {
		d->own[g / 8] |= (uint8_t)(1u << (g % 8));
		d->dirty[g / GRAINS_PER_PAGE] |= DIRTY;
		d->any_dirty = true;
	}
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

/* ---- taking grains over ---- */

static bool is_busy(const struct disk *d, uint64_t first, uint64_t end)
{
	for (unsigned i = 0; i < DISK_BUSY_MAX; i++)
		if (d->busy[i].end > first && d->busy[i].first < end)
			return true;
	return false;
}

/* With the lock: these grains, none of them busy, are this thread's alone until hold_done(). NULL: every place is taken. */
static struct disk_range *hold(struct disk *d, uint64_t first, uint64_t end)
{
	for (unsigned i = 0; i < DISK_BUSY_MAX; i++)
		if (!d->busy[i].end) {
			d->busy[i] = (struct disk_range){ first, end };
			return &d->busy[i];
		}
	return NULL;
}

/* Gives them back; taken: so many of them, from the first on, are the top's now. */
static void hold_done(struct disk *d, struct disk_range *r, uint64_t taken)
{
	pthread_mutex_lock(&d->lock);
	if (taken)
		take(d, r->first, taken);
	*r = (struct disk_range){ 0 };
	pthread_cond_broadcast(&d->freed);
	pthread_mutex_unlock(&d->lock);
}

/* Waits until none else takes over any of these grains, and has them then. */
static struct disk_range *hold_all(struct disk *d, uint64_t first, uint64_t end)
{
	struct disk_range *r = NULL;

	pthread_mutex_lock(&d->lock);
	while (is_busy(d, first, end) || !(r = hold(d, first, end)))
		pthread_cond_wait(&d->freed, &d->lock);
	pthread_mutex_unlock(&d->lock);
	return r;
}

static uint64_t iov_bytes(const struct iovec *iov, int n)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

int overlay_source(struct disk *d, struct iovec *iov, int *n, uint64_t at, size_t *bytes)
{
	bool own;
	uint64_t have;

	pthread_mutex_lock(&d->lock);
	have = run(d, at, iov_bytes(iov, *n), &own);
	pthread_mutex_unlock(&d->lock);
	if (!own && at < d->base_bytes && have > d->base_bytes - at)
		have = d->base_bytes - at;
	*bytes = disk_iov_cut(iov, n, have);
	return own ? d->top_fd : at < d->base_bytes ? d->base_fd : -1;
}

/* Copies a grain of the base into the top, so that a part of it can be written. The caller holds the grain. */
static int copy_up(struct disk *d, uint64_t grain)
{
	uint8_t data[GRAIN] = { 0 };
	uint64_t at = grain * GRAIN, there = d->base_bytes - at < GRAIN ? d->base_bytes - at : GRAIN, room;

	for (uint64_t done = 0; done < there;) {
		struct iovec v = { data + done, (size_t)(there - done) };
		ssize_t got = disk_pread(d, d->base_fd, &v, 1, at + done);

		if (got < 0)
			return (int)got;
		done += (uint64_t)got;
	}
	pthread_mutex_lock(&d->lock);
	room = d->bytes - at; /* the disk may end inside the grain, too */
	pthread_mutex_unlock(&d->lock);
	return disk_pwrite_all(d, d->top_fd, data, room < GRAIN ? (size_t)room : GRAIN, at);
}

/* The top owns this grain afterwards. */
static int adopt(struct disk *d, uint64_t grain)
{
	struct disk_range *r = hold_all(d, grain, grain + 1);
	bool own;
	int err = 0;

	pthread_mutex_lock(&d->lock);
	own = owns(d, grain); /* another thread's work while this one waited */
	pthread_mutex_unlock(&d->lock);
	if (!own)
		err = copy_up(d, grain);
	hold_done(d, r, own || err ? 0 : 1);
	return err;
}

/* A part of one grain that was the base's when looked at. */
static ssize_t write_part(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	int err = adopt(d, at / GRAIN);

	if (err)
		return err;
	disk_iov_cut(iov, &n, GRAIN - at % GRAIN);
	return disk_pwrite(d, d->top_fd, iov, n, at);
}

/* Whole grains that are the base's and this thread's: no copy. Of the last one, when it was not finished, nothing counts. */
static ssize_t write_fresh(struct disk *d, struct disk_range *r, struct iovec *iov, int n, uint64_t at)
{
	ssize_t put = disk_pwrite(d, d->top_fd, iov, n, at);

	hold_done(d, r, put < 0 ? 0 : (uint64_t)put / GRAIN);
	if (put >= 0 && put < (ssize_t)GRAIN)
		return write_part(d, iov, n, at);
	return put < 0 ? put : put - put % (ssize_t)GRAIN;
}

ssize_t overlay_writev(struct disk *d, struct iovec *iov, int n, uint64_t at)
{
	uint64_t want = iov_bytes(iov, n), bytes;
	struct disk_range *r = NULL;
	bool own;

	pthread_mutex_lock(&d->lock);
	for (;;) { /* as many turns as others take grains over that this write meets */
		bytes = run(d, at, want, &own);
		if (own || at % GRAIN || bytes < GRAIN)
			break;
		bytes -= bytes % GRAIN;
		if (!is_busy(d, at / GRAIN, (at + bytes) / GRAIN) && (r = hold(d, at / GRAIN, (at + bytes) / GRAIN)))
			break;
		pthread_cond_wait(&d->freed, &d->lock);
	}
	pthread_mutex_unlock(&d->lock);
	if (!own && !r)
		return write_part(d, iov, n, at);
	disk_iov_cut(iov, &n, bytes);
	return r ? write_fresh(d, r, iov, n, at) : disk_pwrite(d, d->top_fd, iov, n, at);
}

/* ---- flush ---- */

/* The bits as they are, of the pages that the map lacks, which count as written from here on. Some? */
static bool copy_dirty(struct disk *d, uint64_t bytes, uint64_t pages)
{
	bool any;

	pthread_mutex_lock(&d->lock);
	any = d->any_dirty;
	for (uint64_t p = 0; any && p < pages; p++)
		if (d->dirty[p]) {
			memcpy(d->copy + p * MAP_PAGE, d->own + p * MAP_PAGE, bytes - p * MAP_PAGE < MAP_PAGE ? bytes - p * MAP_PAGE : MAP_PAGE);
			d->dirty[p] = FLUSHING;
		}
	d->any_dirty = false;
	pthread_mutex_unlock(&d->lock);
	return any;
}

static bool is_flushing(struct disk *d, uint64_t page)
{
	bool flushing;

	pthread_mutex_lock(&d->lock);
	flushing = d->dirty[page] & FLUSHING;
	pthread_mutex_unlock(&d->lock);
	return flushing;
}

static int write_map(struct disk *d, uint64_t bytes, uint64_t pages)
{
	int err = 0;

	for (uint64_t p = 0; p < pages && !err; p++) {
		uint64_t at = p * MAP_PAGE, n = bytes - at < MAP_PAGE ? bytes - at : MAP_PAGE;

		if (is_flushing(d, p))
			err = disk_pwrite_all(d, d->map_fd, d->copy + at, (size_t)n, DISK_MAP_HEAD_BYTES + at);
	}
	return err ? err : d->io->fdatasync(d->map_fd) < 0 ? -errno : 0;
}

/* Pages whose copy is in the map; after an error all stay dirty for the next try. */
static void settle_dirty(struct disk *d, uint64_t pages, bool again)
{
	pthread_mutex_lock(&d->lock);
	for (uint64_t p = 0; p < pages; p++)
		if (d->dirty[p] & FLUSHING)
			d->dirty[p] = again ? DIRTY : d->dirty[p] & DIRTY;
	d->any_dirty |= again;
	pthread_mutex_unlock(&d->lock);
}

/* The copy comes first: a bit set meanwhile speaks of data that this fdatasync may not have seen. */
int overlay_flush(struct disk *d)
{
	uint64_t bytes = disk_map_bytes_of(d->grains), pages = (bytes + MAP_PAGE - 1) / MAP_PAGE;
	bool any;
	int err;

	pthread_mutex_lock(&d->flushing);
	any = copy_dirty(d, bytes, pages);
	err = d->io->fdatasync(d->top_fd) < 0 ? -errno : 0;
	if (any) {
		if (!err)
			err = write_map(d, bytes, pages);
		settle_dirty(d, pages, err != 0);
	}
	pthread_mutex_unlock(&d->flushing);
	return err;
}

/* ---- zeroes ---- */

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
	int err = bytes && at / GRAIN < d->grains ? adopt(d, at / GRAIN) : 0;

	return err ? err : disk_top_zero(d, at, bytes, false);
}

/* Whole grains: the top's afterwards. */
static int zero_body(struct disk *d, uint64_t at, uint64_t bytes, bool unmap)
{
	struct disk_range *r = hold_all(d, at / GRAIN, (at + bytes) / GRAIN);
	int err = disk_top_zero(d, at, bytes, unmap);

	hold_done(d, r, err ? 0 : bytes / GRAIN);
	return err;
}

int overlay_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap)
{
	struct spans s = split(at, bytes);
	int err = zero_part(d, at, s.head);

	if (!err && s.body)
		err = zero_body(d, at + s.head, s.body, unmap);
	return err ? err : zero_part(d, at + s.head + s.body, s.tail);
}

/* Without holes the top would have to be filled to hide the base: then the base may as well stay. */
int overlay_discard(struct disk *d, uint64_t at, uint64_t bytes)
{
	struct spans s = split(at, bytes);
	struct disk_range *r;
	int err;

	at += s.head;
	if (!s.body)
		return 0;
	r = hold_all(d, at / GRAIN, (at + s.body) / GRAIN);
	err = d->io->fallocate(d->top_fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t)at, (off_t)s.body) < 0 ? -errno : 0;
	hold_done(d, r, err ? 0 : s.body / GRAIN);
	return err == -EOPNOTSUPP ? 0 : err;
}
