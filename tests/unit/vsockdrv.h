/* A guest of virtio-vsock made of rings, for tests of the device: packets by hand, and what comes back. */
#ifndef TESTS_UNIT_VSOCKDRV_H
#define TESTS_UNIT_VSOCKDRV_H

#include "tests/unit/tap.h"
#include "tests/unit/vdrv.h"
#include "vmm/dev/vsock.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <sys/socket.h>
#include <unistd.h>

#define CID 77u
#define RX_BYTES 4096u
#define HDR sizeof(struct virtio_vsock_hdr)

static struct gm gm;
static struct ev_loop *loop;
static struct vsock *vs;
static struct vdrv d;
static uint64_t tx_gpa;

static struct { /* what the callbacks got */
	unsigned calls;
	int fd;
	uint32_t port, guest_port;
	int refuse;
} conn, in;

static inline void on_connect(void *arg, int fd)
{
	(void)arg;
	conn.calls++;
	conn.fd = fd;
}

static inline int on_incoming(void *arg, uint32_t port, uint32_t guest_port, int fd)
{
	(void)arg;
	in.calls++;
	in.port = port;
	in.guest_port = guest_port;
	if (!in.refuse)
		in.fd = fd;
	return in.refuse;
}

static inline bool make_device(void)
{
	if (gm_init(&gm, 1 << 20, NULL) || ev_new(&loop) || vsock_new(&vs, &gm, CID, NULL) || vdev_attach(vsock_vdev(vs), loop))
		return false;
	d = (struct vdrv){ .gm = &gm, .v = vsock_vdev(vs), .heap = 0x10000 };
	return true;
}

static inline void drop_device(void)
{
	vsock_free(vs);
	ok(gm.iov_live == 0, "no iovec left behind");
	ev_free(loop);
	gm_done(&gm);
}

static bool threaded; /* the loop has a thread of its own */

static inline void turn(void)
{
	for (int i = 0; i < 20 && !threaded && ev_once(loop, 0) > 0; i++)
		;
}

static inline void give_buffers(unsigned n, uint32_t bytes)
{
	for (unsigned i = 0; i < n; i++) {
		struct vdrv_seg s = { vdrv_alloc(&d, bytes), bytes, true };

		vdrv_add(&d, 0, &s, 1);
	}
	vdrv_kick(&d, 0);
	turn();
}

static uint64_t features = VDEV_F(VIRTIO_RING_F_EVENT_IDX);

static inline void start(unsigned buffers)
{
	vdrv_start(&d, &gm, vsock_vdev(vs), features, 64);
	tx_gpa = vdrv_alloc(&d, 70000);
	turn();
	give_buffers(buffers, RX_BYTES);
	conn.calls = in.calls = 0;
	conn.fd = in.fd = -1;
	in.refuse = 0;
}

static inline struct virtio_vsock_hdr packet(uint16_t op, uint32_t host_port, uint32_t guest_port)
{
	return (struct virtio_vsock_hdr){ .src_cid = CID, .dst_cid = 2, .src_port = guest_port, .dst_port = host_port,
					  .type = 1, .op = op, .buf_alloc = 65536 };
}

static inline void send_raw(const struct virtio_vsock_hdr *h, const void *data, uint32_t len, uint32_t cut)
{
	struct vdrv_seg s[2] = { { tx_gpa, HDR - cut, false }, { tx_gpa + HDR, len, false } };

	gm_write(&gm, tx_gpa, h, HDR);
	gm_write(&gm, tx_gpa + HDR, data, len);
	vdrv_add(&d, 1, s, len ? 2 : 1);
	vdrv_kick(&d, 1);
	if (threaded) /* the packet may not have been read yet */
		tx_gpa += 128;
	turn();
}

static inline void send_packet(struct virtio_vsock_hdr h, const void *data, uint32_t len)
{
	h.len = len;
	send_raw(&h, data, len, 0);
}

static inline void send_op(uint16_t op, uint32_t host_port, uint32_t guest_port)
{
	send_packet(packet(op, host_port, guest_port), "", 0);
}

/* Next packet that the guest receives; payload into data. -1 when there is none. */
static inline int recv_packet(struct virtio_vsock_hdr *h, void *data, uint32_t cap)
{
	uint32_t id, len;
	struct vring_desc e;

	memset(h, 0, sizeof(*h));
	if (!vdrv_used(&d, 0, &id, &len))
		return -1;
	gm_read(&gm, d.q[0].desc + 16 * id, &e, sizeof(e));
	gm_read(&gm, e.addr, h, HDR);
	if (len != HDR + h->len || h->len > cap)
		return -2;
	gm_read(&gm, e.addr + HDR, data, h->len);
	return (int)h->len;
}

static inline bool got_op(uint16_t op)
{
	struct virtio_vsock_hdr h;
	uint8_t data[RX_BYTES];

	return recv_packet(&h, data, sizeof(data)) >= 0 && h.op == op && h.src_cid == 2 && h.dst_cid == CID;
}

/* A stream that the guest has opened to port 1025; in.fd is the host's end. */
static inline void guest_opens(uint32_t guest_port)
{
	vsock_listen(vs, 1025, on_incoming, NULL);
	send_op(VIRTIO_VSOCK_OP_REQUEST, 1025, guest_port);
}

#endif
