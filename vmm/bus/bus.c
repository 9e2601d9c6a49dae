#include "vmm/bus/bus.h"

#include <errno.h>
#include <string.h>

/* Last range whose base is not above addr; -1 when there is none. */
static int bus_floor(const struct bus *b, uint64_t addr)
{
	int lo = 0, hi = (int)b->n - 1, at = -1;

	while (lo <= hi) {
		int mid = (lo + hi) / 2;

		if (b->ranges[mid].base <= addr) {
			at = mid;
			lo = mid + 1;
		} else {
			hi = mid - 1;
		}
	}
	return at;
}

int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops, void *dev, struct fault *f)
{
	uint64_t end;
	int at;

	if (!len || add_overflows_u64(base, len, &end))
		return fault_set(f, -EINVAL, "%s: no such range of addresses", ops->name);
	if (b->n == BUS_RANGES_MAX)
		return fault_set(f, -ENOSPC, "%s: more than %u devices on one bus", ops->name, BUS_RANGES_MAX);
	at = bus_floor(b, base);
	if ((at >= 0 && base - b->ranges[at].base < b->ranges[at].len) || (at + 1 < (int)b->n && b->ranges[at + 1].base < end))
		return fault_set(f, -EEXIST, "%s: addresses from 0x%llx are taken", ops->name, (unsigned long long)base);
	at++;
	memmove(&b->ranges[at + 1], &b->ranges[at], (b->n - (unsigned)at) * sizeof(b->ranges[0]));
	b->ranges[at] = (struct bus_range){ base, len, ops, dev };
	b->n++;
	return 0;
}

/* The range that holds all of [addr, +len), or NULL. */
static const struct bus_range *bus_find(const struct bus *b, uint64_t addr, unsigned len)
{
	int at = bus_floor(b, addr);
	const struct bus_range *r;

	if (at < 0)
		return NULL;
	r = &b->ranges[at];
	if (addr - r->base >= r->len || r->len - (addr - r->base) < len)
		return NULL;
	return r;
}

bool bus_read(const struct bus *b, uint64_t addr, void *dst, unsigned len)
{
	const struct bus_range *r = bus_find(b, addr, len);

	if (!r) {
		memset(dst, 0xff, len);
		return false;
	}
	r->ops->read(r->dev, addr - r->base, dst, len);
	return true;
}

bool bus_write(const struct bus *b, uint64_t addr, const void *src, unsigned len)
{
	const struct bus_range *r = bus_find(b, addr, len);

	if (!r)
		return false;
	r->ops->write(r->dev, addr - r->base, src, len);
	return true;
}
