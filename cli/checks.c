#include "cli/checks.h"
#include "cli/out.h"
#include "lib/base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define RAM_LEAST_BYTES (256ull << 20)
#define DISK_LEAST_BYTES (512ull << 20)
#define FILES_LEAST 4096u
#define CLOCK_LEAST_S 1735689600u /* 2025: no host is older than its mica */
#define LANDLOCK_VERSION 1u
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif

const char *check_word(enum check_state s)
{
	return s == CHECK_GOOD ? "ok" : s == CHECK_LESS ? "less" : "bad";
}

static void lacks(struct check *c, enum check_state state, const char *code)
{
	c->state = state;
	c->code = code;
}

/* What try says in a child of ours: 0, or an errno. */
static int in_child(int (*try)(void))
{
	int status;
	fflush(NULL);
	pid_t pid = fork();
	if (!pid)
		_exit(try() & 0xff);
	if (pid < 0)
		return errno;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

/* ---- what is tried ---- */

static int try_user_ns(void)
{
	return unshare(CLONE_NEWUSER) ? errno : 0;
}

static void check_user_ns(struct check *c, const char *state)
{
	(void)state;
	int err = in_child(try_user_ns);
	if (err)
		lacks(c, CHECK_LESS, "E_USERNS");
	snprintf(c->found, sizeof(c->found), "user namespaces: %s%s", err ? strerror(err) : "there", geteuid() ? "" : " (root needs none)");
}

void checks_note_rootless(void)
{
	int err = geteuid() ? in_child(try_user_ns) : 0;
	if (geteuid())
		out_note("note: not root: processes of VMs have your user id, %s; rlimits alone bound a VM, unless the daemon has a cgroup of its own (a unit with Delegate=yes)",
			 err ? "and no namespaces of their own (this host refuses user namespaces) [E_USERNS]" : "each in namespaces of its own");
}

static int try_seccomp(void)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog prog = { 1, &all };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) ? errno : 0;
}

static void check_seccomp(struct check *c, const char *state)
{
	(void)state;
	int err = in_child(try_seccomp);
	if (err)
		lacks(c, CHECK_BAD, "E_SECCOMP");
	snprintf(c->found, sizeof(c->found), "system-call filters: %s", err ? strerror(err) : "there");
}

static void check_landlock(struct check *c, const char *state)
{
	(void)state;
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
	if (abi < 1)
		lacks(c, CHECK_LESS, "E_LANDLOCK");
	snprintf(c->found, sizeof(c->found), abi < 1 ? "Landlock: not there" : "Landlock: version %ld", abi);
}

/* Whole lines of /proc/self/mountinfo: where a whole hierarchy of cgroup v2 is mounted. */
static bool find_cgroup2(char *dst, size_t cap)
{
	char *text, *line, *rest;
	size_t n;
	bool found = false;
	if (read_file_at(AT_FDCWD, "/proc/self/mountinfo", 1u << 20, &text, &n))
		return false;
	for (line = strtok_r(text, "\n", &rest); line && !found; line = strtok_r(NULL, "\n", &rest)) {
		char root[PATH_MAX], at[PATH_MAX];
		const char *dash = strstr(line, " - ");
		if (!dash || strncmp(dash, " - cgroup2 ", 11) || strlen(line) >= PATH_MAX || sscanf(line, "%*s %*s %*s %4095s %4095s", root, at) != 2 || strcmp(root, "/"))
			continue;
		found = true;
		snprintf(dst, cap, "%s", at);
	}
	free(text);
	return found;
}

static void check_cgroup(struct check *c, const char *state)
{
	static const char *const wanted[] = { "memory", "cpu", "pids" };
	char at[PATH_MAX], path[PATH_MAX + 32], *text = NULL;
	size_t n;
	(void)state;
	if (!find_cgroup2(at, sizeof(at))) {
		lacks(c, CHECK_LESS, "E_CGROUP");
		snprintf(c->found, sizeof(c->found), "cgroup v2: not mounted");
		return;
	}
	snprintf(path, sizeof(path), "%s/cgroup.controllers", at);
	if (read_file_at(AT_FDCWD, path, 4096, &text, &n))
		text = NULL;
	snprintf(c->found, sizeof(c->found), "cgroup v2 at %.60s, without:", at);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		const char *p = text ? strstr(text, wanted[i]) : NULL;
		size_t len = strlen(wanted[i]), used = strlen(c->found);
		while (p && ((p > text && p[-1] != ' ') || (p[len] && p[len] != ' ' && p[len] != '\n'))) /* "cpu" stands in "cpuset" */
			p = strstr(p + 1, wanted[i]);
		if (p)
			continue;
		lacks(c, CHECK_LESS, "E_CGROUP");
		snprintf(c->found + used, sizeof(c->found) - used, " %s", wanted[i]);
	}
	free(text);
	if (!c->code)
		snprintf(c->found, sizeof(c->found), "cgroup v2 at %.100s with memory, cpu, pids", at);
}

static void check_tun(struct check *c, const char *state)
{
	(void)state;
	bool there = !access("/dev/net/tun", F_OK);
	if (!there)
		lacks(c, CHECK_LESS, "E_TUN_MISSING");
	snprintf(c->found, sizeof(c->found), "/dev/net/tun: %s", there ? "there" : strerror(errno));
}

/* Asks for nf_tables' generation, which anybody may. */
static int ask_nft(void)
{
	struct {
		struct nlmsghdr h;
		struct nfgenmsg g;
	} ask = { { sizeof(ask), NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, NLM_F_REQUEST, 1, 0 }, { AF_UNSPEC, NFNETLINK_V0, 0 } };
	union {
		struct nlmsghdr h;
		char bytes[4096];
	} said;
	AUTO_FD fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		return errno;
	struct timeval wait = { 2, 0 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (send(fd, &ask, sizeof(ask), 0) < 0)
		return errno;
	ssize_t n = recv(fd, &said, sizeof(said), 0);
	if (n < (ssize_t)sizeof(said.h))
		return n < 0 ? errno : EIO;
	if (said.h.nlmsg_type != NLMSG_ERROR || n < (ssize_t)(sizeof(said.h) + sizeof(int)))
		return 0;
	int err = ((const struct nlmsgerr *)NLMSG_DATA(&said.h))->error;
	return err == -EPERM || err == -EACCES ? 0 : -err;
}

static void check_nft(struct check *c, const char *state)
{
	(void)state;
	int err = ask_nft();
	if (err)
		lacks(c, CHECK_LESS, "E_NFT_MISSING");
	snprintf(c->found, sizeof(c->found), "nf_tables: %s", err ? strerror(err) : "there");
}

static void check_files(struct check *c, const char *state)
{
	struct rlimit r;
	(void)state;
	if (getrlimit(RLIMIT_NOFILE, &r))
		return;
	if (r.rlim_max < FILES_LEAST)
		lacks(c, CHECK_LESS, "E_FD_LIMIT");
	snprintf(c->found, sizeof(c->found), "at most %llu file descriptors", (unsigned long long)r.rlim_max);
}

static void check_ram(struct check *c, const char *state)
{
	unsigned long long kib = 0;
	char *text;
	size_t n;
	(void)state;
	if (read_file_at(AT_FDCWD, "/proc/meminfo", 65536, &text, &n))
		return;
	const char *at = strstr(text, "MemAvailable:");
	if (at)
		sscanf(at, "MemAvailable: %llu", &kib);
	free(text);
	if (kib << 10 < RAM_LEAST_BYTES)
		lacks(c, CHECK_LESS, "E_NO_RAM");
	snprintf(c->found, sizeof(c->found), "%llu MiB of memory are free", kib >> 10);
}

/* A VM's memory is a memfd, and asks for huge pages (vmm/mem/gm.c): the kernel's word in brackets says whether it may have them. */
static void check_pages(struct check *c, const char *state)
{
	static const char *const never[] = { "[never]", "[deny]" };
	char *text;
	size_t n;
	(void)state;
	if (read_file_at(AT_FDCWD, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", 4096, &text, &n)) {
		snprintf(c->found, sizeof(c->found), "this kernel has 4 KiB pages alone for the memory of VMs");
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(never); i++)
		if (strstr(text, never[i]))
			lacks(c, CHECK_LESS, "E_SMALL_PAGES");
	free(text);
	snprintf(c->found, sizeof(c->found), "VMs get their memory in %s", c->code ? "pages of 4 KiB: each that a guest touches first costs a fault" : "huge pages");
}

/* Of the folder, or of the nearest one above it that is there. */
static void check_disk(struct check *c, const char *state)
{
	char path[PATH_MAX];
	struct statvfs s;
	if (!*state)
		return;
	snprintf(path, sizeof(path), "%s", state);
	while (statvfs(path, &s)) {
		char *slash = strrchr(path, '/');
		if (errno != ENOENT || !slash || slash == path) {
			snprintf(path, sizeof(path), "%s", *state == '/' ? "/" : ".");
			if (errno != ENOENT || statvfs(path, &s)) {
				lacks(c, CHECK_BAD, "E_STATE_PATH");
				snprintf(c->found, sizeof(c->found), "state folder %.120s: %s", state, strerror(errno));
				return;
			}
			break;
		}
		*slash = 0;
	}
	unsigned long long free_bytes = (unsigned long long)s.f_bavail * s.f_frsize;
	snprintf(c->found, sizeof(c->found), "state folder %.120s: %llu MiB are free", state, free_bytes >> 20);
	if (s.f_flag & ST_RDONLY)
		lacks(c, CHECK_BAD, "E_STATE_READONLY");
	else if (access(path, W_OK | X_OK))
		lacks(c, CHECK_BAD, "E_STATE_DENIED");
	else if (free_bytes < DISK_LEAST_BYTES)
		lacks(c, CHECK_LESS, "E_DISK_FULL");
}

static void check_clock(struct check *c, const char *state)
{
	char now[RFC3339_MAX];
	uint64_t ns = now_real_ns();
	(void)state;
	if (ns / 1000000000u < CLOCK_LEAST_S)
		lacks(c, CHECK_BAD, "E_CLOCK_BACK");
	rfc3339_format(ns, now);
	snprintf(c->found, sizeof(c->found), "it is %s", now);
}

unsigned checks_run(struct check *out, const char *state)
{
	static const struct {
		const char *name;
		void (*run)(struct check *c, const char *state);
	} rows[] = {
		{ "seccomp", check_seccomp }, { "userns", check_user_ns }, { "landlock", check_landlock }, { "cgroup", check_cgroup }, { "tun", check_tun },
		{ "nftables", check_nft }, { "files", check_files }, { "memory", check_ram }, { "pages", check_pages }, { "state", check_disk }, { "clock", check_clock },
	};
	_Static_assert(ARRAY_LEN(rows) <= CHECKS_MAX, "room for all");
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		out[i] = (struct check){ .name = rows[i].name };
		rows[i].run(&out[i], state);
	}
	return ARRAY_LEN(rows);
}
