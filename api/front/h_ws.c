/* WebSockets: a shell on a pty, and forwarding to an address in the guest. */
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

/* The Go relay reads messages of at most 32768 bytes, its header included. */
#define SHELL_PAYLOAD_MAX (32768u - SHELL_HEAD_BYTES)
#define SHELL_HEAD_BYTES 5u
#define SHELL_MESSAGE_MAX (1u << 20) /* a paste in one message */
#define FORWARD_DIAL_MS 12000u       /* the agent gives up after 10 s */
#define FORWARD_DRAIN_MS 60000u      /* what the client sent before it closed goes on to the guest this long */

enum shell_frame { SHELL_DATA = 1, SHELL_WINSIZE = 2, SHELL_SHUTDOWN = 3, SHELL_HEARTBEAT = 4, SHELL_CLOSE = 5 };

struct ws {
	struct ws_decoder decoder;
	struct http_str key;        /* view into the request's head */
	bool shell, upgraded, closed;
	bool half;                  /* forward: an empty message is the end of the client's direction alone */
	/* shell: the frame inside the message being read */
	uint8_t head[SHELL_HEAD_BYTES], small[8];
	unsigned head_have, small_have;
	uint32_t left;
};

/* ---- to the client ---- */

static void upgrade(struct req *r)
{
	struct ws *w = r->state;

	r->replied = true;
	r->head.keep_alive = false;
	w->upgraded = true;
	ws_add_accept(&r->conn->out, &w->key, w->half ? WS_HALF_CLOSE : NULL, "1");
	r->body_raw = true;
	r->body = BODY_READING;
}

static void close_ws(struct req *r, int code, const char *reason)
{
	struct ws *w = r->state;

	if (!w->closed)
		ws_add_close(&r->conn->out, code, reason, NULL);
	w->closed = true;
	r->ended = true;
}

static void refuse_frame(struct req *r, int code, const char *reason)
{
	r->conn->front->rejects.n[REJECT_WS_FRAME]++;
	close_ws(r, code, reason);
}

static void drain_late(struct req *r)
{
	r->ended = true;
}

/* The client closes. What it sent before is on its way to the guest: a forward ends when that has gone. */
static void closed_by_client(struct req *r, int code)
{
	struct ws *w = r->state;

	if (w->shell || !buf_len(&r->agent.out)) {
		close_ws(r, code, NULL);
		return;
	}
	ws_add_close(&r->conn->out, code, NULL, NULL);
	w->closed = true;
	r->ending = true;
	r->deadline_ms = now_mono_ms() + FORWARD_DRAIN_MS;
	r->on_deadline = drain_late;
}

/* One message with one shell frame. */
static void shell_send(struct req *r, enum shell_frame type, const uint8_t *p, size_t n)
{
	uint8_t head[SHELL_HEAD_BYTES] = { (uint8_t)type, 0, 0, (uint8_t)(n >> 8), (uint8_t)n };
	struct buf b;

	buf_init(&b, SHELL_HEAD_BYTES + SHELL_PAYLOAD_MAX);
	buf_add(&b, head, sizeof(head));
	buf_add(&b, p, n);
	ws_add_frame(&r->conn->out, WS_BINARY, buf_data(&b), buf_len(&b), NULL);
	buf_done(&b);
}

/* ---- from the client ---- */

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void shell_resize(struct req *r, const uint8_t *p)
{
	struct buf *b = stream_begin(r, A_WINSIZE);

	wire_u64(b, A_T_COLS, be32(p) & 0xffff);
	wire_u64(b, A_T_ROWS, be32(p + 4) & 0xffff);
	stream_send(r);
}

/* Payload bytes of the frame at hand. */
static void shell_payload(struct req *r, struct ws *w, const uint8_t *p, size_t n)
{
	if (w->head[0] == SHELL_DATA) {
		stream_send_data(r, A_STDIN, p, n);
		return;
	}
	for (size_t i = 0; i < n && w->small_have < sizeof(w->small); i++)
		w->small[w->small_have++] = p[i];
	if (w->head[0] == SHELL_WINSIZE && w->left == n && w->small_have == 8)
		shell_resize(r, w->small);
}

/* The header of a frame is whole. */
static void shell_frame_begins(struct req *r, struct ws *w)
{
	w->left = be32(w->head + 1);
	w->small_have = 0;
	if (w->head[0] == SHELL_SHUTDOWN || w->head[0] == SHELL_CLOSE) {
		shell_send(r, SHELL_CLOSE, NULL, 0);
		close_ws(r, WS_CLOSE_NORMAL, NULL); /* and with the stream the shell ends */
	}
}

/* A piece of a binary message: one frame a message, but a client that puts several into one is understood too. */
static void shell_bytes(struct req *r, struct ws *w, const uint8_t *p, size_t n)
{
	while (n && !r->ended) {
		size_t take;

		if (w->head_have < SHELL_HEAD_BYTES) {
			w->head[w->head_have++] = *p++;
			n--;
			if (w->head_have == SHELL_HEAD_BYTES)
				shell_frame_begins(r, w);
		}
		take = n < w->left ? n : w->left;
		if (w->head_have == SHELL_HEAD_BYTES && take && !r->ended) {
			shell_payload(r, w, p, take);
			w->left -= (uint32_t)take;
			p += take;
			n -= take;
		}
		if (w->head_have == SHELL_HEAD_BYTES && w->left == 0)
			w->head_have = 0;
	}
}

static void on_message(struct req *r, struct ws *w, const struct ws_event *e)
{
	if (e->op == WS_TEXT && w->shell) {
		/* not ours, and nothing in the shell's protocol: passed over, as its clients do */
	} else if (e->op == WS_TEXT) {
		refuse_frame(r, WS_CLOSE_UNSUPPORTED, "binary messages only");
	} else if (!w->shell && w->half && e->first && e->last && !e->n) {
		r->agent.out_end = true;
	} else if (!w->shell) {
		stream_send_raw(r, e->data, e->n);
	} else {
		shell_bytes(r, w, e->data, e->n);
		if (e->last && (w->head_have || w->left) && !r->ended)
			refuse_frame(r, WS_CLOSE_PROTOCOL, "a frame that is longer than its message");
	}
}

static void on_event(struct req *r, struct ws *w, const struct ws_event *e)
{
	if (e->op == WS_PING)
		ws_add_frame(&r->conn->out, WS_PONG, e->data, e->n, NULL);
	else if (e->op == WS_CLOSE)
		closed_by_client(r, e->close_code == WS_CLOSE_NONE ? WS_CLOSE_NORMAL : e->close_code);
	else if (e->op != WS_PONG)
		on_message(r, w, e);
}

static void on_bytes(struct req *r, uint8_t *p, size_t n)
{
	struct ws *w = r->state;

	while (n && !r->ended && !w->closed) {
		struct ws_event e;
		size_t used;
		int got = ws_step(&w->decoder, p, n, &used, &e);

		if (got < 0) {
			refuse_frame(r, w->decoder.close_code, NULL);
			return;
		}
		if (got == 1)
			on_event(r, w, &e);
		/* pongs are small, but a client that never reads must not pile them up */
		if (buf_len(&r->conn->out) > 4 * HIGH_BYTES)
			conn_break(r->conn);
		p += used;
		n -= used;
	}
}

/* ---- shell ---- */

static void shell_frame(struct req *r, const struct wire_msg *m)
{
	struct ws *w = r->state;
	struct wire_field f;

	if (m->type == A_STARTED && !w->upgraded) {
		upgrade(r);
		r->on_body = on_bytes;
	} else if (m->type == WIRE_ERR && !w->upgraded) {
		reply_refusal(r, m);
	} else if ((m->type == A_STDOUT || m->type == A_STDERR) && w->upgraded && wire_get(m, A_T_DATA, &f)) {
		for (size_t at = 0; at < f.n; at += SHELL_PAYLOAD_MAX)
			shell_send(r, SHELL_DATA, f.p + at, f.n - at < SHELL_PAYLOAD_MAX ? f.n - at : SHELL_PAYLOAD_MAX);
	} else if (m->type == A_EXIT && w->upgraded) {
		shell_send(r, SHELL_CLOSE, NULL, 0);
		close_ws(r, WS_CLOSE_NORMAL, NULL);
	}
}

static void ws_told(struct req *r, const char *code, const char *text)
{
	const struct ws *w = r->state;

	if (!w->upgraded)
		reply_error_code(r, 502, text, code);
	else
		close_ws(r, WS_CLOSE_INTERNAL, strcmp(code, "vm_lost") == 0 ? "the VM ended" : "the agent was lost");
}

static void ws_lost(struct req *r)
{
	const struct ws *w = r->state;

	if (w->shell || !w->upgraded)
		loss_find(r, ws_told);
	else
		close_ws(r, WS_CLOSE_NORMAL, NULL); /* as far as a forward can tell, the far end closed */
}

static void ws_cut(struct req *r)
{
	const struct ws *w = r->state;

	if (!w->upgraded)
		reply_error(r, 401, "%s", cut_text);
	else
		close_ws(r, WS_CLOSE_POLICY, cut_text);
}

static const struct agent_ops shell_ops = { shell_frame, ws_lost, NULL, ws_cut };

static void shell_opened(struct req *r)
{
	struct buf *b = stream_begin(r, A_SHELL);

	if (!param_put_u32(r, b, "uid", A_T_UID) || !param_put_u32(r, b, "gid", A_T_GID) ||
	    !param_put_u32(r, b, "cols", A_T_COLS) || !param_put_u32(r, b, "rows", A_T_ROWS))
		return;
	param_put_str(r, b, "shell", A_T_SHELL);
	param_put_str(r, b, "cwd", A_T_CWD);
	param_put_str(r, b, "term", A_T_TERM);
	stream_send(r);
}

/* ---- forward ---- */

static void forward_frame(struct req *r, const struct wire_msg *m)
{
	if (m->type == WIRE_ERR) {
		reply_refusal(r, m);
		return;
	}
	if (m->type != WIRE_OK)
		return;
	r->deadline_ms = 0;
	r->agent.raw = true; /* from the next byte on there are no frames */
	upgrade(r);
	r->on_body = on_bytes;
}

static void forward_raw(struct req *r, const uint8_t *p, size_t n)
{
	const struct ws *w = r->state;

	for (size_t at = 0; at < n && !w->closed; at += AGENT_DATA_MAX)
		ws_add_frame(&r->conn->out, WS_BINARY, p + at, n - at < AGENT_DATA_MAX ? n - at : AGENT_DATA_MAX, NULL);
}

static const struct agent_ops forward_ops = { forward_frame, ws_lost, forward_raw, ws_cut };

static void forward_late(struct req *r)
{
	reply_error(r, 504, "the address in the guest did not answer in time");
}

static void forward_opened(struct req *r)
{
	char upstream[512];
	struct buf *b = stream_begin(r, A_FORWARD);

	http_head_copy(&r->head, "X-Inlets-Upstream", upstream, sizeof(upstream)); /* checked in h_forward */
	wire_str(b, A_T_UPSTREAM, upstream);
	r->deadline_ms = now_mono_ms() + FORWARD_DIAL_MS;
	r->on_deadline = forward_late;
	stream_send(r);
}

/* ---- opening ---- */

/* false: answered. */
static bool ws_begin(struct req *r, bool shell)
{
	struct ws *w = calloc(1, sizeof(*w));
	struct http_refusal why;

	if (!w) {
		reply_error(r, 503, "out of memory");
		return false;
	}
	r->state = w;
	r->state_done = free;
	w->shell = shell;
	r->with_client = true;
	ws_decoder_init(&w->decoder, true, shell ? SHELL_MESSAGE_MAX : 0);
	if (ws_request_check(&r->head, &w->key, &why)) {
		r->conn->front->rejects.n[REJECT_WS_OPEN]++;
		reply_error(r, why.status, "%s", why.text);
		return false;
	}
	return true;
}

void h_shell(struct req *r)
{
	const char *vm = vm_name(r);

	if (vm && ws_begin(r, true))
		stream_open(r, vm, false, &shell_ops, shell_opened);
}

void h_forward(struct req *r)
{
	const char *vm = vm_name(r);
	char upstream[512], half[8];

	if (!vm || !ws_begin(r, false))
		return;
	((struct ws *)r->state)->half = !http_head_copy(&r->head, WS_HALF_CLOSE, half, sizeof(half)) && strcmp(half, "1") == 0;
	if (http_head_copy(&r->head, "X-Inlets-Upstream", upstream, sizeof(upstream)) || !*upstream)
		reply_error(r, 400, "the X-Inlets-Upstream field must name host:port or unix:/path");
	else
		stream_open(r, vm, false, &forward_ops, forward_opened);
}
