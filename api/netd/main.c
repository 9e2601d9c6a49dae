#include <errno.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/netd/serve.h"
#include "lib/sandbox/sandbox.h"

enum { CORE_FD = 3, OUT_MAX = 1 << 20 };

/*
 * What it takes: netlink and tun requests, and the switches of forwarding.
 * Syscalls: of lib/wire/chan and netlink: socket bind sendto recvfrom sendmsg recvmsg poll setsockopt dup fcntl
 * Syscalls: of taps, and files of /proc/sys: open openat close ioctl pread64 pwrite64 write writev
 * Syscalls: of everybody: mmap munmap mremap mprotect madvise brk clock_gettime rt_sigreturn restart_syscall exit_group
 */
static const struct sandbox_rule rules[] = {
	SANDBOX_ALLOW(sendto), SANDBOX_ALLOW(recvfrom), SANDBOX_ALLOW(sendmsg), SANDBOX_ALLOW(recvmsg), SANDBOX_ALLOW(poll), SANDBOX_ALLOW(setsockopt),
	SANDBOX_ALLOW_ARG(socket, 0, AF_NETLINK), SANDBOX_ALLOW_ARG(socket, 0, AF_UNIX), SANDBOX_ALLOW(bind),
	SANDBOX_ALLOW_ARG(ioctl, 1, TUNSETIFF), SANDBOX_ALLOW_ARG(ioctl, 1, TUNSETVNETHDRSZ),
	SANDBOX_ALLOW(open), SANDBOX_ALLOW(openat), SANDBOX_ALLOW(close), SANDBOX_ALLOW(dup), SANDBOX_ALLOW(fcntl), SANDBOX_ALLOW(pread64), SANDBOX_ALLOW(pwrite64),
	SANDBOX_ALLOW(write), SANDBOX_ALLOW(writev), SANDBOX_ALLOW(munmap), SANDBOX_ALLOW(mremap), SANDBOX_ALLOW(brk),
	SANDBOX_ALLOW(madvise), SANDBOX_ALLOW(exit_group), SANDBOX_ALLOW(clock_gettime), SANDBOX_ALLOW(rt_sigreturn), SANDBOX_ALLOW(restart_syscall),
	/* memory, never code */
	SANDBOX_ALLOW_ARG(mmap, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mmap, 2, PROT_READ | PROT_WRITE),
	SANDBOX_ALLOW_ARG(mprotect, 2, PROT_NONE), SANDBOX_ALLOW_ARG(mprotect, 2, PROT_READ | PROT_WRITE),
};

/* Every tap is a fresh open of /dev/net/tun. Debian leaves it to everybody (0666); where it is root's alone, the right to pass file modes stays. */
static uint64_t tun_cap(void)
{
	struct stat st;
	bool open_to_all = stat("/dev/net/tun", &st) == 0 && (st.st_mode & 0006) == 0006;
	return open_to_all ? 0 : 1ull << CAP_DAC_OVERRIDE;
}

/* One socket is kept for each isolated VM. */
static void allow_many_files(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

int main(int argc, char **argv)
{
	struct netd n = {.table = NETD_ALIAS, .held_fd = -1};
	struct fault f = {""};
	uint64_t uid = SANDBOX_UID_BASE + 2;
	if (argc == 3 && strcmp(argv[1], "--uid") == 0 ? parse_u64(argv[2], INT32_MAX, &uid) : argc != 1) {
		fprintf(stderr, "usage: netd [--uid N]   (started by mica up; descriptor 3: core)\n");
		return 2;
	}
	prctl(PR_SET_NAME, "mica-netd");
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	allow_many_files();
	buf_init(&n.out, OUT_MAX);
	int err = chan_init(&n.core, CORE_FD, OUT_MAX);
	if (!err)
		err = rtnl_init(&n.rtnl);
	if (err)
		fault_errno(&f, err, "netlink");
	nft_init(&n.nft); /* a kernel without it is told to who asks for rules */
	if (!err)
		err = sandbox_become((uid_t)uid, (gid_t)uid, 1ull << CAP_NET_ADMIN | tun_cap(), &f);
	if (!err && (err = sandbox_seccomp(rules, ARRAY_LEN(rules))))
		fault_set(&f, err, "cannot filter system calls: %s [E_SECCOMP]", strerror(-err));
	if (!err)
		err = netd_run(&n);
	if (err)
		fprintf(stderr, "mica-netd: %s\n", f.text[0] ? f.text : strerror(-err));
	return err ? 1 : 0;
}
