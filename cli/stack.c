#include "cli/stack.h"
#include "cli/out.h"
#include "cli/spawn.h"
#include "lib/sandbox/sandbox.h"
#include "lib/wire/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const names[STACK_N] = { "core", "front", "jail", "netd", "gate" };
#define LINES_MAX 65536u

const char *stack_name(int i)
{
	return names[i];
}

void stack_init(struct stack *s)
{
	*s = (struct stack){ .status_fd = -1, .control_fd = -1, .vmm = -1, .kernel = -1, .kernel_full = -1, .image = -1 };
	for (int i = 0; i < STACK_N; i++)
		s->program[i] = -1;
	buf_init(&s->lines, LINES_MAX);
}

void stack_done(struct stack *s)
{
	for (int i = 0; i < STACK_N; i++)
		fd_close(&s->program[i]);
	fd_close(&s->vmm);
	fd_close(&s->kernel);
	fd_close(&s->kernel_full);
	fd_close(&s->image);
	fd_close(&s->status_fd);
	fd_close(&s->control_fd);
	buf_done(&s->lines);
}

static int open_part(const struct parts *p, const char *name, int *fd, struct fault *f)
{
	if (*fd >= 0)
		return 0;
	int got = part_fd(p, name, f);
	if (got < 0)
		return got;
	*fd = got;
	return 0;
}

static int open_parts(struct stack *s, const struct stack_ask *ask, struct fault *f)
{
	int err = open_part(ask->parts, "vmm", &s->vmm, f);
	if (!err)
		err = open_part(ask->parts, route_kernel(ask->route), &s->kernel, f);
	if (!err)
		err = open_part(ask->parts, "image-min", &s->image, f);
	if (!err && ask->with_full && ask->route != ROUTE_EMULATED && part_has(ask->parts, KERNEL_FULL))
		err = open_part(ask->parts, KERNEL_FULL, &s->kernel_full, f);
	for (int i = 0; i < STACK_N && !err; i++)
		if ((i != STACK_NETD && i != STACK_GATE) || ask->with_netd)
			err = open_part(ask->parts, names[i], &s->program[i], f);
	return err;
}

/* A text as something core can read from its standard input. */
static int text_fd(const char *text)
{
	AUTO_FD fd = memfd_new("config");
	if (fd < 0)
		return fd;
	int err = write_full(fd, text, strlen(text));
	if (err || lseek(fd, 0, SEEK_SET) < 0)
		return err ? err : -errno;
	int out = fd;
	fd = -1;
	return out;
}

/* Each request of one VM's user passes front and core, which a busy VM must not keep waiting. jail is not among them: its VMs would be as nice. */
#define NICE_SERVING (-5)
struct ends {
	int front[2], jail[2], netd[2], gate[2], status[2], control[2], config;
};

static void ends_close(struct ends *e)
{
	for (int i = 0; i < 2; i++) {
		fd_close(&e->front[i]);
		fd_close(&e->jail[i]);
		fd_close(&e->netd[i]);
		fd_close(&e->gate[i]);
		fd_close(&e->status[i]);
		fd_close(&e->control[i]);
	}
	fd_close(&e->config);
}

static int start_one(struct stack *s, int i, char *const *argv, const int *fds, unsigned n_fds, int in, const struct stack_ask *ask)
{
	int err_fd = ask->log_fd >= 0 ? ask->log_fd : 2;
	pid_t pid = spawn(&(struct spawn_ask){ .program = s->program[i], .argv = argv, .fds = fds, .n_fds = n_fds, .in = in, .out = err_fd,
		.err = err_fd, .own_group = true, .nice = i == STACK_FRONT || i == STACK_CORE ? NICE_SERVING : 0 });
	if (pid < 0)
		return pid;
	s->pids[i] = pid;
	return 0;
}

#define WORDS 20
struct words {
	char *argv[WORDS];
	char text[WORDS][4096];
	int n;
};
static void word(struct words *w, const char *s)
{
	snprintf(w->text[w->n], sizeof(w->text[0]), "%s", s);
	w->argv[w->n] = w->text[w->n];
	w->argv[++w->n] = NULL;
}
static void words_ids(struct words *w, unsigned plus)
{
	char id[24];
	if (geteuid() != 0)
		return;
	snprintf(id, sizeof(id), "%u", SANDBOX_UID_BASE + plus);
	word(w, "--uid");
	word(w, id);
	word(w, "--gid");
	word(w, id);
}

static int start_core(struct stack *s, const struct stack_ask *ask, const struct ends *e)
{
	static struct words w;
	int fds[] = { e->front[0], e->jail[0], ask->with_netd ? e->netd[0] : -1, s->kernel, s->image, e->status[1], e->control[0],
		ask->with_netd ? e->gate[0] : -1, s->kernel_full };
	w.n = 0;
	word(&w, "core");
	word(&w, "--config");
	word(&w, ask->config ? ask->config : "-");
	word(&w, "--state");
	word(&w, ask->state);
	word(&w, "--flavour");
	word(&w, ask->route == ROUTE_EMULATED ? "emulated" : "min");
	if (s->kernel_full >= 0)
		word(&w, "--full");
	if (ask->ephemeral)
		word(&w, "--ephemeral");
	if (ask->tls)
		word(&w, "--tls");
	if (!ask->with_netd)
		word(&w, "--no-netd");
	words_ids(&w, 0);
	return start_one(s, STACK_CORE, w.argv, fds, ARRAY_LEN(fds), e->config, ask);
}

static int start_others(struct stack *s, const struct stack_ask *ask, const struct ends *e)
{
	static struct words w;
	int err;
	w.n = 0;
	word(&w, "front");
	words_ids(&w, 1);
	err = start_one(s, STACK_FRONT, w.argv, &e->front[1], 1, -1, ask);
	if (err)
		return err;
	w.n = 0;
	word(&w, "jail");
	word(&w, "--kvm");
	word(&w, ask->kvm);
	err = start_one(s, STACK_JAIL, w.argv, (int[]){ e->jail[1], s->vmm }, 2, -1, ask);
	if (err || !ask->with_netd)
		return err;
	w.n = 0;
	word(&w, "netd");
	err = start_one(s, STACK_NETD, w.argv, &e->netd[1], 1, -1, ask);
	if (err)
		return err;
	w.n = 0;
	word(&w, "gate");
	words_ids(&w, 4);
	return start_one(s, STACK_GATE, w.argv, &e->gate[1], 1, -1, ask);
}

int stack_start(struct stack *s, const struct stack_ask *ask, struct fault *f)
{
	struct ends e = { { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, { -1, -1 }, -1 };
	int err = open_parts(s, ask, f);
	if (err)
		return err;
	fd_close(&s->status_fd);
	fd_close(&s->control_fd);
	buf_clear(&s->lines);
	err = chan_pair(e.front);
	if (!err)
		err = chan_pair(e.jail);
	if (!err)
		err = chan_pair(e.control);
	if (!err && ask->with_netd)
		err = chan_pair(e.netd);
	if (!err && ask->with_netd)
		err = chan_pair(e.gate);
	if (!err && pipe2(e.status, O_CLOEXEC))
		err = -errno;
	if (!err && !ask->config) {
		e.config = text_fd(ask->config_text);
		err = e.config < 0 ? e.config : 0;
	}
	if (!err)
		err = start_others(s, ask, &e);
	if (!err)
		err = start_core(s, ask, &e);
	if (!err) {
		s->status_fd = e.status[0];
		e.status[0] = -1;
		s->control_fd = e.control[1];
		e.control[1] = -1;
		fd_set_nonblock(s->status_fd, true);
	} else {
		fault_set(f, err, "starting the daemon's processes: %s%s", strerror(-err), err == -EMFILE || err == -ENFILE ? " [E_FD_LIMIT]" : "");
	}
	ends_close(&e);
	if (err)
		stack_kill(s);
	return err;
}

int stack_line(struct stack *s, char *line, size_t cap)
{
	for (;;) {
		const uint8_t *p = buf_data(&s->lines), *nl = buf_len(&s->lines) ? memchr(p, '\n', buf_len(&s->lines)) : NULL;
		if (nl) {
			char raw[2048];
			size_t n = (size_t)(nl - p), keep = n < sizeof(raw) ? n : sizeof(raw) - 1;
			memcpy(raw, p, keep);
			raw[keep] = 0;
			buf_eat(&s->lines, n + 1);
			out_clean(line, cap, raw);
			return 1;
		}
		if (s->status_fd < 0)
			return -EPIPE;
		ssize_t n = buf_read_fd(&s->lines, s->status_fd, 4096);
		if (n == -EAGAIN || n == -EINTR)
			return 0;
		if (n <= 0)
			fd_close(&s->status_fd);
	}
}

int stack_reaped(struct stack *s, pid_t pid)
{
	for (int i = 0; i < STACK_N; i++) {
		if (s->pids[i] == pid) {
			s->pids[i] = 0;
			return i;
		}
	}
	return -1;
}

static void reap(struct stack *s, int i)
{
	while (s->pids[i] && waitpid(s->pids[i], NULL, 0) < 0 && errno == EINTR)
		;
	s->pids[i] = 0;
}

void stack_kill(struct stack *s)
{
	for (int i = 0; i < STACK_N; i++)
		if (s->pids[i])
			kill(s->pids[i], SIGKILL);
	for (int i = 0; i < STACK_N; i++)
		reap(s, i);
}

void stack_finish(struct stack *s, int grace_ms)
{
	bool left = true;
	for (uint64_t end = now_mono_ms() + (uint64_t)grace_ms; left && now_mono_ms() < end;) {
		left = false;
		for (int i = 0; i < STACK_N; i++) {
			if (s->pids[i] && waitpid(s->pids[i], NULL, WNOHANG) == s->pids[i])
				s->pids[i] = 0;
			left = left || s->pids[i];
		}
		if (left)
			nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	}
	stack_kill(s);
}
