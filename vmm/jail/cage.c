#include "vmm/jail/cage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/sandbox/sandbox.h"
#include "lib/wire/vmm.h"

enum {
	ERROR_FD = 5,  /* in the child: where its sentence goes if the cage fails; closes by itself at exec */
	PROGRAM_FD = 6,
	GROUP_TRIES = 3,
	VMM_FILES_MAX = 8192, /* a vsock stream is a descriptor or two */
};
#define CAGE_NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

/* cgroup_fd -1: the one we are in. */
static long clone_process(uint64_t flags, int cgroup_fd, int *pidfd)
{
	struct clone_args args = {.flags = flags | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD};
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	return syscall(SYS_clone3, &args, sizeof args);
}

static bool user_namespaces_work(void)
{
	int pidfd = -1;
	long pid = clone_process(CLONE_NEWUSER, -1, &pidfd);
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return false;
	waitpid((pid_t)pid, NULL, 0);
	fd_close(&pidfd);
	return true;
}

void cage_host_probe(struct cage_host *h, int vmm_fd, const char *kvm_path, uid_t uid_base)
{
	*h = (struct cage_host){.vmm_fd = vmm_fd, .kvm_path = kvm_path, .uid_base = uid_base, .uid = geteuid()};
	h->root = h->uid == 0;
	h->user_ns = !h->root && user_namespaces_work();
	cgroups_init(&h->groups);
}

void cage_host_describe(const struct cage_host *h, char *out, size_t cap)
{
	char limits[320];
	snprintf(limits, sizeof limits, "%s%s", h->groups.why[0] ? "; " : ", a cgroup with limits of memory, cpu, tasks and io", h->groups.why);
	if (h->root)
		snprintf(out, cap, "each vmm: own uid from %u, own user-less root, mount, pid, net, ipc and uts namespaces, no capabilities, seccomp%s",
			 h->uid_base + SANDBOX_UID_VMM_FIRST, limits);
	else if (h->user_ns)
		snprintf(out, cap, "each vmm: own user, mount, pid, net, ipc and uts namespaces, no capabilities, seccomp; shares uid %u (not started as root)%s", h->uid,
			 limits);
	else
		snprintf(out, cap, "each vmm: no capabilities, seccomp; no namespaces and shares uid %u (not started as root, and this host refuses user namespaces)%s",
			 h->uid, limits);
}

int cage_open_kvm(const struct cage_host *h, struct fault *f)
{
	int fd = open(h->kvm_path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	int err = -errno;
	if (err == -ENOENT || err == -ENXIO || err == -ENODEV)
		return fault_set(f, err, "%s is not there: this host offers no virtualisation; load kvm_intel or kvm_amd, enable VT-x or AMD-V in the firmware, or "
				 "nested virtualisation on the cloud VM [E_KVM_MISSING]", h->kvm_path);
	if (err == -EACCES || err == -EPERM)
		return fault_set(f, err, "no permission to open %s: add your user to group kvm (usermod -aG kvm USER) and log in again [E_KVM_DENIED]", h->kvm_path);
	return fault_errno(f, err, h->kvm_path);
}

/* ---- the child: from clone to exec. It may only fail by say(), which ends it. ---- */

__attribute__((noreturn)) static void say(struct fault *f, int err, const char *what)
{
	if (what)
		fault_errno(f, err, what);
	write_full(ERROR_FD, f->text, strlen(f->text));
	_exit(70);
}

/* Puts the four descriptors into their places and closes all others. The sources may stand in each other's places, so they
 * are first moved out of the way. */
static int place_fds(const int from[4])
{
	static const int to[4] = {VMM_FD_LISTEN, VMM_FD_KVM, ERROR_FD, PROGRAM_FD};
	int high[4];
	for (int i = 0; i < 4; i++)
		if ((high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 64)) < 0)
			return -errno;
	for (int i = 0; i < 4; i++)
		if (dup3(high[i], to[i], i < 2 ? 0 : O_CLOEXEC) < 0)
			return -errno;
	return close_from(PROGRAM_FD + 1);
}

static int quiet_standard_fds(void)
{
	int null = open("/dev/null", O_RDWR);
	if (null < 0)
		return -errno;
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	if (null > 2)
		close(null);
	return 0;
}

static void limit_resources(uint64_t ram_bytes)
{
	struct rlimit files = {VMM_FILES_MAX, VMM_FILES_MAX}, none = {0, 0}, memory = {ram_bytes + (512ull << 20), ram_bytes + (512ull << 20)};
	struct rlimit had;
	/* Not root: the hard limit may be lower than what we would like. */
	if (getrlimit(RLIMIT_NOFILE, &had) == 0 && had.rlim_max < files.rlim_max)
		files.rlim_cur = files.rlim_max = had.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_AS, &memory);
	struct rlimit locked = {0, 0};
	setrlimit(RLIMIT_MEMLOCK, &locked);
}

__attribute__((noreturn)) static void child(const struct cage_host *h, const struct cage_ask *a, const int fds[4])
{
	char name[] = "mica-vmm", vm[CGROUP_LEAF_MAX], *argv[] = {name, vm, NULL}, *envp[] = {NULL};
	struct fault f = {""};
	sigset_t all;
	snprintf(vm, sizeof vm, "%s", a->vm);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	int err = place_fds(fds);
	if (err)
		_exit(70); /* nowhere to say it */
	if ((err = quiet_standard_fds()))
		say(&f, err, "/dev/null");
	setsid();
	limit_resources(a->limits.ram_bytes);
	if ((h->root || h->user_ns) && sandbox_empty_root(&f))
		say(&f, 0, NULL);
	uid_t uid = h->root ? h->uid_base + SANDBOX_UID_VMM_FIRST + a->slot : h->uid;
	if (h->root ? sandbox_become(uid, uid, 0, &f) : sandbox_keep_caps(0, &f))
		say(&f, 0, NULL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	syscall(SYS_execveat, PROGRAM_FD, "", argv, envp, AT_EMPTY_PATH);
	say(&f, -errno, "cannot start the vmm program");
}

static int spawn_in(const struct cage_host *h, const struct cage_ask *a, int cgroup_fd, pid_t *pid, int *pidfd, struct fault *f)
{
	int says[2];
	AUTO_FD kvm = cage_open_kvm(h, f);
	if (kvm < 0)
		return kvm;
	if (pipe2(says, O_CLOEXEC) < 0)
		return fault_errno(f, -errno, "pipe");
	const int fds[4] = {a->listen_fd, kvm, says[1], h->vmm_fd};
	uint64_t flags = h->root ? CAGE_NAMESPACES : h->user_ns ? CAGE_NAMESPACES | CLONE_NEWUSER : 0;
	long got = clone_process(flags, cgroup_fd, pidfd);
	if (got == 0)
		child(h, a, fds);
	int err = got < 0 ? -errno : 0;
	close(says[1]);
	if (err) {
		close(says[0]);
		return fault_errno(f, err, "cannot start a process for the VM");
	}
	struct fault child_says = {""};
	ssize_t n = read_full(says[0], child_says.text, sizeof child_says.text - 1);
	close(says[0]);
	if (n > 0) {
		waitpid((pid_t)got, NULL, 0);
		fd_close(pidfd);
		return fault_set(f, -EPERM, "cannot build the cage of the VM: %s [E_CAGE]", child_says.text);
	}
	*pid = (pid_t)got;
	return 0;
}

int cage_spawn(const struct cage_host *h, const struct cage_ask *a, pid_t *pid, int *pidfd, char leaf[CGROUP_LEAF_MAX], struct fault *f)
{
	int err = -ENODEV;
	for (int i = 0; i < GROUP_TRIES && err == -ENODEV; i++) { /* another daemon that starts removes groups that are empty yet */
		AUTO_FD group = -1;
		if (h->groups.dir_fd >= 0 && (group = cgroup_make(&h->groups, a->vm, &a->limits, leaf, f)) < 0) {
			err = group;
			continue;
		}
		err = spawn_in(h, a, group, pid, pidfd, f);
		if (err)
			cgroup_remove(&h->groups, leaf);
	}
	return err;
}

/* "Uid:\t1000 …" of /proc/PID/status, or -1. */
static int64_t uid_of(pid_t pid)
{
	char path[64], *text, *line;
	int64_t uid = -1;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	if (read_file_at(AT_FDCWD, path, 16384, &text, NULL) < 0)
		return -1;
	line = strstr(text, "\nUid:\t");
	if (line)
		uid = strtol(line + 6, NULL, 10);
	free(text);
	return uid;
}

int cage_adopt(const struct cage_host *h, unsigned slot, pid_t pid, int *pidfd)
{
	char path[64], name[32] = "";
	int fd = pidfd_of(pid);
	if (fd < 0)
		return fd;
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	char *comm = NULL;
	if (read_file_at(AT_FDCWD, path, sizeof name - 1, &comm, NULL) == 0)
		snprintf(name, sizeof name, "%s", comm);
	free(comm);
	int64_t want = h->root ? (int64_t)h->uid_base + SANDBOX_UID_VMM_FIRST + slot : (int64_t)h->uid;
	/* The pidfd was taken first, so if the process is still there after the look, the look was at this process. */
	bool ours = uid_of(pid) == want && strcmp(name, "mica-vmm\n") == 0;
	int alive = pidfd_signal(fd, 0);
	if (!ours || (alive < 0 && alive != -EPERM)) {
		close(fd);
		return ours ? -ESRCH : -EPERM;
	}
	*pidfd = fd;
	return 0;
}
