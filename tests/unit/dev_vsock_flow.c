/* virtio-vsock: many bytes and many streams, buffers of every cut, when the driver is interrupted, and resets while another thread works. */
#include "tests/unit/vsockdrv.h"

static void test_bulk(void)
{
	static uint8_t out[200000], back[200000];
	struct virtio_vsock_hdr h = packet(VIRTIO_VSOCK_OP_REQUEST, 1025, 40);
	size_t got = 0;
	int n = 0;

	start(0);
	h.buf_alloc = 1 << 20;
	vsock_listen(vs, 1025, on_incoming, NULL);
	give_buffers(40, RX_BYTES);
	send_packet(h, "", 0);
	got_op(VIRTIO_VSOCK_OP_RESPONSE);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + (i >> 8));
	fd_set_nonblock(in.fd, true);
	ok(write(in.fd, out, 150000) == 150000, "150000 bytes");
	turn();
	for (int i = 0; i < 100 && got < 150000; i++) {
		while ((n = recv_packet(&h, back + got, RX_BYTES)) >= 0)
			got += (size_t)n;
		d.heap = 0x40000;
		give_buffers(10, RX_BYTES);
	}
	ok(got == 150000 && !memcmp(out, back, got), "over many buffers, in order: %zu", got);
	/* A header that is split over descriptors, and a payload that ends in the middle. */
	{
		uint64_t at = vdrv_alloc(&d, 4096);
		struct vdrv_seg s[3] = { { at, 20, true }, { at + 100, 30, true }, { at + 200, 60, true } };
		struct virtio_vsock_hdr part;
		uint8_t b[64];
		uint32_t id, len;

		start(0);
		vdrv_add(&d, 0, s, 3);
		give_buffers(0, 0);
		send_op(VIRTIO_VSOCK_OP_REQUEST, 998, 1);
		ok(vdrv_used(&d, 0, &id, &len) && len == HDR && gm_read(&gm, at, &part, 20) == 0 &&
		   gm_read(&gm, at + 100, (uint8_t *)&part + 20, 24) == 0 && part.op == VIRTIO_VSOCK_OP_RST && part.dst_port == 1, "a split header");
		guest_opens(41);
		vdrv_add(&d, 0, s, 3);
		vdrv_add(&d, 0, s, 3);
		give_buffers(0, 0);
		ok(vdrv_used(&d, 0, &id, &len) && len == HDR && in.fd >= 0, "response");
		ok(write(in.fd, out, 50) == 50, "50 bytes");
		turn();
		ok(vdrv_used(&d, 0, &id, &len) && len == HDR + 50 && gm_read(&gm, at + 124, b, 6) == 0 && !memcmp(b, out, 6) &&
		   gm_read(&gm, at + 200, b, 44) == 0 && !memcmp(b, out + 6, 44), "data behind a split header");
		fd_close(&in.fd);
	}
}

static void test_many(void)
{
	unsigned opened = 0;
	int fds[VSOCK_INCOMING_MAX + 8];
	struct virtio_vsock_hdr h;
	uint8_t b[64];

	start(0);
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++) {
		d.heap = 0x40000;
		give_buffers(1, 256);
		in.fd = -1;
		guest_opens(100 + i);
		if (recv_packet(&h, b, sizeof(b)) == 0 && h.op == VIRTIO_VSOCK_OP_RESPONSE && in.fd >= 0)
			fds[opened++] = in.fd;
	}
	ok(opened == VSOCK_INCOMING_MAX && h.op == VIRTIO_VSOCK_OP_RST, "a guest opens at most %u streams", opened);
	for (unsigned i = 0; i < opened; i++)
		close(fds[i]);
	turn();
	for (unsigned i = 0; i < opened; i++)
		send_op(VIRTIO_VSOCK_OP_RST, 1025, 100 + i);
	ok(vsock_streams(vs) == 0, "all gone");
}

/* Used transmit buffers are told late and together; received packets at once. */
static void test_interrupts(void)
{
	uint64_t start_ms;
	unsigned irqs;

	features = 0; /* every interrupt is wanted */
	start(32);
	features = VDEV_F(VIRTIO_RING_F_EVENT_IDX);
	guest_opens(50);
	got_op(VIRTIO_VSOCK_OP_RESPONSE);
	usleep(6000);
	turn();
	irqs = d.irqs;
	start_ms = now_mono_ms();
	send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 50), "1", 1);
	ok(d.irqs == irqs || now_mono_ms() - start_ms >= 3, "no interrupt for one packet at once");
	usleep(6000);
	turn();
	ok(d.irqs == irqs + 1, "but soon");
	for (int i = 0; i < 40; i++)
		send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 50), "1", 1);
	ok(d.irqs > irqs + 1, "and when a quarter of the ring was used");
	usleep(6000);
	turn();
	irqs = d.irqs;
	ok(write(in.fd, "x", 1) == 1, "a byte for the guest");
	turn();
	ok(d.irqs == irqs + 1, "interrupts at once");
	fd_close(&in.fd);
	turn();
}

/* Buffers with split headers between whole ones: each kind is served, bytes stay in order. */
static void test_mixed_buffers(void)
{
	uint8_t out[3000], back[3000];
	size_t got = 0;
	uint32_t id, len;

	start(1);
	guest_opens(51);
	got_op(VIRTIO_VSOCK_OP_RESPONSE);
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i ^ (i >> 3));
	d.heap = 0x40000;
	for (unsigned i = 0; i < 12; i++) {
		uint64_t at = vdrv_alloc(&d, 1024);
		struct vdrv_seg whole = { at, 300, true }, split[2] = { { at, 10, true }, { at + 10, 290, true } };

		vdrv_add(&d, 0, i % 3 ? &whole : split, i % 3 ? 1 : 2);
	}
	vdrv_kick(&d, 0);
	turn();
	ok(write(in.fd, out, 3000) == 3000, "3000 bytes");
	turn();
	while (vdrv_used(&d, 0, &id, &len)) {
		struct vring_desc e;
		struct virtio_vsock_hdr h;

		gm_read(&gm, d.q[0].desc + 16 * id, &e, sizeof(e));
		gm_read(&gm, e.addr, &h, HDR); /* both kinds lie in one piece here */
		if (len != HDR + h.len || h.op != VIRTIO_VSOCK_OP_RW || got + h.len > sizeof(back))
			break;
		gm_read(&gm, e.addr + HDR, back + got, h.len);
		got += h.len;
	}
	ok(got == 3000 && !memcmp(out, back, got), "in order over both kinds of buffers: %zu", got);
	fd_close(&in.fd);
	turn();
}

/* The guest resets, kicks and answers from another thread while streams are opened, fed and closed on the loop's. */
static void *host_side(void *arg)
{
	static uint8_t data[8192];

	for (int i = 0; i < 20000 && !__atomic_load_n((bool *)arg, __ATOMIC_ACQUIRE); i++) {
		int fd = __atomic_exchange_n(&in.fd, -1, __ATOMIC_ACQ_REL);

		if (fd < 0) {
			usleep(50);
			continue;
		}
		(void)!send(fd, data, sizeof(data), MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)!recv(fd, data, sizeof(data), MSG_DONTWAIT);
		close(fd);
	}
	return NULL;
}

static int on_incoming_threaded(void *arg, uint32_t port, uint32_t guest_port, int fd)
{
	int old = __atomic_exchange_n(&in.fd, fd, __ATOMIC_ACQ_REL);

	(void)arg, (void)port, (void)guest_port;
	if (old >= 0)
		close(old);
	return 0;
}

static void test_thread(void)
{
	struct vdrv_thread th;
	bool stop = false;
	pthread_t host;
	int wrong = 0;

	in.fd = -1;
	vsock_listen(vs, 1025, on_incoming_threaded, NULL);
	turn();
	threaded = true;
	vdrv_thread_start(&th, loop);
	pthread_create(&host, NULL, host_side, &stop);
	for (unsigned i = 0; i < 300; i++) {
		wrong += vdrv_start(&d, &gm, vsock_vdev(vs), 0, 64) != 15;
		tx_gpa = vdrv_alloc(&d, 70000);
		give_buffers(i % 20, RX_BYTES);
		for (unsigned j = 0; j < 10; j++) {
			send_op(VIRTIO_VSOCK_OP_REQUEST, 1025, j);
			if (i & 1)
				usleep(20);
			send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, j), "0123456789", 10);
		}
		if (i % 3 == 0)
			usleep(500);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(host, NULL);
	vdrv_thread_join(&th);
	threaded = false;
	fd_close(&in.fd);
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	turn();
	ok(!wrong && !vsock_streams(vs), "300 resets under way, and no stream is left");
}

int main(void)
{
	if (!make_device())
		return 1;
	test_bulk();
	test_many();
	test_interrupts();
	test_mixed_buffers();
	test_thread();
	drop_device();
	return tap_done();
}
