/* virtio-vsock: what guests and hosts do seldom: packets out of state, rings that go, calls that fail, full turns, resets in the middle. */
#include "tests/unit/induce.h"
#include "tests/unit/vsockdrv.h"
#include "vmm/dev/vsock_priv.h"

#define ONE_DATA 0x60000u     /* a buffer that stands in the ring many times */

/* With the largest queues; the transmit packets stay where they are. */
static void start_large(void)
{
	vdrv_start(&d, &gm, vsock_vdev(vs), features, 256);
	tx_gpa = vdrv_alloc(&d, 70000);
	turn();
	conn.calls = in.calls = 0;
	conn.fd = in.fd = -1;
	in.refuse = 0;
}

/* The same packet many times, with one kick. */
static void send_many(const struct virtio_vsock_hdr *h, unsigned times)
{
	struct vdrv_seg s = { tx_gpa, HDR, false };

	gm_write(&gm, tx_gpa, h, HDR);
	vdrv_repeat(&d, 1, vdrv_add(&d, 1, &s, 1), times - 1);
	vdrv_kick(&d, 1);
	turn();
}

static void open_stream(uint32_t guest_port)
{
	guest_opens(guest_port);
	if (!got_op(VIRTIO_VSOCK_OP_RESPONSE) || in.fd < 0)
		abort();
}

static void test_host_refuses(void)
{
	struct fault f = { "" };
	struct vsock *none_made;
	unsigned calls;

	vsock_free(NULL);
	induce(INDUCE_calloc, 0, ENOMEM);
	ok(vsock_new(&none_made, &gm, CID, &f) == -ENOMEM && induced(), "no memory for a device: %s", f.text);
	induce(INDUCE_pthread_mutex_init, 0, EAGAIN);
	ok(vsock_new(&none_made, &gm, CID, &f) == -EAGAIN && induced(), "no lock for it: %s", f.text);

	start(8);
	induce(INDUCE_socketpair, 0, EMFILE);
	ok(vsock_connect(vs, 1, 1000, on_connect, NULL) == -EMFILE && induced() && vsock_streams(vs) == 0, "connect: no descriptors");
	induce(INDUCE_calloc, 0, ENOMEM);
	ok(vsock_connect(vs, 1, 1000, on_connect, NULL) == -EMFILE && induced() && vsock_streams(vs) == 0, "connect: no memory");
	induce(INDUCE_fcntl, 0, EBADF);
	ok(vsock_connect(vs, 1, 1000, on_connect, NULL) == -EBADF && induced() && vsock_streams(vs) == 0, "connect: no non-blocking end");
	vsock_listen(vs, 1025, on_incoming, NULL);
	induce(INDUCE_socketpair, 0, EMFILE);
	send_op(VIRTIO_VSOCK_OP_REQUEST, 1025, 5);
	ok(induced() && got_op(VIRTIO_VSOCK_OP_RST) && !in.calls, "a guest's request: no descriptors, RST");
	induce(INDUCE_epoll_ctl, 0, ENOSPC);
	send_op(VIRTIO_VSOCK_OP_REQUEST, 1025, 5);
	ok(induced() && got_op(VIRTIO_VSOCK_OP_RST) && !in.calls && vsock_streams(vs) == 0, "no watch, RST");
	calls = conn.calls;
	ok(vsock_connect(vs, 7, 60000, on_connect, NULL) == 0 && got_op(VIRTIO_VSOCK_OP_REQUEST), "connecting");
	induce(INDUCE_epoll_ctl, 0, ENOSPC);
	send_op(VIRTIO_VSOCK_OP_RESPONSE, vs->t.all->host_port, 7);
	ok(induced() && conn.calls == calls + 1 && conn.fd == -ECONNREFUSED && got_op(VIRTIO_VSOCK_OP_RST), "and no watch: refused");
}

/* The first timer of a loop needs memory; so does the stream of a connect. */
static void test_no_timer(void)
{
	struct virtio_vsock_hdr h = packet(VIRTIO_VSOCK_OP_RST, 1, 2);
	struct ev_loop *own = NULL, *was = loop;
	struct vsock *keep = vs;

	if (ev_new(&own) || vsock_new(&vs, &gm, CID, NULL) || vdev_attach(vsock_vdev(vs), own))
		abort();
	loop = own;
	start_large();
	induce(INDUCE_realloc, 0, ENOMEM);
	ok(vsock_connect(vs, 1, 1000, on_connect, NULL) == -ENOMEM && induced() && vsock_streams(vs) == 0, "no memory for a time-out: no connect");
	d.irqs = 0;
	induce(INDUCE_realloc, 0, ENOMEM);
	send_many(&h, 1);
	ok(induced() && d.irqs == 1, "nor for a late interrupt: it comes at once");
	vsock_free(vs);
	ev_free(own);
	loop = was;
	vs = keep;
}

static void test_missing_queues(void)
{
	struct vsock *alone;
	struct vdrv e;

	for (unsigned queues = 0; queues < 2; queues++) {
		vdrv_start_some(&d, 0, (1u << queues) - 1, 16);
		turn();
		ok(vdrv_broken(&d), "%u queues are no device", queues);
	}
	if (vsock_new(&alone, &gm, CID, NULL))
		abort();
	ok(vdrv_start(&e, &gm, vsock_vdev(alone), 0, 16) & 64, "nor is one without a loop");
	vsock_free(alone);
}

static void test_listeners(void)
{
	int err = 0;

	ok(vsock_listen(vs, 5, NULL, NULL) == 0, "taking back what was not there");
	for (uint32_t port = 2000; port < 2000 + LISTENERS_MAX + 5 && !err; port++)
		err = vsock_listen(vs, port, on_incoming, NULL);
	ok(err == -ENOSPC && vs->listeners == LISTENERS_MAX && vsock_listen(vs, 2000, on_incoming, vs) == 0, "so many ports and no more");
	for (uint32_t port = 2000; port < 2000 + LISTENERS_MAX + 5; port++)
		vsock_listen(vs, port, NULL, NULL);
	ok(vs->listeners <= 1, "taken back");
}

static void test_out_of_state(void)
{
	struct virtio_vsock_hdr h;
	uint32_t port;

	start(16);
	h = packet(VIRTIO_VSOCK_OP_RST, 1, 2);
	h.type = 2;
	send_packet(h, "", 0);
	ok(!got_op(VIRTIO_VSOCK_OP_RST), "RST of a type that we do not have is not answered");
	static const uint16_t ops[] = { VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_OP_REQUEST };
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		conn.calls = 0;
		if (vsock_connect(vs, 9, 60000, on_connect, NULL) || !got_op(VIRTIO_VSOCK_OP_REQUEST))
			abort();
		send_op(ops[i], vs->t.all->host_port, 9);
		ok(conn.calls == 1 && conn.fd == -ECONNREFUSED && got_op(VIRTIO_VSOCK_OP_RST), "operation %u before RESPONSE: refused", ops[i]);
	}
	start(0);
	if (vsock_connect(vs, 9, 60000, on_connect, NULL))
		abort();
	port = vs->t.all->host_port;
	send_op(VIRTIO_VSOCK_OP_RESPONSE, port, 9);
	ok(conn.calls == 1 && conn.fd == -ECONNREFUSED, "RESPONSE to a REQUEST that was never sent");
	start(8);
	open_stream(5);
	send_op(VIRTIO_VSOCK_OP_CREDIT_REQUEST, 1025, 5);
	ok(got_op(VIRTIO_VSOCK_OP_CREDIT_UPDATE), "a credit request is answered");
	send_op(VIRTIO_VSOCK_OP_SHUTDOWN, 1025, 5);
	ok(vsock_streams(vs) == 1, "a shutdown of nothing is nothing");
	fd_close(&in.fd);
	turn();
}

/* Buffers of the driver that no data fits into, and rings that were good when the device started. */
static void test_receive_ring(void)
{
	struct vdrv_seg both[2] = { { ONE_DATA, 64, false }, { ONE_DATA + 64, 4096, true } };

	start(0);
	vdrv_add(&d, 0, both, 2);
	vdrv_kick(&d, 0);
	send_op(VIRTIO_VSOCK_OP_REQUEST, 999, 2);
	ok(vdrv_broken(&d), "a receive buffer that is to be read");
	start(4);
	vs->v.q[RXQ].used_gpa = VDRV_NOWHERE;
	send_op(VIRTIO_VSOCK_OP_REQUEST, 999, 2);
	ok(vdrv_broken(&d), "an answer that cannot be given");
	start(4);
	open_stream(5);
	vs->v.q[RXQ].used_gpa = VDRV_NOWHERE;
	ok(write(in.fd, "data", 4) == 4, "data");
	turn();
	ok(vdrv_broken(&d) && gm.iov_live == 0, "that cannot be given");
	fd_close(&in.fd);
	turn();
}

/* Chains of so many pieces that two of them are too many for one read. */
static void test_many_pieces(void)
{
	static struct vdrv_seg s[200];
	struct virtio_vsock_hdr h;
	static uint8_t data[8192];
	unsigned total = 0;

	start_large();
	for (unsigned i = 0; i < ARRAY_LEN(s); i++)
		s[i] = (struct vdrv_seg){ ONE_DATA + 64 * i, i ? 16u : 64u, true };
	vdrv_repeat(&d, 0, vdrv_add(&d, 0, s, ARRAY_LEN(s)), 10);
	vdrv_kick(&d, 0);
	turn();
	guest_opens(5);
	ok(in.fd >= 0 && write(in.fd, data, sizeof(data)) == (ssize_t)sizeof(data), "8 KiB");
	turn();
	for (uint32_t id, len; vdrv_used(&d, 0, &id, &len);)
		total += len - (uint32_t)HDR;
	(void)h;
	ok(total == sizeof(data) && gm.iov_live == 0 && !vdrv_broken(&d), "arrive over chains of 200 pieces (%u bytes)", total);
	fd_close(&in.fd);
	turn();
}

static void test_full_turns(void)
{
	struct virtio_vsock_hdr junk = packet(VIRTIO_VSOCK_OP_RW, 1, 2), foreign = packet(VIRTIO_VSOCK_OP_RW, 1, 2);
	struct vdrv_seg big = { ONE_DATA, 8192, true };
	static uint8_t data[1 << 20];
	int fds[10];
	uint64_t before;
	unsigned written = 0;

	start_large();
	foreign.src_cid = 1;
	before = vdev_stats_get(&vs->v).requests;
	send_many(&foreign, 256);
	ok(vdev_stats_get(&vs->v).requests == before + 256 && !vdrv_broken(&d), "a whole ring of packets is a turn");

	/* 256 answers are owed and there is no buffer; one that comes on top is forgotten */
	vdrv_repeat(&d, 0, vdrv_add(&d, 0, &big, 1), 0);
	vdrv_kick(&d, 0);
	turn();
	if (vsock_connect(vs, 9, 5, on_connect, NULL))
		abort();
	ok(got_op(VIRTIO_VSOCK_OP_REQUEST), "connecting");
	send_many(&junk, 256);
	ok(vs->replies == REPLIES_MAX, "%u answers wait for buffers", vs->replies);
	for (int i = 0; i < 500 && !conn.calls; i++)
		ev_once(loop, 10);
	ok(conn.calls == 1 && conn.fd == -ETIMEDOUT && vs->replies == REPLIES_MAX, "a time-out meanwhile adds none");
	if (vsock_connect(vs, 9, 60000, on_connect, NULL))
		abort();
	send_many(&junk, 1);
	ok(vs->tx_paused, "no packet more is taken");
	vdrv_repeat(&d, 0, vdrv_add(&d, 0, &big, 1), 255);
	vdrv_kick(&d, 0);
	turn();
	ok(vs->replies == 1 && !vs->tx_paused, "with buffers they all go, and what waited is taken");

	start_large();
	vsock_listen(vs, 1025, on_incoming, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++) {
		struct virtio_vsock_hdr h = packet(VIRTIO_VSOCK_OP_REQUEST, 1025, 100 + i);
		ssize_t n;

		h.buf_alloc = 1u << 30;
		vdrv_repeat(&d, 0, vdrv_add(&d, 0, &big, 1), 0);
		vdrv_kick(&d, 0);
		send_packet(h, "", 0);
		fds[i] = in.fd;
		n = send(fds[i], data, sizeof(data), MSG_DONTWAIT);
		written += n > 0 ? (unsigned)n : 0;
	}
	turn();
	before = vdev_stats_get(&vs->v).in_bytes;
	vdrv_repeat(&d, 0, vdrv_add(&d, 0, &big, 1), 240);
	vdrv_kick(&d, 0);
	turn();
	ok(written > TURN_BYTES_MAX && vdev_stats_get(&vs->v).in_bytes - before > TURN_BYTES_MAX, "of %u bytes that wait more than a turn's go", written);
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		fd_close(&fds[i]);
	turn();
}

/* A host that is slow, and one that goes while bytes for it wait. */
static void test_slow_host(void)
{
	static uint8_t data[60000];
	struct virtio_vsock_hdr h;
	unsigned sent = 0;
	ssize_t got = 0, n;

	start(32);
	open_stream(5);
	for (; !buf_len(&vs->t.all->to_host) && sent < 40; sent++)
		send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 5), data, sizeof(data));
	ok(buf_len(&vs->t.all->to_host), "after %u packets the host's socket is full", sent);
	h = packet(VIRTIO_VSOCK_OP_SHUTDOWN, 1025, 5);
	h.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
	send_packet(h, "", 0);
	ok(vsock_streams(vs) == 1, "the guest has sent all; the stream is there");
	for (int i = 0; i < 2000 && (n = recv(in.fd, data, sizeof(data), MSG_DONTWAIT)) != 0; i++) {
		got += n > 0 ? n : 0;
		turn();
	}
	ok(got == (ssize_t)(sent * sizeof(data)), "all of it comes, and then the end");
	fd_close(&in.fd);
	turn();
	while (got_op(VIRTIO_VSOCK_OP_CREDIT_UPDATE) || got_op(VIRTIO_VSOCK_OP_SHUTDOWN))
		;

	start(32);
	open_stream(6);
	for (sent = 0; !buf_len(&vs->t.all->to_host) && sent < 40; sent++)
		send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 6), data, sizeof(data));
	send_op(VIRTIO_VSOCK_OP_RST, 1025, 6);
	ok(vsock_streams(vs) == 1 && vs->t.all->state == VSTREAM_DRAINING, "the guest is gone, its bytes are not");
	fd_close(&in.fd);
	turn();
	ok(vsock_streams(vs) == 0, "the host goes: nothing is kept");

	start(32);
	open_stream(7);
	for (sent = 0; vsock_streams(vs) && sent < 40; sent++) {
		induce(INDUCE_malloc, 0, ENOMEM);
		send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 7), data, sizeof(data));
	}
	ok(induced() && sent < 40 && vdev_stats_get(&vs->v).host_errors, "no memory for what the host does not take: the stream ends, it does not lose bytes");
	fd_close(&in.fd);
	turn();
}

/* A reset by a vCPU while an event or a time-out of a stream is on its way to its callback. */
static struct ev_io vcpu;

static void vcpu_resets(struct ev_io *io, uint32_t events)
{
	(void)events;
	ev_del(loop, io);
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
}

static void test_reset_in_between(void)
{
	static uint8_t data[60000];
	int p[2];

	start(16);
	open_stream(5);
	ok(write(in.fd, "x", 1) == 1, "the host writes");
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	turn();
	ok(vsock_streams(vs) == 0, "the guest resets: the stream is gone before its event");
	fd_close(&in.fd);

	start(16);
	open_stream(5);
	for (unsigned i = 0; !buf_len(&vs->t.all->to_host) && i < 40; i++)
		send_packet(packet(VIRTIO_VSOCK_OP_RW, 1025, 5), data, sizeof(data));
	while (recv(in.fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
	ok(vsock_streams(vs) == 1, "bytes on their way to the host");
	turn();
	ok(vsock_streams(vs) == 0 && recv(in.fd, data, sizeof(data), MSG_DONTWAIT) > 0, "survive it");
	fd_close(&in.fd);

	for (int wait = 0; wait < 2; wait++) {
		start(wait ? 16 : 0); /* with buffers the guest hears of it */
		if (pipe(p) || vsock_connect(vs, 9, 1, on_connect, NULL))
			abort();
		usleep(3000);
		vcpu = (struct ev_io){ .fn = vcpu_resets, .fd = -1 };
		if (ev_add(loop, &vcpu, p[0], EPOLLIN) || write(p[1], "r", 1) != 1)
			abort();
		turn();
		ok(conn.calls == 1 && (conn.fd == -ENETDOWN || conn.fd == -ETIMEDOUT) && vsock_streams(vs) == 0, "a time-out and a reset at once: one answer (%d)", conn.fd);
		close(p[0]);
		close(p[1]);
	}
}

int main(void)
{
	if (!make_device())
		return 1;
	test_missing_queues();
	test_host_refuses();
	test_no_timer();
	test_listeners();
	test_out_of_state();
	test_receive_ring();
	test_many_pieces();
	test_full_turns();
	test_slow_host();
	test_reset_in_between();
	drop_device();
	return tap_done();
}
