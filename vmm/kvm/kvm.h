/*
 * vmm/kvm: the ioctls of /dev/kvm as functions with sentences. Nothing here knows a device, a
 * register's meaning or an address map. vmm/x86 and vmm/machine call it; vmm/dev never does.
 * kvm_vm_*: the thread that builds the machine (irq routes: any thread, under the caller's lock).
 * kvm_vcpu_*: the vCPU's own thread once it runs. Memory slots come before the irqchip (8 ms against 0.5).
 * Protocol: Linux Documentation/virt/kvm/api.rst. Teardown is the end of the process.
 */
#ifndef VMM_KVM_KVM_H
#define VMM_KVM_KVM_H

#include <linux/kvm.h>
#include "lib/base/base.h"

#define KVM_CPUID_MAX 128u
#define KVM_PINS_MAX 24u

struct kvm_vm {
	int kvm_fd;               /* borrowed: /dev/kvm */
	int fd;                   /* owned; -1 when not made */
	uint32_t run_bytes;       /* size of a vCPU's shared page(s) */
	uint32_t slots;           /* memory slots in use */
	uint32_t coalesced_off;   /* where the queue of coalesced writes is in a vCPU's shared pages; 0: there is none */
};

struct kvm_cpuid_table { /* laid out as struct kvm_cpuid2, whose array has no size */
	uint32_t nent, padding;
	struct kvm_cpuid_entry2 entries[KVM_CPUID_MAX];
};

struct kvm_vcpu {
	int fd;                   /* owned; -1 when not made */
	uint32_t id;              /* = APIC id */
	struct kvm_run *run;      /* owned mapping of run_bytes */
};

/* Message-signalled routes of the interrupt pins; a pin with data 0 has none. */
struct kvm_route {
	uint32_t address_lo, address_hi, data;
};

/* Opens a VM on kvm_fd; refuses an API other than 12 and a KVM that lacks what we build on. */
int kvm_vm_init(struct kvm_vm *vm, int kvm_fd, struct fault *f);
void kvm_vm_done(struct kvm_vm *vm);
/* Guest-physical [gpa, +bytes) = process memory at host (page aligned, all three). */
int kvm_vm_memory(struct kvm_vm *vm, uint64_t gpa, uint64_t bytes, void *host, bool readonly, struct fault *f);
/* Local APICs in the kernel, the IO-APIC ours, pins of it. After every memory slot. */
int kvm_vm_split_irqchip(struct kvm_vm *vm, unsigned pins, struct fault *f);
/* What old Intel processors need to run real mode: three pages at tss_gpa, one at map_gpa, both unused otherwise. */
int kvm_vm_real_mode_pages(struct kvm_vm *vm, uint64_t tss_gpa, uint64_t map_gpa, struct fault *f);
/* Replaces all routes: pins[0..n). */
int kvm_vm_routes(struct kvm_vm *vm, const struct kvm_route *pins, unsigned n, struct fault *f);
/* event_fd's writes become interrupts on pin. */
int kvm_vm_irqfd(struct kvm_vm *vm, int event_fd, unsigned pin, struct fault *f);
/* Guest writes of exactly `bytes` with this value at gpa signal event_fd without leaving the kernel. */
int kvm_vm_ioeventfd(struct kvm_vm *vm, int event_fd, uint64_t gpa, unsigned bytes, uint64_t value, struct fault *f);
/* Guest writes to [gpa, +bytes) are queued instead of leaving the kernel, until somebody looks. Does nothing when KVM cannot. */
int kvm_vm_coalesce(struct kvm_vm *vm, uint64_t gpa, uint32_t bytes, struct fault *f);
/* KVM_CHECK_EXTENSION: 0 when absent. */
int kvm_vm_cap(const struct kvm_vm *vm, int cap);

int kvm_cpuid_supported(int kvm_fd, struct kvm_cpuid_table *out, struct fault *f);

int kvm_vcpu_init(struct kvm_vcpu *v, struct kvm_vm *vm, uint32_t id, struct fault *f);
void kvm_vcpu_done(struct kvm_vcpu *v, const struct kvm_vm *vm);
int kvm_vcpu_cpuid(struct kvm_vcpu *v, const struct kvm_cpuid_table *t, struct fault *f);
int kvm_vcpu_msrs(struct kvm_vcpu *v, const struct kvm_msr_entry *m, unsigned n, struct fault *f);
int kvm_vcpu_get_sregs(struct kvm_vcpu *v, struct kvm_sregs *s, struct fault *f);
int kvm_vcpu_set_sregs(struct kvm_vcpu *v, const struct kvm_sregs *s, struct fault *f);
int kvm_vcpu_get_regs(struct kvm_vcpu *v, struct kvm_regs *r, struct fault *f);
int kvm_vcpu_set_regs(struct kvm_vcpu *v, const struct kvm_regs *r, struct fault *f);
/* The oldest queued write of the VM (any vCPU shows the same queue), or NULL; and done with it. Under the caller's lock. */
const struct kvm_coalesced_mmio *kvm_coalesced_first(const struct kvm_vcpu *v, const struct kvm_vm *vm);
void kvm_coalesced_drop(struct kvm_vcpu *v, const struct kvm_vm *vm);
/* One KVM_RUN: 0 with v->run->exit_reason set, -EINTR (signal or immediate_exit), -EAGAIN (once, at an AP's INIT), other -errno. */
int kvm_vcpu_run(struct kvm_vcpu *v);

#endif
