/* virtio-vsock: a guest made of rings on one side, sockets on the other. Hostile guests first. */
#include "tests/unit/vsockdrv.h"

static uint8_t none[1];

static void test_hostile_lengths(void)
{
	struct virtio_vsock_hdr h = packet(VIRTIO_VSOCK_OP_RW, 1, 2);

	start(8);
	send_raw(&h, "", 0, 1);
	ok(vdrv_broken(&d), "a packet shorter than a header");
	start(8);
	h.len = 10;
	send_raw(&h, "123456789", 9, 0);
	ok(vdrv_broken(&d), "a length longer than the packet");
	start(8);
	h.len = UINT32_MAX;
	send_raw(&h, "123456789", 9, 0);
	ok(vdrv_broken(&d), "a length that wraps");
	start(0);
	give_buffers(1, 44);
	ok(!vdrv_broken(&d), "a small receive buffer alone is nothing");
	send_op(VIRTIO_VSOCK_OP_REQUEST, 1, 2);
	ok(vdrv_broken(&d), "when it is to be used it breaks the device");
}

static void test_hostile_packets(void)
{
	struct virtio_vsock_hdr h;

	start(32);
	h = packet(VIRTIO_VSOCK_OP_REQUEST, 1025, 5);
	h.src_cid = CID + 1;
	send_packet(h, "", 0);
	h = packet(VIRTIO_VSOCK_OP_REQUEST, 1025, 5);
	h.dst_cid = 3;
	send_packet(h, "", 0);
	ok(!got_op(VIRTIO_VSOCK_OP_RST), "foreign addresses are not answered");
	h = packet(VIRTIO_VSOCK_OP_REQUEST, 1025, 5);
	h.type = 2;
	send_packet(h, "", 0);
	ok(recv_packet(&h, none, 0) == 0 && h.op == VIRTIO_VSOCK_OP_RST && h.type == 2, "a type that we do not have: RST of that type");
	send_op(VIRTIO_VSOCK_OP_REQUEST, 999, 5);
	ok(recv_packet(&h, none, 0) == 0 && h.op == VIRTIO_VSOCK_OP_RST && h.src_port == 999 && h.dst_port == 5, "no listener: RST");
	send_op(VIRTIO_VSOCK_OP_RW, 1025, 5);
	ok(got_op(VIRTIO_VSOCK_OP_RST), "data for no stream: RST");
	send_op(VIRTIO_VSOCK_OP_SHUTDOWN, 1025, 5);
	ok(got_op(VIRTIO_VSOCK_OP_RST), "shutdown of no stream: RST");
	send_op(99, 1025, 5);
	ok(got_op(VIRTIO_VSOCK_OP_RST), "an unknown operation: RST");
	send_op(VIRTIO_VSOCK_OP_RST, 1025, 5);
	ok(!got_op(VIRTIO_VSOCK_OP_RST), "RST is never answered with RST");

	guest_opens(6);
	ok(got_op(VIRTIO_VSOCK_OP_RESPONSE) && in.fd >= 0 && vsock_streams(vs) == 1, "opened");
	send_op(VIRTIO_VSOCK_OP_REQUEST, 1025, 6);
	ok(got_op(VIRTIO_VSOCK_OP_RST) && vsock_streams(vs) == 0, "opened twice: RST");
	fd_close(&in.fd);
	guest_opens(6);
	got_op(VIRTIO_VSOCK_OP_RESPONSE);
	send_op(VIRTIO_VSOCK_OP_RESPONSE, 1025, 6);
	ok(got_op(VIRTIO_VSOCK_OP_RST) && vsock_streams(vs) == 0, "a response to nothing: RST");
	fd_close(&in.fd);
	ok(!vdrv_broken(&d) && vdev_stats_get(vsock_vdev(vs)).errors >= 8, "counted, and the device lives");
}

static void test_credit_of_guest(void)
{
	static uint8_t data[65536];
	struct virtio_vsock_hdr h;
	unsigned sent = 0, updates = 0;
	uint32_t alloc;

	start(32);
	guest_opens(7);
	ok(recv_packet(&h, data, 0) == 0 && h.op == VIRTIO_VSOCK_OP_RESPONSE && h.buf_alloc == VSOCK_ALLOC_MAX_BYTES, "credit is told");
	alloc = h.buf_alloc;
	memset(data, 'g', sizeof(data));
	/* The host does not read: its socket takes some, we keep the rest, and then the guest has no credit left. */
	while (sent < 64 && h.op != VIRTIO_VSOCK_OP_RST) {
		send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 7), data, 32768);
		sent++;
		while (recv_packet(&h, data, sizeof(data)) == 0 && h.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
			updates++;
	}
	sent--; /* the last one was too much */
	ok(sent >= alloc / 32768 && sent < 32 && updates, "a guest that sends beyond its credit is reset after %u packets, %u updates", sent, updates);
	ok(h.op == VIRTIO_VSOCK_OP_RST, "with RST");
	ok(vdev_stats_get(vsock_vdev(vs)).errors > 0, "and counted");
	{
		size_t got = 0;
		ssize_t n;

		fd_set_nonblock(in.fd, true);
		for (int i = 0; i < 1000; i++) {
			n = read(in.fd, data, sizeof(data));
			if (n > 0)
				got += (size_t)n;
			if (n == 0)
				break;
			turn();
		}
		ok(n == 0 && got == sent * 32768u, "what it was allowed to send still arrives: %zu", got);
	}
	fd_close(&in.fd);
	turn();
	ok(vsock_streams(vs) == 0, "nothing is left");
}

static void test_incoming(void)
{
	struct virtio_vsock_hdr h;
	uint8_t b[RX_BYTES];

	start(32);
	vsock_listen(vs, 1025, on_incoming, NULL);
	in.refuse = -EBUSY;
	send_op(VIRTIO_VSOCK_OP_REQUEST, 1025, 9);
	ok(in.calls == 1 && got_op(VIRTIO_VSOCK_OP_RST) && vsock_streams(vs) == 0, "refused by the callee: RST");
	in.refuse = 0;
	guest_opens(9);
	ok(got_op(VIRTIO_VSOCK_OP_RESPONSE) && in.port == 1025 && in.guest_port == 9, "taken");
	send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 9), "hello", 5);
	ok(read(in.fd, b, sizeof(b)) == 5 && !memcmp(b, "hello", 5), "guest → host");
	ok(write(in.fd, "world!", 6) == 6, "host writes");
	turn();
	ok(recv_packet(&h, b, sizeof(b)) == 6 && h.op == VIRTIO_VSOCK_OP_RW && !memcmp(b, "world!", 6) && h.fwd_cnt == 5, "host → guest");
	send_op(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 1025, 9);
	ok(got_op(VIRTIO_VSOCK_OP_CREDIT_UPDATE), "credit on request");
	vsock_listen(vs, 1025, NULL, NULL);
	send_op(VIRTIO_VSOCK_OP_REQUEST, 1025, 10);
	ok(got_op(VIRTIO_VSOCK_OP_RST), "not listened to any more");
	send_op(VIRTIO_VSOCK_OP_RST, 1025, 9);
	ok(read(in.fd, b, 1) == 0 && vsock_streams(vs) == 0, "guest resets: end of file");
	fd_close(&in.fd);
}

static void test_half_close(void)
{
	struct virtio_vsock_hdr h = packet(VIRTIO_VSOCK_OP_SHUTDOWN, 1025, 11);
	uint8_t b[RX_BYTES];

	start(32);
	guest_opens(11);
	got_op(VIRTIO_VSOCK_OP_RESPONSE);
	send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 11), "last", 4);
	h.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
	send_packet(h, "", 0);
	ok(read(in.fd, b, 10) == 4 && read(in.fd, b, 10) == 0, "guest SHUTDOWN(send): last bytes, then end of file");
	ok(write(in.fd, "more", 4) == 4, "the other way goes on");
	turn();
	ok(recv_packet(&h, b, sizeof(b)) == 4 && !memcmp(b, "more", 4), "and arrives");
	shutdown(in.fd, SHUT_WR);
	turn();
	ok(recv_packet(&h, b, sizeof(b)) == 0 && h.op == VIRTIO_VSOCK_OP_SHUTDOWN && h.flags & VIRTIO_VSOCK_SHUTDOWN_SEND, "host SHUT_WR → SHUTDOWN(send)");
	fd_close(&in.fd);
	turn();
	send_op(VIRTIO_VSOCK_OP_RST, 1025, 11);
	ok(vsock_streams(vs) == 0, "guest's RST ends it");

	start(32);
	guest_opens(12);
	got_op(VIRTIO_VSOCK_OP_RESPONSE);
	h = packet(VIRTIO_VSOCK_OP_SHUTDOWN, 1025, 12);
	h.flags = VIRTIO_VSOCK_SHUTDOWN_RCV;
	send_packet(h, "", 0);
	ok(send(in.fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "guest SHUTDOWN(receive): EPIPE");
	send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 12), "yes", 3);
	ok(read(in.fd, b, 10) == 3, "it may still send");
	h.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
	send_packet(h, "", 0);
	ok(got_op(VIRTIO_VSOCK_OP_RST) && vsock_streams(vs) == 0 && read(in.fd, b, 10) == 0, "both: RST, and gone");
	fd_close(&in.fd);

	start(32);
	guest_opens(13);
	got_op(VIRTIO_VSOCK_OP_RESPONSE);
	ok(write(in.fd, "bye", 3) == 3, "host writes");
	fd_close(&in.fd);
	turn();
	while (recv_packet(&h, b, sizeof(b)) >= 0 && h.op != VIRTIO_VSOCK_OP_RW)
		;
	ok(h.op == VIRTIO_VSOCK_OP_RW && h.len == 3, "and closes: its bytes arrive");
	while (recv_packet(&h, b, sizeof(b)) >= 0)
		if (h.op == VIRTIO_VSOCK_OP_SHUTDOWN && h.flags == 3)
			break;
	ok(h.op == VIRTIO_VSOCK_OP_SHUTDOWN && h.flags == 3, "then SHUTDOWN(both)");
	send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 13), "late", 4);
	ok(vsock_streams(vs) == 1 && !got_op(VIRTIO_VSOCK_OP_RST), "late data is dropped");
	send_op(VIRTIO_VSOCK_OP_RST, 1025, 13);
	ok(vsock_streams(vs) == 0, "RST ends it");
}

static void test_connect(void)
{
	struct virtio_vsock_hdr h;
	uint8_t b[RX_BYTES];
	uint32_t port;

	start(32);
	ok(vsock_connect(vs, 1024, 60000, on_connect, NULL) == 0 && conn.calls == 0, "connect");
	turn();
	ok(recv_packet(&h, b, 0) == 0 && h.op == VIRTIO_VSOCK_OP_REQUEST && h.dst_port == 1024 && h.buf_alloc, "REQUEST");
	port = h.src_port;
	send_op(VIRTIO_VSOCK_OP_RW, port, 1024);
	ok(got_op(VIRTIO_VSOCK_OP_RST) && conn.calls == 1 && conn.fd == -ECONNREFUSED, "an answer that is none: refused");
	vsock_connect(vs, 1024, 60000, on_connect, NULL);
	turn();
	recv_packet(&h, b, 0);
	send_op(VIRTIO_VSOCK_OP_RST, h.src_port, 1024);
	ok(conn.calls == 2 && conn.fd == -ECONNREFUSED && vsock_streams(vs) == 0, "RST: refused");
	vsock_connect(vs, 1024, 0, on_connect, NULL);
	turn();
	usleep(2000);
	turn();
	ok(conn.calls == 3 && conn.fd == -ETIMEDOUT && got_op(VIRTIO_VSOCK_OP_REQUEST) && got_op(VIRTIO_VSOCK_OP_RST), "time-out, and the guest is told");
	vsock_connect(vs, 1024, 60000, on_connect, NULL);
	turn();
	recv_packet(&h, b, 0);
	send_op(VIRTIO_VSOCK_OP_RESPONSE, h.src_port, 1024);
	ok(conn.calls == 4 && conn.fd >= 0, "RESPONSE: connected");
	ok(write(conn.fd, "abc", 3) == 3, "write");
	turn();
	ok(recv_packet(&h, b, sizeof(b)) == 3, "arrives");
	vsock_connect(vs, 1024, 60000, on_connect, NULL);
	turn();
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	turn();
	ok(conn.calls == 5 && conn.fd == -ENETDOWN && vsock_streams(vs) == 0, "device reset: what waited fails, what stood ends");
	vsock_connect(vs, 1024, 60000, on_connect, NULL);
	turn();
	vdrv_start(&d, &gm, vsock_vdev(vs), 0, 64);
	tx_gpa = vdrv_alloc(&d, 70000);
	give_buffers(4, RX_BYTES);
	ok(conn.calls == 5 && got_op(VIRTIO_VSOCK_OP_REQUEST), "a connect before the driver is up waits for it");
}

static void test_no_buffers(void)
{
	struct virtio_vsock_hdr h;
	uint8_t b[RX_BYTES];

	start(1);
	guest_opens(20);
	ok(got_op(VIRTIO_VSOCK_OP_RESPONSE), "the only buffer is used");
	ok(write(in.fd, "wait", 4) == 4, "host writes");
	turn();
	for (unsigned i = 0; i < 300; i++) /* RST replies pile up, bounded */
		send_op(VIRTIO_VSOCK_OP_RW, 4000 + i, 20);
	ok(ev_once(loop, 0) == 0, "nothing spins");
	give_buffers(2, RX_BYTES);
	ok(got_op(VIRTIO_VSOCK_OP_RST) && got_op(VIRTIO_VSOCK_OP_RST), "replies come first");
	for (unsigned i = 0, n = 0; i < 40 && n < 400; i++) {
		give_buffers(20, RX_BYTES);
		while (recv_packet(&h, b, sizeof(b)) >= 0)
			n += h.op == VIRTIO_VSOCK_OP_RST;
		if (h.op == VIRTIO_VSOCK_OP_RW)
			break;
		d.heap = 0x80000; /* buffers are not in use any more */
	}
	while (recv_packet(&h, b, sizeof(b)) >= 0)
		;
	ok(!vdrv_broken(&d), "alive");
	fd_close(&in.fd);
	turn();
}

static void test_peer_credit(void)
{
	struct virtio_vsock_hdr h = packet(VIRTIO_VSOCK_OP_REQUEST, 1025, 30);
	static uint8_t data[RX_BYTES];
	unsigned got = 0;

	start(32);
	vsock_listen(vs, 1025, on_incoming, NULL);
	h.buf_alloc = 1000;
	send_packet(h, "", 0);
	got_op(VIRTIO_VSOCK_OP_RESPONSE);
	ok(write(in.fd, data, 3000) == 3000, "host writes 3000, the guest takes 1000");
	turn();
	ok(recv_packet(&h, data, sizeof(data)) == 1000, "1000 come");
	ok(got_op(VIRTIO_VSOCK_OP_CREDIT_REQUEST), "and a request for credit");
	turn();
	ok(recv_packet(&h, data, sizeof(data)) == -1 && ev_once(loop, 0) == 0, "then nothing, and nothing spins");
	h = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1025, 30);
	h.buf_alloc = 1000;
	h.fwd_cnt = 600;
	send_packet(h, "", 0);
	ok(recv_packet(&h, data, sizeof(data)) == 600, "600 more");
	h = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, 1025, 30);
	h.buf_alloc = 1000;
	h.fwd_cnt = 4000000;
	send_packet(h, "", 0);
	while (recv_packet(&h, data, sizeof(data)) >= 0)
		got += h.op == VIRTIO_VSOCK_OP_RW;
	ok(got == 0, "a guest that claims to have taken more than it got gets nothing");
	/* Another stream is not held up. */
	{
		int slow = in.fd;

		guest_opens(31);
		got_op(VIRTIO_VSOCK_OP_RESPONSE);
		ok(write(in.fd, "hi", 2) == 2, "another stream");
		turn();
		ok(recv_packet(&h, data, sizeof(data)) == 2, "goes on");
		fd_close(&slow);
		turn();
	}
	fd_close(&in.fd);
	turn();
}

int main(void)
{
	struct fault f = { "" };

	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop))
		return 1;
	ok(vsock_new(&vs, &gm, 2, &f) == -EINVAL && f.text[0], "the host's own address is refused: %s", f.text);
	ok(vsock_new(&vs, &gm, 1ull << 32, &f) == -EINVAL, "so is one beyond 32 bits");
	ok(vsock_new(&vs, &gm, CID, &f) == 0, "a good one");
	ok(vsock_connect(vs, 1, 1, on_connect, NULL) == -EINVAL, "no connect without a loop");
	ok(vdev_attach(vsock_vdev(vs), loop) == 0 && mmio_read(vsock_vdev(vs), 0x100, 8) == CID, "config");
	test_hostile_lengths();
	test_hostile_packets();
	test_credit_of_guest();
	test_incoming();
	test_half_close();
	test_connect();
	test_no_buffers();
	test_peer_credit();
	conn.calls = 0;
	vsock_connect(vs, 1024, 60000, on_connect, NULL);
	drop_device();
	ok(conn.calls == 1 && conn.fd == -ENETDOWN, "free answers what waits");
	return tap_done();
}
