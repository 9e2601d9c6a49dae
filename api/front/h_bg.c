/* Commands in the background: they live in the agent; every call here is one short stream to it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define WAIT_SECONDS_MAX 600u
#define WAIT_SECONDS_DEFAULT 30u

struct bg {
	bool base64, text;     /* logs: asked for here; else as the command was started */
	bool wants[2];         /* stdout, stderr */
	struct text held[2];
	struct json kill;      /* the body of kill */
};

static void bg_done(void *state)
{
	struct bg *b = state;

	json_done(&b->kill);
	free(b);
}

static void late(struct req *r)
{
	reply_error(r, 503, "the agent did not answer in time");
}

static void lost(struct req *r)
{
	if (r->replied)
		conn_break(r->conn); /* no end of the body: the client sees that more would have come */
	else
		reply_error(r, 502, "the agent was lost before it answered");
}

/* ---- objects ---- */

static void put_exit(struct json_out *o, const struct wire_msg *m)
{
	uint64_t sig = 0;

	if (wire_get_u64(m, A_T_SIGNAL, &sig) && sig)
		json_put_str(o, "signal", signal_name(sig));
	put_field_u64(o, "exit_code", m, A_T_CODE);
	put_time_field(o, "ended_at", m, A_T_END_NS);
}

static void put_info(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "exec_id", m, A_T_EXEC_ID);
	put_field_u64(o, "pid", m, A_T_PID);
	put_field_str(o, "command", m, A_T_CMD);
	put_field_list(o, "args", m, A_T_ARG);
	put_field_str(o, "cwd", m, A_T_CWD);
	put_field_u64(o, "uid", m, A_T_UID);
	put_time_field(o, "started_at", m, A_T_TIME_NS);
	put_field_bool(o, "running", m, A_T_RUNNING);
	put_exit(o, m);
	put_field_u64(o, "bytes_written", m, A_T_BYTES_WRITTEN);
	put_field_u64(o, "bytes_dropped", m, A_T_BYTES_DROPPED);
	put_field_u64(o, "next_id", m, A_T_NEXT_ID);
	put_field_u64(o, "ring_bytes", m, A_T_RING_BYTES);
}

static void put_started(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "exec_id", m, A_T_EXEC_ID);
	put_field_u64(o, "pid", m, A_T_PID);
	put_time_field(o, "started_at", m, A_T_TIME_NS);
	put_field_u64(o, "ring_bytes", m, A_T_RING_BYTES);
}

static void put_killed(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "exec_id", m, A_T_EXEC_ID);
	put_field_u64(o, "pid", m, A_T_PID);
	put_field_bool(o, "running", m, A_T_RUNNING);
	put_field_str(o, "signal_sent", m, A_T_SIGNAL_NAME);
}

static void put_waited(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "exec_id", m, A_T_EXEC_ID);
	put_field_bool(o, "running", m, A_T_RUNNING);
	put_exit(o, m);
	put_field_bool(o, "timed_out", m, A_T_TIMED_OUT);
}

/* Answers with the object of an A_BG_IS. */
static void single(struct req *r, int status, const struct wire_msg *m, put_fn *put)
{
	struct wire_msg as_ok = *m;

	if (m->type == A_BG_IS)
		as_ok.type = WIRE_OK;
	else if (m->type == WIRE_OK)
		return;
	reply_object(r, status, &as_ok, put);
}

/* ---- opening ---- */

static bool begin(struct req *r)
{
	struct bg *b = calloc(1, sizeof(*b));

	if (r->state && r->state_done)
		r->state_done(r->state);
	r->state = b;
	r->state_done = bg_done;
	if (!b)
		reply_error(r, 503, "out of memory");
	return b != NULL;
}

/* vars[1] is the id; what cannot be one was never given. */
static void open_call_as(struct req *r, bool quiet, uint64_t deadline_ms, const struct agent_ops *ops, void (*opened)(struct req *r))
{
	const char *vm = vm_name(r);

	if (!vm)
		return;
	if (r->vars[1] && strlen(r->vars[1]) > 64) {
		reply_error(r, 404, "no background command has that id");
		return;
	}
	if (deadline_ms) {
		r->deadline_ms = now_mono_ms() + deadline_ms;
		r->on_deadline = late;
	}
	stream_open(r, vm, quiet, ops, opened);
}

/* Looking at a command is no use of the agent (last_agent_call), starting one is. */
static void open_call(struct req *r, uint64_t deadline_ms, const struct agent_ops *ops, void (*opened)(struct req *r))
{
	open_call_as(r, true, deadline_ms, ops, opened);
}

static struct buf *call_begin(struct req *r, uint16_t type)
{
	struct buf *b = stream_begin(r, type);

	wire_str(b, A_T_EXEC_ID, r->vars[1]);
	return b;
}

/* ---- start ---- */

static void start_frame(struct req *r, const struct wire_msg *m)
{
	char text[512] = "the command did not start";
	uint64_t code = m->type == WIRE_ERR ? start_failure(m) : 0;

	wire_get_str(m, WIRE_T_TEXT, text, sizeof(text));
	if (code)
		reply_error(r, 400, "%s (exit code %u)", text, (unsigned)code);
	else
		single(r, 201, m, put_started);
}

static const struct agent_ops start_ops = { start_frame, lost, NULL };

static void start_opened(struct req *r)
{
	struct buf *b = stream_begin(r, A_BG_START);

	if (!put_command(r, b) || !param_put_u64(r, b, "ring_bytes", A_T_RING_BYTES, INT64_MAX))
		return;
	if (!param(r, "stdio") || strcmp(param(r, "stdio"), "text") == 0)
		wire_u64(b, A_T_AS_TEXT, 1);
	stream_send(r);
}

void bg_start(struct req *r)
{
	open_call_as(r, false, AGENT_ANSWER_MS, &start_ops, start_opened);
}

/* ---- list, info, reap ---- */

static void list_frame(struct req *r, const struct wire_msg *m)
{
	struct wire_msg as_item = *m;

	if (m->type == A_BG_IS)
		as_item.type = C_ITEM;
	list_answer(r, &as_item, put_info);
}

static void info_frame(struct req *r, const struct wire_msg *m)
{
	single(r, 200, m, put_info);
}

static void reap_frame(struct req *r, const struct wire_msg *m)
{
	struct json_out o;
	struct buf b;

	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	buf_init(&b, 1024);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_str(&o, "exec_id", r->vars[1]);
	json_put_bool(&o, "reaped", true);
	json_end(&o);
	reply_json(r, 200, &b);
	buf_done(&b);
}

static const struct agent_ops list_ops = { list_frame, lost, NULL };
static const struct agent_ops info_ops = { info_frame, lost, NULL };
static const struct agent_ops reap_ops = { reap_frame, lost, NULL };

static void list_opened(struct req *r)
{
	stream_begin(r, A_BG_LIST);
	stream_send(r);
}

static void info_opened(struct req *r)
{
	call_begin(r, A_BG_INFO);
	stream_send(r);
}

static void reap_opened(struct req *r)
{
	call_begin(r, A_BG_REAP);
	stream_send(r);
}

void h_bg_list(struct req *r)
{
	list_begin(r);
	open_call(r, AGENT_ANSWER_MS, &list_ops, list_opened);
}

void h_bg_info(struct req *r)
{
	open_call(r, AGENT_ANSWER_MS, &info_ops, info_opened);
}

void h_bg_reap(struct req *r)
{
	open_call(r, AGENT_ANSWER_MS, &reap_ops, reap_opened);
}

/* ---- logs ---- */

static void logs_head(struct req *r)
{
	if (r->replied)
		return;
	reply_begin(r, 200, "application/x-ndjson");
	reply_stream(r);
}

static void logs_output(struct req *r, struct bg *b, const struct wire_msg *m, unsigned which)
{
	struct wire_field f;

	bool text = b->text || (!b->base64 && wire_get(m, A_T_AS_TEXT, &f));

	if (b->wants[which] && wire_get(m, A_T_DATA, &f) && f.n)
		line_output(r, m, which, text ? &b->held[which] : NULL, f.p, f.n);
}

static void logs_other(struct req *r, const struct wire_msg *m, const char *type)
{
	struct json_out o;
	uint64_t code = 0, ns = 0, sig = 0;

	bool coded = wire_get_u64(m, A_T_CODE, &code) && code <= 255;

	line_begin(r, &o, type, m);
	wire_get_u64(m, A_T_TIME_NS, &ns);
	wire_get_u64(m, A_T_SIGNAL, &sig);
	put_field_u64(&o, "pid", m, A_T_PID);
	put_field_u64(&o, "dropped_bytes", m, A_T_DROPPED_BYTES);
	put_field_u64(&o, "dropped_frames", m, A_T_DROPPED_FRAMES);
	put_field_str(&o, "message", m, WIRE_T_TEXT);
	if (m->type == A_STARTED)
		put_time(&o, "started_at", ns);
	if (m->type == A_EXIT) {
		put_time(&o, "ended_at", ns);
		json_put_str(&o, "signal", signal_name(sig));
	}
	if (m->type == A_EXIT && !coded) {
		json_put_str(&o, "error", "the agent sent no exit code that can be one");
		code = 1;
	}
	json_put_u64(&o, "exit_code", code);
	line_end(r, &o);
}

static void logs_end(struct req *r, struct bg *b)
{
	for (unsigned i = 0; i < 2; i++)
		if (b->held[i].n)
			line_output(r, NULL, i, &b->held[i], NULL, 0);
	req_end(r);
}

static void logs_frame(struct req *r, const struct wire_msg *m)
{
	struct bg *b = r->state;

	if (m->type == WIRE_ERR && !r->replied) {
		reply_refusal(r, m);
		return;
	}
	if (m->type == WIRE_ERR) {
		conn_break(r->conn);
		return;
	}
	logs_head(r);
	if (m->type == A_STDOUT || m->type == A_STDERR)
		logs_output(r, b, m, m->type == A_STDERR);
	else if (m->type == A_STARTED)
		logs_other(r, m, "started");
	else if (m->type == A_GAP)
		logs_other(r, m, "gap");
	else if (m->type == A_EXIT)
		logs_other(r, m, "exit");
	else if (m->type == WIRE_OK)
		logs_end(r, b);
}

static const struct agent_ops logs_ops = { logs_frame, lost, NULL };

static void logs_opened(struct req *r)
{
	struct buf *b = call_begin(r, A_BG_LOGS);

	if (!param_put_u64(r, b, "from_id", A_T_FROM_ID, UINT64_MAX))
		return;
	if (param_is_true(r, "follow"))
		wire_u64(b, A_T_FOLLOW, 1);
	stream_send(r);
}

void h_bg_logs(struct req *r)
{
	const char *stdio = param(r, "stdio");
	struct bg *b;

	if (!begin(r))
		return;
	b = r->state;
	r->with_client = true;
	b->text = stdio && strcmp(stdio, "text") == 0;
	b->base64 = stdio && strcmp(stdio, "base64") == 0;
	param_outputs(r, b->wants);
	if (stdio && !b->text && !b->base64)
		reply_error(r, 400, "stdio must be text or base64");
	else
		open_call(r, 0, &logs_ops, logs_opened);
}

/* ---- kill ---- */

static void kill_frame(struct req *r, const struct wire_msg *m)
{
	single(r, 200, m, put_killed);
}

static const struct agent_ops kill_ops = { kill_frame, lost, NULL };

static void kill_opened(struct req *r)
{
	const struct json_val *root = json_root(&((struct bg *)r->state)->kill);
	struct buf *b = call_begin(r, A_BG_KILL);
	const char *name = NULL;
	int64_t grace = -1;

	json_get_str(root, "signal", &name);
	json_get_i64(root, "grace_ms", &grace);
	if (name && *name)
		wire_str(b, A_T_SIGNAL_NAME, name);
	if (grace >= 0)
		wire_u64(b, A_T_GRACE_MS, (uint64_t)grace);
	stream_send(r);
}

void h_bg_kill(struct req *r)
{
	const char *name = NULL;
	struct json *j;
	int64_t grace = 0;

	if (!begin(r))
		return;
	j = &((struct bg *)r->state)->kill;
	if (!body_json(r, j))
		return;
	if (json_get_str(json_root(j), "signal", &name) == -EINVAL || json_get_i64(json_root(j), "grace_ms", &grace) == -EINVAL || grace < 0)
		reply_error(r, 400, "signal must be a name such as TERM, grace_ms a number of milliseconds");
	else
		open_call(r, AGENT_ANSWER_MS, &kill_ops, kill_opened);
}

/* ---- wait ---- */

static void wait_frame(struct req *r, const struct wire_msg *m)
{
	single(r, 200, m, put_waited);
}

static const struct agent_ops wait_ops = { wait_frame, lost, NULL };

static uint64_t wait_seconds(const struct req *r, bool *bad)
{
	uint64_t seconds = WAIT_SECONDS_DEFAULT;

	*bad = param(r, "timeout") && parse_u64(param(r, "timeout"), WAIT_SECONDS_MAX, &seconds);
	return seconds;
}

static void wait_opened(struct req *r)
{
	bool bad;

	wire_u64(call_begin(r, A_BG_WAIT), A_T_TIMEOUT_MS, wait_seconds(r, &bad) * 1000);
	stream_send(r);
}

void h_bg_wait(struct req *r)
{
	bool bad;
	uint64_t seconds = wait_seconds(r, &bad);

	r->with_client = true;
	if (bad)
		reply_error(r, 400, "timeout must be whole seconds, at most 600");
	else
		open_call(r, seconds * 1000 + AGENT_ANSWER_MS, &wait_ops, wait_opened);
}
