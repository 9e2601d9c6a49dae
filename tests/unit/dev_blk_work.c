/* virtio-blk with workers and several queues: what runs beside what, held at a gate where a device would take its time. */
#include "tests/unit/tap.h"
#include "tests/unit/vdrv.h"
#include "vmm/dev/blk_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <time.h>

enum { QUEUES = 4, WORKERS = 4, SLOTS = 16, DISK_BYTES = 1 << 20, SLOT_BYTES = 4096, LIMIT_MS = 20000 };

static struct gm gm;
static struct vdrv d;
static struct blk *b;
static int fd;
static struct ev_loop *loop;
static struct vdrv_thread th;
static pthread_t worker[WORKERS];

/* ---- a device that takes its time ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moved = PTHREAD_COND_INITIALIZER;
static bool gate_shut, gate_reads;
static unsigned at_gate, most, passed; /* writes, and with gate_reads reads that may wait */
static _Atomic int write_error;
static _Atomic bool never_now;

static void pass_gate(void)
{
	pthread_mutex_lock(&gate_lock);
	if (++at_gate > most)
		most = at_gate;
	pthread_cond_broadcast(&gate_moved);
	while (gate_shut)
		pthread_cond_wait(&gate_moved, &gate_lock);
	at_gate--;
	passed++;
	pthread_mutex_unlock(&gate_lock);
}

static ssize_t gated_pwritev(int to, const struct iovec *iov, int n, off_t at)
{
	pass_gate();
	if (write_error) {
		errno = write_error;
		return -1;
	}
	return pwritev(to, iov, n, at);
}

static ssize_t gated_preadv(int from, const struct iovec *iov, int n, off_t at)
{
	if (gate_reads)
		pass_gate();
	return preadv(from, iov, n, at);
}

/* memfds may or may not know RWF_NOWAIT; they never wait. */
static ssize_t now_preadv(int from, const struct iovec *iov, int n, off_t at)
{
	if (never_now) {
		errno = EAGAIN;
		return -1;
	}
	return preadv(from, iov, n, at);
}

static const struct disk_io gated = { gated_preadv, gated_pwritev, fdatasync, fallocate, now_preadv };

static void gate(bool shut)
{
	pthread_mutex_lock(&gate_lock);
	gate_shut = shut;
	pthread_cond_broadcast(&gate_moved);
	pthread_mutex_unlock(&gate_lock);
}

/* That many stand there. false: not within the limit. */
static bool gate_has(unsigned n)
{
	struct timespec until;
	bool there;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LIMIT_MS / 1000;
	pthread_mutex_lock(&gate_lock);
	while (at_gate != n && !pthread_cond_timedwait(&gate_moved, &gate_lock, &until))
		;
	there = at_gate == n;
	pthread_mutex_unlock(&gate_lock);
	return there;
}

/* ---- a driver ---- */

static uint64_t slot_gpa(unsigned slot)
{
	return 0x40000 + (uint64_t)slot * 0x2000; /* head, status, then the data */
}

static void submit(unsigned queue, unsigned slot, uint32_t type, uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	uint64_t at = slot_gpa(slot);
	struct vdrv_seg s[3] = { { at, sizeof(h), false }, { at + 0x1000, len, type == VIRTIO_BLK_T_IN }, { at + 0x100, 1, true } };
	uint8_t status = 0xee;

	gm_write(&gm, at, &h, sizeof(h));
	gm_write(&gm, at + 0x100, &status, 1);
	if (!len)
		s[1] = s[2];
	vdrv_add(&d, queue, s, len ? 3 : 2);
	vdrv_kick(&d, queue);
}

static uint8_t status_of(unsigned slot)
{
	uint8_t status;

	gm_read(&gm, slot_gpa(slot) + 0x100, &status, 1);
	return status;
}

static unsigned used_now(void)
{
	uint32_t id, len;
	unsigned n = 0;

	for (unsigned q = 0; q < QUEUES; q++)
		while (vdrv_used(&d, q, &id, &len))
			n++;
	return n;
}

/* So many completions come, and no more. */
static bool completes(unsigned n)
{
	unsigned got = 0;

	for (int i = 0; i < LIMIT_MS && (got += used_now()) < n; i++)
		usleep(1000);
	return got == n;
}

static unsigned out_now(void)
{
	unsigned n;

	pthread_mutex_lock(&b->v.lock);
	n = b->n_out;
	pthread_mutex_unlock(&b->v.lock);
	return n;
}

static void *work(void *arg)
{
	blk_work(arg);
	return NULL;
}

static void start(uint64_t features)
{
	vdrv_start(&d, &gm, blk_vdev(b), features | VDEV_F(VIRTIO_BLK_F_FLUSH), 64);
	passed = most = 0;
}

static void set_up(void)
{
	fd = memfd_new("disk");
	if (ftruncate(fd, DISK_BYTES) || blk_new(&b, &gm, &(struct disk_files){ fd, -1, -1 }, false, "w", QUEUES, NULL) || ev_new(&loop) ||
	    vdev_attach(blk_vdev(b), loop))
		abort();
	b->disk.io = &gated;
	blk_set_workers(b, WORKERS);
	for (unsigned i = 0; i < WORKERS; i++)
		if (pthread_create(&worker[i], NULL, work, b))
			abort();
	vdrv_thread_start(&th, loop);
}

static void tear_down(void)
{
	blk_quit(b);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(worker[i], NULL);
	vdrv_thread_join(&th);
	blk_free(b);
	ev_free(loop);
}

/* ---- tests ---- */

static void test_queues(void)
{
	start(0);
	ok(vdrv_offered(&d) & VDEV_F(VIRTIO_BLK_F_MQ) && mmio_read(d.v, 0x100 + 34, 2) == QUEUES, "queues are offered");
	submit(1, 0, VIRTIO_BLK_T_IN, 0, 512);
	submit(0, 1, VIRTIO_BLK_T_IN, 0, 512);
	ok(completes(1) && status_of(0) == 0xee && status_of(1) == 0, "a driver without MQ has one");
	start(VDEV_F(VIRTIO_BLK_F_MQ));
	for (unsigned q = 0; q < QUEUES; q++)
		submit(q, q, VIRTIO_BLK_T_IN, 0, 512);
	ok(completes(QUEUES) && !status_of(0) && !status_of(3), "a driver with MQ has four");
	vdrv_wr(&d, VIRTIO_MMIO_QUEUE_SEL, QUEUES);
	ok(vdrv_rd(&d, VIRTIO_MMIO_QUEUE_NUM_MAX) == 0, "and no fifth");
}

static void test_beside(void)
{
	start(VDEV_F(VIRTIO_BLK_F_MQ));
	gate(true);
	for (unsigned i = 0; i < SLOTS / 2; i++)
		submit(i % QUEUES, i, VIRTIO_BLK_T_OUT, 8 * i, SLOT_BYTES);
	for (int i = 0; i < LIMIT_MS && out_now() < BLK_JOBS; i++)
		usleep(1000);
	ok(gate_has(1) && used_now() == 0, "a write is under way");
	gate(false);
	ok(completes(SLOTS / 2) && gate_has(0) && passed == SLOTS / 2, "all of them are done, each once: %u", passed);
	ok(most == 1, "one after another: at most %u at once", most);
	gate_reads = never_now = true;
	gate(true);
	for (unsigned i = 0; i < SLOTS / 2; i++)
		submit(i % QUEUES, i, VIRTIO_BLK_T_IN, 8 * i, SLOT_BYTES);
	ok(gate_has(WORKERS) && used_now() == 0, "as many reads are under way as there are workers");
	gate(false);
	ok(completes(SLOTS / 2) && gate_has(0) && passed == SLOTS, "all of them are done, each once: %u", passed);
	gate_reads = never_now = false;
	gate(true);
	submit(0, 0, VIRTIO_BLK_T_OUT, 0, SLOT_BYTES);
	submit(1, 1, VIRTIO_BLK_T_OUT, 8, SLOT_BYTES);
	ok(gate_has(1), "two writes wait, one for the other");
	submit(1, 2, VIRTIO_BLK_T_IN, 64, 512);
	ok(completes(1) && status_of(2) == 0, "a read of the page cache passes them: the loop does not wait");
	never_now = true;
	submit(0, 3, VIRTIO_BLK_T_IN, 64, 512);
	ok(completes(1) && status_of(3) == 0, "so does one that has to wait for the device, on a worker");
	never_now = false;
	submit(0, 4, VIRTIO_BLK_T_GET_ID, 0, 0);
	submit(2, 5, VIRTIO_BLK_T_FLUSH, 0, 0);
	ok(completes(2) && status_of(5) == 0, "and a flush: it speaks of writes that were answered");
	gate(false);
	ok(completes(2), "the two are done");
}

/* Each completion is followed by an interrupt, whoever did it. */
static void test_interrupts(void)
{
	unsigned lost = 0;

	start(VDEV_F(VIRTIO_BLK_F_MQ) | VDEV_F(VIRTIO_RING_F_EVENT_IDX));
	for (unsigned i = 0; i < 120 && !lost; i++) {
		unsigned before = d.irqs, n = i % 3 == 2 ? SLOTS : 1, q = i % QUEUES;

		gm_write_u16(&gm, d.q[q].avail + 4 + 2u * 64, (uint16_t)(d.q[q].used_seen + n - 1)); /* used_event: when the last is done */
		never_now = i % 2;
		for (unsigned j = 0; j < n; j++)
			submit(q, j, i % 5 == 4 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 8 * j, SLOT_BYTES);
		for (int t = 0; t < LIMIT_MS && d.irqs == before; t++)
			usleep(1000);
		lost += d.irqs == before || !completes(n);
	}
	never_now = false;
	ok(!lost, "an interrupt comes after the completion that the driver waits for");
}

static void *reset_now(void *arg)
{
	vdrv_wr(arg, VIRTIO_MMIO_STATUS, 0);
	return NULL;
}

static void test_reset(void)
{
	pthread_t t;
	uint16_t idx = 1;
	uint64_t used;

	start(0);
	used = d.q[0].used;
	gate(true);
	for (unsigned i = 0; i < SLOTS / 2; i++)
		submit(0, i, VIRTIO_BLK_T_OUT, 8 * i, SLOT_BYTES);
	if (!gate_has(1) || pthread_create(&t, NULL, reset_now, &d))
		abort();
	for (int i = 0; i < LIMIT_MS; i++) {
		bool waits;

		pthread_mutex_lock(&b->v.lock);
		waits = b->held && b->n_out == 1;
		pthread_mutex_unlock(&b->v.lock);
		if (waits)
			break;
		usleep(1000);
	}
	pthread_mutex_lock(&b->v.lock);
	ok(b->n_out == 1 && !b->ready, "a reset drops what nobody has begun, and waits for the rest");
	pthread_mutex_unlock(&b->v.lock);
	gate(false);
	pthread_join(t, NULL);
	ok(gate_has(0) && passed == 1 && gm.iov_live == 0, "then nothing has guest memory any more");
	ok(gm_load_acquire_u16(&gm, used + 2, &idx) == 0 && idx == 0 && status_of(0) == 0xee, "and nothing was answered");
}

static void test_hold(void)
{
	uint64_t kicks;

	start(VDEV_F(VIRTIO_BLK_F_MQ));
	gate(true);
	submit(0, 0, VIRTIO_BLK_T_OUT, 0, SLOT_BYTES);
	ok(gate_has(1) && blk_hold(b, 20) == -ETIMEDOUT, "a request that does not end is not waited for");
	submit(1, 3, VIRTIO_BLK_T_IN, 0, 512);
	gate(false);
	ok(completes(1) && status_of(3) == 0xee, "nor is another taken");
	blk_release(b);
	ok(completes(1) && blk_hold(b, LIMIT_MS) == 0, "released and held again");
	kicks = vdev_stats_get(d.v).kicks;
	submit(3, 1, VIRTIO_BLK_T_OUT, 8, SLOT_BYTES);
	submit(0, 2, VIRTIO_BLK_T_IN, 8, 512);
	for (int i = 0; i < LIMIT_MS && vdev_stats_get(d.v).kicks < kicks + 2; i++)
		usleep(1000);
	ok(out_now() == 0 && used_now() == 0, "what comes then stays in the rings");
	blk_release(b);
	ok(completes(2) && status_of(1) == 0, "and goes on by itself when it is released");
}

static _Atomic unsigned told;

static void on_trouble(void *arg)
{
	(void)arg;
	told++;
}

static void write_one(uint8_t want, const char *what)
{
	submit(0, 0, VIRTIO_BLK_T_OUT, 0, SLOT_BYTES);
	ok(completes(1) && status_of(0) == want, "%s", what);
}

static void test_trouble(void)
{
	start(0);
	blk_on_trouble(b, on_trouble, NULL);
	write_error = ENOSPC;
	write_one(VIRTIO_BLK_S_IOERR, "no space: an error for this request");
	write_one(VIRTIO_BLK_S_IOERR, "and the next");
	ok(blk_trouble(b) == ENOSPC && told == 1, "said once");
	submit(0, 1, VIRTIO_BLK_T_IN, 0, 512);
	ok(completes(1) && status_of(1) == 0 && blk_trouble(b) == ENOSPC, "reads go on, and end no trouble");
	write_error = EDQUOT;
	write_one(VIRTIO_BLK_S_IOERR, "a quota");
	ok(blk_trouble(b) == EDQUOT && told == 1, "is the same trouble");
	write_error = 0;
	write_one(0, "with room again writes go on, without a reset");
	ok(blk_trouble(b) == EDQUOT && told == 1 && !vdrv_broken(&d), "one of them may be luck");
	pthread_mutex_lock(&b->v.lock);
	b->trouble_ms -= BLK_CALM_MS;
	pthread_mutex_unlock(&b->v.lock);
	write_one(0, "after a while without error");
	ok(blk_trouble(b) == 0 && told == 2, "the trouble is over, said once");
	blk_on_trouble(b, NULL, NULL);
}

/* Each slot has its place on the disk, written and read again with the round's own byte, through changing queues. */
static void test_many(void)
{
	enum { ROUNDS = 300 };
	uint8_t want[SLOT_BYTES], have[SLOT_BYTES];
	unsigned wrong = 0, lost = 0;

	start(VDEV_F(VIRTIO_BLK_F_MQ));
	for (unsigned round = 0; round < ROUNDS && !lost; round++) {
		bool reads = round % 2;

		never_now = round % 4 == 3;
		for (unsigned i = 0; i < SLOTS; i++) {
			memset(want, (int)(round / 2 + i), sizeof(want));
			if (reads)
				gm_zero(&gm, slot_gpa(i) + 0x1000, SLOT_BYTES);
			else
				gm_write(&gm, slot_gpa(i) + 0x1000, want, SLOT_BYTES);
			submit((round + i) % QUEUES, i, reads ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 8 * i, SLOT_BYTES);
		}
		lost += !completes(SLOTS);
		for (unsigned i = 0; i < SLOTS; i++) {
			memset(want, (int)(round / 2 + i), sizeof(want));
			gm_read(&gm, slot_gpa(i) + 0x1000, have, SLOT_BYTES);
			wrong += status_of(i) != 0 || memcmp(want, have, SLOT_BYTES) != 0;
		}
	}
	never_now = false;
	ok(!lost && !wrong, "%u rounds of %u requests: %u lost, %u wrong", ROUNDS, SLOTS, lost, wrong);
	ok(out_now() == 0 && !b->writing && gm.iov_live == 0, "nothing is left");
}

int main(void)
{
	if (gm_init(&gm, 1 << 20, NULL))
		return 1;
	set_up();
	test_queues();
	test_beside();
	test_interrupts();
	test_reset();
	test_hold();
	test_trouble();
	test_many();
	tear_down();
	gm_done(&gm);
	return tap_done();
}
