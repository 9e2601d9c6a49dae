#include "lib/base/base.h"

#include <errno.h>
#include <string.h>

int parse_u64(const char *s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (mul_overflows_u64(v, 10, &v) || add_overflows_u64(v, (uint64_t)(*s - '0'), &v) || v > max)
			return -ERANGE;
	}
	*out = v;
	return 0;
}

int parse_size(const char *s, uint64_t *out_bytes)
{
	size_t n = strnlen(s, 32);
	unsigned shift = 0;
	char digits[32];
	if (n == 0 || n >= sizeof digits)
		return -EINVAL;
	switch (s[n - 1]) {
	case 'K': case 'k': shift = 10; break;
	case 'M': case 'm': shift = 20; break;
	case 'G': case 'g': shift = 30; break;
	case 'T': case 't': shift = 40; break;
	}
	memcpy(digits, s, n);
	digits[shift ? n - 1 : n] = '\0';
	uint64_t v;
	int err = parse_u64(digits, UINT64_MAX, &v);
	if (err)
		return err;
	if (mul_overflows_u64(v, 1ull << shift, &v))
		return -ERANGE;
	*out_bytes = v;
	return 0;
}

/* One "<decimal><unit>" of a Go duration; values are kept in ns while summing. */
static int duration_part(const char **sp, uint64_t *ns)
{
	static const struct { const char *name; uint64_t ns; } units[] = {
		{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000ull}, {"m", 60000000000ull}, {"h", 3600000000000ull},
	};
	const char *s = *sp;
	uint64_t whole = 0, frac = 0, scale = 1;
	bool any = false;
	for (; *s >= '0' && *s <= '9'; s++, any = true)
		if (mul_overflows_u64(whole, 10, &whole) || add_overflows_u64(whole, (uint64_t)(*s - '0'), &whole))
			return -ERANGE;
	if (*s == '.')
		for (s++; *s >= '0' && *s <= '9'; s++, any = true)
			if (scale < 1000000) {
				frac = frac * 10 + (uint64_t)(*s - '0');
				scale *= 10;
			}
	if (!any)
		return -EINVAL;
	size_t len = 0;
	while (s[len] >= 'a' && s[len] <= 'z')
		len++;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strlen(units[i].name) != len || memcmp(units[i].name, s, len) != 0)
			continue;
		uint64_t part;
		if (mul_overflows_u64(whole, units[i].ns, &part) || add_overflows_u64(part, frac * (units[i].ns / scale), &part) ||
		    add_overflows_u64(*ns, part, ns))
			return -ERANGE;
		*sp = s + len;
		return 0;
	}
	return -EINVAL;
}

int parse_duration_ms(const char *s, uint64_t *out_ms)
{
	uint64_t ns = 0;
	if (strcmp(s, "0") == 0) {
		*out_ms = 0;
		return 0;
	}
	if (!*s || strnlen(s, 65) > 64)
		return -EINVAL;
	while (*s) {
		int err = duration_part(&s, &ns);
		if (err)
			return err;
	}
	*out_ms = ns / 1000000;
	return 0;
}

unsigned edit_distance(const char *a, const char *b)
{
	enum { MAX = 63 };
	size_t na = strnlen(a, MAX), nb = strnlen(b, MAX);
	unsigned row[MAX + 1];
	for (size_t j = 0; j <= nb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned swap = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			unsigned best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
			row[j] = swap < best ? swap : best;
		}
	}
	return row[nb];
}
