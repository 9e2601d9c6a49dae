/* What tests do with guest memory besides what a vmm does. */
#ifndef TESTS_UNIT_GMDRV_H
#define TESTS_UNIT_GMDRV_H

#include "vmm/mem/gm.h"

static inline int gm_read_u32(const struct gm *gm, uint64_t gpa, uint32_t *out)
{
	return gm_read(gm, gpa, out, sizeof(*out));
}
static inline int gm_read_u64(const struct gm *gm, uint64_t gpa, uint64_t *out)
{
	return gm_read(gm, gpa, out, sizeof(*out));
}
static inline int gm_write_u32(struct gm *gm, uint64_t gpa, uint32_t v)
{
	return gm_write(gm, gpa, &v, sizeof(v));
}
static inline void gm_zero(struct gm *gm, uint64_t gpa, uint64_t len_bytes)
{
	static const uint8_t none[4096];

	for (uint64_t n; len_bytes; gpa += n, len_bytes -= n) {
		n = len_bytes < sizeof(none) ? len_bytes : sizeof(none);
		gm_write(gm, gpa, none, (size_t)n);
	}
}

#endif
