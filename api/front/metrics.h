/*
 * What front counts of its requests, for GET /metrics: by method and status, with a histogram of their durations. Bounded: methods
 * outside the API are "other", rows beyond the last are counted with it. Part of front.h's room; one thread.
 */
#ifndef API_FRONT_METRICS_H
#define API_FRONT_METRICS_H

#include "lib/base/buf.h"

#define COUNT_ROWS_MAX 192u
#define COUNT_BOUNDS 11u

struct count_row {
	const char *method;            /* static */
	int code;
	uint64_t n, us;                /* requests, and what they took together in microseconds */
	uint64_t within[COUNT_BOUNDS]; /* not cumulative: those that ended in this bucket */
};
struct counts {
	struct count_row rows[COUNT_ROWS_MAX];
	unsigned n;
};

void counts_add(struct counts *c, const char *method, size_t method_n, int code, uint64_t ns);
/* The families slicer_api_requests_total and slicer_api_request_duration_seconds as text. */
void counts_put(const struct counts *c, struct buf *out);
/* One sample line's beginning of a label: `key="value"`, with the escapes of the format. */
void label_put(struct buf *out, const char *key, const void *value, size_t n);
void family_put(struct buf *out, const char *name, const char *type, const char *help);

#endif
