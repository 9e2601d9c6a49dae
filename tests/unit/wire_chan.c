#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lib/wire/chan.h"
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
	chan_done(&b);
	buf_done(&o);
	return tap_done();
}
