/* Running commands: the query becomes A_EXEC, frames become NDJSON lines or one JSON object. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

struct exec {
	bool base64, buffered, stdin_open, started;
	bool wants[2];         /* stdout, stderr */
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

/* ---- frames to the client ---- */

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

	line_begin(r, &o, "started", NULL);
	json_put_u64(&o, "pid", x->pid);
	put_time(&o, "started_at", x->started_ns);
	json_put_i64(&o, "exit_code", 0);
	line_end(r, &o);
}

/* A character that was begun and never finished still is output. */
static void send_held(struct req *r, struct exec *x)
{
	for (unsigned i = 0; i < 2; i++)
		if (x->text[i].n)
			line_output(r, NULL, i, x->base64 ? NULL : &x->text[i], NULL, 0);
}

static void put_end(struct json_out *o, const struct exec *x, uint64_t code, uint64_t sig, const char *error, const char *word)
{
	if (x->started)
		json_put_u64(o, "pid", x->pid);
	put_time(o, "ended_at", now_real_ns());
	json_put_u64(o, "exit_code", code);
	json_put_str(o, "signal", signal_name(sig));
	if (error)
		json_put_str(o, "error", error);
	if (word)
		json_put_str(o, "code", word);
}

/* The last frame: code as the agent said it, or an error with a code that is never 0, and a word for what went wrong. */
static void send_exit(struct req *r, struct exec *x, uint64_t code, uint64_t sig, const char *error, const char *word)
{
	struct json_out o;

	reply_head(r);
	send_held(r, x);
	line_begin(r, &o, "exit", NULL);
	put_end(&o, x, code, sig, error, word);
	line_end(r, &o);
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
	put_end(&o, x, code, sig, error, NULL);
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

	if (!x->wants[which] || !wire_get(m, A_T_DATA, &f) || f.n == 0)
		return;
	if (x->buffered)
		gather_output(r, x, which, &f);
	else
		line_output(r, NULL, which, x->base64 ? NULL : &x->text[which], f.p, f.n);
}

static void on_command_exit(struct req *r, struct exec *x, const struct wire_msg *m)
{
	const char *error = NULL;
	uint64_t code, sig = 0;

	if (!wire_get_u64(m, A_T_CODE, &code) || code > 255) {
		code = 1;
		error = "the agent sent no exit code that can be one";
	}
	wire_get_u64(m, A_T_SIGNAL, &sig);
	if (x->buffered)
		reply_buffered(r, x, code, sig, error);
	else
		send_exit(r, x, code, sig, error, NULL);
}

uint64_t start_failure(const struct wire_msg *m)
{
	char word[16] = "";
	uint64_t code = 0;

	if (wire_get_str(m, WIRE_T_CODE, word, sizeof(word)) || parse_u64(word, 255, &code))
		return 0;
	return code;
}

/* The command did not start (its code word is "127" not found, "126" not executable), or the request was refused. */
static void on_refused(struct req *r, struct exec *x, const struct wire_msg *m)
{
	char text[1024] = "the agent refused";
	uint64_t code = start_failure(m);

	wire_get_str(m, WIRE_T_TEXT, text, sizeof(text));
	if (code == 0 && !x->started) {
		reply_refusal(r, m);
		return;
	}
	if (code == 0)
		code = 1;
	if (x->buffered)
		reply_buffered(r, x, code, 0, text);
	else
		send_exit(r, x, code, 0, text, NULL);
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
static void exec_told(struct req *r, const char *code, const char *text)
{
	struct exec *x = r->state;

	if (x->buffered || !r->replied)
		reply_error_code(r, 502, text, code);
	else
		send_exit(r, x, 255, 0, text, code);
}

static void exec_lost(struct req *r)
{
	loss_find(r, exec_told);
}

static void exec_cut(struct req *r)
{
	struct exec *x = r->state;

	if (x->buffered || !r->replied)
		reply_error(r, 401, "%s", cut_text);
	else
		send_exit(r, x, 255, 0, cut_text, NULL);
}

static const struct agent_ops exec_ops = { exec_frame, exec_lost, NULL, exec_cut };

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

bool put_command(struct req *r, struct buf *b)
{
	wire_str(b, A_T_CMD, param(r, "cmd"));
	if (!param_put_all(r, b, "args", A_T_ARG, AGENT_ARGS_MAX) || !param_put_all(r, b, "env", A_T_ENV, AGENT_ARGS_MAX) ||
	    !param_put_u32(r, b, "uid", A_T_UID) || !param_put_u32(r, b, "gid", A_T_GID))
		return false;
	param_put_str(r, b, "cwd", A_T_CWD);
	param_put_str(r, b, "shell", A_T_SHELL);
	return true;
}

static void exec_opened(struct req *r)
{
	struct exec *x = r->state;

	struct buf *b = stream_begin(r, A_EXEC);

	if (!put_command(r, b))
		return;
	if (x->stdin_open)
		wire_u64(b, A_T_STDIN, 1);
	stream_send(r);
	if (!r->ended && x->stdin_open)
		req_read_body(r, stdin_piece, stdin_end);
}

/* What is wrong with the query, or NULL. */
static const char *check_query(struct req *r, struct exec *x)
{
	const char *stdio = param(r, "stdio");

	x->stdin_open = param_is_true(r, "stdin");
	x->buffered = param_is_true(r, "buffered");
	param_outputs(r, x->wants);
	x->base64 = stdio && strcmp(stdio, "base64") == 0;
	if (!param(r, "cmd"))
		return "cmd is needed";
	if (stdio && !x->base64 && strcmp(stdio, "text") != 0)
		return "stdio must be text or base64";
	if (x->buffered && x->stdin_open)
		return "buffered and stdin cannot be used together";
	if (param_is_true(r, "background") && (x->buffered || x->stdin_open))
		return "a command in the background takes neither stdin nor buffered";
	return NULL;
}

void h_exec(struct req *r)
{
	const char *vm = vm_name(r), *wrong;
	struct exec *x;

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
	wrong = check_query(r, x);
	if (wrong) {
		reply_error(r, 400, "%s", wrong);
		return;
	}
	if (!x->stdin_open) {
		req_read_body(r, NULL, NULL);
		body_feed(r->conn);
	}
	r->with_client = !param_is_true(r, "background");
	if (!r->with_client)
		bg_start(r);
	else
		stream_open(r, vm, false, &exec_ops, exec_opened);
}
