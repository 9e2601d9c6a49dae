#include "tests/unit/gmdrv.h"
#include "vmm/x86/acpi.h"

#include <string.h>

#include "tests/unit/tap.h"
#include "vmm/x86/aml.h"
#include "vmm/x86/layout.h"

static struct gm gm;

static uint8_t sum(uint64_t gpa, uint32_t n)
{
	uint8_t all[X86_ACPI_BYTES], s = 0;

	if (n > sizeof(all) || gm_read(&gm, gpa, all, n))
		return 1;
	for (uint32_t i = 0; i < n; i++)
		s = (uint8_t)(s + all[i]);
	return s;
}

/* The table that XSDT entry i names: its address, when signature and checksum are right; else 0. */
static uint64_t table(uint64_t gpa, const char *signature)
{
	char head[5] = "";
	uint32_t len = 0;

	gm_read(&gm, gpa, head, 4);
	gm_read_u32(&gm, gpa + 4, &len);
	return !strcmp(head, signature) && len >= 36 && sum(gpa, len) == 0 ? gpa : 0;
}

static bool contains(uint64_t gpa, const void *what, size_t n)
{
	uint8_t all[X86_ACPI_BYTES];
	uint32_t len = 0;

	gm_read_u32(&gm, gpa + 4, &len);
	return len <= sizeof(all) && !gm_read(&gm, gpa, all, len) && memmem(all, len, what, n);
}

static void test_tables(void)
{
	struct acpi_machine m = { .vcpus = 8, .virtio = X86_VIRTIO_MAX, .virtio_stride_bytes = 0x1000 };
	static const uint8_t last_irq[] = { 0x89, 6, 0, 3, 1, X86_GSI_BASE + X86_PINS_MAX - 1, 0, 0, 0, 0x79 };
	static const uint8_t com1[] = { 0x0c, 0x41, 0xd0, 0x05, 0x01 };
	uint64_t xsdt = 0, fadt = 0, madt = 0, dsdt = 0, id[2] = { 0, 0 };
	uint32_t flags = 0, len = 0;
	char sig[9] = "";

	ok(!gm_init(&gm, 2 << 20, NULL) && !acpi_write(&gm, &m, NULL), "tables for 8 vCPUs and every device there can be");
	gm_read(&gm, X86_ACPI_GPA, sig, 8);
	ok(!strcmp(sig, "RSD PTR ") && sum(X86_ACPI_GPA, 20) == 0 && sum(X86_ACPI_GPA, 36) == 0, "RSDP with both checksums");
	gm_read_u64(&gm, X86_ACPI_GPA + 24, &xsdt);
	gm_read_u64(&gm, xsdt + 36, &fadt);
	gm_read_u64(&gm, xsdt + 44, &madt);
	ok(table(xsdt, "XSDT") && table(fadt, "FACP") && table(madt, "APIC"), "XSDT, FADT, MADT");
	gm_read_u64(&gm, fadt + 140, &dsdt);
	gm_read_u32(&gm, fadt + 112, &flags);
	ok(table(dsdt, "DSDT") && flags >> 20 & 1 && flags >> 10 & 1, "DSDT; hardware-reduced, with a reset register");
	gm_read_u32(&gm, madt + 4, &len);
	ok(len == 44 + 8 * 8 + 12, "MADT: 8 local APICs and an IO-APIC");
	ok(contains(dsdt, last_irq, sizeof(last_irq)) && contains(dsdt, com1, sizeof(com1)) && contains(dsdt, "_S5_", 4), "DSDT: last device, COM1, power-off");
	gm_read(&gm, X86_VMGENID_GPA, id, sizeof(id));
	ok(id[0] && id[1] && contains(dsdt, "VM_Gen_Counter", 15), "a generation id");
	gm_done(&gm);
}

static void test_aml(void)
{
	uint8_t mem[64];
	struct aml a = { .p = mem, .cap = sizeof(mem) };
	size_t mark = aml_device(&a, "DEV0");

	aml_name(&a, "_HID");
	aml_eisa_id(&a, "PNP0501");
	aml_end(&a, mark);
	ok(a.n == 19 && mem[0] == 0x5b && mem[2] == (0x80 | 1) && mem[3] == 1 && mem[4] == 0, "a length of 17 bytes in three");
	for (int i = 0; i < 20; i++)
		aml_u64(&a, 1);
	ok(a.failed && a.n <= sizeof(mem), "past the end nothing is written");
}

int main(void)
{
	test_tables();
	test_aml();
	return tap_done();
}
