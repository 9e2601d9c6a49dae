/* Answers. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "api/front/front.h"

#define RETRY_AFTER_S "1" /* what is used up or not there yet comes back within moments, when it does */

void reply_begin(struct req *r, int status, const char *type)
{
	struct buf *out = &r->conn->out;

	r->replied = true;
	r->status = status;
	http_add_status(out, status);
	if (type)
		http_add_field(out, "Content-Type", type);
	/* A body that is not read to its end leaves the connection unusable for another request. While a command runs its
	 * input may still end in time: then nothing is announced, and finish_request() decides. */
	if (r->body == BODY_WAITING || (r->body == BODY_READING && status >= 400) || r->conn->peer_gone)
		r->head.keep_alive = false;
	if (!r->head.keep_alive)
		http_add_field(out, "Connection", "close");
}

void reply_field(struct req *r, const char *name, const char *value)
{
	http_add_field(&r->conn->out, name, value);
}

void reply_stream(struct req *r)
{
	r->reply_chunked = r->head.minor > 0;
	if (r->reply_chunked)
		http_add_field(&r->conn->out, "Transfer-Encoding", "chunked");
	http_add_end(&r->conn->out);
}

void reply_data(struct req *r, const void *p, size_t n)
{
	if (r->is_head)
		return;
	if (r->reply_chunked)
		http_chunk_add(&r->conn->out, p, n);
	else
		buf_add(&r->conn->out, p, n);
}

void req_end(struct req *r)
{
	if (r->ended)
		return;
	if (r->reply_chunked && !r->is_head)
		http_chunk_end(&r->conn->out);
	r->ended = true;
}

void reply_bytes(struct req *r, int status, const char *type, const void *p, size_t n)
{
	struct buf *out = &r->conn->out;

	if (r->replied) { /* too late for another answer: the client sees a broken one */
		conn_break(r->conn);
		return;
	}
	reply_begin(r, status, type);
	if (status == 401)
		http_add_field(out, "WWW-Authenticate", "Bearer");
	if (status == 503)
		http_add_field(out, "Retry-After", RETRY_AFTER_S);
	if (status == 426) { /* RFC 9110 §15.5.22 */
		http_add_field(out, "Upgrade", "websocket");
		http_add_field(out, "Connection", "Upgrade");
	}
	http_add_field_u64(out, "Content-Length", n);
	http_add_end(out);
	if (!r->is_head)
		buf_add(out, p, n);
	r->ended = true;
}

void reply_text(struct req *r, int status, const char *text)
{
	reply_bytes(r, status, "text/plain; charset=utf-8", text, strlen(text));
}

void reply_empty(struct req *r, int status)
{
	reply_bytes(r, status, NULL, "", 0);
}

void reply_json(struct req *r, int status, struct buf *b)
{
	if (b->failed)
		reply_error(r, 500, "the answer is too large or memory ran out");
	else
		reply_bytes(r, status, "application/json", buf_data(b), buf_len(b));
	buf_clear(b);
}

static void error_object(struct buf *b, const char *text, const char *code)
{
	struct json_out o;

	json_out_init(&o, b);
	json_obj(&o, NULL);
	json_put_str(&o, "error", text);
	if (code && *code)
		json_put_str(&o, "code", code);
	json_end(&o);
}

void reply_error_code(struct req *r, int status, const char *text, const char *code)
{
	struct buf b;

	buf_init(&b, 16384);
	error_object(&b, text, code);
	reply_bytes(r, status, "application/json", buf_data(&b), buf_len(&b));
	buf_done(&b);
}

void reply_error(struct req *r, int status, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reply_error_code(r, status, text, NULL);
}

void reply_refusal(struct req *r, const struct wire_msg *m)
{
	char text[1024], code[64] = "";
	uint64_t status = 500;

	wire_get_u64(m, WIRE_T_STATUS, &status);
	if (status < 400 || status > 599)
		status = 500;
	if (wire_get_str(m, WIRE_T_TEXT, text, sizeof(text)) || !*text)
		snprintf(text, sizeof(text), "%s", http_reason((int)status));
	wire_get_str(m, WIRE_T_CODE, code, sizeof(code));
	reply_error_code(r, (int)status, text, code);
}

void conn_refuse(struct conn *c, int status, const char *text)
{
	struct buf b;

	counts_add(&c->front->counts, "", 0, status, 0);
	buf_init(&b, 4096);
	error_object(&b, text, NULL);
	http_add_status(&c->out, status);
	http_add_field(&c->out, "Content-Type", "application/json");
	http_add_field(&c->out, "Connection", "close");
	if (status == 503)
		http_add_field(&c->out, "Retry-After", RETRY_AFTER_S);
	http_add_field_u64(&c->out, "Content-Length", buf_len(&b));
	http_add_end(&c->out);
	buf_add(&c->out, buf_data(&b), buf_len(&b));
	buf_done(&b);
	c->state = CONN_FLUSH;
	c->since_ms = now_mono_ms();
}
