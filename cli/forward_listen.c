#include "cli/forward_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128

static void say_where(int fd, char where[FORWARD_WHERE_MAX])
{
	struct sockaddr_storage sa;
	socklen_t n = sizeof(sa);
	char host[200], port[8];
	where[0] = 0;
	if (getsockname(fd, (struct sockaddr *)&sa, &n)
		|| getnameinfo((struct sockaddr *)&sa, n, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	bool six = sa.ss_family == AF_INET6;
	snprintf(where, FORWARD_WHERE_MAX, "%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
}

static int listen_tcp(const struct forward_spec *s, char where[FORWARD_WHERE_MAX], struct fault *f)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
	char port[8];
	snprintf(port, sizeof(port), "%u", s->port);
	int gai = getaddrinfo(s->host, port, &hints, &list);
	if (gai)
		return fault_set(f, -EADDRNOTAVAIL, "%s: %s", s->host, gai_strerror(gai));
	int err = -EADDRNOTAVAIL, fd = -1;
	for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
		fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd >= 0)
			setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
		if (fd < 0 || bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, BACKLOG)) {
			err = -errno;
			fd_close(&fd);
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		return fault_set(f, err, "%s:%u: %s", s->host, s->port, strerror(-err));
	say_where(fd, where);
	return fd;
}

/* A socket nobody answers on is what a killed forward left; anything else is not ours to remove. */
static int remove_stale(const struct sockaddr_un *sa, struct fault *f)
{
	struct stat st;
	if (lstat(sa->sun_path, &st))
		return errno == ENOENT ? 0 : fault_errno(f, -errno, sa->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return fault_set(f, -EEXIST, "%s is there, and is no socket", sa->sun_path);
	AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fault_errno(f, -errno, "socket");
	if (!connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) || errno == EAGAIN)
		return fault_set(f, -EADDRINUSE, "%s: another program listens there", sa->sun_path);
	if (errno != ECONNREFUSED)
		return fault_errno(f, -errno, sa->sun_path);
	return unlink(sa->sun_path) && errno != ENOENT ? fault_errno(f, -errno, sa->sun_path) : 0;
}

static int listen_unix(const struct forward_spec *s, char where[FORWARD_WHERE_MAX], struct fault *f)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	memcpy(sa.sun_path, s->path, sizeof(sa.sun_path));
	int err = remove_stale(&sa, f);
	if (err)
		return err;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fault_errno(f, -errno, "socket");
	mode_t old = umask(0117); /* 0660 from the first moment on */
	err = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) ? -errno : 0;
	umask(old);
	if (!err && listen(fd, BACKLOG)) {
		err = -errno;
		unlink(s->path);
	}
	if (err) {
		fd_close(&fd);
		return fault_errno(f, err, s->path);
	}
	snprintf(where, FORWARD_WHERE_MAX, "%s", s->path);
	return fd;
}

int forward_listen(const struct forward_spec *s, char where[FORWARD_WHERE_MAX], struct fault *f)
{
	return s->listen_unix ? listen_unix(s, where, f) : listen_tcp(s, where, f);
}

void forward_unlisten(const struct forward_spec *s, int *fd)
{
	if (*fd >= 0 && s->listen_unix)
		unlink(s->path);
	fd_close(fd);
}
