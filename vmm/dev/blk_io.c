/* virtio-blk: what each kind of request does to the file. Without the lock: only b->fd, b->read_only, b->id and the worker's own fields. */
#include "vmm/dev/blk_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

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
	do
		got = in ? preadv(r->b->fd, r->b->iov, n, (off_t)at) : pwritev(r->b->fd, r->b->iov, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		got = -errno;
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
	if (!in && r->write_through && fdatasync(r->b->fd) < 0)
		return host_failed(r);
	return VIRTIO_BLK_S_OK;
}

static uint8_t flush(struct blk_req *r)
{
	if (!r->b->read_only && fdatasync(r->b->fd) < 0)
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

/* For file systems without FALLOC_FL_ZERO_RANGE. bytes ≤ ZEROES_SECTORS_MAX * SECTOR_BYTES. */
static int write_zeros(int fd, uint64_t at, uint64_t bytes)
{
	static const uint8_t zeros[65536];

	while (bytes) {
		size_t n = bytes < sizeof(zeros) ? (size_t)bytes : sizeof(zeros);
		int err = pwrite_full(fd, zeros, n, at);

		if (err)
			return err;
		at += n;
		bytes -= n;
	}
	return 0;
}

static int clear_range(int fd, bool unmap, uint64_t at, uint64_t bytes)
{
	int mode = FALLOC_FL_KEEP_SIZE | (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);

	if (fallocate(fd, mode, (off_t)at, (off_t)bytes) == 0)
		return 0;
	return -errno;
}

static uint8_t one_range(struct blk_req *r, const struct virtio_blk_discard_write_zeroes *d)
{
	bool discard = r->type == VIRTIO_BLK_T_DISCARD;
	bool unmap = discard || d->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	uint64_t at = d->sector * SECTOR_BYTES, bytes = (uint64_t)d->num_sectors * SECTOR_BYTES;
	int err;

	if (d->flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (discard && d->flags))
		return VIRTIO_BLK_S_UNSUPP;
	if (d->num_sectors > (discard ? DISCARD_SECTORS_MAX : ZEROES_SECTORS_MAX) || !in_disk(r, d->sector, d->num_sectors))
		return VIRTIO_BLK_S_IOERR;
	if (bytes == 0)
		return VIRTIO_BLK_S_OK;
	err = clear_range(r->b->fd, unmap, at, bytes);
	if (err == -EOPNOTSUPP && discard)
		return VIRTIO_BLK_S_OK; /* a discard is a hint */
	if (err == -EOPNOTSUPP)
		err = write_zeros(r->b->fd, at, bytes);
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
	if (r->write_through && fdatasync(r->b->fd) < 0)
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
