/* Bytes of a checked chain: copies and iovecs. See queue.h. */
#include "vmm/virtio/queue.h"

#include <errno.h>

/* Walks the readable or the writable part of a chain from a byte offset. */
struct cursor {
	const struct vq_seg *seg, *end;
	uint32_t off; /* into *seg */
};

static struct cursor cursor_at(const struct vq_chain *c, bool writable, uint32_t off)
{
	struct cursor k = { c->seg + (writable ? c->readable : 0), c->seg + (writable ? c->segs : c->readable), off };

	while (k.seg < k.end && k.off >= k.seg->len) {
		k.off -= k.seg->len;
		k.seg++;
	}
	return k;
}

/* Next run of at most len bytes; 0 at the end. */
static uint32_t cursor_next(struct cursor *k, size_t len, uint64_t *gpa)
{
	uint32_t left;

	if (k->seg >= k->end)
		return 0;
	left = k->seg->len - k->off;
	*gpa = k->seg->gpa + k->off;
	if (len < left) {
		k->off += (uint32_t)len;
		return (uint32_t)len;
	}
	k->seg++;
	k->off = 0;
	return left;
}

ssize_t vq_chain_read(struct vq *q, const struct vq_chain *c, uint32_t off, void *dst, size_t len)
{
	struct cursor k = cursor_at(c, false, off);
	size_t done = 0;

	while (done < len) {
		uint64_t gpa;
		uint32_t n = cursor_next(&k, len - done, &gpa);

		if (n == 0)
			break;
		if (gm_read(q->gm, gpa, (uint8_t *)dst + done, n))
			return -EFAULT;
		done += n;
	}
	return (ssize_t)done;
}

ssize_t vq_chain_write(struct vq *q, const struct vq_chain *c, uint32_t off, const void *src, size_t len)
{
	struct cursor k = cursor_at(c, true, off);
	size_t done = 0;

	while (done < len) {
		uint64_t gpa;
		uint32_t n = cursor_next(&k, len - done, &gpa);

		if (n == 0)
			break;
		if (gm_write(q->gm, gpa, (const uint8_t *)src + done, n))
			return -EFAULT;
		done += n;
	}
	return (ssize_t)done;
}

int vq_chain_iov(struct vq *q, const struct vq_chain *c, bool writable, uint32_t off, uint32_t len, struct iovec *iov, int max,
		 size_t *bytes)
{
	struct cursor k = cursor_at(c, writable, off);
	size_t done = 0;
	int n = 0;

	while (done < len && n < max) {
		uint64_t gpa;
		uint32_t run = cursor_next(&k, len - done, &gpa);

		if (run == 0)
			break;
		if (gm_iov(q->gm, gpa, run, &iov[n])) {
			gm_iov_put(q->gm, (unsigned)n);
			return -EFAULT;
		}
		n++;
		done += run;
	}
	*bytes = done;
	return n;
}
