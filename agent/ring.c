#include "agent/ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct head {
	uint32_t n, kind;
	uint64_t time_ns;
};

int ring_init(struct ring *r, size_t cap)
{
	memset(r, 0, sizeof *r);
	void *mem = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return -ENOMEM;
	r->mem = mem;
	r->cap = cap;
	r->first_id = r->next_id = RING_FIRST_ID;
	return 0;
}

void ring_done(struct ring *r)
{
	if (r->mem)
		munmap(r->mem, r->cap);
	r->mem = NULL;
}

size_t ring_frame_max(const struct ring *r)
{
	return r->cap / 4 - sizeof(struct head);
}

/* Copies to or from a place that may go round the end. */
static void copy_in(struct ring *r, uint64_t at, const void *p, size_t n)
{
	size_t place = (size_t)(at % r->cap), first = n < r->cap - place ? n : r->cap - place;
	memcpy(r->mem + place, p, first);
	memcpy(r->mem, (const uint8_t *)p + first, n - first);
}

static void copy_out(const struct ring *r, uint64_t at, void *p, size_t n)
{
	size_t place = (size_t)(at % r->cap), first = n < r->cap - place ? n : r->cap - place;
	memcpy(p, r->mem + place, first);
	memcpy((uint8_t *)p + first, r->mem, n - first);
}

void ring_put(struct ring *r, unsigned kind, uint64_t time_ns, const void *p, size_t n)
{
	struct head h = {.n = (uint32_t)n, .kind = kind, .time_ns = time_ns}, old;
	while (r->head - r->tail + sizeof h + n > r->cap) {
		copy_out(r, r->tail, &old, sizeof old);
		r->tail += sizeof old + old.n;
		r->first_id++;
		r->dropped += old.n;
	}
	copy_in(r, r->head, &h, sizeof h);
	copy_in(r, r->head + sizeof h, p, n);
	r->head += sizeof h + n;
	r->next_id++;
	r->written += n;
}

void ring_seek(const struct ring *r, struct ring_cursor *c, uint64_t from_id)
{
	struct head h;
	*c = (struct ring_cursor){.id = from_id, .exact = true};
	if (c->id <= RING_FIRST_ID) {
		c->id = RING_FIRST_ID;
		c->at = r->tail;
		return;
	}
	if (c->id < r->first_id) {
		c->exact = false;
		return;
	}
	if (c->id > r->next_id)
		c->id = r->next_id;
	c->at = r->tail;
	c->bytes = r->dropped;
	for (uint64_t id = r->first_id; id < c->id; id++) {
		copy_out(r, c->at, &h, sizeof h);
		c->at += sizeof h + h.n;
		c->bytes += h.n;
	}
}

bool ring_next(const struct ring *r, struct ring_cursor *c, struct ring_item *item, void *dst)
{
	struct head h;
	if (c->id < r->first_id) {
		*item = (struct ring_item){.gap = true, .id = r->first_id, .dropped_frames = r->first_id - c->id,
					   .dropped_bytes = r->dropped - c->bytes, .exact = c->exact};
		*c = (struct ring_cursor){.id = r->first_id, .at = r->tail, .bytes = r->dropped, .exact = true};
		return true;
	}
	if (c->id >= r->next_id)
		return false;
	copy_out(r, c->at, &h, sizeof h);
	copy_out(r, c->at + sizeof h, dst, h.n);
	*item = (struct ring_item){.id = c->id, .kind = h.kind, .time_ns = h.time_ns, .n = h.n};
	c->id++;
	c->at += sizeof h + h.n;
	c->bytes += h.n;
	return true;
}
