/* virtio-net on real taps, in a network namespace of the test's own, where that is allowed. */
#include "tests/unit/netdrv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#define TSO (VDEV_F(VIRTIO_NET_F_CSUM) | VDEV_F(VIRTIO_NET_F_GUEST_CSUM) | VDEV_F(VIRTIO_NET_F_GUEST_TSO4) | VDEV_F(VIRTIO_NET_F_GUEST_TSO6) | \
	     VDEV_F(VIRTIO_NET_F_HOST_TSO4) | VDEV_F(VIRTIO_NET_F_HOST_TSO6) | VDEV_F(VIRTIO_NET_F_HOST_ECN) | VDEV_F(VIRTIO_NET_F_GUEST_ECN) | \
	     VDEV_F(VIRTIO_NET_F_MRG_RXBUF))
#define HOST_USO VDEV_F(56)
#define ETHERTYPE_TEST 0x88b5 /* for experiments */

static int new_tap(short flags, struct ifreq *ifr)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	ifr->ifr_flags = flags;
	if (fd >= 0 && ioctl(fd, TUNSETIFF, ifr) < 0)
		fd_close(&fd);
	return fd;
}

/* A packet socket on the interface, which is up: what the host's network sees. */
static int new_packet_socket(struct ifreq *ifr)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE_TEST) };

	if (fd < 0 || ioctl(fd, SIOCGIFINDEX, ifr) < 0)
		return -1;
	a.sll_ifindex = ifr->ifr_ifindex;
	ifr->ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, ifr) < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	return fd;
}

static void frame(const char *text)
{
	memset(packet, 0, 2000);
	memset(packet + HDR, 0xff, 6);
	memcpy(packet + HDR + 6, own_mac, 6);
	packet[HDR + 12] = ETHERTYPE_TEST >> 8;
	packet[HDR + 13] = ETHERTYPE_TEST & 0xff;
	strcpy((char *)packet + HDR + 14, text);
}

static void send_raw(unsigned pair, uint32_t bytes)
{
	struct vdrv_seg s = { 0x50000, bytes, false };

	gm_write(&gm, 0x50000, packet, bytes);
	vdrv_add(&d, 2 * pair + 1, &s, 1);
	vdrv_kick(&d, 2 * pair + 1);
	turn();
}

static bool goes_through(int net_fd)
{
	while (recv(net_fd, back, sizeof(back), 0) > 0)
		;
	frame("from the guest");
	send_raw(0, HDR + 60);
	return recv(net_fd, back, sizeof(back), 0) == 60 && !memcmp(back, packet + HDR, 60);
}

/* Each is refused by the host's kernel or goes through as it is; none stops the card. */
static void test_lies(int net_fd)
{
	static const struct virtio_net_hdr_v1 lies[] = {
		{ .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff },
		{ .flags = 1, .csum_start = 58, .csum_offset = 2 },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 0, .hdr_len = 54, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 0xffff, .hdr_len = 0xffff, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 1, .hdr_len = 0, .csum_start = 0, .csum_offset = 0 },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, .gso_size = 1, .csum_start = 14, .csum_offset = 0xfff0 },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 8, .csum_start = 34, .csum_offset = 6 },
		{ .flags = 1, .gso_type = 0x7f, .gso_size = 8, .csum_start = 34, .csum_offset = 6 },
		{ .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_ECN, .gso_size = 8, .csum_start = 34, .csum_offset = 6 },
		{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1000, .hdr_len = 54 },
	};
	struct net_counts was = counts(), now;
	bool good = true;

	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		frame("a lie");
		memcpy(packet, &lies[i], sizeof(lies[i]));
		send_raw(0, HDR + 60);
		good = good && goes_through(net_fd) && !vdrv_broken(&d);
	}
	now = counts();
	ok(good, "after each of %zu headers that lie, packets go on", ARRAY_LEN(lies));
	ok(now.tx_refused > was.tx_refused && now.tx_bad >= was.tx_bad + 4, "by the kernel %llu are refused, by us %llu",
	   (unsigned long long)(now.tx_refused - was.tx_refused), (unsigned long long)(now.tx_bad - was.tx_bad));
}

/* A TCP segment three times as large as what it is to be cut into. */
static void test_segments(int net_fd)
{
	struct virtio_net_hdr_v1 h = { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1000, .hdr_len = 54, .csum_start = 34, .csum_offset = 16 };
	uint64_t before = counts().tx_packets;

	frame("");
	packet[HDR + 12] = 8; /* IPv4 */
	packet[HDR + 13] = 0;
	memcpy(packet + HDR + 14, "\x45\0\x0c\0\0\0\0\0\x40\6\0\0\x0a\0\0\1\x0a\0\0\2", 20);
	packet[HDR + 46] = 0x50;
	memcpy(packet, &h, sizeof(h));
	send_raw(0, HDR + 14 + 3072);
	ok(counts().tx_packets == before + 1 && goes_through(net_fd), "a large segment is taken whole");
}

static void test_one(void)
{
	struct ifreq ifr = { .ifr_name = "" };
	struct fault f = { "" };
	int fd = new_tap(IFF_TAP | IFF_NO_PI, &ifr), net_fd;
	uint32_t id, len = 0;

	ok(net_new(&n, &gm, &fd, 1, own_mac, &f) == -EINVAL && strstr(f.text, "IFF_VNET_HDR"), "a tap without headers is refused: %s", f.text);
	close(fd);
	ifr = (struct ifreq){ .ifr_name = "" };
	fd = new_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, &ifr);
	net_fd = new_packet_socket(&ifr);
	ok(net_new(&n, &gm, &fd, 1, own_mac, &f) == 0 && vdev_attach(net_vdev(n), loop) == 0 && net_reserve(n) == 0, "a card on a tap");
	d.v = net_vdev(n);
	ok((vdrv_offered(&d) & TSO) == TSO, "offloads are offered");
	ok(true, "  datagrams%s cut up by this kernel", vdrv_offered(&d) & HOST_USO ? "" : " are not");
	ok(start(TSO & ~VDEV_F(VIRTIO_NET_F_GUEST_CSUM)) != 15, "segments without checksums are refused");
	ok(start(VDEV_F(VIRTIO_NET_F_CSUM) | VDEV_F(VIRTIO_NET_F_HOST_ECN)) != 15, "so is ECN without segments");
	ok(start(TSO | (vdrv_offered(&d) & HOST_USO)) == 15, "up with all of them");
	ok(vdev_stats_get(d.v).host_errors == 0, "the tap accepts them");
	ok(goes_through(net_fd), "guest to host");
	for (unsigned i = 0; i < 8; i++) /* the interface has things of its own to say (IPv6), which come first */
		buffer(0, 0x60000 + i * 0x1000, 2000);
	frame("from the host");
	ok(send(net_fd, packet + HDR, 60, 0) == 60, "host sends");
	usleep(1000);
	turn();
	memset(back, 0, sizeof(back));
	for (unsigned i = 0; i < 8 && vdrv_used(&d, 0, &id, &len); i++) {
		gm_read(&gm, 0x60000 + i * 0x1000, back, len);
		if (len == 72 && !strcmp((char *)back + HDR + 14, "from the host"))
			break;
	}
	ok(!strcmp((char *)back + HDR + 14, "from the host"), "host to guest");
	test_lies(net_fd);
	test_segments(net_fd);
	net_free(n);
	close(net_fd);
}

static uint8_t pairs_command(uint8_t class, const void *data, uint32_t bytes)
{
	struct vdrv_seg s[3] = { { 0x60000, 2, false }, { 0x61000, bytes, false }, { 0x62000, 1, true } };
	uint8_t head[2] = { class, 0 }, answer = 0xaa;

	gm_write(&gm, 0x60000, head, 2);
	gm_write(&gm, 0x61000, data, bytes);
	vdrv_add(&d, 4, s, 3);
	vdrv_kick(&d, 4);
	turn();
	gm_read(&gm, 0x62000, &answer, 1);
	return answer;
}

static void test_two(void)
{
	struct ifreq ifr = { .ifr_name = "" };
	short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
	uint64_t offloads = VDEV_F(VIRTIO_NET_F_GUEST_CSUM), none = 0;
	int fds[2], net_fd;

	fds[0] = new_tap(flags, &ifr);
	fds[1] = new_tap(flags, &ifr);
	net_fd = new_packet_socket(&ifr);
	ok(fds[0] >= 0 && fds[1] >= 0 && net_new(&n, &gm, fds, 2, own_mac, NULL) == 0 && vdev_attach(net_vdev(n), loop) == 0 && net_reserve(n) == 0,
	   "a card on a tap of two queues");
	d.v = net_vdev(n);
	ok(start(TSO | VDEV_F(VIRTIO_NET_F_CTRL_VQ) | VDEV_F(VIRTIO_NET_F_MQ) | VDEV_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) == 15 && goes_through(net_fd), "up");
	ok(pairs_command(VIRTIO_NET_CTRL_MQ, "\2", 2) == VIRTIO_NET_OK, "both queues");
	frame("by the second");
	send_raw(1, HDR + 60);
	ok(recv(net_fd, back, sizeof(back), 0) == 60, "the second sends");
	ok(pairs_command(VIRTIO_NET_CTRL_MQ, "\1", 2) == VIRTIO_NET_OK && pairs_command(VIRTIO_NET_CTRL_MQ, "\2", 2) == VIRTIO_NET_OK, "one, and both again");
	ok(pairs_command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, &offloads, 8) == VIRTIO_NET_OK && pairs_command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, &none, 8) == VIRTIO_NET_OK,
	   "offloads while it runs");
	offloads = VDEV_F(VIRTIO_NET_F_GUEST_TSO4);
	ok(pairs_command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, &offloads, 8) == VIRTIO_NET_ERR, "but no segments without checksums");
	ok(vdev_stats_get(d.v).host_errors == 0 && goes_through(net_fd), "the tap took all of it");
	net_free(n);
	close(net_fd);
}

int main(void)
{
	struct ifreq ifr = { .ifr_name = "" };
	int fd = -1;

	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop))
		return 1;
	if (unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
		fd = new_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, &ifr);
	if (fd < 0) {
		ok(true, "real taps # SKIP no network namespace or no /dev/net/tun here");
		return tap_done();
	}
	close(fd);
	test_one();
	test_two();
	ok(gm.iov_live == 0, "no iovec left behind");
	ev_free(loop);
	gm_done(&gm);
	return tap_done();
}
