/*
 * vmm/x86/cpuid.h: what a guest's CPUID says: what KVM offers on this host, minus what we do not provide, plus the
 * topology of our vCPUs (one package, one thread a core). Sources: Intel SDM vol. 2 CPUID, AMD APM vol. 3 appendix E,
 * Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#ifndef VMM_X86_CPUID_H
#define VMM_X86_CPUID_H

#include "vmm/kvm/kvm.h"

/* t comes from kvm_cpuid_supported(). software_kvm: a KVM without VMX and SVM beneath (see cpuid_host_is_software):
 * the paravirtual features that use hypercalls are masked, because VMCALL live-locks there. Once a VM. */
void cpuid_filter(struct kvm_cpuid_table *t, unsigned vcpus, bool tsc_deadline, bool software_kvm);
/* The fields that differ between vCPUs: APIC id. t was filtered. */
void cpuid_set_apic(struct kvm_cpuid_table *t, uint32_t apic_id);
/* true when this processor has neither VMX nor SVM: /dev/kvm then is page-table virtualisation. */
bool cpuid_host_is_software(void);
bool cpuid_host_is_intel(void);

#endif
