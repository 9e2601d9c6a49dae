/* vmm/machine/sandbox.c: what the main thread's filter lets through, tried in children. */
#include "tests/unit/tap.h"
#include "lib/sandbox/sandbox.h"
#include "vmm/machine/machine.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
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

/* As a network card's thread waits. */
static void waits_for_events(void)
{
	int fd = (int)syscall(SYS_epoll_create1, 0);
	struct epoll_event e;

	machine_sandbox_net(NULL);
	epoll_wait(fd, &e, 1, 300);
}

static void disk_waits(void)
{
	int fd = (int)syscall(SYS_epoll_create1, 0);
	struct epoll_event e;

	machine_sandbox_disk(NULL);
	epoll_wait(fd, &e, 1, 300);
	syscall(SYS_preadv2, -1, NULL, 0, 0, 0, 0);
}

static void disk_writes(void)
{
	machine_sandbox_disk(NULL);
	syscall(SYS_pwritev, -1, NULL, 0, 0, 0);
}

static void worker_writes(void)
{
	machine_sandbox_disk_io(NULL);
	syscall(SYS_pwritev, -1, NULL, 0, 0, 0);
	syscall(SYS_fdatasync, -1);
	syscall(SYS_fallocate, -1, 0, 0, 0);
}

static void worker_sets_up_a_ring(void)
{
	machine_sandbox_disk_io(NULL);
	syscall(SYS_io_uring_setup, 1, NULL);
}

static void maps(void)
{
	machine_sandbox_net(NULL);
	syscall(SYS_mmap, NULL, 4096, 0, 0, -1, 0);
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
static int behind(int (*filter)(struct fault *f), void (*fn)(void), bool stop)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (filter(NULL))
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

static int behind_filter(void (*fn)(void), bool stop)
{
	return behind(machine_sandbox_main, fn, stop);
}

static int no_filter(struct fault *f)
{
	(void)f;
	return 0; /* fn sets its own */
}

int main(void)
{
	int s;

	if (sandbox_no_new_privs()) /* as machine_sandbox_process() has it before there are threads */
		return 1;
	s = behind_filter(opens, false);
	ok(WIFSIGNALED(s) && WTERMSIG(s) == SIGSYS, "an open ends the process");
	s = behind_filter(waits, false);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "waiting is fine");
	s = behind_filter(waits, true);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "so it is for one that was stopped");
	s = behind_filter(waits_for_vcpus, true);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "and while vCPUs are being paused");
	s = behind(no_filter, waits_for_events, true);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "a network card's thread may wait, stopped or not");
	s = behind(no_filter, maps, false);
	ok(WIFSIGNALED(s) && WTERMSIG(s) == SIGSYS, "it may not get memory");
	s = behind(no_filter, disk_waits, true);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "a disk's thread may wait and look into the page cache");
	s = behind(no_filter, disk_writes, false);
	ok(WIFSIGNALED(s) && WTERMSIG(s) == SIGSYS, "it may not write: its workers do");
	s = behind(no_filter, worker_writes, false);
	ok(WIFEXITED(s) && WEXITSTATUS(s) == 7, "which may");
	s = behind(no_filter, worker_sets_up_a_ring, false);
	ok(WIFSIGNALED(s) && WTERMSIG(s) == SIGSYS, "and may not have an io_uring");
	return tap_done();
}
