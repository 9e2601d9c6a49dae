/* RFC 1952 (gzip) and RFC 1951 (deflate). Bits come through a word of 64; codes are looked up by their first bits, the few longer ones counted out. */
#include "lib/arc/packed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	IN_BYTES = 128 << 10,
	IN_LEAD = 16, /* a round begins with so many bytes left, or with all there are: it takes less than the pad */
	IN_PAD = 64,
	WINDOW = 32 << 10,
	OUT_BYTES = WINDOW + (256 << 10),
	OUT_SLACK = 2 + 258 + 8, /* what one round writes, and what copying by eights writes too far */
	CODE_BITS_MAX = 15,
	LITS_MAX = 288, DISTS_MAX = 32, LENGTHS_MAX = 19,
};
enum { IS_LITERAL = 0x80, IS_END = 0x40, IS_BAD = 0x20, MORE = 0x0f }; /* of entry.what; none of them: a length or distance */

struct entry {
	uint16_t value; /* literal, least length or distance */
	uint8_t bits;   /* of the code; 0: it is longer than the table knows, or none */
	uint8_t what;   /* low bits: so many bits after the code are added to the value */
};
struct code { /* §3.2.2 */
	const struct entry *meaning;         /* of each symbol */
	unsigned quick_bits;
	uint16_t count[CODE_BITS_MAX + 1];   /* codes of that many bits … */
	uint16_t symbol[LITS_MAX];           /* … and what they stand for, in their order */
	struct entry quick[1 << 11];
};
struct word { /* of bits that come next; a copy on the stack stays in registers */
	const uint8_t *in;
	uint64_t bits;
	unsigned n;
};
struct inflate {
	const struct packed_io *io;
	struct fault *f;
	struct word w;
	const uint8_t *end, *limit;      /* past limit more() is due */
	bool over;                       /* no more to read: end is the end */
	uint8_t *out, *fresh;            /* in window; from fresh on not written yet */
	uint32_t crc, total;
	uint32_t crc_table[8][256];
	struct code lit, dist, lengths;
	struct entry lit_means[LITS_MAX], dist_means[DISTS_MAX], length_means[LENGTHS_MAX];
	uint8_t raw[IN_LEAD + IN_BYTES + IN_PAD];
	uint8_t window[OUT_BYTES + OUT_SLACK];
};

static int broken(struct inflate *s, const char *what)
{
	return fault_set(s->f, -EPROTO, "packed bytes of the archive are broken: %s", what);
}

/* ---- in ---- */

static const uint8_t *next_byte(const struct inflate *s)
{
	return s->w.in - s->w.n / 8;
}

static int more(struct inflate *s)
{
	uint8_t *to = s->raw + IN_LEAD;
	size_t have;

	if (s->over)
		return next_byte(s) <= s->end ? 0 : broken(s, "they are cut short");
	have = (size_t)(s->end - s->w.in);
	memmove(to - 8, s->w.in - 8, have + 8); /* with the bytes that stand in the word: align() may give them back */
	s->w.in = to;
	while (have < IN_LEAD && !s->over) {
		ssize_t n = s->io->read(s->io->arg, to + have, IN_BYTES - have, s->f);

		if (n < 0)
			return (int)n;
		s->over = n == 0;
		have += (size_t)n;
	}
	memset(to + have, 0, IN_PAD);
	s->end = to + have;
	s->limit = s->end - IN_LEAD;
	return 0;
}

/* 56 bits at least. The bytes of the word that are not counted yet come again, the same. */
static inline void refill(struct word *w)
{
	uint64_t v;

	memcpy(&v, w->in, 8);
	w->bits |= v << w->n;
	w->in += (63 - w->n) >> 3;
	w->n |= 56;
}

static inline int need(struct inflate *s)
{
	int err = s->w.in > s->limit ? more(s) : 0;

	if (!err)
		refill(&s->w);
	return err;
}

static inline unsigned take(struct word *w, unsigned n)
{
	unsigned v = (unsigned)(w->bits & ((1u << n) - 1));

	w->bits >>= n;
	w->n -= n;
	return v;
}

/* To the next whole byte, with none in the word. */
static void align(struct inflate *s)
{
	s->w.in = next_byte(s);
	s->w.n = 0;
	s->w.bits = 0;
}

/* ---- out ---- */

static void make_crc_table(uint32_t t[8][256])
{
	for (uint32_t i = 0; i < 256; i++) {
		t[0][i] = i;
		for (unsigned k = 0; k < 8; k++)
			t[0][i] = t[0][i] >> 1 ^ (t[0][i] & 1 ? 0xedb88320u : 0);
	}
	for (unsigned k = 1; k < 8; k++)
		for (unsigned i = 0; i < 256; i++)
			t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
}

/* RFC 1952 §8; eight bytes at once, a table for each. */
static void add_crc(struct inflate *s, const uint8_t *p, size_t n)
{
	uint32_t c = ~s->crc, (*t)[256] = s->crc_table;

	for (; n >= 8; n -= 8, p += 8) {
		uint32_t a, b;

		memcpy(&a, p, 4);
		memcpy(&b, p + 4, 4);
		a ^= c;
		c = t[7][a & 255] ^ t[6][a >> 8 & 255] ^ t[5][a >> 16 & 255] ^ t[4][a >> 24] ^ t[3][b & 255] ^ t[2][b >> 8 & 255] ^ t[1][b >> 16 & 255] ^ t[0][b >> 24];
	}
	while (n--)
		c = c >> 8 ^ t[0][(c ^ *p++) & 255];
	s->crc = ~c;
}

/* The last WINDOW bytes stay, for what comes may refer to them. */
static int flush(struct inflate *s)
{
	size_t n = (size_t)(s->out - s->fresh);
	int err = 0;

	if (n) {
		add_crc(s, s->fresh, n);
		s->total += (uint32_t)n;
		err = s->io->write(s->io->arg, s->fresh, n, s->f);
	}
	if (s->out - s->window > WINDOW) {
		memmove(s->window, s->out - WINDOW, WINDOW);
		s->out = s->window + WINDOW;
	}
	s->fresh = s->out;
	return err;
}

/* ---- codes ---- */

/* Lengths of codes to a table. Codes that leave room are allowed when there is none at all or one of one bit. */
static bool code_make(struct code *c, const uint8_t *len, unsigned n)
{
	unsigned at[CODE_BITS_MAX + 2] = { 0 }, next = 0, size = 1u << c->quick_bits;
	int left = 1;

	memset(c->count, 0, sizeof(c->count));
	memset(c->quick, 0, size * sizeof(c->quick[0]));
	for (unsigned i = 0; i < n; i++)
		c->count[len[i]]++;
	c->count[0] = 0;
	for (unsigned b = 1; b <= CODE_BITS_MAX; b++) {
		left = 2 * left - c->count[b];
		if (left < 0)
			return false;
		at[b + 1] = at[b] + c->count[b];
	}
	if (left && at[CODE_BITS_MAX + 1] > c->count[1])
		return false;
	for (unsigned i = 0; i < n; i++)
		if (len[i])
			c->symbol[at[len[i]]++] = (uint16_t)i;
	for (unsigned b = 1, k = 0; b <= c->quick_bits; b++, next <<= 1)
		for (unsigned left_b = c->count[b]; left_b; left_b--, next++, k++) {
			struct entry e = c->meaning[c->symbol[k]];
			unsigned first = 0;

			for (unsigned i = 0; i < b; i++)
				first |= (next >> i & 1) << (b - 1 - i);
			e.bits = (uint8_t)b;
			for (; first < size; first += 1u << b)
				c->quick[first] = e;
		}
	return true;
}

/* One that the table does not know: bit by bit, as the codes are counted. */
static struct entry code_long(const struct code *c, uint64_t bits)
{
	unsigned code = 0, first = 0, index = 0;

	for (unsigned b = 1; b <= CODE_BITS_MAX; b++, bits >>= 1) {
		struct entry e;

		code |= (unsigned)(bits & 1);
		if (code - first < c->count[b]) {
			e = c->meaning[c->symbol[index + code - first]];
			e.bits = (uint8_t)b;
			return e;
		}
		index += c->count[b];
		first = (first + c->count[b]) << 1;
		code <<= 1;
	}
	return (struct entry){ .bits = 1, .what = IS_BAD };
}

static inline struct entry next_code(struct word *w, const struct code *c, unsigned quick_bits)
{
	struct entry e = c->quick[w->bits & ((1u << quick_bits) - 1)];

	if (__builtin_expect(!e.bits, 0))
		e = code_long(c, w->bits);
	w->bits >>= e.bits;
	w->n -= e.bits;
	return e;
}

/* §3.2.5 */
static void fill_meanings(struct inflate *s)
{
	unsigned base = 3, more_bits = 0;

	for (unsigned i = 0; i < 256; i++)
		s->lit_means[i] = (struct entry){ (uint16_t)i, 0, IS_LITERAL };
	s->lit_means[256] = (struct entry){ 0, 0, IS_END };
	for (unsigned i = 257; i < 285; i++) {
		more_bits = i < 265 ? 0 : (i - 261) / 4;
		s->lit_means[i] = (struct entry){ (uint16_t)base, 0, (uint8_t)more_bits };
		base += 1u << more_bits;
	}
	s->lit_means[285] = (struct entry){ 258, 0, 0 };
	s->lit_means[286] = s->lit_means[287] = (struct entry){ 0, 0, IS_BAD };
	base = 1;
	for (unsigned i = 0; i < 30; i++) {
		more_bits = i < 4 ? 0 : (i - 2) / 2;
		s->dist_means[i] = (struct entry){ (uint16_t)base, 0, (uint8_t)more_bits };
		base += 1u << more_bits;
	}
	s->dist_means[30] = s->dist_means[31] = (struct entry){ 0, 0, IS_BAD };
	for (unsigned i = 0; i < LENGTHS_MAX; i++)
		s->length_means[i] = (struct entry){ (uint16_t)i, 0, 0 };
	s->lit = (struct code){ .meaning = s->lit_means, .quick_bits = 11 };
	s->dist = (struct code){ .meaning = s->dist_means, .quick_bits = 9 };
	s->lengths = (struct code){ .meaning = s->length_means, .quick_bits = 7 };
}

/* §3.2.6 */
static int fixed_codes(struct inflate *s)
{
	uint8_t len[LITS_MAX];

	memset(len, 8, 144);
	memset(len + 144, 9, 112);
	memset(len + 256, 7, 24);
	memset(len + 280, 8, 8);
	code_make(&s->lit, len, LITS_MAX);
	memset(len, 5, DISTS_MAX);
	code_make(&s->dist, len, DISTS_MAX);
	return 0;
}

/* §3.2.7, the lengths of both codes in one row. */
static int read_lengths(struct inflate *s, uint8_t *len, unsigned n)
{
	for (unsigned i = 0; i < n;) { /* each turn adds one at least */
		unsigned v, times = 1;
		int err = need(s);

		if (err)
			return err;
		v = next_code(&s->w, &s->lengths, 7).value;
		if (v == 16) {
			if (i == 0)
				return broken(s, "a length is repeated that is not there");
			v = len[i - 1];
			times = 3 + take(&s->w, 2);
		} else if (v >= 17) {
			times = v == 17 ? 3 + take(&s->w, 3) : 11 + take(&s->w, 7);
			v = 0;
		}
		if (times > n - i)
			return broken(s, "too many lengths of codes");
		memset(len + i, (int)v, times);
		i += times;
	}
	return 0;
}

static int own_codes(struct inflate *s)
{
	static const uint8_t order[LENGTHS_MAX] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 };
	uint8_t len[LITS_MAX + DISTS_MAX] = { 0 };
	unsigned lits = 257 + take(&s->w, 5), dists = 1 + take(&s->w, 5), lengths = 4 + take(&s->w, 4);
	int err = 0;

	for (unsigned i = 0; i < lengths && !err; i++) {
		err = need(s);
		len[order[i]] = (uint8_t)take(&s->w, 3);
	}
	if (err || lits > 286 || !code_make(&s->lengths, len, LENGTHS_MAX) || code_long(&s->lengths, UINT64_MAX).what & IS_BAD) /* all ones: a code that leaves no room has it */
		return err ? err : broken(s, "impossible lengths of codes");
	memset(len, 0, sizeof(len));
	err = read_lengths(s, len, lits + dists);
	if (err)
		return err;
	return len[256] && code_make(&s->lit, len, lits) && code_make(&s->dist, len + lits, dists) ? 0 : broken(s, "impossible codes");
}

/* ---- blocks ---- */

/* May write seven bytes too far. */
static inline void copy_back(uint8_t *to, size_t dist, size_t len)
{
	const uint8_t *from = to - dist;
	uint8_t *end = to + len;

	if (dist < 8) {
		while (to < end)
			*to++ = *from++;
		return;
	}
	for (; to < end; to += 8, from += 8)
		memcpy(to, from, 8);
}

static int packed_block(struct inflate *s)
{
	const uint8_t *full = s->window + OUT_BYTES;
	struct word w = s->w;
	uint8_t *out = s->out;
	int err = 0;

	for (;;) { /* each turn takes at least one bit, of which there is an end */
		struct entry e;
		size_t len, dist;

		if (w.in > s->limit || out > full) {
			s->w = w;
			s->out = out;
			err = w.in > s->limit ? more(s) : 0;
			if (!err && out > full)
				err = flush(s);
			if (err)
				return err;
			w = s->w;
			out = s->out;
		}
		refill(&w);
		e = next_code(&w, &s->lit, 11);
		for (unsigned i = 0; e.what == IS_LITERAL && i < 2; i++) {
			*out++ = (uint8_t)e.value;
			e = next_code(&w, &s->lit, 11);
		}
		if (e.what & IS_LITERAL) {
			*out++ = (uint8_t)e.value;
			continue;
		}
		if (e.what & IS_BAD)
			return broken(s, "no such code");
		if (e.what & IS_END)
			break;
		len = e.value + take(&w, e.what & MORE);
		refill(&w);
		e = next_code(&w, &s->dist, 9);
		dist = e.value + take(&w, e.what & MORE);
		if (e.what & IS_BAD || dist > (size_t)(out - s->window))
			return broken(s, "a reference to what is not there");
		copy_back(out, dist, len);
		out += len;
	}
	s->w = w;
	s->out = out;
	return 0;
}

/* §3.2.4 */
static int stored_block(struct inflate *s)
{
	unsigned left, inverse;
	int err;

	align(s);
	err = need(s);
	left = take(&s->w, 16);
	inverse = take(&s->w, 16);
	if (err || left != (inverse ^ 0xffff))
		return err ? err : broken(s, "a length and its complement differ");
	align(s);
	while (left) { /* each turn passes a byte at least */
		size_t room, have, n;

		err = s->w.in > s->limit ? more(s) : 0;
		if (!err && s->out >= s->window + OUT_BYTES)
			err = flush(s);
		if (err)
			return err;
		room = (size_t)(s->window + OUT_BYTES - s->out);
		have = (size_t)(s->end - s->w.in);
		n = left < have ? left : have;
		n = n < room ? n : room;
		if (!have)
			return broken(s, "they are cut short");
		memcpy(s->out, s->w.in, n);
		s->out += n;
		s->w.in += n;
		left -= (unsigned)n;
	}
	return 0;
}

static int deflate_stream(struct inflate *s)
{
	bool last = false;

	while (!last) { /* each block takes three bits at least */
		int err = need(s);
		unsigned kind;

		if (err)
			return err;
		last = take(&s->w, 1);
		kind = take(&s->w, 2);
		if (kind == 3)
			return broken(s, "no such kind of block");
		err = kind == 0 ? stored_block(s) : kind == 1 ? fixed_codes(s) : own_codes(s);
		if (!err && kind)
			err = packed_block(s);
		if (err)
			return err;
	}
	return 0;
}

/* ---- gzip ---- */

/* The next byte, or -errno. */
static int byte(struct inflate *s)
{
	int err = need(s);

	return err ? err : (int)take(&s->w, 8);
}

static int skip_text(struct inflate *s)
{
	int c;

	while ((c = byte(s)) > 0)
		;
	return c;
}

/* RFC 1952 §2.3, past the two bytes that say what it is. */
static int header(struct inflate *s)
{
	int method = byte(s), flags = byte(s), low, high = 0, err = 0;

	if (method < 0 || flags < 0)
		return method < 0 ? method : flags;
	if (method != 8 || flags & 0xe0)
		return fault_set(s->f, -EPROTO, "packed by an unknown method of gzip");
	for (unsigned i = 0; i < 6 && err >= 0; i++) /* time, strength, system */
		err = byte(s);
	if (err >= 0 && flags & 4) {
		low = byte(s);
		high = low < 0 ? low : byte(s);
		err = high;
		for (int i = low + high * 256; err >= 0 && i > 0; i--)
			err = byte(s);
	}
	if (err >= 0 && flags & 8)
		err = skip_text(s);
	if (err >= 0 && flags & 16)
		err = skip_text(s);
	for (unsigned i = 0; err >= 0 && flags & 2 && i < 2; i++)
		err = byte(s);
	return err < 0 ? err : 0;
}

static int trailer(struct inflate *s)
{
	uint32_t said[2] = { 0 };

	align(s);
	for (unsigned i = 0; i < 8; i++) {
		int c = byte(s);

		if (c < 0)
			return c;
		said[i / 4] |= (uint32_t)c << (8 * (i % 4));
	}
	if (s->over && next_byte(s) > s->end)
		return broken(s, "they are cut short");
	return said[0] == s->crc && said[1] == s->total ? 0 : broken(s, "their checksum does not hold");
}

static int member(struct inflate *s)
{
	int err = header(s);

	s->out = s->fresh = s->window;
	s->crc = s->total = 0;
	if (!err)
		err = deflate_stream(s);
	if (!err)
		err = flush(s);
	return err ? err : trailer(s);
}

/* What stands after a member: 1 another, 0 the end (also after zeroes), or -errno. */
static int after(struct inflate *s)
{
	int err = 0;

	align(s);
	for (;;) { /* each turn takes a byte */
		err = s->w.in > s->limit ? more(s) : 0;
		if (err || s->w.in == s->end)
			return err;
		if (*s->w.in)
			break;
		s->w.in++;
	}
	if (s->w.in[0] != 0x1f || s->w.in[1] != 0x8b)
		return broken(s, "there is more after their end");
	s->w.in += 2;
	return 1;
}

int gzip_unpack(const struct packed_io *io, struct fault *f)
{
	struct inflate *s = malloc(sizeof(*s));
	int err;

	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	s->io = io;
	s->f = f;
	s->w.in = s->end = s->raw + IN_LEAD;
	s->limit = s->raw;
	s->over = false;
	s->w.n = 0;
	s->w.bits = 0;
	make_crc_table(s->crc_table);
	fill_meanings(s);
	err = after(s);
	if (err == 0)
		err = broken(s, "they are empty");
	while (err > 0) { /* each member takes its bytes */
		err = member(s);
		if (!err)
			err = after(s);
	}
	free(s);
	return err;
}
