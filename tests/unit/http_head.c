/* lib/http heads: refusals first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lib/http/http.h"
#include "tests/unit/tap.h"

static struct http_head h;
static struct http_refusal why;

static int parse(enum http_kind kind, const char *text)
{
	http_head_init(&h, kind);
	memset(&why, 0, sizeof(why));
	return http_head_parse(&h, text, strlen(text), &why);
}

struct refusal_case {
	const char *name, *text;
	int status;
};

static const struct refusal_case refused[] = {
	{ "bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400 },
	{ "bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400 },
	{ "CR without LF", "GET / HTTP/1.1\rHost: a\r\n\r\n", 400 },
	{ "control byte", "GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", 400 },
	{ "folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400 },
	{ "folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400 },
	{ "blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400 },
	{ "no colon", "GET / HTTP/1.1\r\nHost\r\n\r\n", 400 },
	{ "empty name", "GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n", 400 },
	{ "no Host", "GET / HTTP/1.1\r\n\r\n", 400 },
	{ "two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400 },
	{ "no version", "GET /\r\nHost: a\r\n\r\n", 400 },
	{ "HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505 },
	{ "HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505 },
	{ "lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400 },
	{ "two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
	{ "blank in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
	{ "tab in the target", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
	{ "raw byte in the target", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
	{ "method of 33 letters", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
	{ "line folded with a tab", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", 400 },
	{ "odd method", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
	{ "only empty lines", "\r\n\r\n", 400 },
	{ "two Content-Lengths, different", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400 },
	{ "two Content-Lengths, same", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400 },
	{ "Content-Length list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400 },
	{ "Content-Length with sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400 },
	{ "negative Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400 },
	{ "hex Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x10\r\n\r\n", 400 },
	{ "huge Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400 },
	{ "empty Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400 },
	{ "length and coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "coding and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", 400 },
	{ "unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501 },
	{ "coding list", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400 },
	{ "chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "masked coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501 },
	{ "coding in 1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "other expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: coffee\r\nContent-Length: 1\r\n\r\n", 417 },
};

static void test_refused(void)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		int err = parse(HTTP_REQUEST, refused[i].text);

		ok(err == -EPROTO && why.status == refused[i].status, "refused with %d: %s (%d, %d)", refused[i].status,
		   refused[i].name, err, why.status);
	}
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 20x OK\r\n\r\n") == -EPROTO, "refused: status that is no number");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 999 OK\r\n\r\n") == -EPROTO, "refused: status 999");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 099 OK\r\n\r\n") == -EPROTO, "refused: status 99");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 2000K\r\n\r\n") == -EPROTO, "refused: status of four digits");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1+200 OK\r\n\r\n") == -EPROTO, "refused: no blank before the status");
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, "GET /\r\n\r\n", 9, NULL) == -EPROTO, "refused without anybody who wants to know why");
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 37, NULL) == -EPROTO, "a broken length, too");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1\r\n\r\n") == -EPROTO, "refused: no status");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n") == -EPROTO,
	   "refused: response with both lengths");
}

static void test_nul(void)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";

	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, text, sizeof(text) - 1, &why) == -EPROTO && why.status == 400, "refused: NUL in a field");
}

static void test_limits(void)
{
	static char big[HTTP_HEAD_MAX + 4096];
	size_t n;

	memset(big, 'a', sizeof(big));
	memcpy(big, "GET /", 5);
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, big, HTTP_HEAD_MAX - 1, &why) == -EAGAIN, "an unfinished head under the limit waits");
	ok(http_head_parse(&h, big, sizeof(big), &why) == -EPROTO && why.status == 431, "a head over 64 KiB is refused with 431");

	memcpy(big + 5 + HTTP_TARGET_MAX, " HTTP/1.1\r\nHost: a\r\n\r\n", 23);
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, big, 5 + HTTP_TARGET_MAX + 22, &why) == -EPROTO && why.status == 414, "a target over 60 KiB: 414");

	memset(big, 'a', sizeof(big));
	memcpy(big, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 28);
	memcpy(big + 28 + HTTP_FIELD_MAX, "\r\n\r\n", 4);
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, big, 32 + HTTP_FIELD_MAX, &why) == -EPROTO && why.status == 431, "a field over 16 KiB: 431");

	n = (size_t)snprintf(big, sizeof(big), "GET / HTTP/1.1\r\nHost: a\r\n");
	for (unsigned i = 0; i < HTTP_FIELDS_MAX; i++)
		n += (size_t)snprintf(big + n, sizeof(big) - n, "x: y\r\n");
	n += (size_t)snprintf(big + n, sizeof(big) - n, "\r\n");
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, big, n, &why) == -EPROTO && why.status == 431, "97 fields: 431");
}

static void test_good(void)
{
	static const char text[] = "POST /vm/a?x=1 HTTP/1.1\r\nHost: unix\r\nAuthorization: Bearer \r\ncontent-length:  12 \r\n"
				   "Connection: foo, Upgrade\r\nUpgrade: websocket\r\nExpect: 100-Continue\r\n\r\nbody";
	char v[8];
	int err = -EAGAIN;

	http_head_init(&h, HTTP_REQUEST);
	for (size_t n = 0; n < sizeof(text) - 5; n++)
		err = err == -EAGAIN ? http_head_parse(&h, text, n, &why) : err;
	ok(err == -EAGAIN, "byte by byte: waits until the empty line");
	ok(http_head_parse(&h, text, sizeof(text) - 1, &why) == 0, "then it is whole");
	ok(h.head_bytes == sizeof(text) - 5, "the body begins right after");
	ok(http_str_is(&h.method, "POST") && http_str_is(&h.target, "/vm/a?x=1"), "method and target");
	ok(h.body == HTTP_BODY_LENGTH && h.body_bytes == 12, "body length");
	ok(h.expect_continue && h.upgrade && h.keep_alive, "expect, upgrade, keep-alive");
	ok(http_head_field(&h, "authorization")->n == 6, "blanks around a value are cut");
	ok(http_head_copy(&h, "host", v, sizeof(v)) == 0 && strcmp(v, "unix") == 0, "copied value");
	ok(http_head_copy(&h, "host", v, 4) == -EMSGSIZE && http_head_copy(&h, "nope", v, 4) == -ENOENT, "copy refuses");
	ok(parse(HTTP_REQUEST, "\r\nGET / HTTP/1.0\r\n\r\n") == 0 && !h.keep_alive && h.body == HTTP_BODY_NONE,
	   "one empty line before is forgiven; 1.0 needs no Host and closes");
	ok(parse(HTTP_REQUEST, "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n") == 0 && !h.keep_alive, "close");
	ok(parse(HTTP_REQUEST, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n") == 0 && h.body == HTTP_BODY_CHUNKED,
	   "chunked");
}

static void test_responses(void)
{
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 200 OK\r\n\r\n") == 0 && h.body == HTTP_BODY_CLOSE && !h.keep_alive, "until close");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 204\r\n\r\n") == 0 && h.body == HTTP_BODY_NONE && h.reason.n == 0, "204 has no body");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n") == 0 && h.status == 404 &&
	   http_str_is(&h.reason, "Not Found") && h.body_bytes == 2, "404 with a length");
	http_head_init(&h, HTTP_RESPONSE);
	h.to_head = true;
	ok(http_head_parse(&h, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", 38, NULL) == 0 && h.body == HTTP_BODY_NONE,
	   "no body after HEAD");
}

static void test_odd_but_good(void)
{
	struct http_str none = { NULL, 0 };
	char v[4] = "xyz";

	ok(!http_str_is(&none, "") && !http_str_is_nocase(&none, "") && !http_list_has(&none, "a"), "what is absent is nothing");
	ok(parse(HTTP_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\nConnection: close,\r\nConnection: close\r\nConnection: upgrade\r\nConnection: upgrade\r\n\r\n") == 0 &&
	   !h.keep_alive && !h.upgrade, "said twice; an upgrade to nothing");
	ok(http_head_copy(&h, "Empty", v, sizeof(v)) == 0 && !v[0] && http_list_has(http_head_field(&h, "Connection"), ""), "empty values, empty list members");
	ok(parse(HTTP_REQUEST, "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n") == 0 && !h.expect_continue, "1.0 cannot wait for 100");
	ok(parse(HTTP_REQUEST, "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n") == 0 && !h.expect_continue, "nor a request without a body");
	ok(parse(HTTP_REQUEST, "GET / HTTP/1.1\r\nHost:\t a \t\r\n\r\n") == 0 && http_str_is(http_head_field(&h, "Host"), "a"), "tabs around a value");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n") == 0 && h.body == HTTP_BODY_NONE, "304 has no body");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 103 Early\r\n\r\n") == 0 && h.body == HTTP_BODY_NONE, "nor has 103");
	ok(parse(HTTP_RESPONSE, "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n") == 0 && h.body == HTTP_BODY_CHUNKED && h.reason.n == 0, "chunked answer");
	http_head_init(&h, HTTP_REQUEST);
	ok(http_head_parse(&h, "", 0, NULL) == -EAGAIN, "nothing yet");
	ok(!strcmp(http_reason(299), "Status"), "a status nobody knows");
}

static void test_writing(void)
{
	struct buf b;

	buf_init(&b, 4096);
	http_add_status(&b, 404);
	http_add_field(&b, "X", "a\r\nSet-Cookie: b");
	http_add_field_u64(&b, "Content-Length", 7);
	http_add_end(&b);
	ok(strcmp(buf_cstr(&b), "HTTP/1.1 404 Not Found\r\nX: aSet-Cookie: b\r\nContent-Length: 7\r\n\r\n") == 0,
	   "written head; a value cannot start a line");
	buf_clear(&b);
	http_add_request(&b, "GET", "/x", "unix");
	ok(strcmp(buf_cstr(&b), "GET /x HTTP/1.1\r\nHost: unix\r\n") == 0, "written request");
	buf_done(&b);
}

int main(void)
{
	test_refused();
	test_nul();
	test_limits();
	test_good();
	test_responses();
	test_odd_but_good();
	test_writing();
	return tap_done();
}
