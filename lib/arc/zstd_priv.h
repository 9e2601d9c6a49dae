/* Shared by zstd.c (frames, blocks, literals, sequences) and zstd_code.c (their codes, and the checksum). Numbers of sections are those of RFC 8878. */
#ifndef LIB_ARC_ZSTD_PRIV_H
#define LIB_ARC_ZSTD_PRIV_H

#include "lib/base/base.h"

#include <string.h>

enum { HUF_BITS_MAX = 11, LOG_MAX = 9, SYMBOLS_MAX = 256, PAD = 16 }; /* PAD: what a load of 8 bytes, or a copy by eights, goes too far */

struct state { /* of an FSE decoder (§4.1) */
	uint16_t base;
	uint8_t bits, symbol;
};
struct fse {
	unsigned log;
	bool there;
	struct state t[1 << LOG_MAX];
};
struct huf_code { /* §4.2 */
	unsigned bits; /* of the longest; 0: no table yet */
	struct {
		uint8_t symbol, bits;
	} t[1 << HUF_BITS_MAX];
};
struct back { /* bits from a stream's end to its start (§4.1); 8 bytes behind it can be read */
	const uint8_t *p;
	int64_t left;
};
struct xxh { /* XXH64, seed 0 (the xxHash project's doc/xxhash_spec.md) */
	uint64_t acc[4], total;
	uint8_t rest[32];
};

static inline uint64_t load(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}
static inline unsigned high_bit(uint64_t v)
{
	return 63u - (unsigned)__builtin_clzll(v);
}
bool back_begin(struct back *b, const uint8_t *p, size_t n);
/* n ≤ 32. Below the start there are zeroes. */
static inline uint64_t peek(const struct back *b, unsigned n)
{
	uint64_t v, mask = (1ull << n) - 1;
	int64_t at = b->left - n;

	if (at < 0) {
		if (b->left <= 0)
			return 0;
		memcpy(&v, b->p, 8);
		return (v & ((1ull << b->left) - 1)) << -at;
	}
	memcpy(&v, b->p + (at >> 3), 8);
	return v >> (at & 7) & mask;
}

static inline uint64_t bits(struct back *b, unsigned n)
{
	uint64_t v = peek(b, n);

	b->left -= n;
	return v;
}

/* Of a distribution that is known to be right, or is: false when not. */
bool fse_build(struct fse *t, const int16_t *norm, unsigned n, unsigned log);
/* §4.1.1, from p on: how many bytes it takes, or 0. */
size_t fse_read(struct fse *t, const uint8_t *p, size_t n, unsigned symbols, unsigned log_max);
size_t huf_read(struct huf_code *c, const uint8_t *p, size_t n); /* §4.2.1: bytes taken, or 0 */
/* That many symbols, and nothing else, from a stream. */
bool huf_stream(const struct huf_code *c, const uint8_t *p, size_t n, uint8_t *to, size_t count);
void xxh_begin(struct xxh *x);
void xxh_more(struct xxh *x, const uint8_t *p, size_t n);
uint64_t xxh_end(const struct xxh *x);

#endif
