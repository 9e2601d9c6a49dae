/* virtio-net: a cut line, loss, delay, limits. */
#include "tests/unit/netdrv.h"

#define LINK VDEV_F(VIRTIO_NET_F_STATUS)
#define ANNOUNCE (VDEV_F(VIRTIO_NET_F_CTRL_VQ) | VDEV_F(VIRTIO_NET_F_GUEST_ANNOUNCE))

static void set(struct shape_policy p)
{
	if (net_set_chaos(n, &p))
		abort();
	turn();
}

static uint16_t link_status(void)
{
	return (uint16_t)mmio_read(d.v, 0x106, 2);
}

/* Turns until so many packets came by the wire, at most two seconds. */
static unsigned come(unsigned want)
{
	unsigned got = 0;

	for (int i = 0; i < 200 && got < want; i++) {
		while (on_wire(0) > 0)
			got++;
		if (got < want)
			ev_once(loop, 10);
	}
	return got;
}

static void test_cut(void)
{
	struct net_counts was;
	unsigned irqs;

	start(LINK | ANNOUNCE);
	was = counts();
	irqs = d.irqs;
	ok(link_status() == VIRTIO_NET_S_LINK_UP, "the link is up");
	buffer(0, 0x40000, 2000);
	set((struct shape_policy){ .cut = true });
	ok(link_status() == 0 && d.irqs == irqs + 1 && vdrv_rd(&d, VIRTIO_MMIO_INTERRUPT_STATUS) & VDEV_IRQ_CONFIG, "cut: it is down, and the driver is told");
	transmit(0, 1, 100);
	ok(on_wire(0) < 0 && used(1) == 1 && counts().tx_cut == was.tx_cut + 1, "what the guest sends is taken and dropped");
	for (int i = 0; i < 5; i++)
		arrive(0, 2, 100);
	turn();
	ok(used(0) == 0 && counts().rx_cut == was.rx_cut + 5, "so is what comes");
	irqs = d.irqs;
	set((struct shape_policy){ .cut = true, .loss_ppm = 1 });
	ok(d.irqs == irqs, "no word about what it knows");
	set((struct shape_policy){ .cut = false });
	ok(link_status() == (VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE) && d.irqs == irqs + 1, "healed: it is up, and the driver may say hello");
	turn();
	ok(used(0) == 0, "what came meanwhile is gone");
	arrive(0, 3, 100);
	turn();
	ok(used(0) == 1, "what comes now arrives");
	start(LINK);
	for (int i = 0; i < 3; i++)
		arrive(0, 2, 100);
	turn(); /* without a buffer: they wait in the tap */
	set((struct shape_policy){ .cut = true });
	set((struct shape_policy){ .cut = false });
	buffer(0, 0x40000, 2000);
	ok(used(0) == 0 && link_status() == VIRTIO_NET_S_LINK_UP, "a cut needs no buffers to drop what waits");
	set((struct shape_policy){ .cut = true });
	start(LINK);
	ok(link_status() == 0, "a reset of the device heals nothing");
	set((struct shape_policy){ .cut = false });
}

static void test_loss(void)
{
	struct net_counts was = counts();

	start(0);
	set((struct shape_policy){ .loss_ppm = SHAPE_LOSS_ALL });
	buffer(0, 0x40000, 2000);
	for (int i = 0; i < 10; i++) {
		transmit(0, 1, 100);
		arrive(0, 1, 100);
	}
	turn();
	ok(on_wire(0) < 0 && used(0) == 0 && used(1) == 10, "all lost");
	ok(counts().tx_lost == was.tx_lost + 10 && counts().rx_lost == was.rx_lost + 10, "and counted");
	set((struct shape_policy){ .loss_ppm = 0 });
	arrive(0, 1, 100);
	turn();
	ok(used(0) == 1, "the buffer that was prepared for them serves the next");
}

static void test_delay(void)
{
	unsigned right = 0;

	start(0);
	set((struct shape_policy){ .delay_us = 60000000 });
	for (uint8_t i = 0; i < 20; i++)
		transmit(0, i, 100);
	ok(used(1) == 20 && on_wire(0) < 0, "packets wait, the guest does not");
	ok(ev_once(loop, 0) == 0, "nothing spins");
	set((struct shape_policy){ .delay_us = 0 });
	for (uint8_t i = 0; i < 20; i++)
		right += on_wire(0) == HDR + 100 && back[HDR] == i && back[HDR + 99] == i;
	ok(right == 20, "healed: all of them at once, in order");
	set((struct shape_policy){ .delay_us = 20000, .jitter_us = 20000 });
	for (uint8_t i = 0; i < 20; i++)
		transmit(0, i, 100);
	ok(come(20) == 20 && used(1) == 20, "a delay that ends");
	set((struct shape_policy){ .delay_us = 60000000 });
	for (int i = 0; i < 200; i++)
		transmit(0, 1, 65000);
	ok(used(1) == 200 && counts().tx_delay_full > 50 && counts().tx_delay_full < 150, "what waits is bounded, the rest dropped and counted");
	set((struct shape_policy){ .cut = true });
	set((struct shape_policy){ .cut = false });
	turn();
	ok(on_wire(0) < 0, "a cut drops what waits");
	transmit(0, 1, 100);
	ok(on_wire(0) == HDR + 100, "and then all is well");
	set((struct shape_policy){ .delay_us = 60000000 });
	transmit(0, 1, 100);
	start(0);
	set((struct shape_policy){ .delay_us = 0 });
	ok(on_wire(0) < 0, "what a driver sent before it reset the device is not sent later");
}

static void test_limits(void)
{
	struct shape_limit base[SHAPE_WAYS] = { [SHAPE_OUT] = { .packets_s = 1 } }, none[SHAPE_WAYS] = { { 0, 0 } };
	unsigned sent;

	start(0);
	set((struct shape_policy){ .limit = { [SHAPE_OUT] = { .bytes_s = 1000 } } });
	for (int i = 0; i < 10; i++)
		transmit(0, 1, 1000);
	sent = used(1);
	ok(sent >= 1 && sent <= 3 && counts().tx_held, "out: %u of 10 went, the others wait in the ring", sent);
	ok(ev_once(loop, 0) == 0, "nothing spins");
	set((struct shape_policy){ .cut = false });
	ok(used(1) == 10 - sent && come(10) == 10, "healed: all of them");
	for (int i = 0; i < 12; i++)
		buffer(0, 0x40000, 2000);
	set((struct shape_policy){ .limit = { [SHAPE_IN] = { .packets_s = 2 } } });
	for (int i = 0; i < 10; i++)
		arrive(0, 1, 100);
	turn();
	sent = used(0);
	ok(sent >= 1 && sent <= 3 && counts().rx_held, "in: %u of 10 came, the others wait in the tap", sent);
	ok(ev_once(loop, 0) == 0, "nothing spins");
	set((struct shape_policy){ .cut = false });
	turn();
	ok(used(0) == 10 - sent, "healed: all of them");
	net_set_base(n, base);
	for (int i = 0; i < 5; i++)
		transmit(0, 1, 100);
	set((struct shape_policy){ .cut = false });
	ok(used(1) < 5, "its owner's limit is not healed");
	net_set_base(n, none);
	set((struct shape_policy){ .cut = false });
	ok(come(5) == 5, "only lifted");
	/* a rate that is soon over: it goes on by itself */
	set((struct shape_policy){ .limit = { [SHAPE_OUT] = { .bytes_s = 20000 } } });
	for (int i = 0; i < 10; i++)
		transmit(0, 1, 300);
	ok(come(10) == 10, "held packets go on when their time comes");
	set((struct shape_policy){ .cut = false });
}

/* The loop has a thread of its own, as in a machine: core and vCPUs come in between. */
static void test_threads(void)
{
	static const struct shape_policy turns[] = { { .cut = true }, { .delay_us = 1000, .jitter_us = 500 }, { .loss_ppm = 300000 },
		{ .limit = { [SHAPE_OUT] = { .bytes_s = 5000000 }, [SHAPE_IN] = { .packets_s = 5000 } } }, { .cut = false } };
	struct vdrv_thread t;
	bool good = true;

	start(LINK);
	vdrv_thread_start(&t, loop);
	for (unsigned i = 0; i < 400; i++) {
		struct vdrv_seg out = { 0x50000, HDR + 100, false }, in = { 0x60000 + 2048u * (i % 64), 2000, true };

		good = good && net_set_chaos(n, &turns[i % ARRAY_LEN(turns)]) == 0;
		if (i % 60 == 59)
			vdrv_start(&d, &gm, net_vdev(n), LINK, 64);
		if (i % 60 < 50) {
			vdrv_add(&d, 1, &out, 1);
			vdrv_add(&d, 0, &in, 1);
		}
		vdrv_kick(&d, i & 1);
		(void)send(wire[0], packet, HDR + 100, MSG_DONTWAIT);
		while (on_wire(0) > 0)
			;
		good = good && counts().tx_bad == 0 && net_shape(n).chaos.cut == turns[i % ARRAY_LEN(turns)].cut;
	}
	good = good && net_set_chaos(n, &turns[4]) == 0;
	vdrv_thread_join(&t);
	ok(good && !vdrv_broken(&d), "changed by others while it works");
}

int main(void)
{
	struct net_counts c;
	const char *name;
	uint64_t value, sum = 0;

	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop) || !make_card(1))
		return 1;
	d.v = net_vdev(n);
	test_cut();
	test_loss();
	test_delay();
	test_limits();
	test_threads();
	c = counts();
	for (unsigned i = 0; net_count(&c, i, &name, &value); i++)
		sum += !strcmp(name, "tx_cut") ? value : 0;
	ok(sum == c.tx_cut && sum, "counters by name");
	drop_card(1);
	ok(gm.iov_live == 0, "no iovec left behind");
	ev_free(loop);
	gm_done(&gm);
	return tap_done();
}
