#include "agent/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_MS 200u  /* a command has ended but something it left behind holds its output open: this long we read on */
#define KILL_MS 3000u  /* from HUP to KILL once the host is gone */
#define OUT_MAX (AGENT_DATA_MAX + 1024u)
#define TURN_MAX 16u   /* frames moved for one stream before others get their turn */

enum exec_state {
	RUNNING,  /* → DRAINING (command ended), LOST (host gone) */
	DRAINING, /* ended; its last output goes out → ENDING, LOST */
	ENDING,   /* A_EXIT stands in out; once it is written → freed; → LOST */
	LOST      /* group got HUP, KILL follows; output is read and dropped → freed when the process is gone */
};
struct exec {
	struct agent *a;
	enum exec_state state;
	struct ev_io net, from[2], to, death; /* stream; stdout, stderr; stdin; pidfd */
	struct ev_timer timer;
	int fd, from_fd[2], to_fd, pid_fd;    /* owned; -1 when closed. A terminal is from_fd[0] and, dup'ed, to_fd */
	bool tty, killed;
	bool broken;           /* output was lost for want of memory */
	bool counted;          /* the grace is over: only left[] more bytes are read */
	size_t left[2];
	pid_t pid;
	int code, sig;
	struct buf in;         /* frames from the host; an A_STDIN that is not taken yet stays at the front */
	size_t in_used;        /* bytes of that frame's DATA the command has taken */
	struct buf out;        /* one frame to the host; while it is not empty nothing is read from the command */
};

static void exec_free(struct exec *x)
{
	struct ev_loop *l = x->a->loop;
	ev_timer_del(l, &x->timer);
	ev_del(l, &x->net);
	ev_del(l, &x->from[0]);
	ev_del(l, &x->from[1]);
	ev_del(l, &x->to);
	ev_del(l, &x->death);
	fd_close(&x->fd);
	fd_close(&x->from_fd[0]);
	fd_close(&x->from_fd[1]);
	fd_close(&x->to_fd);
	fd_close(&x->pid_fd);
	if (x->pid)
		waitpid(x->pid, NULL, 0); /* has ended: every caller saw its pidfd ready */
	buf_done(&x->in);
	buf_done(&x->out);
	x->a->sessions--;
	free(x);
}

static void close_from_command(struct exec *x, unsigned i)
{
	ev_del(x->a->loop, &x->from[i]);
	fd_close(&x->from_fd[i]);
}

static void close_stdin(struct exec *x)
{
	ev_del(x->a->loop, &x->to);
	fd_close(&x->to_fd);
}

/* The host is gone: nothing of this command is wanted any more. May free x when it is already over. */
static void lose(struct exec *x)
{
	if (x->state == LOST)
		return;
	if (x->state == ENDING) { /* it had ended; only the host missed the news */
		exec_free(x);
		return;
	}
	ev_del(x->a->loop, &x->net);
	fd_close(&x->fd);
	close_stdin(x);
	buf_clear(&x->out);
	for (unsigned i = 0; i < 2; i++) {
		/* A pipe stays open for a while: SIGPIPE would end a command before it has cleaned up. A terminal hangs up by closing. */
		if (x->tty)
			close_from_command(x, i);
		else if (x->from_fd[i] >= 0 && x->from[i].fd < 0)
			(void)ev_add(x->a->loop, &x->from[i], x->from_fd[i], EPOLLIN);
	}
	kill(-x->pid, SIGHUP); /* not reaped yet, so the group's number is still ours */
	kill(-x->pid, SIGCONT);
	x->state = LOST;
	if (ev_timer_set(x->a->loop, &x->timer, KILL_MS) < 0) {
		kill(-x->pid, SIGKILL);
		x->killed = true;
	}
}

/* Watches exactly what can make progress now. */
static void watch(struct exec *x)
{
	bool blocked = buf_len(&x->out) > 0, stdin_waits = x->in_used > 0 || x->to.fd >= 0;
	uint32_t want = EPOLLRDHUP | (blocked ? EPOLLOUT : 0u) | (stdin_waits ? 0u : EPOLLIN);
	(void)ev_mod(x->a->loop, &x->net, want);
	for (unsigned i = 0; i < 2; i++) {
		if (x->from_fd[i] < 0)
			continue;
		if (blocked) /* removed, not muted: a hang-up is always reported and would spin */
			ev_del(x->a->loop, &x->from[i]);
		else if (x->from[i].fd < 0)
			(void)ev_add(x->a->loop, &x->from[i], x->from_fd[i], EPOLLIN);
	}
}

/* 0 all out; -EAGAIN; other: the host is gone. */
static int flush(struct exec *x)
{
	return buf_len(&x->out) ? buf_write_fd(&x->out, x->fd) : 0;
}

/* After every change: ends the conversation when its last frame is out. Returns false when x is gone or lost. */
static bool settle(struct exec *x)
{
	size_t mark;
	int rc = flush(x);
	if (rc < 0 && rc != -EAGAIN) {
		lose(x);
		return false;
	}
	if (x->state == DRAINING && rc == 0 && x->from_fd[0] < 0 && x->from_fd[1] < 0) {
		mark = wire_begin(&x->out, A_EXIT, 0);
		wire_u64(&x->out, A_T_CODE, (uint64_t)x->code);
		wire_u64(&x->out, A_T_TIME_NS, now_real_ns());
		if (x->sig)
			wire_u64(&x->out, A_T_SIGNAL, (uint64_t)x->sig);
		wire_end(&x->out, mark);
		x->state = ENDING;
		rc = flush(x);
	}
	if (x->state == ENDING && (rc == 0 || rc != -EAGAIN)) {
		exec_free(x);
		return false;
	}
	watch(x);
	return true;
}

/* One frame of output. Bytes; 0 at the end; -EAGAIN. Read aside, so that a command that says little takes little room. */
static ssize_t read_frame(struct exec *x, unsigned i)
{
	static uint8_t aside[AGENT_DATA_MAX]; /* one thread */
	size_t mark, n = sizeof aside;
	if (x->counted && n > x->left[i])
		n = x->left[i];
	ssize_t got = n ? read(x->from_fd[i], aside, n) : 0;
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0; /* EIO: the terminal's last user closed it */
	if (got == 0)
		return 0;
	mark = wire_begin(&x->out, i ? A_STDERR : A_STDOUT, 0);
	wire_bytes(&x->out, A_T_DATA, aside, (size_t)got);
	if (wire_end(&x->out, mark)) { /* out of memory: what was read is gone, so the stream ends without A_EXIT */
		x->broken = true;
		buf_clear(&x->out);
	}
	if (x->counted)
		x->left[i] -= (size_t)got;
	return got;
}

static void pump(struct exec *x, unsigned i)
{
	if (x->state == LOST) {
		if (read_frame(x, i) == 0)
			close_from_command(x, i);
		buf_clear(&x->out);
		return;
	}
	for (unsigned turn = 0; turn < TURN_MAX && x->from_fd[i] >= 0 && buf_len(&x->out) == 0; turn++) {
		ssize_t got = read_frame(x, i);
		if (got == 0)
			close_from_command(x, i);
		if (got <= 0)
			break;
		if (x->broken) {
			lose(x);
			return;
		}
		if (flush(x) < 0)
			break;
	}
	(void)settle(x);
}

static void on_stdout(struct ev_io *io, uint32_t events)
{
	(void)events;
	pump(io->arg, 0);
}

static void on_stderr(struct ev_io *io, uint32_t events)
{
	(void)events;
	pump(io->arg, 1);
}

/* Gives the front frame's bytes to the command. 0 all taken (or nobody there to take them), -EAGAIN. */
static int give_stdin(struct exec *x, const struct wire_field *d)
{
	while (x->to_fd >= 0 && x->in_used < d->n) {
		ssize_t n = write(x->to_fd, d->p + x->in_used, d->n - x->in_used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (x->to.fd < 0)
				(void)ev_add(x->a->loop, &x->to, x->to_fd, EPOLLOUT);
			return -EAGAIN;
		}
		if (n < 0)
			close_stdin(x); /* EPIPE: the command does not want more */
		else
			x->in_used += (size_t)n;
	}
	ev_del(x->a->loop, &x->to);
	x->in_used = 0;
	return 0;
}

static void end_stdin(struct exec *x)
{
	static const char end_of_transmission = 4;
	if (!x->tty)
		close_stdin(x);
	else if (x->to_fd >= 0)
		(void)!write(x->to_fd, &end_of_transmission, 1);
}

static void set_window(struct exec *x, const struct wire_msg *m)
{
	uint64_t cols, rows;
	if (!x->tty || x->from_fd[0] < 0 || !wire_get_u64(m, A_T_COLS, &cols) || !wire_get_u64(m, A_T_ROWS, &rows))
		return;
	struct winsize ws = {.ws_col = (unsigned short)(cols > 65535 ? 65535 : cols), .ws_row = (unsigned short)(rows > 65535 ? 65535 : rows)};
	(void)ioctl(x->from_fd[0], TIOCSWINSZ, &ws);
}

/* One frame from the host: 0 done with it, -EAGAIN it has to wait. */
static int obey(struct exec *x, const struct wire_msg *m)
{
	struct wire_field d;
	uint64_t sig;
	switch (m->type) {
	case A_STDIN:
		return wire_get(m, A_T_DATA, &d) ? give_stdin(x, &d) : 0;
	case A_STDIN_EOF:
		end_stdin(x);
		return 0;
	case A_SIGNAL:
		if (x->state == RUNNING && wire_get_u64(m, A_T_SIGNAL, &sig) && sig >= 1 && sig <= 64)
			kill(-x->pid, (int)sig);
		return 0;
	case A_WINSIZE:
		set_window(x, m);
		return 0;
	default: /* from a newer host */
		return 0;
	}
}

/* Every whole frame in the buffer. 0, or -EPROTO. */
static int obey_all(struct exec *x)
{
	struct wire_msg m;
	size_t used;
	int rc;
	while ((rc = wire_parse(buf_data(&x->in), buf_len(&x->in), &m, &used)) == 0) {
		if (obey(x, &m) == -EAGAIN)
			return 0;
		buf_eat(&x->in, used);
	}
	return rc == -EAGAIN ? 0 : rc;
}

static void on_net(struct ev_io *io, uint32_t events)
{
	struct exec *x = io->arg;
	bool reading = (io->events & EPOLLIN) != 0;
	ssize_t n = 1;
	if (events & (EPOLLHUP | EPOLLERR)) {
		lose(x);
		return;
	}
	if (reading && (events & (EPOLLIN | EPOLLRDHUP))) {
		n = conn_read_some(&x->in, x->fd);
		if (n > 0 && obey_all(x) < 0)
			n = -EPROTO;
	} else if (events & EPOLLRDHUP) {
		n = 0; /* closed while the command does not take what came before */
	}
	if (n == 0 || (n < 0 && n != -EAGAIN))
		lose(x);
	else
		(void)settle(x);
}

static void on_stdin_room(struct ev_io *io, uint32_t events)
{
	struct exec *x = io->arg;
	(void)events;
	if (obey_all(x) < 0)
		lose(x);
	else
		(void)settle(x);
}

static void on_death(struct ev_io *io, uint32_t events)
{
	struct exec *x = io->arg;
	siginfo_t si = {0};
	(void)events;
	/* Not reaped yet: while it is a zombie nobody else can get its number, so the group can still be signalled. */
	if (waitid(P_PID, (id_t)x->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
		return;
	if (x->state == LOST) {
		ev_del(x->a->loop, &x->death);
		if (x->killed)
			exec_free(x);
		return;
	}
	ev_del(x->a->loop, &x->death);
	x->sig = si.si_code == CLD_EXITED ? 0 : si.si_status;
	x->code = x->sig ? 128 + x->sig : si.si_status & 0xff;
	x->state = DRAINING;
	close_stdin(x);
	(void)obey_all(x); /* drops what waited for it */
	if (ev_timer_set(x->a->loop, &x->timer, GRACE_MS) < 0) {
		close_from_command(x, 0);
		close_from_command(x, 1);
	}
	(void)settle(x);
}

/* The grace is over: what stands in the pipes now was written in time and still goes out, nothing after it. */
static void count_rest(struct exec *x)
{
	x->counted = true;
	for (unsigned i = 0; i < 2; i++) {
		int n = 0;
		if (x->from_fd[i] < 0)
			continue;
		if (ioctl(x->from_fd[i], FIONREAD, &n) < 0 || n <= 0)
			close_from_command(x, i);
		else
			x->left[i] = (size_t)n;
	}
	(void)settle(x);
}

static void on_timer(struct ev_timer *t)
{
	struct exec *x = t->arg;
	if (x->state == DRAINING) {
		count_rest(x);
	} else if (x->state == LOST) {
		kill(-x->pid, SIGKILL);
		x->killed = true;
		if (x->death.fd < 0)
			exec_free(x); /* it had ended before; the KILL was for its group */
	}
}

static struct exec *exec_new(struct conn *c)
{
	struct exec *x = calloc(1, sizeof *x);
	if (!x)
		return NULL;
	x->a = c->a;
	x->fd = x->from_fd[0] = x->from_fd[1] = x->to_fd = x->pid_fd = -1;
	x->net.fn = on_net;
	x->from[0].fn = on_stdout;
	x->from[1].fn = on_stderr;
	x->to.fn = on_stdin_room;
	x->death.fn = on_death;
	x->timer.fn = on_timer;
	struct ev_io *const all[] = {&x->net, &x->from[0], &x->from[1], &x->to, &x->death};
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		all[i]->fd = -1;
		all[i]->arg = x;
	}
	x->timer.arg = x;
	buf_init(&x->out, OUT_MAX);
	x->in = c->in; /* with what came behind the request */
	buf_init(&c->in, 0);
	x->a->sessions++;
	return x;
}

int exec_run(struct conn *c, const struct spawn *s, const struct plumbing *p)
{
	size_t mark;
	struct exec *x = exec_new(c);
	if (!x)
		return -ENOMEM;
	x->fd = conn_take_fd(c);
	x->pid = s->pid;
	x->tty = s->tty;
	x->from_fd[0] = p->from[0];
	x->from_fd[1] = p->from[1];
	x->to_fd = p->to;
	x->pid_fd = pidfd_of(s->pid);
	mark = wire_begin(&x->out, A_STARTED, 0);
	wire_u64(&x->out, A_T_PID, (uint64_t)s->pid);
	wire_u64(&x->out, A_T_TIME_NS, now_real_ns());
	wire_end(&x->out, mark);
	if (x->pid_fd < 0 || ev_add(x->a->loop, &x->death, x->pid_fd, EPOLLIN) < 0 || ev_add(x->a->loop, &x->net, x->fd, EPOLLRDHUP) < 0) {
		kill(-s->pid, SIGKILL);
		exec_free(x); /* waits for it */
		return 0;
	}
	if (obey_all(x) < 0)
		lose(x);
	else
		(void)settle(x);
	return 0;
}
