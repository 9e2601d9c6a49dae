/* virtio-net: what drivers and hosts do seldom: rings that go, calls that fail, offloads of every kind, full turns. A socketpair stands for a tap
 * that claims all offloads; its ioctls fail, as they may. */
#include "vmm/dev/net_priv.h" /* before netdrv.h, whose card is a global of the name n */

#include "tests/unit/induce.h"
#include "tests/unit/netdrv.h"

#include <errno.h>

#define GUEST (VDEV_F(VIRTIO_NET_F_GUEST_CSUM) | VDEV_F(VIRTIO_NET_F_GUEST_TSO4) | VDEV_F(VIRTIO_NET_F_GUEST_TSO6) | VDEV_F(VIRTIO_NET_F_GUEST_ECN) | \
	       VDEV_F(VIRTIO_NET_F_GUEST_USO4) | VDEV_F(VIRTIO_NET_F_GUEST_USO6))
#define HOST (VDEV_F(VIRTIO_NET_F_CSUM) | VDEV_F(VIRTIO_NET_F_HOST_TSO4) | VDEV_F(VIRTIO_NET_F_HOST_TSO6) | VDEV_F(VIRTIO_NET_F_HOST_ECN) | \
	      VDEV_F(VIRTIO_NET_F_HOST_USO))
#define CTRL VDEV_F(VIRTIO_NET_F_CTRL_VQ)

static unsigned ctrl_queue;

static uint8_t command(uint8_t class, uint8_t cmd, const void *data, uint32_t bytes)
{
	struct vdrv_seg s[3] = { { 0x60000, 2, false }, { 0x61000, bytes, false }, { 0x62000, 1, true } };
	uint8_t head[2] = { class, cmd }, answer = 0xaa;

	gm_write(&gm, 0x60000, head, 2);
	gm_write(&gm, 0x61000, data, bytes);
	gm_write(&gm, 0x62000, &answer, 1);
	vdrv_add(&d, ctrl_queue, s, 3);
	vdrv_kick(&d, ctrl_queue);
	turn();
	gm_read(&gm, 0x62000, &answer, 1);
	return answer;
}

static void set(struct shape_policy p)
{
	if (net_set_chaos(n, &p))
		abort();
	turn();
}

static void drain(void)
{
	while (recv(tap[0], back, sizeof(back), MSG_DONTWAIT) > 0)
		;
	while (on_wire(0) > 0)
		;
}

static void test_host_refuses(void)
{
	static const enum induce_call calls[] = { INDUCE_calloc, INDUCE_pthread_mutex_init };
	struct shape_policy delay = { .delay_us = 1000 };
	struct net *none = NULL;
	struct fault f = { "" };
	int sv[2];

	net_free(NULL);
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sv))
		abort();
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		induce(calls[i], 0, ENOMEM);
		ok(net_new(&none, &gm, sv, 1, own_mac, &f) == -ENOMEM && induced() && f.text[0], "no card: %s", f.text);
	}
	induce(INDUCE_mmap, 0, ENOMEM);
	ok(net_set_chaos(n, &delay) < 0 && induced() && !net_shape(n).chaos.delay_us, "no memory for packets that wait: no delay");
	close(sv[0]);
	close(sv[1]);
}

/* DRIVER_OK without its queues. */
static void test_missing_queues(void)
{
	for (unsigned queues = 0; queues < 2; queues++) {
		vdrv_start_some(&d, 0, (1u << queues) - 1, 16);
		turn();
		ok(vdrv_broken(&d), "%u queues are no card", queues);
	}
	vdrv_start_some(&d, CTRL | VDEV_F(VIRTIO_NET_F_MQ), 0x17, 16);
	turn();
	ctrl_queue = 4;
	ok(!vdrv_broken(&d) && command(VIRTIO_NET_CTRL_MQ, 0, "\2", 2) == VIRTIO_NET_ERR, "a pair without its transmit queue cannot be used");
	ok(command(VIRTIO_NET_CTRL_MQ, 0, "\1", 2) == VIRTIO_NET_OK, "the whole one can");
}

static void test_control(void)
{
	uint64_t on = VDEV_F(VIRTIO_NET_F_GUEST_CSUM), none = 0, uso = VDEV_F(VIRTIO_NET_F_GUEST_TSO4);
	uint8_t table[10] = { 1 };
	unsigned irqs;

	ctrl_queue = 2;
	start(CTRL | VDEV_F(VIRTIO_NET_F_CTRL_RX) | VDEV_F(VIRTIO_NET_F_CTRL_MAC_ADDR));
	ok(command(VIRTIO_NET_CTRL_RX, 0, "\1\1", 2) == VIRTIO_NET_ERR && command(VIRTIO_NET_CTRL_RX, 5, "\1", 1) == VIRTIO_NET_ERR, "modes of two bytes, or unknown");
	ok(command(VIRTIO_NET_CTRL_MAC, 7, "\2\0\0\0\0\0", 6) == VIRTIO_NET_ERR, "an unknown command for addresses");
	ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 3) == VIRTIO_NET_ERR &&
	   command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 10) == VIRTIO_NET_ERR, "tables without their second");
	ok(command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 1) == VIRTIO_NET_ERR, "announcing was not agreed on");
	ok(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &none, 8) == VIRTIO_NET_ERR, "nor were offloads");

	start(CTRL | VDEV_F(VIRTIO_NET_F_GUEST_ANNOUNCE) | VDEV_F(VIRTIO_NET_F_STATUS));
	ok(command(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 10) == VIRTIO_NET_ERR &&
	   command(VIRTIO_NET_CTRL_RX, 0, "\1", 1) == VIRTIO_NET_ERR, "filters neither");
	ok(command(VIRTIO_NET_CTRL_ANNOUNCE, 1, "", 1) == VIRTIO_NET_ERR, "an unknown command");
	irqs = d.irqs;
	ok(command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 1) == VIRTIO_NET_OK && d.irqs == irqs + 1, "nothing to announce: only an answer");
	set((struct shape_policy){ .cut = true });
	set((struct shape_policy){ .cut = false });
	ok(n->announce && command(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 1) == VIRTIO_NET_OK && !n->announce, "announced");

	n->can = TAP_ALL;
	start(CTRL | GUEST | VDEV_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS));
	ok(n->guest_offloads == GUEST, "all offloads are on");
	ok(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 1, &on, 8) == VIRTIO_NET_ERR && command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &on, 7) == VIRTIO_NET_ERR,
	   "an unknown command, and half a word");
	ok(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &(uint64_t){ 1ull << 40 }, 8) == VIRTIO_NET_ERR && command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &uso, 8) == VIRTIO_NET_ERR,
	   "not agreed on; segments without checksums");
	ok(command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &on, 8) == VIRTIO_NET_OK && command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &on, 8) == VIRTIO_NET_OK &&
	   n->guest_offloads == on, "some of them, twice");
	for (int i = 0; i < 200; i++)
		command(VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, i & 1 ? &on : &none, 8);
	ok(n->change_clear_ns && !vdrv_broken(&d) && vdev_stats_get(d.v).host_errors, "a storm of changes is refused, a host that refuses one is counted");
	n->change_clear_ns = 0;
	n->can = 0;
}

static void test_control_ring(void)
{
	struct vdrv_seg s[2] = { { 0x60000, 2, false }, { 0x62000, 1, true } };
	uint16_t head;

	ctrl_queue = 2;
	start(CTRL);
	head = vdrv_add(&d, 2, s, 2);
	vdrv_repeat(&d, 2, head, 63);
	vdrv_kick(&d, 2);
	turn();
	ok(used(2) == 64 && !vdrv_broken(&d), "a whole ring of commands in one turn");
	n->v.q[2].used_gpa = VDRV_NOWHERE;
	vdrv_add(&d, 2, s, 2);
	vdrv_kick(&d, 2);
	turn();
	ok(vdrv_broken(&d), "an answer that cannot be given breaks the device");
}

/* Headers of the guest, with everything agreed on and with nothing. */
static void test_out_headers(void)
{
	static const struct { uint8_t flags, gso; bool all, csum_only; } t[] = {
		{ 1, VIRTIO_NET_HDR_GSO_NONE, true, true }, { 0, VIRTIO_NET_HDR_GSO_NONE, true, true }, { 1, VIRTIO_NET_HDR_GSO_TCPV4, true, false },
		{ 0, VIRTIO_NET_HDR_GSO_TCPV4, false, false }, { 1, VIRTIO_NET_HDR_GSO_TCPV6, true, false }, { 0, VIRTIO_NET_HDR_GSO_TCPV6, false, false },
		{ 1, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN, true, false }, { 1, VIRTIO_NET_HDR_GSO_UDP_L4, true, false },
		{ 0, VIRTIO_NET_HDR_GSO_UDP_L4, false, false }, { 1, VIRTIO_NET_HDR_GSO_UDP_L4 | VIRTIO_NET_HDR_GSO_ECN, false, false },
		{ 1, VIRTIO_NET_HDR_GSO_ECN, false, false }, { 1, VIRTIO_NET_HDR_GSO_UDP, false, false },
	};
	struct vdrv_seg s = { 0x50000, HDR + 100, false };

	n->can = TAP_ALL;
	for (int all = 0; all < 2; all++) {
		bool good = true;

		start(all ? HOST : VDEV_F(VIRTIO_NET_F_CSUM));
		set((struct shape_policy){ .limit = { [SHAPE_OUT] = { .packets_s = 1000000 } } });
		for (size_t i = 0; i < ARRAY_LEN(t); i++) {
			struct virtio_net_hdr_v1 h = { .flags = t[i].flags, .gso_type = t[i].gso, .gso_size = (uint16_t)(i & 1 ? 40 : 0) };

			gm_write(&gm, 0x50000, &h, sizeof(h));
			vdrv_add(&d, 1, &s, 1);
			vdrv_kick(&d, 1);
			turn();
			good = good && (on_wire(0) > 0) == (all ? t[i].all : t[i].csum_only);
		}
		ok(good && !vdrv_broken(&d), "each of %zu headers goes or not with %s agreed on", ARRAY_LEN(t), all ? "all" : "checksums");
	}
	set((struct shape_policy){ .cut = false });
	n->can = 0;
}

/* Headers of the tap, with everything agreed on and with one segmentation alone. */
static void test_in_headers(void)
{
	static const struct { uint8_t flags, gso; bool all, tso6; } t[] = {
		{ 1, VIRTIO_NET_HDR_GSO_NONE, true, true }, { 2, VIRTIO_NET_HDR_GSO_NONE, true, true }, { 1, VIRTIO_NET_HDR_GSO_TCPV4, true, false },
		{ 1, VIRTIO_NET_HDR_GSO_TCPV6, true, true }, { 1, VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN, true, false },
		{ 1, VIRTIO_NET_HDR_GSO_UDP_L4, true, false }, { 1, VIRTIO_NET_HDR_GSO_UDP, false, false }, { 1, 0x66, false, false },
	};

	n->can = TAP_ALL;
	for (int all = 0; all < 2; all++) {
		bool good = true;

		start(all ? GUEST : VDEV_F(VIRTIO_NET_F_GUEST_CSUM) | VDEV_F(VIRTIO_NET_F_GUEST_TSO6));
		set((struct shape_policy){ .limit = { [SHAPE_IN] = { .packets_s = 1000000 } } });
		for (size_t i = 0; i < ARRAY_LEN(t); i++) {
			struct virtio_net_hdr_v1 h = { .flags = t[i].flags, .gso_type = t[i].gso, .gso_size = (uint16_t)(i & 1 ? 40 : 0) };

			memset(packet, 0, HDR + 100);
			memcpy(packet, &h, sizeof(h));
			buffer(0, 0x40000, 2000);
			if (write(wire[0], packet, HDR + 100) != HDR + 100)
				abort();
			turn();
			good = good && used(0) == (all ? t[i].all : t[i].tso6);
		}
		ok(good && !vdrv_broken(&d), "each of %zu headers comes or not with %s agreed on", ARRAY_LEN(t), all ? "all" : "one kind");
	}
	set((struct shape_policy){ .cut = false });
	n->can = 0;
}

static void test_tap_calls(void)
{
	uint64_t errors;

	ctrl_queue = 2 * PAIRS;
	n->tap = true; /* whose queues cannot be switched */
	errors = vdev_stats_get(d.v).host_errors;
	start(CTRL | VDEV_F(VIRTIO_NET_F_MQ));
	ok(command(VIRTIO_NET_CTRL_MQ, 0, "\2", 2) == VIRTIO_NET_OK && vdev_stats_get(d.v).host_errors > errors, "a tap that refuses a queue is counted");
	n->tap = false;
	start(0);
	errors = vdev_stats_get(d.v).host_errors;
	buffer(0, 0x40000, 2000);
	arrive(0, 1, 100);
	induce(INDUCE_readv, 0, EIO);
	turn();
	ok(induced() && vdev_stats_get(d.v).host_errors == errors + 1 && used(0) == 1, "a read that fails is counted, the next one goes on");
	buffer(0, 0x40000, 2000);
	arrive(0, 1, 100);
	induce(INDUCE_readv, 0, EINTR);
	turn();
	ok(induced() && vdev_stats_get(d.v).host_errors == errors + 1 && used(0) == 1, "a signal is no error");
	induce(INDUCE_writev, 0, EINTR);
	transmit(0, 1, 100);
	ok(induced() && on_wire(0) == HDR + 100 && used(1) == 1, "nor while writing");
	induce(INDUCE_writev, 0, EIO);
	transmit(0, 1, 100);
	ok(induced() && on_wire(0) < 0 && used(1) == 1 && counts().tx_refused, "a packet that the tap refuses is lost");
}

static void test_full_turns(void)
{
	struct vdrv_seg small = { 0x50000, HDR + 10, false }, large = { 0x50000, HDR + 65000, false };
	uint16_t head;

	start(0);
	gm_zero(&gm, 0x50000, HDR);
	set((struct shape_policy){ .loss_ppm = SHAPE_LOSS_ALL });
	head = vdrv_add(&d, 1, &small, 1);
	vdrv_repeat(&d, 1, head, 63);
	vdrv_kick(&d, 1);
	turn();
	ok(used(1) == 64 && !vdrv_broken(&d), "64 packets are a turn");
	head = vdrv_add(&d, 1, &large, 1);
	vdrv_repeat(&d, 1, head, 63);
	vdrv_kick(&d, 1);
	ev_once(loop, 0);
	ok(used(1) < 64, "so are two megabytes");
	turn();
	ok(!vdrv_broken(&d) && n->v.q[1].next_used == 128, "the rest comes with the next");
	set((struct shape_policy){ .loss_ppm = 0 });

	/* more wait their delay than one turn sends; who comes meanwhile stands behind them */
	set((struct shape_policy){ .delay_us = 60000000 });
	head = vdrv_add(&d, 1, &small, 1);
	vdrv_repeat(&d, 1, head, 59);
	vdrv_kick(&d, 1);
	turn();
	vdrv_repeat(&d, 1, head, 60);
	vdrv_kick(&d, 1);
	turn();
	ok(n->delay.packets == 120, "120 packets wait");
	if (net_set_chaos(n, &(struct shape_policy){ .delay_us = 0 }))
		abort();
	vdrv_add(&d, 1, &small, 1);
	vdrv_kick(&d, 1);
	for (int i = 0, got = 0; i < 400 && got < 121; i++) {
		ev_once(loop, 5);
		while (on_wire(0) > 0)
			got++;
		if (got == 121)
			ok(true, "all of them go, and one that came later");
	}
	ok(n->delay.packets == 0 && !n->flush, "nothing waits any more");
}

/* The wire is full when a delay is over. */
static void test_delay_full(void)
{
	uint64_t until = now_mono_ms() + 5000;

	start(0);
	set((struct shape_policy){ .delay_us = 2000 });
	transmit(0, 5, 100);
	induce(INDUCE_write, 1, EAGAIN); /* the first write is the kick's */
	induced();
	for (bool hit = false; !hit && now_mono_ms() < until;) {
		induce(INDUCE_write, 0, EAGAIN);
		ev_once(loop, 10);
		hit = induced();
	}
	ok(n->pair[0].tx_full && n->delay.packets == 1, "a full tap keeps the packet");
	induce(INDUCE_write, 0, EAGAIN);
	ev_once(loop, 100);
	ok(induced() && n->pair[0].tx_full, "still full");
	turn();
	ok(on_wire(0) == HDR + 100 && n->delay.packets == 0 && !n->pair[0].tx_full, "it goes when there is room");
	set((struct shape_policy){ .delay_us = 0 });
}

static void test_held_and_broken(void)
{
	struct vdrv_seg bad = { VDRV_NOWHERE, 100, false };
	uint64_t until = now_mono_ms() + 5000;

	start(0);
	set((struct shape_policy){ .limit = { [SHAPE_OUT] = { .packets_s = 2 }, [SHAPE_IN] = { .packets_s = 2 } } });
	for (int i = 0; i < 4; i++) {
		buffer(0, 0x40000, 2000);
		transmit(0, 1, 100);
		arrive(0, 1, 100);
	}
	turn();
	ok(n->pair[0].rx_held && n->pair[0].tx_held, "both ways are held");
	vdrv_add(&d, 1, &bad, 1);
	set((struct shape_policy){ .cut = false });
	ok(vdrv_broken(&d), "what was held is broken: the device stops there");

	start(0);
	set((struct shape_policy){ .limit = { [SHAPE_OUT] = { .bytes_s = 100000 } } });
	transmit(0, 1, 10000);
	transmit(0, 1, 10000);
	ok(n->pair[0].tx_held && n->timer.slot, "a timer runs");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	while (n->timer.slot && now_mono_ms() < until)
		ev_once(loop, 100);
	ok(!n->timer.slot, "its end after a reset is nothing");
	while (on_wire(0) > 0)
		;
	set((struct shape_policy){ .cut = false });
}

/* The ring that was good when the device started. */
static void test_rings_go(void)
{
	drain();
	start(0);
	buffer(0, 0x40000, 2000);
	n->v.q[0].used_gpa = VDRV_NOWHERE;
	arrive(0, 1, 100);
	turn();
	ok(vdrv_broken(&d), "a used ring that goes before a packet comes");
	start(VDEV_F(VIRTIO_NET_F_MRG_RXBUF));
	buffer(0, 0x40000, 50);
	arrive(0, 1, 100);
	turn();
	ok(n->pair[0].rest_bytes && !vdrv_broken(&d), "half a packet waits for a buffer");
	n->v.q[0].used_gpa = VDRV_NOWHERE;
	buffer(0, 0x41000, 2000);
	ok(vdrv_broken(&d), "while it waits");
	start(0);
	vdrv_add(&d, 0, (const struct vdrv_seg[]){ { 0x40000, 12, false }, { 0x41000, 2000, true } }, 2);
	vdrv_kick(&d, 0);
	arrive(0, 1, 100);
	turn();
	ok(vdrv_broken(&d), "a buffer to read and to write is none");
	start(0);
}

/* Sizes of buffers that drivers do not use, and more of them than one read fills. */
static void test_odd_buffers(void)
{
	static struct vdrv_seg tiny[40];
	uint32_t id, len, sum = 0;

	start(VDEV_F(VIRTIO_NET_F_MRG_RXBUF));
	buffer(0, 0x40000, HDR);
	buffer(0, 0x41000, 2000);
	arrive(0, 3, 100);
	turn();
	ok(vdrv_used(&d, 0, &id, &len) && len == HDR && vdrv_used(&d, 0, &id, &len) && len == 100, "a buffer for the header alone");
	vdrv_start(&d, &gm, net_vdev(n), VDEV_F(VIRTIO_NET_F_MRG_RXBUF), 256);
	turn();
	drain();
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 75; i++)
			buffer(0, 0x40000 + 0x400u * (unsigned)i, 900);
		arrive(0, (uint8_t)round, round < 2 ? 65000 : 10);
		turn();
		for (sum = 0; vdrv_used(&d, 0, &id, &len);)
			sum += len;
		ok(sum == HDR + (round < 2 ? 65000u : 10u) && !vdrv_broken(&d), "packet %d over small buffers, as many as are prepared and more: %u bytes", round, sum);
	}
	vdrv_start(&d, &gm, net_vdev(n), VDEV_F(VIRTIO_NET_F_MRG_RXBUF), 256);
	turn();
	for (unsigned i = 0; i < ARRAY_LEN(tiny); i++)
		tiny[i] = (struct vdrv_seg){ 0x40000 + 16 * i, 16, true };
	vdrv_repeat(&d, 0, vdrv_add(&d, 0, tiny, ARRAY_LEN(tiny)), 120);
	vdrv_kick(&d, 0);
	for (int round = 0; round < 2; round++) {
		arrive(0, 1, 30000);
		turn();
	}
	for (sum = 0; vdrv_used(&d, 0, &id, &len);)
		sum += len;
	ok(sum == 2 * (HDR + 30000u) && !vdrv_broken(&d) && gm.iov_live == 0, "chains of 40 pieces: as many as one read takes");
}

static void test_without_loop(void)
{
	static struct vdrv e;
	struct vdrv_seg s = { 0x50000, HDR + 60, false };
	struct net *alone;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, sv) || net_new(&alone, &gm, sv, 1, own_mac, NULL))
		abort();
	gm_zero(&gm, 0x50000, HDR);
	ok(vdrv_start(&e, &gm, net_vdev(alone), 0, 16) == 15, "a card without a loop");
	vdrv_add(&e, 1, &s, 1);
	vdrv_kick(&e, 1);
	ok(recv(sv[1], back, sizeof(back), MSG_DONTWAIT) == HDR + 60, "sends at once");
	ok(net_set_chaos(alone, &(struct shape_policy){ .delay_us = 1000 }) == 0, "a delay");
	vdrv_add(&e, 1, &s, 1);
	vdrv_kick(&e, 1);
	ok(recv(sv[1], back, sizeof(back), MSG_DONTWAIT) < 0 && net_set_chaos(alone, &(struct shape_policy){ .cut = false }) == 0 &&
	   recv(sv[1], back, sizeof(back), MSG_DONTWAIT) == HDR + 60, "ends when it is taken away: there is no timer");
	net_free(alone);
	close(sv[1]);
}

/* A pipe says at its end what a tap says that was removed: no event but the hang-up. */
static void test_interface_goes(void)
{
	static struct vdrv e;
	struct net *lost;
	uint64_t errors;
	int p[2];

	if (pipe(p) || net_new(&lost, &gm, p, 1, own_mac, NULL) || vdev_attach(net_vdev(lost), loop) || net_reserve(lost))
		abort();
	vdrv_start(&e, &gm, net_vdev(lost), 0, 16);
	turn();
	errors = vdev_stats_get(net_vdev(lost)).host_errors;
	close(p[1]);
	turn();
	ok(vdev_stats_get(net_vdev(lost)).host_errors == errors + 1 && ev_once(loop, 0) == 0 && !vdrv_broken(&e), "an interface that is gone is a dead link, once");
	net_free(lost);
}

int main(void)
{
	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop) || !make_card(PAIRS))
		return 1;
	d.v = net_vdev(n);
	d.gm = &gm;
	test_host_refuses();
	test_missing_queues();
	test_control();
	test_control_ring();
	test_out_headers();
	test_in_headers();
	test_tap_calls();
	test_full_turns();
	test_delay_full();
	test_held_and_broken();
	test_rings_go();
	test_odd_buffers();
	test_without_loop();
	test_interface_goes();
	drop_card(PAIRS);
	ok(gm.iov_live == 0, "no iovec left behind");
	ev_free(loop);
	gm_done(&gm);
	return tap_done();
}
