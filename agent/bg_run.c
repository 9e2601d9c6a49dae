#include "agent/bg.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DRAIN_MS 200u /* as for commands in the foreground: so long is read on after the end */
#define TURN_MAX 16u  /* frames read before others get their turn */

static uint8_t scratch[AGENT_DATA_MAX]; /* one thread: a frame on its way from a pipe to its ring */

static void close_output(struct bg_exec *x, unsigned i)
{
	ev_del(x->a->loop, &x->from[i]);
	fd_close(&x->from_fd[i]);
}

/* As long as it is not waited for, nobody else can get its number, and the group can be signalled. */
static void release(struct bg_exec *x)
{
	if (x->pid)
		waitpid(x->pid, NULL, 0); /* has ended: its pidfd was ready */
	x->pid = 0;
}

/* Its last output stands in the ring: now, and not before, it has ended for everybody. */
static void finish(struct bg_exec *x)
{
	if (!x->dead || x->ended || x->from_fd[0] >= 0 || x->from_fd[1] >= 0)
		return;
	ev_timer_del(x->a->loop, &x->drain);
	x->ended = true;
	x->exit_id = x->ring.next_id;
	if (!x->escalating)
		release(x);
	bg_wake(x);
}

/* One frame. Bytes; 0: the pipe is at its end; -EAGAIN. */
static ssize_t take(struct bg_exec *x, unsigned i, size_t most)
{
	size_t n = ring_frame_max(&x->ring);
	if (n > sizeof scratch)
		n = sizeof scratch;
	if (n > most)
		n = most;
	ssize_t got = read(x->from_fd[i], scratch, n);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	if (got > 0)
		ring_put(&x->ring, i ? A_STDERR : A_STDOUT, now_real_ns(), scratch, (size_t)got);
	return got;
}

static void pump(struct bg_exec *x, unsigned i)
{
	for (unsigned turn = 0; turn < TURN_MAX; turn++) {
		ssize_t got = take(x, i, sizeof scratch);
		if (got == 0)
			close_output(x, i);
		if (got <= 0)
			break;
	}
	bg_wake(x);
	finish(x);
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

/* What stands in the pipes now was written in time; nothing after it is taken. */
static void on_drained(struct ev_timer *t)
{
	struct bg_exec *x = t->arg;
	for (unsigned i = 0; i < 2; i++) {
		int left = 0;
		if (x->from_fd[i] < 0)
			continue;
		(void)ioctl(x->from_fd[i], FIONREAD, &left);
		while (left > 0) {
			ssize_t got = take(x, i, (size_t)left);
			if (got <= 0)
				break;
			left -= (int)got;
		}
		close_output(x, i);
	}
	bg_wake(x);
	finish(x);
}

static void on_death(struct ev_io *io, uint32_t events)
{
	struct bg_exec *x = io->arg;
	siginfo_t si = {0};
	(void)events;
	if (waitid(P_PID, (id_t)x->pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
		return;
	ev_del(x->a->loop, &x->death);
	fd_close(&x->pid_fd);
	x->dead = true;
	x->end_ns = now_real_ns();
	x->sig = si.si_code == CLD_EXITED ? 0 : si.si_status;
	x->code = x->sig ? 128 + x->sig : si.si_status & 0xff;
	if (ev_timer_set(x->a->loop, &x->drain, DRAIN_MS) < 0)
		on_drained(&x->drain);
	else
		finish(x);
}

static void on_escalate(struct ev_timer *t)
{
	struct bg_exec *x = t->arg;
	x->escalating = false;
	if (x->pid)
		kill(-x->pid, SIGKILL);
	if (x->ended)
		release(x);
}

bool bg_signal(struct bg_exec *x, int sig, uint64_t grace_ms)
{
	if (x->ended || !x->pid)
		return false;
	kill(-x->pid, sig);
	if (sig != SIGTERM && sig != SIGKILL)
		return true;
	x->escalating = sig == SIGTERM;
	ev_timer_del(x->a->loop, &x->escalate);
	if (x->escalating && (grace_ms == 0 || ev_timer_set(x->a->loop, &x->escalate, grace_ms) < 0))
		on_escalate(&x->escalate);
	return true;
}

int bg_run(struct bg_exec *x, const struct plumbing *p)
{
	struct ev_io *const all[] = {&x->from[0], &x->from[1], &x->death};
	int rc = 0;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		all[i]->fd = -1;
		all[i]->arg = x;
	}
	x->from[0].fn = on_stdout;
	x->from[1].fn = on_stderr;
	x->death.fn = on_death;
	x->drain.fn = on_drained;
	x->escalate.fn = on_escalate;
	x->drain.arg = x->escalate.arg = x;
	x->pid_fd = pidfd_of(x->pid);
	rc = x->pid_fd < 0 ? x->pid_fd : ev_add(x->a->loop, &x->death, x->pid_fd, EPOLLIN);
	for (unsigned i = 0; i < 2; i++) {
		x->from_fd[i] = p->from[i];
		if (rc == 0)
			rc = ev_add(x->a->loop, &x->from[i], x->from_fd[i], EPOLLIN);
	}
	if (rc < 0) {
		kill(-x->pid, SIGKILL);
		bg_stop(x);
	}
	return rc;
}

void bg_stop(struct bg_exec *x)
{
	if (x->escalating && x->pid)
		kill(-x->pid, SIGKILL); /* what would have come at the end of the grace */
	ev_timer_del(x->a->loop, &x->drain);
	ev_timer_del(x->a->loop, &x->escalate);
	close_output(x, 0);
	close_output(x, 1);
	ev_del(x->a->loop, &x->death);
	fd_close(&x->pid_fd);
	release(x);
}
