#include "vmm/jail/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FOLDER "mica"
#define DAEMON "daemon"           /* in a delegated group: where we ourselves are, because a group with limited children may hold no processes */
#define DAEMON_WEIGHT 1000u       /* of ten VMs: the daemon serves all of them, and uses little */
#define LEAF "vm-"
#define PERIOD_US 100000u
enum { FILE_MAX = 1 << 20, LEFTOVERS_MAX = 65536, MOVES = 8 };

uint64_t cgroup_memory_max(const struct cgroup_limits *l)
{
	return l->ram_bytes + l->ram_bytes / 32 + (256ull << 20) + l->more_bytes;
}

/* ---- small files ---- */

static char *read_text(int dir_fd, const char *name)
{
	char *text = NULL;
	return read_file_at(dir_fd, name, FILE_MAX, &text, NULL) ? NULL : text;
}

static int write_text(int dir_fd, const char *name, const char *fmt, unsigned long long a, unsigned long long b)
{
	char text[64];
	int n = snprintf(text, sizeof text, fmt, a, b);
	AUTO_FD fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, (size_t)n) < 0 ? -errno : 0;
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; p && (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\n' || !p[n]))
			return true;
	return false;
}

static int open_folder(int at, const char *path)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

/* ---- where ---- */

/* The group of a process in the unified hierarchy: the line "0::/path". */
static int path_of(const char *pid, char *dst, size_t cap)
{
	char file[64];
	snprintf(file, sizeof file, "/proc/%s/cgroup", pid);
	char *text = read_text(AT_FDCWD, file), *line = text;
	int err = -ENOENT;
	while (line && strncmp(line, "0::/", 4) != 0)
		if ((line = strchr(line, '\n')))
			line++;
	if (line) {
		size_t n = strcspn(line + 3, "\n");
		err = n < cap ? 0 : -ENAMETOOLONG;
		if (!err)
			snprintf(dst, cap, "%.*s", (int)n, line + 3);
	}
	free(text);
	return err;
}

/* Where the unified hierarchy is mounted whole: fd, or -ENOENT. A line of mountinfo: id parent dev root point options … - type source options */
static int open_hierarchy(void)
{
	char *text = read_text(AT_FDCWD, "/proc/self/mountinfo"), *rest = text, *line, point[PATH_MAX], root[PATH_MAX];
	int fd = -ENOENT;
	while (fd < 0 && rest && (line = strsep(&rest, "\n"))) {
		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) == 2 && strcmp(root, "/") == 0)
			fd = open_folder(AT_FDCWD, point);
	}
	free(text);
	return fd;
}

/* systemd marks what it gives away. */
static bool is_delegated(int fd)
{
	char value[8];
	ssize_t n = fgetxattr(fd, "trusted.delegate", value, sizeof value);
	if (n < 0)
		n = fgetxattr(fd, "user.delegate", value, sizeof value);
	return n == 1 && value[0] == '1';
}

/* Ours: this process, the supervisor, and what it started. */
static bool is_ours(const char *pid)
{
	char file[64], *text, *line;
	bool ours = strtol(pid, NULL, 10) == getpid() || strtol(pid, NULL, 10) == getppid();
	if (ours)
		return true;
	snprintf(file, sizeof file, "/proc/%s/status", pid);
	text = read_text(AT_FDCWD, file);
	line = text ? strstr(text, "\nPPid:\t") : NULL;
	ours = line && strtol(line + 7, NULL, 10) == getppid();
	free(text);
	return ours;
}

/* A group whose children have limits may hold no process itself, so we move one down. The supervisor may be starting others meanwhile: they follow. */
static void move_down(int base_fd)
{
	mkdirat(base_fd, DAEMON, 0755);
	for (int i = 0; i < MOVES; i++) {
		char *text = read_text(base_fd, "cgroup.procs"), *rest = text, *pid;
		bool moved = false;
		while (rest && (pid = strsep(&rest, "\n")))
			if (*pid && is_ours(pid) && !write_text(base_fd, DAEMON "/cgroup.procs", "%llu", strtoull(pid, NULL, 10), 0))
				moved = true;
		free(text);
		if (!moved)
			return;
	}
}

/* The group that was delegated to us: our own, or the one above when we were moved down already. fd, or -ENOENT. */
static int open_delegated(struct cgroups *c, int top_fd)
{
	char self[sizeof c->path];
	if (path_of("self", self, sizeof self) || strlen(self) < 2)
		return -ENOENT;
	char *slash = strrchr(self, '/');
	if (strcmp(slash, "/" DAEMON) == 0 && slash != self)
		*slash = 0;
	int fd = open_folder(top_fd, self + 1);
	if (fd < 0)
		return fd;
	if (!is_delegated(fd)) {
		close(fd);
		return -ENOENT;
	}
	snprintf(c->path, sizeof c->path, "%s", self);
	move_down(fd);
	return fd;
}

/* One controller for the children of this folder. */
static bool enable(int fd, const char *name)
{
	char *text = read_text(fd, "cgroup.subtree_control"), plus[16];
	bool on = text && has_word(text, name);
	free(text);
	snprintf(plus, sizeof plus, "+%s", name);
	return on || write_text(fd, "cgroup.subtree_control", plus, 0, 0) == 0;
}

static int open_own(struct cgroups *c, int top_fd)
{
	static const char *const names[] = {"memory", "cpu", "pids", "io"};
	if (geteuid() != 0)
		return -EPERM;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		enable(top_fd, names[i]); /* as every daemon does that limits anything; if it fails it is missed below */
	if (mkdirat(top_fd, FOLDER, 0755) < 0 && errno != EEXIST)
		return -errno;
	snprintf(c->path, sizeof c->path, "/" FOLDER);
	return open_folder(top_fd, FOLDER);
}

/* Groups without processes. One that another daemon is about to use may be among them: it makes it again. */
void cgroups_sweep(const struct cgroups *c)
{
	if (c->dir_fd < 0)
		return;
	int fd = open_folder(c->dir_fd, ".");
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	for (unsigned i = 0; d && i < LEFTOVERS_MAX && (e = readdir(d)); i++)
		if (strncmp(e->d_name, LEAF, strlen(LEAF)) == 0)
			unlinkat(c->dir_fd, e->d_name, AT_REMOVEDIR); /* EBUSY: it lives */
	if (d)
		closedir(d);
	else
		fd_close(&fd);
}

void cgroups_init(struct cgroups *c)
{
	*c = (struct cgroups){.dir_fd = -1};
	AUTO_FD top = open_hierarchy();
	if (top < 0) {
		snprintf(c->why, sizeof c->why, "no cgroup v2 on this host, so rlimits alone (boot it with systemd.unified_cgroup_hierarchy=1)");
		return;
	}
	c->dir_fd = open_delegated(c, top);
	if (c->dir_fd < 0)
		c->dir_fd = open_own(c, top);
	if (c->dir_fd < 0) {
		snprintf(c->why, sizeof c->why, "no cgroup of our own, so rlimits alone: %s", geteuid() ? "not root, and none was delegated (Delegate=yes in a unit of systemd)"
											       : strerror(-c->dir_fd));
		c->dir_fd = -1;
		return;
	}
	c->memory = enable(c->dir_fd, "memory");
	c->cpu = enable(c->dir_fd, "cpu");
	if (c->cpu)
		write_text(c->dir_fd, DAEMON "/cpu.weight", "%llu", DAEMON_WEIGHT, 0); /* not there when the folder is our own: then it is elsewhere */
	c->pids = enable(c->dir_fd, "pids");
	c->io = enable(c->dir_fd, "io");
	if (!c->memory || !c->cpu || !c->pids)
		snprintf(c->why, sizeof c->why, "no limit of%s%s%s by cgroup here (its controllers are not in the unified hierarchy: cgroup v1 holds them, or nobody delegated "
			 "them), so rlimits%s", c->memory ? "" : " memory", c->cpu ? "" : " cpu", c->pids ? "" : " pids",
			 c->io ? "" : "; no io.max either: vmm's own limits of its disks stand");
	else if (!c->io)
		snprintf(c->why, sizeof c->why, "no io.max here (nobody delegated the controller io, or cgroup v1 holds it): vmm's own limits of its disks stand");
	cgroups_sweep(c);
}

/* ---- one VM's ---- */

bool cgroup_disk_of(uint32_t *major_n, uint32_t *minor_n)
{
	char path[80], *text;
	unsigned whole_major, whole_minor;
	if (!*major_n)
		return false;
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/partition", *major_n, *minor_n);
	text = read_text(AT_FDCWD, path);
	if (text) { /* what it is a partition of is the folder above */
		free(text);
		snprintf(path, sizeof path, "/sys/dev/block/%u:%u/../dev", *major_n, *minor_n);
		text = read_text(AT_FDCWD, path);
		bool known = text && sscanf(text, "%u:%u", &whole_major, &whole_minor) == 2;
		free(text);
		if (!known)
			return false;
		*major_n = whole_major;
		*minor_n = whole_minor;
	}
	return true;
}

static size_t put_rate(char *to, size_t cap, const char *key, uint64_t most)
{
	char number[24] = "max";
	if (most)
		snprintf(number, sizeof number, "%llu", (unsigned long long)most);
	return (size_t)snprintf(to, cap, " r%s=%s w%s=%s", key, number, key, number);
}

/* No reason to refuse a VM: a device may have no such limits, and vmm keeps its own. Without limits they are taken away, for a VM that had some. */
static void limit_io(int fd, const struct cgroup_limits *l)
{
	uint32_t major_n = l->io_major, minor_n = l->io_minor;
	char text[160];
	if (!cgroup_disk_of(&major_n, &minor_n))
		return;
	size_t n = (size_t)snprintf(text, sizeof text, "%u:%u", major_n, minor_n);
	n += put_rate(text + n, sizeof text - n, "bps", l->io_bytes_s);
	put_rate(text + n, sizeof text - n, "iops", l->io_ops_s);
	AUTO_FD to = openat(fd, "io.max", O_WRONLY | O_CLOEXEC);
	if (to >= 0 && write(to, text, strlen(text)) < 0)
		return;
}

static int set_limits(const struct cgroups *c, int fd, const struct cgroup_limits *l, struct fault *f)
{
	unsigned long long cpus = l->vcpus + CGROUP_CPUS_MORE;
	int err = 0;
	if (c->memory && (err = write_text(fd, "memory.max", "%llu", cgroup_memory_max(l), 0)))
		return fault_errno(f, err, "memory.max of the VM's cgroup");
	if (c->memory && (err = write_text(fd, "memory.oom.group", "1", 0, 0)))
		return fault_errno(f, err, "memory.oom.group of the VM's cgroup");
	if (c->cpu && (err = write_text(fd, "cpu.max", "%llu %llu", cpus * PERIOD_US, PERIOD_US)))
		return fault_errno(f, err, "cpu.max of the VM's cgroup");
	if (c->cpu && (err = write_text(fd, "cpu.weight", "%llu", l->cpu_weight ? l->cpu_weight : 100, 0)))
		return fault_errno(f, err, "cpu.weight of the VM's cgroup");
	if (c->pids && (err = write_text(fd, "pids.max", "%llu", l->vcpus + CGROUP_TASKS_MORE, 0)))
		return fault_errno(f, err, "pids.max of the VM's cgroup");
	if (c->io)
		limit_io(fd, l);
	return 0;
}

int cgroup_make(const struct cgroups *c, const char *vm, const struct cgroup_limits *l, char leaf[CGROUP_LEAF_MAX], struct fault *f)
{
	snprintf(leaf, CGROUP_LEAF_MAX, LEAF "%s.%d", vm, (int)getpid()); /* daemons may have VMs of one name: `mica run` does */
	int fd = mkdirat(c->dir_fd, leaf, 0755) < 0 && errno != EEXIST ? -errno : open_folder(c->dir_fd, leaf);
	int err = fd < 0 ? fault_errno(f, fd, "the VM's cgroup cannot be made") : set_limits(c, fd, l, f);
	if (!err)
		return fd;
	if (err == -ENOENT)
		err = -ENODEV;
	fd_close(&fd);
	cgroup_remove(c, leaf);
	leaf[0] = 0;
	return err;
}

void cgroup_adopt(const struct cgroups *c, pid_t pid, const struct cgroup_limits *l, char leaf[CGROUP_LEAF_MAX])
{
	char who[16], path[sizeof c->path + CGROUP_LEAF_MAX];
	struct fault f = {""};
	size_t n = strlen(c->path);
	leaf[0] = 0;
	snprintf(who, sizeof who, "%d", (int)pid);
	if (c->dir_fd < 0 || path_of(who, path, sizeof path) || strncmp(path, c->path, n) != 0 || strncmp(path + n, "/" LEAF, 1 + strlen(LEAF)) != 0 ||
	    strchr(path + n + 1, '/') || strlen(path + n + 1) >= CGROUP_LEAF_MAX)
		return;
	snprintf(leaf, CGROUP_LEAF_MAX, "%s", path + n + 1);
	AUTO_FD fd = open_folder(c->dir_fd, leaf);
	if (fd >= 0 && l->ram_bytes)
		set_limits(c, fd, l, &f); /* it runs: better without than dead */
}

void cgroup_remove(const struct cgroups *c, const char *leaf)
{
	if (c->dir_fd >= 0 && leaf[0])
		unlinkat(c->dir_fd, leaf, AT_REMOVEDIR);
}
