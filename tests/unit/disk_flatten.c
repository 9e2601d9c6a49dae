/* lib/disk: what a disk holds as one sparse file: random overlays and raw files against what reading them says. */
#include "lib/disk/disk.h"
#include "tests/unit/tap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GRAIN = DISK_GRAIN_BYTES, DISKS = 60, GRAINS_MAX = 300 };

static int some_file(size_t bytes)
{
	int fd = memfd_new("disk");

	if (ftruncate(fd, (off_t)bytes))
		abort();
	return fd;
}

/* Some grains of random bytes, some of zeros that are written; the rest are holes. */
static void sprinkle(struct disk *d, int raw_fd, size_t bytes)
{
	for (int i = rand() % 40; i > 0; i--) {
		static uint8_t data[3 * GRAIN];
		size_t at = (size_t)rand() % (bytes / 512) * 512, n = 512 * (1 + (size_t)rand() % (sizeof(data) / 512));

		n = n < bytes - at ? n : bytes - at;
		memset(data, rand() % 3 ? 1 + rand() % 255 : 0, n);
		for (size_t done = 0; d && done < n;) {
			struct iovec v = { data + done, n - done };
			ssize_t put = disk_writev(d, &v, 1, at + done);

			if (put <= 0)
				abort();
			done += (size_t)put;
		}
		if (!d && pwrite_full(raw_fd, data, n, at))
			abort();
	}
}

static void all_of(struct disk *d, uint8_t *out)
{
	for (size_t done = 0; done < d->bytes;) {
		struct iovec v = { out + done, d->bytes - done };
		ssize_t got = disk_readv(d, &v, 1, done);

		if (got <= 0)
			abort();
		done += (size_t)got;
	}
}

static bool one(bool overlay)
{
	static uint8_t want[(GRAINS_MAX + 100) * GRAIN], have[sizeof(want)];
	size_t base_bytes = 512 + (size_t)rand() % (GRAINS_MAX * GRAIN / 512) * 512, bytes = base_bytes + (size_t)rand() % 200 * 512;
	struct disk_files files = { some_file(bytes), -1, -1 };
	struct fault f = { "" };
	struct stat top, flat;
	struct disk d;
	int to = memfd_new("flat");
	bool good;

	if (overlay) {
		files.base_fd = some_file(base_bytes);
		files.map_fd = memfd_new("map");
		sprinkle(NULL, files.base_fd, base_bytes);
		if (disk_map_create(files.map_fd, base_bytes, &f))
			return false;
	}
	if (disk_open(&d, &files, NULL, &f))
		return false;
	sprinkle(&d, -1, bytes);
	if (overlay && rand() % 2)
		disk_discard(&d, 0, bytes / 3 / GRAIN * GRAIN);
	all_of(&d, want);
	good = disk_flatten(&d, to) == 0 && fstat(to, &flat) == 0 && fstat(d.top_fd, &top) == 0 && (size_t)flat.st_size == bytes &&
	       pread_full(to, have, bytes, 0) == (ssize_t)bytes && memcmp(want, have, bytes) == 0;
	if (!overlay)
		good &= flat.st_blocks <= top.st_blocks;
	disk_done(&d);
	close(to);
	return good;
}

int main(void)
{
	unsigned wrong[2] = { 0, 0 };

	srand(20261122);
	for (int i = 0; i < DISKS; i++)
		wrong[i % 2] += !one(i % 2);
	ok(wrong[0] == 0, "%u raw disks came out otherwise, or larger", wrong[0]);
	ok(wrong[1] == 0, "%u overlays came out otherwise", wrong[1]);
	return tap_done();
}
