/* What a VM's disk files take on this host, and their length. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/disks.h"

#define EXTENTS 128u
#define ROUNDS_MAX 64u /* a disk in more pieces than that: what is behind counts as its own */

/* Bytes of the file that lie in extents which others have, too; 0 where the file system has no such thing. */
static uint64_t shared_extents(int fd)
{
	static union {
		struct fiemap head; /* its extents follow it */
		uint8_t room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
	} x; /* core is one thread */
	const struct fiemap_extent *at = x.head.fm_extents;
	uint64_t sum = 0, next = 0;

	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		memset(&x.head, 0, sizeof(x.head));
		x.head.fm_start = next;
		x.head.fm_length = FIEMAP_MAX_OFFSET - next;
		x.head.fm_extent_count = EXTENTS;
		if (ioctl(fd, FS_IOC_FIEMAP, &x) || !x.head.fm_mapped_extents || x.head.fm_mapped_extents > EXTENTS)
			break;
		for (unsigned i = 0; i < x.head.fm_mapped_extents; i++)
			if (at[i].fe_flags & FIEMAP_EXTENT_SHARED)
				sum += at[i].fe_length;
		next = at[x.head.fm_mapped_extents - 1].fe_logical + at[x.head.fm_mapped_extents - 1].fe_length;
		if (at[x.head.fm_mapped_extents - 1].fe_flags & FIEMAP_EXTENT_LAST)
			break;
	}
	return sum;
}

static uint64_t file_bytes(const struct vm *vm, const char *name)
{
	struct stat st;

	return fstatat(vm->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) ? 0 : (uint64_t)st.st_blocks * 512;
}

struct disk_use disk_use(const struct vm *vm)
{
	struct disk_use u = { 0, 0 };
	uint64_t root, map = file_bytes(vm, "disk.map");
	AUTO_FD fd = openat(vm->dir_fd, "disk.img", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	char name[24];
	struct stat st;

	root = fd < 0 || fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
	if (fd >= 0)
		u.shared_bytes = shared_extents(fd);
	if (u.shared_bytes > root)
		u.shared_bytes = root;
	u.own_bytes = root - u.shared_bytes + map;
	if (map || !faccessat(vm->dir_fd, "disk.map", F_OK, 0)) {
		AUTO_FD base = vm_base_fd(vm);
		u.shared_bytes += base < 0 || fstat(base, &st) ? 0 : (uint64_t)st.st_blocks * 512;
	}
	for (unsigned i = 1; i < VMM_DISKS_MAX; i++) {
		snprintf(name, sizeof(name), "disk%u.img", i);
		u.own_bytes += file_bytes(vm, name);
	}
	return u;
}

int disk_fit(const struct vm *vm, int disk_fd)
{
	struct stat st;

	if (fstat(disk_fd, &st))
		return -errno;
	return (uint64_t)st.st_size < vm->r.disk_bytes && ftruncate(disk_fd, (off_t)vm->r.disk_bytes) ? -errno : 0;
}
