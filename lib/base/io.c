#include "lib/base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void fd_close(int *fd)
{
	if (*fd >= 0) {
		int keep = errno;
		close(*fd);
		errno = keep;
	}
	*fd = -1;
}

ssize_t read_full(int fd, void *dst, size_t len)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n = read(fd, (char *)dst + got, len - got);
		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

ssize_t pread_full(int fd, void *dst, size_t len, uint64_t off)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n = pread(fd, (char *)dst + got, len - got, (off_t)(off + got));
		if (n == 0)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

int write_full(int fd, const void *src, size_t len)
{
	size_t put = 0;
	while (put < len) {
		ssize_t n = write(fd, (const char *)src + put, len - put);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		put += (size_t)n;
	}
	return 0;
}

int pwrite_full(int fd, const void *src, size_t len, uint64_t off)
{
	size_t put = 0;
	while (put < len) {
		ssize_t n = pwrite(fd, (const char *)src + put, len - put, (off_t)(off + put));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		put += (size_t)n;
	}
	return 0;
}

int fd_set_nonblock(int fd, bool on)
{
	int fl = fcntl(fd, F_GETFL);
	int want = on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK;
	if (fl < 0 || (want != fl && fcntl(fd, F_SETFL, want) < 0))
		return -errno;
	return 0;
}

int fd_set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

int memfd_new(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

int pidfd_of(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : (int)fd;
}

int pidfd_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

int close_from(int first)
{
	return syscall(SYS_close_range, (unsigned)first, ~0u, 0) < 0 ? -errno : 0;
}

int open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
	return fd < 0 ? -errno : (int)fd;
}

int write_file_atomic(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
	char temp[256];
	if (snprintf(temp, sizeof temp, ".%s.new", name) >= (int)sizeof temp)
		return -ENAMETOOLONG;
	AUTO_FD fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	int err = write_full(fd, data, len);
	if (!err && fsync(fd) < 0)
		err = -errno;
	if (!err && renameat(dirfd, temp, dirfd, name) < 0)
		err = -errno;
	if (err) {
		unlinkat(dirfd, temp, 0);
		return err;
	}
	/* dirfd may be an O_PATH or AT_FDCWD handle: open the folder itself to sync the rename. */
	AUTO_FD dir = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fsync(dir) < 0)
		return -errno;
	return 0;
}

int read_file_at(int dirfd, const char *name, size_t max, char **out, size_t *out_len)
{
	AUTO_FD fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	size_t cap = 4096, len = 0;
	char *mem = malloc(cap + 1);
	while (mem) {
		ssize_t n = read_full(fd, mem + len, cap - len);
		if (n < 0 || len + (size_t)n > max) {
			free(mem);
			return n < 0 ? (int)n : -EFBIG;
		}
		len += (size_t)n;
		if (len < cap)
			break;
		cap *= 2;
		char *more = realloc(mem, cap + 1);
		if (!more)
			free(mem);
		mem = more;
	}
	if (!mem)
		return -ENOMEM;
	mem[len] = '\0';
	*out = mem;
	if (out_len)
		*out_len = len;
	return 0;
}

int random_fill(void *p, size_t n)
{
	size_t got = 0;
	while (got < n) {
		long r = syscall(SYS_getrandom, (char *)p + got, n - got, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		got += (size_t)r;
	}
	return 0;
}
