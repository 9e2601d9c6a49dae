/* Requests counted by method and status, with durations: bounded, and in the format. */
#include <string.h>

#include "api/front/metrics.h"
#include "tests/unit/tap.h"

static struct counts c;

static bool has(struct buf *b, const char *line)
{
	const char *text = buf_cstr(b);

	return text && strstr(text, line) != NULL;
}

int main(void)
{
	struct buf b;

	counts_add(&c, "GET", 3, 200, 900000);
	counts_add(&c, "GET", 3, 200, 1000000);
	counts_add(&c, "GET", 3, 200, 7000000000ull);
	counts_add(&c, "GET", 3, 200, 400000000000ull);
	counts_add(&c, "GETS", 4, 405, 0);
	counts_add(&c, "", 0, 405, 0);
	ok(c.n == 2 && c.rows[0].n == 4 && c.rows[1].n == 2 && strcmp(c.rows[1].method, "other") == 0, "by method and code");
	buf_init(&b, 1u << 20);
	counts_put(&c, &b);
	ok(has(&b, "slicer_api_requests_total{method=\"GET\",code=\"200\"} 4\n"), "total");
	ok(has(&b, "_bucket{method=\"GET\",code=\"200\",le=\"0.001\"} 2\n") && has(&b, "_bucket{method=\"GET\",code=\"200\",le=\"5\"} 2\n") &&
	   has(&b, "_bucket{method=\"GET\",code=\"200\",le=\"10\"} 3\n") && has(&b, "_bucket{method=\"GET\",code=\"200\",le=\"300\"} 3\n") &&
	   has(&b, "_bucket{method=\"GET\",code=\"200\",le=\"+Inf\"} 4\n"), "cumulative buckets");
	ok(has(&b, "_sum{method=\"GET\",code=\"200\"} 407.001900\n") && has(&b, "_count{method=\"GET\",code=\"200\"} 4\n"), "sum and count");
	for (int i = 0; i < 1000; i++)
		counts_add(&c, "POST", 4, i, 1);
	ok(c.n == COUNT_ROWS_MAX && c.rows[COUNT_ROWS_MAX - 1].n > 800, "bounded");
	buf_clear(&b);
	label_put(&b, "k", "a\"b\\c\nd", 7);
	ok(strcmp(buf_cstr(&b), "k=\"a\\\"b\\\\c\\nd\"") == 0, "a label's escapes: %s", buf_cstr(&b));
	buf_done(&b);
	return tap_done();
}
