/* The window of registers that a guest reads by itself says what mmio_read() says, at every moment. */
#include <linux/virtio_mmio.h>
#include <string.h>

#include "tests/unit/tap.h"
#include "vmm/dev/blk.h"
#include "vmm/virtio/mmio.h"

static _Alignas(4096) uint8_t page[MMIO_BYTES];

static bool same(struct vdev *v)
{
	for (uint32_t off = 0; off < MMIO_BYTES; off += 4) {
		uint32_t shown;

		memcpy(&shown, page + off, 4);
		if (shown != mmio_read(v, off, 4)) {
			printf("# offset 0x%x: window %x, register %x\n", off, shown, (unsigned)mmio_read(v, off, 4));
			return false;
		}
	}
	return true;
}

static void set(struct vdev *v, uint32_t off, uint32_t value)
{
	mmio_write(v, off, 4, value);
}

int main(void)
{
	struct gm gm;
	struct blk *b;
	struct vdev *v;
	uint32_t capacity;
	int fd = memfd_new("disk");

	if (gm_init(&gm, 1 << 20, NULL) || pwrite_full(fd, "x", 1, 65535) || blk_new(&b, &gm, &(struct disk_files){ fd, -1, -1 }, false, NULL, 1, NULL))
		return 1;
	v = blk_vdev(b);
	vdev_set_window(v, page);
	ok(same(v), "at the start");
	set(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	set(v, VIRTIO_MMIO_QUEUE_SEL, 7);
	ok(same(v), "after both selectors");
	set(v, VIRTIO_MMIO_QUEUE_SEL, 0);
	set(v, VIRTIO_MMIO_STATUS, 1);
	set(v, VIRTIO_MMIO_STATUS, 3);
	ok(same(v) && page[VIRTIO_MMIO_STATUS] == 3, "status");
	pthread_mutex_lock(&v->lock);
	vdev_raise_irq(v, VDEV_IRQ_USED | VDEV_IRQ_CONFIG);
	pthread_mutex_unlock(&v->lock);
	ok(same(v) && page[VIRTIO_MMIO_INTERRUPT_STATUS] == 3, "an interrupt");
	set(v, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	ok(same(v) && page[VIRTIO_MMIO_INTERRUPT_STATUS] == 2, "half of it acknowledged");
	if (pwrite_full(fd, "x", 1, 131071) || blk_resized(b, NULL))
		return 1;
	memcpy(&capacity, page + VIRTIO_MMIO_CONFIG, 4);
	ok(same(v) && capacity == 256, "a new size, by another thread");
	pthread_mutex_lock(&v->lock);
	vdev_break(v, "test");
	pthread_mutex_unlock(&v->lock);
	ok(same(v) && page[VIRTIO_MMIO_STATUS] & 0x40, "broken");
	set(v, VIRTIO_MMIO_STATUS, 0);
	ok(same(v) && !page[VIRTIO_MMIO_STATUS] && !page[VIRTIO_MMIO_INTERRUPT_STATUS], "reset");
	blk_free(b);
	gm_done(&gm);
	return tap_done();
}
