/* vmm/virtio/mmio and vdev: the register file with a device that only counts. */
#include "tests/unit/induce.h"
#include "tests/unit/tap.h"
#include "tests/unit/vdrv.h"

#include <errno.h>

static struct {
	struct vdev v;
	unsigned activated, resets, syncs, kicks, config_writes;
	int activate_result;
	uint8_t config[6];
} dev;

static uint64_t t_features(struct vdev *v)
{
	(void)v;
	return VDEV_F(3) | VDEV_F(50);
}
static void t_config_read(struct vdev *v, uint32_t off, void *dst, uint32_t len)
{
	(void)v;
	vdev_config_copy(dst, off, len, dev.config, sizeof(dev.config));
}
static void t_config_write(struct vdev *v, uint32_t off, const void *src, uint32_t len)
{
	(void)v, (void)off, (void)src, (void)len;
	dev.config_writes++;
}
static int t_activate(struct vdev *v)
{
	(void)v;
	dev.activated++;
	return dev.activate_result;
}
static void t_reset(struct vdev *v)
{
	(void)v;
	dev.resets++;
}
static void t_sync(struct vdev *v)
{
	(void)v;
	dev.syncs++;
}
static void t_kick(struct vdev *v, unsigned queue)
{
	struct vq_chain c;

	dev.kicks += 1 + 100 * queue;
	while (vdev_pop(v, &v->q[queue], &c)) {
		vq_push(&v->q[queue], c.head, 0);
		vdev_used(v, &v->q[queue]);
	}
}
static void t_detach(struct vdev *v)
{
	(void)v;
}
static const struct vdev_ops ops = {
	.name = "test", .id = 42, .queues = 2, .queue_size = 64, .features = t_features, .config_read = t_config_read,
	.config_write = t_config_write, .activate = t_activate, .reset = t_reset, .sync = t_sync, .kick = t_kick, .detach = t_detach,
};

static struct gm gm;
static struct vdrv d;

static void test_widths(void)
{
	memcpy(dev.config, "abcdef", 6);
	ok(vdrv_rd(&d, 0) == 0x74726976 && vdrv_rd(&d, 4) == 2 && vdrv_rd(&d, 8) == 42, "magic, version, id");
	ok(mmio_read(&dev.v, 0, 1) == 0 && mmio_read(&dev.v, 0, 2) == 0 && mmio_read(&dev.v, 0, 8) == 0, "registers answer to 4 bytes alone");
	ok(mmio_read(&dev.v, 2, 4) == 0 && mmio_read(&dev.v, 0, 3) == 0, "and to their own address");
	ok(mmio_read(&dev.v, 0xffe, 4) == 0 && mmio_read(&dev.v, 0x1000, 4) == 0 && mmio_read(&dev.v, UINT32_MAX, 8) == 0, "outside");
	ok(mmio_read(&dev.v, 0x100, 1) == 'a' && mmio_read(&dev.v, 0x101, 2) == ('b' | 'c' << 8) &&
	   mmio_read(&dev.v, 0x104, 8) == ('e' | 'f' << 8), "config space in any width, zeros after its end");
	mmio_write(&dev.v, 0x100, 4, 1);
	ok(dev.config_writes == 0, "config is not writable without a driver");
	mmio_write(&dev.v, VIRTIO_MMIO_STATUS, 1, 1);
	mmio_write(&dev.v, 0xffffffff, 4, 1);
	ok(vdrv_rd(&d, VIRTIO_MMIO_STATUS) == 0, "a status of one byte is not written");
	ok(vdrv_rd(&d, VIRTIO_MMIO_SHM_LEN_LOW) == 0xffffffff, "no shared memory");
	ok(vdrv_rd(&d, VIRTIO_MMIO_QUEUE_NUM_MAX) == 64, "queue 0");
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_SEL, 2);
	ok(vdrv_rd(&d, VIRTIO_MMIO_QUEUE_NUM_MAX) == 0 && vdrv_rd(&d, VIRTIO_MMIO_QUEUE_READY) == 0, "no queue 2");
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_READY, 1);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_NOTIFY, 77);
	ok(!vdrv_broken(&d) && dev.kicks == 0, "writes to it and kicks of it are nothing");
}

static void test_negotiation(void)
{
	ok(vdrv_offered(&d) == (VDEV_F(3) | VDEV_F(50) | VDEV_F(28) | VDEV_F(29) | VDEV_F(32)), "what is offered");
	vdrv_wr(&d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	ok(vdrv_rd(&d, VIRTIO_MMIO_DEVICE_FEATURES) == 0, "no third word of features");
	ok(!(vdrv_features(&d, VDEV_F(3)) & 8), "without VERSION_1: no FEATURES_OK");
	ok(!(vdrv_features(&d, VDRV_F_BASE | VDEV_F(4)) & 8), "with a feature that is not offered: none either");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 15);
	ok(!(vdrv_rd(&d, VIRTIO_MMIO_STATUS) & 4) || !dev.activated, "and no DRIVER_OK");
	ok(vdrv_features(&d, VDRV_F_BASE | VDEV_F(50)) == 11, "a good set");
	vdrv_wr(&d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	vdrv_wr(&d, VIRTIO_MMIO_DRIVER_FEATURES, 0xffffffff);
	ok(dev.v.driver_features == (VDRV_F_BASE | VDEV_F(50)), "stands once it is accepted");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 3);
	ok(vdrv_rd(&d, VIRTIO_MMIO_STATUS) == 11, "status bits cannot be taken back");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 11 | 64);
	ok(!vdrv_broken(&d), "a driver cannot set NEEDS_RESET");
	mmio_write(&dev.v, 0x100, 4, 1);
	ok(dev.config_writes == 1, "a driver may write config");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	ok(vdrv_rd(&d, VIRTIO_MMIO_STATUS) == 0 && dev.v.driver_features == 0, "reset");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 4 | 8);
	ok(vdrv_rd(&d, VIRTIO_MMIO_STATUS) == 0, "nothing without DRIVER");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 1 | 2 | 128);
	ok(vdrv_rd(&d, VIRTIO_MMIO_STATUS) == (1 | 128), "a driver that gave up gets nothing more");
}

static void test_queues(void)
{
	vdrv_features(&d, VDRV_F_BASE);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_NUM, 128);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_READY, 1);
	ok(vdrv_broken(&d) && dev.v.stats.needs_reset == 1, "a queue larger than we offer breaks the device");
	vdrv_features(&d, VDRV_F_BASE);
	ok(!vdrv_broken(&d), "reset mends it");
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_NUM, 0x10040);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_READY, 1);
	ok(vdrv_broken(&d), "a size beyond 16 bits is not cut");
	vdrv_features(&d, VDRV_F_BASE);
	vdrv_queue(&d, 0, 16);
	ok(vdrv_rd(&d, VIRTIO_MMIO_QUEUE_READY) == 1, "ready");
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_NUM, 8);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_DESC_LOW, 0);
	ok(dev.v.q[0].size == 16 && dev.v.q[0].desc_gpa != 0, "a ready queue stands");
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_READY, 0);
	ok(vdrv_rd(&d, VIRTIO_MMIO_QUEUE_READY) == 0 && !vdrv_broken(&d), "taken back before DRIVER_OK");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 1 | 2);
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 3);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_NUM, 8);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_READY, 1);
	ok(vdrv_rd(&d, VIRTIO_MMIO_QUEUE_READY) == 0, "no queue before FEATURES_OK");
}

static void test_life(void)
{
	uint32_t id, len;
	unsigned kicks, resets = dev.resets;
	struct vdrv_seg seg = { 0x80000, 16, false };

	ok(vdrv_start(&d, &gm, &dev.v, VDEV_F(VIRTIO_RING_F_EVENT_IDX), 16) == 15 && dev.activated && dev.v.active, "driver is up");
	ok(dev.resets == resets + 2 && dev.syncs, "its resets, and a sync");
	kicks = dev.kicks;
	vdrv_add(&d, 1, &seg, 1);
	vdrv_kick(&d, 1);
	ok(dev.kicks == kicks + 101 && vdrv_used(&d, 1, &id, &len) && id == 0, "a kick of queue 1");
	ok(d.irqs == 1 && vdrv_rd(&d, VIRTIO_MMIO_INTERRUPT_STATUS) == 1, "an interrupt");
	vdrv_wr(&d, VIRTIO_MMIO_INTERRUPT_ACK, 2);
	ok(vdrv_rd(&d, VIRTIO_MMIO_INTERRUPT_STATUS) == 1, "acknowledging another bit");
	vdrv_wr(&d, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	ok(vdrv_rd(&d, VIRTIO_MMIO_INTERRUPT_STATUS) == 0, "acknowledged");
	pthread_mutex_lock(&dev.v.lock);
	vdev_config_changed(&dev.v);
	pthread_mutex_unlock(&dev.v.lock);
	ok(vdrv_rd(&d, VIRTIO_MMIO_CONFIG_GENERATION) == 1 && vdrv_rd(&d, VIRTIO_MMIO_INTERRUPT_STATUS) == 2, "config changed");
	seg.gpa = 1 << 30;
	vdrv_add(&d, 0, &seg, 1);
	vdrv_kick(&d, 0);
	ok(vdrv_broken(&d) && !dev.v.active && dev.v.broken_why, "a bad chain breaks it: %s", dev.v.broken_why);
	kicks = dev.kicks;
	vdrv_kick(&d, 1);
	ok(dev.kicks == kicks, "a broken device hears no kicks");
	ok(vdrv_start(&d, &gm, &dev.v, 0, 16) == 15, "a new start");
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_READY, 0);
	ok(vdrv_broken(&d), "a queue stopped in flight breaks it");
	dev.activate_result = -EINVAL;
	ok(vdrv_start(&d, &gm, &dev.v, 0, 16) & 64 && !dev.v.active, "a device that refuses the features");
	dev.activate_result = 0;
}

/* Writes in a state that does not have them. */
static void test_wrong_state(void)
{
	unsigned breaks = 0, kicks;

	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 2);
	ok(vdrv_rd(&d, VIRTIO_MMIO_STATUS) == 0, "no DRIVER without ACKNOWLEDGE");
	vdrv_wr(&d, VIRTIO_MMIO_DRIVER_FEATURES, 8);
	ok(dev.v.driver_features == 0, "no features without DRIVER");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 1);
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 3);
	vdrv_wr(&d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2);
	vdrv_wr(&d, VIRTIO_MMIO_DRIVER_FEATURES, 8);
	ok(dev.v.driver_features == 0, "no third word of features");
	vdrv_features(&d, VDRV_F_BASE);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_SEL, 0);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_READY, 0);
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_READY, 2);
	ok(!vdrv_broken(&d) && !dev.v.q[0].ready, "stopping a queue that never ran, and a third state of it");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 15);
	vdrv_queue(&d, 0, 16);
	ok(!dev.v.q[0].ready && !vdrv_broken(&d), "a queue that comes after DRIVER_OK is none");
	kicks = dev.kicks;
	vdrv_kick(&d, 0);
	ok(dev.kicks == kicks, "and its kicks are nothing");
	ok(vdrv_start(&d, &gm, &dev.v, 0, 16) == 15, "a good start");
	breaks = (unsigned)dev.v.stats.needs_reset;
	pthread_mutex_lock(&dev.v.lock);
	vdev_break(&dev.v, "first");
	vdev_break(&dev.v, "second");
	vdev_kick_again(&dev.v, 0);
	vdev_config_changed(&dev.v);
	ok(dev.v.stats.needs_reset == breaks + 1 && !strcmp(dev.v.broken_why, "first"), "a device breaks once, for the first reason");
	ok(!vdev_pop(&dev.v, &dev.v.q[0], &(struct vq_chain){ 0 }), "a broken device has no chains");
	pthread_mutex_unlock(&dev.v.lock);
	mmio_write(&dev.v, 0xffd, 4, 1);
	mmio_write(&dev.v, 0x1000, 1, 1);
	mmio_write(&dev.v, VIRTIO_MMIO_STATUS + 2, 4, 0);
	mmio_write(&dev.v, VIRTIO_MMIO_STATUS, 3, 0);
	mmio_write(&dev.v, VIRTIO_MMIO_STATUS, 8, 0);
	ok(vdrv_broken(&d), "writes over the end and beside a register are nothing");
}

/* The ring goes while the device works on it: broken, not stuck. */
static void test_ring_goes(void)
{
	uint64_t all = gm.region[0].len_bytes;

	ok(vdrv_start(&d, &gm, &dev.v, 0, 16) == 15, "a good start");
	gm.region[0].len_bytes = dev.v.q[0].used_gpa;
	vdrv_kick(&d, 0);
	gm.region[0].len_bytes = all;
	ok(vdrv_broken(&d) && dev.v.q[0].broken, "a queue that cannot ask for kicks breaks the device");
	ok(vdrv_start(&d, &gm, &dev.v, 0, 16) == 15, "until it is reset");
}

static void test_host_refuses(void)
{
	static struct vdev v;
	struct ev_loop *l = NULL;

	induce(INDUCE_pthread_mutex_init, 0, EAGAIN);
	ok(vdev_init(&v, &ops, &gm) == -EAGAIN && induced(), "no lock, no device");
	if (ev_new(&l))
		return;
	for (unsigned i = 0; i < 3; i++) {
		if (vdev_init(&v, &ops, &gm))
			return;
		induce(INDUCE_eventfd, i, EMFILE);
		ok(vdev_attach(&v, l) == -EMFILE && induced(), "no eventfd %u", i);
		vdev_done(&v);
	}
	if (vdev_init(&v, &ops, &gm))
		return;
	induce(INDUCE_epoll_ctl, 1, ENOSPC);
	ok(vdev_attach(&v, l) == -ENOSPC && induced(), "no watch");
	vdev_done(&v);
	ev_free(l);
}

static void test_loop(void)
{
	struct ev_loop *l = NULL;
	struct vdrv_seg seg = { 0x80000, 16, false };
	unsigned syncs, kicks;
	uint32_t id, len;

	ok(vdev_kick_fd(&dev.v, 0) == -1 && ev_new(&l) == 0 && vdev_attach(&dev.v, l) == 0, "on a loop");
	ok(vdev_kick_fd(&dev.v, 1) >= 0 && vdev_kick_fd(&dev.v, 2) == -1, "an eventfd per queue");
	syncs = dev.syncs;
	ok(vdrv_start(&d, &gm, &dev.v, 0, 16) == 15 && dev.syncs == syncs, "sync waits for the loop");
	ev_once(l, 0);
	ok(dev.syncs == syncs + 1, "and runs there once");
	induce(INDUCE_write, 0, EAGAIN);
	vdrv_kick(&d, 0);
	ok(induced(), "a counter that is full");
	vdrv_kick(&d, 0);
	induce(INDUCE_read, 0, EAGAIN);
	ev_once(l, 0);
	ok(induced(), "a counter that is empty");
	ev_once(l, 0);
	kicks = dev.kicks;
	vdrv_add(&d, 0, &seg, 1);
	induce(INDUCE_write, 0, EINTR);
	vdrv_kick(&d, 0);
	ok(induced(), "a signal while the eventfd is written");
	ok(dev.kicks == kicks, "a kick waits, too");
	induce(INDUCE_read, 0, EINTR);
	ev_once(l, 0);
	ok(induced(), "a signal while the eventfd is read");
	ok(dev.kicks == kicks + 1 && vdrv_used(&d, 0, &id, &len), "and is served there");
	ok(vdev_stats_get(&dev.v).kicks && vdev_stats_get(&dev.v).irqs && vdev_stats_get(&dev.v).resets, "counters");
	vdev_done(&dev.v);
	ev_free(l);
}

int main(void)
{
	if (gm_init(&gm, 1 << 20, NULL) || vdev_init(&dev.v, &ops, &gm))
		return 1;
	d = (struct vdrv){ .gm = &gm, .v = &dev.v, .heap = 0x10000 };
	test_widths();
	test_negotiation();
	test_queues();
	test_life();
	test_wrong_state();
	test_ring_goes();
	test_host_refuses();
	test_loop();
	gm_done(&gm);
	return tap_done();
}
