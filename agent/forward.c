#include "agent/agent.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DIAL_MS 10000u
#define PIPE_BYTES 65536u
#define LEFT_MS 60000 /* nothing moves for so long after the host has said all: nobody waits for more */

/* Waits until the connection stands. 0 or -errno. */
static int wait_connected(int fd, uint64_t until_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int err = 0;
	socklen_t n = sizeof err;
	for (;;) {
		uint64_t now = now_mono_ms();
		int rc = poll(&p, 1, until_ms > now ? (int)(until_ms - now) : 0);
		if (rc > 0)
			break;
		if (rc == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
		return -errno;
	return -err;
}

static int dial_one(const struct sockaddr *a, socklen_t len, uint64_t until_ms)
{
	AUTO_FD fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	int rc = connect(fd, a, len) == 0 ? 0 : -errno;
	if (rc == -EINPROGRESS)
		rc = wait_connected(fd, until_ms);
	if (rc < 0)
		return rc;
	rc = fd;
	fd = -1;
	return rc;
}

static int dial_unix(const char *path, uint64_t until_ms, struct fault *f)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof a.sun_path)
		return fault_set(f, -EINVAL, "upstream: a unix socket's path has 1 to 107 bytes");
	strcpy(a.sun_path, path);
	int fd = dial_one((struct sockaddr *)&a, sizeof a, until_ms);
	return fd < 0 ? fault_errno(f, fd, path) : fd;
}

/* "host:port", "[::1]:port" */
static int dial_tcp(const char *text, uint64_t until_ms, struct fault *f)
{
	char host[256];
	const char *colon = strrchr(text, ':');
	struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list = NULL, *a;
	uint64_t port;
	size_t n = colon ? (size_t)(colon - text) : 0;
	if (!colon || n == 0 || n >= sizeof host || parse_u64(colon + 1, 65535, &port) < 0 || port == 0)
		return fault_set(f, -EINVAL, "upstream '%.100s' is neither host:port nor unix:/path", text);
	memcpy(host, text, n);
	host[n] = '\0';
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		memmove(host, host + 1, n - 1);
	}
	if (strcmp(host, "localhost") == 0)
		strcpy(host, "127.0.0.1"); /* needs no resolver, and is where services listen first */
	if (getaddrinfo(host, colon + 1, &want, &list) != 0)
		return fault_set(f, -EHOSTUNREACH, "upstream '%.100s': the guest cannot resolve that name", text);
	int fd = -EHOSTUNREACH;
	for (a = list; a && fd < 0; a = a->ai_next)
		fd = dial_one(a->ai_addr, a->ai_addrlen, until_ms);
	freeaddrinfo(list);
	return fd < 0 ? fault_errno(f, fd, text) : fd;
}

/* One direction: what was read and waits to be written. */
struct lane {
	int from, to;
	size_t at, len;
	bool ended;   /* nothing more comes */
	bool closed;  /* and the other side was told */
	uint8_t bytes[PIPE_BYTES];
};

static int lane_move(struct lane *l)
{
	if (l->len == 0 && !l->ended) {
		ssize_t n = read(l->from, l->bytes, sizeof l->bytes);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		l->ended = n == 0;
		l->len = (size_t)n;
		l->at = 0;
	}
	if (l->len) {
		ssize_t n = write(l->to, l->bytes + l->at, l->len);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		l->at += (size_t)n;
		l->len -= (size_t)n;
	}
	if (l->ended && l->len == 0 && !l->closed) {
		(void)shutdown(l->to, SHUT_WR);
		l->closed = true;
	}
	return 0;
}

/* A lane that breaks takes nothing from the other: what is under way there still arrives. */
static void lane_step(struct lane *l)
{
	if (l->closed || lane_move(l) == 0)
		return;
	(void)shutdown(l->to, SHUT_WR);
	l->ended = l->closed = true;
	l->len = 0;
}

/* Both ways until both have ended. The host never closes one half alone for long: when it has said all and is gone, or nothing
 * moves any more, an upstream that stays open does not keep this process. */
static void pump(struct lane *down, struct lane *up)
{
	while (!down->closed || !up->closed) {
		/* [0] the host's stream, [1] the upstream */
		struct pollfd p[2] = {
			{.fd = down->from, .events = (short)((down->len || down->ended ? 0 : POLLIN) | (up->len ? POLLOUT : 0))},
			{.fd = up->from, .events = (short)((up->len || up->ended ? 0 : POLLIN) | (down->len ? POLLOUT : 0))},
		};
		for (int i = 0; i < 2; i++)
			if (!p[i].events && (i == 1 || !down->closed))
				p[i].fd = -1; /* a hang-up on a side nothing is wanted from would spin */
		int n = poll(p, 2, down->ended ? LEFT_MS : -1);
		if (n == 0 || (n < 0 && errno != EINTR) || (down->closed && p[0].fd >= 0 && p[0].revents & (POLLHUP | POLLERR)))
			return;
		lane_step(down);
		lane_step(up);
	}
}

void forward(struct job *j)
{
	struct fault f = {.text = ""};
	static struct lane lane_down, lane_up; /* of this process, which does nothing else; too large for a small stack */
	struct lane *down = &lane_down, *up = &lane_up;
	char upstream[512];
	uint64_t until = now_mono_ms() + DIAL_MS;
	int fd, rc = wire_get_str(j->req, A_T_UPSTREAM, upstream, sizeof upstream);
	if (rc < 0)
		fd = fault_set(&f, -EINVAL, "upstream is missing or too long");
	else if (strncmp(upstream, "unix:", 5) == 0)
		fd = dial_unix(upstream + 5, until, &f);
	else
		fd = dial_tcp(upstream, until, &f);
	if (fd < 0) {
		job_refuse(j, fd, &f);
		return;
	}
	job_ok(j);
	down->from = up->to = j->fd;
	down->to = up->from = fd;
	down->len = buf_len(&j->in); /* raw bytes that came right behind the request; at most FRAME_MAX */
	if (down->len > sizeof down->bytes) { /* only with a request near the frame limit */
		if (write_full(fd, buf_data(&j->in), down->len - sizeof down->bytes) < 0)
			return;
		buf_eat(&j->in, down->len - sizeof down->bytes);
		down->len = sizeof down->bytes;
	}
	if (down->len)
		memcpy(down->bytes, buf_data(&j->in), down->len);
	(void)fd_set_nonblock(j->fd, true);
	pump(down, up);
}
