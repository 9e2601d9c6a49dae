/* lib/disk over memfds: refusals; then random requests against a model, with power cuts that keep any part of what was not flushed. */
#include "lib/disk/disk.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, BASE_SECTORS = 8 * 37 + 3, DISK_SECTORS = 8 * 64, STEPS = 400, LIVES = 60, TOP = 0, MAP = 1 };

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
static bool no_holes, dead; /* dead: the power went in the middle of a flush */

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

static ssize_t fake_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	struct iovec v = iov[0];

	if (rand() % 4 == 0 && v.iov_len > SECTOR)
		v.iov_len -= SECTOR; /* short */
	(void)n;
	remember(fd, v.iov_base, (uint64_t)at, v.iov_len);
	return pwritev(fd, &v, 1, at);
}

static ssize_t fake_preadv(int fd, const struct iovec *iov, int n, off_t at)
{
	return preadv(fd, iov, n, at);
}

static int fake_fdatasync(int fd)
{
	if (dead || rand() % 12 == 0) {
		dead = true;
		errno = EIO;
		return -1;
	}
	settle(which(fd));
	return 0;
}

static int fake_fallocate(int fd, int mode, off_t at, off_t len)
{
	if (no_holes || mode & FALLOC_FL_ZERO_RANGE) { /* memfds know no ZERO_RANGE */
		errno = EOPNOTSUPP;
		return -1;
	}
	remember(fd, NULL, (uint64_t)at, (uint64_t)len);
	return fallocate(fd, mode, at, len);
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

static bool write_some(uint32_t sector, uint32_t n, uint32_t value)
{
	uint8_t *data = malloc(n * SECTOR);
	bool good = true;

	for (uint32_t i = 0; i < n; i++) {
		stamp(data + i * SECTOR, sector + i, value);
		wrote(sector + i, value);
	}
	for (uint64_t at = 0; good && at < n * SECTOR;) {
		struct iovec v = { data + at, (size_t)(n * SECTOR - at) };
		ssize_t put = disk_writev(&d, &v, 1, (uint64_t)sector * SECTOR + at);

		good = put > 0;
		at += good ? (uint64_t)put : 0;
	}
	free(data);
	return good;
}

static bool discard_some(uint32_t sector, uint32_t n)
{
	static uint8_t all[DISK_SECTORS * SECTOR];

	if (disk_discard(&d, (uint64_t)sector * SECTOR, (uint64_t)n * SECTOR) || !read_all(all))
		return false;
	for (uint32_t i = sector; i < sector + n; i++) {
		bool zero = holds(all + i * SECTOR, i, 0);

		if (!zero && !holds(all + i * SECTOR, i, model[i].now))
			return false;
		if (zero)
			wrote(i, 0);
	}
	return true;
}

static bool step(uint32_t value)
{
	uint32_t sector = (uint32_t)rand() % DISK_SECTORS, n = 1 + (uint32_t)rand() % (rand() % 3 ? 8 : 80);

	if (n > DISK_SECTORS - sector)
		n = DISK_SECTORS - sector;
	switch (rand() % 8) {
	case 0:
		if (disk_flush(&d))
			return false;
		for (unsigned i = 0; i < DISK_SECTORS; i++) {
			model[i].safe = model[i].now;
			model[i].n_since = 0;
		}
		return true;
	case 1:
		for (uint32_t i = sector; i < sector + n; i++)
			wrote(i, 0);
		return disk_zero(&d, (uint64_t)sector * SECTOR, (uint64_t)n * SECTOR, rand() % 2) == 0;
	case 2:
		return discard_some(sector, n);
	default:
		return write_some(sector, n, value);
	}
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

static void test_refusals(void)
{
	struct fault f = { "" };
	int odd = memfd_new("odd"), map = memfd_new("map"), base = memfd_new("base"), pipes[2];

	ok(ftruncate(odd, 700) == 0 && disk_open(&d, &(struct disk_files){ dup(odd), -1, -1 }, NULL, &f) == -EINVAL &&
	   strstr(f.text, "not a multiple of 512"), "odd size: %s", f.text);
	ok(pipe(pipes) == 0 && disk_open(&d, &(struct disk_files){ pipes[0], -1, -1 }, NULL, &f) == -EINVAL, "a pipe: %s", f.text);
	ok(disk_map_create(map, 0, &f) == -EFBIG && disk_map_create(map, DISK_BASE_MAX_BYTES + 512, &f) == -EFBIG, "%s", f.text);
	ok(ftruncate(odd, 8192) == 0 && ftruncate(base, 16384) == 0, "sizes");
	ok(disk_open(&d, &(struct disk_files){ dup(odd), dup(base), -1 }, NULL, &f) == -EINVAL, "a base without map: %s", f.text);
	ok(disk_open(&d, &(struct disk_files){ dup(odd), dup(base), dup(map) }, NULL, &f) == -EINVAL && strstr(f.text, "only 8192"), "%s", f.text);
	ok(ftruncate(odd, 65536) == 0 && disk_open(&d, &(struct disk_files){ dup(odd), dup(base), dup(map) }, NULL, &f) == -EINVAL &&
	   strstr(f.text, "map of the disk is broken"), "an empty map: %s", f.text);
	ok(disk_map_create(map, 16384, &f) == 0 && ftruncate(base, 20480) == 0 &&
	   disk_open(&d, &(struct disk_files){ dup(odd), dup(base), dup(map) }, NULL, &f) == -EINVAL && strstr(f.text, "had 16384"), "another base: %s", f.text);
	ok(ftruncate(base, 16384) == 0 && ftruncate(map, DISK_MAP_HEAD_BYTES) == 0 &&
	   disk_open(&d, &(struct disk_files){ dup(odd), dup(base), dup(map) }, NULL, &f) == -EINVAL && strstr(f.text, "cut short"), "%s", f.text);
	ok(disk_open(&d, &(struct disk_files){ dup(odd), -1, -1 }, NULL, &f) == 0 && d.bytes == 65536, "a raw file");
	ok(ftruncate(odd, 131072) == 0 && disk_measure(&d, &f) == 0 && d.bytes == 131072, "grows");
	disk_done(&d);
	close(pipes[1]);
	close(odd);
	close(map);
	close(base);
}

static void test_space(void)
{
	struct stat st;
	uint8_t *data = calloc(1, 65536);
	struct iovec v = { data, 65536 };

	memset(data, 'x', 65536);
	ok(fstat(files[TOP].fd, &st) == 0 && st.st_blocks == 0, "a new disk takes no space");
	ok(disk_writev(&d, &v, 1, 0) >= DISK_GRAIN_BYTES && fstat(files[TOP].fd, &st) == 0 && st.st_blocks > 0, "what is written does");
	ok(disk_discard(&d, 0, 65536) == 0 && fstat(files[TOP].fd, &st) == 0 && st.st_blocks == 0, "and what is discarded does not");
	free(data);
}

int main(void)
{
	struct fault f = { "" };
	unsigned wrong = 0, broken = 0, lost = 0;

	srand(20261121);
	test_refusals();
	new_files(&f);
	ok(reopen(&f) == 0 && wrong_now() == 0, "a new overlay reads as its base, then zeroes %s", f.text);
	for (uint32_t life = 0, value = 2; life < LIVES; life++) {
		no_holes = life % 3 == 2;
		for (int i = rand() % STEPS / 4; i >= 0 && !dead; i--, value++) {
			broken += !step(value) && !dead;
			wrong += i % 8 == 0 ? wrong_now() : 0;
		}
		power_cut(&f);
		lost += wrong_after_cut();
	}
	ok(broken == 0, "%u requests failed", broken);
	ok(wrong == 0, "%u sectors read other than written", wrong);
	ok(lost == 0, "%u sectors neither old nor new after %d power cuts", lost, LIVES);
	disk_done(&d);
	new_files(&f);
	no_holes = false;
	ok(reopen(&f) == 0, "again");
	test_space();
	disk_done(&d);
	return tap_done();
}
