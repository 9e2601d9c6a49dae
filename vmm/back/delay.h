/*
 * vmm/back/delay.h: packets that wait for their time, in order, in a ring of fixed size: a packet for which there is no room is the caller's
 * loss. Memory is taken once (mmap) and touched only as far as packets came. Under the lock of the device.
 */
#ifndef VMM_BACK_DELAY_H
#define VMM_BACK_DELAY_H

#include "lib/base/base.h"

#define DELAY_RING_BYTES (8u << 20) /* 0.6 s at 100 Mbit/s */

struct delay {
	uint8_t *ring;       /* owned; NULL: never used */
	size_t head, tail;   /* of the next record out, of the next in; equal: empty */
	unsigned packets;
	uint64_t last_due_ns;
};

/* mmap. 0 (also when there is one already) or -errno. */
int delay_open(struct delay *d);
void delay_close(struct delay *d);
void delay_clear(struct delay *d); /* forgets all packets */
/* Room for one packet that is due then (never before its predecessors), to be filled at once; NULL: full. way: the caller's word, given back. */
uint8_t *delay_put(struct delay *d, size_t bytes, unsigned way, uint64_t due_ns);
/* The oldest packet, NULL when there is none; and done with it. */
const uint8_t *delay_first(const struct delay *d, size_t *bytes, unsigned *way, uint64_t *due_ns);
void delay_pop(struct delay *d);

#endif
