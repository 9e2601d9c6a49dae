#include "cli/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 256

static int remove_level(int dirfd, const char *name, int depth)
{
	if (!unlinkat(dirfd, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (!unlinkat(dirfd, name, AT_REMOVEDIR))
		return 0;
	if (depth == DEPTH_MAX)
		return -ELOOP;
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d) {
		int err = -errno;
		fd_close(&fd);
		return err;
	}
	int err = 0;
	struct dirent *e;
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		int one = remove_level(fd, e->d_name, depth + 1);
		err = err ? err : one;
	}
	closedir(d);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) && errno != ENOENT && !err)
		err = -errno;
	return err;
}

int remove_tree(int dirfd, const char *name)
{
	return remove_level(dirfd, name, 0);
}

int split_path(const char *path, char *folder, size_t cap, const char **name, char *name_mem)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	size_t at = n;
	while (at > 0 && path[at - 1] != '/')
		at--;
	if (at == n || n - at > NAME_MAX || at + 2 > cap)
		return -EINVAL;
	memcpy(name_mem, path + at, n - at);
	name_mem[n - at] = 0;
	*name = name_mem;
	size_t f = at;
	while (f > 1 && path[f - 1] == '/')
		f--;
	if (!f) {
		folder[0] = '.';
		f = 1;
	} else {
		memcpy(folder, path, f);
	}
	folder[f] = 0;
	return 0;
}

int make_folders(const char *path, mode_t mode)
{
	char p[PATH_MAX];
	size_t n = strlen(path);
	if (n >= sizeof(p))
		return -ENAMETOOLONG;
	memcpy(p, path, n + 1);
	for (size_t i = 1; i <= n; i++) {
		if (p[i] && p[i] != '/')
			continue;
		char c = p[i];
		p[i] = 0;
		if (mkdir(p, mode) && errno != EEXIST)
			return -errno;
		p[i] = c;
	}
	return 0;
}
