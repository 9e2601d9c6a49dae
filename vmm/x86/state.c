#include "vmm/x86/state.h"

#include <stdio.h>

#include "vmm/x86/layout.h"

#define MTRR_WRITE_BACK_ENABLED 0x806u
#define CR0_PE 1u
#define CR0_ET (1u << 4)
#define CR0_PG (1u << 31)
#define CR4_PAE (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)

int state_msrs(struct kvm_vcpu *v, struct fault *f)
{
	static const struct kvm_msr_entry msrs[] = {
		{ .index = 0x2ff, .data = MTRR_WRITE_BACK_ENABLED },
		{ .index = 0x1a0, .data = 1 | 1 << 11 | 1 << 12 }, /* no branch trace store, no PEBS */
	};

	return kvm_vcpu_msrs(v, msrs, ARRAY_LEN(msrs), f);
}

/* Flat segments; type 11 is code, 3 data, both accessed. */
static struct kvm_segment state_segment(uint16_t selector, uint8_t type, bool long_mode)
{
	return (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = !long_mode,
		.s = 1,
		.l = long_mode,
		.g = 1,
	};
}

int state_entry(struct kvm_vcpu *v, const struct boot_entry *e, struct fault *f)
{
	bool long_mode = e->mode == BOOT_LONG;
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = e->entry_gpa, .rflags = 2, .rsp = X86_STACK_GPA };
	int err = kvm_vcpu_get_sregs(v, &s, f);

	if (err)
		return err;
	s.cs = state_segment(0x10, 11, long_mode);
	s.ds = s.es = s.fs = s.gs = s.ss = state_segment(0x18, 3, false);
	s.tr = (struct kvm_segment){ .limit = 0x67, .type = 11, .present = 1 };
	s.cr0 = CR0_PE | CR0_ET;
	s.cr4 = 0;
	s.efer = 0;
	if (long_mode) {
		s.cr0 |= CR0_PG;
		s.cr3 = X86_PAGE_TABLES_GPA;
		s.cr4 = CR4_PAE;
		s.efer = EFER_LME | EFER_LMA;
		s.gdt.base = X86_GDT_GPA;
		s.gdt.limit = 4 * 8 - 1;
		r.rsi = e->info_gpa;
	} else {
		r.rbx = e->info_gpa;
	}
	err = kvm_vcpu_set_sregs(v, &s, f);
	return err ? err : kvm_vcpu_set_regs(v, &r, f);
}

void state_text(struct kvm_vcpu *v, char *text, size_t cap)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	text[0] = 0;
	if (kvm_vcpu_get_regs(v, &r, NULL) || kvm_vcpu_get_sregs(v, &s, NULL)) {
		snprintf(text, cap, "vCPU %u: registers cannot be read\n", v->id);
		return;
	}
	snprintf(text, cap,
		 "vCPU %u: rip %016llx rsp %016llx rflags %08llx cpl %u\n"
		 "rax %016llx rbx %016llx rcx %016llx rdx %016llx\n"
		 "rsi %016llx rdi %016llx rbp %016llx r8  %016llx\n"
		 "r9  %016llx r10 %016llx r11 %016llx r12 %016llx\n"
		 "r13 %016llx r14 %016llx r15 %016llx cr0 %08llx\n"
		 "cr2 %016llx cr3 %016llx cr4 %08llx efer %04llx cs %04x ss %04x\n",
		 v->id, r.rip, r.rsp, r.rflags, s.cs.dpl, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12,
		 r.r13, r.r14, r.r15, s.cr0, s.cr2, s.cr3, s.cr4, s.efer, s.cs.selector, s.ss.selector);
}
