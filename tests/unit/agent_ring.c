/* agent/ring: frames in, frames out, and what was pushed out counted to the byte. */
#include "agent/ring.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/tap.h"

#define FRAMES 20000u

static uint8_t got[1 << 16];

static size_t size_of(uint64_t id)
{
	return 1 + (size_t)(id * 2654435761u % 997);
}

/* Every frame's data can be told from its id. */
static void fill(uint8_t *p, uint64_t id)
{
	for (size_t i = 0; i < size_of(id); i++)
		p[i] = (uint8_t)(id * 31 + i);
}

static bool right(const struct ring_item *it)
{
	uint8_t want[1000];
	fill(want, it->id);
	return it->n == size_of(it->id) && it->kind == it->id % 3 && it->time_ns == it->id * 7 && memcmp(got, want, it->n) == 0;
}

static void put(struct ring *r)
{
	uint8_t data[1000];
	uint64_t id = r->next_id;
	fill(data, id);
	ring_put(r, (unsigned)(id % 3), id * 7, data, size_of(id));
}

static void test_small(void)
{
	struct ring r;
	struct ring_cursor c;
	struct ring_item it;
	ok(ring_init(&r, 4096) == 0 && ring_frame_max(&r) == 1008, "a ring of 4 KiB takes frames of 1008 bytes");
	ring_seek(&r, &c, 0);
	ok(!ring_next(&r, &c, &it, got), "empty: nothing to read");
	ring_put(&r, 1, 5, "abc", 3);
	ring_put(&r, 2, 6, "de", 2);
	ok(ring_next(&r, &c, &it, got) && !it.gap && it.id == 2 && it.kind == 1 && it.time_ns == 5 && it.n == 3 && !memcmp(got, "abc", 3), "the first frame has id 2");
	ok(ring_next(&r, &c, &it, got) && it.id == 3 && it.n == 2 && !ring_next(&r, &c, &it, got), "then the second, then the end");
	ring_seek(&r, &c, 3);
	ok(ring_next(&r, &c, &it, got) && it.id == 3, "reading starts where it is asked to");
	ring_seek(&r, &c, 99);
	ok(!ring_next(&r, &c, &it, got) && c.id == 4, "beyond the end: what comes next");
	ok(r.written == 5 && r.dropped == 0 && r.next_id == 4, "counted");
	ring_done(&r);
}

static void test_eviction(void)
{
	struct ring r;
	struct ring_cursor all, late, amid;
	struct ring_item it;
	uint64_t frames = 0, bytes = 0, gaps = 0, sum = 0;
	bool fine = true;
	(void)ring_init(&r, 65536 + 24);
	ring_seek(&r, &all, 1);
	ring_seek(&r, &late, 1);
	for (unsigned i = 0; i < FRAMES; i++) {
		put(&r);
		sum += size_of(r.next_id - 1);
		if (i % 401 == 0) { /* a reader that falls behind again and again */
			uint64_t want = late.id;
			while (ring_next(&r, &late, &it, got)) {
				fine = fine && (it.gap ? it.exact && it.id == want + it.dropped_frames : it.id == want && right(&it));
				frames += it.gap ? it.dropped_frames : 1;
				bytes += it.gap ? it.dropped_bytes : it.n;
				gaps += it.gap;
				want = late.id;
			}
		}
	}
	while (ring_next(&r, &late, &it, got)) {
		frames += it.gap ? it.dropped_frames : 1;
		bytes += it.gap ? it.dropped_bytes : it.n;
	}
	ok(fine && gaps > 10, "a slow reader gets whole frames and %u gaps", (unsigned)gaps);
	ok(frames == FRAMES && bytes == sum && sum == r.written, "what it got and what the gaps say is everything, to the byte");
	ok(ring_next(&r, &all, &it, got) && it.gap && it.exact && it.dropped_bytes == r.dropped && it.id == r.first_id &&
	   it.dropped_frames == r.first_id - 2, "one that never read gets one gap first");
	ok(ring_next(&r, &all, &it, got) && !it.gap && it.id == r.first_id && right(&it), "and then the oldest frame kept");
	ring_seek(&r, &amid, r.first_id - 5);
	ok(ring_next(&r, &amid, &it, got) && it.gap && !it.exact && it.dropped_frames == 5 && it.dropped_bytes == r.dropped,
	   "starting amid what is gone: frames exact, bytes an upper bound that says so");
	ring_seek(&r, &amid, r.next_id - 3);
	fine = true;
	for (unsigned i = 0; i < 3; i++)
		fine = fine && ring_next(&r, &amid, &it, got) && it.id == r.next_id - 3 + i && right(&it);
	ok(fine && !ring_next(&r, &amid, &it, got), "the last three are found by id");
	uint64_t kept = 0;
	ring_seek(&r, &amid, r.first_id);
	while (ring_next(&r, &amid, &it, got))
		kept += it.n;
	ok(kept + r.dropped == r.written && kept > 60000, "kept + dropped = written, and the ring is used well (%u of 65560)", (unsigned)kept);
	ring_done(&r);
}

int main(void)
{
	test_small();
	test_eviction();
	return tap_done();
}
