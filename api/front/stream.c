/* The agent stream of a request: frames out and in, each way with its high-water mark. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/front/front.h"

#define STREAM_READ_BYTES 65536u
#define STREAM_FIRST_BYTES 4096u /* one that says little needs no more */
/* One whole frame of the peer, and one more read behind it. */
#define STREAM_IN_MAX (WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX + STREAM_READ_BYTES)
#define STREAM_OUT_MAX (4u * HIGH_BYTES + WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX)

void stream_init(struct req *r)
{
	r->agent.fd = -1;
	r->agent.io.fd = -1;
	buf_init(&r->agent.in, STREAM_IN_MAX);
	buf_init(&r->agent.out, STREAM_OUT_MAX);
}

/* Buffers stay: the frame a callback looks at may lie in them. */
void stream_close(struct req *r)
{
	struct agent *a = &r->agent;

	ev_del(r->conn->front->loop, &a->io);
	fd_close(&a->fd);
	a->ops = NULL;
	a->read_bytes = 0;
	a->raw = a->eof = a->out_dead = a->out_full = a->out_end = false;
	a->generation++;
	buf_clear(&a->in);
	buf_clear(&a->out);
}

void stream_done(struct req *r)
{
	stream_close(r);
	buf_done(&r->agent.in);
	buf_done(&r->agent.out);
}

/* One read a turn: other connections get theirs. It is as long as the last ones were. */
static ssize_t read_some(struct agent *a)
{
	size_t n = a->read_bytes ? a->read_bytes : STREAM_FIRST_BYTES;
	ssize_t got = buf_read_fd(&a->in, a->fd, n);

	if (got == (ssize_t)n && n < STREAM_READ_BYTES)
		a->read_bytes = n * 4;
	return got;
}

static void stream_event(struct ev_io *io, uint32_t events)
{
	struct req *r = io->arg;
	struct agent *a = &r->agent;

	r->conn->busy = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		a->out_full = false;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = read_some(a);

		if (n == 0 || (n < 0 && n != -EAGAIN && n != -ENOBUFS))
			a->eof = true;
	}
	conn_settle(r->conn);
}

/* core, or the VM's process behind it, hangs. Handlers with a time limit of their own have that one. */
static void connect_late(struct req *r)
{
	reply_error(r, 503, "the VM's process did not open a stream to its agent in time");
}

static void connect_limit_end(struct req *r)
{
	if (r->on_deadline == connect_late)
		r->deadline_ms = 0;
}

void stream_adopt(struct req *r, int *fds, unsigned n_fds)
{
	struct agent *a = &r->agent;

	connect_limit_end(r);
	if (n_fds < 1) {
		a->ops = NULL;
		reply_error(r, 500, "core sent no agent stream");
		return;
	}
	a->fd = fds[0];
	fds[0] = -1;
	fd_set_nonblock(a->fd, true);
	a->io.fn = stream_event;
	a->io.arg = r;
	a->opened(r);
}

static void connected(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	if (m->type == WIRE_OK) {
		stream_adopt(r, fds, n_fds);
		return;
	}
	r->agent.ops = NULL;
	reply_refusal(r, m);
}

void stream_open_with(struct req *r, const char *vm, bool quiet, const struct agent_ops *ops, void (*opened)(struct req *r),
		      ask_fn *answer)
{
	struct buf *b;

	stream_close(r);
	r->agent.ops = ops;
	r->agent.opened = opened;
	if (!r->deadline_ms) {
		r->deadline_ms = now_mono_ms() + CONNECT_MS;
		r->on_deadline = connect_late;
	}
	b = ask_begin(r, C_CONNECT);
	wire_str(b, C_T_VM, vm);
	wire_u64(b, C_T_FOR, req_scope(r));
	if (quiet)
		wire_u64(b, C_T_QUIET, 1);
	ask_send(r, answer);
}

void stream_open(struct req *r, const char *vm, bool quiet, const struct agent_ops *ops, void (*opened)(struct req *r))
{
	stream_open_with(r, vm, quiet, ops, opened, connected);
}

struct buf *stream_begin(struct req *r, uint16_t type)
{
	struct front *f = r->conn->front;

	buf_clear(&f->frame);
	f->frame_mark = wire_begin(&f->frame, type, 1);
	return &f->frame;
}

void stream_send(struct req *r)
{
	struct front *f = r->conn->front;

	if (wire_end(&f->frame, f->frame_mark)) {
		if (r->replied)
			conn_break(r->conn);
		else
			reply_error(r, 400, "the request is too large: command, arguments and environment must stay below 60 KiB");
		return;
	}
	stream_send_raw(r, buf_data(&f->frame), buf_len(&f->frame));
}

void stream_send_raw(struct req *r, const void *p, size_t n)
{
	struct agent *a = &r->agent;

	if (a->fd < 0 || a->out_dead)
		return;
	if (buf_add(&a->out, p, n))
		conn_break(r->conn); /* a sink that was paused is fed no further; only memory can be short here */
	if (buf_len(&a->out) > HIGH_BYTES)
		r->body_paused = true;
}

void stream_send_data(struct req *r, uint16_t type, const uint8_t *p, size_t n)
{
	while (n) {
		size_t take = n < AGENT_DATA_MAX ? n : AGENT_DATA_MAX;
		struct buf *b = stream_begin(r, type);

		wire_bytes(b, A_T_DATA, p, take);
		stream_send(r);
		p += take;
		n -= take;
	}
}

void stream_flush(struct req *r)
{
	struct agent *a = &r->agent;
	int err;

	if (a->fd < 0 || a->out_dead || a->out_full || (!buf_len(&a->out) && !a->out_end))
		return;
	err = buf_write_fd(&a->out, a->fd);
	a->out_full = err == -EAGAIN;
	if (err && err != -EAGAIN) {
		a->out_dead = true; /* what the agent said before it went may still be read */
		buf_clear(&a->out);
	} else if (!err && a->out_end) {
		shutdown(a->fd, SHUT_WR);
		a->out_dead = true;
	}
}

/* Hands over one piece. 1 done, 0 nothing whole is there. */
static int pump_one(struct req *r)
{
	struct agent *a = &r->agent;
	unsigned generation = a->generation;
	struct wire_msg m;
	size_t used = buf_len(&a->in);
	int err;

	if (used == 0)
		return 0;
	if (a->raw) {
		a->ops->raw(r, buf_data(&a->in), used);
	} else {
		err = wire_parse(buf_data(&a->in), used, &m, &used);
		if (err == -EAGAIN)
			return 0;
		if (err) { /* a guest that breaks the protocol is a lost guest */
			a->eof = true;
			buf_clear(&a->in);
			return 0;
		}
		a->ops->frame(r, &m);
	}
	if (a->generation == generation)
		buf_eat(&a->in, used);
	return 1;
}

bool stream_pump(struct req *r)
{
	struct agent *a = &r->agent;
	bool moved = false;

	while (a->fd >= 0 && a->ops && !r->ended && !r->conn->broken && !conn_out_full(r->conn)) {
		if (pump_one(r)) {
			moved = true;
			continue;
		}
		if (!a->eof)
			break;
		a->ops->lost(r);
		moved = true;
		if (a->eof && !r->ended) /* the handler has nothing to say: neither have we */
			conn_break(r->conn);
	}
	return moved;
}

void stream_watch(struct req *r)
{
	struct agent *a = &r->agent;
	struct ev_loop *loop = r->conn->front->loop;
	uint32_t want = 0;

	if (a->fd < 0)
		return;
	if (!a->eof && !conn_out_full(r->conn) && buf_len(&a->in) < WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX)
		want |= EPOLLIN;
	if (buf_len(&a->out))
		want |= EPOLLOUT;
	/* without interest it must leave the set: a hang-up is reported whether asked for or not */
	if (!want)
		ev_del(loop, &a->io);
	else if (a->io.fd >= 0)
		ev_mod(loop, &a->io, want);
	else if (ev_add(loop, &a->io, a->fd, want))
		conn_break(r->conn);
}
