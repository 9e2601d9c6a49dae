/*
 * The output a background command keeps: frames in a ring of bytes. A frame that does not fit pushes the oldest out, and what was
 * pushed out is counted, so that a reader learns exactly how much it missed. Pure: touches no descriptor.
 * Ids: the first frame put is RING_FIRST_ID, each one more than the last (1 is the command's A_STARTED, which stands in no ring).
 */
#ifndef AGENT_RING_H
#define AGENT_RING_H

#include "lib/base/base.h"

#define RING_FIRST_ID 2u

struct ring {
	uint8_t *mem;       /* owned: cap bytes, which the kernel gives when they are first used */
	size_t cap;
	uint64_t head, tail; /* ever written; the oldest still kept. Places are these modulo cap */
	uint64_t first_id;  /* of the oldest frame kept; next_id when there is none */
	uint64_t next_id;
	uint64_t written;   /* bytes of data put, ever */
	uint64_t dropped;   /* of these pushed out again */
};
/* 0 or -ENOMEM. */
int ring_init(struct ring *r, size_t cap);
void ring_done(struct ring *r); /* safe on a zeroed struct */
/* Most bytes one frame may have: a quarter of the ring, so that one frame never empties it. */
size_t ring_frame_max(const struct ring *r);
/* 1 ≤ n ≤ ring_frame_max(). */
void ring_put(struct ring *r, unsigned kind, uint64_t time_ns, const void *p, size_t n);

/* A reader's place. It stays valid whatever is put meanwhile. */
struct ring_cursor {
	uint64_t id;     /* of the frame it reads next */
	uint64_t at;     /* its place, when it is still kept */
	uint64_t bytes;  /* of data in all frames before it … */
	bool exact;      /* … known; else the caller starts amid what was pushed out, and 0 stands there */
};
/* At frame from_id, or at the end when there is none so far. */
void ring_seek(const struct ring *r, struct ring_cursor *c, uint64_t from_id);

struct ring_item {
	bool gap;
	uint64_t id;                            /* gap: of the frame that follows */
	unsigned kind;                          /* as put */
	uint64_t time_ns;
	size_t n;                               /* bytes of data */
	uint64_t dropped_frames, dropped_bytes; /* gap */
	bool exact;                             /* gap: dropped_bytes is, else it is an upper bound */
};
/* Next item and one step on; data goes to dst (room for ring_frame_max()). False at the end. */
bool ring_next(const struct ring *r, struct ring_cursor *c, struct ring_item *item, void *dst);

#endif
