#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Tries one program. Returns only when it cannot be executed. */
static int try_exec(const struct spawn *s, const char *path)
{
	execve(path, s->cmd->argv, s->cmd->envp);
	return -errno;
}

/* PATH search as a shell does it: a place without the program is passed over, one where it may not be executed is remembered. */
static int search_exec(const struct spawn *s, char *scratch)
{
	const char *name = s->cmd->path, *dir = s->cmd->search ? s->cmd->search : "/bin:/usr/bin";
	size_t name_n = strlen(name);
	int refused = 0;
	if (strchr(name, '/'))
		return try_exec(s, name);
	while (*dir) {
		size_t n = strcspn(dir, ":");
		if (n && n + 1 + name_n < PATH_MAX) {
			memcpy(scratch, dir, n);
			scratch[n] = '/';
			memcpy(scratch + n + 1, name, name_n + 1);
			int err = try_exec(s, scratch);
			if (err != -ENOENT && err != -ENOTDIR && err != -EACCES)
				return err;
			struct stat st; /* a folder that may not be entered is no program that may not be run */
			if (err == -EACCES && stat(scratch, &st) == 0 && S_ISREG(st.st_mode))
				refused = err;
		}
		dir += n + (dir[n] == ':');
	}
	return refused ? refused : -ENOENT;
}

/* Under systemd the agent is spared when memory is short (rootfs/unpack/adopt.c); what it starts is not. */
static void be_killable(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, "0", 1);
	close(fd);
}

/* In the vfork child: shares our memory until exec, so it only writes to s and scratch.
 * System calls: setsid open write close ioctl(TIOCSCTTY) dup2 rt_sigaction rt_sigprocmask umask prlimit64 setgroups setresgid setresuid prctl chdir execve. */
static void child(struct spawn *s, char *scratch)
{
	sigset_t none;
	setsid();
	if (s->tty && ioctl(s->fds[0], TIOCSCTTY, 0) < 0)
		goto failed;
	for (int i = 0; i < 3; i++)
		if (dup2(s->fds[i], i) < 0)
			goto failed;
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	(void)setrlimit(RLIMIT_NOFILE, s->files);
	be_killable();
	if (s->become && (s->err = who_become(s->who)) < 0)
		return;
	if (s->ends_with_us && syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) /* after the change of user, which clears it */
		goto failed;
	if (chdir(s->cmd->cwd) < 0 && (s->cmd->cwd_given || chdir("/") < 0)) {
		s->at_cwd = true;
		goto failed;
	}
	s->err = search_exec(s, scratch);
	return;
failed:
	s->err = -errno;
}

int spawn_run(struct spawn *s)
{
	static char scratch[PATH_MAX]; /* one thread, and the parent waits: never used twice at once */
	s->err = 0;
	s->at_cwd = false;
	pid_t pid = vfork();
	if (pid == 0) {
		child(s, scratch);
		_exit(127);
	}
	if (pid < 0)
		return s->err = -errno;
	if (s->err)
		waitpid(pid, NULL, 0);
	s->pid = pid;
	return s->err;
}
