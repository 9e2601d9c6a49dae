/*
 * blkback FILE r|w BLOCK_BYTES DEPTH COUNT [random]: our disk device with the threads that vmm gives it, and a driver that keeps DEPTH requests of BLOCK_BYTES
 * in flight until COUNT are done. No guest: what its caller measures is the device, its threads and the host's kernel. For back.py.
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include "tests/unit/vdrv.h"
#include "vmm/dev/blk.h"

enum { WORKERS = 4, DEPTH_MAX = 32, QUEUE = 256, HEADS = 0x100000, HEAD_BYTES = 4096, DATA = 0x200000, DATA_BYTES = 1 << 20, SEG_BYTES = 1 << 16 };

static struct gm gm;
static struct vdrv d;
static int irq_fd;

static void on_irq(void *arg)
{
	uint64_t one = 1;

	(void)arg;
	if (write(irq_fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void *work(void *arg)
{
	blk_work(arg);
	return NULL;
}

static void *turn(void *arg)
{
	ev_run(arg);
	return NULL;
}

static struct blk *device(const char *path)
{
	struct disk_files files = { open(path, O_RDWR | O_CLOEXEC), -1, -1 };
	struct ev_loop *loop;
	struct fault f = { 0 };
	pthread_t t;
	struct blk *b;

	if (gm_init(&gm, DATA + DEPTH_MAX * DATA_BYTES, NULL) || blk_new(&b, &gm, &files, false, "b", 1, &f) || ev_new(&loop) || vdev_attach(blk_vdev(b), loop))
		abort();
	blk_set_workers(b, WORKERS);
	vdrv_start(&d, &gm, blk_vdev(b), VDEV_F(VIRTIO_BLK_F_FLUSH) | VDEV_F(VIRTIO_RING_F_EVENT_IDX), QUEUE);
	vdev_set_irq(blk_vdev(b), on_irq, NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		if (pthread_create(&t, NULL, work, b))
			abort();
	if (pthread_create(&t, NULL, turn, loop))
		abort();
	return b;
}

/* Kicks when the device asked for it, as Linux does. */
static uint16_t submit(unsigned slot, uint32_t type, uint64_t at, uint32_t bytes)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = at / 512 };
	uint64_t head_gpa = HEADS + slot * HEAD_BYTES, data_gpa = DATA + (uint64_t)slot * DATA_BYTES;
	struct vdrv_seg s[DATA_BYTES / SEG_BYTES + 2] = { { head_gpa, sizeof(h), false } };
	unsigned n = 1;
	uint16_t head, event;

	gm_write(&gm, head_gpa, &h, sizeof(h));
	for (uint32_t off = 0; off < bytes; off += SEG_BYTES)
		s[n++] = (struct vdrv_seg){ data_gpa + off, bytes - off < SEG_BYTES ? bytes - off : SEG_BYTES, type == VIRTIO_BLK_T_IN };
	s[n++] = (struct vdrv_seg){ head_gpa + sizeof(h), 1, true };
	head = vdrv_add(&d, 0, s, n);
	atomic_thread_fence(memory_order_seq_cst);
	gm_read_u16(&gm, d.q[0].used + 4 + 8u * QUEUE, &event);
	if ((uint16_t)(event + 1) == d.q[0].avail_idx)
		vdrv_kick(&d, 0);
	return head;
}

/* Sleeps until the device has done something more than was seen. */
static void wait_irq(void)
{
	uint64_t n;
	uint16_t idx;

	gm_write_u16(&gm, d.q[0].avail + 4 + 2u * QUEUE, d.q[0].used_seen);
	atomic_thread_fence(memory_order_seq_cst);
	gm_load_acquire_u16(&gm, d.q[0].used + 2, &idx);
	if (idx == d.q[0].used_seen && read(irq_fd, &n, sizeof(n)) != sizeof(n))
		abort();
}

int main(int argc, char **argv)
{
	unsigned bytes = argc < 6 ? 0 : (unsigned)atol(argv[3]), depth = bytes ? (unsigned)atol(argv[4]) : 0, n_free = 0, seed = 7;
	unsigned free_slot[DEPTH_MAX], slot_of[QUEUE];
	uint64_t blocks, begun = 0, done = 0, count = depth ? (uint64_t)atol(argv[5]) : 0;
	uint32_t id, len;

	if (!count || bytes > DATA_BYTES || bytes % 512 || depth > DEPTH_MAX || (irq_fd = eventfd(0, EFD_CLOEXEC)) < 0) {
		fprintf(stderr, "usage: blkback FILE r|w BLOCK_BYTES DEPTH COUNT [random]\n");
		return 2;
	}
	blocks = blk_bytes(device(argv[1])) / bytes;
	for (; n_free < depth; n_free++)
		free_slot[n_free] = n_free;
	while (done < count) {
		uint64_t before = done;

		while (n_free && begun < count) {
			unsigned slot = free_slot[--n_free];
			uint64_t block = argc > 6 ? (seed = seed * 1103515245u + 12345u) >> 4 : begun;

			slot_of[submit(slot, argv[2][0] == 'w' ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, block % blocks * bytes, bytes)] = slot;
			begun++;
		}
		for (; vdrv_used(&d, 0, &id, &len); done++)
			free_slot[n_free++] = slot_of[id];
		if (done == before)
			wait_irq();
	}
	return 0;
}
