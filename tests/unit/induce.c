/* See induce.h. */
#include "tests/unit/induce.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

static enum induce_call ordered;
static unsigned left;
static int code;
static bool done;

void induce(enum induce_call which, unsigned skip, int error)
{
	ordered = which;
	left = skip;
	code = error;
	done = false;
}

bool induced(void)
{
	ordered = INDUCE_NONE;
	return done;
}

static bool due(enum induce_call which)
{
	if (ordered != which || left--)
		return false;
	ordered = INDUCE_NONE;
	done = true;
	errno = code;
	return true;
}

#define WRAP(ret, name, params, args, bad) \
	ret __real_##name params; \
	ret __wrap_##name params; \
	ret __wrap_##name params \
	{ \
		if (due(INDUCE_##name)) \
			return bad; \
		return __real_##name args; \
	}

WRAP(void *, malloc, (size_t n), (n), NULL)
WRAP(void *, calloc, (size_t n, size_t size), (n, size), NULL)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL)
WRAP(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t off), (at, n, prot, flags, fd, off), (void *)-1)
WRAP(int, ftruncate, (int fd, off_t n), (fd, n), -1)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1)
WRAP(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n), -1)
WRAP(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), -1)
WRAP(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n), -1)
WRAP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), -1)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags), -1)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags), -1)
WRAP(int, poll, (struct pollfd *p, nfds_t n, int ms), (p, n, ms), -1)
WRAP(int, socketpair, (int domain, int type, int protocol, int *fds), (domain, type, protocol, fds), -1)
WRAP(int, eventfd, (unsigned n, int flags), (n, flags), -1)
WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e), -1)
WRAP(int, fcntl, (int fd, int cmd, long arg), (fd, cmd, arg), -1)
WRAP(int, dup, (int fd), (fd), -1)
WRAP(int, ioctl, (int fd, unsigned int request, void *arg), (fd, request, arg), -1)
WRAP(int, pthread_mutex_init, (pthread_mutex_t * m, const pthread_mutexattr_t *a), (m, a), code)
/* Weak: a program without vmm/mem has nothing to wrap there. */
struct gm;
__attribute__((weak)) int __real_gm_read(const struct gm *gm, uint64_t gpa, void *dst, size_t n);
__attribute__((weak)) int __real_gm_write(struct gm *gm, uint64_t gpa, const void *src, size_t n);
__attribute__((weak)) int __real_gm_iov(struct gm *gm, uint64_t gpa, size_t n, struct iovec *out);
__attribute__((weak)) int __real_gm_load_acquire_u16(const struct gm *gm, uint64_t gpa, uint16_t *out);
__attribute__((weak)) int __real_gm_store_release_u16(struct gm *gm, uint64_t gpa, uint16_t v);
WRAP(int, gm_read, (const struct gm *gm, uint64_t gpa, void *dst, size_t n), (gm, gpa, dst, n), -code)
WRAP(int, gm_write, (struct gm *gm, uint64_t gpa, const void *src, size_t n), (gm, gpa, src, n), -code)
WRAP(int, gm_iov, (struct gm *gm, uint64_t gpa, size_t n, struct iovec *out), (gm, gpa, n, out), -code)
WRAP(int, gm_load_acquire_u16, (const struct gm *gm, uint64_t gpa, uint16_t *out), (gm, gpa, out), -code)
WRAP(int, gm_store_release_u16, (struct gm *gm, uint64_t gpa, uint16_t v), (gm, gpa, v), -code)
WRAP(int, random_fill, (void *p, size_t n), (p, n), -code)
