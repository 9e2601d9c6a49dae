/* lib/http WebSocket: refusals first, then pieces and sizes. */
#include <errno.h>
#include <string.h>
#include "lib/http/sha1.h"
#include "lib/http/ws.h"
#include "tests/unit/induce.h"
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
	REFUSED("\x88\x82\0\0\0\0\x03\xe7", 1002, "close code 999");
	REFUSED("\x88\x82\0\0\0\0\x03\xec", 1002, "close code 1004");
	REFUSED("\x88\x82\0\0\0\0\x03\xf7", 1002, "close code 1015");
	REFUSED("\x88\x82\0\0\0\0\x13\x88", 1002, "close code 5000");
	REFUSED("\x88\x84\0\0\0\0\x03\xe8\xff\xfe", 1007, "close reason that is no UTF-8");
	ok(step("\x82\x80mmmm", 6, false, 0) == -EPROTO, "refused: a server that masks");
}

static void test_closes(void)
{
	static const int codes[] = { 1000, 1003, 1007, 1014, 3000, 4999 };
	uint8_t p[6] = { 0x88, 0x82 };
	char reason[300];
	struct buf b;

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		uint8_t frame[8] = { 0x88, 0x82, 0, 0, 0, 0, (uint8_t)(codes[i] >> 8), (uint8_t)codes[i] };

		ok(step(frame, 8, true, 0) == 1 && e.op == WS_CLOSE && e.close_code == codes[i], "close code %d", codes[i]);
	}
	p[1] = 0x80;
	ok(step(p, 6, true, 0) == 1 && e.op == WS_CLOSE && e.close_code == WS_CLOSE_NONE && e.n == 0, "a close without a code");
	memset(reason, 'r', sizeof(reason));
	reason[299] = '\0';
	buf_init(&b, 400);
	ws_add_close(&b, 1000, NULL, NULL);
	ok(buf_len(&b) == 4, "a close without a reason");
	buf_clear(&b);
	ws_add_close(&b, 1000, reason, NULL);
	ok(buf_len(&b) == 2 + WS_CONTROL_MAX && step(buf_data(&b), buf_len(&b), false, 0) == 1 && e.n == WS_CONTROL_MAX, "a reason that is too long is cut");
	buf_done(&b);
	buf_init(&b, 8);
	ws_add_frame(&b, WS_BINARY, reason, 100, NULL);
	ok(b.failed, "no room for a frame");
	buf_done(&b);
}

/* The sum of the pieces is kept in 64 bits; nobody sends that many, so the test says they came. */
static void test_message_wraps(void)
{
	uint8_t first[] = { 0x02, 0x81, 0, 0, 0, 0, 'a' }, next[] = { 0x80, 0x85, 0, 0, 0, 0, 1, 2, 3, 4, 5 };
	size_t used;

	ws_decoder_init(&d, true, 0);
	ok(ws_step(&d, first, sizeof(first), &used, &e) == 1, "a piece");
	d.message_bytes = UINT64_MAX - 2;
	ok(ws_step(&d, next, sizeof(next), &used, &e) == -EPROTO && d.close_code == 1009, "a message longer than 64 bits can say");
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
		"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n",
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
	ws_add_accept(&b, &key, NULL, NULL);
	ok(strstr(buf_cstr(&b), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") != NULL, "the accept of RFC 6455 §1.3");
	http_head_init(&h, HTTP_RESPONSE);
	ok(http_head_parse(&h, buf_data(&b), buf_len(&b), NULL) == 0 && ws_response_check(&h, "dGhlIHNhbXBsZSBub25jZQ==") == 0 &&
	   ws_response_check(&h, "dGhlIHNhbXBsZSBub25jZR==") == -EPROTO, "the client's check");
	induce(INDUCE_random_fill, 0, ENOSYS);
	ok(ws_key_new(fresh) == -ENOSYS && induced(), "no random bytes, no key");
	ok(ws_key_new(fresh) == 0 && strlen(fresh) == WS_KEY_LEN, "a fresh key");
	buf_done(&b);
}

/* Heads that no parser of ours makes, and answers that are not the one we wait for. */
static void test_odd_heads(void)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	};
	static const char get[] = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
				  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\r\n";
	struct http_head h;
	struct http_str key;
	struct buf b;

	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		http_head_init(&h, HTTP_RESPONSE);
		ok(http_head_parse(&h, answers[i], strlen(answers[i]), NULL) == 0 && ws_response_check(&h, "dGhlIHNhbXBsZSBub25jZQ==") == -EPROTO,
		   "no opening: answer %zu", i);
	}
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, get, sizeof(get) - 1, NULL) == 0 && ws_request_check(&h, &key, NULL) == 0, "an empty body is none");
	h.minor = 0;
	ok(ws_request_check(&h, &key, NULL) == -EPROTO, "HTTP/1.0 opens nothing");
	memset(&h, 0, sizeof(h));
	h.upgrade = true;
	ok(ws_request_check(&h, &key, NULL) == -EPROTO && (h.status = 101) && ws_response_check(&h, "k") == -EPROTO, "an upgrade to nothing");
	buf_init(&b, 1000);
	ws_add_accept(&b, &(struct http_str){ "k", 1 }, WS_HALF_CLOSE, "1");
	ok(strstr(buf_cstr(&b), "X-Mica-Half-Close: 1\r\n") != NULL, "an answer with one field more");
	buf_clear(&b);
	ws_add_request_fields(&b, "k");
	ok(strstr(buf_cstr(&b), "Sec-WebSocket-Key: k\r\n") != NULL, "the fields of a request");
	buf_done(&b);
}

static void test_sha1(void)
{
	static const char long_text[200] = { 'x' };
	uint8_t most[20];
	uint8_t sum[20];
	char hex[41];

	sha1_short("abc", 3, sum);
	hex_encode(sum, 20, hex);
	ok(strcmp(hex, "a9993e364706816aba3e25717850c26c9cd0d89d") == 0, "SHA-1 of abc");
	sha1_short("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, sum);
	hex_encode(sum, 20, hex);
	ok(strcmp(hex, "84983e441c3bd26ebaae4aa1f95129e5e54670f1") == 0, "SHA-1 over two blocks");
	sha1_short(long_text, SHA1_SHORT_MAX, most);
	sha1_short(long_text, sizeof(long_text), sum);
	ok(!memcmp(sum, most, 20), "never past two blocks");
}

int main(void)
{
	test_refused();
	test_interleaved();
	test_message_limit();
	for (size_t piece = 1; piece < 40; piece += 3)
		test_pieces(piece);
	test_sizes();
	test_closes();
	test_message_wraps();
	test_odd_heads();
	test_opening();
	test_sha1();
	return tap_done();
}
