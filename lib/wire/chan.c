#include "lib/wire/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME_MAX = WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX };

struct chan_packet {
	struct chan_packet *next;
	size_t len;
	unsigned n_fds;
	int fds[WIRE_FDS_MAX]; /* owned duplicates */
	uint8_t bytes[];
};

int chan_pair(int out_fds[2])
{
	int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
	return socketpair(AF_UNIX, type, 0, out_fds) < 0 ? -errno : 0;
}

int chan_init(struct chan *c, int fd_taken, size_t queued_max_bytes)
{
	*c = (struct chan){.fd = fd_taken, .queued_max = queued_max_bytes};
	c->rx = malloc(FRAME_MAX);
	int err = c->rx ? fd_set_nonblock(fd_taken, true) : -ENOMEM;
	/* A frame must fit into the socket whole; the default limit is smaller on some hosts. */
	int bytes = 4 * FRAME_MAX;
	if (!err)
		setsockopt(fd_taken, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
	if (err)
		chan_done(c);
	return err;
}

static void packet_free(struct chan_packet *p)
{
	for (unsigned i = 0; i < p->n_fds; i++)
		fd_close(&p->fds[i]);
	free(p);
}

void chan_done(struct chan *c)
{
	while (c->first) {
		struct chan_packet *next = c->first->next;
		packet_free(c->first);
		c->first = next;
	}
	c->last = NULL;
	c->queued_bytes = 0;
	free(c->rx);
	c->rx = NULL;
	fd_close(&c->fd);
}

static int send_packet(int fd, const void *p, size_t n, const int *fds, unsigned n_fds)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
	} control;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (n_fds) {
		memset(&control, 0, sizeof control);
		msg.msg_control = control.bytes;
		msg.msg_controllen = (socklen_t)CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *h = &control.align;
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = (socklen_t)CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
	}
	ssize_t sent;
	do
		sent = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
	return 0;
}

static int queue_packet(struct chan *c, const void *bytes, size_t n, const int *fds, unsigned n_fds)
{
	if (n > c->queued_max || c->queued_bytes > c->queued_max - n)
		return -ENOBUFS;
	struct chan_packet *p = malloc(sizeof *p + n);
	if (!p)
		return -ENOMEM;
	p->next = NULL;
	p->len = n;
	p->n_fds = 0;
	memcpy(p->bytes, bytes, n);
	for (unsigned i = 0; i < n_fds; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (fd < 0) {
			int err = -errno;
			packet_free(p);
			return err;
		}
		p->fds[p->n_fds++] = fd;
	}
	if (c->last)
		c->last->next = p;
	else
		c->first = p;
	c->last = p;
	c->queued_bytes += n;
	return 0;
}

int chan_send(struct chan *c, struct buf *b, const int *fds, unsigned n_fds)
{
	int err;
	if (b->failed)
		err = -ENOBUFS;
	else if (c->fd < 0)
		err = -EPIPE;
	else if (n_fds > WIRE_FDS_MAX || buf_len(b) > FRAME_MAX)
		err = -EMSGSIZE;
	else {
		err = c->first ? -EAGAIN : send_packet(c->fd, buf_data(b), buf_len(b), fds, n_fds);
		if (err == -EAGAIN)
			err = queue_packet(c, buf_data(b), buf_len(b), fds, n_fds);
	}
	buf_clear(b);
	return err;
}

int chan_flush(struct chan *c)
{
	while (c->first) {
		struct chan_packet *p = c->first;
		int err = c->fd < 0 ? -EPIPE : send_packet(c->fd, p->bytes, p->len, p->fds, p->n_fds);
		if (err)
			return err;
		c->first = p->next;
		if (!c->first)
			c->last = NULL;
		c->queued_bytes -= p->len;
		packet_free(p);
	}
	return 0;
}

bool chan_stuck(struct chan *c)
{
	int err = chan_flush(c);
	return err && err != -EAGAIN;
}

uint32_t chan_want(const struct chan *c)
{
	return c->first ? EPOLLIN | EPOLLOUT : EPOLLIN;
}

/* musl's macro compares signed with unsigned, which clang says where it is used. */
static struct cmsghdr *next_control(struct msghdr *msg, struct cmsghdr *h)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
	return CMSG_NXTHDR(msg, h);
#pragma GCC diagnostic pop
}

/* Takes descriptors and credentials out of the control bytes; every descriptor the kernel installed is either stored or closed. */
static int take_control(struct chan *c, struct msghdr *msg, int *fds, unsigned *n_fds)
{
	int err = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = next_control(msg, h)) {
		if (h->cmsg_level != SOL_SOCKET)
			continue;
		if (h->cmsg_type == SCM_CREDENTIALS && h->cmsg_len >= CMSG_LEN(sizeof(struct ucred))) {
			struct ucred cred;
			memcpy(&cred, CMSG_DATA(h), sizeof cred);
			c->peer_pid = cred.pid;
			c->peer_uid = cred.uid;
		}
		if (h->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned n = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof fd);
			if (*n_fds < WIRE_FDS_MAX) {
				fds[(*n_fds)++] = fd;
			} else {
				close(fd);
				err = -EPROTO;
			}
		}
	}
	return err;
}

int chan_recv(struct chan *c, struct wire_msg *m, int *fds, unsigned *n_fds)
{
	struct iovec iov = {.iov_base = c->rx, .iov_len = FRAME_MAX};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes,
	};
	*n_fds = 0;
	c->peer_pid = 0;
	if (c->fd < 0)
		return -EPIPE;
	ssize_t n;
	bool reset = false;
	do /* the other side ended before it had read all of ours: told once, before what it still sent */
		n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true))));
	if (n < 0)
		return errno == EAGAIN ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
	size_t used = 0;
	int err = take_control(c, &msg, fds, n_fds);
	if (n == 0)
		err = -EPIPE; /* no frame of ours is empty: this is the end */
	if (!err && (msg.msg_flags & MSG_TRUNC))
		err = -EPROTO;
	if (!err)
		err = wire_parse(c->rx, (size_t)n, m, &used);
	if (err == -EAGAIN || (!err && used != (size_t)n))
		err = -EPROTO;
	if (err) {
		for (unsigned i = 0; i < *n_fds; i++)
			close(fds[i]);
		*n_fds = 0;
		return err;
	}
	return 1;
}

int chan_want_creds(int fd)
{
	int on = 1;
	return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ? -errno : 0;
}

bool chan_last_creds(const struct chan *c, pid_t *pid, uid_t *uid)
{
	*pid = c->peer_pid;
	*uid = c->peer_uid;
	return c->peer_pid > 0;
}

int chan_wait(struct chan *c, uint32_t events, int timeout_ms)
{
	struct pollfd p = {.fd = c->fd};
	if (events & EPOLLIN)
		p.events |= POLLIN;
	if (events & EPOLLOUT)
		p.events |= POLLOUT;
	uint64_t end = now_mono_ms() + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms);
	for (;;) {
		int left = timeout_ms;
		if (timeout_ms >= 0) {
			uint64_t now = now_mono_ms();
			left = now < end ? (int)(end - now) : 0;
		}
		int n = poll(&p, 1, left);
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}
