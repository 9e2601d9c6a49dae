#include "lib/base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fault_set(struct fault *f, int err, const char *fmt, ...)
{
	if (!f)
		return err;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof f->text, fmt, ap);
	va_end(ap);
	return err;
}

int fault_wrap(struct fault *f, int err, const char *fmt, ...)
{
	if (!f)
		return err;
	char head[256], tail[sizeof f->text];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(head, sizeof head, fmt, ap);
	va_end(ap);
	memcpy(tail, f->text, sizeof tail);
	/* A cut sentence is better than none: the head names the place, so the tail is what gives way. */
	int room = (int)(sizeof f->text - strlen(head) - sizeof ": ");
	if (tail[0])
		snprintf(f->text, sizeof f->text, "%s: %.*s", head, room, tail);
	else
		snprintf(f->text, sizeof f->text, "%s", head);
	return err;
}

int fault_errno(struct fault *f, int err, const char *what)
{
	return fault_set(f, err, "%s: %s", what, strerror(err < 0 ? -err : err));
}

bool name_is_valid(const char *s, size_t max)
{
	size_t n = strnlen(s, max + 1);
	if (n == 0 || n > max || s[0] == '-' || s[n - 1] == '-')
		return false;
	for (size_t i = 0; i < n; i++) {
		bool good = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '-';
		if (!good)
			return false;
	}
	return true;
}

/* Length of the UTF-8 sequence at p (n > 0 bytes there), 0 when it is not one. Unicode 15 table 3-7. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
	if (p[0] < 0x80)
		return 1;
	size_t len = p[0] >= 0xC2 && p[0] <= 0xDF ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4 : 0;
	if (len == 0 || len > n)
		return 0;
	uint8_t low = 0x80, high = 0xBF;
	if (p[0] == 0xE0)
		low = 0xA0;
	else if (p[0] == 0xED)
		high = 0x9F;
	else if (p[0] == 0xF0)
		low = 0x90;
	else if (p[0] == 0xF4)
		high = 0x8F;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	return len;
}

bool utf8_is_valid(const void *p, size_t len)
{
	const uint8_t *b = p;
	while (len) {
		uint64_t eight;
		for (; len >= 8; b += 8, len -= 8) { /* ASCII, mostly */
			memcpy(&eight, b, 8);
			if (eight & UINT64_C(0x8080808080808080))
				break;
		}
		if (!len)
			break;
		size_t n = utf8_sequence(b, len);
		if (n == 0)
			return false;
		b += n;
		len -= n;
	}
	return true;
}
