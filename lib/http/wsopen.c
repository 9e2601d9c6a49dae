/* WebSocket handshake. */
#include <errno.h>
#include <string.h>
#include "lib/http/sha1.h"
#include "lib/http/ws.h"

static const char ws_guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 §1.3 */

static int refuse(struct http_refusal *why, int status, const char *text)
{
	if (why)
		*why = (struct http_refusal){ .status = status, .text = text };
	return -EPROTO;
}

static bool key_ok(const struct http_str *key)
{
	uint8_t raw[WS_KEY_LEN];

	return key->n == WS_KEY_LEN && base64_decode(key->p, key->n, raw) == 16;
}

int ws_request_check(const struct http_head *h, struct http_str *key, struct http_refusal *why)
{
	const struct http_str *upgrade = http_head_field(h, "Upgrade");
	const struct http_str *version = http_head_field(h, "Sec-WebSocket-Version");
	const struct http_str *k = http_head_field(h, "Sec-WebSocket-Key");

	if (!h->upgrade || !upgrade || !http_list_has(upgrade, "websocket"))
		return refuse(why, 426, "this path speaks WebSocket: send Connection: Upgrade and Upgrade: websocket");
	if (!http_str_is(&h->method, "GET") || h->minor == 0)
		return refuse(why, 400, "a WebSocket opens with GET and HTTP/1.1");
	if (h->body == HTTP_BODY_CHUNKED || (h->body == HTTP_BODY_LENGTH && h->body_bytes))
		return refuse(why, 400, "a WebSocket opens without a body");
	if (!version || !http_str_is(version, "13"))
		return refuse(why, 426, "the only Sec-WebSocket-Version spoken here is 13");
	if (!k || !key_ok(k))
		return refuse(why, 400, "Sec-WebSocket-Key must be 16 bytes in base64");
	*key = *k;
	return 0;
}

void ws_accept_of(const struct http_str *key, char out[WS_ACCEPT_LEN + 1])
{
	uint8_t text[WS_KEY_LEN + sizeof(ws_guid)], sum[20];
	size_t n = key->n < WS_KEY_LEN ? key->n : WS_KEY_LEN;

	memcpy(text, key->p, n);
	memcpy(text + n, ws_guid, sizeof(ws_guid) - 1);
	sha1_short(text, n + sizeof(ws_guid) - 1, sum);
	base64_encode(sum, sizeof(sum), out);
}

void ws_add_accept(struct buf *b, const struct http_str *key, const char *name, const char *value)
{
	char accept[WS_ACCEPT_LEN + 1];

	ws_accept_of(key, accept);
	http_add_status(b, 101);
	http_add_field(b, "Upgrade", "websocket");
	http_add_field(b, "Connection", "Upgrade");
	http_add_field(b, "Sec-WebSocket-Accept", accept);
	if (name)
		http_add_field(b, name, value);
	http_add_end(b);
}

int ws_key_new(char out[WS_KEY_LEN + 1])
{
	uint8_t raw[16];
	int err = random_fill(raw, sizeof(raw));

	if (err)
		return err;
	base64_encode(raw, sizeof(raw), out);
	return 0;
}

void ws_add_request_fields(struct buf *b, const char *key)
{
	http_add_field(b, "Connection", "Upgrade");
	http_add_field(b, "Upgrade", "websocket");
	http_add_field(b, "Sec-WebSocket-Version", "13");
	http_add_field(b, "Sec-WebSocket-Key", key);
}

int ws_response_check(const struct http_head *h, const char *key)
{
	const struct http_str *upgrade = http_head_field(h, "Upgrade");
	const struct http_str *accept = http_head_field(h, "Sec-WebSocket-Accept");
	char want[WS_ACCEPT_LEN + 1];

	ws_accept_of(&(struct http_str){ key, strlen(key) }, want);
	if (h->status != 101 || !h->upgrade || !upgrade || !http_str_is_nocase(upgrade, "websocket"))
		return -EPROTO;
	return accept && http_str_is(accept, want) ? 0 : -EPROTO;
}
