/* Heads with any bytes: the split of the input into pieces must not change the verdict, and views must stay inside. First
 * byte: odd means response. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lib/http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check_inside(const struct http_str *s, const uint8_t *p, size_t n)
{
	if (s->p && s->n && ((const uint8_t *)s->p < p || (const uint8_t *)s->p + s->n > p + n))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct http_head whole, pieces;
	struct http_refusal why_whole = { 0 }, why_pieces = { 0 };
	int a, b = -EAGAIN;

	if (n == 0)
		return 0;
	http_head_init(&whole, p[0] & 1 ? HTTP_RESPONSE : HTTP_REQUEST);
	http_head_init(&pieces, whole.kind);
	p++;
	n--;
	a = http_head_parse(&whole, p, n, &why_whole);
	for (size_t at = 0; at <= n && b == -EAGAIN; at += at < 64 ? 1 : n / 16 + 1)
		b = http_head_parse(&pieces, p, at, &why_pieces);
	if (b == -EAGAIN)
		b = http_head_parse(&pieces, p, n, &why_pieces);
	/* a later byte may break a head whose prefix was whole, never the other way round */
	if (a != b || why_whole.status != why_pieces.status)
		abort();
	if (a)
		return 0;
	if (whole.head_bytes > n || whole.head_bytes != pieces.head_bytes)
		abort();
	check_inside(&whole.method, p, n);
	check_inside(&whole.target, p, n);
	check_inside(&whole.reason, p, n);
	for (unsigned i = 0; i < whole.n_fields; i++) {
		check_inside(&whole.fields[i].name, p, n);
		check_inside(&whole.fields[i].value, p, n);
		if (!http_head_field(&whole, "Host") && whole.kind == HTTP_REQUEST && whole.minor > 0)
			abort();
	}
	return 0;
}
