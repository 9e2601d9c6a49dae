#include "agent/bg.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ABOUT_MAX (WIRE_PAYLOAD_MAX - 512u) /* what stands beside it in A_BG_IS is less */

static const struct {
	const char *name;
	int sig;
} signals[] = {{"TERM", SIGTERM}, {"KILL", SIGKILL}, {"INT", SIGINT}, {"HUP", SIGHUP}, {"QUIT", SIGQUIT}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}};

void bg_describe(struct buf *b, uint32_t req_id, const struct bg_exec *x, const char *signal_name, const bool *timed_out)
{
	size_t mark = wire_begin(b, A_BG_IS, req_id);
	(void)buf_add(b, buf_data(&x->about), buf_len(&x->about));
	wire_u64(b, A_T_RUNNING, !x->ended);
	wire_u64(b, A_T_BYTES_WRITTEN, x->ring.written);
	wire_u64(b, A_T_BYTES_DROPPED, x->ring.dropped);
	wire_u64(b, A_T_NEXT_ID, x->ended ? x->exit_id + 1 : x->ring.next_id);
	if (x->ended) {
		wire_u64(b, A_T_CODE, (uint64_t)x->code);
		wire_u64(b, A_T_END_NS, x->end_ns);
		if (x->sig)
			wire_u64(b, A_T_SIGNAL, (uint64_t)x->sig);
	}
	wire_str(b, A_T_SIGNAL_NAME, signal_name);
	if (timed_out)
		wire_u64(b, A_T_TIMED_OUT, *timed_out);
	wire_end(b, mark);
}

static void answer(struct conn *c, const struct wire_msg *m, const struct bg_exec *x, const char *signal_name)
{
	struct bg_flow *w = bg_flow_new(c, m, FLOW_ANSWER, NULL);
	if (!w) {
		conn_refuse(c, m->id, -ENOMEM, NULL, NULL);
		return;
	}
	if (x)
		bg_describe(&w->out, m->id, x, signal_name, NULL);
	else
		wire_end(&w->out, wire_begin(&w->out, WIRE_OK, m->id));
	w->ending = true;
	bg_flow_go(w);
}

/* ---- finding ---- */

static struct bg_exec *by_id(const struct bg *bg, uint32_t id)
{
	struct bg_exec *x = bg->oldest;
	while (x && x->id != id)
		x = x->next;
	return x;
}

static bool was_reaped(const struct bg *bg, uint32_t id)
{
	for (size_t i = 0; i < BG_REAPED_MAX; i++)
		if (bg->reaped[i] == id)
			return true;
	return false;
}

/* The command a request names; NULL with the refusal sent. */
static struct bg_exec *find(struct conn *c, const struct wire_msg *m)
{
	char text[16] = "";
	uint8_t raw[4];
	uint32_t id = 0;
	struct fault f;
	int rc = wire_get_str(m, A_T_EXEC_ID, text, sizeof text);
	if (rc == 0 && strncmp(text, "ex_", 3) == 0 && strlen(text) == 11 && hex_decode(text + 3, raw, 4) == 0)
		id = (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
	struct bg_exec *x = id && c->a->bg ? by_id(c->a->bg, id) : NULL;
	if (x)
		return x;
	if (id && c->a->bg && was_reaped(c->a->bg, id))
		rc = fault_set(&f, -EIDRM, "background command %s was reaped", text);
	else
		rc = fault_set(&f, -ENOENT, "there is no background command '%.12s' (they end with the guest's agent)", text);
	conn_refuse(c, m->id, rc, &f, NULL);
	return NULL;
}

/* ---- starting ---- */

static int new_id(const struct bg *bg, uint32_t *id)
{
	do {
		int rc = random_fill(id, sizeof *id);
		if (rc < 0)
			return rc;
	} while (*id == 0 || by_id(bg, *id) || was_reaped(bg, *id));
	return 0;
}

static int admit(struct agent *a, const struct wire_msg *m, uint64_t *ring_bytes, struct fault *f)
{
	uint64_t asked = 0;
	if (!a->bg && !(a->bg = calloc(1, sizeof *a->bg)))
		return -ENOMEM;
	(void)wire_get_u64(m, A_T_RING_BYTES, &asked);
	*ring_bytes = asked == 0 ? AGENT_RING_DEFAULT : asked < AGENT_RING_MIN ? AGENT_RING_MIN : asked;
	if (*ring_bytes > AGENT_RING_BUDGET - a->bg->ring_bytes)
		return fault_set(f, -EAGAIN, "background commands may keep %u MiB of output together, and %llu bytes of it are left: reap some, or ask for less",
				 AGENT_RING_BUDGET >> 20, (unsigned long long)(AGENT_RING_BUDGET - a->bg->ring_bytes));
	if (a->bg->n >= BG_MAX)
		return fault_set(f, -EAGAIN, "%u background commands are not reaped: reap some", BG_MAX);
	return 0;
}

/* What stays the same, encoded once: CMD and ARG as they were asked. */
static int put_about(struct bg_exec *x, const struct wire_msg *m, const struct command *cmd, const struct who *w, uint64_t ring_bytes, struct fault *f)
{
	char id[16];
	struct stat st;
	struct wire_iter it;
	struct wire_field fl;
	bool home_there = cmd->cwd_given || (stat(cmd->cwd, &st) == 0 && S_ISDIR(st.st_mode));
	snprintf(id, sizeof id, "ex_%08x", (unsigned)x->id);
	buf_init(&x->about, ABOUT_MAX);
	wire_str(&x->about, A_T_EXEC_ID, id);
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &fl))
		if (fl.tag == A_T_CMD || fl.tag == A_T_ARG)
			wire_bytes(&x->about, fl.tag, fl.p, fl.n);
	wire_str(&x->about, A_T_CWD, home_there ? cmd->cwd : "/");
	wire_u64(&x->about, A_T_UID, w->uid);
	wire_u64(&x->about, A_T_RING_BYTES, ring_bytes);
	x->as_text = wire_get(m, A_T_AS_TEXT, &fl);
	if (x->as_text)
		wire_u64(&x->about, A_T_AS_TEXT, 1);
	wire_u64(&x->about, A_T_PID, 0); /* its place: filled in when it runs */
	wire_u64(&x->about, A_T_TIME_NS, 0);
	return x->about.failed ? fault_set(f, -E2BIG, "the command and its arguments are longer than %u bytes", ABOUT_MAX - 512) : 0;
}

static void put_pid(struct bg_exec *x)
{
	size_t each = 8 + sizeof(uint64_t); /* both fields were put last: they are written anew */
	x->about.tail -= 2 * each;
	wire_u64(&x->about, A_T_PID, (uint64_t)x->pid);
	wire_u64(&x->about, A_T_TIME_NS, x->start_ns);
}

static int start(struct bg_exec *x, struct spawn *s, const struct wire_msg *m, uint64_t ring_bytes, struct fault *f, const char **code)
{
	struct plumbing p;
	int rc = new_id(x->a->bg, &x->id);
	if (rc == 0)
		rc = put_about(x, m, s->cmd, s->who, ring_bytes, f);
	if (rc == 0)
		rc = ring_init(&x->ring, (size_t)ring_bytes);
	if (rc < 0)
		return rc;
	rc = exec_launch(s, &p, m, f, code);
	plumbing_close(&p, rc < 0);
	fd_close(&p.to);
	if (rc < 0)
		return rc;
	x->pid = s->pid;
	x->start_ns = now_real_ns();
	put_pid(x);
	return bg_run(x, &p);
}

static void exec_free(struct bg_exec *x)
{
	ring_done(&x->ring);
	buf_done(&x->about);
	free(x);
}

static void enlist(struct bg_exec *x)
{
	struct bg *bg = x->a->bg;
	struct bg_exec **at = &bg->oldest;
	while (*at)
		at = &(*at)->next;
	*at = x;
	x->serial = ++bg->serial;
	bg->n++;
	bg->ring_bytes += x->ring.cap;
}

void bg_start(struct conn *c, const struct wire_msg *m)
{
	struct fault f = {.text = ""};
	struct who w;
	struct command cmd = {.memory = NULL};
	struct spawn s = {.cmd = &cmd, .who = &w, .become = c->a->root, .files = &c->a->files, .ends_with_us = true};
	struct bg_exec *x = NULL;
	const char *code = NULL;
	uint64_t ring_bytes;
	int rc = admit(c->a, m, &ring_bytes, &f);
	if (rc == 0)
		rc = who_asked(&w, c->a, m, DEFAULT_UID, &f);
	if (rc == 0)
		rc = command_parse(&cmd, m, &w, &f);
	if (rc == 0 && !(x = calloc(1, sizeof *x)))
		rc = -ENOMEM;
	if (rc == 0) {
		x->a = c->a;
		rc = start(x, &s, m, ring_bytes, &f, &code);
	}
	command_done(&cmd);
	if (rc < 0) {
		conn_refuse(c, m->id, rc, &f, code);
		if (x)
			exec_free(x);
		return;
	}
	enlist(x);
	answer(c, m, x, NULL);
}

/* ---- the other requests ---- */

void bg_list(struct conn *c, const struct wire_msg *m)
{
	struct bg_flow *w = bg_flow_new(c, m, FLOW_LIST, NULL);
	if (w)
		bg_flow_go(w);
	else
		conn_refuse(c, m->id, -ENOMEM, NULL, NULL);
}

void bg_info(struct conn *c, const struct wire_msg *m)
{
	const struct bg_exec *x = find(c, m);
	if (x)
		answer(c, m, x, NULL);
}

void bg_logs(struct conn *c, const struct wire_msg *m)
{
	uint64_t follow = 0;
	struct bg_exec *x = find(c, m);
	struct bg_flow *w = x ? bg_flow_new(c, m, FLOW_LOGS, x) : NULL;
	if (x && !w)
		conn_refuse(c, m->id, -ENOMEM, NULL, NULL);
	if (!w)
		return;
	(void)wire_get_u64(m, A_T_FROM_ID, &w->from_id);
	(void)wire_get_u64(m, A_T_FOLLOW, &follow);
	w->follow = follow == 1;
	w->until_id = x->ring.next_id;
	ring_seek(&x->ring, &w->at, w->from_id);
	bg_flow_go(w);
}

static int signal_asked(const struct wire_msg *m, const char **name, struct fault *f)
{
	char text[16] = "TERM";
	int rc = wire_get_str(m, A_T_SIGNAL_NAME, text, sizeof text);
	const char *bare = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
	for (size_t i = 0; (rc == 0 || rc == -ENOENT) && i < ARRAY_LEN(signals); i++) {
		if (strcasecmp(bare, signals[i].name) != 0)
			continue;
		*name = signals[i].name;
		return signals[i].sig;
	}
	return fault_set(f, -EINVAL, "signal must be one of TERM KILL INT HUP QUIT USR1 USR2");
}

void bg_kill(struct conn *c, const struct wire_msg *m)
{
	struct fault f;
	const char *name = NULL;
	uint64_t grace_ms = AGENT_GRACE_DEFAULT_MS;
	struct bg_exec *x = find(c, m);
	if (!x)
		return;
	int sig = signal_asked(m, &name, &f);
	if (sig < 0) {
		conn_refuse(c, m->id, sig, &f, NULL);
		return;
	}
	(void)wire_get_u64(m, A_T_GRACE_MS, &grace_ms);
	if (grace_ms > AGENT_WAIT_MAX_MS)
		grace_ms = AGENT_WAIT_MAX_MS;
	bool sent = bg_signal(x, sig, grace_ms);
	answer(c, m, x, sent ? name : NULL);
}

void bg_wait(struct conn *c, const struct wire_msg *m)
{
	uint64_t timeout_ms = AGENT_WAIT_DEFAULT_MS;
	struct bg_exec *x = find(c, m);
	struct bg_flow *w = x ? bg_flow_new(c, m, FLOW_WAIT, x) : NULL;
	if (x && !w)
		conn_refuse(c, m->id, -ENOMEM, NULL, NULL);
	if (!w)
		return;
	(void)wire_get_u64(m, A_T_TIMEOUT_MS, &timeout_ms);
	if (timeout_ms > AGENT_WAIT_MAX_MS)
		timeout_ms = AGENT_WAIT_MAX_MS;
	w->timed_out = timeout_ms == 0 || ev_timer_set(c->a->loop, &w->limit, timeout_ms) < 0;
	bg_flow_go(w);
}

void bg_reap(struct conn *c, const struct wire_msg *m)
{
	struct fault f;
	struct bg *bg = c->a->bg;
	struct bg_exec *x = find(c, m);
	if (!x)
		return;
	if (!x->ended) {
		fault_set(&f, -EBUSY, "the command still runs (pid %d): kill it or wait for its end, then reap it", (int)x->pid);
		conn_refuse(c, m->id, -EBUSY, &f, NULL);
		return;
	}
	struct bg_exec **at = &bg->oldest;
	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	bg->n--;
	bg->ring_bytes -= x->ring.cap;
	bg->reaped[bg->next_reaped++ % BG_REAPED_MAX] = x->id;
	bg_stop(x);
	bg_forget(x);
	exec_free(x);
	answer(c, m, NULL, NULL);
}
