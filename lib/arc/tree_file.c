#include "lib/arc/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void tree_file_init(struct tree_file *t)
{
	t->fd = -1;
	t->dir_fd = -1;
	t->temp[0] = '\0';
}

int tree_file_open(struct tree_file *t, int dir_fd)
{
	uint8_t salt[8];
	char hex[2 * sizeof salt + 1];
	int rc = random_fill(salt, sizeof salt);
	if (rc < 0)
		return rc;
	hex_encode(salt, sizeof salt, hex);
	snprintf(t->temp, sizeof t->temp, ".mica-%s.part", hex);
	t->fd = openat(dir_fd, t->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (t->fd < 0) {
		rc = -errno;
		t->temp[0] = '\0';
		return rc;
	}
	t->dir_fd = dir_fd;
	return 0;
}

int tree_file_commit(struct tree_file *t, const char *name, mode_t mode, const struct timespec *mtime)
{
	int rc = 0;
	if (fchmod(t->fd, mode & 0777) < 0)
		rc = -errno;
	if (rc == 0 && mtime) {
		struct timespec both[2] = {{.tv_nsec = UTIME_NOW}, *mtime};
		if (futimens(t->fd, both) < 0)
			rc = -errno;
	}
	/* close() is where some file systems report that the bytes did not fit. */
	if (close(t->fd) < 0 && rc == 0)
		rc = -errno;
	t->fd = -1;
	if (rc == 0 && renameat(t->dir_fd, t->temp, t->dir_fd, name) < 0)
		rc = -errno;
	if (rc == 0)
		t->temp[0] = '\0';
	else
		tree_file_drop(t);
	return rc;
}

void tree_file_drop(struct tree_file *t)
{
	fd_close(&t->fd);
	if (t->temp[0])
		unlinkat(t->dir_fd, t->temp, 0);
	t->temp[0] = '\0';
}
