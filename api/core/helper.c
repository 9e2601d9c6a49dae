#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/core/helper.h"

static void reap(struct helper *h)
{
	ev_del(h->loop, &h->io);
	fd_close(&h->fd);
	while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
		;
	h->loop = NULL;
}

static void on_result(struct ev_io *io, uint32_t events)
{
	struct helper *h = io->arg;
	int err;

	(void)events;
	if (read_full(h->fd, &err, sizeof(err)) != (ssize_t)sizeof(err))
		err = -EIO;
	reap(h);
	h->done(h, err);
}

/* A child of the daemon, alone: dies with its parent and takes none of its signals' meaning. */
static void child(int out, pid_t parent, int (*work)(void *), void *arg)
{
	sigset_t none;
	int err = -EIO;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGTERM, SIG_IGN);
	setpriority(PRIO_PROCESS, 0, 0); /* core is preferred to VMs (cli/stack.c), its copying is not */
	if (getppid() == parent)
		err = work(arg);
	write_full(out, &err, sizeof(err));
	_exit(0);
}

int helper_start(struct helper *h, struct ev_loop *loop, int (*work)(void *), void *arg)
{
	pid_t self = getpid();
	int p[2], r;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	h->pid = fork();
	if (h->pid == 0)
		child(p[1], self, work, arg);
	r = h->pid < 0 ? -errno : 0;
	close(p[1]);
	h->fd = p[0];
	h->io = (struct ev_io){ .fn = on_result, .arg = h, .fd = -1 };
	h->loop = loop;
	if (!r)
		r = ev_add(loop, &h->io, h->fd, EPOLLIN);
	if (r) {
		if (h->pid > 0) {
			kill(h->pid, SIGKILL);
			reap(h);
		}
		fd_close(&h->fd);
		h->loop = NULL;
	}
	return r;
}

void helper_cancel(struct helper *h)
{
	if (!h->loop)
		return;
	kill(h->pid, SIGKILL);
	reap(h);
}
