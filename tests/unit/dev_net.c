/* virtio-net on a datagram socketpair that stands for the tap. */
#include "tests/unit/tap.h"
#include "tests/unit/vdrv.h"
#include "vmm/dev/net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <unistd.h>

#define HDR 12u

static struct gm gm;
static struct vdrv d;
static struct ev_loop *loop;
static struct net *n;
static int wire, tap; /* the test's end, the device's */
static uint8_t packet[70000], back[70000];

static void turn(void)
{
	for (int i = 0; i < 50 && ev_once(loop, 0) > 0; i++)
		;
}

static uint32_t start(uint64_t features)
{
	uint32_t s = vdrv_start(&d, &gm, net_vdev(n), features, 64);

	turn();
	while (recv(wire, back, sizeof(back), MSG_DONTWAIT) > 0)
		;
	while (recv(tap, back, sizeof(back), MSG_DONTWAIT) > 0) /* what an earlier part of the test left there */
		;
	return s;
}

static void buffer(uint64_t gpa, uint32_t len)
{
	struct vdrv_seg s = { gpa, len, true };

	vdrv_add(&d, 0, &s, 1);
	vdrv_kick(&d, 0);
	turn();
}

static void transmit(const void *p, uint32_t len)
{
	struct vdrv_seg s[2] = { { 0x40000, len < 20 ? len : 20, false }, { 0x50000, len < 20 ? 0 : len - 20, false } };

	gm_write(&gm, 0x40000, p, s[0].len);
	gm_write(&gm, 0x50000, (const uint8_t *)p + 20, s[1].len);
	vdrv_add(&d, 1, s, s[1].len ? 2 : 1);
	vdrv_kick(&d, 1);
	turn();
}

static ssize_t on_wire(void)
{
	return recv(wire, back, sizeof(back), MSG_DONTWAIT);
}

static void test_hostile(void)
{
	struct virtio_net_hdr_v1 h = { 0 };
	uint64_t errors;

	ok(!(vdrv_offered(&d) & VDEV_F(VIRTIO_NET_F_HOST_TSO4)), "no offloads without a tap");
	ok(start(VDEV_F(VIRTIO_NET_F_HOST_TSO4)) != 15, "and none are accepted");
	ok(start(0) == 15, "up");
	errors = vdev_stats_get(d.v).errors;
	transmit(packet, 11);
	ok(on_wire() < 0, "a packet shorter than its header is dropped");
	transmit(packet, 12);
	ok(on_wire() < 0, "an empty packet is dropped");
	h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	memcpy(packet, &h, sizeof(h));
	transmit(packet, 100);
	ok(on_wire() < 0, "segmentation that was not agreed on is dropped");
	h.gso_type = 77;
	memcpy(packet, &h, sizeof(h));
	transmit(packet, 100);
	ok(on_wire() < 0, "an unknown kind of segmentation is dropped");
	memset(packet, 0, 12);
	transmit(packet, 66000);
	ok(on_wire() < 0, "a packet that is too long is dropped");
	ok(vdev_stats_get(d.v).errors == errors + 5 && !vdrv_broken(&d), "counted, and the device lives");
	buffer(0x60000, 5);
	ok(write(wire, packet, 100) == 100, "a packet comes");
	turn();
	ok(vdrv_broken(&d), "a receive buffer without room for a header breaks the device");
	start(0);
	{
		struct vdrv_seg s = { 0x60000, 2000, false };

		vdrv_add(&d, 0, &s, 1);
		vdrv_kick(&d, 0);
		ok(write(wire, packet, 100) == 100, "a packet comes");
		turn();
		ok(vdrv_broken(&d), "so does one that cannot be written");
	}
}

static void test_transmit(void)
{
	for (unsigned i = 0; i < sizeof(packet); i++)
		packet[i] = (uint8_t)(i * 3);
	memset(packet, 0, 12);
	packet[0] = 0xfe; /* flags that mean nothing on the way out */
	packet[10] = 9;   /* num_buffers neither */
	start(0);
	transmit(packet, 1514 + HDR);
	ok(on_wire() == 1514 + (int)HDR && !memcmp(back + HDR, packet + HDR, 1514), "a packet");
	ok(back[0] == 0 && back[10] == 0, "its header says only what was agreed on");
	transmit(packet, 65550 + HDR);
	ok(on_wire() == 65550 + (int)HDR && !memcmp(back + HDR, packet + HDR, 65550), "the longest one");
}

static void test_transmit_full(void)
{
	unsigned sent = 0, got = 0;
	uint32_t id, len;
	int size = 16384;

	start(0);
	memset(packet, 0, 12);
	/* The wire takes nothing more: the device waits without spinning, and goes on when there is room. */
	setsockopt(tap, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	while (sent < 60) {
		transmit(packet, 1000 + HDR);
		sent++;
	}
	while (vdrv_used(&d, 1, &id, &len))
		got++;
	ok(got < sent, "%u of %u packets before the wire is full", got, sent);
	ok(ev_once(loop, 0) == 0, "nothing spins");
	for (int i = 0; i < 200 && got < sent; i++) {
		while (on_wire() > 0)
			;
		turn();
		while (vdrv_used(&d, 1, &id, &len))
			got++;
	}
	ok(got == sent, "all of them in the end");
}

static void test_receive(void)
{
	uint32_t id, len = 0;
	uint16_t num = 0;
	struct vdrv_seg none = { 0x30000, 16, true };

	(void)none;
	for (unsigned i = 0; i < sizeof(packet); i++)
		packet[i] = (uint8_t)(i * 5);
	memset(packet, 0, 12);
	start(0);
	ok(write(wire, packet, 1000) == 1000, "a packet before there is a buffer");
	turn();
	ok(ev_once(loop, 0) == 0, "nothing spins");
	ok(!vdrv_used(&d, 0, &id, &len), "it waits");
	buffer(0x60000, 2000);
	ok(vdrv_used(&d, 0, &id, &len) && len == 1000, "and arrives");
	gm_read(&gm, 0x60000, back, 1000);
	ok(!memcmp(back + 12, packet + 12, 988) && gm_read_u16(&gm, 0x60000 + 10, &num) == 0 && num == 1, "whole, with its header");
	buffer(0x60000, 500);
	ok(write(wire, packet, 1000) == 1000, "one that does not fit");
	turn();
	ok(!vdrv_used(&d, 0, &id, &len) && write(wire, packet, 400) == 400, "is dropped");
	turn();
	ok(vdrv_used(&d, 0, &id, &len) && len == 400, "and the buffer serves the next");

	start(VDEV_F(VIRTIO_NET_F_MRG_RXBUF));
	buffer(0x60000, 400);
	buffer(0x61000, 400);
	ok(write(wire, packet, 1000) == 1000, "mergeable: two buffers, three are needed");
	turn();
	ok(!vdrv_used(&d, 0, &id, &len), "waits");
	buffer(0x62000, 400);
	ok(vdrv_used(&d, 0, &id, &len) && len == 400 && vdrv_used(&d, 0, &id, &len) && len == 400 && vdrv_used(&d, 0, &id, &len) && len == 200,
	   "over three");
	ok(gm_read_u16(&gm, 0x60000 + 10, &num) == 0 && num == 3, "their number is told");
	gm_read(&gm, 0x62000, back, 200);
	ok(!memcmp(back, packet + 800, 200), "in order");

	/* What was not agreed on does not come (§5.1.6.4.1), though a tap may say it: of checksums it looked at, or from before a reset. */
	buffer(0x60000, 400);
	packet[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	ok(write(wire, packet, 300) == 300, "a packet without its checksum");
	packet[0] = 0;
	packet[1] = VIRTIO_NET_HDR_GSO_TCPV4;
	ok(write(wire, packet, 300) == 300, "one that is to be cut up");
	packet[1] = 0;
	packet[0] = VIRTIO_NET_HDR_F_DATA_VALID;
	ok(write(wire, packet, 200) == 200, "one whose checksum is known to be good");
	packet[0] = 0;
	turn();
	gm_read(&gm, 0x60000, back, 12);
	ok(vdrv_used(&d, 0, &id, &len) && len == 200 && back[0] == 0, "two are dropped, the third comes without the word");

	/* Where the pieces of a buffer end is the driver's business (§2.7.4.1). */
	vdrv_add(&d, 0, (const struct vdrv_seg[]){ { 0x60000, 4, true }, { 0x61000, 7, true }, { 0x62000, 300, true } }, 3);
	vdrv_kick(&d, 0);
	buffer(0x63000, 2000);
	gm_write_u16(&gm, 0x61000 + 6, 0xffff);
	gm_write_u16(&gm, 0x62000, 0xffff);
	ok(write(wire, packet, 1000) == 1000, "a header in three pieces");
	turn();
	ok(vdrv_used(&d, 0, &id, &len) && len == 311 && vdrv_used(&d, 0, &id, &len) && len == 689 && !vdrv_broken(&d), "is filled like any other");
	gm_read(&gm, 0x61000 + 6, back, 1);
	gm_read(&gm, 0x62000, back + 1, 300);
	ok(back[0] == 2 && back[1] == 0 && !memcmp(back + 2, packet + 12, 299), "with the number of buffers across a border");
}

static void test_reset(void)
{
	uint32_t id, len;

	start(VDEV_F(VIRTIO_NET_F_MRG_RXBUF));
	buffer(0x60000, 400);
	ok(write(wire, packet, 1000) == 1000, "a packet of which a part waits for a buffer");
	turn();
	start(VDEV_F(VIRTIO_NET_F_MRG_RXBUF));
	buffer(0x60000, 2000);
	ok(!vdrv_used(&d, 0, &id, &len), "does not survive a reset");
	ok(write(wire, packet, 500) == 500, "the next one");
	turn();
	ok(vdrv_used(&d, 0, &id, &len) && len == 500, "is not touched by that");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	turn();
	ok(write(wire, packet, 1000) == 1000, "a packet for a dead device");
	ok(ev_once(loop, 0) == 0, "wakes nobody");
	ok(gm.iov_live == 0, "no iovec left behind");
}

int main(void)
{
	static const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };
	struct fault f = { "" };
	uint8_t got[8];
	uint64_t v;
	int sv[2], none = -1, big = 1 << 20;

	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop) || socketpair(AF_UNIX, SOCK_DGRAM, 0, sv))
		return 1;
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	tap = sv[0];
	wire = sv[1];
	ok(net_new(&n, &gm, &none, 1, mac, &f) == -EBADF, "no descriptor is refused: %s", f.text);
	ok(net_new(&n, &gm, sv, 0, mac, &f) == -EINVAL && net_new(&n, &gm, sv, 5, mac, &f) == -EINVAL, "so are none and too many queues: %s", f.text);
	ok(net_new(&n, &gm, sv, 1, mac, &f) == 0 && vdev_attach(net_vdev(n), loop) == 0 && net_reserve(n) == 0, "a card");
	ok(fcntl(sv[0], F_GETFL) & O_NONBLOCK, "that never blocks");
	d.v = net_vdev(n);
	v = mmio_read(d.v, 0x100, 8);
	memcpy(got, &v, 8);
	ok(!memcmp(got, mac, 6) && got[6] == 1, "MAC and link");
	test_hostile();
	test_transmit();
	test_receive();
	test_reset();
	test_transmit_full();
	net_free(n);
	ev_free(loop);
	gm_done(&gm);
	close(wire);
	return tap_done();
}
