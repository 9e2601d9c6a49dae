/* TAP for unit tests: ok(cond, "what"); finish with return tap_done(); */
#ifndef TESTS_UNIT_TAP_H
#define TESTS_UNIT_TAP_H

#include <stdio.h>

static int tap_count, tap_failed;

#define ok(cond, ...) \
	do { \
		int tap_ok_ = !!(cond); \
		tap_count++; \
		tap_failed += !tap_ok_; \
		printf("%sok %d - ", tap_ok_ ? "" : "not ", tap_count); \
		printf(__VA_ARGS__); \
		printf("\n"); \
		if (!tap_ok_) \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond); \
	} while (0)

static inline int tap_done(void)
{
	printf("1..%d\n", tap_count);
	fflush(stdout);
	return tap_failed ? 1 : 0;
}

#endif
