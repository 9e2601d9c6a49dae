#include "vmm/machine/machine.h"

#include <string.h>

/* The ports by which a guest powers off, resets, or says that it panicked. Every one of them answers any width at any
 * offset; what is not known here reads all ones. */

#define SLEEP_ENABLE 0x20u
#define SLEEP_TYPE_SHIFT 2
#define KBD_RESET 0xfeu
#define KBD_PORTS 8u /* 0x60 … 0x67: a wide read of 0x64 stays inside */
#define KBD_STATUS_OFF 4u
#define PCI_RESET_HARD 0x04u

static void power_read_ones(void *dev, uint64_t off, void *dst, unsigned len)
{
	(void)dev, (void)off;
	memset(dst, 0xff, len);
}

static uint8_t first_byte(const void *src)
{
	return *(const uint8_t *)src;
}

/* ACPI hardware-reduced sleep (ACPI 6.5, 4.8.3.7) and reset. */
static void acpi_read(void *dev, uint64_t off, void *dst, unsigned len)
{
	(void)dev, (void)off;
	memset(dst, 0, len);
}

static void acpi_port_write(void *dev, uint64_t off, const void *src, unsigned len)
{
	struct machine *m = dev;
	uint8_t v = first_byte(src);

	(void)len;
	if (off == 0 && (v & SLEEP_ENABLE) && (v >> SLEEP_TYPE_SHIFT & 7) == X86_SLEEP_TYPE_S5)
		machine_end(m, REASON_POWEROFF, NULL, "the guest powered off");
	else if (off == X86_PORT_RESET - X86_PORT_SLEEP_CONTROL && v == X86_RESET_VALUE)
		machine_end(m, REASON_REBOOT, NULL, "the guest asked for a reset");
}

/* The keyboard controller is absent but for its reset line. Status must not read 0 (a kernel then waits ten thousand reads for it), and
 * all ones means "nobody there" to Linux; but its reboot waits for "input buffer empty", so that bit reads 0. */
static void kbd_read(void *dev, uint64_t off, void *dst, unsigned len)
{
	(void)dev;
	memset(dst, 0xff, len);
	if (off <= KBD_STATUS_OFF && off + len > KBD_STATUS_OFF)
		((uint8_t *)dst)[KBD_STATUS_OFF - off] = 0xfd;
}

static void kbd_write(void *dev, uint64_t off, const void *src, unsigned len)
{
	struct machine *m = dev;

	(void)len;
	if (off == KBD_STATUS_OFF && first_byte(src) == KBD_RESET)
		machine_end(m, REASON_REBOOT, NULL, "the guest asked the keyboard controller for a reset");
}

/* Reset control of PC chipsets at 0xcf9. */
static void pci_reset_write(void *dev, uint64_t off, const void *src, unsigned len)
{
	struct machine *m = dev;

	(void)off, (void)len;
	if (first_byte(src) & PCI_RESET_HARD)
		machine_end(m, REASON_REBOOT, NULL, "the guest asked the chipset for a reset");
}

/* pvpanic (QEMU docs/specs/pvpanic): bit 0 panicked, bit 1 a crash kernel took over. */
static void pvpanic_read(void *dev, uint64_t off, void *dst, unsigned len)
{
	(void)dev, (void)off;
	memset(dst, 0, len);
	*(uint8_t *)dst = 1;
}

static void pvpanic_write(void *dev, uint64_t off, const void *src, unsigned len)
{
	(void)off, (void)len;
	if (first_byte(src) & 1)
		machine_panicked(dev);
}

static const struct bus_ops acpi_ops = { .name = "acpi", .read = acpi_read, .write = acpi_port_write };
static const struct bus_ops kbd_ops = { .name = "keyboard", .read = kbd_read, .write = kbd_write };
static const struct bus_ops pci_reset_ops = { .name = "pci-reset", .read = power_read_ones, .write = pci_reset_write };
static const struct bus_ops pvpanic_ops = { .name = "pvpanic", .read = pvpanic_read, .write = pvpanic_write };

int machine_add_power(struct machine *m, struct fault *f)
{
	const struct {
		uint16_t port, ports;
		const struct bus_ops *ops;
	} rows[] = {
		{ X86_PORT_SLEEP_CONTROL, 3, &acpi_ops },
		{ 0x60, KBD_PORTS, &kbd_ops },
		{ 0xcf9, 1, &pci_reset_ops },
		{ X86_PORT_PVPANIC, 1, &pvpanic_ops },
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows) && !err; i++)
		err = bus_add(&m->pio, rows[i].port, rows[i].ports, rows[i].ops, m, f);
	return err;
}
