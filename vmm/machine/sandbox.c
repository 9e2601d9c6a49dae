#include "vmm/machine/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "lib/sandbox/sandbox.h"

/* What each kind of thread may still ask of the kernel once the guest runs: what stands above the functions of vcpu.c, blk.h, net.h, rng.h, vsock.h,
 * plus futex for locks and clock_gettime where the host's clock cannot be read without a call. The main thread allocates
 * (streams, queued frames), the others never do. A call that is not here kills the process: a guest has got hold of a
 * thread. For that reason no thread returns either: it parks, and the main thread's exit_group ends it. */

#define EVERY_THREAD SANDBOX_ALLOW(futex), SANDBOX_ALLOW(write), SANDBOX_ALLOW(clock_gettime), SANDBOX_ALLOW(exit_group)
#define EVERY_LOOP SANDBOX_ALLOW(epoll_pwait), SANDBOX_ALLOW(epoll_wait), SANDBOX_ALLOW(epoll_ctl), SANDBOX_ALLOW(read)

int machine_sandbox_process(struct fault *f)
{
	int err = sandbox_no_paths(); /* takes new privileges away, too */

	return err && err != -EOPNOTSUPP ? fault_errno(f, err, "giving up paths") : 0;
}

/* A thread whose filter cannot be set must not meet the guest. New privileges went with machine_sandbox_process(), before any thread was made. */
static void machine_filter(struct machine *m, const struct sandbox_rule *rules, unsigned n)
{
	int err = sandbox_seccomp_thread(rules, n);

	if (err)
		machine_end(m, REASON_VMM, NULL, "seccomp filter: %s", strerror(-err));
}

/* Syscalls: futex write clock_gettime exit_group ioctl pwrite64 pread64 ftruncate rt_sigreturn */
void machine_sandbox_vcpu(struct machine *m)
{
	static const struct sandbox_rule rules[] = {
		EVERY_THREAD,
		SANDBOX_ALLOW_ARG(ioctl, 1, KVM_RUN),
		SANDBOX_ALLOW_ARG(ioctl, 1, KVM_SET_GSI_ROUTING), /* the guest programs the IO-APIC */
		SANDBOX_ALLOW_ARG(ioctl, 1, KVM_GET_REGS),        /* last words */
		SANDBOX_ALLOW_ARG(ioctl, 1, KVM_GET_SREGS),
		SANDBOX_ALLOW(pwrite64),                          /* console log */
		SANDBOX_ALLOW(pread64),
		SANDBOX_ALLOW(ftruncate),
		SANDBOX_ALLOW(rt_sigreturn),                      /* the kick */
	};

	machine_filter(m, rules, ARRAY_LEN(rules));
}

/* Syscalls: futex write clock_gettime exit_group epoll_pwait epoll_wait epoll_ctl read preadv2 */
void machine_sandbox_disk(struct machine *m)
{
	static const struct sandbox_rule rules[] = {
		EVERY_THREAD,
		EVERY_LOOP,
		SANDBOX_ALLOW(preadv2),
	};

	machine_filter(m, rules, ARRAY_LEN(rules));
}

/* Syscalls: futex write clock_gettime exit_group preadv pwritev fdatasync fallocate */
void machine_sandbox_disk_io(struct machine *m)
{
	static const struct sandbox_rule rules[] = {
		EVERY_THREAD,
		SANDBOX_ALLOW(preadv),
		SANDBOX_ALLOW(pwritev),
		SANDBOX_ALLOW(fdatasync),
		SANDBOX_ALLOW(fallocate),
	};

	machine_filter(m, rules, ARRAY_LEN(rules));
}

/* Syscalls: futex write clock_gettime exit_group epoll_pwait epoll_wait epoll_ctl read readv writev ioctl restart_syscall */
void machine_sandbox_net(struct machine *m)
{
	static const struct sandbox_rule rules[] = {
		EVERY_THREAD,
		EVERY_LOOP,
		SANDBOX_ALLOW(readv),
		SANDBOX_ALLOW(writev),
		SANDBOX_ALLOW_ARG(ioctl, 1, TUNSETOFFLOAD),
		SANDBOX_ALLOW_ARG(ioctl, 1, TUNSETQUEUE),
		SANDBOX_ALLOW(restart_syscall), /* a timed wait over a sleep of the host */
	};

	machine_filter(m, rules, ARRAY_LEN(rules));
}

/* Syscalls: futex write clock_gettime exit_group epoll_pwait epoll_wait epoll_ctl read accept4 brk close dup fcntl fstat ftruncate getrandom madvise mmap
 *           mprotect mremap munmap newfstatat poll pread64 pwrite64 recvfrom recvmsg restart_syscall rt_sigprocmask rt_sigreturn sendmsg sendto setsockopt
 *           shutdown socketpair tkill writev */
int machine_sandbox_main(struct fault *f)
{
	static const struct sandbox_rule rules[] = {
		EVERY_THREAD,
		EVERY_LOOP,
		/* control socket */
		SANDBOX_ALLOW(accept4),
		SANDBOX_ALLOW(recvmsg),
		SANDBOX_ALLOW(sendmsg),
		SANDBOX_ALLOW_ARG(setsockopt, 1, SOL_SOCKET),
		SANDBOX_ALLOW_ARG(fcntl, 1, F_GETFL),
		SANDBOX_ALLOW_ARG(fcntl, 1, F_SETFL),
		SANDBOX_ALLOW_ARG(fcntl, 1, F_SETFD),
		SANDBOX_ALLOW(dup),
		SANDBOX_ALLOW(poll),
		SANDBOX_ALLOW(close),
		/* vsock streams */
		SANDBOX_ALLOW_ARG(socketpair, 0, AF_UNIX),
		SANDBOX_ALLOW(sendto),
		SANDBOX_ALLOW(recvfrom),
		SANDBOX_ALLOW(shutdown),
		/* vsock streams, rng */
		SANDBOX_ALLOW(writev),
		SANDBOX_ALLOW(getrandom),
		/* a disk that has grown; which of the two musl asks is its own affair */
		SANDBOX_ALLOW(fstat),
		SANDBOX_ALLOW(newfstatat),
		/* console log, report */
		SANDBOX_ALLOW(pwrite64),
		SANDBOX_ALLOW(pread64),
		SANDBOX_ALLOW(ftruncate),
		/* pause: signals to our own threads */
		SANDBOX_ALLOW(tkill),
		SANDBOX_ALLOW(rt_sigprocmask),
		SANDBOX_ALLOW(rt_sigreturn),
		SANDBOX_ALLOW(restart_syscall),                   /* a timed wait over a sleep of the host */
		/* malloc and free: memory, never code; musl unprotects pages of its own when brk has met something */
		SANDBOX_ALLOW(brk),
		SANDBOX_ALLOW_ARG(mmap, 2, PROT_NONE),
		SANDBOX_ALLOW_ARG(mmap, 2, PROT_READ | PROT_WRITE),
		SANDBOX_ALLOW_ARG(mprotect, 2, PROT_READ | PROT_WRITE),
		SANDBOX_ALLOW(munmap),
		SANDBOX_ALLOW(mremap),
		SANDBOX_ALLOW(madvise),
	};
	int err = sandbox_seccomp(rules, ARRAY_LEN(rules));

	return err ? fault_errno(f, err, "seccomp filter") : 0;
}
