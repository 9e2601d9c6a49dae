/* What RFC 8878 packs its numbers with: finite state entropy and Huffman; and the checksum of a frame. */
#include "lib/arc/zstd_priv.h"

enum { WEIGHTS_MAX = 256, WEIGHTS_LOG_MAX = 6 };

bool back_begin(struct back *b, const uint8_t *p, size_t n)
{
	if (n == 0 || p[n - 1] == 0)
		return false;
	b->p = p;
	b->left = (int64_t)(8 * (n - 1) + high_bit(p[n - 1]));
	return true;
}

/* ---- checksum ---- */

#define P1 0x9e3779b185ebca87ull
#define P2 0xc2b2ae3d27d4eb4full
#define P3 0x165667b19e3779f9ull
#define P4 0x85ebca77c2b2ae63ull
#define P5 0x27d4eb2f165667c5ull

static uint64_t rol(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static uint64_t xxh_round(uint64_t acc, uint64_t v)
{
	return rol(acc + v * P2, 31) * P1;
}

void xxh_begin(struct xxh *x)
{
	*x = (struct xxh){ .acc = { P1 + P2, P2, 0, 0 - P1 } };
}

static void xxh_stripe(struct xxh *x, const uint8_t *p)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t v;

		memcpy(&v, p + 8 * i, 8);
		x->acc[i] = xxh_round(x->acc[i], v);
	}
}

void xxh_more(struct xxh *x, const uint8_t *p, size_t n)
{
	size_t have = x->total % 32;

	x->total += n;
	if (have) {
		size_t part = n < 32 - have ? n : 32 - have;

		memcpy(x->rest + have, p, part);
		p += part;
		n -= part;
		if (have + part < 32)
			return;
		xxh_stripe(x, x->rest);
	}
	for (; n >= 32; n -= 32, p += 32)
		xxh_stripe(x, p);
	memcpy(x->rest, p, n);
}

uint64_t xxh_end(const struct xxh *x)
{
	uint64_t h = P5;
	const uint8_t *p = x->rest;
	size_t n = x->total % 32;

	if (x->total >= 32) {
		h = rol(x->acc[0], 1) + rol(x->acc[1], 7) + rol(x->acc[2], 12) + rol(x->acc[3], 18);
		for (unsigned i = 0; i < 4; i++)
			h = (h ^ xxh_round(0, x->acc[i])) * P1 + P4;
	}
	h += x->total;
	for (; n >= 8; n -= 8, p += 8)
		h = rol(h ^ xxh_round(0, load(p, 8)), 27) * P1 + P4;
	if (n >= 4) {
		h = rol(h ^ load(p, 4) * P1, 23) * P2 + P3;
		p += 4;
		n -= 4;
	}
	for (; n; n--, p++)
		h = rol(h ^ *p * P5, 11) * P1;
	h = (h ^ h >> 33) * P2;
	h = (h ^ h >> 29) * P3;
	return h ^ h >> 32;
}

/* ---- §4.1 finite state entropy ---- */

bool fse_build(struct fse *t, const int16_t *norm, unsigned n, unsigned log)
{
	unsigned size = 1u << log, high = size, at = 0, step = (size >> 1) + (size >> 3) + 3;
	uint16_t next[SYMBOLS_MAX];

	for (unsigned i = 0; i < n; i++)
		if (norm[i] < 0)
			t->t[--high].symbol = (uint8_t)i;
	for (unsigned i = 0; i < n; i++) {
		next[i] = (uint16_t)(norm[i] < 0 ? 1 : norm[i]);
		for (int k = 0; k < norm[i]; k++) {
			t->t[at].symbol = (uint8_t)i;
			do
				at = (at + step) & (size - 1);
			while (at >= high);
		}
	}
	for (unsigned i = 0; i < size; i++) {
		unsigned x = next[t->t[i].symbol]++;

		t->t[i].bits = (uint8_t)(log - high_bit(x));
		t->t[i].base = (uint16_t)((x << t->t[i].bits) - size);
	}
	t->log = log;
	t->there = true;
	return at == 0;
}

/* §4.1.1, from p on: how many bytes it takes, or 0. */
size_t fse_read(struct fse *t, const uint8_t *p, size_t n, unsigned symbols, unsigned log_max)
{
	int16_t norm[SYMBOLS_MAX] = { 0 };
	uint8_t in[256 + PAD] = { 0 }; /* more than any takes */
	unsigned log, at = 4, symbol = 0, width;
	int left, threshold;

	n = n < 256 ? n : 256;
	memcpy(in, p, n);
	log = (in[0] & 15) + 5u;
	if (log > log_max)
		return 0;
	left = (1 << log) + 1;
	threshold = 1 << log;
	width = log + 1;
	while (left > 1 && symbol < symbols && at <= 8 * n) {
		int max = 2 * threshold - 1 - left, v = (int)(load(in + at / 8, 4) >> (at % 8)) & (2 * threshold - 1);

		if ((v & (threshold - 1)) < max) {
			v &= threshold - 1;
			at += width - 1;
		} else {
			v -= v >= threshold ? max : 0;
			at += width;
		}
		norm[symbol++] = (int16_t)--v;
		left -= v < 0 ? -v : v;
		while (v == 0 && at <= 8 * n) { /* so many more have none */
			unsigned zeroes = (unsigned)(load(in + at / 8, 2) >> (at % 8)) & 3;

			symbol += zeroes;
			at += 2;
			if (zeroes < 3)
				break;
		}
		for (; left < threshold && width > 1; width--)
			threshold >>= 1;
	}
	if (left != 1 || symbol > symbols || at > 8 * n || !fse_build(t, norm, symbol, log))
		return 0;
	return (at + 7) / 8;
}

/* ---- §4.2 Huffman ---- */

static bool huf_build(struct huf_code *c, uint8_t *w, unsigned n)
{
	uint32_t sum = 0, left, at = 0;
	unsigned log;

	for (unsigned i = 0; i < n; i++) {
		if (w[i] > HUF_BITS_MAX)
			return false;
		sum += w[i] ? 1u << (w[i] - 1) : 0;
	}
	if (sum == 0)
		return false;
	log = high_bit(sum) + 1;
	left = (1u << log) - sum;
	if (log > HUF_BITS_MAX || left & (left - 1))
		return false;
	w[n++] = (uint8_t)(high_bit(left) + 1);
	for (unsigned v = 1; v <= log; v++)
		for (unsigned i = 0; i < n; i++)
			for (unsigned k = 0; w[i] == v && k < 1u << (v - 1); k++) {
				c->t[at].symbol = (uint8_t)i;
				c->t[at++].bits = (uint8_t)(log + 1 - v);
			}
	c->bits = log;
	return at == 1u << log;
}

/* §4.2.1.2: two decoders in turn, until the bits do not suffice. */
static unsigned weights(const uint8_t *p, size_t n, uint8_t *w)
{
	struct fse t;
	struct back b;
	unsigned state[2], count = 0;
	size_t used = fse_read(&t, p, n, HUF_BITS_MAX + 2, WEIGHTS_LOG_MAX);

	if (!used || used >= n || !back_begin(&b, p + used, n - used))
		return 0;
	state[0] = (unsigned)bits(&b, t.log);
	state[1] = (unsigned)bits(&b, t.log);
	if (b.left < 0)
		return 0;
	for (unsigned k = 0; count < WEIGHTS_MAX - 2; k ^= 1) {
		const struct state *e = &t.t[state[k]];

		w[count++] = e->symbol;
		if (b.left < e->bits) {
			w[count++] = t.t[state[k ^ 1]].symbol;
			return count;
		}
		state[k] = e->base + (unsigned)bits(&b, e->bits);
	}
	return 0;
}

/* §4.2.1: bytes taken, or 0. */
size_t huf_read(struct huf_code *c, const uint8_t *p, size_t n)
{
	uint8_t w[WEIGHTS_MAX + 1];
	size_t bytes;
	unsigned count;

	if (n < 1)
		return 0;
	count = p[0] - 127u;
	bytes = p[0] < 128 ? p[0] : (count + 1) / 2;
	if (bytes + 1 > n)
		return 0;
	if (p[0] < 128)
		count = weights(p + 1, bytes, w);
	else
		for (unsigned i = 0; i < count; i++)
			w[i] = i % 2 ? p[1 + i / 2] & 15 : p[1 + i / 2] >> 4;
	return count && huf_build(c, w, count) ? bytes + 1 : 0;
}

bool huf_stream(const struct huf_code *c, const uint8_t *p, size_t n, uint8_t *to, size_t count)
{
	struct back b;

	if (!back_begin(&b, p, n))
		return false;
	for (size_t i = 0; i < count; i++) {
		uint64_t k = peek(&b, c->bits);

		to[i] = c->t[k].symbol;
		b.left -= c->t[k].bits;
		if (b.left < 0)
			return false;
	}
	return b.left == 0;
}
