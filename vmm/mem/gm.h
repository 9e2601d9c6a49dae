/*
 * vmm/mem: guest memory, and the one gate to it. Nobody else keeps a host pointer into it:
 * callers copy in and out, or take iovecs that live for one system call. All addresses are
 * guest-physical (`_gpa`) and hostile; each call checks its whole range once, with checked
 * arithmetic, and answers -EFAULT. What was read is read once (a compiler barrier follows):
 * check the copy, use the copy. Any thread; the map itself never changes while vCPUs run,
 * so there is no lock. Stands on lib/base; knows no KVM and no virtio.
 *
 * Layout: RAM from 0 up to the hole at 3 GiB, the rest from 4 GiB. One memfd holds it all, mapped
 * shared at a 2 MiB boundary; parts of a read-only file may lie over it privately (gm_map_file).
 */
#ifndef VMM_MEM_GM_H
#define VMM_MEM_GM_H

#include <sys/uio.h>
#include "lib/base/base.h"

#define GM_REGIONS_MAX 4u
#define GM_PAGE_BYTES 4096u
#define GM_HOLE_GPA 0xC0000000ull      /* devices live from here … */
#define GM_HOLE_END_GPA 0x100000000ull /* … to here */
#define GM_RAM_MIN_BYTES (1ull << 20)
#define GM_RAM_MAX_BYTES (1ull << 40)

struct gm_region {
	uint64_t gpa;
	uint64_t len_bytes;
	uint8_t *host; /* for vmm/machine's memslots alone */
};
struct gm {
	struct gm_region region[GM_REGIONS_MAX]; /* by address; no two touch */
	unsigned regions;
	uint64_t ram_bytes;
	int memfd;         /* owned; -1 when not initialised */
	uint8_t *map;      /* owned: the address range that was reserved … */
	size_t map_bytes;  /* … and its size, 2 MiB of slack included */
	unsigned iov_live; /* iovecs handed out and not given back (atomic); 0 between requests */
};

/* RAM of ram_bytes (a multiple of 4 KiB, GM_RAM_MIN_BYTES to GM_RAM_MAX_BYTES), all zero, nothing resident yet.
 * memfd_create ftruncate mmap madvise munmap. 0 or -errno; gm_done() may follow in both cases, and on a zeroed struct. */
int gm_init(struct gm *gm, uint64_t ram_bytes, struct fault *f);
void gm_done(struct gm *gm);

/* i < gm->regions, else NULL. */
const struct gm_region *gm_region(const struct gm *gm, unsigned i);
/* true when [gpa, gpa+len) is RAM. Empty ranges are, when gpa is or ends a region. */
bool gm_has(const struct gm *gm, uint64_t gpa, uint64_t len_bytes);

int gm_read(const struct gm *gm, uint64_t gpa, void *dst, size_t len);
int gm_write(struct gm *gm, uint64_t gpa, const void *src, size_t len);
/* Little endian, any alignment. */
int gm_read_u16(const struct gm *gm, uint64_t gpa, uint16_t *out);
int gm_write_u16(struct gm *gm, uint64_t gpa, uint16_t v);
int gm_write_u64(struct gm *gm, uint64_t gpa, uint64_t v);
/* Ring indices: gpa must be even (-EFAULT). Load: nothing later is read before it. Store: all earlier writes are seen first. */
int gm_load_acquire_u16(const struct gm *gm, uint64_t gpa, uint16_t *out);
int gm_store_release_u16(struct gm *gm, uint64_t gpa, uint16_t v);

/* One buffer as an iovec, for one system call: gm_iov_put() with the number taken when it has returned. len ≥ 1. */
int gm_iov(struct gm *gm, uint64_t gpa, size_t len, struct iovec *out);
void gm_iov_put(struct gm *gm, unsigned n);

/* Lays bytes [off, off+len) of a file over RAM at gpa, privately: reads come from the page cache, shared by all VMs, writes
 * make a copy of a page. gpa, off and len are multiples of 4 KiB (-EINVAL); the range must lie in one region (-EFAULT) and
 * within the file, whose size the caller has asked for once, whatever it maps of it (-EINVAL). Before vCPUs run. fd is borrowed and may be closed afterwards; whoever can truncate the file
 * can kill the VM (SIGBUS), so it should be sealed or ours. mmap. */
int gm_map_file(struct gm *gm, uint64_t gpa, int fd, uint64_t file_bytes, uint64_t off, uint64_t len_bytes, struct fault *f);

#endif
