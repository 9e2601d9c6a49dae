/*
 * vmm/back/vtable.h: all streams of one guest: found by their two ports, counted, and given their share of the memory that may be buffered.
 * Hash chains stay short because the guest chooses only one of the two ports of what the host opens, and the
 * hash is seeded for what the guest opens.
 */
#ifndef VMM_BACK_VTABLE_H
#define VMM_BACK_VTABLE_H

#include "vmm/back/vstream.h"

#define VTABLE_BUCKETS 1024u

struct vtable {
	struct vstream *bucket[VTABLE_BUCKETS];
	struct vstream *all;
	struct vstream *todo, **todo_tail; /* first in, first out */
	unsigned streams, streams_max;
	uint64_t budget_bytes, granted_bytes; /* sum of buf_alloc */
	uint32_t alloc_min_bytes, alloc_max_bytes;
	uint32_t seed;
	uint32_t next_port;                /* for streams that the host opens */
};

/* budget ≥ streams_max * alloc_min. */
void vtable_init(struct vtable *t, unsigned streams_max, uint64_t budget_bytes, uint32_t alloc_min_bytes, uint32_t alloc_max_bytes);
struct vstream *vtable_find(struct vtable *t, uint32_t host_port, uint32_t guest_port);
/* A zeroed stream under these ports, with a buf_alloc: as large as the budget lets it be, never below the minimum. NULL: too many, or out
 * of memory. The ports must be free. */
struct vstream *vtable_add(struct vtable *t, uint32_t host_port, uint32_t guest_port);
/* A host port ≥ 0x40000000 that no stream to guest_port uses. */
uint32_t vtable_free_port(struct vtable *t, uint32_t guest_port);
/* Not found any more, still counted (DRAINING). Fine when it is not there. */
void vtable_unhash(struct vtable *t, struct vstream *s);
/* Unlinks and frees; the stream's own things were released (vstream_done). */
void vtable_remove(struct vtable *t, struct vstream *s);
/* The list of streams that have something for the guest. Adding twice is fine. */
void vtable_todo_add(struct vtable *t, struct vstream *s);
void vtable_todo_del(struct vtable *t, struct vstream *s);

#endif
