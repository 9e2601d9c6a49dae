/* virtio-net on a datagram socketpair, by registers and rings. Host's side: packets come and are read. */
#include "tests/fuzz/vdev_fuzz.h"
#include "vmm/dev/net.h"

#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int wire;

static void packet(struct fuzz *f)
{
	static uint8_t bytes[70000];
	size_t n = (size_t)fuzz_u(f, 2);

	if (n & 1)
		(void)!send(wire, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		(void)!recv(wire, bytes, sizeof(bytes), MSG_DONTWAIT);
	fuzz_turn(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t mac[6] = { 2 };
	static struct gm gm;
	static struct fuzz f;
	struct ev_loop *loop;
	struct net *n;
	int sv[2];

	if ((!gm.map && gm_init(&gm, 1 << 20, NULL)) || ev_new(&loop) || socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) ||
	    net_new(&n, &gm, sv, 1, mac, NULL) || vdev_attach(net_vdev(n), loop))
		abort();
	wire = sv[1];
	f = (struct fuzz){ .gm = &gm, .loop = loop, .d = { .v = net_vdev(n) }, .features = VDEV_F(15), .host = packet };
	fuzz_run(&f, data, size);
	net_free(n);
	ev_free(loop);
	close(wire);
	return 0;
}
