/* Ports and registers of the machine without virtio: UART with the console behind it, IO-APIC, and the bus that finds them. The input is a list of
 * accesses: an operation byte, u16 address, and for writes its bytes. */
#include "vmm/bus/bus.h"
#include "vmm/machine/console.h"
#include "vmm/x86/ioapic.h"
#include "vmm/x86/uart.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UART_BASE 0x3f8u
#define IOAPIC_BASE 0x1000u
#define IOAPIC_BYTES 0x1000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct console console;
static unsigned edges, routes;

static void out(void *arg, uint8_t byte)
{
	console_byte(arg, byte);
}

static void irq(void *arg)
{
	(void)arg;
	edges++;
}

static void set_routes(void *arg, const struct kvm_route *route, unsigned pins)
{
	(void)arg;
	for (unsigned i = 0; i < pins; i++)
		routes += route[i].data != 0;
}

static void pending(void *arg)
{
	(void)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned widths[] = { 1, 2, 4, 8 };
	struct bus bus = { 0 };
	struct uart uart;
	struct ioapic ioapic;
	int fd = memfd_new("console");

	if (console_init(&console, fd, pending, NULL, NULL))
		abort();
	uart_init(&uart, out, irq, &console);
	ioapic_init(&ioapic, size ? data[0] % X86_PINS_MAX + 1 : 1, set_routes, NULL);
	if (bus_add(&bus, UART_BASE, 8, &uart_bus_ops, &uart, NULL) || bus_add(&bus, IOAPIC_BASE, IOAPIC_BYTES, &ioapic_bus_ops, &ioapic, NULL))
		abort();
	for (size_t at = 1; at + 3 <= size;) {
		uint8_t op = data[at], bytes[8] = { 0 };
		uint64_t addr = data[at + 1] | (uint64_t)data[at + 2] << 8;
		unsigned width = widths[op >> 1 & 3];

		at += 3;
		if (op & 8) /* most of them near a device */
			addr = op & 16 ? UART_BASE - 2 + addr % 12 : IOAPIC_BASE + (addr & 1 ? 0x10 : 0);
		if (op & 1) {
			size_t n = size - at < width ? size - at : width;

			memcpy(bytes, data + at, n);
			at += n;
			bus_write(&bus, addr, bytes, width);
		} else {
			bus_read(&bus, addr, bytes, width);
		}
	}
	console_flush(&console);
	fd_close(&console.fd);
	return 0;
}
