/* virtio-blk on a raw file. virtio 1.2 §5.2; see blk.h. */
#include "vmm/dev/blk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR_BYTES 512u
#define QUEUE_SIZE 256u
#define SEG_MAX (QUEUE_SIZE - 2)           /* head and status take two descriptors */
#define SIZE_MAX_BYTES (1u << 20)          /* of one segment: SEG_MAX of them stay below VQ_CHAIN_BYTES_MAX */
#define RANGES_MAX 16u                     /* ranges in one discard or write-zeroes request */
#define DISCARD_SECTORS_MAX (1u << 22)     /* 2 GiB */
#define ZEROES_SECTORS_MAX (1u << 16)      /* 32 MiB: may have to be written out */
#define TURN_MAX 64                        /* requests before the loop looks at other events */

struct blk {
	struct vdev v; /* first */
	int fd;        /* owned */
	bool read_only;
	bool busy;             /* the worker does I/O without the lock */
	uint64_t epoch;        /* counts resets: what was begun in an earlier one is not completed */
	pthread_cond_t idle;   /* busy became false */
	uint64_t sectors;
	char id[BLK_ID_BYTES]; /* padded with NUL */
	struct vq_chain chain; /* the worker's */
	struct iovec iov[VQ_SIZE_MAX];
};

/* One request while the lock is not held: what it may need was copied. */
struct req {
	struct blk *b;
	struct vq *q;
	const struct vq_chain *c;
	uint64_t sectors;   /* of the disk */
	uint64_t sector;
	bool write_through; /* the guest knows no flush */
	uint32_t type;
	uint32_t data_bytes;
	uint32_t written;   /* bytes put into the guest's buffers */
	bool host_error;
};

static uint64_t blk_features(struct vdev *v)
{
	struct blk *b = (struct blk *)v;
	uint64_t f = VDEV_F(VIRTIO_BLK_F_SIZE_MAX) | VDEV_F(VIRTIO_BLK_F_SEG_MAX) | VDEV_F(VIRTIO_BLK_F_BLK_SIZE) |
		     VDEV_F(VIRTIO_BLK_F_FLUSH);

	return f | (b->read_only ? VDEV_F(VIRTIO_BLK_F_RO) :
				   VDEV_F(VIRTIO_BLK_F_DISCARD) | VDEV_F(VIRTIO_BLK_F_WRITE_ZEROES));
}

static void blk_config_read(struct vdev *v, uint32_t off, void *dst, uint32_t len)
{
	struct blk *b = (struct blk *)v;
	struct virtio_blk_config c = {
		.capacity = b->sectors,
		.size_max = SIZE_MAX_BYTES,
		.seg_max = SEG_MAX,
		.blk_size = SECTOR_BYTES,
		.max_discard_sectors = DISCARD_SECTORS_MAX,
		.max_discard_seg = RANGES_MAX,
		.discard_sector_alignment = GM_PAGE_BYTES / SECTOR_BYTES,
		.max_write_zeroes_sectors = ZEROES_SECTORS_MAX,
		.max_write_zeroes_seg = RANGES_MAX,
		.write_zeroes_may_unmap = 1,
	};

	vdev_config_copy(dst, off, len, &c, sizeof(c));
}

static void blk_config_write(struct vdev *v, uint32_t off, const void *src, uint32_t len)
{
	(void)v, (void)off, (void)src, (void)len; /* nothing there is writable */
}

static int blk_activate(struct vdev *v)
{
	return v->q[0].ready ? 0 : -EINVAL;
}

static void blk_reset(struct vdev *v)
{
	struct blk *b = (struct blk *)v;

	b->epoch++;
	while (b->busy)
		pthread_cond_wait(&b->idle, &v->lock);
}

static void blk_nothing(struct vdev *v)
{
	(void)v; /* no watchers besides the queue's */
}

/* ---- requests, without the lock ---- */

static uint8_t host_failed(struct req *r)
{
	r->host_error = true;
	return VIRTIO_BLK_S_IOERR;
}

static bool in_disk(const struct req *r, uint64_t sector, uint64_t count)
{
	return sector <= r->sectors && count <= r->sectors - sector;
}

static ssize_t transfer_once(struct req *r, bool in, uint32_t done, uint64_t at)
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
static uint8_t transfer(struct req *r, bool in)
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

static uint8_t flush(struct req *r)
{
	if (!r->b->read_only && fdatasync(r->b->fd) < 0)
		return host_failed(r);
	return VIRTIO_BLK_S_OK;
}

static uint8_t get_id(struct req *r)
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

static uint8_t one_range(struct req *r, const struct virtio_blk_discard_write_zeroes *d)
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

static uint8_t ranges(struct req *r)
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

static uint8_t perform(struct req *r)
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

/* ---- queue, with the lock ---- */

static void count(struct vdev *v, const struct req *r, uint8_t status)
{
	v->stats.requests++;
	if (status != VIRTIO_BLK_S_OK)
		v->stats.errors++;
	else if (r->type == VIRTIO_BLK_T_IN)
		v->stats.in_bytes += r->data_bytes;
	else if (r->type == VIRTIO_BLK_T_OUT)
		v->stats.out_bytes += r->data_bytes;
	if (r->host_error)
		v->stats.host_errors++;
}

/* The chain in b->chain, from head to status byte. false: the device is not active any more. */
static bool serve(struct blk *b, struct vq *q)
{
	struct vdev *v = &b->v;
	struct virtio_blk_outhdr head;
	uint64_t epoch = b->epoch;
	struct req r = { .b = b, .q = q, .c = &b->chain, .sectors = b->sectors, .write_through = !vdev_has(v, VIRTIO_BLK_F_FLUSH) };
	uint8_t status;

	if (b->chain.write_bytes < 1 || vq_chain_read(q, r.c, 0, &head, sizeof(head)) != (ssize_t)sizeof(head)) {
		vdev_break(v, "blk: a request without head or without room for its status");
		return false;
	}
	r.type = head.type;
	r.sector = head.sector;
	b->busy = true;
	pthread_mutex_unlock(&v->lock);
	status = perform(&r);
	pthread_mutex_lock(&v->lock);
	b->busy = false;
	pthread_cond_broadcast(&b->idle);
	if (b->epoch != epoch || !v->active)
		return false;
	count(v, &r, status);
	vq_chain_write(q, r.c, r.c->write_bytes - 1, &status, 1);
	/* `written` promises that many bytes from the start of the buffers: the status byte only counts when all before it does. */
	vq_push(q, r.c->head, r.written == r.c->write_bytes - 1 ? r.c->write_bytes : r.written);
	vdev_used(v, q);
	return true;
}

static void blk_kick(struct vdev *v, unsigned queue)
{
	struct blk *b = (struct blk *)v;
	struct vq *q = &v->q[queue];

	if (b->busy) /* only without a loop: a second caller while the first does I/O */
		return;
	for (int i = 0; i < TURN_MAX; i++)
		if (!vdev_pop(v, q, &b->chain) || !serve(b, q))
			return;
	vdev_kick_again(v, queue);
}

static const struct vdev_ops blk_ops = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.queues = 1,
	.queue_size = QUEUE_SIZE,
	.features = blk_features,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.activate = blk_activate,
	.reset = blk_reset,
	.sync = blk_nothing,
	.kick = blk_kick,
	.detach = blk_nothing,
};

/* ---- making one ---- */

static int size_of(int fd, uint64_t *sectors, struct fault *f)
{
	struct stat st;
	uint64_t bytes;

	if (fstat(fd, &st) < 0)
		return fault_errno(f, -errno, "fstat");
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
			return fault_errno(f, -errno, "size of the block device");
	} else if (S_ISREG(st.st_mode)) {
		bytes = (uint64_t)st.st_size;
	} else {
		return fault_set(f, -EINVAL, "neither a regular file nor a block device");
	}
	if (bytes % SECTOR_BYTES)
		return fault_set(f, -EINVAL, "size %llu is not a multiple of 512", (unsigned long long)bytes);
	*sectors = bytes / SECTOR_BYTES;
	return 0;
}

int blk_new(struct blk **out, struct gm *gm, int fd, bool read_only, const char *id, struct fault *f)
{
	struct blk *b;
	uint64_t sectors;
	int err = size_of(fd, &sectors, f);

	if (err)
		return fault_wrap(f, err, "disk '%s'", id ? id : "");
	b = calloc(1, sizeof(*b));
	if (!b)
		return fault_set(f, -ENOMEM, "out of memory");
	err = vdev_init(&b->v, &blk_ops, gm);
	if (err) {
		free(b);
		return fault_errno(f, err, "mutex");
	}
	pthread_cond_init(&b->idle, NULL);
	b->fd = fd;
	b->read_only = read_only;
	b->sectors = sectors;
	if (id)
		memcpy(b->id, id, strnlen(id, sizeof(b->id)));
	*out = b;
	return 0;
}

void blk_free(struct blk *b)
{
	if (!b)
		return;
	vdev_done(&b->v);
	pthread_cond_destroy(&b->idle);
	fd_close(&b->fd);
	free(b);
}

struct vdev *blk_vdev(struct blk *b)
{
	return &b->v;
}

int blk_resized(struct blk *b, struct fault *f)
{
	uint64_t sectors;
	int err = size_of(b->fd, &sectors, f);

	if (err)
		return err;
	pthread_mutex_lock(&b->v.lock);
	if (sectors != b->sectors) {
		b->sectors = sectors;
		vdev_config_changed(&b->v);
	}
	pthread_mutex_unlock(&b->v.lock);
	return 0;
}
