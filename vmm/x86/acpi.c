#include "vmm/x86/acpi.h"

#include <errno.h>
#include <string.h>

#include "vmm/x86/aml.h"
#include "vmm/x86/layout.h"

#define ACPI_HEAD_BYTES 36u
#define FADT_BYTES 276u
#define RSDP_BYTES 36u

enum { FADT_WBINVD = 1u << 0, FADT_C1 = 1u << 2, FADT_NO_POWER_BUTTON = 1u << 4, FADT_NO_SLEEP_BUTTON = 1u << 5, FADT_RESET_REG = 1u << 10,
       FADT_HW_REDUCED = 1u << 20 };
enum { BOOT_NO_VGA = 1u << 2, BOOT_NO_RTC = 1u << 5 }; /* and no bit 1: no 8042 */

/* Tables are built in one piece of our memory at their final offsets, then copied into the guest. */
struct acpi_area {
	uint8_t bytes[X86_ACPI_BYTES];
	size_t n;
};

static void put16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, 8);
}

static uint8_t checksum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

/* Where the next table goes; 16-byte aligned. The sizes are ours and far below the area's. */
static uint8_t *table_begin(struct acpi_area *a)
{
	a->n = (a->n + 15) & ~(size_t)15;
	return a->bytes + a->n;
}

/* Fills the header of the table at t, len bytes long, and returns its guest address. */
static uint64_t table_end(struct acpi_area *a, uint8_t *t, const char *signature, size_t len, uint8_t revision)
{
	memcpy(t, signature, 4);
	put32(t + 4, (uint32_t)len);
	t[8] = revision;
	memcpy(t + 10, "MICA  MICAVM  ", 14);
	put32(t + 24, 1);
	memcpy(t + 28, "MICA", 4);
	put32(t + 32, 1);
	t[9] = 0;
	t[9] = checksum(t, len);
	a->n = (size_t)(t - a->bytes) + len;
	return X86_ACPI_GPA + (uint64_t)(t - a->bytes);
}

static void dsdt_com1(struct aml *a)
{
	size_t dev = aml_device(a, "COM1"), crs;

	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0501");
	aml_name(a, "_UID");
	aml_int(a, 0);
	crs = aml_resources(a);
	aml_io(a, X86_PORT_COM1, 8);
	aml_irq_edge(a, X86_GSI_BASE + X86_PIN_COM1);
	aml_resources_end(a, crs);
	aml_end(a, dev);
}

/* QEMU's pvpanic device: a guest that panics says so with one write (QEMU docs/specs/pvpanic). */
static void dsdt_pvpanic(struct aml *a)
{
	size_t dev = aml_device(a, "PEVT"), crs;

	aml_name(a, "_HID");
	aml_str(a, "QEMU0001");
	crs = aml_resources(a);
	aml_io(a, X86_PORT_PVPANIC, 1);
	aml_resources_end(a, crs);
	aml_name(a, "_STA");
	aml_int(a, 0xf);
	aml_end(a, dev);
}

/* Virtual machine generation id (Microsoft's specification of that name): ADDR is the address in two halves. */
static void dsdt_vmgenid(struct aml *a)
{
	size_t dev = aml_device(a, "VGEN"), pkg;

	aml_name(a, "_HID");
	aml_str(a, "VMGENCTR");
	aml_name(a, "_CID");
	aml_str(a, "VM_Gen_Counter");
	aml_name(a, "_DDN");
	aml_str(a, "VM_Gen_Counter");
	aml_name(a, "ADDR");
	pkg = aml_package(a, 2);
	aml_int(a, X86_VMGENID_GPA);
	aml_int(a, 0);
	aml_end(a, pkg);
	aml_end(a, dev);
}

static void dsdt_virtio(struct aml *a, const struct acpi_machine *m, unsigned i)
{
	char name[5] = { 'V', 'R', (char)('A' + i / 10), (char)('0' + i % 10), 0 };
	size_t dev = aml_device(a, name), crs;

	aml_name(a, "_HID");
	aml_str(a, "LNRO0005");
	aml_name(a, "_UID");
	aml_int(a, i);
	crs = aml_resources(a);
	aml_memory32(a, X86_VIRTIO_GPA + i * m->virtio_stride_bytes, m->virtio_stride_bytes);
	aml_irq_edge(a, X86_GSI_BASE + X86_PIN_VIRTIO + i);
	aml_resources_end(a, crs);
	aml_end(a, dev);
}

static int acpi_dsdt(struct acpi_area *area, const struct acpi_machine *m, uint64_t *gpa)
{
	uint8_t *t = table_begin(area);
	struct aml a = { .p = t, .n = ACPI_HEAD_BYTES, .cap = X86_ACPI_BYTES - area->n - 1024 /* the tables after it */ };
	size_t scope = aml_scope(&a, "_SB_"), pkg;

	dsdt_com1(&a);
	dsdt_pvpanic(&a);
	dsdt_vmgenid(&a);
	for (unsigned i = 0; i < m->virtio; i++)
		dsdt_virtio(&a, m, i);
	aml_end(&a, scope);
	aml_name(&a, "_S5_");
	pkg = aml_package(&a, 4);
	aml_int(&a, X86_SLEEP_TYPE_S5);
	aml_int(&a, X86_SLEEP_TYPE_S5);
	aml_int(&a, 0);
	aml_int(&a, 0);
	aml_end(&a, pkg);
	if (a.failed)
		return -ENOSPC;
	*gpa = table_end(area, t, "DSDT", a.n, 6);
	return 0;
}

/* Generic address structure: one byte at a port. */
static void gas_port(uint8_t *p, uint16_t port)
{
	p[0] = 1;
	p[1] = 8;
	p[2] = 0;
	p[3] = 1;
	put64(p + 4, port);
}

static uint64_t acpi_fadt(struct acpi_area *area, uint64_t dsdt_gpa)
{
	uint8_t *t = table_begin(area);

	put32(t + 40, (uint32_t)dsdt_gpa);
	put16(t + 109, BOOT_NO_VGA | BOOT_NO_RTC);
	put32(t + 112, FADT_WBINVD | FADT_C1 | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON | FADT_RESET_REG | FADT_HW_REDUCED);
	gas_port(t + 116, X86_PORT_RESET);
	t[128] = X86_RESET_VALUE;
	t[131] = 5; /* minor version */
	put64(t + 140, dsdt_gpa);
	gas_port(t + 244, X86_PORT_SLEEP_CONTROL);
	gas_port(t + 256, X86_PORT_SLEEP_STATUS);
	memcpy(t + 268, "MICA    ", 8);
	return table_end(area, t, "FACP", FADT_BYTES, 6);
}

static uint64_t acpi_madt(struct acpi_area *area, const struct acpi_machine *m)
{
	uint8_t *t = table_begin(area), *p = t + 44;

	put32(t + 36, X86_LAPIC_GPA);
	for (unsigned i = 0; i < m->vcpus; i++, p += 8) {
		p[0] = 0; /* local APIC */
		p[1] = 8;
		p[2] = (uint8_t)i;
		p[3] = (uint8_t)i;
		put32(p + 4, 1); /* enabled */
	}
	p[0] = 1; /* IO-APIC */
	p[1] = 12;
	put32(p + 4, X86_IOAPIC_GPA);
	put32(p + 8, X86_GSI_BASE);
	p += 12;
	return table_end(area, t, "APIC", (size_t)(p - t), 5);
}

static uint64_t acpi_xsdt(struct acpi_area *area, const uint64_t *tables, unsigned n)
{
	uint8_t *t = table_begin(area);

	for (unsigned i = 0; i < n; i++)
		put64(t + ACPI_HEAD_BYTES + 8 * i, tables[i]);
	return table_end(area, t, "XSDT", ACPI_HEAD_BYTES + 8 * n, 1);
}

static void acpi_rsdp(struct acpi_area *area, uint64_t xsdt_gpa)
{
	uint8_t *t = area->bytes;

	memcpy(t, "RSD PTR ", 8);
	memcpy(t + 9, "MICA  ", 6);
	t[15] = 2;
	put32(t + 20, RSDP_BYTES);
	put64(t + 24, xsdt_gpa);
	t[8] = checksum(t, 20);
	t[32] = checksum(t, RSDP_BYTES);
}

int acpi_write(struct gm *gm, const struct acpi_machine *m, struct fault *f)
{
	struct acpi_area area;
	uint64_t dsdt = 0, tables[2];
	uint8_t generation[16];
	int err;

	memset(&area, 0, sizeof(area));
	area.n = RSDP_BYTES;
	err = acpi_dsdt(&area, m, &dsdt);
	if (err)
		return fault_set(f, err, "ACPI tables: %u devices do not fit", m->virtio);
	tables[0] = acpi_fadt(&area, dsdt);
	tables[1] = acpi_madt(&area, m);
	acpi_rsdp(&area, acpi_xsdt(&area, tables, ARRAY_LEN(tables)));
	err = random_fill(generation, sizeof(generation));
	if (!err)
		err = gm_write(gm, X86_VMGENID_GPA, generation, sizeof(generation));
	if (!err)
		err = gm_write(gm, X86_ACPI_GPA, area.bytes, area.n);
	return err ? fault_errno(f, err, "ACPI tables") : 0;
}
