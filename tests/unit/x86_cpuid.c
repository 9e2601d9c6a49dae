#include "vmm/x86/cpuid.h"

#include <string.h>

#include "tests/unit/tap.h"

static struct kvm_cpuid_table t;

static struct kvm_cpuid_entry2 *add(uint32_t leaf, uint32_t sub, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	struct kvm_cpuid_entry2 *e = &t.entries[t.nent++];

	*e = (struct kvm_cpuid_entry2){ .function = leaf, .index = sub, .eax = a, .ebx = b, .ecx = c, .edx = d };
	return e;
}

static const struct kvm_cpuid_entry2 *get(uint32_t leaf, uint32_t sub)
{
	static const struct kvm_cpuid_entry2 none;

	for (uint32_t i = 0; i < t.nent; i++)
		if (t.entries[i].function == leaf && t.entries[i].index == sub)
			return &t.entries[i];
	return &none;
}

static void fill(void)
{
	memset(&t, 0, sizeof(t));
	add(0, 0, 0xd, 0x68747541, 0, 0);
	add(1, 0, 0, 0xff000800, 0xffffffff, 0xffffffff);
	add(4, 3, 0xfc1c163 & 0xffff, 0, 0, 0);
	add(7, 0, 0, 0xffffffff, 0xffffffff, 0);
	add(0xa, 0, 0x7300403, 5, 0, 0x603);
	add(0xb, 0, 1, 2, 3, 4);
	add(0xb, 5, 1, 2, 3, 4);
	add(0x40000001, 0, 0xffffffff, 0, 0, 0);
	add(0x80000001, 0, 0, 0, 0xffffffff, 0);
	add(0x80000008, 0, 0x3030, 0, 0xffff, 0);
	add(0x8000001e, 0, 77, 77, 77, 0);
}

static void test_filter(void)
{
	fill();
	cpuid_filter(&t, 4, true, false);
	ok(!(get(1, 0)->ecx >> 5 & 1) && !(get(0x80000001, 0)->ecx >> 2 & 1), "no VMX, no SVM");
	ok(get(1, 0)->ecx >> 31 && get(1, 0)->ecx >> 21 & 1 && get(1, 0)->ecx >> 24 & 1, "hypervisor, x2APIC, TSC deadline");
	ok((get(1, 0)->ebx >> 16 & 0xff) == 4 && get(1, 0)->edx >> 28 & 1 && (get(1, 0)->ebx & 0xffff) == 0x800, "four logical processors");
	ok(!get(0xa, 0)->eax && !(get(7, 0)->ebx >> 2 & 1) && get(7, 0)->ebx & 1, "no PMU, no SGX, the rest stays");
	ok(get(0xb, 0)->ebx == 1 && get(0xb, 1)->ebx == 4 && get(0xb, 1)->eax == 2 && !get(0xb, 5)->function, "topology: four cores of one thread");
	ok(get(4, 3)->eax >> 26 == 3, "cores share the last cache");
	ok(get(0x80000008, 0)->ecx == (3 | 2 << 12), "the same for AMD");
	ok(get(0x40000001, 0)->eax >> 7 & 1, "paravirtual features stay");
	cpuid_set_apic(&t, 3);
	ok(get(1, 0)->ebx >> 24 == 3 && get(0xb, 1)->edx == 3 && get(0x8000001e, 0)->eax == 3, "APIC id 3 everywhere");
}

static void test_software(void)
{
	fill();
	cpuid_filter(&t, 1, false, true);
	ok(!(get(0x40000001, 0)->eax & (1 << 7 | 1 << 11 | 1 << 13)) && get(0x40000001, 0)->eax & 1, "no hypercalls where they hang");
	ok(!(get(1, 0)->edx >> 28 & 1) && get(0xb, 1)->eax == 0, "one processor: no siblings");
}

static void test_full(void)
{
	memset(&t, 0, sizeof(t));
	for (unsigned i = 0; i < KVM_CPUID_MAX; i++)
		add(i ? 0x1000 + i : 0, 0, 0x1f, 0, 0, 0);
	cpuid_filter(&t, 8, true, true);
	ok(t.nent == KVM_CPUID_MAX, "a full table stays one");
}

int main(void)
{
	test_filter();
	test_software();
	test_full();
	return tap_done();
}
