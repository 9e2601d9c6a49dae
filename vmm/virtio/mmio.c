/* The register file of virtio-mmio version 2. virtio 1.2 §4.2.2, §2.1, §3.1; see mmio.h. */
#include "vmm/virtio/mmio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define MAGIC 0x74726976u  /* "virt" */
#define VENDOR 0x6163696du /* "mica" */

#define WINDOW_CONFIG_BYTES 128u /* no device of ours has more configuration */

#define S_ACK VIRTIO_CONFIG_S_ACKNOWLEDGE
#define S_DRIVER VIRTIO_CONFIG_S_DRIVER
#define S_DRIVER_OK VIRTIO_CONFIG_S_DRIVER_OK
#define S_FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define S_NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define S_FAILED VIRTIO_CONFIG_S_FAILED

static uint64_t offered(struct vdev *v)
{
	return v->ops->features(v) | VDEV_F(VIRTIO_F_VERSION_1) | VDEV_F(VIRTIO_RING_F_EVENT_IDX) |
	       VDEV_F(VIRTIO_RING_F_INDIRECT_DESC);
}

static struct vq *selected(struct vdev *v)
{
	return v->queue_sel < v->ops->queues ? &v->q[v->queue_sel] : NULL;
}

static uint32_t half(uint64_t v, uint32_t sel)
{
	return sel == 0 ? (uint32_t)v : sel == 1 ? (uint32_t)(v >> 32) : 0;
}

static uint32_t reg_read(struct vdev *v, uint32_t off)
{
	struct vq *q = selected(v);

	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return v->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return half(offered(v), v->features_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q ? v->ops->queue_size : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return q && q->ready;
	case VIRTIO_MMIO_STATUS:
		return v->status;
	case VIRTIO_MMIO_SHM_LEN_LOW: /* no shared memory: length and base are all ones (§4.2.2) */
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return v->config_generation;
	default:
		return 0; /* write-only or not there */
	}
}

uint64_t mmio_read(struct vdev *v, uint32_t off, unsigned width)
{
	uint64_t value = 0;

	if (width != 1 && width != 2 && width != 4 && width != 8)
		return 0;
	if (off >= MMIO_BYTES || width > MMIO_BYTES - off)
		return 0;
	if (off < VIRTIO_MMIO_CONFIG && (width != 4 || off % 4))
		return 0;
	if (off == VIRTIO_MMIO_INTERRUPT_STATUS)
		return atomic_load(v->irq_at);
	pthread_mutex_lock(&v->lock);
	if (off < VIRTIO_MMIO_CONFIG)
		value = reg_read(v, off);
	else
		v->ops->config_read(v, off - VIRTIO_MMIO_CONFIG, &value, width);
	pthread_mutex_unlock(&v->lock);
	return value;
}

/* §2.1, §4.2.3.1. Waits for I/O in flight (ops->reset). */
static void reset(struct vdev *v)
{
	v->active = false;
	v->ops->reset(v);
	for (unsigned i = 0; i < v->ops->queues; i++)
		vq_reset(&v->q[i]);
	v->status = 0;
	v->driver_features = 0;
	v->features_sel = v->driver_sel = v->queue_sel = 0;
	v->broken_why = NULL;
	v->active = false;
	v->stats.resets++;
	atomic_store(v->irq_at, 0);
	vdev_resync(v);
}

static void activate(struct vdev *v)
{
	int err = v->ops->activate(v);

	if (err) {
		vdev_break(v, "the driver's choice of features or queues cannot work");
		return;
	}
	v->active = true;
	vdev_resync(v);
}

/* Status bits are only ever added (§2.1.1); each new one has its condition here. */
static void write_status(struct vdev *v, uint32_t value)
{
	uint32_t added = value & ~v->status;

	if (value == 0) {
		reset(v);
		return;
	}
	if (v->status & ~value & ~(uint32_t)S_NEEDS_RESET) /* taking bits back */
		return;
	v->status |= added & (S_ACK | S_FAILED);
	if (v->status & (S_NEEDS_RESET | S_FAILED))
		return;
	if (added & S_DRIVER && v->status & S_ACK)
		v->status |= S_DRIVER;
	if (added & S_FEATURES_OK && v->status & S_DRIVER && v->driver_features & VDEV_F(VIRTIO_F_VERSION_1) &&
	    !(v->driver_features & ~offered(v)))
		v->status |= S_FEATURES_OK;
	if (added & S_DRIVER_OK && v->status & S_FEATURES_OK) {
		v->status |= S_DRIVER_OK;
		activate(v);
	}
}

static void write_driver_features(struct vdev *v, uint32_t value)
{
	if (!(v->status & S_DRIVER) || v->status & S_FEATURES_OK || v->driver_sel > 1)
		return;
	if (v->driver_sel == 0)
		v->driver_features = (v->driver_features & ~0xffffffffull) | value;
	else
		v->driver_features = (v->driver_features & 0xffffffffull) | (uint64_t)value << 32;
}

static void write_queue_ready(struct vdev *v, struct vq *q, uint32_t value)
{
	if (value == 0 && q->ready) {
		if (v->status & S_DRIVER_OK)
			vdev_break(v, "a queue was stopped while the driver was running");
		q->ready = false;
		return;
	}
	if (value != 1 || q->ready)
		return;
	if (!(v->status & S_FEATURES_OK) || v->status & (S_DRIVER_OK | S_NEEDS_RESET))
		return;
	q->event_idx = vdev_has(v, VIRTIO_RING_F_EVENT_IDX);
	q->indirect = vdev_has(v, VIRTIO_RING_F_INDIRECT_DESC);
	if (q->size > v->ops->queue_size || vq_start(q))
		vdev_break(v, "a queue's size, alignment or address is wrong");
}

static void set_half(uint64_t *gpa, bool high, uint32_t value)
{
	*gpa = high ? (*gpa & 0xffffffffull) | (uint64_t)value << 32 : (*gpa & ~0xffffffffull) | value;
}

/* Registers of the selected queue; sizes and addresses stand once it is ready. */
static void queue_write(struct vdev *v, struct vq *q, uint32_t off, uint32_t value)
{
	if (off == VIRTIO_MMIO_QUEUE_READY) {
		write_queue_ready(v, q, value);
		return;
	}
	if (q->ready)
		return;
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NUM:
		q->size = value > VQ_SIZE_MAX ? 0 : (uint16_t)value; /* 0 is refused when it gets ready */
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&q->desc_gpa, off == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&q->avail_gpa, off == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&q->used_gpa, off == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	default:
		break;
	}
}

static void reg_write(struct vdev *v, uint32_t off, uint32_t value)
{
	struct vq *q = selected(v);

	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		v->features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		v->driver_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_driver_features(v, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		v->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		vdev_notify(v, value);
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(v, value);
		break;
	default:
		if (q)
			queue_write(v, q, off, value);
		break;
	}
}

void mmio_write(struct vdev *v, uint32_t off, unsigned width, uint64_t value)
{
	if (width != 1 && width != 2 && width != 4 && width != 8)
		return;
	if (off >= MMIO_BYTES || width > MMIO_BYTES - off)
		return;
	if (off < VIRTIO_MMIO_CONFIG && (width != 4 || off % 4))
		return;
	if (off == VIRTIO_MMIO_INTERRUPT_ACK) {
		atomic_fetch_and(v->irq_at, ~(uint32_t)value);
		return;
	}
	pthread_mutex_lock(&v->lock);
	if (off < VIRTIO_MMIO_CONFIG)
		reg_write(v, off, (uint32_t)value);
	else if (v->status & S_DRIVER)
		v->ops->config_write(v, off - VIRTIO_MMIO_CONFIG, &value, width);
	mmio_window(v);
	pthread_mutex_unlock(&v->lock);
}

static void window_put(struct vdev *v, uint32_t off, uint32_t value)
{
	atomic_store((_Atomic uint32_t *)(void *)(v->window + off), value);
}

/* The generation differs from old and new while the configuration is being written, so that a driver that reads it before and after
 * notices; one that did not is told by the interrupt that follows. */
void mmio_window(struct vdev *v)
{
	static const uint16_t regs[] = { VIRTIO_MMIO_MAGIC_VALUE, VIRTIO_MMIO_VERSION, VIRTIO_MMIO_DEVICE_ID, VIRTIO_MMIO_VENDOR_ID,
		VIRTIO_MMIO_DEVICE_FEATURES, VIRTIO_MMIO_QUEUE_NUM_MAX, VIRTIO_MMIO_QUEUE_READY, VIRTIO_MMIO_STATUS, VIRTIO_MMIO_SHM_LEN_LOW,
		VIRTIO_MMIO_SHM_LEN_HIGH, VIRTIO_MMIO_SHM_BASE_LOW, VIRTIO_MMIO_SHM_BASE_HIGH };

	if (!v->window)
		return;
	for (unsigned i = 0; i < ARRAY_LEN(regs); i++)
		window_put(v, regs[i], reg_read(v, regs[i]));
	window_put(v, VIRTIO_MMIO_CONFIG_GENERATION, ~v->config_generation);
	for (uint32_t off = 0; off < WINDOW_CONFIG_BYTES; off += 4) {
		uint32_t value = 0;

		v->ops->config_read(v, off, &value, sizeof(value));
		window_put(v, VIRTIO_MMIO_CONFIG + off, value);
	}
	window_put(v, VIRTIO_MMIO_CONFIG_GENERATION, v->config_generation);
}
