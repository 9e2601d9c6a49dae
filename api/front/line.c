/* The NDJSON lines of exec: output as text whose characters may be cut in the middle, or as base64. */
#include <string.h>
#include "api/front/front.h"

const char *signal_name(uint64_t n)
{
	static const char *const names[] = { "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
					     "USR2", "PIPE", "ALRM", "TERM" };

	return n < ARRAY_LEN(names) ? names[n] : n == 31 ? "SYS" : n == 24 ? "XCPU" : n == 25 ? "XFSZ" : "unknown";
}

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
static void put_whole(struct json_out *o, const char *key, struct text *t, const uint8_t *p, size_t n)
{
	unsigned tail = cut_tail(p, n);

	json_put_strn(o, key, p, n - tail);
	if (tail)
		memcpy(t->held, p + n - tail, tail);
	t->n = tail;
}

/* The same with what was held before the new piece; without one the held bytes are the end of it all. */
static void put_text(struct json_out *o, const char *key, struct text *t, const uint8_t *p, size_t n)
{
	struct buf b;

	if (n == 0) {
		json_put_strn(o, key, t->held, t->n);
		t->n = 0;
		return;
	}
	if (t->n == 0) {
		put_whole(o, key, t, p, n);
		return;
	}
	buf_init(&b, UTF8_HELD_MAX + WIRE_PAYLOAD_MAX);
	buf_add(&b, t->held, t->n);
	buf_add(&b, p, n);
	put_whole(o, key, t, buf_data(&b), buf_len(&b));
	buf_done(&b);
}

/* Lines are written into one buffer of the front, again and again. */
void line_begin(struct req *r, struct json_out *o, const char *type, const struct wire_msg *m)
{
	struct buf *b = &r->conn->front->line;
	uint64_t ns = now_real_ns();

	buf_clear(b);
	json_out_init(o, b);
	json_obj(o, NULL);
	if (m) { /* history: its own number and time */
		put_field_u64(o, "id", m, A_T_FRAME_ID);
		wire_get_u64(m, A_T_TIME_NS, &ns);
	}
	put_time(o, "timestamp", ns);
	json_put_str(o, "type", type);
}

void line_end(struct req *r, struct json_out *o)
{
	struct buf *b = &r->conn->front->line;

	json_end(o);
	buf_adds(b, "\n");
	if (b->failed)
		conn_break(r->conn);
	else
		reply_data(r, buf_data(b), buf_len(b));
}

void line_output(struct req *r, const struct wire_msg *m, unsigned which, struct text *t, const uint8_t *p, size_t n)
{
	const char *key = which ? "stderr" : "stdout";
	struct json_out o;

	line_begin(r, &o, key, m);
	if (t) {
		put_text(&o, key, t, p, n);
	} else {
		json_put_str(&o, "encoding", "base64");
		json_put_base64(&o, key, p, n);
	}
	json_put_i64(&o, "exit_code", 0);
	line_end(r, &o);
}
