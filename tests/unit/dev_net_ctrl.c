/* virtio-net: the control queue and several queue pairs. */
#include "tests/unit/netdrv.h"

#define MQ (VDEV_F(VIRTIO_NET_F_CTRL_VQ) | VDEV_F(VIRTIO_NET_F_MQ))

static unsigned ctrl_queue;

/* One command; its answer, 0xaa when there is none. */
static uint8_t command(uint8_t class, uint8_t cmd, const void *data, uint32_t bytes)
{
	struct vdrv_seg s[3] = { { 0x60000, 2, false }, { 0x61000, bytes, false }, { 0x62000, 1, true } };
	uint8_t head[2] = { class, cmd }, answer = 0xaa;

	if (!bytes)
		s[1] = s[2];
	gm_write(&gm, 0x60000, head, 2);
	gm_write(&gm, 0x61000, data, bytes);
	gm_write(&gm, 0x62000, &answer, 1);
	vdrv_add(&d, ctrl_queue, s, bytes ? 3 : 2);
	vdrv_kick(&d, ctrl_queue);
	turn();
	gm_read(&gm, 0x62000, &answer, 1);
	return answer;
}

static uint8_t set_pairs(uint16_t pairs)
{
	return command(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2);
}

static void test_pairs(void)
{
	ctrl_queue = 2 * PAIRS;
	ok(vdrv_offered(&d) & VDEV_F(VIRTIO_NET_F_MQ) && (mmio_read(d.v, 0x108, 2) == PAIRS), "two queue pairs are offered");
	ok(start(VDEV_F(VIRTIO_NET_F_MQ)) != 15, "but not without a control queue");
	ok(start(MQ) == 15, "up");
	buffer(0, 0x40000, 2000);
	buffer(1, 0x41000, 2000);
	arrive(1, 7, 100);
	turn();
	ok(used(2) == 0, "one pair is in use at first: the second gets nothing");
	ok(set_pairs(2) == VIRTIO_NET_OK, "two of them");
	turn();
	ok(used(2) == 1 && used(0) == 0, "now it does");
	transmit(1, 9, 50);
	ok(on_wire(1) == 62 && on_wire(0) < 0, "each sends by its own descriptor");
	transmit(0, 9, 60);
	ok(on_wire(0) == 72 && on_wire(1) < 0, "both ways");
	ok(set_pairs(0) == VIRTIO_NET_ERR && set_pairs(3) == VIRTIO_NET_ERR && set_pairs(0x8001) == VIRTIO_NET_ERR, "none and too many are refused");
	ok(command(VIRTIO_NET_CTRL_MQ, 0, "\1", 1) == VIRTIO_NET_ERR && command(VIRTIO_NET_CTRL_MQ, 1, "\1\0", 2) == VIRTIO_NET_ERR,
	   "so is half a number, and what was not agreed on");
	ok(set_pairs(1) == VIRTIO_NET_OK, "one again");
	buffer(1, 0x41000, 2000);
	arrive(1, 7, 100);
	turn();
	ok(used(2) == 0, "the second gets nothing any more");
	ok(start(MQ) == 15 && set_pairs(2) == VIRTIO_NET_OK, "after a reset");
	buffer(1, 0x41000, 2000);
	ok(used(2) == 1, "it comes: the tap kept it");
}

static void test_without_mq(void)
{
	struct vdrv_seg s = { 0x50000, HDR + 60, false };

	ctrl_queue = 2;
	start(VDEV_F(VIRTIO_NET_F_CTRL_VQ));
	ok(set_pairs(1) == VIRTIO_NET_ERR, "pairs cannot be set by who did not ask for them");
	ok(command(77, 0, "", 0) == VIRTIO_NET_ERR && command(0, 77, "\0", 1) == VIRTIO_NET_ERR, "unknown commands are answered");
	vdrv_add(&d, 3, &s, 1);
	vdrv_kick(&d, 3);
	turn();
	ok(on_wire(1) < 0 && used(3) == 0 && !vdrv_broken(&d), "queues beyond are nobody's");
	start(0);
	ok(command(0, 0, "\1", 1) == 0xaa, "no control queue, no answers");
}

static void test_mac(void)
{
	static const uint8_t other[6] = { 2, 9, 9, 9, 9, 9 }, group[6] = { 1, 9, 9, 9, 9, 9 };
	uint8_t table[4 + 12 + 4 + 6] = { 2, 0, 0, 0 };
	uint64_t v;

	table[16] = 1;
	ctrl_queue = 2;
	start(VDEV_F(VIRTIO_NET_F_CTRL_VQ));
	ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6) == VIRTIO_NET_ERR, "no address without agreement");
	start(VDEV_F(VIRTIO_NET_F_CTRL_VQ) | VDEV_F(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDEV_F(VIRTIO_NET_F_CTRL_RX));
	ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6) == VIRTIO_NET_OK, "another address");
	v = mmio_read(d.v, 0x100, 8);
	ok(!memcmp(&v, other, 6), "stands in the configuration");
	ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, group, 6) == VIRTIO_NET_ERR &&
	   command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 5) == VIRTIO_NET_ERR, "a group's and a short one do not");
	ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)) == VIRTIO_NET_OK, "tables of two and one");
	ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table) - 1) == VIRTIO_NET_ERR, "cut short");
	table[0] = table[1] = table[2] = table[3] = 0xff;
	ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)) == VIRTIO_NET_ERR, "of four thousand million");
	ok(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\1", 1) == VIRTIO_NET_OK &&
	   command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, "\0", 1) == VIRTIO_NET_OK, "modes of receiving");
	ok(command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\2", 1) == VIRTIO_NET_ERR &&
	   command(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLUNI, "\1", 1) == VIRTIO_NET_ERR, "neither on nor off, and one not agreed on");
	start(0);
	v = mmio_read(d.v, 0x100, 8);
	ok(!memcmp(&v, own_mac, 6), "a reset brings the own address back");
}

static void test_hostile(void)
{
	struct vdrv_seg no_answer = { 0x60000, 2, false }, no_head = { 0x62000, 1, true }, half[2] = { { 0x60000, 1, false }, { 0x62000, 1, true } };

	ctrl_queue = 2;
	start(VDEV_F(VIRTIO_NET_F_CTRL_VQ));
	for (int i = 0; i < 200; i++)
		command(VIRTIO_NET_CTRL_MAC, 0, "\1\1\1\1\1\1", 6);
	ok(!vdrv_broken(&d) && vdev_stats_get(d.v).errors >= 200, "wrong commands are counted, no more");
	vdrv_add(&d, 2, &no_answer, 1);
	vdrv_kick(&d, 2);
	turn();
	ok(vdrv_broken(&d), "no room for an answer");
	start(VDEV_F(VIRTIO_NET_F_CTRL_VQ));
	vdrv_add(&d, 2, &no_head, 1);
	vdrv_kick(&d, 2);
	turn();
	ok(vdrv_broken(&d), "no command");
	start(VDEV_F(VIRTIO_NET_F_CTRL_VQ));
	vdrv_add(&d, 2, half, 2);
	vdrv_kick(&d, 2);
	turn();
	ok(vdrv_broken(&d), "half a one");
}

static void test_storm(void)
{
	unsigned refused = 0;

	ctrl_queue = 2 * PAIRS;
	start(MQ);
	for (uint16_t i = 0; i < 400; i++)
		refused += set_pairs((uint16_t)(1 + i % 2)) == VIRTIO_NET_ERR;
	ok(refused > 50 && refused < 400 && !vdrv_broken(&d), "one and two pairs in turn without end: the host is spared (%u of 400 are refused)", refused);
}

int main(void)
{
	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop) || !make_card(1))
		return 1;
	d.v = net_vdev(n);
	ok(!(vdrv_offered(&d) & VDEV_F(VIRTIO_NET_F_MQ)) && d.v->ops->queues == 3, "one descriptor, one pair");
	drop_card(1);
	if (!make_card(PAIRS))
		return 1;
	d.v = net_vdev(n);
	test_pairs();
	test_without_mq();
	test_mac();
	test_hostile();
	test_storm();
	drop_card(PAIRS);
	ok(gm.iov_live == 0, "no iovec left behind");
	ev_free(loop);
	gm_done(&gm);
	return tap_done();
}
