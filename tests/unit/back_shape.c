/* vmm/back: limits, loss and delay as arithmetic, and the ring of packets that wait. The clock is the test's. */
#include "tests/unit/tap.h"
#include "vmm/back/delay.h"
#include "vmm/back/shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define S 1000000000ull

static struct shape s;

static void test_check(void)
{
	struct shape_policy p = { .loss_ppm = SHAPE_LOSS_ALL, .delay_us = SHAPE_DELAY_MAX_US, .jitter_us = SHAPE_DELAY_MAX_US };
	struct fault f = { "" };

	ok(shape_check(&p, &f) == 0, "the most there can be");
	p.loss_ppm++;
	ok(shape_check(&p, &f) == -EINVAL, "%s", f.text);
	p = (struct shape_policy){ .delay_us = SHAPE_DELAY_MAX_US + 1 };
	ok(shape_check(&p, &f) == -EINVAL, "%s", f.text);
	p = (struct shape_policy){ .delay_us = 5, .jitter_us = 6 };
	ok(shape_check(&p, &f) == -EINVAL, "%s", f.text);
	p = (struct shape_policy){ .limit = { [SHAPE_OUT] = { .bytes_s = SHAPE_BYTES_S_MIN - 1 } } };
	ok(shape_check(&p, &f) == -EINVAL, "%s", f.text);
	p = (struct shape_policy){ .limit = { [SHAPE_IN] = { .packets_s = UINT64_MAX } } };
	ok(shape_check(&p, &f) == -EINVAL, "%s", f.text);
}

/* Packets of that size that pass in so many seconds, asked for again whenever the limit says. */
static uint64_t passed(enum shape_way way, uint64_t bytes, uint64_t seconds, uint64_t *asked)
{
	uint64_t n = 0, now = 77 * S, end = now + seconds * S;

	for (*asked = 0; now < end; ++*asked) {
		uint64_t wait = shape_wait_ns(&s, way, now);

		if (wait) {
			now += wait;
			continue;
		}
		shape_charge(&s, way, bytes, 1, now);
		n++;
	}
	return n;
}

static bool near(uint64_t got, uint64_t want)
{
	return got >= want - want / 10 && got <= want + want / 10;
}

static void test_rates(void)
{
	struct shape_policy p = { .limit = { [SHAPE_OUT] = { .bytes_s = 1000000 } } };
	struct shape_limit base[SHAPE_WAYS] = { [SHAPE_OUT] = { .bytes_s = 500000 } };
	uint64_t asked;

	shape_init(&s, 1);
	ok(shape_wait_ns(&s, SHAPE_OUT, 5) == 0, "no limit, no wait");
	shape_set(&s, &p);
	ok(near(passed(SHAPE_OUT, 1000, 10, &asked), 10000), "1 MB/s in small packets");
	ok(asked < 25000, "and is asked no more often than that takes");
	ok(shape_wait_ns(&s, SHAPE_IN, 5) == 0, "one way only");
	shape_init(&s, 1);
	shape_set(&s, &p);
	ok(near(passed(SHAPE_OUT, 65000, 10, &asked), 153), "1 MB/s in large ones");
	shape_init(&s, 1);
	shape_set(&s, &p);
	shape_set_base(&s, base);
	ok(near(passed(SHAPE_OUT, 1000, 10, &asked), 5000), "the stricter of two limits holds");
	p.limit[SHAPE_OUT].bytes_s = 100000;
	shape_set(&s, &p);
	ok(near(passed(SHAPE_OUT, 1000, 10, &asked), 1000), "whichever that is");
	shape_set(&s, &(struct shape_policy){ .cut = false });
	ok(near(passed(SHAPE_OUT, 1000, 10, &asked), 5000), "to heal leaves the owner's");
	p = (struct shape_policy){ .limit = { [SHAPE_IN] = { .packets_s = 50 } } };
	shape_set(&s, &p);
	ok(near(passed(SHAPE_IN, 60000, 10, &asked), 500), "packets a second");
	shape_charge(&s, SHAPE_IN, 100, 500, 1000 * S);
	ok(shape_wait_ns(&s, SHAPE_IN, 1000 * S) > 9 * S, "a segmented packet counts as its segments");
	ok(shape_wait_ns(&s, SHAPE_IN, 2000 * S) == 0, "and an idle line forgets");
}

static void test_dice(void)
{
	struct shape_policy p = { .loss_ppm = 50000, .delay_us = 1000, .jitter_us = 300 };
	unsigned lost = 0;
	uint64_t least = UINT64_MAX, most = 0;

	shape_init(&s, 42);
	ok(!shape_loses(&s) && shape_delay_ns(&s) == 0, "nothing asked for, nothing done");
	shape_set(&s, &p);
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t d = shape_delay_ns(&s);

		lost += shape_loses(&s);
		least = d < least ? d : least;
		most = d > most ? d : most;
	}
	ok(lost > 4500 && lost < 5500, "5%% of 100000: %u", lost);
	ok(least >= 700000 && least < 720000 && most <= 1300000 && most > 1280000, "1 ms more or less 0.3 ms");
	p.loss_ppm = SHAPE_LOSS_ALL;
	shape_set(&s, &p);
	lost = 0;
	for (unsigned i = 0; i < 1000; i++)
		lost += shape_loses(&s);
	ok(lost == 1000, "all of them");
}

/* What goes in comes out, in order, whatever the sizes; refused only when it is full. */
static void test_ring(void)
{
	struct delay d = { .ring = NULL };
	uint32_t in = 0, out = 0, refused = 0;
	bool good = true, in_time = true;
	uint64_t due, last = 0;
	size_t bytes;
	unsigned way;

	ok(!delay_put(&d, 100, 0, 5) && !delay_first(&d, &bytes, &way, &due), "no ring, no packets");
	ok(delay_open(&d) == 0 && delay_open(&d) == 0, "a ring");
	srand(3);
	for (unsigned i = 0; i < 400000; i++) {
		size_t n = 16 + (size_t)rand() % (i & 4096 ? 65000 : 200);
		uint8_t *to = rand() % 5 < 3 ? delay_put(&d, n, in & 3, i) : NULL;
		const uint8_t *from = rand() % 5 < 2 ? delay_first(&d, &bytes, &way, &due) : NULL;

		if (to) {
			memcpy(to, &in, 4);
			to[n - 1] = (uint8_t)in;
			in++;
		} else {
			refused++;
		}
		if (from) {
			uint32_t number;

			memcpy(&number, from, 4);
			good = good && number == out && from[bytes - 1] == (uint8_t)out && way == (out & 3);
			in_time = in_time && due >= last;
			last = due;
			out++;
			delay_pop(&d);
		}
	}
	ok(good && in_time && out > 100000, "%u packets in order", out);
	ok(d.packets == in - out && refused, "none lost but those that were refused");
	delay_clear(&d);
	ok(!delay_first(&d, &bytes, &way, &due) && d.packets == 0, "cleared");
	for (in = 0; delay_put(&d, 65000, 0, 1000 - in); in++)
		;
	ok(in > 100 && in < DELAY_RING_BYTES / 65000 + 1, "%u long packets and no more", in);
	ok(delay_first(&d, &bytes, &way, &due) && due == 1000, "due when it said …");
	delay_pop(&d);
	ok(delay_first(&d, &bytes, &way, &due) && due == 1000, "… and never before its predecessor");
	ok(!delay_put(&d, DELAY_RING_BYTES, 0, 0), "one that cannot fit");
	delay_close(&d);
}

int main(void)
{
	test_check();
	test_rates();
	test_dice();
	test_ring();
	return tap_done();
}
