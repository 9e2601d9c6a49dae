/* A network card of several queue pairs on socketpairs that stand for its tap, for tests of virtio-net. */
#ifndef TESTS_UNIT_NETDRV_H
#define TESTS_UNIT_NETDRV_H

#include "tests/unit/tap.h"
#include "tests/unit/vdrv.h"
#include "vmm/dev/net.h"

#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <unistd.h>

#define HDR 12u
#define PAIRS 2u

static const uint8_t own_mac[6] = { 2, 1, 2, 3, 4, 5 };
static struct gm gm;
static struct vdrv d;
static struct ev_loop *loop;
static struct net *n;
static int wire[PAIRS], tap[PAIRS]; /* the test's ends, the device's */
static uint8_t packet[70000], back[70000];

static inline void turn(void)
{
	for (int i = 0; i < 50 && ev_once(loop, 0) > 0; i++)
		;
}

static inline bool make_card(unsigned pairs)
{
	int big = 1 << 20;

	for (unsigned i = 0; i < pairs; i++) {
		int sv[2];

		if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sv))
			return false;
		setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
		setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
		tap[i] = sv[0];
		wire[i] = sv[1];
	}
	return net_new(&n, &gm, tap, pairs, own_mac, NULL) == 0 && vdev_attach(net_vdev(n), loop) == 0 && net_reserve(n) == 0;
}

static inline void drop_card(unsigned pairs)
{
	net_free(n);
	for (unsigned i = 0; i < pairs; i++)
		close(wire[i]);
}

static inline uint32_t start(uint64_t features)
{
	uint32_t s = vdrv_start(&d, &gm, net_vdev(n), features, 64);

	turn();
	return s;
}

static inline void transmit(unsigned pair, uint8_t mark, uint32_t len)
{
	struct vdrv_seg s = { 0x50000, HDR + len, false };

	memset(packet, 0, HDR);
	memset(packet + HDR, mark, len);
	gm_write(&gm, 0x50000, packet, HDR + len);
	vdrv_add(&d, 2 * pair + 1, &s, 1);
	vdrv_kick(&d, 2 * pair + 1);
	turn();
}

static inline void buffer(unsigned pair, uint64_t gpa, uint32_t len)
{
	struct vdrv_seg s = { gpa, len, true };

	vdrv_add(&d, 2 * pair, &s, 1);
	vdrv_kick(&d, 2 * pair);
	turn();
}

/* From outside; the device sees it with the next turn. */
static inline void arrive(unsigned pair, uint8_t mark, uint32_t len)
{
	memset(packet, 0, HDR);
	memset(packet + HDR, mark, len);
	if (write(wire[pair], packet, HDR + len) != (ssize_t)(HDR + len))
		abort();
}

static inline ssize_t on_wire(unsigned pair)
{
	return recv(wire[pair], back, sizeof(back), MSG_DONTWAIT);
}

static inline unsigned used(unsigned queue)
{
	uint32_t id, len;
	unsigned count = 0;

	while (vdrv_used(&d, queue, &id, &len))
		count++;
	return count;
}

static inline struct net_counts counts(void)
{
	return net_counts_get(n);
}

#endif
