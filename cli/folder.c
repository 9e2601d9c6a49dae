/* Temporary folders of private daemons: made, locked while in use, and swept when a killed run left one behind. */
#include "cli/private.h"
#include "cli/files.h"
#include "lib/sandbox/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "mica-run-"
#define SUFFIX_LEN 6u /* mkdtemp's */
#define TRIES 8

/* Where the folder goes. A relative TMPDIR would change its meaning with the working directory. */
static void parent_of(char dst[512])
{
	const char *tmp = getenv("TMPDIR");
	char cwd[256];
	if (!tmp || !*tmp)
		tmp = "/tmp";
	if (*tmp != '/' && getcwd(cwd, sizeof(cwd)))
		snprintf(dst, 512, "%s/%s", cwd, tmp);
	else
		snprintf(dst, 512, "%s", tmp);
	if (strlen(dst) > 80 - sizeof(PREFIX) - SUFFIX_LEN) /* "/vm/run-1/ctl.sock" must fit into a socket's address too */
		snprintf(dst, 512, "/tmp");
}

/* Does core, which may outlive a killed run for a moment, still hold its state folder's lock? */
static bool core_holds(int folder)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	AUTO_FD fd = openat(folder, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd >= 0 && (fcntl(fd, F_GETLK, &lock) || lock.l_type != F_UNLCK);
}

static bool is_ours(const char *name)
{
	size_t n = strlen(PREFIX);
	return !strncmp(name, PREFIX, n) && strlen(name) == n + SUFFIX_LEN
		&& strspn(name + n, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == SUFFIX_LEN;
}

/* As root, core owns it. Nobody else may have been able to enter it. */
static bool owned(const struct stat *st)
{
	return S_ISDIR(st->st_mode) && !(st->st_mode & 077) && (st->st_uid == geteuid() || (geteuid() == 0 && st->st_uid == SANDBOX_UID_BASE));
}

static void empty(int folder)
{
	int copy = fcntl(folder, F_DUPFD_CLOEXEC, 3);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *e;
	if (!d) {
		fd_close(&copy);
		return;
	}
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			remove_tree(folder, e->d_name);
	closedir(d);
}

static void sweep_one(int parent, const char *name)
{
	struct stat st;
	AUTO_FD fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !owned(&st) || flock(fd, LOCK_EX | LOCK_NB) || core_holds(fd))
		return;
	empty(fd);
	unlinkat(parent, name, AT_REMOVEDIR);
}

void private_sweep(void)
{
	char tmp[512];
	struct dirent *e;
	parent_of(tmp);
	DIR *d = opendir(tmp);
	while (d && (e = readdir(d)))
		if (is_ours(e->d_name))
			sweep_one(dirfd(d), e->d_name);
	if (d)
		closedir(d);
}

/* A sweep may have come between making and locking: then the path leads elsewhere, and we make another. */
static bool still_there(const char *path, int fd)
{
	struct stat a, b;
	return !lstat(path, &a) && !fstat(fd, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int private_folder(char path[512], int *fd)
{
	char tmp[512];
	parent_of(tmp);
	for (int i = 0; i < TRIES; i++) {
		snprintf(path, 512, "%.480s/" PREFIX "XXXXXX", tmp);
		if (!mkdtemp(path))
			return -errno;
		*fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (*fd >= 0 && !flock(*fd, LOCK_EX) && still_there(path, *fd))
			return 0;
		fd_close(fd);
		rmdir(path);
	}
	return -EBUSY;
}
