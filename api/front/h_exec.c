/* Running commands: the query becomes A_EXEC, frames become NDJSON lines or one JSON object. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define UTF8_HELD_MAX 3u

/* Text of one output stream whose last character may be cut in the middle. */
struct text {
	uint8_t held[UTF8_HELD_MAX];
	unsigned n;
};
struct exec {
	bool base64, buffered, stdin_open, started;
	uint64_t pid, started_ns;
	struct text text[2];   /* stdout, stderr */
	struct buf gathered[2]; /* buffered only */
};

static void exec_done(void *state)
{
	struct exec *x = state;

	buf_done(&x->gathered[0]);
	buf_done(&x->gathered[1]);
	free(x);
}

/* ---- names ---- */

static const char *signal_name(uint64_t n)
{
	static const char *const names[] = { "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
					     "USR2", "PIPE", "ALRM", "TERM" };

	return n < ARRAY_LEN(names) ? names[n] : n == 31 ? "SYS" : n == 24 ? "XCPU" : n == 25 ? "XFSZ" : "unknown";
}

/* ---- UTF-8 in pieces ---- */

/* How many bytes at the end of p are the beginning of a character that could still be completed: 0–3. */
static unsigned cut_tail(const uint8_t *p, size_t n)
{
	for (unsigned back = 1; back <= 3 && back <= n; back++) {
		uint8_t c = p[n - back];
		unsigned want = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 0;

		if (want)
			return want > back ? back : 0;
		if (c < 0x80 || c >= 0xc0)
			return 0;
	}
	return 0;
}

/* Writes all whole characters as a member and holds the rest. */
static void put_whole(struct json_out *o, const char *key, struct text *t, const uint8_t *p, size_t n, bool last)
{
	unsigned tail = last ? 0 : cut_tail(p, n);

	json_put_strn(o, key, p, n - tail);
	if (tail)
		memcpy(t->held, p + n - tail, tail);
	t->n = tail;
}

/* The same with what was held before the new piece. */
static void put_text(struct json_out *o, const char *key, struct text *t, const uint8_t *p, size_t n, bool last)
{
	struct buf b;

	if (t->n == 0) {
		put_whole(o, key, t, p, n, last);
		return;
	}
	buf_init(&b, UTF8_HELD_MAX + WIRE_PAYLOAD_MAX);
	buf_add(&b, t->held, t->n);
	buf_add(&b, p, n);
	put_whole(o, key, t, buf_data(&b), buf_len(&b), last);
	buf_done(&b);
}

/* ---- frames to the client ---- */

/* Lines are written into one buffer of the front, again and again. */
static void frame_begin(struct req *r, struct json_out *o, const char *type)
{
	struct buf *b = &r->conn->front->line;

	buf_clear(b);
	json_out_init(o, b);
	json_obj(o, NULL);
	put_time(o, "timestamp", now_real_ns());
	json_put_str(o, "type", type);
}

static void frame_end(struct req *r, struct json_out *o)
{
	struct buf *b = &r->conn->front->line;

	json_end(o);
	buf_adds(b, "\n");
	if (b->failed)
		conn_break(r->conn);
	else
		reply_data(r, buf_data(b), buf_len(b));
}

static void reply_head(struct req *r)
{
	if (r->replied)
		return;
	/* the command may still take input: the connection's next request begins only after its end */
	reply_begin(r, 200, "application/x-ndjson");
	reply_stream(r);
}

static void send_started(struct req *r, struct exec *x)
{
	struct json_out o;

	frame_begin(r, &o, "started");
	json_put_u64(&o, "pid", x->pid);
	put_time(&o, "started_at", x->started_ns);
	json_put_i64(&o, "exit_code", 0);
	frame_end(r, &o);
}

static void send_output(struct req *r, struct exec *x, unsigned which, const uint8_t *p, size_t n, bool last)
{
	const char *key = which ? "stderr" : "stdout";
	struct json_out o;

	frame_begin(r, &o, key);
	if (x->base64) {
		json_put_str(&o, "encoding", "base64");
		json_put_base64(&o, key, p, n);
	} else {
		put_text(&o, key, &x->text[which], p, n, last);
	}
	json_put_i64(&o, "exit_code", 0);
	frame_end(r, &o);
}

/* A character that was begun and never finished still is output. */
static void send_held(struct req *r, struct exec *x)
{
	for (unsigned i = 0; i < 2; i++)
		if (x->text[i].n)
			send_output(r, x, i, NULL, 0, true);
}

static void put_end(struct json_out *o, const struct exec *x, uint64_t code, uint64_t sig, const char *error)
{
	if (x->started)
		json_put_u64(o, "pid", x->pid);
	put_time(o, "ended_at", now_real_ns());
	json_put_u64(o, "exit_code", code);
	json_put_str(o, "signal", signal_name(sig));
	if (error)
		json_put_str(o, "error", error);
}

/* The last frame: code as the agent said it, or an error with a code that is never 0. */
static void send_exit(struct req *r, struct exec *x, uint64_t code, uint64_t sig, const char *error)
{
	struct json_out o;

	reply_head(r);
	send_held(r, x);
	frame_begin(r, &o, "exit");
	put_end(&o, x, code, sig, error);
	frame_end(r, &o);
	req_end(r);
}

/* ---- the buffered answer ---- */

static void put_gathered(struct json_out *o, const struct exec *x, const char *key, unsigned which)
{
	const struct buf *b = &x->gathered[which];
	const void *p = buf_len(b) ? (const void *)buf_data(b) : "";

	if (x->base64)
		json_put_base64(o, key, p, buf_len(b));
	else
		json_put_strn(o, key, p, buf_len(b));
}

static void reply_buffered(struct req *r, struct exec *x, uint64_t code, uint64_t sig, const char *error)
{
	struct json_out o;
	struct buf b;

	buf_init(&b, OUT_BYTES_MAX);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	put_gathered(&o, x, "stdout", 0);
	put_gathered(&o, x, "stderr", 1);
	if (x->base64)
		json_put_str(&o, "encoding", "base64");
	if (x->started)
		put_time(&o, "started_at", x->started_ns);
	put_end(&o, x, code, sig, error);
	json_end(&o);
	reply_json(r, 200, &b);
	buf_done(&b);
}

static void gather_output(struct req *r, struct exec *x, unsigned which, const struct wire_field *f)
{
	if (buf_len(&x->gathered[0]) + buf_len(&x->gathered[1]) + f->n > GATHER_BYTES_MAX)
		reply_error(r, 413, "the output is larger than 64 MiB; ask without buffered=true");
	else if (buf_add(&x->gathered[which], f->p, f->n))
		reply_error(r, 503, "out of memory for the output; ask without buffered=true");
}

/* ---- frames from the agent ---- */

static void on_started(struct req *r, struct exec *x, const struct wire_msg *m)
{
	x->started = true;
	x->started_ns = now_real_ns(); /* the host's clock throughout: guests may be wrong about the time */
	wire_get_u64(m, A_T_PID, &x->pid);
	if (x->buffered)
		return;
	reply_head(r);
	send_started(r, x);
}

static void on_output(struct req *r, struct exec *x, unsigned which, const struct wire_msg *m)
{
	struct wire_field f;

	if (!wire_get(m, A_T_DATA, &f) || f.n == 0)
		return;
	if (x->buffered)
		gather_output(r, x, which, &f);
	else
		send_output(r, x, which, f.p, f.n, false);
}

static void on_command_exit(struct req *r, struct exec *x, const struct wire_msg *m)
{
	const char *error = NULL;
	uint64_t code, sig = 0;

	if (!wire_get_u64(m, A_T_CODE, &code)) {
		code = 1;
		error = "the agent sent no exit code";
	}
	wire_get_u64(m, A_T_SIGNAL, &sig);
	if (x->buffered)
		reply_buffered(r, x, code, sig, error);
	else
		send_exit(r, x, code, sig, error);
}

/* The command did not start (its code word is "127" not found, "126" not executable), or the request was refused. */
static void on_refused(struct req *r, struct exec *x, const struct wire_msg *m)
{
	char text[1024] = "the agent refused", word[16] = "";
	uint64_t code = 0;

	wire_get_str(m, WIRE_T_TEXT, text, sizeof(text));
	wire_get_str(m, WIRE_T_CODE, word, sizeof(word));
	if (parse_u64(word, 255, &code) && !x->started) {
		reply_refusal(r, m);
		return;
	}
	if (code == 0)
		code = 1;
	if (x->buffered)
		reply_buffered(r, x, code, 0, text);
	else
		send_exit(r, x, code, 0, text);
}

static void exec_frame(struct req *r, const struct wire_msg *m)
{
	struct exec *x = r->state;

	switch (m->type) {
	case A_STARTED:
		if (!x->started)
			on_started(r, x, m);
		break;
	case A_STDOUT:
	case A_STDERR:
		if (x->started)
			on_output(r, x, m->type == A_STDERR, m);
		break;
	case A_EXIT:
		on_command_exit(r, x, m);
		break;
	case WIRE_ERR:
		on_refused(r, x, m);
		break;
	default:
		break; /* a newer agent may say more */
	}
}

/* No exit code came: that is an error of the machinery, and no exit code is made up for the command. */
static void exec_lost(struct req *r)
{
	static const char lost[] = "the agent was lost before the command ended: its result is not known";
	struct exec *x = r->state;

	if (x->buffered || !r->replied)
		reply_error(r, 502, "%s", lost);
	else
		send_exit(r, x, 255, 0, lost);
}

static const struct agent_ops exec_ops = { exec_frame, exec_lost, NULL };

/* ---- the request ---- */

static void stdin_piece(struct req *r, uint8_t *p, size_t n)
{
	stream_send_data(r, A_STDIN, p, n);
}

static void stdin_end(struct req *r)
{
	stream_begin(r, A_STDIN_EOF);
	stream_send(r);
}

/* The fields of A_EXEC (and some of A_SHELL). false: answered. */
static bool put_command(struct req *r, struct buf *b, const struct exec *x)
{
	wire_str(b, A_T_CMD, param(r, "cmd"));
	if (!param_put_all(r, b, "args", A_T_ARG, AGENT_ARGS_MAX) || !param_put_all(r, b, "env", A_T_ENV, AGENT_ARGS_MAX) ||
	    !param_put_u32(r, b, "uid", A_T_UID) || !param_put_u32(r, b, "gid", A_T_GID))
		return false;
	param_put_str(r, b, "cwd", A_T_CWD);
	param_put_str(r, b, "shell", A_T_SHELL);
	if (x->stdin_open)
		wire_u64(b, A_T_STDIN, 1);
	return true;
}

static void exec_opened(struct req *r)
{
	struct exec *x = r->state;

	if (!put_command(r, stream_begin(r, A_EXEC), x))
		return;
	stream_send(r);
	if (!r->ended && x->stdin_open)
		req_read_body(r, stdin_piece, stdin_end);
}

/* What is wrong with the query, or NULL. */
static const char *check_query(struct req *r, struct exec *x, int *status)
{
	const char *stdio = param(r, "stdio");

	*status = 400;
	x->stdin_open = param_is_true(r, "stdin");
	x->buffered = param_is_true(r, "buffered");
	x->base64 = stdio && strcmp(stdio, "base64") == 0;
	if (!param(r, "cmd"))
		return "cmd is needed";
	if (stdio && !x->base64 && strcmp(stdio, "text") != 0)
		return "stdio must be text or base64";
	if (x->buffered && x->stdin_open)
		return "buffered and stdin cannot be used together";
	if (param_is_true(r, "background")) {
		*status = 501;
		return "this version of the daemon does not run commands in the background yet";
	}
	return NULL;
}

void h_exec(struct req *r)
{
	const char *vm = vm_name(r), *wrong;
	struct exec *x;
	int status;

	if (!vm)
		return;
	x = calloc(1, sizeof(*x));
	if (!x) {
		reply_error(r, 503, "out of memory");
		return;
	}
	buf_init(&x->gathered[0], GATHER_BYTES_MAX);
	buf_init(&x->gathered[1], GATHER_BYTES_MAX);
	r->state = x;
	r->state_done = exec_done;
	wrong = check_query(r, x, &status);
	if (wrong) {
		reply_error(r, status, "%s", wrong);
		return;
	}
	if (!x->stdin_open) {
		req_read_body(r, NULL, NULL);
		body_feed(r->conn);
	}
	stream_open(r, vm, false, &exec_ops, exec_opened);
}
