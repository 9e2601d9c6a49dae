/* lib/disk over memfds: refusals; then random requests against a model, with power cuts that keep any part of what was not flushed. */
#include "tests/unit/cutdisk.h"
#include "tests/unit/tap.h"

enum { LIVES = 60 };

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
	ok(ftruncate(base, 16384) == 0 && disk_map_seal(map, base, &f) == 0 && disk_open(&d, &(struct disk_files){ dup(odd), dup(base), dup(map) }, NULL, &f) == 0,
	   "a base as it was");
	disk_done(&d);
	ok(futimens(base, (struct timespec[2]){ { 1700000000, 5 }, { 1700000000, 5 } }) == 0 && disk_map_seal(map, base, &f) == 0 &&
	   pwrite_full(base, "x", 1, 0) == 0 && disk_open(&d, &(struct disk_files){ dup(odd), dup(base), dup(map) }, NULL, &f) == -EINVAL &&
	   strstr(f.text, "touch -d @1700000000.000000005"), "a base that was written to: %s", f.text);
	ok(futimens(base, (struct timespec[2]){ { 1700000000, 5 }, { 1700000000, 5 } }) == 0 &&
	   disk_open(&d, &(struct disk_files){ dup(odd), dup(base), dup(map) }, NULL, &f) == 0, "until its date is the old one");
	disk_done(&d);
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
