/* An overlay's map file as any bytes, over a base and a top of fixed sizes: refused with a sentence, or a disk that reads, takes writes, flushes. */
#include "lib/disk/disk.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BASE_BYTES (64u * DISK_GRAIN_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file_of(uint64_t bytes)
{
	int fd = memfd_new("disk");

	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[3 * DISK_GRAIN_BYTES];
	struct disk_files files = { file_of(BASE_BYTES + DISK_GRAIN_BYTES), file_of(BASE_BYTES), memfd_new("map") };
	struct fault f = { "" };
	struct disk d;

	/* A good head with the input's bits, or the input alone. */
	if (size && data[0] & 1) {
		if (disk_map_create(files.map_fd, BASE_BYTES, NULL) || (size > 1 && pwrite(files.map_fd, data + 1, size - 1, DISK_MAP_HEAD_BYTES) < 0))
			abort();
		if (ftruncate(files.map_fd, DISK_MAP_HEAD_BYTES + 8))
			abort();
	} else if (size > 1 && pwrite(files.map_fd, data + 1, size - 1, 0) < 0) {
		abort();
	}
	if (disk_open(&d, &files, NULL, &f)) {
		if (!f.text[0])
			abort();
		return 0;
	}
	for (uint64_t at = 0; at < d.bytes; at += 4 * DISK_GRAIN_BYTES) {
		struct iovec iov = { bytes, at + sizeof(bytes) <= d.bytes ? sizeof(bytes) : d.bytes - at };

		if (disk_readv(&d, &iov, 1, at) <= 0)
			abort();
		iov = (struct iovec){ bytes, DISK_SECTOR_BYTES };
		if (disk_writev(&d, &iov, 1, at) <= 0)
			abort();
	}
	if (disk_flush(&d))
		abort();
	disk_done(&d);
	return 0;
}
