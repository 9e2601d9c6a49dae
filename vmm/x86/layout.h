/*
 * vmm/x86: what makes a KVM VM a PC that Linux boots on: address map, CPUID, first registers, kernel
 * loaders, ACPI tables, IO-APIC, UART. Uses vmm/mem and vmm/kvm; knows no virtio device and no
 * process. Loaders and emitters run once, on the building thread; the IO-APIC and the UART take their own lock.
 *
 * layout.h: the address map, in one place.
 */
#ifndef VMM_X86_LAYOUT_H
#define VMM_X86_LAYOUT_H

/* low memory, all RAM, free for the guest once it has read it */
#define X86_GDT_GPA 0x1000u
#define X86_PVH_INFO_GPA 0x6000u       /* hvm_start_info, then module list and memory map */
#define X86_BOOT_PARAMS_GPA 0x7000u    /* "zero page" of the 64-bit boot protocol */
#define X86_PAGE_TABLES_GPA 0x9000u    /* PML4, PDPT, four page directories: 4 GiB one to one */
#define X86_STACK_GPA 0xf000u          /* top of a small stack: the protocol wants esp to point somewhere */
#define X86_CMDLINE_GPA 0x20000u
#define X86_LOW_RAM_END 0xa0000u

/* reserved in the memory map, RAM all the same: tables that stay */
#define X86_ACPI_GPA 0xe0000u          /* RSDP here, so that a scan finds it too; the other tables follow */
#define X86_ACPI_BYTES 0x2000u
#define X86_VMGENID_GPA 0xf0000u       /* 16 random bytes */
#define X86_HIGH_RAM_GPA 0x100000u

/* devices in the hole below 4 GiB */
#define X86_VIRTIO_GPA 0xd0000000u     /* + MMIO_BYTES per device */
#define X86_IOAPIC_GPA 0xfec00000u
#define X86_LAPIC_GPA 0xfee00000u
#define X86_IDENTITY_MAP_GPA 0xfeffc000u /* one page, for old Intel processors */
#define X86_TSS_GPA 0xfeffd000u          /* three pages, likewise */

/* ports */
#define X86_PORT_PVPANIC 0x505u
#define X86_PORT_SLEEP_CONTROL 0x600u
#define X86_PORT_SLEEP_STATUS 0x601u
#define X86_PORT_RESET 0x602u
#define X86_PORT_COM1 0x3f8u

/* interrupt pins of the IO-APIC; ACPI's global system interrupts are pin + X86_GSI_BASE. There are no more pins than lines: a
 * guest reads and writes each of them several times while it boots, and each time is an exit */
#define X86_PIN_COM1 0u
#define X86_PIN_VIRTIO 1u              /* first virtio device, the others follow */
#define X86_PINS_MAX 20u
#define X86_GSI_BASE 4u                /* so that COM1 has its usual number */
#define X86_VIRTIO_MAX (X86_PINS_MAX - X86_PIN_VIRTIO)

#define X86_SLEEP_TYPE_S5 5u
#define X86_RESET_VALUE 1u

#endif
