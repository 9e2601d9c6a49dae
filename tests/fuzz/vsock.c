/*
 * virtio-vsock by registers and rings, and packets. Host's side: a byte chooses
 *   0 packet from the guest: op (upper half 15: another type, 14: another address), host port choice, guest port, flags, u16 length, u32 credit   1 receive buffer: u16 length
 *   2 connect: port     3 write: stream, u16 bytes     4 read     5 shut one direction     6 close     7 let timers run
 * Host ports: 0 → 1025 (listened to), 1 → 9 (not), else the host's own ports in the order of connects.
 */
#include "tests/fuzz/vdev_fuzz.h"
#include "vmm/dev/vsock.h"

#include <linux/virtio_vsock.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENDS 16

static struct vsock *vs;
static int ends[ENDS];
static unsigned n_ends, waiting;

static void keep(int fd)
{
	if (fd >= 0 && n_ends < ENDS)
		ends[n_ends++] = fd;
	else if (fd >= 0)
		close(fd);
}

static void on_connect(void *arg, int fd)
{
	(void)arg;
	waiting--;
	keep(fd);
}

static int on_incoming(void *arg, uint32_t port, uint32_t guest_port, int fd)
{
	(void)arg, (void)port;
	if (guest_port == 13)
		return -1;
	keep(fd);
	return 0;
}

static void guest_packet(struct fuzz *f)
{
	struct virtio_vsock_hdr h = { .dst_cid = 2 };
	struct vdrv_seg s[2] = { { 0x20000, sizeof(h), false }, { 0x21000, 0, false } };
	unsigned port;

	port = (unsigned)fuzz_u(f, 1);
	h.op = port & 15;
	h.type = port >> 4 == 15 ? 2 : 1;
	h.src_cid = port >> 4 == 14 ? 9 : 3;
	port = (unsigned)fuzz_u(f, 1);
	h.dst_port = port == 0 ? 1025 : port == 1 ? 9 : 0x40000000u + port - 2;
	h.src_port = (uint32_t)(fuzz_u(f, 1) & 15);
	h.flags = (uint32_t)fuzz_u(f, 1);
	s[1].len = (uint32_t)fuzz_u(f, 2);
	h.len = s[1].len + (h.flags >> 7);
	h.buf_alloc = (uint32_t)fuzz_u(f, 4);
	h.fwd_cnt = (uint32_t)fuzz_u(f, 1);
	gm_write(f->gm, 0x20000, &h, sizeof(h));
	if (!f->d.q[1].size)
		return;
	vdrv_add(&f->d, 1, s, s[1].len ? 2 : 1);
	vdrv_kick(&f->d, 1);
	fuzz_turn(f);
}

static void give_buffer(struct fuzz *f)
{
	struct vdrv_seg s = { 0x40000, (uint32_t)fuzz_u(f, 2), true };

	if (!f->d.q[0].size)
		return;
	vdrv_add(&f->d, 0, &s, 1);
	vdrv_kick(&f->d, 0);
}

static void socket_step(struct fuzz *f, unsigned what)
{
	static uint8_t bytes[65536];
	unsigned i = (unsigned)fuzz_u(f, 1) % ENDS;
	size_t n = (size_t)fuzz_u(f, 2);

	if (i >= n_ends)
		return;
	if (what == 3)
		(void)!send(ends[i], bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (what == 4)
		(void)!recv(ends[i], bytes, n, MSG_DONTWAIT);
	else if (what == 5)
		shutdown(ends[i], (int)(n % 3));
	else {
		close(ends[i]);
		ends[i] = ends[--n_ends];
	}
}

static void host(struct fuzz *f)
{
	unsigned what = (unsigned)fuzz_u(f, 1) & 7;

	if (what == 0)
		guest_packet(f);
	else if (what == 1)
		give_buffer(f);
	else if (what == 2)
		waiting += vsock_connect(vs, (uint32_t)(fuzz_u(f, 1) & 15), fuzz_u(f, 1) & 1 ? 0 : 100000, on_connect, NULL) == 0;
	else if (what < 7)
		socket_step(f, what);
	fuzz_turn(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct gm gm;
	static struct fuzz f;
	struct ev_loop *loop;

	if ((!gm.map && gm_init(&gm, 1 << 20, NULL)) || ev_new(&loop) || vsock_new(&vs, &gm, 3, NULL) ||
	    vdev_attach(vsock_vdev(vs), loop) || vsock_listen(vs, 1025, on_incoming, NULL))
		abort();
	n_ends = waiting = 0;
	f = (struct fuzz){ .gm = &gm, .loop = loop, .d = { .v = vsock_vdev(vs) }, .host = host };
	fuzz_run(&f, data, size);
	vsock_free(vs);
	if (waiting) /* a connect that was never answered */
		abort();
	while (n_ends)
		close(ends[--n_ends]);
	ev_free(loop);
	return 0;
}
