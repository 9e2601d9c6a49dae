#include "lib/base/base.h"

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
