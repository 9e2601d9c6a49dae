/* virtio-blk: registers, queue, life. What a request does is in blk_io.c. virtio 1.2 §5.2; see blk.h. */
#include "vmm/dev/blk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TURN_MAX 64 /* requests before the loop looks at other events */

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

/* ---- queue, with the lock ---- */

static void count(struct vdev *v, const struct blk_req *r, uint8_t status)
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
	struct blk_req r = { .b = b, .q = q, .c = &b->chain, .sectors = b->sectors, .write_through = !vdev_has(v, VIRTIO_BLK_F_FLUSH) };
	uint8_t status;

	if (b->chain.write_bytes < 1 || vq_chain_read(q, r.c, 0, &head, sizeof(head)) != (ssize_t)sizeof(head)) {
		vdev_break(v, "blk: a request without head or without room for its status");
		return false;
	}
	r.type = head.type;
	r.sector = head.sector;
	b->busy = true;
	pthread_mutex_unlock(&v->lock);
	status = blk_perform(&r);
	pthread_mutex_lock(&v->lock);
	b->busy = false;
	pthread_cond_broadcast(&b->idle);
	if (b->epoch != epoch || !v->active)
		return false;
	count(v, &r, status);
	if (b->limited)
		shape_charge(&b->shape, SHAPE_OUT, r.data_bytes, 1, now_mono_ns());
	vq_chain_write(q, r.c, r.c->write_bytes - 1, &status, 1);
	/* `written` promises that many bytes from the start of the buffers: the status byte only counts when all before it does. */
	vq_push(q, r.c->head, r.written == r.c->write_bytes - 1 ? r.c->write_bytes : r.written);
	vdev_used(v, q);
	return true;
}

/* May a request go on now? Else it stays in the ring, and the timer goes on. */
static bool may_serve(struct blk *b)
{
	uint64_t wait_ns = b->limited && b->v.loop ? shape_wait_ns(&b->shape, SHAPE_OUT, now_mono_ns()) : 0;

	return !wait_ns || ev_timer_set(b->v.loop, &b->timer, wait_ns / 1000000 + 1); /* no memory for a timer: no limit */
}

static void blk_kick(struct vdev *v, unsigned queue)
{
	struct blk *b = (struct blk *)v;
	struct vq *q = &v->q[queue];

	if (b->busy) /* only without a loop: a second caller while the first does I/O */
		return;
	for (int i = 0; i < TURN_MAX; i++)
		if (!may_serve(b) || !vdev_pop(v, q, &b->chain) || !serve(b, q))
			return;
	vdev_kick_again(v, queue);
}

static void on_timer(struct ev_timer *t)
{
	struct blk *b = t->arg;

	vdev_enter(&b->v);
	if (b->v.active && b->v.q[0].ready)
		blk_kick(&b->v, 0);
	vdev_leave(&b->v);
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
	.sync = blk_sync,
	.kick = blk_kick,
	.detach = blk_detach,
};

/* ---- making one ---- */

int blk_new(struct blk **out, struct gm *gm, const struct disk_files *files, bool read_only, const char *id, struct fault *f)
{
	struct blk *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return fault_set(f, -ENOMEM, "out of memory");
	err = disk_open(&b->disk, files, NULL, f);
	if (err) {
		free(b);
		return fault_wrap(f, err, "disk '%s'", id ? id : "");
	}
	err = vdev_init(&b->v, &blk_ops, gm);
	if (err) {
		disk_done(&b->disk);
		free(b);
		return fault_errno(f, err, "mutex");
	}
	pthread_cond_init(&b->idle, NULL);
	shape_init(&b->shape, 0);
	b->timer = (struct ev_timer){ .fn = on_timer, .arg = b };
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
	while (b->busy)
		pthread_cond_wait(&b->idle, &b->v.lock);
	err = disk_measure(&b->disk, f);
	if (!err && b->sectors != b->disk.bytes / SECTOR_BYTES) {
		b->sectors = b->disk.bytes / SECTOR_BYTES;
		vdev_config_changed(&b->v);
	}
	pthread_mutex_unlock(&b->v.lock);
	return err;
}
