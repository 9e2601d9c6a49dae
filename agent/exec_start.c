#include "agent/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int plumb_pipes(struct plumbing *p, bool with_stdin)
{
	int pair[2];
	for (unsigned i = 0; i < 2; i++) {
		if (pipe2(pair, O_CLOEXEC) < 0)
			return -errno;
		p->from[i] = pair[0];
		p->child[i + 1] = pair[1];
		(void)fd_set_nonblock(pair[0], true);
		(void)fcntl(pair[0], F_SETPIPE_SZ, 256 * 1024); /* fewer turns for large output; refused for some users, which is fine */
	}
	if (!with_stdin) {
		p->child[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return p->child[0] < 0 ? -errno : 0;
	}
	if (pipe2(pair, O_CLOEXEC) < 0)
		return -errno;
	p->child[0] = pair[0];
	p->to = pair[1];
	return fd_set_nonblock(p->to, true);
}

static int plumb_tty(struct plumbing *p, const struct wire_msg *m, const struct spawn *s)
{
	char name[32];
	int number, unlock = 0;
	uint64_t cols = 80, rows = 24;
	struct termios t;
	p->from[0] = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (p->from[0] < 0 || ioctl(p->from[0], TIOCSPTLCK, &unlock) < 0 || ioctl(p->from[0], TIOCGPTN, &number) < 0)
		return -errno;
	snprintf(name, sizeof name, "/dev/pts/%d", number);
	p->child[0] = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (p->child[0] < 0)
		return -errno;
	if (s->become)
		(void)fchown(p->child[0], s->who->uid, (gid_t)-1);
	(void)wire_get_u64(m, A_T_COLS, &cols);
	(void)wire_get_u64(m, A_T_ROWS, &rows);
	struct winsize ws = {.ws_col = (unsigned short)(cols > 65535 ? 65535 : cols), .ws_row = (unsigned short)(rows > 65535 ? 65535 : rows)};
	(void)ioctl(p->from[0], TIOCSWINSZ, &ws);
	if (tcgetattr(p->child[0], &t) == 0) { /* so that erasing takes a whole UTF-8 character */
		t.c_iflag |= IUTF8;
		(void)tcsetattr(p->child[0], TCSANOW, &t);
	}
	for (unsigned i = 1; i < 3; i++)
		if ((p->child[i] = fcntl(p->child[0], F_DUPFD_CLOEXEC, 3)) < 0)
			return -errno;
	p->to = fcntl(p->from[0], F_DUPFD_CLOEXEC, 3);
	return p->to < 0 ? -errno : 0;
}

static int say_why(struct fault *f, const struct spawn *s, const char **code)
{
	const char *path = s->cmd->path;
	bool found = strchr(path, '/') && access(path, F_OK) == 0;
	*code = NULL;
	if (s->at_cwd)
		return fault_set(f, s->err == -ENOENT ? -EINVAL : s->err, "cannot enter the working directory %.300s: %s", s->cmd->cwd, strerror(-s->err));
	if (s->err == -ENOENT || s->err == -ENOTDIR) {
		*code = "127";
		if (found)
			return fault_set(f, s->err, "%.300s is there, but the interpreter or loader it names is not", path);
		return fault_set(f, s->err, "%.300s: command not found%s", path, strchr(path, '/') ? "" : " on the PATH of the guest");
	}
	*code = "126";
	if (s->err == -ENOEXEC)
		return fault_set(f, s->err, "%.300s is not a program this machine can execute (a script needs a #! line)", path);
	if (s->err == -EACCES)
		return fault_set(f, s->err, "%.300s: permission denied (not executable, or not for uid %u)", path, (unsigned)s->who->uid);
	fault_errno(f, s->err, path);
	return s->err;
}

void plumbing_close(struct plumbing *p, bool ours)
{
	for (unsigned i = 0; i < 3; i++)
		fd_close(&p->child[i]);
	if (!ours)
		return;
	fd_close(&p->from[0]);
	fd_close(&p->from[1]);
	fd_close(&p->to);
}

int exec_launch(struct spawn *s, struct plumbing *p, const struct wire_msg *m, struct fault *f, const char **code)
{
	uint64_t with_stdin = 0;
	*p = (struct plumbing){{-1, -1, -1}, {-1, -1}, -1};
	*code = NULL;
	(void)wire_get_u64(m, A_T_STDIN, &with_stdin);
	s->tty = m->type == A_SHELL;
	int rc = s->tty ? plumb_tty(p, m, s) : plumb_pipes(p, with_stdin == 1);
	if (rc < 0)
		return fault_errno(f, rc, s->tty ? "cannot make a terminal" : "cannot make pipes");
	memcpy(s->fds, p->child, sizeof s->fds);
	rc = spawn_run(s);
	return rc < 0 ? say_why(f, s, code) : 0;
}

void exec_start(struct conn *c, const struct wire_msg *m)
{
	struct fault f = {.text = ""};
	struct who w;
	struct command cmd = {.memory = NULL};
	struct plumbing p = {{-1, -1, -1}, {-1, -1}, -1};
	struct spawn s = {.cmd = &cmd, .who = &w, .become = c->a->root, .files = &c->a->files};
	const char *code = NULL;
	int rc = who_asked(&w, c->a, m, DEFAULT_UID, &f);
	if (rc == 0)
		rc = command_parse(&cmd, m, &w, &f);
	if (rc == 0)
		rc = exec_launch(&s, &p, m, &f, &code);
	plumbing_close(&p, false);
	if (rc == 0 && (rc = exec_run(c, &s, &p)) < 0) {
		kill(-s.pid, SIGKILL);
		waitpid(s.pid, NULL, 0);
	}
	if (rc < 0) {
		conn_refuse(c, 0, rc, &f, code);
		plumbing_close(&p, true);
	}
	command_done(&cmd);
}
