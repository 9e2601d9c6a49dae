/*
 * A whole connection with any bytes, as front reads it: heads, bodies by length or in chunks, the next head. However the stream is cut into
 * reads (whole, byte by byte, in two at every place) the same requests with the same bodies must come out, and the same end: a cut that
 * changes what is a request is what request smuggling lives on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lib/http/chunk.h"
#include "lib/http/http.h"

#define CUTS_MAX 512u
#define REQUESTS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct story {
	unsigned requests, ended; /* heads, and bodies that came to their end */
	int status;               /* of the refusal; 0 none */
	uint64_t body_bytes;
	uint32_t sum;             /* of methods, targets and bodies in order */
};
enum where { IN_HEAD, IN_LENGTH, IN_CHUNKS, OVER };
struct reader {
	struct story s;
	enum where where;
	struct http_head head;
	struct http_chunked chunked;
	uint64_t left;
	size_t at; /* bytes eaten */
};

static void note(struct reader *r, const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		r->s.sum = r->s.sum * 31 + b[i] + 1;
}

static void next(struct reader *r)
{
	r->s.ended++;
	r->where = r->head.keep_alive && r->s.requests < REQUESTS_MAX ? IN_HEAD : OVER;
	http_head_init(&r->head, HTTP_REQUEST);
}

/* true: goes on with what is there. */
static bool read_head(struct reader *r, const uint8_t *p, size_t n)
{
	struct http_refusal why = { 0 };
	int err = http_head_parse(&r->head, p + r->at, n - r->at, &why);

	if (err == -EAGAIN)
		return false;
	if (err) {
		if (why.status < 400 || why.status > 599 || !why.text)
			abort();
		r->s.status = why.status;
		r->where = OVER;
		return false;
	}
	r->s.requests++;
	note(r, r->head.method.p, r->head.method.n);
	note(r, r->head.target.p, r->head.target.n);
	r->at += r->head.head_bytes;
	r->left = r->head.body == HTTP_BODY_LENGTH ? r->head.body_bytes : 0;
	memset(&r->chunked, 0, sizeof(r->chunked));
	if (r->head.body == HTTP_BODY_CHUNKED)
		r->where = IN_CHUNKS;
	else if (r->left)
		r->where = IN_LENGTH;
	else
		next(r);
	return true;
}

static bool read_length(struct reader *r, const uint8_t *p, size_t n)
{
	size_t take = n - r->at < r->left ? n - r->at : (size_t)r->left;

	note(r, p + r->at, take);
	r->s.body_bytes += take;
	r->at += take;
	r->left -= take;
	if (r->left)
		return false;
	next(r);
	return true;
}

static bool read_chunks(struct reader *r, const uint8_t *p, size_t n)
{
	const uint8_t *data;
	size_t used, data_n;
	int got = http_chunked_step(&r->chunked, p + r->at, n - r->at, &used, &data, &data_n);

	if (got == -EPROTO) {
		r->s.status = 400;
		r->where = OVER;
		return false;
	}
	if (got == 1) {
		note(r, data, data_n);
		r->s.body_bytes += data_n;
	}
	r->at += used;
	if (got == 2)
		next(r);
	return got != 0;
}

/* p[0..n) has arrived by now. */
static void feed(struct reader *r, const uint8_t *p, size_t n)
{
	bool on = true;

	while (on && r->at <= n) {
		if (r->where == IN_HEAD)
			on = read_head(r, p, n);
		else if (r->where == IN_LENGTH)
			on = read_length(r, p, n);
		else if (r->where == IN_CHUNKS)
			on = read_chunks(r, p, n);
		else
			on = false;
	}
	if (r->at > n)
		abort();
}

static struct story read_cut(const uint8_t *p, size_t n, size_t cut, size_t step)
{
	static struct reader r;

	memset(&r, 0, sizeof(r));
	http_head_init(&r.head, HTTP_REQUEST);
	for (size_t at = cut; at < n; at += step)
		feed(&r, p, at);
	feed(&r, p, n);
	return r.s;
}

static void must_be_same(const struct story *a, const struct story *b)
{
	if (a->requests != b->requests || a->ended != b->ended || a->status != b->status || a->body_bytes != b->body_bytes || a->sum != b->sum)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct story whole = read_cut(p, n, n, 1), other;
	size_t step = n / CUTS_MAX + 1;

	for (size_t cut = 0; cut < n; cut += step) {
		other = read_cut(p, n, cut, n + 1);
		must_be_same(&whole, &other);
	}
	if (n <= 4 * CUTS_MAX) {
		other = read_cut(p, n, 0, 1);
		must_be_same(&whole, &other);
	}
	return 0;
}
