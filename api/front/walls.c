/* What front gives up before it reads its first byte: the view of files and networks, the user, paths, system calls. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "api/front/front.h"
#include "lib/sandbox/sandbox.h"

/*
 * Syscalls: of lib/ev: epoll_ctl epoll_pwait epoll_wait rt_sigprocmask rt_sigreturn restart_syscall
 * Syscalls: of lib/wire/chan and connections: recvmsg sendmsg dup fcntl setsockopt accept4 read readv write writev shutdown getsockname close
 * Syscalls: of files that core hands over: fstat newfstatat pread64
 * Syscalls: of everybody, with getrandom for masks of WebSockets: clock_gettime getrandom brk mmap mprotect munmap mremap madvise futex exit exit_group
 */
static const struct sandbox_rule rules[] = {
	SANDBOX_ALLOW(epoll_ctl), SANDBOX_ALLOW(epoll_pwait), SANDBOX_ALLOW(epoll_wait),
	SANDBOX_ALLOW(read), SANDBOX_ALLOW(readv), SANDBOX_ALLOW(write), SANDBOX_ALLOW(writev), SANDBOX_ALLOW(close),
	SANDBOX_ALLOW(recvmsg), SANDBOX_ALLOW(sendmsg), SANDBOX_ALLOW(accept4), SANDBOX_ALLOW(shutdown), SANDBOX_ALLOW(getsockname),
	SANDBOX_ALLOW(setsockopt), SANDBOX_ALLOW(dup), SANDBOX_ALLOW(fcntl), SANDBOX_ALLOW(fstat), SANDBOX_ALLOW(pread64),
	SANDBOX_ALLOW(clock_gettime), SANDBOX_ALLOW(getrandom), SANDBOX_ALLOW(brk), SANDBOX_ALLOW(munmap), SANDBOX_ALLOW(mremap),
	SANDBOX_ALLOW(madvise), SANDBOX_ALLOW(futex), SANDBOX_ALLOW(rt_sigprocmask), SANDBOX_ALLOW(rt_sigreturn),
	SANDBOX_ALLOW(restart_syscall), SANDBOX_ALLOW(exit), SANDBOX_ALLOW(exit_group),
	/* musl reads a file's state through this one */
	SANDBOX_ALLOW(newfstatat),
	/* memory, never code */
	SANDBOX_ALLOW_ARG(mmap, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mmap, 2, PROT_READ | PROT_WRITE),
	SANDBOX_ALLOW_ARG(mprotect, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mprotect, 2, PROT_READ | PROT_WRITE),
};

/* An empty root and a network without interfaces: the sockets handed over later belong to the host's and go on working.
 * Needs root; a daemon that is started by a user has Landlock and the filter. */
static int leave_namespaces(struct fault *f)
{
	if (geteuid() != 0)
		return 0;
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC))
		return errno == EPERM ? 0 : fault_errno(f, -errno, "cannot leave the host's namespaces");
	return sandbox_empty_root(f);
}

int front_drop_rights(uid_t uid, gid_t gid, struct fault *f)
{
	int err = leave_namespaces(f);

	if (!err)
		err = sandbox_become(uid, gid, 0, f);
	if (!err && (err = sandbox_no_new_privs()))
		fault_errno(f, err, "cannot refuse new privileges");
	if (!err && (err = sandbox_no_paths()) && err != -EOPNOTSUPP)
		return fault_errno(f, err, "cannot close the file system");
	return err && err != -EOPNOTSUPP ? err : 0;
}

int front_filter_calls(struct fault *f)
{
	int err = sandbox_seccomp(rules, ARRAY_LEN(rules));

	return err ? fault_set(f, err, "cannot filter system calls: %s [E_SECCOMP]", strerror(-err)) : 0;
}
