#include "vmm/jail/walls.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/sandbox/sandbox.h"

/* What building a cage takes, ending or looking at a vmm that has another uid, and opening sockets in its network namespace (the last two). */
#define CAP(name) (1ull << CAP_##name)
static const uint64_t caps = CAP(SYS_ADMIN) | CAP(SETUID) | CAP(SETGID) | CAP(SETPCAP) | CAP(KILL) | CAP(SYS_PTRACE) | CAP(SYS_RESOURCE) | CAP(DAC_OVERRIDE) |
			     CAP(NET_ADMIN) | CAP(NET_BIND_SERVICE);

/*
 * A filter is inherited, so this list holds what a vmm needs before its threads have filters of their own (and what those let through: tools/walls checks
 * that). It keeps from jail, and from a vmm's first millisecond, what no cage takes: ptrace, modules, bpf, keys, io_uring, kexec, reboot, clocks, swap, the
 * old clone, code in writable memory. ioctl comes first: it is the vCPUs' own.
 * Syscalls: of vmm: ioctl read write readv writev pread64 pwrite64 preadv preadv2 pwritev fdatasync fsync fallocate ftruncate accept4 recvmsg sendmsg sendto recvfrom shutdown
 *           socketpair setsockopt dup fcntl poll close epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 memfd_create clone set_robust_list
 *           rt_sigaction rt_sigprocmask rt_sigreturn tkill setitimer landlock_create_ruleset landlock_add_rule landlock_restrict_self restart_syscall
 *           arch_prctl set_tid_address clock_gettime getrandom futex exit gettid sched_getaffinity
 * Syscalls: of a cage: clone3 mount umount2 pivot_root chdir setsid setgroups setresgid setresuid capget capset prctl seccomp dup2 dup3 close_range execveat
 *           prlimit64 pipe2 wait4 waitid
 * Syscalls: of cgroups and namespaces: open openat access fstat newfstatat getdents64 lseek mkdirat unlinkat fgetxattr setns socket bind listen
 * Syscalls: of everybody: pidfd_open pidfd_send_signal getpid getppid geteuid brk mmap mprotect munmap mremap madvise exit_group
 */
static const struct sandbox_rule rules[] = {
	SANDBOX_ALLOW(ioctl), SANDBOX_ALLOW(read), SANDBOX_ALLOW(write), SANDBOX_ALLOW(readv), SANDBOX_ALLOW(writev), SANDBOX_ALLOW(pread64),
	SANDBOX_ALLOW(pwrite64), SANDBOX_ALLOW(preadv), SANDBOX_ALLOW(preadv2), SANDBOX_ALLOW(pwritev), SANDBOX_ALLOW(fdatasync), SANDBOX_ALLOW(fsync),
	SANDBOX_ALLOW(fallocate),
	SANDBOX_ALLOW(ftruncate), SANDBOX_ALLOW(accept4), SANDBOX_ALLOW(recvmsg), SANDBOX_ALLOW(sendmsg), SANDBOX_ALLOW(sendto), SANDBOX_ALLOW(recvfrom),
	SANDBOX_ALLOW(shutdown), SANDBOX_ALLOW_ARG(socketpair, 0, AF_UNIX), SANDBOX_ALLOW(setsockopt), SANDBOX_ALLOW(dup), SANDBOX_ALLOW(fcntl), SANDBOX_ALLOW(poll),
	SANDBOX_ALLOW(close), SANDBOX_ALLOW(epoll_create1), SANDBOX_ALLOW(epoll_ctl), SANDBOX_ALLOW(epoll_pwait), SANDBOX_ALLOW(epoll_wait),
	SANDBOX_ALLOW(eventfd2), SANDBOX_ALLOW(memfd_create), SANDBOX_ALLOW(clone), SANDBOX_ALLOW(set_robust_list), SANDBOX_ALLOW(rt_sigaction),
	SANDBOX_ALLOW(rt_sigprocmask), SANDBOX_ALLOW(rt_sigreturn), SANDBOX_ALLOW(tkill), SANDBOX_ALLOW(setitimer), SANDBOX_ALLOW(landlock_create_ruleset),
	SANDBOX_ALLOW(landlock_add_rule), SANDBOX_ALLOW(landlock_restrict_self), SANDBOX_ALLOW(restart_syscall), SANDBOX_ALLOW(arch_prctl),
	SANDBOX_ALLOW(set_tid_address), SANDBOX_ALLOW(clock_gettime), SANDBOX_ALLOW(getrandom), SANDBOX_ALLOW(futex), SANDBOX_ALLOW(exit), SANDBOX_ALLOW(gettid),
	SANDBOX_ALLOW(sched_getaffinity),
	SANDBOX_ALLOW(clone3), SANDBOX_ALLOW(mount), SANDBOX_ALLOW(umount2), SANDBOX_ALLOW(pivot_root), SANDBOX_ALLOW(chdir), SANDBOX_ALLOW(setsid),
	SANDBOX_ALLOW(setgroups), SANDBOX_ALLOW(setresgid), SANDBOX_ALLOW(setresuid), SANDBOX_ALLOW(capget), SANDBOX_ALLOW(capset), SANDBOX_ALLOW(prctl),
	SANDBOX_ALLOW(seccomp), SANDBOX_ALLOW(dup2), SANDBOX_ALLOW(dup3), SANDBOX_ALLOW(close_range), SANDBOX_ALLOW(execveat), SANDBOX_ALLOW(prlimit64),
	SANDBOX_ALLOW(pipe2), SANDBOX_ALLOW(wait4), SANDBOX_ALLOW(waitid),
	SANDBOX_ALLOW(open), SANDBOX_ALLOW(openat), SANDBOX_ALLOW(access), SANDBOX_ALLOW(fstat), SANDBOX_ALLOW(newfstatat), SANDBOX_ALLOW(getdents64),
	SANDBOX_ALLOW(lseek), SANDBOX_ALLOW(mkdirat), SANDBOX_ALLOW(unlinkat), SANDBOX_ALLOW(fgetxattr), SANDBOX_ALLOW(setns), SANDBOX_ALLOW(bind),
	SANDBOX_ALLOW(listen),
	SANDBOX_ALLOW_ARG(socket, 0, AF_INET), SANDBOX_ALLOW_ARG(socket, 0, AF_INET6), SANDBOX_ALLOW_ARG(socket, 0, AF_NETLINK),
	SANDBOX_ALLOW(pidfd_open), SANDBOX_ALLOW(pidfd_send_signal), SANDBOX_ALLOW(getpid), SANDBOX_ALLOW(getppid), SANDBOX_ALLOW(geteuid), SANDBOX_ALLOW(brk),
	SANDBOX_ALLOW(munmap), SANDBOX_ALLOW(mremap), SANDBOX_ALLOW(madvise), SANDBOX_ALLOW(exit_group),
	/* memory, never code */
	SANDBOX_ALLOW_ARG(mmap, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mmap, 2, PROT_READ), SANDBOX_ALLOW_ARG(mmap, 2, PROT_READ | PROT_WRITE),
	SANDBOX_ALLOW_ARG(mprotect, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mprotect, 2, PROT_READ), SANDBOX_ALLOW_ARG(mprotect, 2, PROT_READ | PROT_WRITE),
};

int jail_drop_rights(struct fault *f)
{
	int err = geteuid() == 0 ? sandbox_keep_caps(caps, f) : 0;

	if (!err && (err = sandbox_seccomp(rules, ARRAY_LEN(rules))))
		fault_set(f, err, "cannot filter system calls: %s [E_SECCOMP]", strerror(-err));
	return err;
}
