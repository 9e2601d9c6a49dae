/*
 * vmm/virtio: the walk over a chain of descriptors ends, stays in its tables and gives only buffers that are memory, though all of guest memory is the
 * guest's word and changes between two reads: every read answers any bytes. Queues of up to QUEUE_MAX; the code knows the size only as a number.
 * cbmc: --unwind 7 --unsigned-overflow-check
 *
 * Mutations it was seen to catch: chain_add without `c->segs >= q->size`; desc_read without its check of the index; chain_walk without
 * `if (inside)`. How bytes of a checked chain are copied is too much for the solver; tests/fuzz/vq.c and the unit tests have that.
 */
#include "tests/proof/proof.h"

#include "vmm/virtio/queue.c"

#define QUEUE_MAX 4u
#define RAM_BYTES (1ull << 40)

static struct vq q;
static struct vq_chain c;

/* ---- guest memory, as gm.h says it: one region, which never changes; what stands in it does with every read ---- */

static bool granted(uint64_t gpa, uint64_t len)
{
	return gpa <= RAM_BYTES && len <= RAM_BYTES - gpa;
}

bool gm_has(const struct gm *gm, uint64_t gpa, uint64_t len)
{
	(void)gm;
	return granted(gpa, len);
}

int gm_read(const struct gm *gm, uint64_t gpa, void *dst, size_t len)
{
	(void)gm;
	PROVE(granted(gpa, len), "read: RAM alone");
	PROVE(__CPROVER_w_ok(dst, len), "read: there is room for it");
	if (len == sizeof(struct vring_desc))
		*(struct vring_desc *)dst = (struct vring_desc){ nondet_u64(), nondet_u32(), nondet_u16(), nondet_u16() };
	return 0;
}

int gm_read_u16(const struct gm *gm, uint64_t gpa, uint16_t *out)
{
	*out = nondet_u16();
	return gm_read(gm, gpa, out, 2);
}

int gm_load_acquire_u16(const struct gm *gm, uint64_t gpa, uint16_t *out)
{
	return gm_read_u16(gm, gpa, out);
}

int gm_write(struct gm *gm, uint64_t gpa, const void *src, size_t len)
{
	(void)gm;
	PROVE(granted(gpa, len), "write: RAM alone");
	PROVE(__CPROVER_r_ok(src, len), "write: there is as much to write");
	return 0;
}

int gm_write_u16(struct gm *gm, uint64_t gpa, uint16_t v)
{
	return gm_write(gm, gpa, &v, 2);
}

int gm_store_release_u16(struct gm *gm, uint64_t gpa, uint16_t v)
{
	return gm_write(gm, gpa, &v, 2);
}

/* ---- the harnesses ---- */

/* A queue as a guest may set it up: any size, any addresses; those that vq_start refuses end here. */
static void any_queue(void)
{
	q.size = nondet_u16();
	ASSUME(q.size <= QUEUE_MAX || q.size > VQ_SIZE_MAX); /* between: more of the same */
	q.desc_gpa = nondet_u64();
	q.avail_gpa = nondet_u64();
	q.used_gpa = nondet_u64();
	q.event_idx = nondet_bool();
	q.indirect = nondet_bool();
	q.next_avail = nondet_u16();
	q.next_used = nondet_u16();
	q.told_used = nondet_u16();
	q.told = nondet_bool();
	ASSUME(vq_start(&q) == 0);
	PROVE(q.size >= 1 && q.size <= VQ_SIZE_MAX && (q.size & (q.size - 1)) == 0, "a ready queue has a size that is a power of two");
}

void proof_chain_walk(void)
{
	uint64_t sum[2] = { 0, 0 };
	int got;

	any_queue();
	ASSUME(q.next_avail < UINT16_MAX); /* it wraps on purpose, which the check for overflow would say */
	got = vq_pop(&q, &c);
	PROVE(got == 1 || got == 0 || (got < 0 && q.broken), "a chain, none, or a broken queue");
	if (got != 1)
		return;
	PROVE(c.segs >= 1 && c.segs <= q.size && c.readable <= c.segs && c.head < q.size, "as many buffers as the queue may have at most");
	for (unsigned i = 0; i < c.segs; i++) {
		PROVE(c.seg[i].len >= 1 && granted(c.seg[i].gpa, c.seg[i].len), "each buffer is memory");
		sum[i >= c.readable] += c.seg[i].len;
	}
	PROVE(sum[0] == c.read_bytes && sum[1] == c.write_bytes && sum[0] + sum[1] <= VQ_CHAIN_BYTES_MAX, "the sums are true and bounded");
}

/* Used elements, indices, events: always within the rings. */
void proof_used(void)
{
	any_queue();
	switch (nondet_u8() % 4) {
	case 0:
		(void)vq_fill(&q, nondet_u16(), nondet_u16(), nondet_u32());
		break;
	case 1:
		(void)vq_push(&q, nondet_u16(), nondet_u32());
		break;
	case 2:
		(void)vq_wants_irq(&q);
		break;
	default:
		q.kick_ahead = nondet_u16();
		(void)vq_kicks_on(&q);
		break;
	}
}
