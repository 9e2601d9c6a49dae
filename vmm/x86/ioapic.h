/*
 * vmm/x86/ioapic.h: the register file of the 82093AA IO-APIC (its datasheet), edge only. It turns redirection entries into
 * MSI routes, which KVM's irqfds use; so an interrupt itself never comes through here.
 *
 * Masking is lazy: a pin keeps its last unmasked route until another unmasked one is written. Linux masks a pin only for the moment
 * in which it moves it, and an edge that falls into that moment must not be lost; a guest that masks a pin for good has
 * also told the device to be quiet. Level-triggered entries are delivered as edges: no device here needs an EOI.
 * Any vCPU thread: own lock, held while the routes are set.
 */
#ifndef VMM_X86_IOAPIC_H
#define VMM_X86_IOAPIC_H

#include <pthread.h>
#include "vmm/bus/bus.h"
#include "vmm/kvm/kvm.h"
#include "vmm/x86/layout.h"

#define IOAPIC_BYTES 0x1000u

struct ioapic {
	pthread_mutex_t lock;
	unsigned pins;
	uint8_t select;
	uint32_t id;
	uint64_t entry[X86_PINS_MAX];
	struct kvm_route route[X86_PINS_MAX]; /* what is in force */
	uint64_t route_changes;
	/* Puts route[0..pins) into force; called with the lock held. */
	void (*set_routes)(void *arg, const struct kvm_route *route, unsigned pins);
	void *arg; /* borrowed */
};

extern const struct bus_ops ioapic_bus_ops;

void ioapic_init(struct ioapic *io, unsigned pins, void (*set_routes)(void *arg, const struct kvm_route *route, unsigned pins), void *arg);
/* How often the guest has changed a route. Any thread. */
uint64_t ioapic_route_changes(struct ioapic *io);

#endif
