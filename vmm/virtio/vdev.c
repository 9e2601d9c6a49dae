/* What all devices share: loop, locks, interrupts, the broken state. See vdev.h. */
#include "vmm/virtio/mmio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int vdev_init(struct vdev *v, const struct vdev_ops *ops, struct gm *gm)
{
	memset(v, 0, sizeof(*v));
	v->ops = ops;
	v->irq_at = &v->irq_status;
	v->gm = gm;
	v->note_fd = -1;
	v->note_io.fd = -1;
	for (unsigned i = 0; i < VDEV_QUEUES_MAX; i++) {
		v->q[i].gm = gm;
		v->kick[i].fd = -1;
		v->kick[i].io.fd = -1;
	}
	return -pthread_mutex_init(&v->lock, NULL);
}

void vdev_done(struct vdev *v)
{
	pthread_mutex_lock(&v->lock);
	if (v->loop) {
		v->ops->detach(v);
		ev_del(v->loop, &v->note_io);
		for (unsigned i = 0; i < v->ops->queues; i++)
			ev_del(v->loop, &v->kick[i].io);
	}
	pthread_mutex_unlock(&v->lock);
	fd_close(&v->note_fd);
	for (unsigned i = 0; i < VDEV_QUEUES_MAX; i++)
		fd_close(&v->kick[i].fd);
	pthread_mutex_destroy(&v->lock);
}

bool vdev_enter(struct vdev *v)
{
	bool due;

	pthread_mutex_lock(&v->lock);
	due = v->resync;
	v->resync = false;
	if (due)
		v->ops->sync(v);
	return due;
}

void vdev_leave(struct vdev *v)
{
	pthread_mutex_unlock(&v->lock);
}

static void eventfd_drain(int fd)
{
	uint64_t n;

	while (read(fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

static void eventfd_poke(int fd)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the reader is woken anyway. */
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void kick_event(struct ev_io *io, uint32_t events)
{
	struct vdev_kick *k = io->arg;
	struct vdev *v = k->v;

	(void)events;
	eventfd_drain(k->fd);
	vdev_enter(v);
	vdev_kicked(v, k->queue);
	vdev_leave(v);
}

static void note_event(struct ev_io *io, uint32_t events)
{
	struct vdev *v = io->arg;

	(void)events;
	eventfd_drain(v->note_fd);
	vdev_enter(v);
	vdev_leave(v);
}

static int watch_new(struct ev_loop *loop, struct ev_io *io, int *fd)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? -errno : ev_add(loop, io, *fd, EPOLLIN);
}

int vdev_attach(struct vdev *v, struct ev_loop *loop)
{
	int err;

	v->loop = loop;
	v->note_io.fn = note_event;
	v->note_io.arg = v;
	err = watch_new(loop, &v->note_io, &v->note_fd);
	for (unsigned i = 0; i < v->ops->queues && !err; i++) {
		struct vdev_kick *k = &v->kick[i];

		k->v = v;
		k->queue = i;
		k->io.fn = kick_event;
		k->io.arg = k;
		err = watch_new(loop, &k->io, &k->fd);
	}
	return err;
}

int vdev_kick_fd(const struct vdev *v, unsigned queue)
{
	return queue < v->ops->queues ? v->kick[queue].fd : -1;
}

void vdev_set_irq(struct vdev *v, void (*irq)(void *arg), void *arg)
{
	v->irq = irq;
	v->irq_arg = arg;
}

void vdev_set_window(struct vdev *v, void *page)
{
	pthread_mutex_lock(&v->lock);
	v->window = page;
	v->irq_at = (_Atomic uint32_t *)(void *)(v->window + VIRTIO_MMIO_INTERRUPT_STATUS);
	mmio_window(v);
	pthread_mutex_unlock(&v->lock);
}

struct vdev_stats vdev_stats_get(struct vdev *v)
{
	struct vdev_stats s;

	pthread_mutex_lock(&v->lock);
	s = v->stats;
	pthread_mutex_unlock(&v->lock);
	return s;
}

void vdev_raise_irq(struct vdev *v, uint32_t irq_status_bits)
{
	atomic_fetch_or(v->irq_at, irq_status_bits);
	v->stats.irqs++;
	if (v->irq)
		v->irq(v->irq_arg);
}

void vdev_used(struct vdev *v, struct vq *q)
{
	if (vq_wants_irq(q))
		vdev_raise_irq(v, VDEV_IRQ_USED);
}

bool vdev_pop(struct vdev *v, struct vq *q, struct vq_chain *c)
{
	int got;

	if (!v->active)
		return false;
	got = vq_pop(q, c);
	if (got == 0 && vq_kicks_on(q)) /* came in before the driver saw that we want a kick */
		got = vq_pop(q, c);
	if (got < 0 || q->broken)
		vdev_break(v, "a ring or a chain of descriptors breaks a rule");
	return got > 0;
}

void vdev_config_changed(struct vdev *v)
{
	v->config_generation++;
	mmio_window(v);
	if (v->active)
		vdev_raise_irq(v, VDEV_IRQ_CONFIG);
}

void vdev_break(struct vdev *v, const char *why)
{
	if (v->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	v->broken_why = why;
	v->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	v->stats.needs_reset++;
	v->active = false;
	mmio_window(v);
	if (v->status & VIRTIO_CONFIG_S_DRIVER_OK)
		vdev_raise_irq(v, VDEV_IRQ_CONFIG);
	vdev_resync(v);
}

void vdev_resync(struct vdev *v)
{
	v->resync = true;
	if (v->loop) {
		eventfd_poke(v->note_fd);
		return;
	}
	v->resync = false;
	v->ops->sync(v);
}

void vdev_kicked(struct vdev *v, unsigned queue)
{
	if (!v->active || !v->q[queue].ready)
		return;
	v->stats.kicks++;
	v->ops->kick(v, queue);
}

void vdev_kick_again(struct vdev *v, unsigned queue)
{
	if (v->loop)
		eventfd_poke(v->kick[queue].fd);
	/* Without a loop the test kicks as often as it likes. */
}

void vdev_notify(struct vdev *v, unsigned queue)
{
	if (queue >= v->ops->queues)
		return;
	if (v->loop)
		eventfd_poke(v->kick[queue].fd);
	else
		vdev_kicked(v, queue);
}

void vdev_config_copy(void *dst, uint32_t off, uint32_t len, const void *config, size_t config_bytes)
{
	if (off >= config_bytes)
		return;
	if (len > config_bytes - off)
		len = (uint32_t)(config_bytes - off);
	memcpy(dst, (const uint8_t *)config + off, len);
}
