#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/wire/chan.h"
#include "tests/unit/induce.h"
#include "tests/unit/tap.h"

static struct chan a, b;
static int fds[WIRE_FDS_MAX];
static unsigned n_fds;

static int say(struct buf *o, uint64_t v, size_t padding, const int *pass, unsigned n)
{
	static uint8_t zeros[WIRE_PAYLOAD_MAX];
	size_t mark = wire_begin(o, 9, (uint32_t)v);
	wire_bytes(o, 3, zeros, padding);
	wire_end(o, mark);
	return chan_send(&a, o, pass, n);
}

static void descriptors(struct buf *o)
{
	struct wire_msg m;
	int p[2];
	if (pipe(p))
		return;
	ok(chan_recv(&b, &m, fds, &n_fds) == 0, "nothing yet");
	ok(say(o, 1, 0, p, 2) == 0 && chan_recv(&b, &m, fds, &n_fds) == 1 && n_fds == 2 && m.id == 1, "a frame with two descriptors");
	ok(write(fds[1], "x", 1) == 1 && read(p[0], &(char){0}, 1) == 1, "they are the same pipe");
	close(fds[0]), close(fds[1]), close(p[0]), close(p[1]);
}

static void slow_peer(struct buf *o)
{
	struct wire_msg m;
	unsigned sent = 0, got = 0;
	int err, more;
	while ((err = say(o, sent, 60000, NULL, 0)) == 0 && sent < 200)
		sent++;
	ok(err == -ENOBUFS && chan_want(&a) & EPOLLOUT, "the queue is bounded (%u frames)", sent);
	bool in_order = true;
	while (got < sent && (more = chan_recv(&b, &m, fds, &n_fds)) >= 0) {
		if (more == 1)
			in_order = in_order && m.id == got++;
		chan_flush(&a);
	}
	ok(got == sent && in_order && a.queued_bytes == 0, "all queued frames arrive in order");
}

static void broken_peer(struct buf *o)
{
	struct wire_msg m;
	pid_t pid;
	uid_t uid;
	ok(chan_want_creds(b.fd) == 0 && say(o, 5, 1, NULL, 0) == 0 && chan_recv(&b, &m, fds, &n_fds) == 1 && chan_last_creds(&b, &pid, &uid) &&
	   pid == getpid() && uid == getuid(), "the kernel says who sent it");
	ok(send(a.fd, "junkjunkjunkjunk", 16, 0) == 16 && chan_recv(&b, &m, fds, &n_fds) == -EPROTO, "junk is refused");
	chan_done(&a);
	ok(chan_recv(&b, &m, fds, &n_fds) == -EPIPE, "the end is seen");
	ok(chan_send(&a, o, NULL, 0) == -EPIPE, "a closed channel takes nothing");
	ok(chan_recv(&a, &m, fds, &n_fds) == -EPIPE, "and gives nothing");
}

static void fresh_pair(void)
{
	int p[2];
	chan_done(&a);
	chan_done(&b);
	if (chan_pair(p) || chan_init(&a, p[0], 1 << 20) || chan_init(&b, p[1], 1 << 20))
		abort();
}

static void no_pair(void)
{
	int p[2];
	struct chan c;
	induce(INDUCE_socketpair, 0, EMFILE);
	ok(chan_pair(p) == -EMFILE && induced(), "no descriptors for a pair");
	if (chan_pair(p))
		abort();
	induce(INDUCE_malloc, 0, ENOMEM);
	ok(chan_init(&c, p[0], 1 << 20) == -ENOMEM && induced() && c.fd == -1, "no memory for a channel: its descriptor is closed");
	ok(chan_init(&c, 4000, 1 << 20) == -EBADF && c.fd == -1 && !c.rx, "no descriptor, no channel");
	close(p[1]);
	ok(chan_want_creds(-1) == -EBADF, "no socket tells no sender");
}

/* Sends `n` bytes as they are, with `pass` copies of a descriptor. */
static bool raw(const void *p, size_t n, unsigned pass)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = {.h = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = (socklen_t)CMSG_LEN(pass * sizeof(int))}};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	if (pass) {
		m.msg_control = &control;
		m.msg_controllen = (socklen_t)CMSG_SPACE(pass * sizeof(int));
		for (unsigned i = 0; i < pass; i++)
			memcpy(CMSG_DATA(&control.h) + i * sizeof(int), &a.fd, sizeof(int));
	}
	return sendmsg(a.fd, &m, MSG_NOSIGNAL) == (ssize_t)n;
}

static int lowest_free(void)
{
	int fd = dup(b.fd);
	close(fd);
	return fd;
}

static void hostile_peer(struct buf *o)
{
	static uint8_t big[WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX + 8];
	uint8_t frame[WIRE_HEAD_BYTES + 1] = {0};
	struct wire_msg m;
	fresh_pair();
	int free_fd = lowest_free();
	ok(raw(frame, 5, 0) && chan_recv(&b, &m, fds, &n_fds) == -EPROTO, "a packet shorter than a frame's head");
	ok(raw(frame, sizeof frame, 0) && chan_recv(&b, &m, fds, &n_fds) == -EPROTO, "a frame with a byte behind it");
	ok(raw(big, sizeof big, 0) && chan_recv(&b, &m, fds, &n_fds) == -EPROTO, "a packet longer than any frame");
	ok(raw("junkjunkjunkjunk", 16, 3) && chan_recv(&b, &m, fds, &n_fds) == -EPROTO && n_fds == 0, "junk with descriptors");
	ok(raw(frame, WIRE_HEAD_BYTES, WIRE_FDS_MAX + 1) && chan_recv(&b, &m, fds, &n_fds) == -EPROTO && n_fds == 0, "one descriptor too many");
	ok(raw(frame, WIRE_HEAD_BYTES, 64) && chan_recv(&b, &m, fds, &n_fds) == -EPROTO && n_fds == 0, "far too many");
	ok(lowest_free() == free_fd, "what came with them is closed");
	ok(raw(frame, WIRE_HEAD_BYTES, WIRE_FDS_MAX) && chan_recv(&b, &m, fds, &n_fds) == 1 && n_fds == WIRE_FDS_MAX, "as many as are allowed");
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	ok(say(o, 1, 0, fds, WIRE_FDS_MAX + 1) == -EMSGSIZE, "we do not send too many");
	buf_add(o, big, sizeof big);
	ok(chan_send(&a, o, NULL, 0) == -EMSGSIZE && buf_len(o) == 0, "nor too long a frame");
	o->failed = true;
	ok(chan_send(&a, o, NULL, 0) == -ENOBUFS && !o->failed, "nor one that could not be made");
	ok(chan_recv(&b, &m, fds, &n_fds) == 0, "nothing of them went out");
}

static void queue_up(struct buf *o, unsigned n_pass)
{
	int pass[2] = {a.fd, b.fd};
	for (int i = 0; !a.first && i < 1000; i++)
		say(o, 7, 60000, pass, n_pass);
}

static void queued_frames(struct buf *o)
{
	struct wire_msg m;
	int pass[2] = {a.fd, b.fd}, err;
	fresh_pair();
	ok(chan_want(&a) == EPOLLIN && !chan_stuck(&a), "nothing to write");
	int free_fd = lowest_free();
	queue_up(o, 2);
	ok(a.first && chan_want(&a) & EPOLLOUT && !chan_stuck(&a) && lowest_free() > free_fd, "a slow peer: the frame waits with its descriptors");
	induce(INDUCE_malloc, 0, ENOMEM);
	ok(say(o, 8, 1, NULL, 0) == -ENOMEM && induced(), "no memory for one more");
	pass[1] = -1;
	size_t before = a.queued_bytes;
	ok(say(o, 8, 1, pass, 2) == -EBADF && a.queued_bytes == before, "a descriptor that is none");
	a.queued_max = 100;
	ok(say(o, 8, 200, NULL, 0) == -ENOBUFS, "a frame larger than the queue may be");
	err = chan_recv(&b, &m, fds, &n_fds);
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	ok(err == 1 && chan_flush(&a) == 0 && a.queued_bytes == 0 && lowest_free() == free_fd, "it goes out when there is room");
	a.queued_max = 1 << 20;
	queue_up(o, 0);
	fd_close(&a.fd);
	ok(chan_flush(&a) == -EPIPE && chan_stuck(&a), "a queue without a channel is stuck");
	chan_done(&a);
	ok(!a.first && a.queued_bytes == 0, "and goes with it");
}

static void interruptions(struct buf *o)
{
	struct wire_msg m;
	fresh_pair();
	induce(INDUCE_sendmsg, 0, EINTR);
	ok(say(o, 3, 0, NULL, 0) == 0 && induced(), "a signal while sending");
	induce(INDUCE_recvmsg, 0, EINTR);
	ok(chan_recv(&b, &m, fds, &n_fds) == 1 && m.id == 3 && induced(), "and while receiving");
	static const struct { int error, want; } ends[] = {{ECONNRESET, -EPIPE}, {ENOTCONN, -EPIPE}, {EPERM, -EPERM}};
	for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
		induce(INDUCE_sendmsg, 0, ends[i].error);
		ok(say(o, 4, 0, NULL, 0) == ends[i].want && induced(), "sending ends with %d", ends[i].want);
	}
	induce(INDUCE_recvmsg, 0, EIO);
	ok(chan_recv(&b, &m, fds, &n_fds) == -EIO && induced(), "an error is told");
}

static void waiting(struct buf *o)
{
	fresh_pair();
	ok(chan_wait(&b, EPOLLIN, 0) == -ETIMEDOUT && chan_wait(&b, EPOLLIN, 1) == -ETIMEDOUT, "nothing comes in time");
	ok(chan_wait(&a, EPOLLOUT, 1000) == 0, "room to write");
	ok(say(o, 1, 0, NULL, 0) == 0 && chan_wait(&b, EPOLLIN, -1) == 0, "a frame, however long it takes");
	induce(INDUCE_poll, 0, EINTR);
	ok(chan_wait(&b, EPOLLIN, 1000) == 0 && induced(), "a signal while waiting");
	induce(INDUCE_poll, 0, ENOMEM);
	ok(chan_wait(&b, EPOLLIN, 1000) == -ENOMEM && induced(), "an error is told");
}

/* Who ends without having read everything is still heard to the end: its last words are requests that must be done. */
static void last_words(struct buf *o)
{
	struct wire_msg m;
	int p[2], got = 0, last;
	ok(chan_pair(p) == 0 && chan_init(&a, p[0], 1 << 20) == 0 && chan_init(&b, p[1], 1 << 20) == 0, "another pair");
	size_t mark = wire_begin(o, 7, 1);
	wire_end(o, mark);
	chan_send(&b, o, NULL, 0); /* never read */
	buf_clear(o);
	for (unsigned i = 0; i < 3; i++)
		say(o, i, 10, NULL, 0);
	chan_done(&a);
	while ((last = chan_recv(&b, &m, fds, &n_fds)) == 1)
		got++;
	ok(got == 3 && last == -EPIPE, "three frames of one that ended, then its end: %d, %d", got, last);
	chan_done(&b);
}

int main(void)
{
	int p[2];
	struct buf o;
	buf_init(&o, 1 << 20);
	ok(chan_pair(p) == 0 && chan_init(&a, p[0], 1 << 20) == 0 && chan_init(&b, p[1], 1 << 20) == 0, "a pair");
	descriptors(&o);
	slow_peer(&o);
	broken_peer(&o);
	no_pair();
	hostile_peer(&o);
	queued_frames(&o);
	interruptions(&o);
	waiting(&o);
	chan_done(&a);
	chan_done(&b);
	buf_clear(&o);
	last_words(&o);
	buf_done(&o);
	return tap_done();
}
