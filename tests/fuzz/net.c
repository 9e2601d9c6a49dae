/* virtio-net with two queue pairs on datagram socketpairs, by registers and rings, the control queue too. Host's side: packets come and are
 * read, the network is cut, lossy, slow and healed. */
#include "tests/fuzz/vdev_fuzz.h"
#include "vmm/dev/net.h"

#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAIRS 2u
static int wire[PAIRS];
static struct net *card;

static void chaos(struct fuzz *f)
{
	uint8_t what = (uint8_t)fuzz_u(f, 1);
	struct shape_policy p = { .cut = what & 1, .loss_ppm = what & 2 ? SHAPE_LOSS_ALL / 2 : 0, .delay_us = what & 4 ? 60000000 : what & 8 ? 1 : 0 };

	if (what & 16)
		p.limit[SHAPE_IN].packets_s = 1 + fuzz_u(f, 1);
	if (what & 32)
		p.limit[SHAPE_OUT].bytes_s = SHAPE_BYTES_S_MIN + fuzz_u(f, 2);
	if (shape_check(&p, NULL) || net_set_chaos(card, &p))
		abort();
}

static void host(struct fuzz *f)
{
	static uint8_t bytes[70000];
	size_t n = (size_t)fuzz_u(f, 2);
	int fd = wire[n >> 1 & 1];

	if (n & 4)
		bytes[0] = (uint8_t)(n >> 8), bytes[1] = (uint8_t)(n >> 4); /* flags and kind of segmentation */
	if ((n & 0xf8) == 0xf8)
		chaos(f);
	else if (n & 1)
		(void)!send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		(void)!recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	fuzz_turn(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t mac[6] = { 2 };
	static struct gm gm;
	static struct fuzz f;
	struct ev_loop *loop;
	int taps[PAIRS];

	if ((!gm.map && gm_init(&gm, 1 << 20, NULL)) || ev_new(&loop))
		abort();
	for (unsigned i = 0; i < PAIRS; i++) {
		int sv[2];

		if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sv))
			abort();
		taps[i] = sv[0];
		wire[i] = sv[1];
	}
	if (net_new(&card, &gm, taps, PAIRS, mac, NULL) || vdev_attach(net_vdev(card), loop) || net_reserve(card))
		abort();
	f = (struct fuzz){ .gm = &gm, .loop = loop, .d = { .v = net_vdev(card) }, .host = host,
			   .features = VDEV_F(VIRTIO_NET_F_MRG_RXBUF) | VDEV_F(VIRTIO_NET_F_CTRL_VQ) | VDEV_F(VIRTIO_NET_F_MQ) | VDEV_F(VIRTIO_NET_F_CTRL_RX) |
				       VDEV_F(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDEV_F(VIRTIO_NET_F_GUEST_ANNOUNCE) };
	fuzz_run(&f, data, size);
	net_free(card);
	ev_free(loop);
	for (unsigned i = 0; i < PAIRS; i++)
		close(wire[i]);
	return 0;
}
