/* lib/http WebSocket: refusals first, then pieces and sizes. */
#include <errno.h>
#include <string.h>
#include "lib/http/sha1.h"
#include "lib/http/ws.h"
#include "tests/unit/tap.h"

static struct ws_decoder d;
static struct ws_event e;

/* The first event of these bytes, with the server's eyes. */
static int step(const void *p, size_t n, bool peer_masks, uint64_t max)
{
	static uint8_t mem[512];
	size_t used;

	memcpy(mem, p, n);
	ws_decoder_init(&d, peer_masks, max);
	return ws_step(&d, mem, n, &used, &e);
}

static void refused(const char *p, size_t n, int code, const char *name)
{
	int r = step(p, n, true, 1000);

	ok(r == -EPROTO && d.close_code == code, "refused with %d: %s (%d, %d)", code, name, r, d.close_code);
}
#define REFUSED(bytes, code, name) refused(bytes, sizeof(bytes) - 1, code, name)

static void test_refused(void)
{
	REFUSED("\x82\x03" "abc", 1002, "not masked");
	REFUSED("\xc2\x80mmmm", 1002, "reserved bit");
	REFUSED("\x83\x80mmmm", 1002, "reserved opcode 3");
	REFUSED("\x8b\x80mmmm", 1002, "reserved opcode 11");
	REFUSED("\x80\x80mmmm", 1002, "continuation of nothing");
	REFUSED("\x09\x80mmmm", 1002, "ping in pieces");
	REFUSED("\x89\xfe\x00\x7emmmm", 1002, "ping of 126 bytes");
	REFUSED("\x82\xfe\x00\x05mmmm", 1002, "length not in its shortest form (16)");
	REFUSED("\x82\xff\0\0\0\0\0\0\xff\xffmmmm", 1002, "length not in its shortest form (64)");
	REFUSED("\x82\xff\x80\0\0\0\0\0\0\0mmmm", 1002, "length with the top bit");
	REFUSED("\x82\xfe\x03\xe9mmmm", 1009, "1001 bytes where 1000 are allowed");
	REFUSED("\x88\x81\0\0\0\0x", 1002, "close with one byte");
	REFUSED("\x88\x82\0\0\0\0\x03\xed", 1002, "close code 1005");
	REFUSED("\x88\x82\0\0\0\0\x13\x88", 1002, "close code 5000");
	REFUSED("\x88\x84\0\0\0\0\x03\xe8\xff\xfe", 1007, "close reason that is no UTF-8");
	ok(step("\x82\x80mmmm", 6, false, 0) == -EPROTO, "refused: a server that masks");
}

/* A text message begun inside a binary one. */
static void test_interleaved(void)
{
	uint8_t p[] = "\x02\x81\0\0\0\0a\x81\x81\0\0\0\0b";
	size_t used, at = 0;
	int r;

	ws_decoder_init(&d, true, 0);
	r = ws_step(&d, p, sizeof(p) - 1, &used, &e);
	at = used;
	ok(r == 1 && e.first && !e.last && e.n == 1, "first piece");
	ok(ws_step(&d, p + at, sizeof(p) - 1 - at, &used, &e) == -EPROTO && d.close_code == 1002, "a message inside a message is refused");
}

static void test_message_limit(void)
{
	uint8_t p[32];
	struct buf b;
	size_t used, at = 0;
	int r = 1, events = 0;

	buf_init(&b, 100);
	ws_add_frame(&b, WS_BINARY, "12345", 5, (const uint8_t *)"abcd");
	buf_data(&b)[0] = 0x02; /* not the last piece */
	ws_add_frame(&b, WS_CONT, "6789", 4, (const uint8_t *)"efgh");
	memcpy(p, buf_data(&b), buf_len(&b));
	ws_decoder_init(&d, true, 8);
	while (r == 1 && at < buf_len(&b)) {
		r = ws_step(&d, p + at, buf_len(&b) - at, &used, &e);
		at += used;
		events += r == 1;
	}
	ok(r == -EPROTO && d.close_code == 1009 && events == 1, "the limit counts all pieces of a message");
	buf_done(&b);
}

/* One message in pieces with a ping between, fed byte by byte or whole. */
static void test_pieces(size_t piece)
{
	const uint8_t mask[4] = { 1, 2, 3, 4 };
	char got[64] = "", ping[8] = "";
	uint8_t p[128];
	struct buf b;
	size_t at = 0, len = 0, n;
	int firsts = 0, lasts = 0, r = 0, code = 0;

	buf_init(&b, 200);
	ws_add_frame(&b, WS_TEXT, "hel", 3, mask);
	buf_data(&b)[0] = 0x01;
	ws_add_frame(&b, WS_PING, "pp", 2, mask);
	ws_add_frame(&b, WS_CONT, "lo", 2, mask);
	ws_add_close(&b, 1000, "bye", mask);
	n = buf_len(&b);
	memcpy(p, buf_data(&b), n);
	buf_done(&b);
	ws_decoder_init(&d, true, 0);
	while (at < n && r >= 0) {
		size_t take = n - at < piece ? n - at : piece, from = 0, used;

		do {
			r = ws_step(&d, p + at + from, take - from, &used, &e);
			from += used;
			if (r == 1 && e.op == WS_TEXT) {
				memcpy(got + len, e.data, e.n);
				len += e.n;
				firsts += e.first;
				lasts += e.last;
			} else if (r == 1 && e.op == WS_PING) {
				memcpy(ping, e.data, e.n);
			} else if (r == 1) {
				code = e.close_code;
			}
		} while (r == 1);
		at += from;
	}
	ok(r == 0 && strcmp(got, "hello") == 0 && firsts == 1 && lasts == 1 && strcmp(ping, "pp") == 0 && code == 1000,
	   "a message in two frames, a ping between, fed %zu bytes at a time", piece);
}

static void test_sizes(void)
{
	static const size_t sizes[] = { 0, 1, 125, 126, 65535, 65536, 100000 };
	static uint8_t body[100000];

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct buf b;
		size_t used;
		int r;

		memset(body, 'x', sizeof(body));
		buf_init(&b, 200000);
		ws_add_frame(&b, WS_BINARY, body, sizes[i], NULL);
		ws_decoder_init(&d, false, 0);
		r = ws_step(&d, buf_data(&b), buf_len(&b), &used, &e);
		ok(r == 1 && e.n == sizes[i] && e.first && e.last && used == buf_len(&b), "%zu bytes there and back", sizes[i]);
		buf_done(&b);
	}
}

static void test_opening(void)
{
	static const char good[] = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
				   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
	static const char *const bad[] = {
		"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
	};
	struct http_head h;
	struct http_refusal why;
	struct http_str key;
	struct buf b;
	char fresh[WS_KEY_LEN + 1];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		http_head_init(&h, HTTP_REQUEST);
		ok(http_head_parse(&h, bad[i], strlen(bad[i]), NULL) == 0 && ws_request_check(&h, &key, &why) == -EPROTO &&
		   (why.status == 400 || why.status == 426), "opening refused: %s", why.text);
	}
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, good, sizeof(good) - 1, NULL) == 0 && ws_request_check(&h, &key, &why) == 0, "opening taken");
	buf_init(&b, 1000);
	ws_add_accept(&b, &key);
	ok(strstr(buf_cstr(&b), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") != NULL, "the accept of RFC 6455 §1.3");
	http_head_init(&h, HTTP_RESPONSE);
	ok(http_head_parse(&h, buf_data(&b), buf_len(&b), NULL) == 0 && ws_response_check(&h, "dGhlIHNhbXBsZSBub25jZQ==") == 0 &&
	   ws_response_check(&h, "dGhlIHNhbXBsZSBub25jZR==") == -EPROTO, "the client's check");
	ok(ws_key_new(fresh) == 0 && strlen(fresh) == WS_KEY_LEN, "a fresh key");
	buf_done(&b);
}

static void test_sha1(void)
{
	uint8_t sum[20];
	char hex[41];

	sha1_short("abc", 3, sum);
	hex_encode(sum, 20, hex);
	ok(strcmp(hex, "a9993e364706816aba3e25717850c26c9cd0d89d") == 0, "SHA-1 of abc");
	sha1_short("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, sum);
	hex_encode(sum, 20, hex);
	ok(strcmp(hex, "84983e441c3bd26ebaae4aa1f95129e5e54670f1") == 0, "SHA-1 over two blocks");
}

int main(void)
{
	test_refused();
	test_interleaved();
	test_message_limit();
	for (size_t piece = 1; piece < 40; piece += 3)
		test_pieces(piece);
	test_sizes();
	test_opening();
	test_sha1();
	return tap_done();
}
