/*
 * vmm/bus: which device answers an address. Two tables of sorted ranges, ports and memory, filled
 * while the machine is built and never changed after; so any vCPU thread may look up without a lock.
 * A device sees offset and length with offset + length inside its range, always. What nobody
 * claims, and what crosses the end of a range, reads all ones and writes nowhere. Knows no KVM.
 */
#ifndef VMM_BUS_BUS_H
#define VMM_BUS_BUS_H

#include "lib/base/base.h"

#define BUS_RANGES_MAX 40u

struct bus_ops {
	const char *name;
	/* Any thread; the device takes its own lock. len is 1, 2, 4 or 8, no alignment promised. */
	void (*read)(void *dev, uint64_t off, void *dst, unsigned len);
	void (*write)(void *dev, uint64_t off, const void *src, unsigned len);
};

struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops; /* borrowed, const table */
	void *dev;                 /* borrowed */
};

struct bus {
	struct bus_range ranges[BUS_RANGES_MAX]; /* by base */
	unsigned n;
};

/* 0; -EINVAL empty or wrapping; -EEXIST overlaps; -ENOSPC. */
int bus_add(struct bus *b, uint64_t base, uint64_t len, const struct bus_ops *ops, void *dev, struct fault *f);
/* true when a device took it. A refused read fills dst with 0xff. len ≤ 8. */
bool bus_read(const struct bus *b, uint64_t addr, void *dst, unsigned len);
bool bus_write(const struct bus *b, uint64_t addr, const void *src, unsigned len);

#endif
