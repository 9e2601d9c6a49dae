/* virtio-blk: what each kind of request does to the file. Without the lock: only the job, and b->disk, b->read_only, b->id. */
#include "vmm/dev/blk_priv.h"

#include <errno.h>

static uint8_t host_failed(struct blk_job *j, int err)
{
	j->host_error = -err;
	return VIRTIO_BLK_S_IOERR;
}

static bool in_disk(const struct blk_job *j, uint64_t sector, uint64_t count)
{
	return sector <= j->sectors && count <= j->sectors - sector;
}

static ssize_t transfer_once(struct blk_job *j, bool in)
{
	struct disk *d = &j->b->disk;
	uint64_t at = j->sector * SECTOR_BYTES + j->done;
	size_t bytes;
	ssize_t got;
	/* The head takes the first bytes of the readable part. */
	int n = vq_chain_iov(j->q, &j->chain, in, in ? j->done : (uint32_t)sizeof(struct virtio_blk_outhdr) + j->done, j->data_bytes - j->done,
			     j->iov, (int)ARRAY_LEN(j->iov), &bytes);

	if (n <= 0)
		return -EFAULT;
	got = !in ? disk_writev(d, j->iov, n, at) : j->may_wait ? disk_readv(d, j->iov, n, at) : disk_readv_now(d, j->iov, n, at);
	gm_iov_put(j->q->gm, (unsigned)n);
	return got;
}

static uint8_t flush(struct blk_job *j)
{
	int err = 0;

	if (!j->b->read_only) {
		if (!j->may_wait)
			return STATUS_LATER;
		err = disk_flush(&j->b->disk);
	}
	return err ? host_failed(j, err) : VIRTIO_BLK_S_OK;
}

/* Each turn moves at least one byte or ends. */
static uint8_t transfer(struct blk_job *j, bool in)
{
	if (j->data_bytes % SECTOR_BYTES || !in_disk(j, j->sector, j->data_bytes / SECTOR_BYTES))
		return VIRTIO_BLK_S_IOERR;
	if (!in && j->b->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (!j->may_wait && (!in || j->data_bytes > NOW_MAX_BYTES))
		return STATUS_LATER;
	while (j->done < j->data_bytes) {
		ssize_t got = transfer_once(j, in);

		if (got == -EAGAIN && !j->may_wait)
			return STATUS_LATER;
		if (got <= 0)
			return host_failed(j, got ? (int)got : -EIO);
		j->done += (uint32_t)got;
		if (in)
			j->written = j->done;
	}
	return !in && j->write_through ? flush(j) : VIRTIO_BLK_S_OK;
}

static uint8_t get_id(struct blk_job *j)
{
	if (j->data_bytes < BLK_ID_BYTES || vq_chain_write(j->q, &j->chain, 0, j->b->id, BLK_ID_BYTES) != (ssize_t)BLK_ID_BYTES)
		return VIRTIO_BLK_S_IOERR;
	j->written = BLK_ID_BYTES;
	return VIRTIO_BLK_S_OK;
}

static uint8_t one_range(struct blk_job *j, const struct virtio_blk_discard_write_zeroes *d)
{
	bool discard = j->type == VIRTIO_BLK_T_DISCARD;
	bool unmap = d->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	uint64_t at = d->sector * SECTOR_BYTES, bytes = (uint64_t)d->num_sectors * SECTOR_BYTES;
	int err;

	if (d->flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (discard && d->flags))
		return VIRTIO_BLK_S_UNSUPP;
	if (d->num_sectors > (discard ? DISCARD_SECTORS_MAX : ZEROES_SECTORS_MAX) || !in_disk(j, d->sector, d->num_sectors))
		return VIRTIO_BLK_S_IOERR;
	if (bytes == 0)
		return VIRTIO_BLK_S_OK;
	err = discard ? disk_discard(&j->b->disk, at, bytes) : disk_zero(&j->b->disk, at, bytes, unmap);
	return err ? host_failed(j, err) : VIRTIO_BLK_S_OK;
}

static uint8_t ranges(struct blk_job *j)
{
	struct virtio_blk_discard_write_zeroes d[RANGES_MAX];
	uint32_t n = j->data_bytes / (uint32_t)sizeof(d[0]);

	if (j->b->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (n == 0 || n > RANGES_MAX || j->data_bytes % sizeof(d[0]))
		return VIRTIO_BLK_S_UNSUPP;
	if (!j->may_wait)
		return STATUS_LATER;
	if (vq_chain_read(j->q, &j->chain, sizeof(struct virtio_blk_outhdr), d, j->data_bytes) != (ssize_t)j->data_bytes)
		return VIRTIO_BLK_S_IOERR;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t status = one_range(j, &d[i]);

		if (status != VIRTIO_BLK_S_OK)
			return status;
	}
	return j->write_through ? flush(j) : VIRTIO_BLK_S_OK;
}

uint32_t blk_data_bytes(const struct blk_job *j)
{
	if (j->type == VIRTIO_BLK_T_IN || j->type == VIRTIO_BLK_T_GET_ID)
		return j->chain.write_bytes - 1;
	return j->chain.read_bytes - (uint32_t)sizeof(struct virtio_blk_outhdr);
}

uint8_t blk_perform(struct blk_job *j)
{
	switch (j->type) {
	case VIRTIO_BLK_T_IN:
		return transfer(j, true);
	case VIRTIO_BLK_T_OUT:
		return transfer(j, false);
	case VIRTIO_BLK_T_FLUSH:
		return flush(j);
	case VIRTIO_BLK_T_GET_ID:
		return get_id(j);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return ranges(j);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}
