/* virtio-rng: fills buffers from getrandom(2). See rng.h. */
#include "vmm/dev/rng.h"

#include <errno.h>
#include <stdlib.h>

#define TURN_MAX 32 /* requests per turn of the loop */

struct rng {
	struct vdev v; /* first */
	struct vq_chain chain;
};

static uint64_t rng_features(struct vdev *v)
{
	(void)v;
	return 0;
}

static void rng_config_read(struct vdev *v, uint32_t off, void *dst, uint32_t len)
{
	(void)v, (void)off, (void)dst, (void)len; /* no config space */
}

static void rng_config_write(struct vdev *v, uint32_t off, const void *src, uint32_t len)
{
	(void)v, (void)off, (void)src, (void)len;
}

static int rng_activate(struct vdev *v)
{
	(void)v;
	return 0;
}

static void rng_nothing(struct vdev *v)
{
	(void)v; /* no state but the queue's, no watchers */
}

/* Fills the chain, at most RNG_REQUEST_BYTES_MAX. Bytes written, or -errno. */
static int rng_fill(struct vq *q, const struct vq_chain *c)
{
	uint8_t bytes[256];
	uint32_t done = 0;

	while (done < c->write_bytes && done < RNG_REQUEST_BYTES_MAX) {
		uint32_t n = c->write_bytes - done < sizeof(bytes) ? c->write_bytes - done : (uint32_t)sizeof(bytes);
		int err = random_fill(bytes, n);

		if (err)
			return err;
		if (vq_chain_write(q, c, done, bytes, n) != (ssize_t)n)
			return -EFAULT;
		done += n;
	}
	return (int)done;
}

static void rng_kick(struct vdev *v, unsigned queue)
{
	struct rng *r = (struct rng *)v;
	struct vq *q = &v->q[queue];
	int turns = 0;

	while (turns < TURN_MAX && vdev_pop(v, q, &r->chain)) {
		int n = rng_fill(q, &r->chain);

		if (n < 0)
			v->stats.host_errors++;
		if (n <= 0)
			v->stats.errors++;
		else
			v->stats.in_bytes += (unsigned)n;
		v->stats.requests++;
		vq_push(q, r->chain.head, n > 0 ? (uint32_t)n : 0);
		turns++;
	}
	if (turns)
		vdev_used(v, q);
	if (turns == TURN_MAX)
		vdev_kick_again(v, queue);
}

static const struct vdev_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.queues = 1,
	.queue_size = 64,
	.features = rng_features,
	.config_read = rng_config_read,
	.config_write = rng_config_write,
	.activate = rng_activate,
	.reset = rng_nothing,
	.sync = rng_nothing,
	.kick = rng_kick,
	.detach = rng_nothing,
};

int rng_new(struct rng **out, struct gm *gm)
{
	struct rng *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	err = vdev_init(&r->v, &rng_ops, gm);
	if (err) {
		free(r);
		return err;
	}
	*out = r;
	return 0;
}

void rng_free(struct rng *r)
{
	if (!r)
		return;
	vdev_done(&r->v);
	free(r);
}

struct vdev *rng_vdev(struct rng *r)
{
	return &r->v;
}
