/* vmm/machine/sandbox.c: what the main thread's filter lets through, tried in children. */
#include "tests/unit/tap.h"
#include "vmm/machine/machine.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What sandbox.c calls for a thread whose filter fails. */
void machine_end(struct machine *m, enum machine_reason why, struct machine_vcpu *v, const char *fmt, ...)
{
	(void)m, (void)why, (void)v, (void)fmt;
	abort();
}

static void opens(void)
{
	syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY);
}

static void waits(void)
{
	poll(NULL, 0, 300);
}

static void waits_for_vcpus(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 300000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&lock);
	while (!pthread_cond_timedwait(&never, &lock, &until))
		;
}

/* Wait status of a child that does this behind the filter; stopped and continued meanwhile, as a host that sleeps does to all. */
static int behind_filter(void (*fn)(void), bool stop)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (machine_sandbox_main(NULL))
			_exit(99);
		fn();
		_exit(7);
	}
	if (stop) {
		usleep(100000);
		kill(pid, SIGSTOP);
		waitpid(pid, &status, WUNTRACED);
		kill(pid, SIGCONT);
	}
	waitpid(pid, &status, 0);
	return status;
}

int main(void)
{
	int s = behind_filter(opens, false);

	ok(WIFSIGNALED(s) && WTERMSIG(s) == SIGSYS, "an open ends the process");
	s = behind_filter(waits, false);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "waiting is fine");
	s = behind_filter(waits, true);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "so it is for one that was stopped");
	s = behind_filter(waits_for_vcpus, true);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "and while vCPUs are being paused");
	return tap_done();
}
