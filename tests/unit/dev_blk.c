/* virtio-blk on a memfd: refusals, then data, flush, holes, host errors, reset during I/O. */
#include "tests/unit/tap.h"
#include "tests/unit/vdrv.h"
#include "vmm/dev/blk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_BYTES (1u << 20)
#define HEAD 0x40000u
#define STATUS 0x40100u
#define DATA 0x50000u

static struct gm gm;
static struct vdrv d;
static struct blk *b;
static int disk;
static uint32_t used_len;

static int new_disk(off_t bytes)
{
	int fd = memfd_new("disk");

	if (ftruncate(fd, bytes) < 0)
		abort();
	return fd;
}

static void restart(uint64_t features)
{
	vdrv_start(&d, &gm, blk_vdev(b), features | VDEV_F(VIRTIO_BLK_F_FLUSH), 64);
}

static int raw(struct blk **out, int fd, bool read_only, const char *id, struct fault *f)
{
	return blk_new(out, &gm, &(struct disk_files){ fd, -1, -1 }, read_only, id, 1, f);
}

/* One request; the status byte, 0xee when it was not answered. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t len, bool write)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	struct vdrv_seg s[3] = { { HEAD, sizeof(h), false }, { DATA, len, write }, { STATUS, 1, true } };
	uint8_t status = 0xee;
	uint32_t id;

	gm_write(&gm, HEAD, &h, sizeof(h));
	gm_write(&gm, STATUS, &status, 1);
	if (!len)
		s[1] = s[2];
	vdrv_add(&d, 0, s, len ? 3 : 2);
	vdrv_kick(&d, 0);
	used_len = 0;
	if (vdrv_used(&d, 0, &id, &used_len))
		gm_read(&gm, STATUS, &status, 1);
	return status;
}

static void test_new(void)
{
	struct fault f = { "" };
	struct blk *x = NULL;
	int odd = new_disk(700), pipes[2];

	ok(raw(&x, odd, false, "root", &f) == -EINVAL && strstr(f.text, "disk 'root': size 700 is not a multiple of 512"), "%s", f.text);
	ok(pipe(pipes) == 0 && raw(&x, pipes[0], false, "root", &f) == -EINVAL, "a pipe is refused: %s", f.text);
	close(pipes[1]);
	ok(raw(&x, -1, false, NULL, &f) == -EBADF, "no descriptor is refused");
	disk = new_disk(DISK_BYTES);
	ok(raw(&b, disk, false, "a-name-longer-than-20-bytes", &f) == 0, "a disk");
	d.v = blk_vdev(b);
	ok(mmio_read(d.v, 0x100, 8) == DISK_BYTES / 512 && mmio_read(d.v, 0x100 + 20, 4) == 512, "capacity and block size");
	ok(vdrv_offered(&d) & VDEV_F(VIRTIO_BLK_F_DISCARD) && !(vdrv_offered(&d) & VDEV_F(VIRTIO_BLK_F_RO)), "features");
}

static void test_broken_requests(void)
{
	struct vdrv_seg head[] = { { HEAD, 16, false } }, shorthead[] = { { HEAD, 15, false }, { STATUS, 1, true } };
	struct vdrv_seg nohead[] = { { STATUS, 1, true } };

	restart(0);
	vdrv_add(&d, 0, head, 1);
	vdrv_kick(&d, 0);
	ok(vdrv_broken(&d), "no room for a status");
	restart(0);
	vdrv_add(&d, 0, shorthead, 2);
	vdrv_kick(&d, 0);
	ok(vdrv_broken(&d), "half a head");
	restart(0);
	vdrv_add(&d, 0, nohead, 1);
	vdrv_kick(&d, 0);
	ok(vdrv_broken(&d), "no head");
	restart(0);
	ok(request(99, 0, 512, true) == VIRTIO_BLK_S_UNSUPP, "unknown type");
	ok(request(VIRTIO_BLK_T_IN, 0, 100, true) == VIRTIO_BLK_S_IOERR, "no whole sector");
	ok(request(VIRTIO_BLK_T_IN, DISK_BYTES / 512, 512, true) == VIRTIO_BLK_S_IOERR, "past the end");
	ok(request(VIRTIO_BLK_T_IN, DISK_BYTES / 512 - 1, 1024, true) == VIRTIO_BLK_S_IOERR, "over the end");
	ok(request(VIRTIO_BLK_T_OUT, UINT64_MAX, 512, false) == VIRTIO_BLK_S_IOERR, "a sector that wraps");
	ok(request(VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 2, 512, false) == VIRTIO_BLK_S_IOERR, "bytes that wrap");
	ok(request(VIRTIO_BLK_T_GET_ID, 0, 19, true) == VIRTIO_BLK_S_IOERR, "no room for the id");
	ok(vdev_stats_get(d.v).errors == 7 && vdev_stats_get(d.v).host_errors == 0, "counted, none of them the host's");
}

static void test_data(void)
{
	uint8_t data[2048], back[2048];
	char id[21] = { 0 };

	restart(0);
	memset(data, 'd', sizeof(data));
	gm_write(&gm, DATA, data, sizeof(data));
	ok(request(VIRTIO_BLK_T_OUT, 3, 2048, false) == 0 && used_len == 1, "write");
	ok(pread(disk, back, 2048, 3 * 512) == 2048 && !memcmp(data, back, 2048), "is in the file");
	gm_zero(&gm, DATA, 2048);
	ok(request(VIRTIO_BLK_T_IN, 3, 2048, true) == 0 && used_len == 2049, "read");
	gm_read(&gm, DATA, back, 2048);
	ok(!memcmp(data, back, 2048), "is in memory");
	ok(request(VIRTIO_BLK_T_IN, DISK_BYTES / 512, 0, true) == 0, "nothing at the very end");
	ok(request(VIRTIO_BLK_T_FLUSH, 0, 0, false) == 0 && used_len == 1, "flush");
	ok(request(VIRTIO_BLK_T_GET_ID, 0, 20, true) == 0, "id");
	gm_read(&gm, DATA, id, 20);
	ok(!strcmp(id, "a-name-longer-than-2"), "cut at 20: %s", id);
	ok(d.irqs >= 5 && vdev_stats_get(d.v).in_bytes == 2048 && vdev_stats_get(d.v).out_bytes == 2048, "interrupts and counters");
}

static uint8_t range(uint32_t type, uint64_t sector, uint32_t count, uint32_t flags, uint32_t len)
{
	struct virtio_blk_discard_write_zeroes r[17] = { { sector, count, flags } };

	for (unsigned i = 1; i < 17; i++)
		r[i] = r[0];
	gm_write(&gm, DATA, r, sizeof(r));
	return request(type, 0, len, false);
}

static void test_ranges(void)
{
	uint8_t data[65536], back[65536], zero[65536] = { 0 };
	struct stat st;

	restart(0);
	memset(data, 'r', sizeof(data));
	ok(range(VIRTIO_BLK_T_DISCARD, 0, 8, 1, 16) == VIRTIO_BLK_S_UNSUPP, "discard with a flag");
	ok(range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2, 16) == VIRTIO_BLK_S_UNSUPP, "an unknown flag");
	ok(range(VIRTIO_BLK_T_DISCARD, 0, 8, 0, 15) == VIRTIO_BLK_S_UNSUPP, "half a range");
	ok(range(VIRTIO_BLK_T_DISCARD, 0, 8, 0, 17 * 16) == VIRTIO_BLK_S_UNSUPP, "too many ranges");
	ok(range(VIRTIO_BLK_T_DISCARD, DISK_BYTES / 512 - 1, 8, 0, 16) == VIRTIO_BLK_S_IOERR, "over the end");
	ok(range(VIRTIO_BLK_T_DISCARD, UINT64_MAX - 3, 8, 0, 16) == VIRTIO_BLK_S_IOERR, "a range that wraps");
	ok(range(VIRTIO_BLK_T_WRITE_ZEROES, 0, UINT32_MAX, 0, 16) == VIRTIO_BLK_S_IOERR, "too much to zero");
	ok(pwrite(disk, data, 65536, 0) == 65536 && range(VIRTIO_BLK_T_DISCARD, 8, 16, 0, 16) == 0, "discard");
	ok(pread(disk, back, 65536, 0) == 65536 && !memcmp(back, data, 4096) && !memcmp(back + 4096, zero, 8192) &&
	   !memcmp(back + 12288, data, 65536 - 12288), "exactly that range");
	ok(fstat(disk, &st) == 0 && st.st_size == DISK_BYTES && st.st_blocks == (65536 - 8192) / 512, "space is given back, size stays");
	ok(pwrite(disk, data, 65536, 0) == 65536 && range(VIRTIO_BLK_T_WRITE_ZEROES, 1, 3, 0, 16) == 0, "write zeroes (written where the file system cannot)");
	ok(pread(disk, back, 65536, 0) == 65536 && back[511] == 'r' && !memcmp(back + 512, zero, 1536) && back[2048] == 'r', "exactly that range");
	ok(range(VIRTIO_BLK_T_WRITE_ZEROES, 4, 4, 1, 16) == 0 && pread(disk, back, 65536, 0) == 65536 && back[2048] == 0 && back[4096] == 'r', "with unmap");
	ok(range(VIRTIO_BLK_T_DISCARD, 0, 0, 0, 16) == 0, "an empty range");
}

static void test_host_errors(void)
{
	uint64_t before;

	restart(0);
	before = vdev_stats_get(d.v).host_errors;
	ok(ftruncate(disk, 4096) == 0 && request(VIRTIO_BLK_T_IN, 100, 512, true) == VIRTIO_BLK_S_IOERR, "a file that lost its end");
	ok(vdev_stats_get(d.v).host_errors == before + 1 && !vdrv_broken(&d), "is the host's error, for that request");
	ok(blk_resized(b, NULL) == 0 && blk_bytes(b) == 4096 && mmio_read(d.v, 0x100, 8) == 8, "new capacity");
	ok(vdrv_rd(&d, VIRTIO_MMIO_INTERRUPT_STATUS) & 2, "told by a configuration interrupt");
	ok(request(VIRTIO_BLK_T_IN, 8, 512, true) == VIRTIO_BLK_S_IOERR && vdev_stats_get(d.v).host_errors == before + 1, "beyond it");
	ok(ftruncate(disk, DISK_BYTES) == 0 && blk_resized(b, NULL) == 0 && request(VIRTIO_BLK_T_IN, 100, 512, true) == 0, "grown again");
	ok(fcntl(disk, F_ADD_SEALS, F_SEAL_WRITE) == 0, "a file that refuses writes");
	ok(request(VIRTIO_BLK_T_OUT, 0, 512, false) == VIRTIO_BLK_S_IOERR && vdev_stats_get(d.v).host_errors == before + 2, "is the host's error");
	ok(gm.iov_live == 0, "no iovec left behind");
}

static void test_read_only(void)
{
	struct blk *r;
	struct blk *was = b;
	int fd = new_disk(4096);

	ok(raw(&r, fd, true, NULL, NULL) == 0, "read-only");
	b = r;
	d.v = blk_vdev(r);
	ok(vdrv_offered(&d) & VDEV_F(VIRTIO_BLK_F_RO) && !(vdrv_offered(&d) & VDEV_F(VIRTIO_BLK_F_DISCARD)), "is offered as such");
	restart(0);
	ok(request(VIRTIO_BLK_T_OUT, 0, 512, false) == VIRTIO_BLK_S_IOERR, "no write");
	ok(range(VIRTIO_BLK_T_DISCARD, 0, 1, 0, 16) == VIRTIO_BLK_S_IOERR && range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0, 16) == VIRTIO_BLK_S_IOERR, "no holes");
	ok(request(VIRTIO_BLK_T_IN, 0, 512, true) == 0 && request(VIRTIO_BLK_T_FLUSH, 0, 0, false) == 0, "reads and flushes");
	blk_free(r);
	b = was;
}

/* Two requests at once behind a limit of one a second: the second stays in the ring until the timer, and no notification is needed for it. */
static void test_limit(void)
{
	struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN };
	struct vdrv_seg s[3] = { { HEAD, sizeof(h), false }, { DATA, 512, true }, { STATUS, 1, true } };
	struct ev_loop *loop;
	struct blk *was = b;
	uint32_t id;

	ok(!ev_new(&loop) && !raw(&b, new_disk(65536), false, NULL, NULL), "a disk");
	blk_limit(b, &(struct shape_limit){ .packets_s = 20 });
	d.v = blk_vdev(b);
	ok(vdev_attach(d.v, loop) == 0, "on a loop");
	restart(0);
	gm_write(&gm, HEAD, &h, sizeof(h));
	for (int i = 0; i < 3; i++)
		vdrv_add(&d, 0, s, 3);
	vdrv_kick(&d, 0);
	for (int i = 0; i < 3; i++)
		ev_once(loop, 0);
	ok(vdev_stats_get(d.v).requests < 3, "what is over the limit waits");
	for (int i = 0; i < 1000 && vdev_stats_get(d.v).requests < 3; i++)
		ev_once(loop, 100);
	ok(vdrv_used(&d, 0, &id, &used_len) && vdev_stats_get(d.v).requests == 3 && vdev_stats_get(d.v).errors == 0, "and goes on by itself");
	ok(ev_once(loop, 0) == 0, "nothing spins");
	pthread_mutex_lock(&d.v->lock);
	d.v->ops->detach(d.v);
	pthread_mutex_unlock(&d.v->lock);
	blk_free(b);
	ev_free(loop);
	b = was;
	d.v = blk_vdev(b);
}

/* One request over the seam of base and top, over a part of a grain, and over the end of the base. */
static void test_overlay(void)
{
	struct blk *was = b;
	struct disk_files files = { new_disk(65536), new_disk(10240), memfd_new("map") };
	int top = dup(files.top_fd), base = dup(files.base_fd), map = dup(files.map_fd);
	uint8_t data[16384], back[16384], want[16384] = { 0 };
	struct stat st;

	memset(data, 'b', sizeof(data));
	memset(want, 'b', 10240);
	memset(want + 4608, 'w', 512);
	ok(!pwrite_full(base, data, 10240, 0) && !disk_map_create(map, 10240, NULL) && !blk_new(&b, &gm, &files, false, NULL, 1, NULL), "an overlay");
	d.v = blk_vdev(b);
	restart(0);
	memset(data, 'w', 512);
	gm_write(&gm, DATA, data, 512);
	ok(request(VIRTIO_BLK_T_OUT, 9, 512, false) == 0, "a write inside a grain");
	gm_zero(&gm, DATA, sizeof(back));
	ok(request(VIRTIO_BLK_T_IN, 0, sizeof(back), true) == 0 && used_len == sizeof(back) + 1, "a read over base, top, base and emptiness");
	gm_read(&gm, DATA, back, sizeof(back));
	ok(!memcmp(back, want, sizeof(want)), "reads what belongs there");
	ok(request(VIRTIO_BLK_T_FLUSH, 0, 0, false) == 0 && pread(map, back, 1, DISK_MAP_HEAD_BYTES) == 1 && back[0] == 2, "a flush writes the map: %d", back[0]);
	ok(range(VIRTIO_BLK_T_DISCARD, 8, 8, 0, 16) == 0 && fstat(top, &st) == 0 && st.st_blocks == 0, "a discard gives the space back");
	ok(request(VIRTIO_BLK_T_IN, 8, 4096, true) == 0 && !gm_read(&gm, DATA, back, 4096) && !back[0] && !back[4095], "and does not show the base again");
	ok(gm.iov_live == 0, "no iovec left behind");
	blk_free(b);
	close(top), close(base), close(map);
	b = was;
}

/* A reset from another thread while the worker does I/O: it waits, and nothing is completed afterwards. */
static void test_thread(void)
{
	struct blk *t;
	struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN };
	struct vdrv_seg s[3] = { { HEAD, sizeof(h), false }, { DATA, 0x20000, true }, { STATUS, 1, true } };
	struct vdrv_thread th;
	struct ev_loop *loop;
	uint32_t id, len;
	int bad = 0;

	if (raw(&t, new_disk(DISK_BYTES), false, NULL, NULL) || ev_new(&loop) || vdev_attach(blk_vdev(t), loop))
		abort();
	vdrv_thread_start(&th, loop);
	for (int i = 0; i < 200; i++) {
		uint16_t idx = 0;

		if (vdrv_start(&d, &gm, blk_vdev(t), VDEV_F(VIRTIO_BLK_F_FLUSH), 64) != 15)
			bad++;
		gm_write(&gm, HEAD, &h, sizeof(h));
		for (int j = 0; j < 20; j++)
			vdrv_add(&d, 0, s, 3);
		vdrv_kick(&d, 0);
		vdrv_wr(&d, VIRTIO_MMIO_STATUS, 0);
		gm_zero(&gm, d.q[0].used, 516);
		usleep(i % 8 == 0 ? 500 : 0);
		gm_load_acquire_u16(&gm, d.q[0].used + 2, &idx);
		bad += idx != 0;
	}
	ok(!bad, "200 resets in flight: nothing touched afterwards");
	vdrv_start(&d, &gm, blk_vdev(t), VDEV_F(VIRTIO_BLK_F_FLUSH), 64);
	gm_write(&gm, HEAD, &h, sizeof(h));
	vdrv_add(&d, 0, s, 3);
	vdrv_kick(&d, 0);
	for (int i = 0; i < 2000 && !vdrv_used(&d, 0, &id, &len); i++)
		usleep(1000);
	ok(len == 0x20001 && d.irqs, "and it still works");
	vdrv_thread_join(&th);
	blk_free(t);
	ev_free(loop);
	ok(gm.iov_live == 0, "no iovec left behind");
}

int main(void)
{
	if (gm_init(&gm, 1 << 20, NULL))
		return 1;
	d = (struct vdrv){ .gm = &gm, .heap = 0x10000 };
	test_new();
	test_broken_requests();
	test_data();
	test_ranges();
	test_read_only();
	test_limit();
	test_overlay();
	test_host_errors();
	blk_free(b);
	test_thread();
	gm_done(&gm);
	return tap_done();
}
