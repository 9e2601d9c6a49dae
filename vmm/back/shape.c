/* Cut, loss, delay and limits as arithmetic. See shape.h. */
#include "vmm/back/shape.h"

#include <errno.h>

#define BURST_NS 20000000ull /* a rate may be ahead by that much: timers tick in milliseconds */

static int rate_check(const struct shape_limit *l, struct fault *f)
{
	if (l->bytes_s && l->bytes_s < SHAPE_BYTES_S_MIN)
		return fault_set(f, -EINVAL, "a limit of %llu bytes a second is too slow to be one: at least %u, or cut", (unsigned long long)l->bytes_s,
				 SHAPE_BYTES_S_MIN);
	if (l->bytes_s > SHAPE_RATE_MAX || l->packets_s > SHAPE_RATE_MAX)
		return fault_set(f, -EINVAL, "a limit above %llu a second is none: leave it out", SHAPE_RATE_MAX);
	return 0;
}

int shape_check(const struct shape_policy *p, struct fault *f)
{
	int err = 0;

	if (p->loss_ppm > SHAPE_LOSS_ALL)
		return fault_set(f, -EINVAL, "a loss is 0 to 100 percent");
	if (p->delay_us > SHAPE_DELAY_MAX_US)
		return fault_set(f, -EINVAL, "a delay is at most %u s", SHAPE_DELAY_MAX_US / 1000000);
	if (p->jitter_us > p->delay_us)
		return fault_set(f, -EINVAL, "a jitter is at most as large as the delay");
	for (unsigned w = 0; w < SHAPE_WAYS && !err; w++)
		err = rate_check(&p->limit[w], f);
	return err;
}

void shape_init(struct shape *s, uint64_t seed)
{
	*s = (struct shape){ .random = seed ? seed : 1 };
}

static void rate_set(struct shape_rate *r, uint64_t a, uint64_t b)
{
	uint64_t per_s = !a || (b && b < a) ? b : a;

	if (per_s != r->per_s)
		*r = (struct shape_rate){ .per_s = per_s };
}

static void rates_set(struct shape *s)
{
	for (unsigned w = 0; w < SHAPE_WAYS; w++) {
		rate_set(&s->bytes[w], s->chaos.limit[w].bytes_s, s->base[w].bytes_s);
		rate_set(&s->packets[w], s->chaos.limit[w].packets_s, s->base[w].packets_s);
	}
}

void shape_set(struct shape *s, const struct shape_policy *p)
{
	s->chaos = *p;
	rates_set(s);
}

void shape_set_base(struct shape *s, const struct shape_limit base[SHAPE_WAYS])
{
	for (unsigned w = 0; w < SHAPE_WAYS; w++)
		s->base[w] = base[w];
	rates_set(s);
}

static uint64_t rate_wait_ns(const struct shape_rate *r, uint64_t now_ns)
{
	return r->per_s && r->clear_ns > now_ns + BURST_NS ? r->clear_ns - now_ns - BURST_NS : 0;
}

uint64_t shape_wait_ns(const struct shape *s, enum shape_way way, uint64_t now_ns)
{
	uint64_t a = rate_wait_ns(&s->bytes[way], now_ns), b = rate_wait_ns(&s->packets[way], now_ns);

	return a > b ? a : b;
}

/* n is one packet's: at most 64 KiB, so n times a second in ns cannot wrap. */
static void rate_charge(struct shape_rate *r, uint64_t n, uint64_t now_ns)
{
	if (!r->per_s)
		return;
	r->clear_ns = (r->clear_ns > now_ns ? r->clear_ns : now_ns) + n * 1000000000u / r->per_s;
}

void shape_charge(struct shape *s, enum shape_way way, uint64_t bytes, uint64_t packets, uint64_t now_ns)
{
	rate_charge(&s->bytes[way], bytes, now_ns);
	rate_charge(&s->packets[way], packets, now_ns);
}

/* xorshift64*: dice, not secrets. */
static uint64_t roll(struct shape *s, uint64_t sides)
{
	s->random ^= s->random >> 12;
	s->random ^= s->random << 25;
	s->random ^= s->random >> 27;
	return (s->random * 0x2545f4914f6cdd1dull >> 32) % sides;
}

bool shape_loses(struct shape *s)
{
	return s->chaos.loss_ppm && roll(s, SHAPE_LOSS_ALL) < s->chaos.loss_ppm;
}

uint64_t shape_delay_ns(struct shape *s)
{
	uint64_t us = s->chaos.delay_us;

	if (s->chaos.jitter_us)
		us += roll(s, 2ull * s->chaos.jitter_us + 1) - s->chaos.jitter_us;
	return us * 1000;
}
