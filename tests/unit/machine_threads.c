/* vmm/machine/sandbox.c, measured: every system call there is, tried in a child behind each kind of thread's filter. What the kernel lets
 * through is counted (vCPU ≤ 10, I/O ≤ 14), what it does not ends the process, and where arguments count the wrong ones do, too. */
#include "tests/unit/tap.h"
#include "lib/sandbox/sandbox.h"
#include "vmm/machine/machine.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/vhost.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS 512 /* numbers to try: more than this kernel has */
#define X32 0x40000000l
/* uretprobe and uprobe: the kernel itself lets them pass every filter (since 6.13), for they do nothing but return from a probe, or SIGILL. */
#define PASSES_ALL(nr) ((nr) == 335 || (nr) == 336)

void machine_end(struct machine *m, enum machine_reason why, struct machine_vcpu *v, const char *fmt, ...)
{
	(void)m, (void)why, (void)v, (void)fmt;
	abort();
}

static void main_filter(struct machine *m)
{
	(void)m;
	if (machine_sandbox_main(NULL))
		abort();
}

/* Descriptor -1 and addresses that are none: what is let through fails by itself. true: it ended by the filter. */
static bool killed(machine_sandbox_fn *filter, long nr, long a, long b, long c)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL); /* of rt_sigreturn */
		filter(NULL);
		syscall(nr, a, b, c, -1, -1, -1);
		_exit(7);
	}
	while (waitpid(pid, &status, 0) < 0)
		;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static const struct kind {
	const char *name;
	machine_sandbox_fn *filter;
	unsigned most, checked; /* calls; of those: with arguments that count, which the sweep does not meet */
} kinds[] = {
	{ "vCPU", machine_sandbox_vcpu, 10, 1 }, { "disk", machine_sandbox_disk, 14, 0 }, { "disk I/O", machine_sandbox_disk_io, 14, 0 },
	{ "network card", machine_sandbox_net, 14, 1 }, { "main", main_filter, 40, 5 },
};

static void sweep(const struct kind *k)
{
	unsigned n = k->checked, x32 = 0;

	for (long nr = 0; nr < CALLS; nr++)
		n += !PASSES_ALL(nr) && !killed(k->filter, nr, -1, -1, -1);
	ok(n > k->checked && n <= k->most, "%s thread: %u system calls of %d, %u at most", k->name, n, CALLS, k->most);
	for (long nr = 0; nr < CALLS; nr += 16)
		x32 += !killed(k->filter, X32 | nr, -1, -1, -1);
	ok(x32 == 0, "%s thread: none by the numbers of x32", k->name);
}

static void arguments(void)
{
	static const struct {
		const char *what;
		machine_sandbox_fn *filter;
		long nr, a, b, c;
		bool may;
	} tries[] = {
		{ "vCPU: KVM_RUN", machine_sandbox_vcpu, SYS_ioctl, -1, (long)KVM_RUN, 0, true },
		{ "vCPU: KVM_SET_GSI_ROUTING", machine_sandbox_vcpu, SYS_ioctl, -1, (long)KVM_SET_GSI_ROUTING, 0, true },
		{ "vCPU: KVM_GET_REGS", machine_sandbox_vcpu, SYS_ioctl, -1, (long)KVM_GET_REGS, 0, true },
		{ "vCPU: KVM_GET_SREGS", machine_sandbox_vcpu, SYS_ioctl, -1, (long)KVM_GET_SREGS, 0, true },
		{ "vCPU: KVM_SET_REGS", machine_sandbox_vcpu, SYS_ioctl, -1, (long)KVM_SET_REGS, 0, false },
		{ "vCPU: KVM_SET_USER_MEMORY_REGION", machine_sandbox_vcpu, SYS_ioctl, -1, (long)KVM_SET_USER_MEMORY_REGION, 0, false },
		{ "vCPU: KVM_CREATE_VM", machine_sandbox_vcpu, SYS_ioctl, -1, (long)KVM_CREATE_VM, 0, false },
		{ "vCPU: KVM_CREATE_DEVICE", machine_sandbox_vcpu, SYS_ioctl, -1, (long)KVM_CREATE_DEVICE, 0, false },
		{ "vCPU: TIOCSTI", machine_sandbox_vcpu, SYS_ioctl, -1, TIOCSTI, 0, false },
		{ "network card: TUNSETOFFLOAD", machine_sandbox_net, SYS_ioctl, -1, (long)TUNSETOFFLOAD, 0, true },
		{ "network card: TUNSETQUEUE", machine_sandbox_net, SYS_ioctl, -1, (long)TUNSETQUEUE, 0, true },
		{ "network card: TUNSETIFF", machine_sandbox_net, SYS_ioctl, -1, (long)TUNSETIFF, 0, false },
		{ "network card: TUNATTACHFILTER", machine_sandbox_net, SYS_ioctl, -1, (long)TUNATTACHFILTER, 0, false },
		{ "network card: KVM_RUN", machine_sandbox_net, SYS_ioctl, -1, (long)KVM_RUN, 0, false },
		{ "disk: any ioctl", machine_sandbox_disk, SYS_ioctl, -1, (long)KVM_RUN, 0, false },
		{ "disk I/O: any ioctl", machine_sandbox_disk_io, SYS_ioctl, -1, FIOCLEX, 0, false },
		{ "main: memory", main_filter, SYS_mmap, 0, 0, PROT_READ | PROT_WRITE, true },
		{ "main: a guard", main_filter, SYS_mmap, 0, 0, PROT_NONE, true },
		{ "main: code", main_filter, SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, false },
		{ "main: memory that is code", main_filter, SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, false },
		{ "main: memory made usable", main_filter, SYS_mprotect, 0, 0, PROT_READ | PROT_WRITE, true },
		{ "main: memory made code", main_filter, SYS_mprotect, 0, 4096, PROT_READ | PROT_EXEC, false },
		{ "main: a pair of unix sockets", main_filter, SYS_socketpair, AF_UNIX, -1, 0, true },
		{ "main: a pair of others", main_filter, SYS_socketpair, AF_INET, SOCK_STREAM, 0, false },
		{ "main: F_SETFL", main_filter, SYS_fcntl, -1, F_SETFL, 0, true },
		{ "main: F_DUPFD", main_filter, SYS_fcntl, -1, F_DUPFD, 0, false },
		{ "main: F_SETOWN", main_filter, SYS_fcntl, -1, F_SETOWN, 1, false },
		{ "main: an option of sockets", main_filter, SYS_setsockopt, -1, SOL_SOCKET, 0, true },
		{ "main: an option of TCP", main_filter, SYS_setsockopt, -1, 6, 0, false },
		{ "main: any ioctl", main_filter, SYS_ioctl, -1, (long)KVM_RUN, 0, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(tries); i++)
		ok(killed(tries[i].filter, tries[i].nr, tries[i].a, tries[i].b, tries[i].c) == !tries[i].may, "%s %s", tries[i].what,
		   tries[i].may ? "passes" : "kills");
}

int main(void)
{
	if (sandbox_no_new_privs()) /* as machine_sandbox_process() has it before there are threads */
		return 1;
	fflush(stdout);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		sweep(&kinds[i]);
	arguments();
	return tap_done();
}
