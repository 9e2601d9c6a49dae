#include "vmm/bus/bus.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/tap.h"

struct log {
	uint64_t off;
	unsigned len, reads, writes;
};

static void log_read(void *dev, uint64_t off, void *dst, unsigned len)
{
	struct log *l = dev;

	l->off = off;
	l->len = len;
	l->reads++;
	memset(dst, 0x5a, len);
}

static void log_write(void *dev, uint64_t off, const void *src, unsigned len)
{
	struct log *l = dev;

	(void)src;
	l->off = off;
	l->len = len;
	l->writes++;
}

static const struct bus_ops ops = { .name = "log", .read = log_read, .write = log_write };

static void test_ranges(void)
{
	struct bus b = { .n = 0 };
	struct log l[3] = { { 0 } };
	uint8_t buf[8];

	ok(!bus_add(&b, 0x100, 0x10, &ops, &l[1], NULL), "a range");
	ok(!bus_add(&b, 0xf0, 0x10, &ops, &l[0], NULL) && !bus_add(&b, 0x110, 1, &ops, &l[2], NULL), "its neighbours, out of order");
	ok(bus_add(&b, 0x10f, 1, &ops, &l[0], NULL) == -EEXIST && bus_add(&b, 0, 0x1000, &ops, &l[0], NULL) == -EEXIST &&
	   bus_add(&b, 0x100, 1, &ops, &l[0], NULL) == -EEXIST && bus_add(&b, 0xe0, 0x11, &ops, &l[0], NULL) == -EEXIST, "overlaps are refused");
	ok(bus_add(&b, 5, 0, &ops, &l[0], NULL) == -EINVAL && bus_add(&b, UINT64_MAX, 2, &ops, &l[0], NULL) == -EINVAL, "empty and wrapping ones, too");
	ok(bus_read(&b, 0x104, buf, 4) && l[1].off == 4 && l[1].len == 4 && buf[3] == 0x5a, "the device sees its own offset");
	ok(bus_write(&b, 0x110, buf, 1) && l[2].writes == 1 && l[2].off == 0, "a range of one byte");
	memset(buf, 0, sizeof(buf));
	ok(!bus_read(&b, 0x10e, buf, 4) && buf[0] == 0xff && buf[3] == 0xff && buf[4] == 0, "across an end: all ones");
	ok(!bus_write(&b, 0x10f, buf, 2) && !bus_write(&b, 0, buf, 8) && !bus_read(&b, UINT64_MAX, buf, 8), "nobody's addresses");
	ok(l[0].reads + l[0].writes == 0 && l[1].writes == 0, "and nobody was asked");
}

static void test_full(void)
{
	struct bus b = { .n = 0 };
	struct log l = { 0 };
	int err = 0;

	for (unsigned i = 0; i < BUS_RANGES_MAX; i++)
		err |= bus_add(&b, i * 2, 1, &ops, &l, NULL);
	ok(!err && bus_add(&b, 0x1000, 1, &ops, &l, NULL) == -ENOSPC, "a full bus refuses");
}

int main(void)
{
	test_ranges();
	test_full();
	return tap_done();
}
