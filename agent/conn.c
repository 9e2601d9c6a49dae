#include "agent/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

_Static_assert(SESSIONS_MAX == 512, "the refusal below says the number");
#define FIRST_READ_BYTES 4096u /* most requests are smaller */
#define FIRST_FRAME_MS 10000u /* a stream that asks nothing for this long is closed */

/* One request type: either served on the loop, or by a child. */
static const struct {
	uint16_t type;
	void (*serve)(struct conn *c, const struct wire_msg *m);
	job_fn *job;
} table[] = {
	{A_EXEC, exec_start, NULL},
	{A_SHELL, exec_start, NULL},
	{A_HEALTH, health_answer, NULL},
	{A_STATS, stats_answer, NULL},
	{A_SECRET_PUT, secret_put, NULL},
	{A_SECRET_DROP, secret_drop, NULL},
	{A_BG_START, bg_start, NULL},
	{A_BG_LIST, bg_list, NULL},
	{A_BG_INFO, bg_info, NULL},
	{A_BG_LOGS, bg_logs, NULL},
	{A_BG_KILL, bg_kill, NULL},
	{A_BG_WAIT, bg_wait, NULL},
	{A_BG_REAP, bg_reap, NULL},
	{A_CP_IN, NULL, copy_in},
	{A_CP_OUT, NULL, copy_out},
	{A_FORWARD, NULL, forward},
	{A_FS_READDIR, NULL, fs_readdir},
	{A_FS_STAT, NULL, fs_stat},
	{A_FS_MKDIR, NULL, fs_mkdir},
	{A_FS_REMOVE, NULL, fs_remove},
	{A_FS_WATCH, NULL, fs_watch},
	{A_GROW, NULL, grow},
	{A_USERDATA, NULL, userdata_run},
	{A_SSH_KEYS, NULL, ssh_keys},
	{A_FIXUP, NULL, fixup},
};

unsigned err_status(int err)
{
	static const struct {
		int err;
		unsigned status;
	} map[] = {
		{-EINVAL, 400}, {-EISDIR, 400}, {-ENOTDIR, 400}, {-ENAMETOOLONG, 400}, {-ELOOP, 400}, {-EPROTO, 400}, {-E2BIG, 400},
		{-EACCES, 403}, {-EPERM, 403}, {-EROFS, 403}, {-ENOENT, 404}, {-EEXIST, 409}, {-ENOTEMPTY, 409}, {-EBUSY, 409},
		{-EIDRM, 410},
		{-EOPNOTSUPP, 501}, {-ENOSYS, 501}, {-ECONNREFUSED, 502}, {-EHOSTUNREACH, 502}, {-ENETUNREACH, 502}, {-EHOSTDOWN, 502},
		{-ETIMEDOUT, 504}, {-EAGAIN, 503}, {-EMFILE, 503}, {-ENOSPC, 507}, {-EDQUOT, 507},
	};
	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (map[i].err == err)
			return map[i].status;
	return 500;
}

void err_frame(struct buf *b, uint32_t id, int err, const struct fault *f, const char *code)
{
	size_t mark = wire_begin(b, WIRE_ERR, id);
	wire_u64(b, WIRE_T_STATUS, err_status(err));
	wire_str(b, WIRE_T_TEXT, f && f->text[0] ? f->text : strerror(-err));
	wire_u64(b, WIRE_T_ERRNO, (uint64_t)-err);
	wire_str(b, WIRE_T_CODE, code);
	wire_end(b, mark);
}

static void conn_free(struct conn *c)
{
	ev_timer_del(c->a->loop, &c->limit);
	ev_del(c->a->loop, &c->io);
	fd_close(&c->fd);
	buf_done(&c->in);
	c->a->sessions--;
	free(c);
}

int conn_take_fd(struct conn *c)
{
	int fd = c->fd;
	ev_del(c->a->loop, &c->io);
	c->fd = -1;
	return fd;
}

/* A small answer fits the socket's buffer; a host that left no room for it gets none. */
void conn_refuse(struct conn *c, uint32_t id, int err, const struct fault *f, const char *code)
{
	struct buf b;
	buf_init(&b, 4096);
	err_frame(&b, id, err, f, code);
	(void)buf_write_fd(&b, c->fd);
	buf_done(&b);
}

static void refuse(struct conn *c, uint32_t id, int err, const char *text)
{
	struct fault f;
	fault_set(&f, err, "%s", text);
	conn_refuse(c, id, err, &f, NULL);
}

static void dispatch(struct conn *c, const struct wire_msg *m)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (table[i].type != m->type)
			continue;
		if (table[i].serve)
			table[i].serve(c, m);
		else
			job_start(c, m, table[i].job);
		return;
	}
	refuse(c, m->id, -ENOSYS, "this agent does not know that request; is the image older than the host's mica?");
}

ssize_t conn_read_some(struct buf *b, int fd)
{
	size_t left = FRAME_MAX - buf_len(b);
	bool small = b->cap <= FIRST_READ_BYTES && buf_len(b) < FIRST_READ_BYTES;
	return buf_read_fd(b, fd, small ? FIRST_READ_BYTES - buf_len(b) : left);
}

/* What there is of the request. False: not all of it; true: served or refused, and c is gone. */
static bool take_request(struct conn *c)
{
	struct wire_msg m;
	size_t used;
	ssize_t n = conn_read_some(&c->in, c->fd);
	if (n == -EAGAIN)
		return false;
	int rc = n > 0 ? wire_parse(buf_data(&c->in), buf_len(&c->in), &m, &used) : -EPIPE;
	if (rc == -EAGAIN)
		return false;
	if (rc == -EPROTO)
		refuse(c, 0, -EPROTO, "not a frame of this protocol");
	if (rc == 0) {
		/* The message points into the buffer; what follows it is seen by handlers as c->in after this. */
		buf_eat(&c->in, used);
		dispatch(c, &m);
	}
	conn_free(c);
	return true;
}

static void on_ready(struct ev_io *io, uint32_t events)
{
	(void)events;
	(void)take_request(io->arg);
}

/* The time is the host's. When a crowd keeps us busy its request may have been here for long. */
static void on_limit(struct ev_timer *t)
{
	struct conn *c = t->arg;
	size_t before;
	do { /* a frame comes in a few reads */
		before = buf_len(&c->in);
		if (take_request(c))
			return;
	} while (buf_len(&c->in) > before);
	conn_free(c);
}

void conn_accept(struct agent *a, int fd_taken)
{
	struct conn *c = calloc(1, sizeof *c);
	if (!c || a->sessions >= SESSIONS_MAX) {
		struct conn brief = {.a = a, .fd = fd_taken};
		refuse(&brief, 0, -EAGAIN, "all 512 streams into this VM are in use (commands, shells, copies, forwards, watches): end some, or try again");
		fd_close(&fd_taken);
		free(c);
		return;
	}
	c->a = a;
	c->fd = fd_taken;
	c->io.fn = on_ready;
	c->io.arg = c;
	c->io.fd = -1;
	c->limit.fn = on_limit;
	c->limit.arg = c;
	buf_init(&c->in, FRAME_MAX);
	a->sessions++;
	if (ev_add(a->loop, &c->io, c->fd, EPOLLIN) < 0 || ev_timer_set(a->loop, &c->limit, FIRST_FRAME_MS) < 0)
		conn_free(c);
}
