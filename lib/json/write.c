#include "lib/json/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void json_out_init(struct json_out *o, struct buf *b)
{
	*o = (struct json_out){ .b = b };
}

/* Length of the valid UTF-8 character at p (no ASCII), 0 when there is none. */
static size_t utf8_char(const uint8_t *p, size_t n)
{
	size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	return len <= n && utf8_is_valid(p, len) ? len : 0;
}

/* The escape of a byte that cannot stand in a string as it is. */
static void put_escape(struct buf *b, uint8_t c)
{
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt", hex[] = "0123456789abcdef";
	const char *at = c ? strchr(from, c) : NULL;
	char text[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

	if (at)
		text[1] = to[at - from];
	buf_add(b, text, at ? 2 : 6);
}

/* Most bytes of most texts are plain ASCII: they take the short way (command output passes here by the gigabyte). */
static void put_quoted(struct buf *b, const void *s, size_t n)
{
	const uint8_t *p = s;
	size_t run = 0; /* bytes before p + run that can be copied as they are */
	buf_add(b, "\"", 1);
	while (run < n) {
		uint8_t c = p[run];
		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			run++;
			continue;
		}
		size_t len = c < 0x80 ? 0 : utf8_char(p + run, n - run);
		if (len) {
			run += len;
			continue;
		}
		buf_add(b, p, run);
		if (c < 0x80)
			put_escape(b, c);
		else
			buf_adds(b, "\xef\xbf\xbd");
		p += run + 1;
		n -= run + 1;
		run = 0;
	}
	buf_add(b, p, run);
	buf_add(b, "\"", 1);
}

/* Comma and name before a value. */
static void before(struct json_out *o, const char *key)
{
	uint64_t bit = UINT64_C(1) << (o->depth & 63);
	if (o->depth && (o->some & bit))
		buf_add(o->b, ",", 1);
	o->some |= bit;
	if (o->depth && (o->object & bit)) {
		put_quoted(o->b, key ? key : "", key ? strlen(key) : 0);
		buf_add(o->b, ":", 1);
	}
}

static void begin(struct json_out *o, const char *key, bool object)
{
	before(o, key);
	buf_add(o->b, object ? "{" : "[", 1);
	if (o->depth + 1 >= JSON_DEPTH_MAX) {
		o->b->failed = true;
		return;
	}
	o->depth++;
	uint64_t bit = UINT64_C(1) << o->depth;
	o->some &= ~bit;
	o->object = object ? o->object | bit : o->object & ~bit;
}

void json_obj(struct json_out *o, const char *key)
{
	begin(o, key, true);
}

void json_arr(struct json_out *o, const char *key)
{
	begin(o, key, false);
}

void json_end(struct json_out *o)
{
	if (!o->depth) {
		o->b->failed = true;
		return;
	}
	buf_add(o->b, o->object >> o->depth & 1 ? "}" : "]", 1);
	o->depth--;
}

void json_put_strn(struct json_out *o, const char *key, const void *s, size_t n)
{
	before(o, key);
	put_quoted(o->b, s, n);
}

void json_put_str(struct json_out *o, const char *key, const char *s)
{
	if (s)
		json_put_strn(o, key, s, strlen(s));
	else
		json_put_null(o, key);
}

void json_put_i64(struct json_out *o, const char *key, int64_t v)
{
	before(o, key);
	buf_printf(o->b, "%lld", (long long)v);
}

void json_put_u64(struct json_out *o, const char *key, uint64_t v)
{
	before(o, key);
	buf_printf(o->b, "%llu", (unsigned long long)v);
}

void json_put_real(struct json_out *o, const char *key, double v)
{
	if (!isfinite(v)) {
		json_put_null(o, key);
		return;
	}
	before(o, key);
	/* The shortest of two forms that reads back as the same number. */
	char t[40];
	snprintf(t, sizeof(t), "%.15g", v);
	double back = strtod(t, NULL);
	if (back < v || back > v)
		snprintf(t, sizeof(t), "%.17g", v);
	buf_adds(o->b, t);
}

void json_put_bool(struct json_out *o, const char *key, bool v)
{
	before(o, key);
	buf_adds(o->b, v ? "true" : "false");
}

void json_put_null(struct json_out *o, const char *key)
{
	before(o, key);
	buf_adds(o->b, "null");
}

void json_put_base64(struct json_out *o, const char *key, const void *p, size_t n)
{
	before(o, key);
	buf_add(o->b, "\"", 1);
	char *room = (char *)buf_room(o->b, BASE64_LEN(n) + 1);
	if (room)
		buf_grew(o->b, base64_encode(p, n, room));
	buf_add(o->b, "\"", 1);
}
