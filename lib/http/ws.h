/*
 * lib/http: WebSocket (RFC 6455), both sides: handshake and frames, no extensions, no subprotocols. Room card: http.h.
 * The decoder gives the payload away as it arrives (messages of any size need no memory); control frames, at most 125
 * bytes, come whole. It answers nothing by itself: pongs and closes are the caller's, with what stands in the event.
 */
#ifndef LIB_HTTP_WS_H
#define LIB_HTTP_WS_H

#include "lib/http/http.h"

#define WS_KEY_LEN 24u
#define WS_ACCEPT_LEN 28u
#define WS_HEAD_MAX 14u
#define WS_CONTROL_MAX 125u

/* ---- handshake ---- */

/* Server: is this request an acceptable opening? 0 and *key (view); -EPROTO and *why (400, 426). */
int ws_request_check(const struct http_head *h, struct http_str *key, struct http_refusal *why);
/* Sec-WebSocket-Accept for a key; NUL-terminated. */
void ws_accept_of(const struct http_str *key, char out[WS_ACCEPT_LEN + 1]);
/* Server: the whole 101 answer, with a field of its own unless name is NULL. */
void ws_add_accept(struct buf *b, const struct http_str *key, const char *name, const char *value);
/* Ours, beyond the contract: a client that sends this field with "1" and finds it in the 101 may say by an empty binary message that it sends nothing
 * more, and goes on to read. Without it the first end drops both directions. */
#define WS_HALF_CLOSE "X-Mica-Half-Close"
/* Client: a fresh random key. 0 or -errno. */
int ws_key_new(char out[WS_KEY_LEN + 1]);
/* Client: adds Upgrade, Connection, Sec-WebSocket-Version and -Key to a request being written. */
void ws_add_request_fields(struct buf *b, const char *key);
/* Client: is this the 101 for that key? 0 or -EPROTO. */
int ws_response_check(const struct http_head *h, const char *key);

/* ---- frames ---- */

enum ws_op { WS_CONT = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };
/* Close codes used here. */
enum { WS_CLOSE_NORMAL = 1000, WS_CLOSE_GOING_AWAY = 1001, WS_CLOSE_PROTOCOL = 1002, WS_CLOSE_UNSUPPORTED = 1003,
       WS_CLOSE_NONE = 1005, WS_CLOSE_BAD_DATA = 1007, WS_CLOSE_POLICY = 1008, WS_CLOSE_TOO_BIG = 1009, WS_CLOSE_INTERNAL = 1011 };

struct ws_decoder {
	bool peer_masks;       /* set by the caller: true on the server side */
	uint64_t message_max;  /* set by the caller: most bytes of one message; 0 = no limit */
	int close_code;        /* after -EPROTO: what to close with */
	/* private */
	uint8_t head[WS_HEAD_MAX];
	unsigned head_have, head_need;
	bool in_payload, fin, message_open, message_started;
	enum ws_op op, message_op;
	uint8_t mask[4];
	uint64_t frame_bytes, frame_done, message_bytes;
	uint8_t control[WS_CONTROL_MAX];
};
struct ws_event {
	enum ws_op op;        /* TEXT or BINARY: a piece of that message; else a whole control frame */
	bool first, last;     /* data: first/last piece of its message (an empty message is one empty piece) */
	const uint8_t *data;  /* unmasked; inside the caller's bytes, or in the decoder for control frames */
	size_t n;
	int close_code;       /* with WS_CLOSE: as sent, WS_CLOSE_NONE when absent */
};

void ws_decoder_init(struct ws_decoder *d, bool peer_masks, uint64_t message_max_bytes);
/* One step; p is changed (unmasked in place). *used bytes were eaten. 1 *e holds an event; 0 all eaten, more is needed;
 * -EPROTO broken: close with d->close_code. */
int ws_step(struct ws_decoder *d, uint8_t *p, size_t n, size_t *used, struct ws_event *e);

/* Writes one final frame. mask: NULL on the server side, 4 random bytes on the client side. */
void ws_add_frame(struct buf *b, enum ws_op op, const void *p, size_t n, const uint8_t mask[4]);
/* A close frame; reason (short text) may be NULL. */
void ws_add_close(struct buf *b, int code, const char *reason, const uint8_t mask[4]);

#endif
