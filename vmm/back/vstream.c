/* One stream's host side. See vstream.h. */
#include "vmm/back/vstream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int vstream_open(struct vstream *s, int *peer)
{
	int sv[2], err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	err = fd_set_nonblock(sv[0], true);
	if (err) {
		fd_close(&sv[0]);
		fd_close(&sv[1]);
		return err;
	}
	s->fd = sv[0];
	*peer = sv[1];
	return 0;
}

/* A unix socket that is closed with unread bytes resets its peer. At most what a socket buffer holds is thrown away here. */
static void discard_unread(struct vstream *s)
{
	uint8_t scratch[16384];

	shutdown(s->fd, SHUT_RD);
	for (int i = 0; i < 64; i++)
		if (recv(s->fd, scratch, sizeof(scratch), MSG_DONTWAIT) <= 0)
			return;
}

void vstream_done(struct vstream *s)
{
	if (s->fd >= 0 && s->state != VSTREAM_CONNECTING)
		discard_unread(s);
	fd_close(&s->fd);
	fd_close(&s->peer_fd);
	buf_done(&s->to_host);
}

bool vstream_guest_may_send(const struct vstream *s, uint32_t len)
{
	/* fwd_cnt ≤ rx_cnt ≤ fwd_cnt + buf_alloc always, so the differences are true even when the counters have wrapped. */
	return len <= s->buf_alloc - (s->rx_cnt - s->fwd_cnt);
}

uint32_t vstream_credit(const struct vstream *s)
{
	uint32_t under_way = s->tx_cnt - s->peer_fwd;

	/* A guest that claims to have forwarded more than it got makes this huge: no credit, its own loss. */
	return under_way < s->peer_alloc ? s->peer_alloc - under_way : 0;
}

bool vstream_credit_due(const struct vstream *s)
{
	/* A quarter: few packets, and a sender of full speed never runs dry before it hears. */
	return s->fwd_cnt - s->fwd_told >= s->buf_alloc / 4;
}

/* The host's end is closed for reading: nothing can reach it any more. */
static void host_refuses(struct vstream *s)
{
	s->host_no_recv = true;
	s->fwd_cnt += (uint32_t)buf_len(&s->to_host);
	buf_done(&s->to_host);
	if (s->state == VSTREAM_OPEN)
		s->owed |= OWE_SHUTDOWN;
}

size_t vstream_send(struct vstream *s, const struct iovec *iov, int n, size_t bytes)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (unsigned)n };
	ssize_t put = -1;

	s->rx_cnt += (uint32_t)bytes;
	if (s->host_no_recv || s->fd < 0) {
		s->fwd_cnt += (uint32_t)bytes;
		return bytes;
	}
	if (buf_len(&s->to_host)) /* after those that wait */
		return 0;
	do
		put = sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	if (put < 0 && errno != EAGAIN) {
		host_refuses(s);
		s->fwd_cnt += (uint32_t)bytes;
		return bytes;
	}
	if (put < 0)
		return 0;
	s->fwd_cnt += (uint32_t)put;
	return (size_t)put;
}

uint8_t *vstream_keep(struct vstream *s, size_t bytes)
{
	uint8_t *p;

	s->to_host.max = s->buf_alloc;
	p = buf_room(&s->to_host, bytes);
	if (p)
		buf_grew(&s->to_host, bytes);
	return p;
}

void vstream_flush(struct vstream *s)
{
	while (buf_len(&s->to_host)) {
		ssize_t put = send(s->fd, buf_data(&s->to_host), buf_len(&s->to_host), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return;
		if (put < 0) {
			host_refuses(s);
			break;
		}
		s->fwd_cnt += (uint32_t)put;
		buf_eat(&s->to_host, (size_t)put);
	}
	buf_done(&s->to_host); /* memory is for slow readers, while they are slow */
	if (s->guest_no_send && s->fd >= 0)
		shutdown(s->fd, SHUT_WR);
}

ssize_t vstream_recv(struct vstream *s, struct iovec *iov, int n)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (unsigned)n };
	ssize_t got;

	do
		got = recvmsg(s->fd, &m, MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? -EAGAIN : 0;
	s->tx_cnt += (uint32_t)got;
	return got;
}

void vstream_stop_recv(struct vstream *s)
{
	s->guest_no_recv = true;
	if (s->fd >= 0)
		shutdown(s->fd, SHUT_RD);
}

void vstream_hup(struct vstream *s)
{
	s->host_hup = true;
	s->readable = true; /* recvmsg never says EAGAIN again: bytes, then end of file */
	if (s->guest_no_recv)
		s->host_eof = true;
	host_refuses(s);
}

bool vstream_has_data(const struct vstream *s)
{
	return s->state == VSTREAM_OPEN && s->readable && !s->host_eof && !s->guest_no_recv;
}

uint32_t vstream_wants(const struct vstream *s)
{
	uint32_t want = 0;

	if (s->state == VSTREAM_CONNECTING || s->state == VSTREAM_CLOSING || s->fd < 0 || s->host_hup)
		return UINT32_MAX;
	if (s->state == VSTREAM_OPEN && !s->host_eof && !s->guest_no_recv && !s->readable)
		want |= EPOLLIN;
	if (buf_len(&s->to_host))
		want |= EPOLLOUT;
	return want; /* 0 still tells of a hang-up */
}
