/* virtio-blk: registers and life. What a request does is in blk_io.c, who does it in blk_work.c. virtio 1.2 §5.2; see blk.h. */
#include "vmm/dev/blk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t blk_features(struct vdev *v)
{
	struct blk *b = (struct blk *)v;
	uint64_t f = VDEV_F(VIRTIO_BLK_F_SIZE_MAX) | VDEV_F(VIRTIO_BLK_F_SEG_MAX) | VDEV_F(VIRTIO_BLK_F_BLK_SIZE) |
		     VDEV_F(VIRTIO_BLK_F_FLUSH);

	if (v->ops->queues > 1)
		f |= VDEV_F(VIRTIO_BLK_F_MQ);
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
		.num_queues = (uint16_t)v->ops->queues,
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

static void blk_sync(struct vdev *v)
{
	(void)v; /* no watchers besides the queue's; a timer that is late finds nothing to do */
}

static void blk_detach(struct vdev *v)
{
	struct blk *b = (struct blk *)v;

	if (b->limited)
		ev_timer_del(v->loop, &b->timer);
}

#define BLK_OPS(n)                                                                                                                                   \
	{                                                                                                                                            \
		.name = "blk", .id = VIRTIO_ID_BLOCK, .queues = (n), .queue_size = QUEUE_SIZE, .features = blk_features,                             \
		.config_read = blk_config_read, .config_write = blk_config_write, .activate = blk_activate, .reset = blk_reset, .sync = blk_sync,    \
		.kick = blk_kick, .detach = blk_detach,                                                                                              \
	}
static const struct vdev_ops blk_ops[BLK_QUEUES_MAX] = { BLK_OPS(1), BLK_OPS(2), BLK_OPS(3), BLK_OPS(4) };

/* ---- making one ---- */

int blk_new(struct blk **out, struct gm *gm, const struct disk_files *files, bool read_only, const char *id, unsigned queues, struct fault *f)
{
	struct blk *b = calloc(1, sizeof(*b));
	pthread_condattr_t monotonic;
	int err;

	if (!b)
		return fault_set(f, -ENOMEM, "out of memory");
	err = disk_open(&b->disk, files, NULL, f);
	if (err) {
		free(b);
		return fault_wrap(f, err, "disk '%s'", id ? id : "");
	}
	err = vdev_init(&b->v, &blk_ops[queues - 1], gm);
	if (err) {
		disk_done(&b->disk);
		free(b);
		return fault_errno(f, err, "mutex");
	}
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&b->idle, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&b->work, NULL);
	blk_jobs_init(b);
	shape_init(&b->shape, 0);
	b->timer = (struct ev_timer){ .fn = blk_on_timer, .arg = b };
	b->read_only = read_only;
	b->sectors = b->disk.bytes / SECTOR_BYTES;
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
	pthread_cond_destroy(&b->work);
	disk_done(&b->disk);
	free(b);
}

struct vdev *blk_vdev(struct blk *b)
{
	return &b->v;
}

void blk_limit(struct blk *b, const struct shape_limit *limit)
{
	shape_set_base(&b->shape, (struct shape_limit[SHAPE_WAYS]){ [SHAPE_OUT] = *limit });
	b->limited = limit->bytes_s || limit->packets_s;
}

void blk_set_workers(struct blk *b, unsigned n)
{
	b->n_workers = n;
}

uint64_t blk_bytes(struct blk *b)
{
	uint64_t bytes;

	pthread_mutex_lock(&b->v.lock);
	bytes = b->sectors * SECTOR_BYTES;
	pthread_mutex_unlock(&b->v.lock);
	return bytes;
}

int blk_resized(struct blk *b, struct fault *f)
{
	int err;

	pthread_mutex_lock(&b->v.lock);
	err = disk_measure(&b->disk, f);
	if (!err && b->sectors != b->disk.bytes / SECTOR_BYTES) {
		b->sectors = b->disk.bytes / SECTOR_BYTES;
		vdev_config_changed(&b->v);
	}
	pthread_mutex_unlock(&b->v.lock);
	return err;
}

void blk_on_trouble(struct blk *b, void (*fn)(void *arg), void *arg)
{
	b->on_trouble = fn;
	b->on_trouble_arg = arg;
}

int blk_trouble(struct blk *b)
{
	int err;

	pthread_mutex_lock(&b->v.lock);
	err = b->trouble;
	pthread_mutex_unlock(&b->v.lock);
	return err;
}
