#include "vmm/x86/cpuid.h"

#include <cpuid.h>
#include <string.h>

#define BIT(n) (1u << (n))
#define HYGON_EBX 0x6f677948u /* "Hygo" */

/* Bits taken away, by leaf and register (0 eax … 3 edx). One line, one reason. */
static const struct {
	uint32_t leaf, subleaf;
	uint8_t reg;
	uint32_t bits;
} cpuid_masked[] = {
	{ 1, 0, 2, BIT(2) | BIT(4) | BIT(15) },       /* DTES64, DS-CPL, PDCM: debug store and PMU are not given */
	{ 1, 0, 2, BIT(3) },                          /* MONITOR: an idle guest must halt */
	{ 1, 0, 2, BIT(5) | BIT(6) },                 /* VMX, SMX: no VMs inside VMs */
	{ 1, 0, 2, BIT(7) | BIT(8) },                 /* EST, TM2: frequency is the host's business */
	{ 1, 0, 3, BIT(21) | BIT(22) | BIT(29) },     /* DS, ACPI clock control, TM: the same */
	{ 7, 0, 1, BIT(2) | BIT(14) | BIT(25) },      /* SGX, MPX (gone from processors), processor trace */
	{ 7, 0, 2, BIT(30) },                         /* SGX launch control */
	{ 0x80000001, 0, 2, BIT(2) },                 /* SVM: no VMs inside VMs */
	{ 0x80000001, 0, 2, BIT(10) | BIT(23) | BIT(24) | BIT(28) }, /* IBS and the performance counters */
	{ 0x40000001, 0, 0, BIT(15) | BIT(16) | BIT(17) }, /* wide MSI destinations, map-gpa and migration hypercalls need a VMM's help */
};

/* Leaves that say nothing here: PMU, platform trace, SGX, thread director, counters. */
static const uint32_t cpuid_emptied[] = { 5, 0xa, 0x12, 0x14, 0x80000022 };

static struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid_table *t, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < t->nent; i++)
		if (t->entries[i].function == leaf && t->entries[i].index == subleaf)
			return &t->entries[i];
	return NULL;
}

static void cpuid_drop(struct kvm_cpuid_table *t, uint32_t leaf)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < t->nent; i++)
		if (t->entries[i].function != leaf)
			t->entries[kept++] = t->entries[i];
	t->nent = kept;
}

static void cpuid_add(struct kvm_cpuid_table *t, struct kvm_cpuid_entry2 e)
{
	if (t->nent < KVM_CPUID_MAX)
		t->entries[t->nent++] = e;
}

/* Bits that an APIC id needs for n cores. */
static unsigned cpuid_id_bits(unsigned n)
{
	unsigned bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* Leaf 0xb (and its successor 0x1f): level 0 threads, level 1 cores, then the end. */
static void cpuid_topology(struct kvm_cpuid_table *t, uint32_t leaf, unsigned vcpus)
{
	struct kvm_cpuid_entry2 *zero = cpuid_find(t, 0, 0);

	cpuid_drop(t, leaf);
	if (!zero || zero->eax < leaf)
		return;
	cpuid_add(t, (struct kvm_cpuid_entry2){ .function = leaf, .index = 0, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
						.eax = 0, .ebx = 1, .ecx = 1u << 8 });
	cpuid_add(t, (struct kvm_cpuid_entry2){ .function = leaf, .index = 1, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
						.eax = cpuid_id_bits(vcpus), .ebx = vcpus, .ecx = 2u << 8 | 1 });
	cpuid_add(t, (struct kvm_cpuid_entry2){ .function = leaf, .index = 2, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ecx = 2 });
}

/* Leaf 4 (Intel) and 0x8000001d (AMD): caches are shared as on one thread a core, the last level by all. */
static void cpuid_caches(struct kvm_cpuid_table *t, unsigned vcpus)
{
	for (uint32_t i = 0; i < t->nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entries[i];
		uint32_t level = e->eax >> 5 & 7, sharing = level >= 3 ? vcpus - 1 : 0;

		if ((e->function != 4 && e->function != 0x8000001d) || !(e->eax & 0x1f))
			continue;
		e->eax = (e->eax & 0x3fff) | sharing << 14;
		if (e->function == 4)
			e->eax |= (vcpus - 1) << 26;
	}
}

static bool cpuid_is_amd(struct kvm_cpuid_table *t)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(t, 0, 0);

	return e && (e->ebx == signature_AMD_ebx || e->ebx == HYGON_EBX);
}

static void cpuid_packages(struct kvm_cpuid_table *t, unsigned vcpus)
{
	struct kvm_cpuid_entry2 *e;

	e = cpuid_find(t, 1, 0);
	if (e) {
		e->ebx = (e->ebx & 0xffff) | vcpus << 16;
		e->edx = vcpus > 1 ? e->edx | BIT(28) : e->edx & ~BIT(28);
	}
	e = cpuid_find(t, 0x80000008, 0);
	if (e && cpuid_is_amd(t))
		e->ecx = (vcpus - 1) | cpuid_id_bits(vcpus) << 12;
	e = cpuid_find(t, 0x80000001, 0);
	if (e && vcpus == 1)
		e->ecx &= ~BIT(1); /* CmpLegacy: several cores */
}

void cpuid_filter(struct kvm_cpuid_table *t, unsigned vcpus, bool tsc_deadline, bool software_kvm)
{
	struct kvm_cpuid_entry2 *e;

	for (size_t i = 0; i < ARRAY_LEN(cpuid_masked); i++) {
		e = cpuid_find(t, cpuid_masked[i].leaf, cpuid_masked[i].subleaf);
		if (e) {
			uint32_t *regs[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

			*regs[cpuid_masked[i].reg] &= ~cpuid_masked[i].bits;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(cpuid_emptied); i++) {
		e = cpuid_find(t, cpuid_emptied[i], 0);
		if (e)
			e->eax = e->ebx = e->ecx = e->edx = 0;
	}
	e = cpuid_find(t, 1, 0);
	if (e) {
		e->ecx |= BIT(31) | BIT(21); /* a hypervisor, with x2APIC: the local APIC is KVM's */
		if (tsc_deadline)
			e->ecx |= BIT(24);
	}
	e = cpuid_find(t, 6, 0);
	if (e) {
		e->eax &= BIT(2); /* ARAT alone: the APIC timer never stops */
		e->ebx = e->ecx = e->edx = 0;
	}
	e = cpuid_find(t, 0x40000001, 0);
	if (e && software_kvm)
		e->eax &= ~(BIT(7) | BIT(11) | BIT(13)); /* PV_UNHALT, PV_SEND_IPI, PV_SCHED_YIELD */
	cpuid_packages(t, vcpus);
	cpuid_caches(t, vcpus);
	cpuid_topology(t, 0xb, vcpus);
	cpuid_topology(t, 0x1f, vcpus);
}

void cpuid_set_apic(struct kvm_cpuid_table *t, uint32_t apic_id)
{
	for (uint32_t i = 0; i < t->nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entries[i];

		switch (e->function) {
		case 1:
			e->ebx = (e->ebx & 0x00ffffff) | apic_id << 24;
			break;
		case 0xb:
		case 0x1f:
			e->edx = apic_id;
			break;
		case 0x8000001e: /* AMD: extended APIC id, core id, node */
			e->eax = apic_id;
			e->ebx = apic_id & 0xff;
			e->ecx = 0;
			break;
		default:
			break;
		}
	}
}

bool cpuid_host_is_software(void)
{
	uint32_t a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && (c & BIT(5)))
		return false;
	return !(__get_cpuid(0x80000001, &a, &b, &c, &d) && (c & BIT(2)));
}

bool cpuid_host_is_intel(void)
{
	uint32_t a, b, c, d;

	return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx && c == signature_INTEL_ecx;
}
