/*
 * Packed bytes, unpacked as they come: gzip (RFC 1952 over RFC 1951), and Zstandard (RFC 8878). Written for rootfs/unpack, whose archives are hostile: every
 * length is checked where it is read, memory is fixed (gzip 500 KiB) or bounded (zstd: the window it may have), checksums are verified, and what is
 * not understood is refused with a sentence. No state outlives a call. Lib/arc's room card: tar.h.
 */
#ifndef LIB_ARC_PACKED_H
#define LIB_ARC_PACKED_H

#include "lib/base/base.h"

struct packed_io {
	ssize_t (*read)(void *arg, void *p, size_t n, struct fault *f);    /* 1 to n bytes (n ≥ 1), 0 at the end, or -errno */
	int (*write)(void *arg, const void *p, size_t n, struct fault *f); /* takes all n ≥ 1; -errno ends the unpacking */
	void *arg;                                                         /* of both; borrowed */
};
/* Several members may follow each other, zeroes after the last (padding of a tape or a disk). 0; -EPROTO broken or cut short, with f; what read or write
 * returned. Bytes that were written before a broken place was met stay written. */
int gzip_unpack(const struct packed_io *io, struct fault *f);
/* Frames may follow each other, also ones to be skipped; none needs a dictionary or a larger window (twice that much memory is taken, as it is used). As gzip_unpack;
 * -EOPNOTSUPP for those two. */
int zstd_unpack(const struct packed_io *io, uint64_t window_max, struct fault *f);

#endif
