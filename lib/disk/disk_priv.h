/* Shared by disk.c (any disk) and overlay.c (what base and map add). */
#ifndef LIB_DISK_DISK_PRIV_H
#define LIB_DISK_DISK_PRIV_H

#include "lib/disk/disk.h"

/* Leaves at most max (≥ 1) bytes in the iovecs; *n becomes smaller. How many are left. */
size_t disk_iov_cut(struct iovec *iov, int *n, uint64_t max);
/* At least one byte, or -errno. */
ssize_t disk_pread(struct disk *d, int fd, struct iovec *iov, int n, uint64_t at);
ssize_t disk_pwrite(struct disk *d, int fd, struct iovec *iov, int n, uint64_t at);
int disk_pwrite_all(struct disk *d, int fd, const void *src, size_t len, uint64_t at);
/* Zeroes in the top alone. */
int disk_top_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap);

int overlay_load(struct disk *d, struct fault *f);
/* What overlay_readv would read from, and cuts the iovecs to what is there: the descriptor, or -1 for zeroes, *bytes of them. */
int overlay_source(struct disk *d, struct iovec *iov, int *n, uint64_t at, size_t *bytes);
ssize_t overlay_writev(struct disk *d, struct iovec *iov, int n, uint64_t at);
int overlay_flush(struct disk *d);
int overlay_zero(struct disk *d, uint64_t at, uint64_t bytes, bool unmap);
int overlay_discard(struct disk *d, uint64_t at, uint64_t bytes);

#endif
