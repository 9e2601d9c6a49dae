/*
 * vmm/x86/acpi.h: the machine's ACPI tables (ACPI 6.5): RSDP, XSDT, FADT, MADT, DSDT. Hardware-reduced: no PIC, no PM timer, no RTC, no
 * VGA, no keyboard controller to probe; power-off and reset are one port write each. Devices are named here, and
 * vCPUs by the MADT, because distribution kernels no longer read MP tables.
 */
#ifndef VMM_X86_ACPI_H
#define VMM_X86_ACPI_H

#include "vmm/mem/gm.h"

struct acpi_machine {
	unsigned vcpus;        /* APIC ids 0 … vcpus-1 */
	unsigned virtio;       /* devices at X86_VIRTIO_GPA + i * virtio_stride_bytes, pin X86_PIN_VIRTIO + i */
	uint32_t virtio_stride_bytes;
};

/* Writes all tables at X86_ACPI_GPA and a fresh generation id at X86_VMGENID_GPA. 0 or -errno. */
int acpi_write(struct gm *gm, const struct acpi_machine *m, struct fault *f);

#endif
