#include "cli/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between the numbers we hand out and the copies they are made from. */
#define HIGH 64

/* In the child. Only async-signal-safe calls; never returns. */
static void become(const struct spawn_ask *ask, const int *want, unsigned n)
{
	static char *const env[] = { (char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)(uintptr_t) "LANG=C", NULL };
	int high[3 + SPAWN_FDS_MAX], program = fcntl(ask->program, F_DUPFD_CLOEXEC, HIGH);
	sigset_t none;
	if (ask->own_group)
		setpgid(0, 0);
	if (ask->nice)
		setpriority(PRIO_PROCESS, 0, ask->nice); /* only root may go below 0: else it is as others */
	for (unsigned i = 0; i < n; i++)
		high[i] = want[i] >= 0 ? fcntl(want[i], F_DUPFD_CLOEXEC, HIGH) : -1;
	for (unsigned i = 0; i < n; i++) {
		close((int)i);
		if (want[i] >= 0 && dup2(high[i], (int)i) < 0)
			_exit(125);
	}
	int self = dup2(program, (int)n);
	if (self < 0 || fd_set_cloexec(self, true))
		_exit(125);
	close_from((int)n + 1);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fexecve(self, ask->argv, env);
	_exit(126);
}

pid_t spawn(const struct spawn_ask *ask)
{
	int want[3 + SPAWN_FDS_MAX] = { ask->in, ask->out, ask->err };
	AUTO_FD null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return -errno;
	if (ask->n_fds > SPAWN_FDS_MAX)
		return -E2BIG;
	for (unsigned i = 0; i < 3; i++)
		want[i] = want[i] >= 0 ? want[i] : null;
	for (unsigned i = 0; i < ask->n_fds; i++)
		want[3 + i] = ask->fds[i];
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		become(ask, want, 3 + ask->n_fds);
	if (ask->own_group)
		setpgid(pid, pid);
	return pid;
}

int spawn_capture(int program, char *const *argv, char *out, size_t cap, int limit_ms, struct fault *f)
{
	int p[2], status = 0;
	if (pipe2(p, O_CLOEXEC))
		return fault_errno(f, -errno, "pipe");
	AUTO_FD from = p[0];
	pid_t pid = spawn(&(struct spawn_ask){ .program = program, .argv = argv, .in = -1, .out = p[1], .err = -1 });
	close(p[1]);
	if (pid < 0)
		return fault_errno(f, pid, argv[0]);
	uint64_t end = now_mono_ms() + (uint64_t)limit_ms;
	size_t have = 0;
	int err = 0;
	for (;;) {
		uint64_t now = now_mono_ms();
		struct pollfd pfd = { .fd = from, .events = POLLIN };
		int got = now < end ? poll(&pfd, 1, (int)(end - now)) : 0;
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			err = -ETIMEDOUT;
			kill(pid, SIGKILL);
			break;
		}
		char drop[512];
		bool room = have < cap - 1;
		ssize_t n = read(from, room ? out + have : drop, room ? cap - 1 - have : sizeof(drop));
		if (n <= 0)
			break;
		have += room ? (size_t)n : 0;
	}
	out[have] = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (err)
		return fault_set(f, err, "%s gave no answer within %d ms", argv[0], limit_ms);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return fault_set(f, -EIO, "%s ended with %s %d", argv[0], WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status)
			? WTERMSIG(status) : WEXITSTATUS(status));
	return 0;
}
