#include "agent/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Refused at boot: the host is about to listen. Refused later: the host's daemon is away; each try costs it and us little. */
#define AGAIN_MIN_MS 10u
#define AGAIN_MAX_MS 1000u

struct hello {
	struct agent *a;
	const char *address;  /* borrowed */
	struct ev_io io;
	struct ev_timer again;
	int fd;               /* owned; -1 between tries */
	bool said;            /* the hello frame is in out or gone */
	unsigned again_ms;
	struct buf in, out;
};

static void attempt(struct hello *h);

static void later(struct hello *h)
{
	ev_del(h->a->loop, &h->io);
	fd_close(&h->fd);
	buf_clear(&h->in);
	buf_clear(&h->out);
	(void)ev_timer_set(h->a->loop, &h->again, h->again_ms);
	h->again_ms = h->again_ms * 2 > AGAIN_MAX_MS ? AGAIN_MAX_MS : h->again_ms * 2;
}

static void say_hello(struct hello *h)
{
	char id[48];
	size_t mark = wire_begin(&h->out, A_HELLO, 0);
	boot_id(id);
	wire_u64(&h->out, A_T_PROTO, AGENT_PROTO);
	wire_str(&h->out, A_T_VERSION, MICA_VERSION);
	wire_u64(&h->out, A_T_UPTIME_NS, now_mono_ns() - h->a->started_ns);
	wire_str(&h->out, A_T_BOOT_ID, id);
	wire_end(&h->out, mark);
	h->said = true;
}

/* false: the stream is over. */
static bool obey_all(struct hello *h)
{
	struct wire_msg m;
	size_t used;
	int rc;
	while ((rc = wire_parse(buf_data(&h->in), buf_len(&h->in), &m, &used)) == 0) {
		machine_request(h->a, &m, &h->out);
		buf_eat(&h->in, used);
	}
	return rc == -EAGAIN && !h->out.failed;
}

static void on_ready(struct ev_io *io, uint32_t events)
{
	struct hello *h = io->arg;
	if (!h->said) { /* the connect has ended one way or the other */
		int err = 0;
		socklen_t n = sizeof err;
		if (getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0 || err || (events & (EPOLLHUP | EPOLLERR))) {
			later(h);
			return;
		}
		say_hello(h);
	} else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = buf_read_fd(&h->in, h->fd, FRAME_MAX - buf_len(&h->in));
		if (n > 0)
			h->again_ms = AGAIN_MIN_MS; /* somebody lives there */
		if (n == 0 || (n < 0 && n != -EAGAIN) || !obey_all(h)) {
			later(h);
			return;
		}
	}
	int rc = buf_write_fd(&h->out, h->fd);
	if (h->a->stop_signal && rc != -EAGAIN)
		machine_stop(h->a);
	if (rc < 0 && rc != -EAGAIN)
		later(h);
	else
		(void)ev_mod(h->a->loop, &h->io, EPOLLIN | (rc ? EPOLLOUT : 0u));
}

static void attempt(struct hello *h)
{
	h->said = false;
	h->fd = stream_connect(h->address);
	if (h->fd < 0 || ev_add(h->a->loop, &h->io, h->fd, EPOLLOUT) < 0)
		later(h);
}

static void on_again(struct ev_timer *t)
{
	attempt(t->arg);
}

int hello_new(struct hello **out, struct agent *a, const char *address)
{
	struct hello *h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->a = a;
	h->address = address;
	h->fd = -1;
	h->again_ms = AGAIN_MIN_MS;
	h->io = (struct ev_io){.fn = on_ready, .arg = h, .fd = -1};
	h->again = (struct ev_timer){.fn = on_again, .arg = h};
	buf_init(&h->in, FRAME_MAX);
	buf_init(&h->out, FRAME_MAX);
	attempt(h);
	*out = h;
	return 0;
}
