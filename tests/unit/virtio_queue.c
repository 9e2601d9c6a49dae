/* vmm/virtio/queue: every way a ring can lie, then what a good one does. */
#include "tests/unit/gmdrv.h"
#include "tests/unit/tap.h"
#include "vmm/virtio/queue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DESC 0x1000u
#define AVAIL 0x2000u
#define USED 0x3000u
#define DATA 0x10000u
#define TABLE 0x8000u

static struct gm gm;
static struct vq q;
static struct vq_chain c;

static void desc_at(uint64_t table, unsigned i, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc d = { gpa, len, flags, next };

	gm_write(&gm, table + 16u * i, &d, sizeof(d));
}

static void desc(unsigned i, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	desc_at(DESC, i, gpa, len, flags, next);
}

static void fresh(uint16_t size)
{
	gm_zero(&gm, 0, 1 << 20);
	vq_reset(&q);
	q.size = size;
	q.desc_gpa = DESC;
	q.avail_gpa = AVAIL;
	q.used_gpa = USED;
	q.indirect = true;
	vq_start(&q);
}

static void avail(uint16_t idx, uint16_t head)
{
	gm_write_u16(&gm, AVAIL + 4 + 2u * ((idx - 1u) & (q.size - 1u)), head);
	gm_write_u16(&gm, AVAIL + 2, idx);
}

/* One chain from descriptor 0; what pop says. */
static int pop0(void)
{
	avail(1, 0);
	return vq_pop(&q, &c);
}

static void test_start(void)
{
	struct {
		uint16_t size;
		uint64_t desc, avail, used;
		int want;
		const char *what;
	} t[] = {
		{ 0, DESC, AVAIL, USED, -EINVAL, "size 0" },
		{ 3, DESC, AVAIL, USED, -EINVAL, "size 3" },
		{ 512, DESC, AVAIL, USED, -EINVAL, "size 512" },
		{ 8, DESC + 8, AVAIL, USED, -EINVAL, "crooked descriptors" },
		{ 8, DESC, AVAIL + 1, USED, -EINVAL, "crooked avail" },
		{ 8, DESC, AVAIL, USED + 2, -EINVAL, "crooked used" },
		{ 8, 1 << 20, AVAIL, USED, -EFAULT, "descriptors outside" },
		{ 8, (1 << 20) - 112, AVAIL, USED, -EFAULT, "descriptors over the end" },
		{ 8, DESC, UINT64_MAX - 1, USED, -EFAULT, "avail that wraps" },
		{ 8, DESC, (1 << 20) - 20, USED, -EFAULT, "avail without its event" },
		{ 8, DESC, AVAIL, (1 << 20) - 68, -EFAULT, "used without its event" },
		{ 256, DESC, AVAIL, USED, 0, "a good one" },
	};

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		vq_reset(&q);
		q.size = t[i].size;
		q.desc_gpa = t[i].desc;
		q.avail_gpa = t[i].avail;
		q.used_gpa = t[i].used;
		ok(vq_start(&q) == t[i].want && q.ready == !t[i].want, "start: %s", t[i].what);
	}
}

static void test_refusals(void)
{
	fresh(4);
	gm_write_u16(&gm, AVAIL + 2, 5);
	ok(vq_pop(&q, &c) == -EPROTO && q.broken, "more available than the ring holds");
	ok(vq_pop(&q, &c) == 0 && vq_push(&q, 0, 0) == -EPROTO && !vq_wants_irq(&q) && !vq_kicks_on(&q), "a broken queue does nothing");

	fresh(4);
	avail(1, 4);
	ok(vq_pop(&q, &c) == -EPROTO, "a head outside the ring");

	fresh(4);
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 9);
	ok(pop0() == -EPROTO, "a next outside the ring");

	fresh(4);
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 1);
	desc(1, DATA, 16, VRING_DESC_F_NEXT, 0);
	ok(pop0() == -EPROTO, "a loop");

	fresh(4);
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 0);
	ok(pop0() == -EPROTO, "a loop of one");

	fresh(4);
	desc(0, DATA, 0, 0, 0);
	ok(pop0() == -EPROTO, "an empty buffer");

	fresh(4);
	desc(0, DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	desc(1, DATA, 16, 0, 0);
	ok(pop0() == -EPROTO, "readable after writable");

	fresh(4);
	desc(0, 1 << 20, 16, 0, 0);
	ok(pop0() == -EFAULT, "a buffer outside memory");

	fresh(4);
	desc(0, UINT64_MAX - 4, 16, 0, 0);
	ok(pop0() == -EFAULT, "a buffer that wraps");

	fresh(4);
	desc(0, DATA, 0xffffffff, 0, 0);
	ok(pop0() == -EPROTO, "a buffer of 4 GiB");
}

static void test_indirect_refusals(void)
{
	fresh(4);
	q.indirect = false;
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	ok(pop0() == -EPROTO, "indirect that was not agreed on");

	fresh(4);
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	ok(pop0() == -EPROTO, "indirect with next");

	fresh(4);
	desc(0, TABLE, 24, VRING_DESC_F_INDIRECT, 0);
	ok(pop0() == -EPROTO, "a table of one and a half");

	fresh(4);
	desc(0, TABLE, 0, VRING_DESC_F_INDIRECT, 0);
	ok(pop0() == -EPROTO, "an empty table");

	fresh(4);
	desc(0, TABLE, 16 * 5, VRING_DESC_F_INDIRECT, 0);
	ok(pop0() == -EPROTO, "a table larger than the queue");

	fresh(4);
	desc(0, (1 << 20) - 16, 32, VRING_DESC_F_INDIRECT, 0);
	ok(pop0() == -EFAULT, "a table over the end of memory");

	fresh(4);
	desc(0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	desc_at(TABLE, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	ok(pop0() == -EPROTO, "a table in a table");

	fresh(4);
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 1);
	desc(1, TABLE, 16 * 4, VRING_DESC_F_INDIRECT, 0);
	for (uint16_t i = 0; i < 4; i++)
		desc_at(TABLE, i, DATA, 16, VRING_DESC_F_NEXT, (uint16_t)((i + 1) % 4));
	ok(pop0() == -EPROTO, "a table behind a buffer, together longer than the queue");

	fresh(4);
	desc(0, DATA, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	desc(1, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	desc_at(TABLE, 0, DATA, 16, 0, 0);
	ok(pop0() == -EPROTO, "a table that reads behind a buffer that is written");

	fresh(4);
	desc(0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	desc_at(TABLE, 0, DATA, 16, VRING_DESC_F_NEXT, 2);
	ok(pop0() == -EPROTO, "a next outside the table");

	fresh(4);
	desc(0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	desc_at(TABLE, 0, DATA, 16, VRING_DESC_F_NEXT, 1);
	desc_at(TABLE, 1, DATA, 16, VRING_DESC_F_NEXT, 0);
	ok(pop0() == -EPROTO, "a loop in the table");
}

/* What a device MUST take, though few drivers do it (virtio 1.2 §2.7.5.3.2). */
static void test_indirect_odd(void)
{
	fresh(4);
	desc(0, TABLE, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	desc_at(TABLE, 0, DATA, 16, VRING_DESC_F_NEXT, 1);
	desc_at(TABLE, 1, DATA + 16, 8, VRING_DESC_F_WRITE, 0);
	ok(pop0() == 1 && c.segs == 2 && c.readable == 1 && c.write_bytes == 8, "the write flag of a table means nothing");

	fresh(4);
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 2);
	desc(2, DATA + 16, 4, VRING_DESC_F_NEXT, 1);
	desc(1, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	desc_at(TABLE, 0, DATA + 100, 5, VRING_DESC_F_NEXT, 1);
	desc_at(TABLE, 1, DATA + 200, 8, VRING_DESC_F_WRITE, 0);
	ok(pop0() == 1 && c.segs == 4 && c.readable == 3 && c.read_bytes == 25 && c.write_bytes == 8, "buffers, and a table behind them");
}

static void test_good(void)
{
	uint8_t in[64], out[64] = "0123456789abcdef0123456789ABCDEF";
	struct iovec iov[8];
	size_t bytes;

	fresh(4);
	ok(vq_pop(&q, &c) == 0, "nothing there");
	desc(0, TABLE, 64, VRING_DESC_F_INDIRECT, 0);
	desc_at(TABLE, 0, DATA, 10, VRING_DESC_F_NEXT, 1);
	desc_at(TABLE, 1, DATA + 100, 22, VRING_DESC_F_NEXT, 3);
	desc_at(TABLE, 3, DATA + 200, 5, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
	desc_at(TABLE, 2, DATA + 300, 7, VRING_DESC_F_WRITE, 0);
	gm_write(&gm, DATA, out, 10);
	gm_write(&gm, DATA + 100, out + 10, 22);
	ok(pop0() == 1 && c.segs == 4 && c.readable == 2 && c.read_bytes == 32 && c.write_bytes == 12, "a chain through a table");
	ok(vq_chain_read(&q, &c, 0, in, 64) == 32 && !memcmp(in, out, 32), "all of it read");
	ok(vq_chain_read(&q, &c, 8, in, 4) == 4 && !memcmp(in, out + 8, 4), "across a border");
	ok(vq_chain_read(&q, &c, 32, in, 4) == 0 && vq_chain_read(&q, &c, 4000000000u, in, 4) == 0, "past the end");
	ok(vq_chain_write(&q, &c, 3, "XYZW", 4) == 4 && vq_chain_write(&q, &c, 10, "abcdef", 6) == 2, "written across, and cut at the end");
	ok(gm_read(&gm, DATA + 203, in, 2) == 0 && !memcmp(in, "XY", 2) && gm_read(&gm, DATA + 300, in, 7) == 0 &&
	   !memcmp(in, "ZW\0\0\0ab", 7), "where it belongs");
	ok(vq_chain_iov(&q, &c, false, 5, 20, iov, 8, &bytes) == 2 && bytes == 20 && iov[0].iov_len == 5 && iov[1].iov_len == 15, "iovecs");
	gm_iov_put(&gm, 2);
	ok(vq_chain_iov(&q, &c, true, 0, 12, iov, 1, &bytes) == 1 && bytes == 5, "fewer iovecs than segments");
	gm_iov_put(&gm, 1);
	vq_unpop(&q, 1);
	ok(vq_pop(&q, &c) == 1 && vq_pop(&q, &c) == 0, "given back and taken again");
	ok(vq_push(&q, c.head, 12) == 0, "pushed");
	gm_read(&gm, USED, in, 12);
	ok(!memcmp(in, "\0\0\1\0\0\0\0\0\14\0\0\0", 12), "in the used ring");
	ok(vq_fill(&q, 0, 1, 1) == 0 && vq_fill(&q, 1, 2, 2) == 0 && vq_publish(&q, 2) == 0 && q.next_used == 3, "two at once");
	ok(gm.iov_live == 0, "no iovec left behind");
}

static void test_whole_ring(void)
{
	fresh(256);
	for (unsigned i = 0; i < 256; i++)
		desc(i, DATA + i, 1, i < 255 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	ok(pop0() == 1 && c.segs == 256 && c.read_bytes == 256, "the longest chain");
	fresh(4);
	q.next_avail = q.next_used = 0xfffe;
	gm_write_u16(&gm, AVAIL + 2, 0xfffe);
	desc(0, DATA, 1, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		gm_write_u16(&gm, AVAIL + 4 + 2 * i, 0);
	gm_write_u16(&gm, AVAIL + 2, 2);
	ok(vq_avail(&q) == 4, "four across the wrap");
	for (unsigned i = 0; i < 4; i++)
		ok(vq_pop(&q, &c) == 1 && vq_push(&q, 0, 0) == 0, "wrap %u", i);
	ok(vq_pop(&q, &c) == 0 && q.next_used == 2, "indices wrapped");
}

static void test_events(void)
{
	uint16_t v = 0;

	fresh(4);
	desc(0, DATA, 1, 0, 0);
	ok(vq_wants_irq(&q), "interrupts by default");
	gm_write_u16(&gm, AVAIL, VRING_AVAIL_F_NO_INTERRUPT);
	ok(!vq_wants_irq(&q), "the driver wants none");
	gm_write_u16(&gm, USED, VRING_USED_F_NO_NOTIFY);
	ok(!vq_kicks_on(&q) && gm_read_u16(&gm, USED, &v) == 0 && v == 0, "kicks");
	avail(1, 0);
	ok(vq_kicks_on(&q), "one came in meanwhile");

	fresh(4);
	q.event_idx = true;
	desc(0, DATA, 1, 0, 0);
	gm_write_u16(&gm, AVAIL + 4 + 8, 1); /* used_event: after the second */
	avail(1, 0);
	ok(vq_pop(&q, &c) == 1 && vq_push(&q, 0, 0) == 0 && vq_wants_irq(&q), "the first look always interrupts");
	avail(2, 0);
	ok(vq_pop(&q, &c) == 1 && vq_push(&q, 0, 0) == 0 && vq_wants_irq(&q), "crossing used_event");
	avail(3, 0);
	ok(vq_pop(&q, &c) == 1 && vq_push(&q, 0, 0) == 0 && !vq_wants_irq(&q), "not crossing it");
	ok(!vq_kicks_on(&q) && gm_read_u16(&gm, USED + 4 + 32, &v) == 0 && v == 3, "avail_event");
	q.kick_ahead = 5;
	ok(!vq_kicks_on(&q) && gm_read_u16(&gm, USED + 4 + 32, &v) == 0 && v == 8, "a kick for the sixth from here");
}

/* Nothing is made ready, so nothing is touched. */
static void test_not_ready(void)
{
	vq_reset(&q);
	ok(vq_avail(&q) == 0 && vq_pop(&q, &c) == 0 && vq_fill(&q, 0, 0, 0) == -EPROTO && vq_publish(&q, 1) == -EPROTO, "no ring: no chain goes in or out");
	ok(!vq_wants_irq(&q) && !vq_kicks_on(&q) && !q.broken, "no interrupt, no kick");
	fresh(4);
	q.broken = true;
	gm_write_u16(&gm, USED, 7);
	ok(vq_publish(&q, 1) == -EPROTO && gm_load_acquire_u16(&gm, USED, &(uint16_t){ 0 }) == 0 && q.next_used == 0, "a broken one shows nothing");
}

/* The rings are checked when a queue starts and memory never shrinks; should that promise ever break, each access still says so. */
static void test_memory_goes(void)
{
	static uint8_t bytes[64];
	uint64_t all = gm.region[0].len_bytes;
	struct iovec iov[4];
	size_t n;

	fresh(4);
	desc(0, DATA, 16, VRING_DESC_F_NEXT, 1);
	desc(1, DATA + 16, 16, VRING_DESC_F_WRITE, 0);
	ok(pop0() == 1, "a chain is taken");
	gm.region[0].len_bytes = DATA;
	ok(vq_chain_read(&q, &c, 0, bytes, 16) == -EFAULT && vq_chain_write(&q, &c, 0, bytes, 16) == -EFAULT &&
	   vq_chain_iov(&q, &c, false, 0, 16, iov, 4, &n) == -EFAULT, "its buffers go");
	gm.region[0].len_bytes = DATA + 16;
	ok(vq_chain_iov(&q, &c, false, 0, 16, iov, 4, &n) == 1 && gm.iov_live == 1, "one is there");
	gm_iov_put(&gm, 1);

	gm.region[0].len_bytes = USED;
	q.broken = false;
	ok(vq_fill(&q, 0, 0, 0) == -EFAULT && q.broken, "used elements");
	q.broken = false;
	ok(vq_publish(&q, 1) == -EFAULT && q.broken, "the used index");
	q.broken = false;
	ok(!vq_kicks_on(&q) && q.broken, "the flags that ask for kicks");
	q.broken = false;
	gm.region[0].len_bytes = AVAIL;
	ok(vq_avail(&q) == -EFAULT && q.broken, "the available index");
	q.broken = false;
	ok(!vq_wants_irq(&q) && (q.event_idx = true) && !vq_wants_irq(&q), "the driver's wish for interrupts");
	gm.region[0].len_bytes = all;
	fresh(4);
	avail(1, 0);
	gm.region[0].len_bytes = AVAIL + 4;
	ok(vq_pop(&q, &c) == -EFAULT && q.broken, "the available ring");
	gm.region[0].len_bytes = all;
}

static void test_too_many_bytes(void)
{
	struct gm big;

	if (gm_init(&big, 64 << 20, NULL))
		return;
	fresh(8);
	for (uint16_t i = 0; i < 5; i++)
		desc(i, 0, 60 << 20, i < 4 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	gm_write(&big, DESC, gm_region(&gm, 0)->host + DESC, 4096);
	gm_write_u16(&big, AVAIL + 2, 1);
	q.gm = &big;
	ok(vq_pop(&q, &c) == -EPROTO && q.broken, "a chain of 300 MiB over the same memory");
	q.gm = &gm;
	gm_done(&big);
}

int main(void)
{
	if (gm_init(&gm, 1 << 20, NULL))
		return 1;
	q.gm = &gm;
	test_start();
	test_refusals();
	test_indirect_refusals();
	test_indirect_odd();
	test_good();
	test_whole_ring();
	test_events();
	test_not_ready();
	test_memory_goes();
	test_too_many_bytes();
	gm_done(&gm);
	return tap_done();
}
