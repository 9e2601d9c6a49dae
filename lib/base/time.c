#include "lib/base/base.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

uint64_t now_mono_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t now_mono_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

uint64_t now_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

void rfc3339_format(uint64_t real_ns, char out[RFC3339_MAX])
{
	time_t s = (time_t)(real_ns / 1000000000ull);
	struct tm tm;
	gmtime_r(&s, &tm);
	size_t n = strftime(out, RFC3339_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, RFC3339_MAX - n, ".%09uZ", (unsigned)(real_ns % 1000000000ull));
}

/* n digits from *s. -1: there are others. */
static int take_digits(const char **s, int n)
{
	int v = 0;
	for (; n; n--, (*s)++) {
		if (**s < '0' || **s > '9')
			return -1;
		v = v * 10 + (**s - '0');
	}
	return v;
}

/* One number of two digits from min to max, and the character behind it ('\0': any). */
static bool take_pair(const char **s, int min, int max, char then, int *out)
{
	*out = take_digits(s, 2);
	if (*out < min || *out > max || (then && **s != then))
		return false;
	*s += then != '\0';
	return true;
}

static bool take_fraction(const char **s, uint64_t *ns)
{
	uint64_t unit = 100000000;
	*ns = 0;
	if (**s != '.')
		return true;
	const char *from = ++*s;
	for (; **s >= '0' && **s <= '9' && unit; (*s)++, unit /= 10)
		*ns += (uint64_t)(**s - '0') * unit;
	return *s > from;
}

static bool take_zone(const char **s, int64_t *seconds)
{
	int h, m, sign = **s == '-' ? -1 : 1;
	*seconds = 0;
	if (**s == 'Z' || **s == 'z') {
		(*s)++;
		return true;
	}
	if (*(*s)++ != '+' && sign > 0)
		return false;
	if (!take_pair(s, 0, 23, ':', &h) || !take_pair(s, 0, 59, '\0', &m))
		return false;
	*seconds = sign * (h * 3600 + m * 60);
	return true;
}

int rfc3339_parse(const char *s, uint64_t *real_ns)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	struct tm tm = { 0 };
	uint64_t ns;
	int64_t zone;
	int year = take_digits(&s, 4);
	if (year < 1970 || year > 2500 || *s++ != '-' || !take_pair(&s, 1, 12, '-', &tm.tm_mon) || !take_pair(&s, 1, 31, '\0', &tm.tm_mday))
		return -EINVAL;
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	if (tm.tm_mday > days[tm.tm_mon - 1] + (tm.tm_mon == 2 && leap) || (*s != 'T' && *s != 't' && *s != ' '))
		return -EINVAL;
	s++;
	if (!take_pair(&s, 0, 23, ':', &tm.tm_hour) || !take_pair(&s, 0, 59, ':', &tm.tm_min) || !take_pair(&s, 0, 60, '\0', &tm.tm_sec) ||
	    !take_fraction(&s, &ns) || !take_zone(&s, &zone) || *s)
		return -EINVAL;
	tm.tm_year = year - 1900;
	tm.tm_mon--;
	int64_t at = (int64_t)timegm(&tm) - zone;
	if (at < 0)
		return -EINVAL;
	*real_ns = (uint64_t)at * 1000000000u + ns;
	return 0;
}
