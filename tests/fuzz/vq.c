/* Virtqueue chains: the input is the head of guest memory, rings and tables and all; every chain is taken, read, written, returned. */
#include "tests/unit/gmdrv.h"
#include "vmm/virtio/queue.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/uio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_chain(struct vq *q, const struct vq_chain *c)
{
	static uint8_t bytes[65536];
	struct iovec iov[16];
	size_t got;
	uint64_t read = 0, write = 0;
	int n;

	for (unsigned i = 0; i < c->segs; i++)
		*(i < c->readable ? &read : &write) += c->seg[i].len;
	if (c->segs > q->size || c->readable > c->segs || read != c->read_bytes || write != c->write_bytes)
		abort();
	if (vq_chain_read(q, c, 0, bytes, sizeof(bytes)) != (ssize_t)(read < sizeof(bytes) ? read : sizeof(bytes)))
		abort();
	vq_chain_write(q, c, c->write_bytes / 2, bytes, sizeof(bytes) / 4);
	n = vq_chain_iov(q, c, c->head & 1, c->read_bytes / 3, 100000, iov, 16, &got);
	if (n > 0)
		gm_iov_put(q->gm, (unsigned)n);
	vq_push(q, c->head, c->write_bytes);
	vq_wants_irq(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gm gm;
	static struct vq_chain c;
	struct vq q = { .gm = &gm };
	uint8_t head[4] = { 0 };

	if (!gm.map && gm_init(&gm, 1 << 20, NULL))
		abort();
	for (unsigned i = 0; i < 4 && size; i++, data++, size--)
		head[i] = *data;
	if (size > 65536)
		size = 65536;
	gm_zero(&gm, 0, 1 << 20);
	gm_write(&gm, 0, data, size);
	q.size = (uint16_t)(1u << (head[0] & 15));
	q.indirect = head[0] & 16;
	q.event_idx = head[0] & 32;
	q.desc_gpa = 0;
	q.avail_gpa = (uint64_t)head[1] << 4;
	q.used_gpa = (uint64_t)head[2] << 4 | (head[0] & 64 ? 0xffff0u : 0);
	if (vq_start(&q))
		return 0;
	q.next_avail = head[3];
	for (int i = 0; i < 64 && vq_pop(&q, &c) > 0; i++)
		use_chain(&q, &c);
	q.kick_ahead = head[3];
	vq_kicks_on(&q);
	if (gm.iov_live)
		abort();
	return 0;
}
