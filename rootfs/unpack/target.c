/* The disk that becomes an image: its size, and what of it need not be kept. */
#include "rootfs/unpack/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t) /* linux/fs/ext4/ext4.h: new size in blocks */
#define EXT4_MAGIC 0xEF53
#define EXT4_ROOT_INO 2 /* of its top folder: a folder inside a file system of others is not ours to grow or trim */

int target_grow(int root_fd, struct fault *f)
{
	struct statfs fs;
	struct stat st;
	char path[64], *text;
	uint64_t sectors, blocks;
	int err;

	if (fstatfs(root_fd, &fs) < 0 || fstat(root_fd, &st) < 0)
		return fault_errno(f, -errno, "the target");
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/size", major(st.st_dev), minor(st.st_dev));
	if (fs.f_type != EXT4_MAGIC || st.st_ino != EXT4_ROOT_INO || fs.f_bsize <= 0 || read_file_at(AT_FDCWD, path, 64, &text, NULL))
		return 0;
	text[strcspn(text, "\n")] = '\0';
	err = parse_u64(text, UINT64_MAX / 512, &sectors);
	free(text);
	if (err)
		return fault_errno(f, err, path);
	blocks = sectors * 512 / (uint64_t)fs.f_bsize;
	if (blocks > (uint64_t)fs.f_blocks && ioctl(root_fd, EXT4_IOC_RESIZE_FS, &blocks) < 0)
		return fault_errno(f, -errno, "the new disk's file system cannot be grown");
	return 0;
}

struct spreading {
	int fd; /* borrowed */
	uint64_t at;
};

static int spread(void *arg, const void *p, size_t n, struct fault *f)
{
	static const uint8_t zero[4096];
	struct spreading *s = arg;
	const uint8_t *from = p;

	while (n) { /* each turn takes a byte at least */
		size_t part = sizeof(zero) - s->at % sizeof(zero);
		int err = 0;

		part = part < n ? part : n;
		if (memcmp(from, zero, part) != 0)
			err = pwrite_full(s->fd, from, part, s->at);
		if (err)
			return fault_errno(f, err, "the new disk");
		from += part;
		s->at += part;
		n -= part;
	}
	return 0;
}

int target_spread(const struct range *from, int disk_fd, struct fault *f)
{
	struct spreading s = { .fd = disk_fd };

	return stream_run(from, spread, &s, NULL, f);
}

void target_trim(int root_fd)
{
	struct fstrim_range all = { .len = UINT64_MAX };
	struct stat st;

	if (fstat(root_fd, &st) == 0 && st.st_ino == EXT4_ROOT_INO)
		(void)ioctl(root_fd, FITRIM, &all);
}
