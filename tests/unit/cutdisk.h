/*
 * A disk of lib/disk over memfds whose power can be cut: writes are remembered until an fdatasync of their file, and a cut keeps any sectors of what was not
 * synced. Beside it a model of what each sector may hold. For tests with one thread and with several: the files have a lock, the model has none
 * (a sector has one writer at a time).
 */
#ifndef TESTS_UNIT_CUTDISK_H
#define TESTS_UNIT_CUTDISK_H

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/disk/disk.h"

enum { SECTOR = 512, BASE_SECTORS = 8 * 37 + 3, DISK_SECTORS = 8 * 64, STEPS = 400, TOP = 0, MAP = 1 };

/* ---- files whose unsynced writes are remembered ---- */

struct put {
	struct put *next; /* in order */
	int file;
	uint64_t at, len;
	uint8_t *data; /* owned; NULL: zeroes */
};
static struct file {
	int fd;       /* what is read now */
	int safe_fd;  /* what a cut leaves */
} files[2];
static struct put *first, **last = &first;
static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER; /* covers files, the list and what stands in them */
static _Atomic bool no_holes, dead; /* dead: the power went in the middle of a flush */
static void (*meanwhile)(void); /* other threads get their chance; NULL: there are none */

static int which(int fd)
{
	return fd == files[TOP].fd ? TOP : MAP;
}

static void remember(int fd, const void *data, uint64_t at, uint64_t len)
{
	struct put *p;

	if (dead)
		return;
	p = calloc(1, sizeof(*p));
	*p = (struct put){ .file = which(fd), .at = at, .len = len, .data = data ? malloc(len) : NULL };
	if (data)
		memcpy(p->data, data, len);
	*last = p;
	last = &p->next;
}

static void apply(const struct put *p, uint64_t from, uint64_t len)
{
	static const uint8_t zero[SECTOR];

	for (uint64_t i = 0; i < len; i += SECTOR) {
		uint64_t n = len - i < SECTOR ? len - i : SECTOR;

		if (pwrite_full(files[p->file].safe_fd, p->data ? p->data + from + i : zero, n, p->at + from + i))
			abort();
	}
}

/* Makes what was written to a file safe (file >= 0), or, when the power goes, any sectors of anything. */
static void settle(int file)
{
	struct put **at = &first, *p;

	while ((p = *at)) {
		if (file >= 0 && p->file != file) {
			at = &p->next;
			continue;
		}
		for (uint64_t i = 0; i < p->len;) { /* by sectors of the device */
			uint64_t n = SECTOR - (p->at + i) % SECTOR;

			n = n < p->len - i ? n : p->len - i;
			if (file >= 0 || rand() % 2)
				apply(p, i, n);
			i += n;
		}
		*at = p->next;
		free(p->data);
		free(p);
	}
	last = at;
}

static void files_enter(void)
{
	if (meanwhile)
		meanwhile();
	pthread_mutex_lock(&files_lock);
}

static void files_leave(void)
{
	pthread_mutex_unlock(&files_lock);
	if (meanwhile)
		meanwhile();
}

static ssize_t fake_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	struct iovec v = iov[0];
	ssize_t put;

	if (rand() % 4 == 0 && v.iov_len > SECTOR)
		v.iov_len -= SECTOR; /* short */
	(void)n;
	files_enter();
	remember(fd, v.iov_base, (uint64_t)at, v.iov_len);
	put = pwritev(fd, &v, 1, at);
	files_leave();
	return put;
}

static ssize_t fake_preadv(int fd, const struct iovec *iov, int n, off_t at)
{
	ssize_t got;

	files_enter();
	got = preadv(fd, iov, n, at);
	files_leave();
	return got;
}

static int fake_fdatasync(int fd)
{
	if (dead || rand() % 12 == 0) {
		dead = true;
		errno = EIO;
		return -1;
	}
	files_enter();
	settle(which(fd));
	files_leave();
	return 0;
}

static int fake_fallocate(int fd, int mode, off_t at, off_t len)
{
	int err;

	if (no_holes || mode & FALLOC_FL_ZERO_RANGE) { /* memfds know no ZERO_RANGE */
		errno = EOPNOTSUPP;
		return -1;
	}
	files_enter();
	remember(fd, NULL, (uint64_t)at, (uint64_t)len);
	err = fallocate(fd, mode, at, len);
	files_leave();
	return err;
}

static const struct disk_io fake = { fake_preadv, fake_pwritev, fake_fdatasync, fake_fallocate };

/* ---- the model: which value each sector may have ---- */

struct sector {
	uint32_t now;      /* 0: zeroes */
	uint32_t safe;     /* as of the last flush */
	uint32_t since[STEPS];
	unsigned n_since;
};
static struct sector model[DISK_SECTORS];
static int base_fd;
static struct disk d;

static void stamp(uint8_t *p, uint32_t sector, uint32_t value)
{
	uint32_t v[SECTOR / 4];

	for (unsigned i = 0; i < SECTOR / 4; i++)
		v[i] = value ? value * 2654435761u ^ sector ^ i : 0;
	memcpy(p, v, SECTOR);
}

static bool holds(const uint8_t *p, uint32_t sector, uint32_t value)
{
	uint8_t want[SECTOR];

	stamp(want, sector, value);
	return memcmp(p, want, SECTOR) == 0;
}

static bool read_all(uint8_t *out)
{
	for (uint64_t at = 0, len = DISK_SECTORS * SECTOR; at < len;) {
		struct iovec v[2] = { { out + at, SECTOR }, { out + at + SECTOR, (size_t)(len - at - SECTOR) } };
		ssize_t got = disk_readv(&d, v, 2, at);

		if (got <= 0)
			return false;
		at += (uint64_t)got;
	}
	return true;
}

static void wrote(uint32_t sector, uint32_t value)
{
	model[sector].now = value;
	model[sector].since[model[sector].n_since++] = value;
}

static unsigned wrong_now(void)
{
	static uint8_t all[DISK_SECTORS * SECTOR];
	unsigned wrong = read_all(all) ? 0 : DISK_SECTORS;

	for (uint32_t i = 0; i < DISK_SECTORS && wrong < DISK_SECTORS; i++)
		wrong += !holds(all + i * SECTOR, i, model[i].now);
	return wrong;
}

/* What stands there after a cut becomes the model's truth. */
static unsigned wrong_after_cut(void)
{
	static uint8_t all[DISK_SECTORS * SECTOR];
	unsigned wrong = read_all(all) ? 0 : DISK_SECTORS;

	for (uint32_t i = 0; i < DISK_SECTORS; i++) {
		struct sector *s = &model[i];
		bool good = holds(all + i * SECTOR, i, s->now = s->safe);

		for (unsigned j = 0; !good && j < s->n_since; j++)
			good = holds(all + i * SECTOR, i, s->now = s->since[j]);
		wrong += !good;
		s->safe = s->now;
		s->n_since = 0;
	}
	return wrong;
}

static int copy_of(int fd)
{
	struct stat st;
	int to = memfd_new("copy");
	uint8_t *p;

	if (fstat(fd, &st))
		abort();
	p = malloc((size_t)st.st_size);
	if (ftruncate(to, st.st_size) || pread_full(fd, p, (size_t)st.st_size, 0) != st.st_size || pwrite_full(to, p, (size_t)st.st_size, 0))
		abort();
	free(p);
	return to;
}

static int reopen(struct fault *f)
{
	struct disk_files df = { dup(files[TOP].fd), dup(base_fd), dup(files[MAP].fd) };
	int err = disk_open(&d, &df, &fake, f);

	for (int i = 0; i < 2 && !err; i++) /* the disk's numbers are what the fakes see */
		close(files[i].fd);
	files[TOP].fd = d.top_fd;
	files[MAP].fd = d.map_fd;
	return err;
}

static void power_cut(struct fault *f)
{
	settle(-1);
	dead = false;
	disk_done(&d);
	for (int i = 0; i < 2; i++)
		files[i].fd = copy_of(files[i].safe_fd);
	if (reopen(f))
		abort();
}

static void new_files(struct fault *f)
{
	uint8_t data[SECTOR];

	base_fd = memfd_new("base");
	files[TOP] = (struct file){ memfd_new("top"), -1 };
	files[MAP] = (struct file){ memfd_new("map"), -1 };
	for (uint32_t i = 0; i < DISK_SECTORS; i++)
		model[i].safe = model[i].now = i < BASE_SECTORS ? 1 : 0;
	for (uint32_t i = 0; i < BASE_SECTORS; i++) {
		stamp(data, i, 1);
		if (pwrite_full(base_fd, data, SECTOR, (uint64_t)i * SECTOR))
			abort();
	}
	if (ftruncate(files[TOP].fd, DISK_SECTORS * SECTOR) || disk_map_create(files[MAP].fd, BASE_SECTORS * SECTOR, f))
		abort();
	for (int i = 0; i < 2; i++)
		files[i].safe_fd = copy_of(files[i].fd);
}

#endif
