/*
 * vmm/machine/probe.h: what the KVM behind a descriptor can do, found by trying: a throw-away VM runs the instructions that every
 * stock kernel needs. Milliseconds. Nothing is kept.
 */
#ifndef VMM_MACHINE_PROBE_H
#define VMM_MACHINE_PROBE_H

#include "lib/base/base.h"

enum probe_route {
	PROBE_NONE,     /* no VM can be had: why says what is missing and how to mend it */
	PROBE_EMULATED, /* VMs run, but kernel code is emulated in software, and a stock kernel needs more than that emulator has */
	PROBE_HARDWARE, /* stock kernels boot */
};

struct probe {
	enum probe_route route;
	char why[512];
	bool vmx, svm;          /* what the processor says of itself */
	unsigned vcpus_max;     /* as KVM recommends */
	uint64_t create_us;     /* from nothing to a vCPU that can run */
	uint64_t run_us;        /* its first instructions, until their answer was here */
	char missing[128];      /* the instructions that failed, "" when none */
};

/* kvm_fd is borrowed. Cannot fail: what goes wrong is the answer. */
void probe_kvm(struct probe *p, int kvm_fd);
/* One line of JSON, without the newline; text is NUL-terminated. */
void probe_json(const struct probe *p, char *text, size_t cap);

#endif
