/* What gate gives up before it reads its first byte. Unlike front it stays in the host's network: it asks DNS servers. */
#include <errno.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/gate/gate.h"
#include "lib/sandbox/sandbox.h"

/*
 * Syscalls: of lib/ev: epoll_ctl epoll_pwait epoll_wait rt_sigprocmask rt_sigreturn restart_syscall
 * Syscalls: of lib/wire/chan, of serve.c and events.c: recvmsg sendmsg dup fcntl setsockopt accept4 read readv write writev shutdown close recvfrom
 * Syscalls: of upstream.c: socket connect sendto getsockopt
 * Syscalls: of record.c: fstat newfstatat
 * Syscalls: of everybody: clock_gettime getrandom brk mmap mprotect munmap mremap madvise futex exit exit_group
 */
static const struct sandbox_rule rules[] = {
	SANDBOX_ALLOW(epoll_ctl), SANDBOX_ALLOW(epoll_pwait), SANDBOX_ALLOW(epoll_wait),
	SANDBOX_ALLOW(read), SANDBOX_ALLOW(readv), SANDBOX_ALLOW(write), SANDBOX_ALLOW(writev), SANDBOX_ALLOW(close),
	SANDBOX_ALLOW(recvmsg), SANDBOX_ALLOW(sendmsg), SANDBOX_ALLOW(recvfrom), SANDBOX_ALLOW(sendto), SANDBOX_ALLOW(accept4), SANDBOX_ALLOW(shutdown),
	SANDBOX_ALLOW(setsockopt), SANDBOX_ALLOW(getsockopt), SANDBOX_ALLOW(connect), SANDBOX_ALLOW(dup), SANDBOX_ALLOW(fcntl), SANDBOX_ALLOW(fstat),
	SANDBOX_ALLOW_ARG(socket, 0, AF_INET), SANDBOX_ALLOW_ARG(socket, 0, AF_INET6),
	SANDBOX_ALLOW(clock_gettime), SANDBOX_ALLOW(getrandom), SANDBOX_ALLOW(brk), SANDBOX_ALLOW(munmap), SANDBOX_ALLOW(mremap),
	SANDBOX_ALLOW(madvise), SANDBOX_ALLOW(futex), SANDBOX_ALLOW(rt_sigprocmask), SANDBOX_ALLOW(rt_sigreturn),
	SANDBOX_ALLOW(restart_syscall), SANDBOX_ALLOW(exit), SANDBOX_ALLOW(exit_group),
	/* musl reads a file's state through this one */
	SANDBOX_ALLOW(newfstatat),
	/* memory, never code */
	SANDBOX_ALLOW_ARG(mmap, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mmap, 2, PROT_READ | PROT_WRITE),
	SANDBOX_ALLOW_ARG(mprotect, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mprotect, 2, PROT_READ | PROT_WRITE),
};

/* An empty root. Needs root; a daemon that is started by a user has Landlock and the filter. */
static int leave_namespaces(struct fault *f)
{
	if (geteuid() != 0)
		return 0;
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC))
		return errno == EPERM ? 0 : fault_errno(f, -errno, "cannot leave the host's namespaces");
	return sandbox_empty_root(f);
}

/* The kernel's struct landlock_ruleset_attr and _net_port_attr as of Landlock's 4th version (Linux 6.7); headers may be older. */
struct ruleset { uint64_t fs, net; };
struct net_port { uint64_t access, port; };
#define NET_BIND_TCP 1u
#define NET_CONNECT_TCP 2u
#define RULE_NET_PORT 2

/* TCP to DNS servers, no listening. A kernel that knows no such rules goes on without. */
static int only_dns_by_tcp(void)
{
	struct ruleset attr = { 0, NET_BIND_TCP | NET_CONNECT_TCP };
	struct net_port dns = { NET_CONNECT_TCP, 53 };
	int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0), err = 0;

	if (fd < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP || errno == E2BIG || errno == EINVAL ? 0 : -errno;
	if (syscall(SYS_landlock_add_rule, fd, RULE_NET_PORT, &dns, 0) || syscall(SYS_landlock_restrict_self, fd, 0))
		err = -errno;
	close(fd);
	return err;
}

int gate_drop_rights(uid_t uid, gid_t gid, struct fault *f)
{
	int err = leave_namespaces(f);

	if (!err)
		err = sandbox_become(uid, gid, 0, f);
	if (!err && (err = sandbox_no_new_privs()))
		fault_errno(f, err, "cannot refuse new privileges");
	if (!err && (err = sandbox_no_paths()) && err != -EOPNOTSUPP)
		return fault_errno(f, err, "cannot close the file system");
	if (err && err != -EOPNOTSUPP)
		return err;
	err = only_dns_by_tcp();
	return err ? fault_errno(f, err, "cannot close TCP") : 0;
}

int gate_filter_calls(struct fault *f)
{
	int err = sandbox_seccomp(rules, ARRAY_LEN(rules));

	return err ? fault_errno(f, err, "cannot filter system calls") : 0;
}
