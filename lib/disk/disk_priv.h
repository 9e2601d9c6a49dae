/* Shared by disk.c (any disk), overlay.c (what base and map add), make.c (an empty map). */
#ifndef LIB_DISK_DISK_PRIV_H
#define LIB_DISK_DISK_PRIV_H

#include <sys/stat.h>

#include "lib/disk/disk.h"

/* Leaves at most max (≥ 1) bytes in the iovecs; *n becomes smaller. How many are left. */
size_t disk_iov_cut(struct iovec *iov, int *n, uint64_t max);
/* At least one byte, or -errno. */
ssize_t disk_pread(struct disk *d, int fd, struct iovec *iov, int n, uint64_t at);
ssize_t disk_pwrite(struct disk *d, int fd, struct iovec *iov, int n, uint64_t at);
int disk_pwrite_all(struct disk *d, int fd, const void *src, size_t len, uint64_t at);
/* Zeroes in the top alone. */
int disk_top_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap);

/* Little endian, at the start of the map. */
struct disk_map_head {
	char magic[8];
	uint32_t grain_bytes, reserved;
	uint64_t base_bytes;
	int64_t base_written_ns; /* mtime; 0: not known */
};
#define DISK_MAP_MAGIC "micamap1" /* without the NUL */

static inline uint64_t disk_grains_of(uint64_t base_bytes)
{
	return (base_bytes + DISK_GRAIN_BYTES - 1) / DISK_GRAIN_BYTES;
}

static inline uint64_t disk_map_bytes_of(uint64_t grains)
{
	return (grains + 7) / 8;
}

/* When a file was written to last, in ns. Of a device it says nothing. */
static inline int64_t disk_written_ns(const struct stat *st)
{
	return S_ISREG(st->st_mode) ? (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec : 0;
}

int overlay_load(struct disk *d, struct fault *f);
/* What overlay_readv would read from, and cuts the iovecs to what is there: the descriptor, or -1 for zeroes, *bytes of them. */
int overlay_source(struct disk *d, struct iovec *iov, int *n, uint64_t at, size_t *bytes);
ssize_t overlay_writev(struct disk *d, struct iovec *iov, int n, uint64_t at);
int overlay_flush(struct disk *d);
int overlay_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap);
int overlay_discard(struct disk *d, uint64_t at, uint64_t bytes);

#endif
