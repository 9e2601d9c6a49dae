/* The filters of core and jail, tried in children: what a taken-over one would try next ends it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/core/walls.h"
#include "tests/unit/tap.h"
#include "vmm/jail/walls.h"

static char page[4096] __attribute__((aligned(4096)));

static void executes(void)
{
	char *none[] = {NULL};
	syscall(SYS_execve, "/bin/true", none, none);
}

static void traces(void)
{
	syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
}

static void makes_code(void)
{
	syscall(SYS_mprotect, page, sizeof(page), PROT_READ | PROT_WRITE | PROT_EXEC);
}

static void maps_code(void)
{
	syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void loads_bpf(void)
{
	syscall(SYS_bpf, 0, NULL, 0);
}

static void loads_module(void)
{
	syscall(SYS_init_module, NULL, 0, "");
}

static void opens_netlink(void)
{
	syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
}

static void opens_packet(void)
{
	syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0);
}

static void mounts(void)
{
	syscall(SYS_mount, "x", "/nowhere", "tmpfs", 0, NULL);
}

static void becomes_root(void)
{
	syscall(SYS_setresuid, -1, -1, -1);
}

static void opens(void)
{
	syscall(SYS_openat, AT_FDCWD, "/nowhere", O_RDONLY);
	syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
}

static int behind(int (*filter)(struct fault *), void (*fn)(void))
{
	struct fault f = {""};
	int status = 0;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		if (filter(&f))
			_exit(99);
		fn();
		_exit(7);
	}
	waitpid(pid, &status, 0);
	return status;
}

static bool killed(int s)
{
	return WIFSIGNALED(s) && WTERMSIG(s) == SIGSYS;
}

static bool passed(int s)
{
	return WIFEXITED(s) && WEXITSTATUS(s) == 7;
}

int main(void)
{
	static const struct {
		const char *what;
		void (*fn)(void);
		bool core, jail; /* may */
	} tries[] = {
		{"opening a path and an internet socket", opens, true, true}, {"executing a path", executes, false, false}, {"ptrace", traces, false, false},
		{"turning memory into code", makes_code, false, false}, {"mapping code", maps_code, false, false}, {"bpf", loads_bpf, false, false},
		{"a kernel module", loads_module, false, false}, {"a packet socket", opens_packet, false, false}, {"netlink", opens_netlink, false, true},
		{"mounting", mounts, false, true}, {"changing the user", becomes_root, false, true},
	};
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		int c = behind(core_filter_calls, tries[i].fn), j = behind(jail_drop_rights, tries[i].fn);
		ok(tries[i].core ? passed(c) : killed(c), "core: %s %s", tries[i].what, tries[i].core ? "passes" : "kills");
		ok(tries[i].jail ? passed(j) : killed(j), "jail: %s %s", tries[i].what, tries[i].jail ? "passes" : "kills");
	}
	return tap_done();
}
