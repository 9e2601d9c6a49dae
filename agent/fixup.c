/* A fork's first boot: what a copied disk knows of the machine that it was becomes what this one is. */
#include "agent/agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/buf.h"

#define HOSTS_MAX (1u << 20)
#define KEYS_MAX 64u        /* files of SSH host keys that are looked at */
#define KEYGEN "ssh-keygen"
#define NEW_KEYS ".mica-new" /* in /etc/ssh: keys until they are whole */

static int open_folder(const struct agent *a, const char *path)
{
	char at[PATH_MAX];
	snprintf(at, sizeof at, "%s%s", a->prefix, path);
	int fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- name ---- */

/* The words of /etc/hosts that are the old name. */
static int rename_in_hosts(int etc, const char *old, const char *name)
{
	char *text;
	size_t n;
	struct buf b;
	int rc = read_file_at(etc, "hosts", HOSTS_MAX, &text, &n);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	buf_init(&b, 2 * HOSTS_MAX);
	for (size_t i = 0; i < n;) { /* each round takes at least one byte */
		size_t word = strcspn(text + i, " \t\r\n"), gap = strspn(text + i + word, " \t\r\n");
		if (word == strlen(old) && memcmp(text + i, old, word) == 0)
			buf_adds(&b, name);
		else
			buf_add(&b, text + i, word);
		buf_add(&b, text + i + word, gap);
		if (word + gap == 0)
			break; /* a NUL byte: what follows is no text */
		i += word + gap;
	}
	rc = b.failed ? -ENOBUFS : write_file_atomic(etc, "hosts", buf_data(&b), buf_len(&b), 0644);
	buf_done(&b);
	free(text);
	return rc;
}

static int fix_hostname(const struct agent *a, const char *name)
{
	AUTO_FD etc = open_folder(a, "/etc");
	char *old, line[72];
	size_t n;
	if (a->machine && sethostname(name, strlen(name)) < 0)
		return -errno;
	int rc = etc < 0 ? etc : read_file_at(etc, "hostname", 4096, &old, &n);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc; /* none: it comes from the host alone */
	old[strcspn(old, "\r\n")] = '\0';
	if (old[0] && strcmp(old, name) != 0)
		rc = rename_in_hosts(etc, old, name);
	free(old);
	snprintf(line, sizeof line, "%s\n", name);
	return rc < 0 ? rc : write_file_atomic(etc, "hostname", line, strlen(line), 0644);
}

/* ---- machine-id(5) ---- */

static int put_id(int folder, const char *id)
{
	char line[40], *have;
	size_t n;
	snprintf(line, sizeof line, "%s\n", id);
	if (read_file_at(folder, "machine-id", 64, &have, &n) == 0) { /* systemd took it from the kernel's command line */
		bool same = strcmp(have, line) == 0;
		free(have);
		if (same)
			return 0;
	}
	return write_file_atomic(folder, "machine-id", line, strlen(line), 0444);
}

static int fix_machine_id(const struct agent *a, const char *id)
{
	char at[PATH_MAX];
	struct stat st;
	snprintf(at, sizeof at, "%s/etc", a->prefix);
	int rc = path_make(at);
	AUTO_FD etc = open_folder(a, "/etc"), dbus = open_folder(a, "/var/lib/dbus");
	if (rc == 0)
		rc = etc < 0 ? etc : put_id(etc, id);
	if (rc == 0 && dbus >= 0 && fstatat(dbus, "machine-id", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		rc = put_id(dbus, id);
	return rc;
}

/* ---- keys of SSH ---- */

static bool is_key(const char *name)
{
	return strncmp(name, "ssh_host_", 9) == 0;
}

/* Calls fn for each file of a host key; how many, or what fn returned below 0. */
static int each_key(int folder, int (*fn)(int folder, const char *name, int to), int to)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0, rc = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char names[KEYS_MAX][128];
	struct dirent *e;
	if (!d) {
		rc = -errno;
		fd_close(&fd);
		return rc;
	}
	while ((unsigned)n < KEYS_MAX && (e = readdir(d)))
		if (is_key(e->d_name) && strlen(e->d_name) < sizeof names[0])
			memcpy(names[n++], e->d_name, strlen(e->d_name) + 1);
	closedir(d);
	for (int i = 0; i < n && fn && rc == 0; i++)
		rc = fn(folder, names[i], to);
	return rc < 0 ? rc : n;
}

static int drop_key(int folder, const char *name, int to)
{
	(void)to;
	return unlinkat(folder, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int move_key(int folder, const char *name, int to)
{
	return renameat(folder, name, to, name) < 0 ? -errno : 0;
}

/* One that the new ones did not replace: of a kind no more made, or a certificate of the old. */
static int drop_old(int folder, const char *name, int fresh)
{
	return faccessat(fresh, name, F_OK, 0) == 0 ? 0 : drop_key(folder, name, -1);
}

static void drop_new_keys(int ssh)
{
	AUTO_FD etc = openat(ssh, NEW_KEYS "/etc/ssh", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (etc >= 0)
		each_key(etc, drop_key, -1);
	(void)unlinkat(ssh, NEW_KEYS "/etc/ssh", AT_REMOVEDIR);
	(void)unlinkat(ssh, NEW_KEYS "/etc", AT_REMOVEDIR);
	(void)unlinkat(ssh, NEW_KEYS, AT_REMOVEDIR);
}

static int run_keygen(const char *under)
{
	static const char *const places[] = {"/usr/bin/" KEYGEN, "/usr/local/bin/" KEYGEN, "/bin/" KEYGEN};
	char name[] = KEYGEN, all[] = "-A", at[] = "-f", path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", home[] = "HOME=/root", where[PATH_MAX];
	char *const argv[] = {name, all, at, where, NULL}, *const env[] = {path, home, NULL};
	int status = 0;
	snprintf(where, sizeof where, "%s", under);
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		for (int i = 0; i < 3; i++)
			(void)dup2(null, i);
		(void)close_from(3);
		for (size_t i = 0; i < ARRAY_LEN(places); i++)
			execve(places[i], argv, env);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return !WIFEXITED(status) ? -EIO : WEXITSTATUS(status) == 127 ? -ENOENT : WEXITSTATUS(status) ? -EIO : 0;
}

/* sshd reads its keys when it starts: one that runs already is told to begin anew. */
static void tell_sshd(const struct agent *a)
{
	char at[PATH_MAX], *text;
	uint64_t pid;
	size_t n;
	snprintf(at, sizeof at, "%s/run/sshd.pid", a->prefix);
	if (read_file_at(AT_FDCWD, at, 32, &text, &n) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	bool good = parse_u64(text, INT32_MAX, &pid) == 0 && pid > 1;
	free(text);
	if (!good)
		return;
	snprintf(at, sizeof at, "/proc/%u/comm", (unsigned)pid);
	if (read_file_at(AT_FDCWD, at, 64, &text, &n) < 0)
		return;
	if (strcmp(text, "sshd\n") == 0)
		(void)kill((pid_t)pid, SIGHUP);
	free(text);
}

/* The new ones are whole before an old one goes, so that asking again after a cut finds what is to be replaced. */
static int fix_ssh_keys(const struct agent *a, struct fault *f)
{
	char under[PATH_MAX], at[PATH_MAX + 16];
	AUTO_FD ssh = open_folder(a, "/etc/ssh");
	if (ssh < 0 || each_key(ssh, NULL, -1) == 0)
		return ssh < 0 && ssh != -ENOENT ? ssh : 0;
	drop_new_keys(ssh);
	snprintf(under, sizeof under, "%s/etc/ssh/" NEW_KEYS, a->prefix);
	snprintf(at, sizeof at, "%s/etc/ssh", under);
	int rc = path_make(at);
	if (rc == 0)
		rc = run_keygen(under);
	if (rc == -ENOENT)
		return fault_set(f, rc, "there are SSH host keys, and no " KEYGEN " to make others: leave ssh-host-keys out of the fork's fixups");
	AUTO_FD fresh = rc < 0 ? -1 : open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rc == 0 && (fresh < 0 || each_key(fresh, NULL, -1) <= 0))
		rc = -EIO;
	if (rc == 0)
		rc = each_key(ssh, drop_old, fresh);
	if (rc >= 0)
		rc = each_key(fresh, move_key, ssh);
	drop_new_keys(ssh);
	if (rc < 0)
		return fault_errno(f, rc, "new SSH host keys");
	tell_sshd(a);
	return 0;
}

void fixup(struct job *j)
{
	struct fault f = {.text = ""};
	char host[65], id[40];
	uint64_t keys = 0;
	int rc = 0, has_host = wire_get_str(j->req, A_T_HOSTNAME, host, sizeof host), has_id = wire_get_str(j->req, A_T_MACHINE_ID, id, sizeof id);
	(void)wire_get_u64(j->req, A_T_SSH_HOST_KEYS, &keys);
	if (!j->a->machine && !j->a->prefix[0])
		rc = fault_set(&f, -EOPNOTSUPP, "this agent does not run inside a guest: it leaves the machine alone");
	else if ((has_host && has_host != -ENOENT) || (!has_host && !name_is_valid(host, 63)))
		rc = fault_set(&f, -EINVAL, "that is no host name");
	else if ((has_id && has_id != -ENOENT) || (!has_id && (strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32)))
		rc = fault_set(&f, -EINVAL, "a machine-id is 32 hexadecimal digits");
	if (rc == 0 && !has_host && (rc = fix_hostname(j->a, host)) < 0)
		fault_errno(&f, rc, "cannot set the host name");
	if (rc == 0 && !has_id && (rc = fix_machine_id(j->a, id)) < 0)
		fault_errno(&f, rc, "cannot set the machine-id");
	if (rc == 0 && keys && (rc = fix_ssh_keys(j->a, &f)) < 0 && !f.text[0])
		fault_errno(&f, rc, "cannot make SSH host keys");
	if (rc < 0) {
		job_refuse(j, rc, &f);
		return;
	}
	if (j->a->machine)
		sync(); /* what is said to be done stays, also when the host falls */
	job_ok(j);
}
