#include "api/front/metrics.h"

#include <inttypes.h>
#include <string.h>

static const struct { uint64_t us; const char *text; } bounds[COUNT_BOUNDS] = {
	{ 1000, "0.001" }, { 5000, "0.005" }, { 10000, "0.01" }, { 50000, "0.05" }, { 100000, "0.1" }, { 500000, "0.5" },
	{ 1000000, "1" }, { 5000000, "5" }, { 10000000, "10" }, { 60000000, "60" }, { 300000000, "300" },
};

static const char *known_method(const char *p, size_t n)
{
	static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" };

	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (strlen(methods[i]) == n && memcmp(methods[i], p, n) == 0)
			return methods[i];
	return "other";
}

void counts_add(struct counts *c, const char *method, size_t method_n, int code, uint64_t ns)
{
	const char *name = known_method(method, method_n);
	uint64_t us = ns / 1000;
	unsigned i = 0, b = 0;

	while (i < c->n && (c->rows[i].method != name || c->rows[i].code != code))
		i++;
	if (i == COUNT_ROWS_MAX)
		i--;
	if (i == c->n)
		c->rows[c->n++] = (struct count_row){ .method = name, .code = code };
	c->rows[i].n++;
	c->rows[i].us += us;
	while (b < COUNT_BOUNDS && us > bounds[b].us)
		b++;
	if (b < COUNT_BOUNDS)
		c->rows[i].within[b]++;
}

void label_put(struct buf *out, const char *key, const void *value, size_t n)
{
	const char *p = value;

	buf_printf(out, "%s=\"", key);
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n')
			buf_adds(out, "\\n");
		else if (p[i] == '"' || p[i] == '\\')
			buf_printf(out, "\\%c", p[i]);
		else
			buf_add(out, &p[i], 1);
	}
	buf_adds(out, "\"");
}

void family_put(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

#define TOTAL "slicer_api_requests_total"
#define DURATION "slicer_api_request_duration_seconds"

static void put_histogram(const struct count_row *r, struct buf *out)
{
	uint64_t sum = 0;

	for (unsigned b = 0; b < COUNT_BOUNDS; b++) {
		sum += r->within[b];
		buf_printf(out, DURATION "_bucket{method=\"%s\",code=\"%d\",le=\"%s\"} %" PRIu64 "\n", r->method, r->code, bounds[b].text, sum);
	}
	buf_printf(out, DURATION "_bucket{method=\"%s\",code=\"%d\",le=\"+Inf\"} %" PRIu64 "\n", r->method, r->code, r->n);
	buf_printf(out, DURATION "_sum{method=\"%s\",code=\"%d\"} %" PRIu64 ".%06" PRIu64 "\n", r->method, r->code, r->us / 1000000, r->us % 1000000);
	buf_printf(out, DURATION "_count{method=\"%s\",code=\"%d\"} %" PRIu64 "\n", r->method, r->code, r->n);
}

void counts_put(const struct counts *c, struct buf *out)
{
	family_put(out, TOTAL, "counter", "Requests that were answered.");
	for (unsigned i = 0; i < c->n; i++)
		buf_printf(out, TOTAL "{method=\"%s\",code=\"%d\"} %" PRIu64 "\n", c->rows[i].method, c->rows[i].code, c->rows[i].n);
	family_put(out, DURATION, "histogram", "From the head of a request to the end of its answer; streams count in full.");
	for (unsigned i = 0; i < c->n; i++)
		put_histogram(&c->rows[i], out);
}
