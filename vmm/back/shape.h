/*
 * vmm/back/shape.h: what a network card does to packets on purpose: a cut, loss, delay, limits in bytes and packets a second. Arithmetic on
 * times that the caller gives; no clock, no descriptor, no packet is kept here (that is delay.h). Under the lock of the device.
 */
#ifndef VMM_BACK_SHAPE_H
#define VMM_BACK_SHAPE_H

#include "lib/base/base.h"

#define SHAPE_LOSS_ALL 1000000u       /* loss in parts per million */
#define SHAPE_DELAY_MAX_US 60000000u  /* a minute */
#define SHAPE_BYTES_S_MIN 1000u       /* slower is a cut */
#define SHAPE_RATE_MAX 1000000000000ull

enum shape_way { SHAPE_IN, SHAPE_OUT, SHAPE_WAYS }; /* into the guest, out of it */

struct shape_limit { /* 0: none */
	uint64_t bytes_s, packets_s;
};
struct shape_policy {
	bool cut;
	uint32_t delay_us;  /* of packets out of the guest: what a round trip takes longer … */
	uint32_t jitter_us; /* … by that much more or less, evenly; ≤ delay_us */
	uint32_t loss_ppm;  /* each way */
	struct shape_limit limit[SHAPE_WAYS];
};

struct shape_rate { /* GCRA: a rate is kept as the moment from which it owes nothing */
	uint64_t per_s;    /* 0: no limit */
	uint64_t clear_ns;
};
struct shape {
	struct shape_policy chaos;           /* what was asked for while it runs */
	struct shape_limit base[SHAPE_WAYS]; /* what its owner set for good: heal leaves it */
	struct shape_rate bytes[SHAPE_WAYS], packets[SHAPE_WAYS]; /* the stricter of both */
	uint64_t random;
};

/* 0, or -EINVAL with a sentence: a rate too slow or large, more than all lost, jitter above delay. */
int shape_check(const struct shape_policy *p, struct fault *f);
void shape_init(struct shape *s, uint64_t seed);
/* Takes effect with the next packet. */
void shape_set(struct shape *s, const struct shape_policy *p);
void shape_set_base(struct shape *s, const struct shape_limit base[SHAPE_WAYS]);
/* 0: a packet may pass now; else after how many ns to ask again. */
uint64_t shape_wait_ns(const struct shape *s, enum shape_way way, uint64_t now_ns);
/* One that passes: bytes on the wire, and as how many packets (a segmented one is several). */
void shape_charge(struct shape *s, enum shape_way way, uint64_t bytes, uint64_t packets, uint64_t now_ns);
bool shape_loses(struct shape *s);
uint64_t shape_delay_ns(struct shape *s); /* of this packet */

#endif
