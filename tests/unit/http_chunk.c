/* lib/http chunked coding: refusals first, then every split of a good body. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lib/http/chunk.h"
#include "tests/unit/tap.h"

/* Feeds text in pieces; the body goes to out. Last result of the decoder. */
static int decode(const char *text, size_t n, size_t piece, char *out, size_t cap, size_t *left)
{
	struct http_chunked c = { 0 };
	size_t at = 0, len = 0;
	int r = 0;

	while (at < n && r >= 0 && r != 2) {
		size_t take = n - at < piece ? n - at : piece, from = 0;

		do {
			const uint8_t *data;
			size_t data_n, used;

			r = http_chunked_step(&c, (const uint8_t *)text + at + from, take - from, &used, &data, &data_n);
			from += used;
			if (r == 1 && len + data_n < cap) {
				memcpy(out + len, data, data_n);
				len += data_n;
			}
		} while (r == 1);
		at += from;
	}
	out[len] = '\0';
	if (left)
		*left = n - at;
	return r;
}

static void refused(const char *text, const char *name)
{
	char out[64];

	ok(decode(text, strlen(text), 1000, out, sizeof(out), NULL) == -EPROTO, "refused: %s", name);
	ok(decode(text, strlen(text), 1, out, sizeof(out), NULL) == -EPROTO, "refused byte by byte: %s", name);
}

static void test_refused(void)
{
	static char big[400];

	refused("g\r\n", "no hex digit");
	refused("\r\n", "no size");
	refused(";x\r\n", "extension without a size");
	refused("-1\r\n", "negative size");
	refused("0x5\r\nhello\r\n", "0x");
	refused("5 \r\nhello\r\n", "blank after the size");
	refused("5\nhello\r\n", "bare LF after the size");
	refused("5\rhello\r\n", "CR without LF");
	refused("5\r\nhelloX\r\n", "data longer than its size");
	refused("5\r\nhello\n0\r\n\r\n", "bare LF after the data");
	refused("fffffffffffffffff\r\n", "size that overflows");
	refused("1000000000000000\r\n", "size of 16 digits");
	refused("5;a=\x01\r\n", "control byte in an extension");
	refused("0\r\n\rX", "broken end");
	refused("5;a=\x7f\r\n", "DEL in an extension");
	refused("0\r\nX\x7f: y\r\n\r\n", "DEL in a trailer");
	refused("0\r\n\tx: y\r\n\r\n", "trailer folded with a tab");
	refused("0\r\n: y\r\n\r\n", "trailer without a name");
	refused("0\r\n x: y\r\n\r\n", "folded trailer");
	refused("0\r\nX: y\n\r\n", "bare LF in a trailer");
	memset(big, 'a', sizeof(big) - 1);
	memcpy(big, "5;", 2);
	refused(big, "extension over 256 bytes");
}

static void test_trailer_limit(void)
{
	char *big = malloc(HTTP_CHUNK_TRAILER_MAX + 100), out[8];

	if (!big)
		return;
	memset(big, 'a', HTTP_CHUNK_TRAILER_MAX + 100);
	memcpy(big, "0\r\n", 3);
	ok(decode(big, HTTP_CHUNK_TRAILER_MAX + 100, 512, out, sizeof(out), NULL) == -EPROTO, "refused: endless trailer");
	free(big);
}

static void test_good(void)
{
	static const char text[] = "5\r\nhello\r\n1;ext=\"v\t\"\r\n \r\n00A\r\nworld56789\r\n0\r\nTrailer: x\t\r\nOther: y\r\n\r\nGET";
	char out[64];
	size_t left, bad = 0;

	for (size_t piece = 1; piece < sizeof(text); piece++) {
		int r = decode(text, sizeof(text) - 1, piece, out, sizeof(out), &left);

		/* what follows the body is not eaten */
		bad += r != 2 || strcmp(out, "hello world56789") != 0 || left != 3;
	}
	ok(bad == 0, "a body in pieces of every size; the next request is left alone");
	ok(decode("5\r\nhel", 6, 100, out, sizeof(out), NULL) == 0 && strcmp(out, "hel") == 0, "half a chunk waits");
}

static void test_encode(void)
{
	struct buf b;

	buf_init(&b, 100);
	http_chunk_add(&b, "x", 0);
	http_chunk_add(&b, "0123456789abcdef", 16);
	http_chunk_end(&b);
	ok(strcmp(buf_cstr(&b), "10\r\n0123456789abcdef\r\n0\r\n\r\n") == 0, "encoded; an empty piece writes nothing");
	buf_done(&b);
}

int main(void)
{
	test_refused();
	test_trailer_limit();
	test_good();
	test_encode();
	return tap_done();
}
