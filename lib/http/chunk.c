/* Chunked coding: one small state machine, a byte at a time but for the data itself. */
#include <errno.h>
#include "lib/http/chunk.h"

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The first size byte must be a digit; 15 digits keep the size below 2^60. */
static int on_size(struct http_chunked *c, uint8_t b)
{
	int v = hex_value(b);

	if (v >= 0) {
		if (++c->digits > 15)
			return -EPROTO;
		c->left = c->left * 16 + (uint64_t)v;
		return 0;
	}
	if (c->digits == 0)
		return -EPROTO;
	if (b == '\r')
		c->state = HTTP_CHUNK_SIZE_LF;
	else if (b == ';')
		c->state = HTTP_CHUNK_EXT;
	else
		return -EPROTO; /* blanks before ';' too: some parsers read them as part of the number */
	return 0;
}

static int on_ext(struct http_chunked *c, uint8_t b)
{
	if (b == '\r')
		c->state = HTTP_CHUNK_SIZE_LF;
	else if ((b < 0x20 && b != '\t') || b == 0x7f)
		return -EPROTO;
	return 0;
}

static int on_size_lf(struct http_chunked *c, uint8_t b)
{
	if (b != '\n')
		return -EPROTO;
	c->last = c->left == 0;
	c->state = c->last ? HTTP_CHUNK_TRAILER : HTTP_CHUNK_DATA;
	return 0;
}

static int on_data_end(struct http_chunked *c, uint8_t b)
{
	if (c->state == HTTP_CHUNK_DATA_CR) {
		c->state = HTTP_CHUNK_DATA_LF;
		return b == '\r' ? 0 : -EPROTO;
	}
	c->state = HTTP_CHUNK_SIZE;
	c->digits = 0;
	c->line_bytes = 0;
	return b == '\n' ? 0 : -EPROTO;
}

static int on_trailer(struct http_chunked *c, uint8_t b)
{
	if (++c->trailer_bytes > HTTP_CHUNK_TRAILER_MAX)
		return -EPROTO;
	if (c->state == HTTP_CHUNK_TRAILER_LF) {
		if (b != '\n')
			return -EPROTO;
		c->state = c->trailer_line_bytes ? HTTP_CHUNK_TRAILER : HTTP_CHUNK_DONE;
		c->trailer_line_bytes = 0;
		return 0;
	}
	if (b == '\r') {
		c->state = HTTP_CHUNK_TRAILER_LF;
		return 0;
	}
	if ((b < 0x20 && b != '\t') || b == 0x7f || (c->trailer_line_bytes == 0 && (b == ' ' || b == '\t' || b == ':')))
		return -EPROTO;
	c->trailer_line_bytes++;
	return 0;
}

static int on_byte(struct http_chunked *c, uint8_t b)
{
	switch (c->state) {
	case HTTP_CHUNK_SIZE:
	case HTTP_CHUNK_EXT:
		if (++c->line_bytes > HTTP_CHUNK_LINE_MAX)
			return -EPROTO;
		return c->state == HTTP_CHUNK_SIZE ? on_size(c, b) : on_ext(c, b);
	case HTTP_CHUNK_SIZE_LF:
		return on_size_lf(c, b);
	case HTTP_CHUNK_DATA_CR:
	case HTTP_CHUNK_DATA_LF:
		return on_data_end(c, b);
	case HTTP_CHUNK_TRAILER:
	case HTTP_CHUNK_TRAILER_LF:
		return on_trailer(c, b);
	case HTTP_CHUNK_DATA:
	case HTTP_CHUNK_DONE:
		break;
	}
	return -EPROTO;
}

int http_chunked_step(struct http_chunked *c, const uint8_t *p, size_t n, size_t *used,
		      const uint8_t **data, size_t *data_n)
{
	size_t at = 0;

	*used = 0;
	while (c->state != HTTP_CHUNK_DONE && at < n) {
		if (c->state == HTTP_CHUNK_DATA) {
			size_t take = n - at < c->left ? n - at : (size_t)c->left;

			*data = p + at;
			*data_n = take;
			*used = at + take;
			c->left -= take;
			if (c->left == 0)
				c->state = HTTP_CHUNK_DATA_CR;
			return 1;
		}
		if (on_byte(c, p[at]))
			return -EPROTO;
		at++;
	}
	*used = at;
	return c->state == HTTP_CHUNK_DONE ? 2 : 0;
}

void http_chunk_add(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	buf_printf(b, "%zx\r\n", n);
	buf_add(b, p, n);
	buf_add(b, "\r\n", 2);
}

void http_chunk_end(struct buf *b)
{
	buf_add(b, "0\r\n\r\n", 5);
}
