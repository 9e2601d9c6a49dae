#include "lib/base/sha256.h"

#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

#define BLOCK 64u
#define MANY_BLOCKS 64u /* for which it is worth asking the processor what it can: in a VM a trip to the host */
enum { NOT_ASKED, PLAIN, BY_SHA };

static const uint32_t k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
	0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
	0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
	0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t v, unsigned n)
{
	return v >> n | v << (32 - n);
}

/* One step of FIPS 180-4 §6.2.2: instead of moving the eight variables, their names change places. */
#define STEP(a, b, c, d, e, f, g, x, i) do { \
	uint32_t t = x + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + (g ^ (e & (f ^ g))) + k[i] + w[i]; \
	d += t; \
	x = t + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) | (c & (a | b))); \
} while (0)

static void blocks_plain(uint32_t s[8], const uint8_t *p, size_t n)
{
	for (; n; n--, p += BLOCK) {
		uint32_t w[64], a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];

		for (unsigned i = 0; i < 16; i++)
			w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
		for (unsigned i = 16; i < 64; i++) {
			uint32_t v = w[i - 15], u = w[i - 2];

			w[i] = w[i - 16] + (ror(v, 7) ^ ror(v, 18) ^ v >> 3) + w[i - 7] + (ror(u, 17) ^ ror(u, 19) ^ u >> 10);
		}
		for (unsigned i = 0; i < 64; i += 8) {
			STEP(a, b, c, d, e, f, g, h, i);
			STEP(h, a, b, c, d, e, f, g, i + 1);
			STEP(g, h, a, b, c, d, e, f, i + 2);
			STEP(f, g, h, a, b, c, d, e, i + 3);
			STEP(e, f, g, h, a, b, c, d, i + 4);
			STEP(d, e, f, g, h, a, b, c, i + 5);
			STEP(c, d, e, f, g, h, a, b, i + 6);
			STEP(b, c, d, e, f, g, h, a, i + 7);
		}
		s[0] += a, s[1] += b, s[2] += c, s[3] += d;
		s[4] += e, s[5] += f, s[6] += g, s[7] += h;
	}
}

#ifdef __x86_64__
/* Intel SDM volume 1, chapter 12 (SHA extensions): two steps an instruction, on halves ABEF and CDGH. */
__attribute__((target("sha,sse4.1"))) static void blocks_sha(uint32_t s[8], const uint8_t *p, size_t n)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
	__m128i dcba = _mm_loadu_si128((const __m128i *)&s[0]), hgfe = _mm_loadu_si128((const __m128i *)&s[4]);
	__m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
	__m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

	for (; n; n--, p += BLOCK) {
		__m128i was_abef = abef, was_cdgh = cdgh, w[4];

		for (unsigned i = 0; i < 16; i++) { /* four steps each */
			__m128i m;

			if (i < 4) {
				w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p + i), swap);
			} else {
				m = _mm_add_epi32(_mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]), _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
				w[i & 3] = _mm_sha256msg2_epu32(m, w[(i + 3) & 3]);
			}
			m = _mm_add_epi32(w[i & 3], _mm_loadu_si128((const __m128i *)&k[4 * i]));
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, m);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(m, 0x0e));
		}
		abef = _mm_add_epi32(abef, was_abef);
		cdgh = _mm_add_epi32(cdgh, was_cdgh);
	}
	efgh = _mm_shuffle_epi32(abef, 0x1b);
	cdab = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128((__m128i *)&s[0], _mm_blend_epi16(efgh, cdab, 0xf0));
	_mm_storeu_si128((__m128i *)&s[4], _mm_alignr_epi8(cdab, efgh, 8));
}

static bool has_sha(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_SHA;
}
#endif

static void blocks(struct sha256_run *r, const uint8_t *p, size_t n)
{
#ifdef __x86_64__
	if (r->how == NOT_ASKED && n >= MANY_BLOCKS)
		r->how = has_sha() ? BY_SHA : PLAIN;
	if (r->how == BY_SHA) {
		blocks_sha(r->h, p, n);
		return;
	}
#endif
	blocks_plain(r->h, p, n);
}

void sha256_begin(struct sha256_run *r)
{
	static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

	memcpy(r->h, start, sizeof(start));
	r->n = 0;
	r->how = NOT_ASKED;
}

void sha256_more(struct sha256_run *r, const void *data, size_t n)
{
	const uint8_t *p = data;
	size_t have = (size_t)(r->n % BLOCK);

	if (n == 0)
		return;
	r->n += n;
	if (have) {
		size_t take = n < BLOCK - have ? n : BLOCK - have;

		memcpy(r->block + have, p, take);
		p += take;
		n -= take;
		if (have + take < BLOCK)
			return;
		blocks(r, r->block, 1);
	}
	blocks(r, p, n / BLOCK);
	p += n - n % BLOCK;
	n %= BLOCK;
	if (n)
		memcpy(r->block, p, n);
}

void sha256_end(struct sha256_run *r, uint8_t out[SHA256_BYTES])
{
	size_t left = (size_t)(r->n % BLOCK), tail = left < BLOCK - 8 ? BLOCK : 2 * BLOCK;
	uint8_t last[2 * BLOCK] = { 0 };

	memcpy(last, r->block, left);
	last[left] = 0x80;
	for (unsigned i = 0; i < 8; i++)
		last[tail - 1 - i] = (uint8_t)(r->n * 8 >> (8 * i));
	blocks(r, last, tail / BLOCK);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned b = 0; b < 4; b++)
			out[4 * i + b] = (uint8_t)(r->h[i] >> (24 - 8 * b));
}

void sha256(const void *data, size_t n, uint8_t out[SHA256_BYTES])
{
	struct sha256_run r;

	sha256_begin(&r);
	sha256_more(&r, data, n);
	sha256_end(&r, out);
}
