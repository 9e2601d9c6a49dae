/*
 * Every access of a device to guest memory fails once. Rings and buffers are checked when they are taken and memory never goes, so this cannot happen;
 * should the promise ever break, a device must answer with an error or stop, keep no iovec, and work again after its reset.
 */
#include "vmm/dev/net_priv.h" /* before the globals of this test */

#include "tests/unit/induce.h"
#include "tests/unit/tap.h"
#include "tests/unit/vdrv.h"
#include "vmm/dev/rng.h"
#include "vmm/dev/vsock.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <sys/socket.h>

#define CID 77u
#define HDR 12u
#define VHDR ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define PLACES_MAX 400u

static struct gm gm;
static struct vdrv d;
static struct ev_loop *loop;
static struct net *card;
static struct rng *rng;
static struct vsock *vs;
static int wire, tap, host_end = -1;
static uint8_t bytes[4096];

static void turn(void)
{
	for (int i = 0; i < 30 && ev_once(loop, 0) > 0; i++)
		;
}

static unsigned used(unsigned queue, uint32_t *len)
{
	uint32_t id;
	unsigned n = 0;

	while (n < 100 && vdrv_used(&d, queue, &id, len))
		n++;
	return n;
}

static void up(struct vdev *v, uint64_t features)
{
	vdrv_start(&d, &gm, v, features, 16);
	turn();
	while (recv(wire, bytes, sizeof(bytes), MSG_DONTWAIT) > 0 || recv(tap, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void offer(unsigned queue, const struct vdrv_seg *s, unsigned n)
{
	vdrv_add(&d, queue, s, n);
	vdrv_kick(&d, queue);
	turn();
}

static bool random_bytes(void)
{
	uint32_t len = 0;

	offer(0, (const struct vdrv_seg[]){ { 0x40000, 300, true }, { 0x41000, 20, true } }, 2);
	return used(0, &len) == 1 && len == 320;
}

static void random_up(void)
{
	up(rng_vdev(rng), 0);
}

static void card_up(void)
{
	up(net_vdev(card), VDEV_F(VIRTIO_NET_F_MRG_RXBUF) | VDEV_F(VIRTIO_NET_F_CTRL_VQ) | VDEV_F(VIRTIO_NET_F_CTRL_RX) | VDEV_F(VIRTIO_NET_F_CTRL_MAC_ADDR) |
				   VDEV_F(VIRTIO_NET_F_MQ) | VDEV_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | VDEV_F(VIRTIO_NET_F_GUEST_CSUM) | VDEV_F(VIRTIO_NET_F_CSUM));
}

static bool packet_out(void)
{
	uint32_t len;

	gm_zero(&gm, 0x40000, 200);
	offer(1, (const struct vdrv_seg[]){ { 0x40000, 20, false }, { 0x40100, 100, false } }, 2);
	return used(1, &len) == 1 && recv(wire, bytes, sizeof(bytes), MSG_DONTWAIT) == 120;
}

static bool packet_delayed(void)
{
	struct shape_policy delay = { .delay_us = 60000000 }, none = { .delay_us = 0 };
	uint32_t len;
	bool sent;

	net_set_chaos(card, &delay);
	turn();
	gm_zero(&gm, 0x40000, 200);
	offer(1, (const struct vdrv_seg[]){ { 0x40000, 20, false }, { 0x40100, 100, false } }, 2);
	sent = used(1, &len) == 1;
	net_set_chaos(card, &none);
	turn();
	return sent && recv(wire, bytes, sizeof(bytes), MSG_DONTWAIT) == 120;
}

/* One packet into two prepared buffers and one that comes later. */
static bool packet_in(void)
{
	static uint8_t packet[400];
	uint32_t len;
	unsigned n;

	if (write(wire, packet, 150) != 150)
		return false;
	turn();
	offer(0, (const struct vdrv_seg[]){ { 0x40000, 200, true } }, 1);
	n = used(0, &len);
	offer(0, (const struct vdrv_seg[]){ { 0x41000, 50, true }, { 0x41100, 50, true } }, 2);
	offer(0, (const struct vdrv_seg[]){ { 0x42000, 100, true } }, 1);
	if (write(wire, packet, 300) != 300)
		return false;
	turn();
	offer(0, (const struct vdrv_seg[]){ { 0x43000, 100, true } }, 1);
	offer(0, (const struct vdrv_seg[]){ { 0x44000, 100, true } }, 1);
	return n + used(0, &len) == 4 && len == 100;
}

static bool command(uint8_t class, uint8_t cmd, const void *data, uint32_t n)
{
	uint8_t head[2] = { class, cmd }, answer = 0xaa;

	gm_write(&gm, 0x40000, head, 2);
	gm_write(&gm, 0x41000, data, n);
	gm_write(&gm, 0x42000, &answer, 1);
	offer(4, (const struct vdrv_seg[]){ { 0x40000, 2, false }, { 0x41000, n, false }, { 0x42000, 1, true } }, 3);
	gm_read(&gm, 0x42000, &answer, 1);
	return answer == VIRTIO_NET_OK;
}

static bool commands(void)
{
	static const uint8_t tables[8];
	uint64_t offloads = VDEV_F(VIRTIO_NET_F_GUEST_CSUM);

	return command(VIRTIO_NET_CTRL_RX, 0, "\1", 1) & command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "\2\0\0\0\0\1", 6) &
	       command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 8) & command(VIRTIO_NET_CTRL_MQ, 0, "\1", 2) &
	       command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8);
}

static int incoming(void *arg, uint32_t port, uint32_t guest_port, int fd)
{
	(void)arg, (void)port, (void)guest_port;
	fd_close(&host_end);
	host_end = fd;
	return 0;
}

static void vsock_up(void)
{
	fd_close(&host_end);
	up(vsock_vdev(vs), 0);
}

static void guest_says(uint16_t op, uint32_t port, const void *data, uint32_t n)
{
	struct virtio_vsock_hdr h = { .src_cid = CID, .dst_cid = 2, .src_port = 5, .dst_port = port, .type = 1, .op = op, .buf_alloc = 65536, .len = n };

	gm_write(&gm, 0x50000, &h, sizeof(h));
	gm_write(&gm, 0x50100, data, n);
	offer(1, (const struct vdrv_seg[]){ { 0x50000, VHDR, false }, { 0x50100, n, false } }, n ? 2 : 1);
}

/* A stream, bytes both ways, into whole buffers and split ones, and an answer to nobody. */
static bool stream(void)
{
	uint32_t len;
	bool good;

	for (uint32_t i = 0; i < 6; i++)
		offer(0, (const struct vdrv_seg[]){ { 0x40000 + 0x1000 * i, i == 3 ? 20 : 64, true }, { 0x40800 + 0x1000 * i, 100, true } }, 2);
	guest_says(VIRTIO_VSOCK_OP_RW, 999, "", 0);
	guest_says(VIRTIO_VSOCK_OP_REQUEST, 1025, "", 0);
	guest_says(VIRTIO_VSOCK_OP_RW, 1025, "from the guest", 14);
	if (host_end < 0)
		return false;
	good = recv(host_end, bytes, sizeof(bytes), MSG_DONTWAIT) == 14 && !memcmp(bytes, "from the guest", 14);
	good = send(host_end, bytes, 400, MSG_DONTWAIT | MSG_NOSIGNAL) == 400 && good;
	turn();
	return used(0, &len) == 6 && good;
}

static void sweep(const char *what, void (*start)(void), bool (*run)(void))
{
	static const struct { enum induce_call call; const char *name; } calls[] = { { INDUCE_gm_read, "read" }, { INDUCE_gm_write, "write" },
		{ INDUCE_gm_iov, "iovec" }, { INDUCE_gm_load_acquire_u16, "load" }, { INDUCE_gm_store_release_u16, "store" } };

	start();
	ok(run() && !vdrv_broken(&d), "%s", what);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		bool hit = true, good = true;
		unsigned n;

		for (n = 0; hit && n < PLACES_MAX; n++) {
			start();
			induce(calls[i].call, n, EFAULT);
			(void)run();
			hit = induced();
			good = good && gm.iov_live == 0;
		}
		start();
		ok(good && !hit && run() && !vdrv_broken(&d) && gm.iov_live == 0, "%s: each of %u calls (%s) fails once", what, n - 1, calls[i].name);
	}
}

int main(void)
{
	static const uint8_t mac[6] = { 2 };
	int sv[2], sv2[2];

	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop) || socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) || socketpair(AF_UNIX, SOCK_DGRAM, 0, sv2))
		return 1;
	tap = sv[0];
	wire = sv[1];
	if (rng_new(&rng, &gm) || net_new(&card, &gm, (const int[]){ sv[0], sv2[0] }, 2, mac, NULL) || vsock_new(&vs, &gm, CID, NULL) ||
	    vdev_attach(rng_vdev(rng), loop) || vdev_attach(net_vdev(card), loop) || net_reserve(card) || vdev_attach(vsock_vdev(vs), loop) ||
	    vsock_listen(vs, 1025, incoming, NULL))
		return 1;
	card->can = TUN_F_CSUM;
	sweep("random bytes", random_up, random_bytes);
	sweep("a packet out", card_up, packet_out);
	sweep("a packet out, delayed", card_up, packet_delayed);
	sweep("packets in", card_up, packet_in);
	sweep("commands", card_up, commands);
	sweep("a stream", vsock_up, stream);
	fd_close(&host_end);
	rng_free(rng);
	net_free(card);
	vsock_free(vs);
	ev_free(loop);
	gm_done(&gm);
	close(sv[1]);
	close(sv2[1]);
	return tap_done();
}
