/*
 * vmm/machine/stats.h: what a vCPU counts. Written by its own thread, read by the control loop: each counter is exact, all of
 * them together are not one moment. Names as V_STATS sends them stand beside each.
 */
#ifndef VMM_MACHINE_STATS_H
#define VMM_MACHINE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

struct vcpu_stats {
	_Atomic uint64_t pio;        /* "exits.pio": port accesses that came to us */
	_Atomic uint64_t mmio;       /* "exits.mmio" */
	_Atomic uint64_t signals;    /* "exits.signal": KVM_RUN ended by a signal or immediate_exit */
	_Atomic uint64_t other;      /* "exits.other" */
	_Atomic uint64_t unclaimed;  /* "unclaimed": accesses that no device took */
};

static inline void stats_add(_Atomic uint64_t *c, uint64_t n)
{
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t stats_get(_Atomic uint64_t *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

#endif
