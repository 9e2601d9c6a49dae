/*
 * The rate limiter: with any policy that shape_check accepts, at any time of a clock that starts at boot, nothing wraps, a packet that may pass keeps the
 * debt bounded, and who waits as long as it was told may pass then.
 * cbmc: --unwind 3 --unsigned-overflow-check
 *
 * Mutations it was seen to catch: rate_wait_ns that compares without the burst; rate_charge that starts from the old moment alone; rate_set as `b < a ? b : a`.
 */
#include "tests/proof/proof.h"

#include "vmm/back/shape.c"

#define CLOCK_MAX_NS (1ull << 62) /* 146 years */
#define CHARGE_MAX (1u << 17)     /* bytes of the largest packet, or packets of it: below */
#define DEBT_MAX_NS (BURST_NS + (uint64_t)CHARGE_MAX * 1000000000u)

int fault_set(struct fault *f, int err, const char *fmt, ...)
{
	return err;
}

static void any_rate(struct shape_rate *r, uint64_t now_ns)
{
	r->per_s = nondet_u64();
	r->clear_ns = nondet_u64();
	ASSUME(r->per_s <= SHAPE_RATE_MAX);
	ASSUME(r->clear_ns <= now_ns + DEBT_MAX_NS);
}

/* Waiting: told only when in debt beyond the burst, and then exactly as long as that lasts. */
void proof_wait(void)
{
	struct shape_rate r;
	uint64_t now = nondet_u64(), wait;

	ASSUME(now <= CLOCK_MAX_NS);
	any_rate(&r, now);
	wait = rate_wait_ns(&r, now);
	PROVE(wait <= DEBT_MAX_NS, "a wait is bounded");
	PROVE(rate_wait_ns(&r, now + wait) == 0, "and enough");
	PROVE(wait == 0 || rate_wait_ns(&r, now + wait - 1) == 1, "and no longer than needed");
}

/* Charging one that may pass: the debt stays below its bound, whatever the rate; for time that goes on it only shrinks. */
void proof_charge(void)
{
	struct shape_rate r;
	uint64_t now = nondet_u64(), n = nondet_u64(), was;

	ASSUME(now <= CLOCK_MAX_NS && n <= CHARGE_MAX);
	any_rate(&r, now);
	ASSUME(rate_wait_ns(&r, now) == 0);
	was = r.clear_ns;
	rate_charge(&r, n, now);
	PROVE(r.per_s == 0 ? r.clear_ns == was : r.clear_ns <= now + DEBT_MAX_NS, "the debt is bounded");
	PROVE(r.per_s == 0 || r.clear_ns >= now, "and none is forgiven");
}

/* What is set is what is asked: the stricter of both limits, and none where none is. */
void proof_set(void)
{
	struct shape_rate r = { nondet_u64(), nondet_u64() };
	uint64_t a = nondet_u64(), b = nondet_u64();

	rate_set(&r, a, b);
	PROVE(a || b ? r.per_s && (!a || r.per_s <= a) && (!b || r.per_s <= b) && (r.per_s == a || r.per_s == b) : r.per_s == 0, "the stricter of both");
}
