/* The map of a new overlay. core makes it; no VM's process does. */
#include "lib/disk/disk_priv.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

int disk_map_create(int map_fd, uint64_t base_bytes, struct fault *f)
{
	struct disk_map_head h = { .grain_bytes = DISK_GRAIN_BYTES, .base_bytes = base_bytes };
	int err;

	memcpy(h.magic, DISK_MAP_MAGIC, sizeof(h.magic));
	if (base_bytes == 0 || base_bytes > DISK_BASE_MAX_BYTES || base_bytes % DISK_SECTOR_BYTES)
		return fault_set(f, -EFBIG, "base image of %llu bytes: a multiple of 512 up to 1 TiB can lie under a disk", (unsigned long long)base_bytes);
	err = pwrite_full(map_fd, &h, sizeof(h), 0);
	if (!err && ftruncate(map_fd, (off_t)(DISK_MAP_HEAD_BYTES + disk_map_bytes_of(disk_grains_of(base_bytes)))) < 0)
		err = -errno;
	return err ? fault_errno(f, err, "map of the disk") : 0;
}

int disk_map_seal(int map_fd, int base_fd, struct fault *f)
{
	struct stat st;
	int64_t when;
	int err = fstat(base_fd, &st) < 0 ? -errno : 0;

	when = err ? 0 : disk_written_ns(&st);
	if (!err)
		err = pwrite_full(map_fd, &when, sizeof(when), offsetof(struct disk_map_head, base_written_ns));
	return err ? fault_errno(f, err, "map of the disk") : 0;
}
