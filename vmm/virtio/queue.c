/* Split virtqueue, device side. virtio 1.2 §2.7; see queue.h. */
#include "vmm/virtio/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DESC_BYTES 16u
#define USED_ELEM_BYTES 8u
#define AVAIL_IDX 2u  /* struct virtq_avail: flags, idx, ring[size], used_event */
#define AVAIL_RING 4u
#define USED_IDX 2u   /* struct virtq_used: flags, idx, ring[size], avail_event */
#define USED_RING 4u

static int vq_break(struct vq *q, int err)
{
	q->broken = true;
	return err;
}

static uint64_t used_event_gpa(const struct vq *q)
{
	return q->avail_gpa + AVAIL_RING + 2u * q->size;
}

static uint64_t avail_event_gpa(const struct vq *q)
{
	return q->used_gpa + USED_RING + USED_ELEM_BYTES * q->size;
}

int vq_start(struct vq *q)
{
	uint64_t n = q->size;

	if (n == 0 || n > VQ_SIZE_MAX || (n & (n - 1)))
		return -EINVAL;
	if (q->desc_gpa % 16 || q->avail_gpa % 2 || q->used_gpa % 4)
		return -EINVAL;
	/* With all three areas checked, the ring addresses computed below cannot wrap. */
	if (!gm_has(q->gm, q->desc_gpa, n * DESC_BYTES) || !gm_has(q->gm, q->avail_gpa, AVAIL_RING + 2 * n + 2) ||
	    !gm_has(q->gm, q->used_gpa, USED_RING + USED_ELEM_BYTES * n + 2))
		return -EFAULT;
	q->ready = true;
	return 0;
}

void vq_reset(struct vq *q)
{
	*q = (struct vq){ .gm = q->gm };
}

int vq_avail(struct vq *q)
{
	uint16_t idx, n;

	if (!q->ready || q->broken)
		return 0;
	if (gm_load_acquire_u16(q->gm, q->avail_gpa + AVAIL_IDX, &idx))
		return vq_break(q, -EFAULT);
	n = (uint16_t)(idx - q->next_avail);
	if (n > q->size)
		return vq_break(q, -EPROTO);
	return n;
}

/* One table of descriptors: the ring's own, or an indirect one. */
struct table {
	uint64_t gpa;
	uint32_t entries;
};

static int desc_read(const struct vq *q, const struct table *t, uint32_t i, struct vring_desc *d)
{
	if (i >= t->entries)
		return -EPROTO;
	return gm_read(q->gm, t->gpa + (uint64_t)i * DESC_BYTES, d, DESC_BYTES);
}

/* Adds one buffer to the chain; each rule about buffers is here. */
static int chain_add(const struct vq *q, struct vq_chain *c, const struct vring_desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;

	if (c->segs >= q->size || d->len == 0)
		return -EPROTO;
	if (!writable && c->readable != c->segs) /* readable after writable */
		return -EPROTO;
	if (d->len > VQ_CHAIN_BYTES_MAX || c->read_bytes + c->write_bytes + d->len > VQ_CHAIN_BYTES_MAX)
		return -EPROTO;
	if (!gm_has(q->gm, d->addr, d->len))
		return -EFAULT;
	c->seg[c->segs++] = (struct vq_seg){ d->addr, d->len };
	if (writable) {
		c->write_bytes += d->len;
	} else {
		c->readable++;
		c->read_bytes += d->len;
	}
	return 0;
}

/* A table ends the ring's own part of a chain (§2.7.5.3): no NEXT, whole entries, at most the queue's size. WRITE means nothing there. */
static int table_enter(const struct vq *q, const struct vring_desc *d, struct table *t)
{
	if (!q->indirect || d->flags & VRING_DESC_F_NEXT)
		return -EPROTO;
	if (d->len == 0 || d->len % DESC_BYTES || d->len / DESC_BYTES > q->size)
		return -EPROTO;
	if (!gm_has(q->gm, d->addr, d->len))
		return -EFAULT;
	*t = (struct table){ d->addr, d->len / DESC_BYTES };
	return 0;
}

/* Bounded by q->size + 1 turns: each adds a buffer (counted in chain_add), and one of them may enter a table. */
static int chain_walk(const struct vq *q, struct vq_chain *c)
{
	struct table t = { q->desc_gpa, q->size };
	uint32_t i = c->head;
	bool inside = false;

	for (;;) {
		struct vring_desc d;
		int err = desc_read(q, &t, i, &d);

		if (err)
			return err;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (inside)
				return -EPROTO;
			err = table_enter(q, &d, &t);
			inside = true;
			i = 0;
			if (err)
				return err;
			continue;
		}
		err = chain_add(q, c, &d);
		if (err)
			return err;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		i = d.next;
	}
}

int vq_pop(struct vq *q, struct vq_chain *c)
{
	int n = vq_avail(q), err;
	uint16_t head;

	if (n <= 0)
		return n;
	if (gm_read_u16(q->gm, q->avail_gpa + AVAIL_RING + 2u * (q->next_avail & (q->size - 1u)), &head))
		return vq_break(q, -EFAULT);
	c->head = head;
	c->segs = c->readable = 0;
	c->read_bytes = c->write_bytes = 0;
	err = chain_walk(q, c);
	if (err)
		return vq_break(q, err);
	q->next_avail++;
	return 1;
}

void vq_unpop(struct vq *q, uint16_t n)
{
	q->next_avail = (uint16_t)(q->next_avail - n);
}

int vq_fill(struct vq *q, uint16_t ahead, uint16_t head, uint32_t written_bytes)
{
	struct vring_used_elem e = { .id = head, .len = written_bytes };
	uint16_t slot = (uint16_t)(q->next_used + ahead) & (uint16_t)(q->size - 1u);

	if (!q->ready || q->broken)
		return -EPROTO;
	if (gm_write(q->gm, q->used_gpa + USED_RING + (uint64_t)slot * USED_ELEM_BYTES, &e, sizeof(e)))
		return vq_break(q, -EFAULT);
	return 0;
}

int vq_publish(struct vq *q, uint16_t n)
{
	if (!q->ready || q->broken)
		return -EPROTO;
	q->next_used = (uint16_t)(q->next_used + n);
	if (gm_store_release_u16(q->gm, q->used_gpa + USED_IDX, q->next_used))
		return vq_break(q, -EFAULT);
	return 0;
}

int vq_push(struct vq *q, uint16_t head, uint32_t written_bytes)
{
	int err = vq_fill(q, 0, head, written_bytes);

	return err ? err : vq_publish(q, 1);
}

bool vq_wants_irq(struct vq *q)
{
	uint16_t event, flags, old = q->told_used;
	bool told = q->told;

	if (!q->ready || q->broken)
		return false;
	/* The used index must be visible before we look whether the driver waits for it; it does the same the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx) {
		if (gm_read_u16(q->gm, q->avail_gpa, &flags))
			return false;
		return !(flags & VRING_AVAIL_F_NO_INTERRUPT);
	}
	q->told_used = q->next_used;
	q->told = true;
	if (gm_read_u16(q->gm, used_event_gpa(q), &event))
		return false;
	return !told || vring_need_event(event, q->next_used, old);
}

bool vq_kicks_on(struct vq *q)
{
	int err;

	if (!q->ready || q->broken)
		return false;
	if (q->event_idx)
		err = gm_write_u16(q->gm, avail_event_gpa(q), (uint16_t)(q->next_avail + q->kick_ahead));
	else
		err = gm_write_u16(q->gm, q->used_gpa, 0);
	if (err) {
		vq_break(q, err);
		return false;
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return vq_avail(q) > 0;
}
