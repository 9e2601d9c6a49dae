/* Paths inside the target, and removing trees there. */
#include "rootfs/unpack/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEPTH_MAX = 512 };

int open_in_root(int root_fd, const char *path, int flags, mode_t mode)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC), .mode = mode, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int make_in_root(int root_fd, const char *path, mode_t mode)
{
	const char *slash = strrchr(path, '/');
	char dir[TAR_NAME_MAX] = ".";

	if (strlen(path) >= sizeof(dir))
		return -ENAMETOOLONG;
	if (slash) {
		memcpy(dir, path, (size_t)(slash - path));
		dir[slash - path] = '\0';
	}
	AUTO_FD fd = open_in_root(root_fd, dir, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	return mkdirat(fd, slash ? slash + 1 : path, mode) < 0 ? -errno : 0;
}

static int remove_at(int dir_fd, const char *name, unsigned depth);

static int empty(int fd, unsigned depth)
{
	DIR *d = fdopendir(fd); /* takes fd */
	struct dirent *e;
	int err = 0;

	if (!d) {
		close(fd);
		return -errno;
	}
	while (!err && (errno = 0, e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			err = remove_at(dirfd(d), e->d_name, depth + 1);
	if (!err && errno)
		err = -errno;
	closedir(d);
	return err;
}

static int remove_at(int dir_fd, const char *name, unsigned depth)
{
	int fd, err;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth > DEPTH_MAX)
		return -ELOOP;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = empty(fd, depth);
	return err ? err : unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int remove_tree(int dir_fd, const char *name)
{
	return remove_at(dir_fd, name, 0);
}

int remove_children(int fd)
{
	return empty(fd, 0);
}
