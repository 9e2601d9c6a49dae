#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOB_FD 3
#define LINGER_MS 5000 /* how long a refused host may take to read why */

/* In the parent: a child that works for one stream. */
struct child {
	struct agent *a;
	struct ev_io death;
	int pid_fd; /* owned */
	pid_t pid;
};

static void on_death(struct ev_io *io, uint32_t events)
{
	struct child *k = io->arg;
	(void)events;
	ev_del(k->a->loop, &k->death);
	fd_close(&k->pid_fd);
	waitpid(k->pid, NULL, 0);
	k->a->sessions--;
	free(k);
}

/* In the child: only its own stream stays open, so that other streams end when their owners close them. */
static void run(struct conn *c, const struct wire_msg *m, job_fn *fn)
{
	struct job j = {.a = c->a, .fd = JOB_FD, .in = c->in, .req = m};
	if (c->fd != JOB_FD && dup2(c->fd, JOB_FD) < 0)
		_exit(1);
	(void)close_from(JOB_FD + 1);
	(void)fd_set_nonblock(JOB_FD, false);
	/* The request stands where the stream's next bytes would go: it moves out of their way. */
	uint8_t *copy = malloc(m->n ? m->n : 1);
	if (!copy)
		_exit(1);
	memcpy(copy, m->p, m->n);
	struct wire_msg own = {.type = m->type, .id = m->id, .p = copy, .n = m->n};
	j.req = &own;
	buf_init(&j.out, FRAME_MAX);
	fn(&j);
	_exit(0);
}

void job_start(struct conn *c, const struct wire_msg *m, job_fn *fn)
{
	struct child *k = calloc(1, sizeof *k);
	pid_t pid = k ? fork() : -1;
	if (pid == 0)
		run(c, m, fn);
	if (pid < 0) {
		struct buf b;
		buf_init(&b, 1024);
		err_frame(&b, m->id, -EAGAIN, NULL, NULL);
		(void)buf_write_fd(&b, c->fd);
		buf_done(&b);
		free(k);
		return;
	}
	*k = (struct child){.a = c->a, .pid = pid, .pid_fd = pidfd_of(pid), .death = {.fn = on_death, .arg = k, .fd = -1}};
	c->a->sessions++;
	if (k->pid_fd < 0 || ev_add(c->a->loop, &k->death, k->pid_fd, EPOLLIN) < 0) {
		kill(pid, SIGKILL);
		on_death(&k->death, 0);
	}
}

int job_next(struct job *j, struct wire_msg *m)
{
	size_t used;
	for (;;) {
		int rc = wire_parse(buf_data(&j->in), buf_len(&j->in), m, &used);
		if (rc == 0) {
			/* Its bytes stay where they are until the next read. */
			buf_eat(&j->in, used);
			return 0;
		}
		if (rc != -EAGAIN)
			return rc;
		ssize_t n = buf_read_fd(&j->in, j->fd, FRAME_MAX - buf_len(&j->in));
		if (n <= 0)
			return -EPIPE;
	}
}

int job_send(struct job *j)
{
	int rc = j->out.failed ? -ENOBUFS : buf_write_fd(&j->out, j->fd);
	buf_clear(&j->out);
	return rc;
}

void job_ok(struct job *j)
{
	wire_end(&j->out, wire_begin(&j->out, WIRE_OK, j->req->id));
	(void)job_send(j);
}

void job_refuse(struct job *j, int err, const struct fault *f)
{
	struct pollfd p = {.fd = j->fd, .events = POLLIN};
	uint64_t until = now_mono_ms() + LINGER_MS;
	buf_clear(&j->out);
	err_frame(&j->out, j->req->id, err, f, NULL);
	if (job_send(j) < 0)
		return;
	/* Bytes the host has sent meanwhile are read away: closing over them would reset the stream, and the sentence with it. */
	(void)shutdown(j->fd, SHUT_WR);
	while (now_mono_ms() < until && poll(&p, 1, 250) >= 0) {
		buf_clear(&j->in);
		if (p.revents && buf_read_fd(&j->in, j->fd, FRAME_MAX) <= 0)
			return;
	}
}
