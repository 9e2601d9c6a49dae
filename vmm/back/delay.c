/* The ring of delay.h: records of a header and a packet, none across the end. */
#include "vmm/back/delay.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct record {
	uint32_t bytes; /* of the packet; SKIP: the rest of the ring is unused */
	uint32_t way;
	uint64_t due_ns;
};
#define SKIP UINT32_MAX
#define ROUND(n) (((n) + 15u) & ~(size_t)15u)

int delay_open(struct delay *d)
{
	void *p;

	if (d->ring)
		return 0;
	p = mmap(NULL, DELAY_RING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	*d = (struct delay){ .ring = p };
	return 0;
}

void delay_close(struct delay *d)
{
	if (d->ring)
		munmap(d->ring, DELAY_RING_BYTES);
	*d = (struct delay){ .ring = NULL };
}

void delay_clear(struct delay *d)
{
	*d = (struct delay){ .ring = d->ring };
}

static struct record record_at(const struct delay *d, size_t at)
{
	struct record r;

	memcpy(&r, d->ring + at, sizeof(r));
	return r;
}

/* Where a record of that size goes, *at. One place stays free, so that a full ring differs from an empty one. */
static bool find_room(const struct delay *d, size_t need, size_t *at)
{
	*at = d->tail;
	if (d->tail < d->head)
		return need < d->head - d->tail;
	if (need <= DELAY_RING_BYTES - d->tail)
		return d->head != 0 || need < DELAY_RING_BYTES - d->tail;
	*at = 0;
	return need < d->head;
}

uint8_t *delay_put(struct delay *d, size_t bytes, unsigned way, uint64_t due_ns)
{
	struct record r = { .bytes = (uint32_t)bytes, .way = way, .due_ns = due_ns > d->last_due_ns ? due_ns : d->last_due_ns };
	size_t at, need = sizeof(r) + ROUND(bytes);

	if (!d->ring || bytes > DELAY_RING_BYTES / 4)
		return NULL;
	if (!d->packets)
		d->head = d->tail = 0;
	if (!find_room(d, need, &at))
		return NULL;
	if (at != d->tail && d->tail < DELAY_RING_BYTES)
		memcpy(d->ring + d->tail, &(struct record){ .bytes = SKIP }, sizeof(r));
	memcpy(d->ring + at, &r, sizeof(r));
	d->tail = at + need == DELAY_RING_BYTES ? 0 : at + need;
	d->packets++;
	d->last_due_ns = r.due_ns;
	return d->ring + at + sizeof(r);
}

const uint8_t *delay_first(const struct delay *d, size_t *bytes, unsigned *way, uint64_t *due_ns)
{
	size_t at = d->head;
	struct record r;

	if (!d->packets)
		return NULL;
	r = record_at(d, at);
	if (r.bytes == SKIP) {
		at = 0;
		r = record_at(d, at);
	}
	*bytes = r.bytes;
	*way = r.way;
	*due_ns = r.due_ns;
	return d->ring + at + sizeof(r);
}

void delay_pop(struct delay *d)
{
	struct record r;

	if (!d->packets)
		return;
	r = record_at(d, d->head);
	if (r.bytes == SKIP) {
		d->head = 0;
		r = record_at(d, 0);
	}
	d->head += sizeof(r) + ROUND(r.bytes);
	if (d->head == DELAY_RING_BYTES)
		d->head = 0;
	if (--d->packets == 0)
		d->last_due_ns = 0;
}
