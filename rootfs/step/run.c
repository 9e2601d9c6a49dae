/* RUN: the command is process 1 of namespaces of its own, so that nothing it started outlives it and no mount stays. */
#include "rootfs/step/step.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define SMALL_FILE_MAX 65536u

struct run {
	const struct ask *a;
	struct who who;
	const char *root;
	char *resolv, *hosts; /* owned: what the builder has in /run; NULL */
};

/* In this order; what is mounted is the guest's own, as at its boot (init/mounts.c). */
static const struct {
	const char *type, *at, *options;
	unsigned long flags;
} mounts[] = {
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY },
	{ "tmpfs", "/dev", "mode=755", MS_NOSUID },
	{ "devpts", "/dev/pts", "newinstance,mode=620,gid=5,ptmxmode=666", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV },
};
static const struct {
	const char *at;
	unsigned minor;
} nodes[] = { { "/dev/null", 3 }, { "/dev/zero", 5 }, { "/dev/full", 7 }, { "/dev/random", 8 }, { "/dev/urandom", 9 } };
static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" }, { "/proc/self/fd/0", "/dev/stdin" }, { "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" }, { "pts/ptmx", "/dev/ptmx" } };

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
	_exit(STEP_FAILED);
}

static void write_new(const char *path, const char *text)
{
	AUTO_FD fd = text ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;

	if (fd >= 0)
		(void)write_full(fd, text, strlen(text));
}

static void furnish(const struct run *r)
{
	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		(void)mkdir(mounts[i].at, 0755);
		if (mount(mounts[i].type, mounts[i].at, mounts[i].type, mounts[i].flags, mounts[i].options))
			die(mounts[i].at);
	}
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		if (mknod(nodes[i].at, S_IFCHR | 0666, makedev(1, nodes[i].minor)) || chmod(nodes[i].at, 0666))
			die(nodes[i].at);
	if (mknod("/dev/tty", S_IFCHR | 0666, makedev(5, 0)) || chmod("/dev/tty", 0666))
		die("/dev/tty");
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		(void)symlink(links[i][0], links[i][1]);
	write_new("/run/resolv.conf", r->resolv);
	write_new("/run/hosts", r->hosts);
	if (mkdir("/run/lock", 01777) == 0)
		(void)chmod("/run/lock", 01777);
}

static const char *value_of(char **env, const char *name)
{
	size_t n = strlen(name);

	for (; *env; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

/* As a shell finds it. */
static int find_and_run(const struct run *r, char **env)
{
	const char *name = r->a->argv[0], *path = value_of(env, "PATH");
	char at[4096];
	int err = ENOENT;

	if (strchr(name, '/')) {
		execve(name, r->a->argv, env);
		return errno;
	}
	for (path = path ? path : "/bin:/usr/bin"; *path;) {
		size_t n = strcspn(path, ":");

		if (n && (size_t)snprintf(at, sizeof(at), "%.*s/%s", (int)n, path, name) < sizeof(at)) {
			execve(at, r->a->argv, env);
			if (errno != ENOENT && errno != ENOTDIR)
				err = errno;
		}
		path += n + (path[n] == ':');
	}
	return err;
}

__attribute__((noreturn)) static void child(const struct run *r)
{
	char home[300];
	char **env = r->a->env;
	int null, err;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || chroot(r->root) || chdir("/"))
		die(r->root);
	furnish(r);
	null = open("/dev/null", O_RDONLY);
	if (null < 0 || dup2(null, 0) < 0)
		die("/dev/null");
	if (chdir(r->a->workdir))
		die(r->a->workdir);
	if (setgroups(r->who.n_groups, r->who.groups) || setresgid(r->who.gid, r->who.gid, r->who.gid) || setresuid(r->who.uid, r->who.uid, r->who.uid))
		die("the user");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL)) /* after the change of user, which clears it */
		die("prctl");
	snprintf(home, sizeof(home), "HOME=%s", r->who.home);
	if (!value_of(env, "HOME"))
		env[r->a->n_env] = home;
	err = find_and_run(r, env);
	fprintf(stderr, "error: %s: %s\n", r->a->argv[0], err == ENOENT ? "not found in the image (a RUN without [] needs its /bin/sh)" : strerror(err));
	_exit(err == ENOENT ? 127 : 126);
}

int step_run(int root_fd, const char *root, const struct ask *a, struct fault *f)
{
	struct run r = { .a = a, .root = root };
	int err = a->n_argv ? who_find(root_fd, a->user, false, &r.who, f) : fault_set(f, -EINVAL, "there is no command"), status = 0;
	pid_t pid;

	if (!err)
		err = step_folder(root_fd, &(struct ask){ .dest = a->workdir, .chown = "", .chmod = -1 }, f);
	if (err)
		return err;
	if (read_file_at(AT_FDCWD, "/run/resolv.conf", SMALL_FILE_MAX, &r.resolv, NULL))
		r.resolv = NULL;
	if (read_file_at(AT_FDCWD, "/run/hosts", SMALL_FILE_MAX, &r.hosts, NULL))
		r.hosts = NULL;
	if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | (a->no_network ? CLONE_NEWNET : 0)))
		return fault_errno(f, -errno, "namespaces for the command");
	pid = fork();
	if (pid == 0)
		child(&r);
	free(r.resolv);
	free(r.hosts);
	if (pid < 0)
		return fault_errno(f, -errno, "fork");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fault_errno(f, -errno, "waiting for the command");
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
