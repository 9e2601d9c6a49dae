/*
 * vmm/x86/state.h: a vCPU's first registers, and its last ones as text. Building thread, then the vCPU's own.
 */
#ifndef VMM_X86_STATE_H
#define VMM_X86_STATE_H

#include "vmm/kvm/kvm.h"
#include "vmm/x86/boot.h"

/* MSRs of every vCPU: memory type write-back (Linux takes the PAT for broken without), fast string operations. */
int state_msrs(struct kvm_vcpu *v, struct fault *f);
/* Where the first vCPU starts. The others wait for the guest's INIT and SIPI. */
int state_entry(struct kvm_vcpu *v, const struct boot_entry *e, struct fault *f);
/* General and control registers, one or two lines each, into text (always NUL-terminated). */
void state_text(struct kvm_vcpu *v, char *text, size_t cap);

#endif
