/* virtio-blk: what each kind of request does to the file. Without the lock: only b->disk, b->read_only, b->id and the worker's own fields. */
#include "vmm/dev/blk_priv.h"

#include <errno.h>

static uint8_t host_failed(struct blk_req *r)
{
	r->host_error = true;
	return VIRTIO_BLK_S_IOERR;
}

static bool in_disk(const struct blk_req *r, uint64_t sector, uint64_t count)
{
	return sector <= r->sectors && count <= r->sectors - sector;
}

static ssize_t transfer_once(struct blk_req *r, bool in, uint32_t done, uint64_t at)
{
	size_t bytes;
	ssize_t got;
	/* The head takes the first bytes of the readable part. */
	int n = vq_chain_iov(r->q, r->c, in, in ? done : (uint32_t)sizeof(struct virtio_blk_outhdr) + done, r->data_bytes - done,
			     r->b->iov, (int)ARRAY_LEN(r->b->iov), &bytes);

	if (n <= 0)
		return -EFAULT;
	got = in ? disk_readv(&r->b->disk, r->b->iov, n, at) : disk_writev(&r->b->disk, r->b->iov, n, at);
	gm_iov_put(r->q->gm, (unsigned)n);
	return got;
}

/* Each turn moves at least one byte or ends. */
static uint8_t transfer(struct blk_req *r, bool in)
{
	uint32_t done = 0;

	if (r->data_bytes % SECTOR_BYTES || !in_disk(r, r->sector, r->data_bytes / SECTOR_BYTES))
		return VIRTIO_BLK_S_IOERR;
	if (!in && r->b->read_only)
		return VIRTIO_BLK_S_IOERR;
	while (done < r->data_bytes) {
		ssize_t got = transfer_once(r, in, done, r->sector * SECTOR_BYTES + done);

		if (got <= 0)
			return host_failed(r);
		done += (uint32_t)got;
		if (in)
			r->written = done;
	}
	if (!in && r->write_through && disk_flush(&r->b->disk))
		return host_failed(r);
	return VIRTIO_BLK_S_OK;
}

static uint8_t flush(struct blk_req *r)
{
	if (!r->b->read_only && disk_flush(&r->b->disk))
		return host_failed(r);
	return VIRTIO_BLK_S_OK;
}

static uint8_t get_id(struct blk_req *r)
{
	if (r->data_bytes < BLK_ID_BYTES || vq_chain_write(r->q, r->c, 0, r->b->id, BLK_ID_BYTES) != (ssize_t)BLK_ID_BYTES)
		return VIRTIO_BLK_S_IOERR;
	r->written = BLK_ID_BYTES;
	return VIRTIO_BLK_S_OK;
}

static uint8_t one_range(struct blk_req *r, const struct virtio_blk_discard_write_zeroes *d)
{
	bool discard = r->type == VIRTIO_BLK_T_DISCARD;
	bool unmap = d->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	uint64_t at = d->sector * SECTOR_BYTES, bytes = (uint64_t)d->num_sectors * SECTOR_BYTES;
	int err;

	if (d->flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (discard && d->flags))
		return VIRTIO_BLK_S_UNSUPP;
	if (d->num_sectors > (discard ? DISCARD_SECTORS_MAX : ZEROES_SECTORS_MAX) || !in_disk(r, d->sector, d->num_sectors))
		return VIRTIO_BLK_S_IOERR;
	if (bytes == 0)
		return VIRTIO_BLK_S_OK;
	err = discard ? disk_discard(&r->b->disk, at, bytes) : disk_zero(&r->b->disk, at, bytes, unmap);
	return err ? host_failed(r) : VIRTIO_BLK_S_OK;
}

static uint8_t ranges(struct blk_req *r)
{
	struct virtio_blk_discard_write_zeroes d[RANGES_MAX];
	uint32_t n = r->data_bytes / (uint32_t)sizeof(d[0]);

	if (r->b->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (n == 0 || n > RANGES_MAX || r->data_bytes % sizeof(d[0]))
		return VIRTIO_BLK_S_UNSUPP;
	if (vq_chain_read(r->q, r->c, sizeof(struct virtio_blk_outhdr), d, r->data_bytes) != (ssize_t)r->data_bytes)
		return VIRTIO_BLK_S_IOERR;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t status = one_range(r, &d[i]);

		if (status != VIRTIO_BLK_S_OK)
			return status;
	}
	if (r->write_through && disk_flush(&r->b->disk))
		return host_failed(r);
	return VIRTIO_BLK_S_OK;
}

uint8_t blk_perform(struct blk_req *r)
{
	const struct vq_chain *c = r->c;
	uint32_t in_bytes = c->write_bytes - 1, out_bytes = c->read_bytes - (uint32_t)sizeof(struct virtio_blk_outhdr);

	r->data_bytes = r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_GET_ID ? in_bytes : out_bytes;
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
		return transfer(r, true);
	case VIRTIO_BLK_T_OUT:
		return transfer(r, false);
	case VIRTIO_BLK_T_FLUSH:
		return flush(r);
	case VIRTIO_BLK_T_GET_ID:
		return get_id(r);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return ranges(r);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}
