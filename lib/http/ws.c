/* WebSocket frames. */
#include <errno.h>
#include <string.h>
#include "lib/http/ws.h"

void ws_decoder_init(struct ws_decoder *d, bool peer_masks, uint64_t message_max_bytes)
{
	memset(d, 0, sizeof(*d));
	d->peer_masks = peer_masks;
	d->message_max = message_max_bytes;
	d->head_need = 2;
}

static int broken(struct ws_decoder *d, int code)
{
	d->close_code = code;
	return -EPROTO;
}

/* After the first two bytes: how long the whole frame head is. */
static unsigned head_bytes(const uint8_t head[2])
{
	unsigned len7 = head[1] & 0x7f;

	return 2 + (len7 == 126 ? 2 : len7 == 127 ? 8 : 0) + (head[1] & 0x80 ? 4 : 0);
}

/* RFC 6455 §5.2: what can be judged from the first two bytes. */
static int check_head(struct ws_decoder *d)
{
	uint8_t op = d->head[0] & 0x0f;
	bool masked = d->head[1] & 0x80;

	if (d->head[0] & 0x70 || masked != d->peer_masks)
		return broken(d, WS_CLOSE_PROTOCOL);
	if (op > WS_BINARY && op < WS_CLOSE)
		return broken(d, WS_CLOSE_PROTOCOL);
	if (op > WS_PONG)
		return broken(d, WS_CLOSE_PROTOCOL);
	if (op >= WS_CLOSE && (!(d->head[0] & 0x80) || (d->head[1] & 0x7f) > WS_CONTROL_MAX))
		return broken(d, WS_CLOSE_PROTOCOL); /* control frames are short and never in pieces */
	if (op == WS_CONT ? !d->message_open : op < WS_CLOSE && d->message_open)
		return broken(d, WS_CLOSE_PROTOCOL);
	return 0;
}

static int read_length(struct ws_decoder *d)
{
	unsigned len7 = d->head[1] & 0x7f, wide = len7 == 126 ? 2 : len7 == 127 ? 8 : 0;
	uint64_t n = 0;

	for (unsigned i = 0; i < wide; i++)
		n = n << 8 | d->head[2 + i];
	if ((wide == 2 && n < 126) || (wide == 8 && (n < 65536 || n >> 63)))
		return broken(d, WS_CLOSE_PROTOCOL); /* not the shortest form */
	d->frame_bytes = wide ? n : len7;
	if (d->peer_masks)
		memcpy(d->mask, d->head + 2 + wide, 4);
	return 0;
}

/* The head is whole: from here on payload. */
static int begin_frame(struct ws_decoder *d)
{
	int err = read_length(d);

	if (err)
		return err;
	d->op = (enum ws_op)(d->head[0] & 0x0f);
	d->fin = d->head[0] & 0x80;
	d->frame_done = 0;
	d->in_payload = true;
	if (d->op >= WS_CLOSE)
		return 0;
	if (d->op != WS_CONT) {
		d->message_op = d->op;
		d->message_open = true;
		d->message_started = false;
		d->message_bytes = 0;
	}
	if (add_overflows_u64(d->message_bytes, d->frame_bytes, &d->message_bytes) ||
	    (d->message_max && d->message_bytes > d->message_max))
		return broken(d, WS_CLOSE_TOO_BIG);
	return 0;
}

static void unmask(const struct ws_decoder *d, uint8_t *p, size_t n)
{
	for (size_t i = 0; d->peer_masks && i < n; i++)
		p[i] ^= d->mask[(d->frame_done + i) & 3];
}

static void end_frame(struct ws_decoder *d)
{
	d->in_payload = false;
	d->head_have = 0;
	d->head_need = 2;
	if (d->op < WS_CLOSE && d->fin)
		d->message_open = false;
}

static bool close_code_ok(int code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/* A control frame is whole in d->control. */
static int give_control(struct ws_decoder *d, struct ws_event *e)
{
	*e = (struct ws_event){ .op = d->op, .first = true, .last = true, .data = d->control,
				.n = (size_t)d->frame_bytes, .close_code = WS_CLOSE_NONE };
	end_frame(d);
	if (e->op != WS_CLOSE || e->n == 0)
		return 1;
	if (e->n == 1)
		return broken(d, WS_CLOSE_PROTOCOL);
	e->close_code = d->control[0] << 8 | d->control[1];
	if (!close_code_ok(e->close_code))
		return broken(d, WS_CLOSE_PROTOCOL);
	if (!utf8_is_valid(d->control + 2, e->n - 2))
		return broken(d, WS_CLOSE_BAD_DATA);
	return 1;
}

/* Payload of a control frame: gathered. */
static int step_control(struct ws_decoder *d, uint8_t *p, size_t n, size_t *used, struct ws_event *e)
{
	size_t left = (size_t)(d->frame_bytes - d->frame_done), take = n < left ? n : left;

	unmask(d, p, take);
	if (take)
		memcpy(d->control + d->frame_done, p, take);
	d->frame_done += take;
	*used += take;
	return d->frame_done == d->frame_bytes ? give_control(d, e) : 0;
}

/* Payload of a message: given away as it comes. */
static int step_data(struct ws_decoder *d, uint8_t *p, size_t n, size_t *used, struct ws_event *e)
{
	uint64_t left = d->frame_bytes - d->frame_done;
	size_t take = n < left ? n : (size_t)left;
	bool frame_ends = take == left;

	if (take == 0 && !frame_ends)
		return 0;
	unmask(d, p, take);
	d->frame_done += take;
	*used += take;
	*e = (struct ws_event){ .op = d->message_op, .first = !d->message_started, .last = frame_ends && d->fin,
				.data = p, .n = take, .close_code = WS_CLOSE_NONE };
	d->message_started = true;
	if (frame_ends)
		end_frame(d);
	return 1;
}

int ws_step(struct ws_decoder *d, uint8_t *p, size_t n, size_t *used, struct ws_event *e)
{
	*used = 0;
	while (!d->in_payload) {
		if (*used == n)
			return 0;
		d->head[d->head_have++] = p[(*used)++];
		if (d->head_have == 2) {
			if (check_head(d))
				return -EPROTO;
			d->head_need = head_bytes(d->head);
		}
		if (d->head_have == d->head_need && begin_frame(d))
			return -EPROTO;
	}
	if (d->op >= WS_CLOSE)
		return step_control(d, p + *used, n - *used, used, e);
	return step_data(d, p + *used, n - *used, used, e);
}

static void add_head(struct buf *b, enum ws_op op, size_t n, const uint8_t mask[4])
{
	uint8_t h[WS_HEAD_MAX] = { (uint8_t)(0x80u | (unsigned)op) };
	unsigned wide = n < 126 ? 0 : n < 65536 ? 2 : 8;

	h[1] = (uint8_t)((mask ? 0x80u : 0u) | (wide == 0 ? n : wide == 2 ? 126u : 127u));
	for (unsigned i = 0; i < wide; i++)
		h[2 + i] = (uint8_t)((uint64_t)n >> (8 * (wide - 1 - i)));
	if (mask)
		memcpy(h + 2 + wide, mask, 4);
	buf_add(b, h, 2 + wide + (mask ? 4u : 0u));
}

void ws_add_frame(struct buf *b, enum ws_op op, const void *p, size_t n, const uint8_t mask[4])
{
	const uint8_t *src = p;
	uint8_t *dst;

	add_head(b, op, n, mask);
	if (n == 0)
		return;
	dst = buf_room(b, n);
	if (!dst)
		return;
	for (size_t i = 0; i < n; i++)
		dst[i] = mask ? (uint8_t)(src[i] ^ mask[i & 3]) : src[i];
	buf_grew(b, n);
}

void ws_add_close(struct buf *b, int code, const char *reason, const uint8_t mask[4])
{
	uint8_t p[WS_CONTROL_MAX] = { (uint8_t)(code >> 8), (uint8_t)code };
	size_t n = reason ? strlen(reason) : 0;

	if (n > sizeof(p) - 2)
		n = sizeof(p) - 2;
	if (n)
		memcpy(p + 2, reason, n);
	ws_add_frame(b, WS_CLOSE, p, n + 2, mask);
}
