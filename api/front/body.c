/* Request bodies: from the connection's bytes to the handler, as far as the handler takes them. */
#include <errno.h>
#include "api/front/front.h"

void body_init(struct req *r)
{
	r->body = BODY_WAITING;
	r->body_left = r->head.body_bytes;
	if (r->head.body == HTTP_BODY_NONE || (r->head.body == HTTP_BODY_LENGTH && r->body_left == 0))
		r->body = BODY_DONE;
}

void req_read_body(struct req *r, void (*on_body)(struct req *, uint8_t *, size_t), void (*on_body_end)(struct req *))
{
	r->on_body = on_body;
	r->on_body_end = on_body_end;
	if (r->body == BODY_DONE) {
		if (on_body_end && !r->body_raw)
			on_body_end(r);
		return;
	}
	if (r->body == BODY_WAITING && r->head.expect_continue && !r->replied) {
		http_add_status(&r->conn->out, 100);
		http_add_end(&r->conn->out);
	}
	r->body = BODY_READING;
}

static void body_ended(struct req *r)
{
	r->body = BODY_DONE;
	if (r->on_body_end)
		r->on_body_end(r);
}

static void give(struct req *r, uint8_t *p, size_t n)
{
	if (r->on_body && n)
		r->on_body(r, p, n);
}

static void broken_chunks(struct req *r)
{
	r->conn->front->rejects.n[REJECT_CHUNK]++;
	if (r->replied)
		conn_break(r->conn);
	else
		reply_error(r, 400, "the chunked body is broken");
}

/* One piece of at most READ_BYTES. Returns the bytes eaten. */
static size_t feed_some(struct req *r, uint8_t *p, size_t n)
{
	const uint8_t *data;
	size_t used, data_n;
	int got;

	if (n > READ_BYTES)
		n = READ_BYTES;
	if (r->body_raw) {
		give(r, p, n);
		return n;
	}
	if (r->head.body == HTTP_BODY_LENGTH) {
		if (n > r->body_left)
			n = (size_t)r->body_left;
		r->body_left -= n;
		give(r, p, n);
		if (r->body_left == 0)
			body_ended(r);
		return n;
	}
	got = http_chunked_step(&r->chunked, p, n, &used, &data, &data_n);
	if (got == -EPROTO)
		broken_chunks(r);
	else if (got == 1)
		give(r, p + (data - p), data_n);
	else if (got == 2)
		body_ended(r);
	return used;
}

bool body_feed(struct conn *c)
{
	struct req *r = c->req;
	bool moved = false;

	while (r->body == BODY_READING && !r->body_paused && !r->ended && !c->broken && buf_len(&c->in)) {
		buf_eat(&c->in, feed_some(r, buf_data(&c->in), buf_len(&c->in)));
		moved = true;
	}
	return moved;
}
