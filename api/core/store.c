#include "api/core/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int store_folder(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

int store_disk(int dir_fd, const char *id)
{
	AUTO_FD dir = store_folder(dir_fd, id);
	int fd = dir < 0 ? dir : openat(dir, STORE_DISK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return dir >= 0 && fd < 0 ? -errno : fd;
}

uint64_t store_taken_bytes(int dir_fd, const char *id)
{
	AUTO_FD fd = store_disk(dir_fd, id);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

int store_begin(int dir_fd, const char *unfinished)
{
	int fd;

	if (mkdirat(dir_fd, unfinished, 0700))
		return -errno;
	AUTO_FD dir = store_folder(dir_fd, unfinished);
	fd = dir < 0 ? dir : openat(dir, STORE_DISK, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return dir >= 0 && fd < 0 ? -errno : fd;
}

int store_meta_parse(char *text, const char *head, int (*line)(void *arg, const char *key, char *value), void *arg)
{
	char *at = text + strlen(head), *nl;
	int err = strncmp(text, head, strlen(head)) == 0 ? 0 : -EINVAL;

	for (; !err && strcmp(at, STORE_META_END) != 0; at = nl + 1) { /* one that line() refuses is the last */
		char *eq = strchr(at, '=');

		nl = strchr(at, '\n');
		if (!nl || !eq || eq > nl)
			return -EINVAL;
		*nl = *eq = 0;
		err = line(arg, at, eq + 1);
	}
	return err;
}
