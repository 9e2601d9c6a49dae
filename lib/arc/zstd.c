/* RFC 8878: frames of blocks of literals and sequences. Numbers of sections are the RFC's. */
#include "lib/arc/packed.h"
#include "lib/arc/zstd_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC 0xfd2fb528u
#define SKIPPABLE 0x184d2a50u /* to 5f */
enum {
	IN_BYTES = 64 << 10,
	BLOCK_MAX = 128 << 10, /* packed and unpacked */
	LL_MAX = 35, ML_MAX = 52, OF_MAX = 31,
};

struct zstd {
	const struct packed_io *io;
	struct fault *f;
	uint8_t in[IN_BYTES];
	size_t in_at, in_end;
	uint8_t *window, *out, *fresh; /* window owned: twice as large as the frame's and a block; fresh: not written yet */
	uint64_t window_max, window_bytes, room, produced;
	struct xxh sum;
	struct fse ll, of, ml;
	struct huf_code huf;
	uint64_t rep[3];
	uint8_t block[PAD + BLOCK_MAX + PAD];
	uint8_t lit[BLOCK_MAX + PAD];
};

static int broken(struct zstd *s, const char *what)
{
	return fault_set(s->f, -EPROTO, "packed bytes of the archive are broken: %s", what);
}

/* ---- in ---- */

/* How many of n bytes were there: fewer at the end; or -errno. dst NULL: passed over. */
static int64_t get_some(struct zstd *s, uint8_t *dst, uint64_t n)
{
	uint64_t done = 0;

	while (done < n) { /* each turn takes a byte at least */
		size_t part = s->in_end - s->in_at;

		if (!part) {
			ssize_t got = s->io->read(s->io->arg, s->in, IN_BYTES, s->f);

			if (got <= 0)
				return got < 0 ? got : (int64_t)done;
			s->in_at = 0;
			s->in_end = part = (size_t)got;
		}
		part = part < n - done ? part : (size_t)(n - done);
		if (dst)
			memcpy(dst + done, s->in + s->in_at, part);
		s->in_at += part;
		done += part;
	}
	return (int64_t)done;
}

static int get(struct zstd *s, uint8_t *dst, uint64_t n)
{
	int64_t got = get_some(s, dst, n);

	return got < 0 ? (int)got : (uint64_t)got == n ? 0 : broken(s, "they are cut short");
}

/* ---- out ---- */

static int flush(struct zstd *s)
{
	size_t n = (size_t)(s->out - s->fresh);
	int err = 0;

	if (n) {
		xxh_more(&s->sum, s->fresh, n);
		err = s->io->write(s->io->arg, s->fresh, n, s->f);
	}
	s->fresh = s->out;
	return err;
}

/* Room for a block behind what it may refer to. */
static int make_room(struct zstd *s)
{
	int err;

	if (s->room - (uint64_t)(s->out - s->window) >= BLOCK_MAX)
		return 0;
	err = flush(s);
	memmove(s->window, s->out - s->window_bytes, s->window_bytes);
	s->out = s->fresh = s->window + s->window_bytes;
	return err;
}

/* §3.1.1.3.1.6: four of them behind a table of their lengths, or one. */
static bool huf_streams(struct zstd *s, const uint8_t *p, size_t n, size_t count, bool four)
{
	size_t each = (count + 3) / 4, at = 6;

	if (!four)
		return huf_stream(&s->huf, p, n, s->lit, count);
	if (n < 6 || 3 * each > count)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		size_t bytes = i < 3 ? (size_t)load(p + 2 * i, 2) : n - at;

		if (bytes > n - at || !huf_stream(&s->huf, p + at, bytes, s->lit + i * each, i < 3 ? each : count - 3 * each))
			return false;
		at += bytes;
	}
	return true;
}

/* §3.1.1.3.1: into s->lit. Bytes taken, or 0. */
static size_t literals(struct zstd *s, const uint8_t *p, size_t n, size_t *count)
{
	unsigned kind = p[0] & 3, format = p[0] >> 2 & 3, head, width;
	size_t packed, tree = 0;
	uint64_t v;

	if (kind < 2) {
		head = format == 1 ? 2 : format == 3 ? 3 : 1;
		*count = (size_t)(load(p, head) >> (head == 1 ? 3 : 4));
		packed = kind == 0 ? *count : 1;
		if (head + packed > n || *count > BLOCK_MAX)
			return 0;
		if (kind == 0)
			memcpy(s->lit, p + head, *count);
		else
			memset(s->lit, p[head], *count);
		return head + packed;
	}
	head = format < 2 ? 3 : format + 2;
	width = format < 2 ? 10 : format == 2 ? 14 : 18;
	v = load(p, head) >> 4;
	*count = (size_t)(v & ((1u << width) - 1));
	packed = (size_t)(v >> width & ((1u << width) - 1));
	if (head + packed > n || *count > BLOCK_MAX)
		return 0;
	if (kind == 2 && !(tree = huf_read(&s->huf, p + head, packed)))
		return 0;
	return s->huf.bits && huf_streams(s, p + head + tree, packed - tree, *count, format != 0) ? head + packed : 0;
}

/* ---- §3.1.1.3.2 sequences ---- */

static const int16_t ll_usual[] = { 4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1 };
static const int16_t of_usual[] = { 1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1 };
static const int16_t ml_usual[] = { 1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	-1, -1, -1, -1, -1, -1, -1 };
static const uint8_t ll_bits[LL_MAX + 1] = { [16] = 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
static const uint8_t ml_bits[ML_MAX + 1] = { [32] = 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

/* The least value of a code: each begins where the one before ends. */
static uint32_t least(const uint8_t *more, unsigned code, uint32_t first)
{
	for (unsigned i = 0; i < code; i++)
		first += 1u << more[i];
	return first;
}

/* One of the three tables: usual, one symbol, described, or as before. Bytes taken or -1. */
static int table(struct fse *t, unsigned mode, const uint8_t *p, size_t n, const int16_t *usual, unsigned n_usual, unsigned usual_log, unsigned symbols, unsigned log_max)
{
	size_t used;

	switch (mode) {
	case 0:
		fse_build(t, usual, n_usual, usual_log);
		return 0;
	case 1:
		if (n < 1 || p[0] >= symbols)
			return -1;
		t->log = 0;
		t->there = true;
		t->t[0] = (struct state){ .symbol = p[0] };
		return 1;
	case 2:
		used = fse_read(t, p, n, symbols, log_max);
		t->there = used;
		return used ? (int)used : -1;
	default:
		return t->there ? 0 : -1;
	}
}

/* §3.1.1.5; the distance, or 0. */
static uint64_t distance(struct zstd *s, uint64_t value, bool no_literals)
{
	uint64_t d, *r = s->rep;
	unsigned at;

	if (value > 3) {
		d = value - 3;
		at = 2;
	} else {
		at = (unsigned)value - 1 + no_literals;
		d = at == 3 ? r[0] - 1 : r[at];
		at = at == 3 ? 2 : at;
	}
	for (; at; at--)
		r[at] = r[at - 1];
	return r[0] = d;
}

static bool copy_match(struct zstd *s, uint64_t dist, size_t len)
{
	const uint8_t *from = s->out - dist;
	uint8_t *to = s->out, *end = to + len;

	if (dist == 0 || dist > (uint64_t)(s->out - s->window))
		return false;
	if (dist >= 8)
		for (; to < end; to += 8, from += 8)
			memcpy(to, from, 8);
	else
		while (to < end)
			*to++ = *from++;
	s->out = end;
	return true;
}

static bool sequences(struct zstd *s, struct back *b, unsigned count, size_t *lit_at, size_t lits)
{
	const uint8_t *block_end = s->out + BLOCK_MAX;
	unsigned ll = (unsigned)bits(b, s->ll.log), of = (unsigned)bits(b, s->of.log), ml = (unsigned)bits(b, s->ml.log);
	uint32_t ll_least[LL_MAX + 1], ml_least[ML_MAX + 1];

	for (unsigned i = 0; i <= LL_MAX; i++)
		ll_least[i] = least(ll_bits, i, 0);
	for (unsigned i = 0; i <= ML_MAX; i++)
		ml_least[i] = least(ml_bits, i, 3);
	while (count--) {
		const struct state *l = &s->ll.t[ll], *o = &s->of.t[of], *m = &s->ml.t[ml];
		uint64_t value = (1ull << o->symbol) + bits(b, o->symbol);
		size_t match = ml_least[m->symbol] + (size_t)bits(b, ml_bits[m->symbol]);
		size_t lit = ll_least[l->symbol] + (size_t)bits(b, ll_bits[l->symbol]);

		if (b->left < 0 || lit > lits - *lit_at || lit + match > (size_t)(block_end - s->out))
			return false;
		memcpy(s->out, s->lit + *lit_at, lit);
		s->out += lit;
		*lit_at += lit;
		if (!copy_match(s, distance(s, value, lit == 0), match))
			return false;
		if (count) {
			ll = l->base + (unsigned)bits(b, l->bits);
			ml = m->base + (unsigned)bits(b, m->bits);
			of = o->base + (unsigned)bits(b, o->bits);
		}
	}
	return b->left == 0;
}

/* §3.1.1.3: false when it is broken. */
static bool packed_block(struct zstd *s, const uint8_t *p, size_t n)
{
	size_t lits = 0, lit_at = 0, at;
	const uint8_t *begin = s->out;
	unsigned count;
	struct back b;
	int used;

	if (n < 2 || !(at = literals(s, p, n, &lits)) || at >= n)
		return false;
	count = p[at++];
	if (count >= 128) {
		unsigned more_bytes = count == 255 ? 2 : 1;

		if (at + more_bytes > n)
			return false;
		count = count == 255 ? 0x7f00 + (unsigned)load(p + at, 2) : (count - 128) << 8 | p[at];
		at += more_bytes;
	}
	if (count) {
		unsigned modes = at < n ? p[at++] : 3;
		struct { struct fse *t; const int16_t *usual; unsigned n_usual, usual_log, symbols, log_max, mode; } three[] = {
			{ &s->ll, ll_usual, ARRAY_LEN(ll_usual), 6, LL_MAX + 1, 9, modes >> 6 },
			{ &s->of, of_usual, ARRAY_LEN(of_usual), 5, OF_MAX + 1, 8, modes >> 4 & 3 },
			{ &s->ml, ml_usual, ARRAY_LEN(ml_usual), 6, ML_MAX + 1, 9, modes >> 2 & 3 },
		};

		if (modes & 3)
			return false;
		for (unsigned i = 0; i < 3; i++) {
			used = table(three[i].t, three[i].mode, p + at, n - at, three[i].usual, three[i].n_usual, three[i].usual_log, three[i].symbols, three[i].log_max);
			if (used < 0)
				return false;
			at += (size_t)used;
		}
		if (!back_begin(&b, p + at, n - at) || !sequences(s, &b, count, &lit_at, lits))
			return false;
	} else if (at != n) {
		return false;
	}
	if (lits - lit_at > BLOCK_MAX - (size_t)(s->out - begin))
		return false;
	memcpy(s->out, s->lit + lit_at, lits - lit_at);
	s->out += lits - lit_at;
	return true;
}

/* ---- §3.1.1 frames ---- */

static int block(struct zstd *s, bool *last)
{
	uint8_t head[3], *p = s->block + PAD;
	unsigned kind;
	size_t n;
	uint8_t *begin;
	int err = get(s, head, 3);

	if (!err)
		err = make_room(s);
	if (err)
		return err;
	*last = head[0] & 1;
	kind = head[0] >> 1 & 3;
	n = (size_t)(load(head, 3) >> 3);
	begin = s->out;
	if (kind == 3 || n > BLOCK_MAX)
		return broken(s, "no such block");
	err = get(s, kind == 0 ? s->out : p, kind == 1 ? 1 : n);
	if (err)
		return err;
	if (kind == 1)
		memset(s->out, p[0], n);
	if (kind < 2)
		s->out += n;
	else if (!packed_block(s, p, n))
		return broken(s, "a block is impossible");
	s->produced += (uint64_t)(s->out - begin);
	return 0;
}

/* §3.1.1.1: *content UINT64_MAX when it is not said. */
static int frame_head(struct zstd *s, uint64_t *content, bool *checked)
{
	static const uint8_t id_bytes[] = { 0, 1, 2, 4 };
	uint8_t flags, window = 0, text[8] = { 0 };
	unsigned size_bytes;
	bool single;
	int err = get(s, &flags, 1);

	if (err)
		return err;
	single = flags & 32;
	*checked = flags & 4;
	if (flags & 8)
		return broken(s, "a reserved bit is set");
	err = single ? 0 : get(s, &window, 1);
	if (!err)
		err = get(s, text, id_bytes[flags & 3]);
	if (!err && load(text, id_bytes[flags & 3]))
		return fault_set(s->f, -EOPNOTSUPP, "packed by zstd with a dictionary, which is not here: pack it without one");
	size_bytes = flags >> 6 ? 1u << (flags >> 6) : single;
	if (!err)
		err = get(s, text, size_bytes);
	if (err)
		return err;
	*content = size_bytes ? load(text, size_bytes) + (size_bytes == 2 ? 256 : 0) : UINT64_MAX;
	s->window_bytes = single ? *content : (1ull << (10 + (window >> 3))) + (1ull << (10 + (window >> 3))) / 8 * (window & 7);
	if (s->window_bytes > s->window_max)
		return fault_set(s->f, -EOPNOTSUPP, "packed by zstd with a window of %llu MiB: at most %llu are taken (pack it without --long, or with less)",
				 (unsigned long long)(s->window_bytes >> 20), (unsigned long long)(s->window_max >> 20));
	return 0;
}

static int frame_begin(struct zstd *s)
{
	uint64_t room = 2 * s->window_bytes + 2 * BLOCK_MAX;

	if (room > s->room) {
		free(s->window);
		s->room = 0;
		s->window = malloc((size_t)room + PAD);
		if (!s->window)
			return fault_set(s->f, -ENOMEM, "out of memory for a window of %llu MiB: give the builder more (--ram-mb)", (unsigned long long)(s->window_bytes >> 20));
		s->room = room;
	}
	s->out = s->fresh = s->window;
	s->produced = 0;
	s->huf.bits = 0;
	s->ll.there = s->of.there = s->ml.there = false;
	s->rep[0] = 1;
	s->rep[1] = 4;
	s->rep[2] = 8;
	xxh_begin(&s->sum);
	return 0;
}

static int frame(struct zstd *s)
{
	uint64_t content = 0;
	bool checked = false, last = false;
	uint8_t sum[4];
	int err = frame_head(s, &content, &checked);

	if (!err)
		err = frame_begin(s);
	while (!err && !last) /* each block takes three bytes */
		err = block(s, &last);
	if (!err)
		err = flush(s);
	if (!err && content != UINT64_MAX && content != s->produced)
		err = broken(s, "their length is not what they say");
	if (!err && checked)
		err = get(s, sum, 4);
	return !err && checked && load(sum, 4) != (xxh_end(&s->sum) & UINT32_MAX) ? broken(s, "their checksum does not hold") : err;
}

int zstd_unpack(const struct packed_io *io, uint64_t window_max, struct fault *f)
{
	struct zstd *s = malloc(sizeof(*s));
	uint8_t magic[4];
	bool any = false;
	int64_t got = 0;
	int err = 0;

	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	s->io = io;
	s->f = f;
	s->in_at = s->in_end = 0;
	s->window = NULL;
	s->room = 0;
	s->window_max = window_max;
	memset(s->block, 0, sizeof(s->block)); /* loads go past what was read */
	while (!err && (got = get_some(s, magic, 4)) == 4) { /* each frame takes its bytes */
		uint32_t what = (uint32_t)load(magic, 4);

		any = any || what == MAGIC;
		if (what == MAGIC)
			err = frame(s);
		else if ((what & ~15u) != SKIPPABLE)
			err = broken(s, "there is more after their end");
		else if (!(err = get(s, magic, 4)))
			err = get(s, NULL, load(magic, 4));
	}
	if (!err && got)
		err = got < 0 ? (int)got : broken(s, "they are cut short");
	if (!err && !any)
		err = broken(s, "they are empty");
	free(s->window);
	free(s);
	return err;
}
