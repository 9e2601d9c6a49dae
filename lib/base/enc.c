#include "lib/base/base.h"

#include <errno.h>

static const char b64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char b64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t b64_encode_with(const char *set, bool pad, const uint8_t *s, size_t n, char *out)
{
	char *o = out;
	for (; n >= 3; n -= 3, s += 3) {
		*o++ = set[s[0] >> 2];
		*o++ = set[(s[0] & 3) << 4 | s[1] >> 4];
		*o++ = set[(s[1] & 15) << 2 | s[2] >> 6];
		*o++ = set[s[2] & 63];
	}
	if (n) {
		uint8_t second = n == 2 ? s[1] : 0;
		*o++ = set[s[0] >> 2];
		*o++ = set[(s[0] & 3) << 4 | second >> 4];
		if (n == 2)
			*o++ = set[(second & 15) << 2];
		for (size_t i = n; pad && i < 3; i++)
			*o++ = '=';
	}
	*o = '\0';
	return (size_t)(o - out);
}

size_t base64_encode(const void *src, size_t n, char *out)
{
	return b64_encode_with(b64_std, true, src, n, out);
}

size_t base64url_encode(const void *src, size_t n, char *out)
{
	return b64_encode_with(b64_url, false, src, n, out);
}

static int b64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* All groups but the last, which alone may be padded: a command's output comes through here, so by table. */
static const char *decode_groups(const char *src, size_t n, uint8_t **out)
{
	int8_t value[256];
	for (int c = 0; c < 256; c++)
		value[c] = (int8_t)b64_value((char)c);
	const uint8_t *s = (const uint8_t *)src, *end = s + n;
	uint8_t *o = *out;
	for (; s < end; s += 4, o += 3) {
		int a = value[s[0]], b = value[s[1]], c = value[s[2]], d = value[s[3]];
		if ((a | b | c | d) < 0)
			return NULL;
		o[0] = (uint8_t)(a << 2 | b >> 4);
		o[1] = (uint8_t)(b << 4 | c >> 2);
		o[2] = (uint8_t)(c << 6 | d);
	}
	*out = o;
	return (const char *)end;
}

#define TABLE_FROM_BYTES 1024u

ssize_t base64_decode(const char *src, size_t n, void *out)
{
	uint8_t *o = out;
	if (n % 4)
		return -EINVAL;
	if (n > TABLE_FROM_BYTES) {
		const char *rest = decode_groups(src, n - 4, &o);
		if (!rest)
			return -EINVAL;
		src = rest;
		n = 4;
	}
	for (size_t i = 0; i < n; i += 4) {
		bool last = i + 4 == n;
		int pad = last ? (src[i + 3] == '=') + (src[i + 3] == '=' && src[i + 2] == '=') : 0;
		int v[4] = {0, 0, 0, 0};
		for (int k = 0; k < 4 - pad; k++)
			if ((v[k] = b64_value(src[i + (size_t)k])) < 0)
				return -EINVAL;
		/* Bits that no byte takes must be zero, or two texts would mean one value. */
		if ((pad == 2 && (v[1] & 15)) || (pad == 1 && (v[2] & 3)))
			return -EINVAL;
		*o++ = (uint8_t)(v[0] << 2 | v[1] >> 4);
		if (pad < 2)
			*o++ = (uint8_t)(v[1] << 4 | v[2] >> 2);
		if (pad < 1)
			*o++ = (uint8_t)(v[2] << 6 | v[3]);
	}
	return o - (uint8_t *)out;
}

void hex_encode(const void *src, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *s = src;
	for (size_t i = 0; i < n; i++) {
		*out++ = digits[s[i] >> 4];
		*out++ = digits[s[i] & 15];
	}
	*out = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int hex_decode(const char *src, void *out, size_t n)
{
	uint8_t *o = out;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_value(src[2 * i]);
		int lo = hi < 0 ? -1 : hex_value(src[2 * i + 1]);
		if (lo < 0)
			return -EINVAL;
		o[i] = (uint8_t)(hi << 4 | lo);
	}
	return src[2 * n] ? -EINVAL : 0;
}

bool equal_consttime(const void *a, const void *b, size_t n)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t diff = 0;
	for (size_t i = 0; i < n; i++)
		diff |= (uint8_t)(x[i] ^ y[i]);
	return diff == 0;
}
