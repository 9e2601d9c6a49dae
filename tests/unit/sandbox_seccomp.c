#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/sandbox/sandbox.h"
#include "tests/unit/tap.h"

static const struct sandbox_rule rules[] = {
	SANDBOX_ALLOW(write), SANDBOX_ALLOW(exit_group), SANDBOX_ALLOW_ARG(ioctl, 1, FIONREAD), SANDBOX_ALLOW_ARG(ioctl, 1, FIONBIO),
};

/* Runs one system call behind the filter in a child; its wait status. */
static int behind_filter(long nr, long a, long b, long c)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		if (sandbox_seccomp(rules, ARRAY_LEN(rules)))
			_exit(99);
		syscall(nr, a, b, c);
		syscall(SYS_exit_group, 7);
	}
	int status = 0;
	waitpid(pid, &status, 0);
	return status;
}

static bool killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool passed(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

/* On a kernel without Landlock, which a filter plays here. */
static bool dumps_end_without_landlock(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = ARRAY_LEN(code), .filter = code};
	int status = 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog))
			_exit(98);
		_exit(sandbox_no_paths() == -EOPNOTSUPP && prctl(PR_GET_DUMPABLE) == 0 ? 7 : 1);
	}
	waitpid(pid, &status, 0);
	return passed(status);
}

/* A thread's filter takes no_new_privs for granted: without it, and without rights, the kernel refuses. */
static bool thread_needs_no_new_privs(void)
{
	int status = 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		bool had = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) > 0; /* of whoever started the tests */
		if (sandbox_keep_caps(0, NULL) || (!had && sandbox_seccomp_thread(rules, ARRAY_LEN(rules)) != -EACCES))
			_exit(1);
		_exit(sandbox_no_new_privs() || sandbox_seccomp_thread(rules, ARRAY_LEN(rules)) ? 2 : 7);
	}
	waitpid(pid, &status, 0);
	return passed(status);
}

int main(void)
{
	int n = 0, p[2];
	if (pipe(p))
		return 1;
	ok(killed(behind_filter(SYS_getpid, 0, 0, 0)), "a call that is not listed kills");
	ok(killed(behind_filter(SYS_ioctl, p[0], TIOCSTI, (long)&n)), "a listed call with another argument kills");
	ok(killed(behind_filter(0x40000000 | SYS_write, 1, 0, 0)), "x32 numbers kill");
	ok(passed(behind_filter(SYS_write, p[1], (long)"x", 1)), "a listed call passes");
	ok(passed(behind_filter(SYS_ioctl, p[0], FIONREAD, (long)&n)) && passed(behind_filter(SYS_ioctl, p[0], FIONBIO, (long)&n)), "each listed argument passes");
	static const struct sandbox_rule many[SANDBOX_RULES_MAX + 1];
	ok(sandbox_seccomp(many, SANDBOX_RULES_MAX + 1) == -E2BIG, "too many rows are refused");
	ok(thread_needs_no_new_privs(), "a thread's filter: refused without no_new_privs, set with it");
	ok(dumps_end_without_landlock(), "no memory is dumped, Landlock or not");
	return tap_done();
}
