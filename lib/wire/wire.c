#include "lib/wire/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIELD_HEAD = 8 };

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v & 0xffff);
	put16(p + 2, v >> 16);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

size_t wire_begin(struct buf *b, uint16_t type, uint32_t id)
{
	size_t mark = buf_len(b);
	uint8_t *p = buf_room(b, WIRE_HEAD_BYTES);
	if (p) {
		put32(p, 0);
		put16(p + 4, type);
		put16(p + 6, 0);
		put32(p + 8, id);
		buf_grew(b, WIRE_HEAD_BYTES);
	}
	return mark;
}

void wire_bytes(struct buf *b, uint16_t tag, const void *src, size_t n)
{
	if (n > WIRE_PAYLOAD_MAX) {
		b->failed = true;
		return;
	}
	uint8_t *p = buf_room(b, FIELD_HEAD + n);
	if (!p)
		return;
	put16(p, tag);
	put16(p + 2, 0);
	put32(p + 4, (uint32_t)n);
	if (n)
		memcpy(p + FIELD_HEAD, src, n);
	buf_grew(b, FIELD_HEAD + n);
}

void wire_u64(struct buf *b, uint16_t tag, uint64_t v)
{
	uint8_t le[8];
	put32(le, (uint32_t)v);
	put32(le + 4, (uint32_t)(v >> 32));
	wire_bytes(b, tag, le, sizeof le);
}

void wire_str(struct buf *b, uint16_t tag, const char *s)
{
	if (s)
		wire_bytes(b, tag, s, strlen(s));
}

size_t wire_open(struct buf *b, uint16_t tag)
{
	size_t mark = buf_len(b);
	wire_bytes(b, tag, NULL, 0);
	return mark;
}

void wire_close(struct buf *b, size_t mark)
{
	if (!b->failed)
		put32(buf_data(b) + mark + 4, (uint32_t)(buf_len(b) - mark - FIELD_HEAD));
}

int wire_end(struct buf *b, size_t mark)
{
	if (b->failed)
		return -ENOBUFS;
	size_t n = buf_len(b) - mark - WIRE_HEAD_BYTES;
	if (n > WIRE_PAYLOAD_MAX) {
		b->tail -= n + WIRE_HEAD_BYTES; /* takes the frame back, so that the stream stays whole */
		return -EMSGSIZE;
	}
	put32(buf_data(b) + mark, (uint32_t)n);
	return 0;
}

void wire_iter_init(struct wire_iter *it, const void *p, size_t n)
{
	it->p = p;
	it->left = n;
}

/* 1 a field, 0 the end, -EPROTO broken. */
static int step(struct wire_iter *it, struct wire_field *f)
{
	if (it->left == 0)
		return 0;
	if (it->left < FIELD_HEAD || get16(it->p + 2) != 0)
		return -EPROTO;
	uint32_t n = get32(it->p + 4);
	if (n > it->left - FIELD_HEAD)
		return -EPROTO;
	f->tag = get16(it->p);
	f->p = it->p + FIELD_HEAD;
	f->n = n;
	it->p += FIELD_HEAD + n;
	it->left -= FIELD_HEAD + n;
	return 1;
}

bool wire_next(struct wire_iter *it, struct wire_field *f)
{
	return step(it, f) == 1;
}

static int fields_are_whole(const void *p, size_t n)
{
	struct wire_iter it;
	struct wire_field f;
	int more;
	wire_iter_init(&it, p, n);
	while ((more = step(&it, &f)) == 1)
		;
	return more;
}

int wire_parse(const void *src, size_t n, struct wire_msg *out, size_t *used)
{
	const uint8_t *p = src;
	if (n < WIRE_HEAD_BYTES)
		return -EAGAIN;
	uint32_t len = get32(p);
	if (len > WIRE_PAYLOAD_MAX || get16(p + 6) != 0)
		return -EPROTO;
	if (n - WIRE_HEAD_BYTES < len)
		return -EAGAIN;
	int err = fields_are_whole(p + WIRE_HEAD_BYTES, len);
	if (err)
		return err;
	*out = (struct wire_msg){.type = get16(p + 4), .id = get32(p + 8), .p = p + WIRE_HEAD_BYTES, .n = len};
	*used = WIRE_HEAD_BYTES + len;
	return 0;
}

bool wire_get(const struct wire_msg *m, uint16_t tag, struct wire_field *f)
{
	struct wire_iter it;
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, f))
		if (f->tag == tag)
			return true;
	return false;
}

bool wire_field_u64(const struct wire_field *f, uint64_t *v)
{
	if (f->n != 8)
		return false;
	*v = get32(f->p) | (uint64_t)get32(f->p + 4) << 32;
	return true;
}

bool wire_get_u64(const struct wire_msg *m, uint16_t tag, uint64_t *v)
{
	struct wire_field f;
	return wire_get(m, tag, &f) && wire_field_u64(&f, v);
}

int wire_get_str(const struct wire_msg *m, uint16_t tag, char *dst, size_t cap)
{
	struct wire_field f;
	if (!wire_get(m, tag, &f))
		return -ENOENT;
	if (f.n >= cap)
		return -EMSGSIZE;
	if (f.n && memchr(f.p, 0, f.n))
		return -EINVAL;
	memcpy(dst, f.p, f.n);
	dst[f.n] = '\0';
	return 0;
}

int wire_sub(const struct wire_field *f, struct wire_msg *out)
{
	int err = fields_are_whole(f->p, f->n);
	if (err)
		return err;
	*out = (struct wire_msg){.type = f->tag, .p = f->p, .n = f->n};
	return 0;
}

char *wire_field_dup(const struct wire_field *f)
{
	if (f->n && memchr(f->p, 0, f->n))
		return NULL;
	char *s = malloc((size_t)f->n + 1);
	if (!s)
		return NULL;
	memcpy(s, f->p, f->n);
	s[f->n] = '\0';
	return s;
}
