#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Once per disk: the marker exists from the start of the script, empty, and holds the exit code at its end. An old marker that
 * stays empty means "ran, code unknown". */
#define MARKER "/etc/slicer/userdata-ran"
#define SCRIPT "/run/slicer/userdata"
#define LOG "/var/log/slicer-userdata.log"
#define SCRIPT_MAX (4u << 20)

bool userdata_state(const struct agent *a, bool *running, bool *has_code, uint64_t *code)
{
	char path[PATH_MAX], *text;
	size_t n;
	*has_code = *running = false;
	snprintf(path, sizeof path, "%s" MARKER, a->prefix);
	if (read_file_at(AT_FDCWD, path, 64, &text, &n) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	*has_code = parse_u64(text, 255, code) == 0;
	free(text);
	/* An empty marker: the script runs now (it stands in /run, which a boot empties), or it ended with the machine. */
	snprintf(path, sizeof path, "%s" SCRIPT, a->prefix);
	*running = !*has_code && access(path, F_OK) == 0;
	return true;
}

/* The script's bytes: the request's DATA, or A_DATA frames up to A_DATA_EOF when it has none. */
static int receive(struct job *j, struct buf *script)
{
	struct wire_field d;
	struct wire_msg m;
	if (wire_get(j->req, A_T_DATA, &d))
		return buf_add(script, d.p, d.n);
	for (;;) {
		int rc = job_next(j, &m);
		if (rc < 0 || m.type == A_DATA_EOF)
			return rc;
		if (m.type == A_DATA && wire_get(&m, A_T_DATA, &d) && (rc = buf_add(script, d.p, d.n)) < 0)
			return rc == -ENOBUFS ? -EFBIG : rc;
	}
}

static int write_new(const char *prefix, const char *path, const char *dir, mode_t mode, const void *p, size_t n)
{
	char at[PATH_MAX];
	snprintf(at, sizeof at, "%s%s", prefix, dir);
	int rc = path_make(at);
	if (rc < 0)
		return rc;
	AUTO_FD fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : write_file_atomic(fd, path + strlen(dir) + 1, p, n, mode);
}

/* The child that becomes the script. A first line that names its interpreter is obeyed. */
static void become_script(const struct agent *a, bool has_interpreter)
{
	struct who target;
	char path[PATH_MAX], log[PATH_MAX], user[80];
	snprintf(path, sizeof path, "%s" SCRIPT, a->prefix);
	snprintf(log, sizeof log, "%s" LOG, a->prefix);
	who_find(&target, DEFAULT_UID, "/etc");
	snprintf(user, sizeof user, "TARGET_USER=%s", target.name[0] ? target.name : "root");
	char home[] = "HOME=/root", root[] = "USER=root", search[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char shell[] = "/bin/sh";
	char *const env[] = {search, home, root, user, NULL};
	char *const direct[] = {path, NULL}, *const by_shell[] = {shell, path, NULL};
	int in = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0640);
	setsid();
	(void)dup2(in, 0);
	if (out >= 0) {
		(void)dup2(out, 1);
		(void)dup2(out, 2);
	}
	(void)close_from(3);
	signal(SIGPIPE, SIG_DFL);
	(void)setrlimit(RLIMIT_NOFILE, &a->files);
	(void)chdir("/");
	execve(has_interpreter ? path : shell, has_interpreter ? direct : by_shell, env);
	_exit(127);
}

static void run_and_mark(const struct job *j, bool has_interpreter)
{
	char text[16];
	int status = 0;
	pid_t pid = fork();
	if (pid == 0)
		become_script(j->a, has_interpreter);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		status = 126 << 8;
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	int n = snprintf(text, sizeof text, "%d\n", code);
	(void)write_new(j->a->prefix, MARKER, "/etc/slicer", 0644, text, (size_t)n);
}

void userdata_run(struct job *j)
{
	struct fault f = {.text = ""};
	struct buf script;
	bool has_code, running;
	uint64_t code;
	buf_init(&script, SCRIPT_MAX);
	int rc = receive(j, &script);
	if (rc == -EFBIG)
		fault_set(&f, rc, "the userdata script is larger than 4 MiB");
	if (rc == 0 && userdata_state(j->a, &running, &has_code, &code)) {
		size_t mark = wire_begin(&j->out, WIRE_OK, j->req->id);
		wire_u64(&j->out, A_T_USERDATA_RAN, 1);
		wire_end(&j->out, mark);
		(void)job_send(j);
		return;
	}
	if (rc == 0 && (rc = write_new(j->a->prefix, SCRIPT, "/run/slicer", 0700, buf_data(&script), buf_len(&script))) < 0)
		fault_errno(&f, rc, "cannot write the script");
	if (rc == 0 && (rc = write_new(j->a->prefix, MARKER, "/etc/slicer", 0644, "", 0)) < 0)
		fault_errno(&f, rc, "cannot mark the disk");
	if (rc < 0) {
		job_refuse(j, rc, &f);
		return;
	}
	job_ok(j);
	(void)close(j->fd);
	setsid(); /* the script outlives the agent */
	run_and_mark(j, buf_len(&script) > 2 && memcmp(buf_data(&script), "#!", 2) == 0);
}
