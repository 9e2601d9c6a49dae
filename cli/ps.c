#include "cli/ps.h"
#include "cli/out.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_MAX 65536u
#define PIDS_MAX 4194304u
#define THREADS_MAX 4096u
#define MANY 24 /* capabilities */

const char *const ps_ns_names[PS_NS_N] = { "user", "mnt", "pid", "net", "ipc", "uts" };
static const char *const roles[] = { "core", "front", "jail", "netd", "gate" };

/* ---- /proc/PID ---- */

static char *proc_text(pid_t pid, const char *name)
{
	char path[340], *text = NULL;
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return read_file_at(AT_FDCWD, path, FILE_MAX, &text, NULL) ? NULL : text;
}

/* The text after "\nName:\t" of a status file; NULL: not there. */
static const char *field(const char *status, const char *name)
{
	char key[40];
	int n = snprintf(key, sizeof(key), "\n%s:\t", name);
	const char *at = status ? strstr(status, key) : NULL;
	return at ? at + n : NULL;
}

static void read_status(struct ps_proc *p)
{
	char *s = proc_text(p->pid, "status");
	const char *uid = field(s, "Uid"), *eff = field(s, "CapEff"), *prm = field(s, "CapPrm"), *nnp = field(s, "NoNewPrivs");
	p->uid = -1;
	if (uid)
		sscanf(uid, "%*d %lld", (long long *)&p->uid);
	p->caps_known = eff && prm;
	p->caps = p->caps_known ? strtoull(eff, NULL, 16) | strtoull(prm, NULL, 16) : 0;
	p->no_new_privs = nnp ? atoi(nnp) : -1;
	free(s);
}

static void read_threads(struct ps_proc *p)
{
	char path[64];
	struct dirent *e;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)p->pid);
	DIR *d = opendir(path);
	while (d && p->threads < THREADS_MAX && (e = readdir(d))) {
		char name[300];
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(name, sizeof(name), "task/%s/status", e->d_name);
		char *s = proc_text(p->pid, name);
		const char *mode = field(s, "Seccomp");
		p->threads += s != NULL;
		p->filtered += mode && *mode == '2';
		free(s);
	}
	if (d)
		closedir(d);
}

/* "net:[4026531840]"; false: may not be read. */
static bool ns_of(pid_t pid, const char *ns, char *dst, size_t cap)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, ns);
	ssize_t n = readlink(path, dst, cap - 1);
	dst[n > 0 ? n : 0] = 0;
	return n > 0;
}

static void read_namespaces(struct ps_proc *p, pid_t beside)
{
	char a[64], b[64];
	for (int i = 0; i < PS_NS_N; i++)
		if (ns_of(p->pid, ps_ns_names[i], a, sizeof(a)) && ns_of(beside, ps_ns_names[i], b, sizeof(b)))
			p->ns[i] = strcmp(a, b) ? PS_NS_OWN : PS_NS_SHARED;
}

/* ---- cgroup ---- */

/* Where the unified hierarchy is mounted; "" nowhere. */
static void hierarchy(char *dst, size_t cap)
{
	char *text = proc_text(getpid(), "mountinfo"), *rest = text, *line, point[256], root[256];
	*dst = 0;
	while (!*dst && rest && (line = strsep(&rest, "\n")))
		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %255s %255s", root, point) == 2 && !strcmp(root, "/"))
			snprintf(dst, cap, "%s", point);
	free(text);
}

static bool cgroup_words(const char *folder, const char *name, char *dst, size_t cap)
{
	char path[600], *text = NULL;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (read_file_at(AT_FDCWD, path, FILE_MAX, &text, NULL))
		return false;
	snprintf(dst, cap, "%s", text);
	free(text);
	return true;
}

static void read_cgroup(struct ps_proc *p, const char *top)
{
	char *text = proc_text(p->pid, "cgroup"), *line = text && !strncmp(text, "0::", 3) ? text : text ? strstr(text, "\n0::") : NULL, folder[560], word[160];
	unsigned long long quota, period;
	if (line) {
		line += *line == '\n' ? 4 : 3;
		snprintf(p->cgroup, sizeof(p->cgroup), "%.*s", (int)strcspn(line, "\n"), line);
	}
	free(text);
	if (!line || !*top)
		return;
	snprintf(folder, sizeof(folder), "%s%s", top, p->cgroup);
	if (cgroup_words(folder, "memory.max", word, sizeof(word)))
		p->memory_max = strtoull(word, NULL, 10); /* "max" is 0 */
	if (cgroup_words(folder, "cpu.max", word, sizeof(word)) && sscanf(word, "%llu %llu", &quota, &period) == 2 && period)
		p->cpu_percent = (unsigned)(quota * 100 / period);
	if (cgroup_words(folder, "cpu.weight", word, sizeof(word)))
		p->cpu_weight = (unsigned)strtoul(word, NULL, 10);
	if (cgroup_words(folder, "pids.max", word, sizeof(word)))
		p->tasks_max = (unsigned)strtoul(word, NULL, 10);
	if (cgroup_words(folder, "io.max", word, sizeof(word))) { /* 254:0 rbps=N wbps=N riops=N wiops=max */
		const char *bytes = strstr(word, " rbps="), *ops = strstr(word, " riops=");
		p->io_bytes_s = bytes ? strtoull(bytes + 6, NULL, 10) : 0; /* "max" is 0 */
		p->io_ops_s = ops ? strtoull(ops + 7, NULL, 10) : 0;
	}
}

/* ---- who is who ---- */

struct seen {
	pid_t pid, parent;
	char comm[16], first[32], second[64]; /* words of its command line */
};

static bool look(pid_t pid, struct seen *s)
{
	char *status = proc_text(pid, "status"), *words = NULL, path[64];
	size_t n = 0;
	const char *parent = field(status, "PPid");
	bool there = status && sscanf(status, "Name:\t%15[^\n]", s->comm) == 1 && parent;
	s->pid = pid;
	s->parent = there ? atoi(parent) : 0;
	s->first[0] = s->second[0] = 0;
	free(status);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	if (there && !read_file_at(AT_FDCWD, path, FILE_MAX, &words, &n) && n) {
		size_t first = strnlen(words, n);
		snprintf(s->first, sizeof(s->first), "%.*s", (int)first, words);
		if (first + 1 < n)
			snprintf(s->second, sizeof(s->second), "%.*s", (int)(n - first - 1), words + first + 1);
	}
	free(words);
	return there;
}

static unsigned look_at_all(struct seen *all, unsigned cap)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	unsigned n = 0;
	while (d && n < cap && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			n += look(atoi(e->d_name), &all[n]);
	if (d)
		closedir(d);
	return n;
}

static void add(struct ps_proc *out, unsigned *n, unsigned cap, const char *process, const struct seen *s, pid_t beside, const char *top)
{
	if (*n >= cap)
		return;
	struct ps_proc *p = &out[(*n)++];
	*p = (struct ps_proc){ .process = process, .pid = s->pid, .parent = s->parent };
	if (!strcmp(process, "vmm"))
		snprintf(p->vm, sizeof(p->vm), "%s", s->second);
	read_status(p);
	read_threads(p);
	read_namespaces(p, beside);
	read_cgroup(p, top);
}

static void add_children(struct ps_proc *out, unsigned *n, unsigned cap, const struct seen *all, unsigned n_all, pid_t supervisor, const char *top)
{
	for (size_t r = 0; r < ARRAY_LEN(roles); r++)
		for (unsigned i = 0; i < n_all; i++)
			if (all[i].parent == supervisor && !strcmp(all[i].first, roles[r]))
				add(out, n, cap, roles[r], &all[i], supervisor, top);
}

int ps_scan(struct ps_proc *out, unsigned cap)
{
	static struct seen all[PS_MAX * 8];
	char top[256];
	unsigned n = 0, n_all = look_at_all(all, ARRAY_LEN(all));
	if (!n_all)
		return -ENOENT;
	hierarchy(top, sizeof(top));
	for (unsigned i = 0; i < n_all; i++) {
		if (strcmp(all[i].comm, "mica-jail") || all[i].parent <= 1)
			continue;
		for (unsigned k = 0; k < n_all; k++)
			if (all[k].pid == all[i].parent)
				add(out, &n, cap, "supervisor", &all[k], all[k].pid, top);
		add_children(out, &n, cap, all, n_all, all[i].parent, top);
	}
	for (unsigned i = 0; i < n_all; i++)
		if (!strcmp(all[i].comm, "mica-vmm"))
			add(out, &n, cap, "vmm", &all[i], getpid(), top);
	return (int)n;
}

/* ---- in words ---- */

void ps_caps_words(const struct ps_proc *p, char *dst, size_t cap)
{
	static const char *const names[] = { "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
		"net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct",
		"sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
		"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore" };
	size_t n = 0;
	snprintf(dst, cap, "%s", !p->caps_known ? "?" : p->caps ? "" : "none");
	uint64_t shown = p->caps, all = (1ull << ARRAY_LEN(names)) - 1;
	if (p->caps_known && __builtin_popcountll(shown) > MANY) { /* shorter to say what is not there */
		shown = ~shown & all;
		n += (size_t)snprintf(dst, cap, shown ? "all but " : "all");
	}
	size_t first = n;
	for (unsigned i = 0; p->caps_known && i < 64 && n < cap; i++)
		if (shown >> i & 1)
			n += (size_t)(i < ARRAY_LEN(names) ? snprintf(dst + n, cap - n, "%s%s", n > first ? "," : "", names[i]) : snprintf(dst + n, cap - n, "%s%u", n > first ? "," : "", i));
}

void ps_ns_words(const struct ps_proc *p, char *dst, size_t cap)
{
	size_t n = 0;
	bool unknown = false;
	*dst = 0;
	for (int i = 0; i < PS_NS_N; i++) {
		unknown |= p->ns[i] == PS_NS_UNKNOWN;
		if (p->ns[i] == PS_NS_OWN && n < cap)
			n += (size_t)snprintf(dst + n, cap - n, "%s%s", n ? " " : "", ps_ns_names[i]);
	}
	if (!n)
		snprintf(dst, cap, "%s", unknown ? "?" : "-");
}

void ps_limits_words(const struct ps_proc *p, char *dst, size_t cap)
{
	char bytes[WORDS_MAX];
	size_t n = 0;
	*dst = 0;
	if (p->memory_max)
		n += (size_t)snprintf(dst + n, cap - n, "%s", words_bytes(p->memory_max, bytes));
	if (p->cpu_percent && n < cap)
		n += (size_t)snprintf(dst + n, cap - n, "%s%g CPUs, weight %u", n ? ", " : "", p->cpu_percent / 100.0, p->cpu_weight);
	if (p->tasks_max && n < cap)
		n += (size_t)snprintf(dst + n, cap - n, "%s%u tasks", n ? ", " : "", p->tasks_max);
	if (p->io_bytes_s && n < cap)
		n += (size_t)snprintf(dst + n, cap - n, "%sio %s/s", n ? ", " : "", words_bytes(p->io_bytes_s, bytes));
	if (p->io_ops_s && n < cap)
		n += (size_t)snprintf(dst + n, cap - n, "%sio %llu/s", n ? ", " : "", (unsigned long long)p->io_ops_s);
	if (!n)
		snprintf(dst, cap, "none");
}

int ps_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	return abi < 0 ? 0 : (int)abi;
}

const char *ps_landlock(const struct ps_proc *p, int abi)
{
	static const char *const asked[][2] = { { "front", "no paths" }, { "gate", "no paths, TCP port 53" }, { "vmm", "no paths" }, { "core", "state folder" } };
	for (size_t i = 0; i < ARRAY_LEN(asked); i++)
		if (!strcmp(asked[i][0], p->process))
			return abi ? asked[i][1] : "not in this kernel";
	return "-";
}

unsigned ps_calls_of(const char *process, const char *thread)
{
	char name[32];
	snprintf(name, sizeof(name), "%s%s%s", process, thread ? " " : "", thread ? thread : "");
	for (const struct ps_calls *c = ps_calls; c->process; c++)
		if (!strcmp(c->process, name))
			return c->n;
	return 0;
}
