/*
 * vmm/mem: no address and no length lead outside a region, whatever the guest says.
 * cbmc: --unwind 5
 *
 * Mutations it was seen to catch: gm_at without `off <= r->len_bytes &&`; gm_at as `off + len <= r->len_bytes`; gm_at_u16 without its check for odd
 * addresses.
 */
#include "tests/proof/proof.h"

#include "vmm/mem/gm.c"

#define BYTES_MAX 24u /* of a region that has memory here; where only addresses are compared, they are of any size */

/* Two regions as gm_init leaves them, of any size and place, that do not touch. */
static void any_layout(struct gm *gm)
{
	gm->regions = nondet_bool() ? 1 : 2;
	for (unsigned i = 0; i < gm->regions; i++) {
		struct gm_region *r = &gm->region[i];

		r->gpa = nondet_u64();
		r->len_bytes = nondet_u64();
		ASSUME(r->gpa % GM_PAGE_BYTES == 0 && r->len_bytes <= GM_RAM_MAX_BYTES && r->gpa <= GM_HOLE_END_GPA + GM_RAM_MAX_BYTES);
	}
	if (gm->regions == 2)
		ASSUME(gm->region[0].gpa + gm->region[0].len_bytes < gm->region[1].gpa);
}

static bool truly_inside(const struct gm_region *r, uint64_t gpa, uint64_t len)
{
	unsigned __int128 first = gpa, end = first + len, low = r->gpa, high = low + r->len_bytes;

	return low <= first && end <= high;
}

/* For addresses and lengths of 64 bits: the check says what arithmetic without limits says. */
void proof_gm_has(void)
{
	struct gm gm = { 0 };
	uint64_t gpa = nondet_u64(), len = nondet_u64();
	bool inside;

	any_layout(&gm);
	for (unsigned i = 0; i < gm.regions; i++)
		gm.region[i].host = (uint8_t *)&gm; /* not NULL; nothing is read there */
	inside = truly_inside(&gm.region[0], gpa, len) || (gm.regions == 2 && truly_inside(&gm.region[1], gpa, len));
	PROVE(gm_has(&gm, gpa, len) == inside, "the comparison is exact");
}

/* Regions with memory behind them: no call touches a byte beyond it, and those that answer 0 have done their work. */
static void with_memory(struct gm *gm, uint8_t a[BYTES_MAX], uint8_t b[BYTES_MAX])
{
	any_layout(gm);
	ASSUME(gm->regions == 2 && gm->region[0].len_bytes <= BYTES_MAX && gm->region[1].len_bytes <= BYTES_MAX);
	/* the end of a region is the end of its memory */
	gm->region[0].host = a + (BYTES_MAX - gm->region[0].len_bytes);
	gm->region[1].host = b + (BYTES_MAX - gm->region[1].len_bytes);
}

void proof_gm_copies(void)
{
	static struct gm gm;
	static uint8_t a[BYTES_MAX], b[BYTES_MAX], mine[BYTES_MAX];
	uint64_t gpa = nondet_u64(), len = nondet_u64();
	bool inside;

	with_memory(&gm, a, b);
	inside = truly_inside(&gm.region[0], gpa, len) || truly_inside(&gm.region[1], gpa, len);
	if (nondet_bool())
		PROVE((gm_read(&gm, gpa, mine, len) == 0) == inside, "a read is done or refused");
	else
		PROVE((gm_write(&gm, gpa, mine, len) == 0) == inside, "a write is done or refused");
}

void proof_gm_words(void)
{
	static struct gm gm;
	static uint8_t a[BYTES_MAX], b[BYTES_MAX];
	uint64_t gpa = nondet_u64(), v = nondet_u64(), back64;
	uint16_t back16;

	with_memory(&gm, a, b);
	ASSUME(gm.region[0].len_bytes % 2 == 0 && gm.region[1].len_bytes % 2 == 0); /* whole pages in truth */
	if (gm_write_u64(&gm, gpa, v) == 0)
		PROVE(gm_read(&gm, gpa, &back64, sizeof(back64)) == 0 && back64 == v, "eight bytes come back");
	if (gm_store_release_u16(&gm, gpa, (uint16_t)v) == 0) {
		PROVE(gpa % 2 == 0, "indices are even");
		PROVE(gm_load_acquire_u16(&gm, gpa, &back16) == 0 && back16 == (uint16_t)v, "an index comes back");
	} else {
		PROVE(gm_load_acquire_u16(&gm, gpa, &back16) == -EFAULT, "both or none");
	}
}

void proof_gm_iov(void)
{
	static struct gm gm;
	static uint8_t a[BYTES_MAX], b[BYTES_MAX];
	uint64_t gpa = nondet_u64();
	size_t len = nondet_u64();
	struct iovec iov;

	with_memory(&gm, a, b);
	if (gm_iov(&gm, gpa, len, &iov) == 0) {
		PROVE(iov.iov_len == len && len > 0 && gm.iov_live == 1, "it is counted");
		PROVE(__CPROVER_w_ok(iov.iov_base, len), "all of it is memory");
		gm_iov_put(&gm, 1);
	}
	PROVE(gm.iov_live == 0, "and given back");
}
