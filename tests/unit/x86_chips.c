/* IO-APIC and UART, register by register, as a guest sees them. */
#include <string.h>

#include "tests/unit/tap.h"
#include "vmm/x86/ioapic.h"
#include "vmm/x86/uart.h"

static struct kvm_route routes[X86_PINS_MAX];
static unsigned changes;

static void set_routes(void *arg, const struct kvm_route *r, unsigned pins)
{
	(void)arg;
	memcpy(routes, r, pins * sizeof(*r));
	changes++;
}

static uint32_t io_get(struct ioapic *io, uint8_t sel)
{
	uint32_t s = sel, v = 0;

	ioapic_bus_ops.write(io, 0, &s, 4);
	ioapic_bus_ops.read(io, 0x10, &v, 4);
	return v;
}

static void io_set(struct ioapic *io, uint8_t sel, uint32_t v)
{
	uint32_t s = sel;

	ioapic_bus_ops.write(io, 0, &s, 4);
	ioapic_bus_ops.write(io, 0x10, &v, 4);
}

static void test_ioapic(void)
{
	struct ioapic io;
	uint64_t wide = 0;

	ioapic_init(&io, 9, set_routes, NULL);
	ok(io_get(&io, 1) == (0x11 | 8 << 16) && io_get(&io, 0x10) == 1 << 16, "9 pins, all masked");
	io_set(&io, 0x11 + 2 * 5, 3u << 24);
	io_set(&io, 0x10 + 2 * 5, 0x31 | 1 << 16);
	ok(changes == 0, "a masked entry makes no route");
	io_set(&io, 0x10 + 2 * 5, 0x31);
	ok(changes == 1 && routes[5].data == 0x31 && routes[5].address_lo == (0xfee00000 | 3 << 12), "unmasked: a message to APIC 3");
	io_set(&io, 0x10 + 2 * 5, 0x31 | 1 << 16);
	io_set(&io, 0x10 + 2 * 5, 0x31);
	ok(changes == 1, "masking for a moment changes nothing");
	io_set(&io, 0x10 + 2 * 5, 0x32 | 1 << 11 | 1 << 15);
	ok(changes == 2 && routes[5].data == 0x32 && routes[5].address_lo & 4, "logical destination; level is delivered as an edge");
	io_set(&io, 0x10 + 2 * 5, 0xffffffff);
	ok(io_get(&io, 0x10 + 2 * 5) == (0xffffffff & ~(1u << 12 | 1u << 14)), "read-only bits stay");
	io_set(&io, 0x10 + 2 * 9, 0x40);
	io_set(&io, 0xff, 0x40);
	ok(changes == 2 && io_get(&io, 0x10 + 2 * 9) == 0xffffffff && io_get(&io, 0x0f) == 0xffffffff, "pins that are not there");
	ioapic_bus_ops.read(&io, 0x7, &wide, 8);
	ioapic_bus_ops.write(&io, 0x10, &wide, 1);
	ioapic_bus_ops.read(&io, 0xfff, &wide, 1);
	ok(changes == 2 && ioapic_route_changes(&io) == 2, "odd offsets and widths");
}

struct line {
	char out[32];
	unsigned n, irqs;
};

static void line_out(void *arg, uint8_t byte)
{
	struct line *l = arg;

	if (l->n < sizeof(l->out) - 1)
		l->out[l->n++] = (char)byte;
}

static void line_irq(void *arg)
{
	((struct line *)arg)->irqs++;
}

static uint8_t u_get(struct uart *u, unsigned reg)
{
	uint8_t v = 0;

	uart_bus_ops.read(u, reg, &v, 1);
	return v;
}

static void u_set(struct uart *u, unsigned reg, uint8_t v)
{
	uart_bus_ops.write(u, reg, &v, 1);
}

static void test_uart(void)
{
	struct uart u;
	struct line l = { .n = 0 };
	uint64_t v = 0;

	uart_init(&u, line_out, line_irq, &l);
	u_set(&u, 0, 'a');
	u_set(&u, 0, 'b');
	ok(!strcmp(l.out, "ab") && l.irqs == 0 && u_get(&u, 5) == 0x60 && u_get(&u, 2) == 1, "output; the transmitter is empty; no interrupt");
	u_set(&u, 1, 2);
	ok(l.irqs == 1, "its interrupt switched on: one at once");
	ok(u_get(&u, 2) == 2 && u_get(&u, 2) == 1, "reading the cause takes it away");
	u_set(&u, 0, 'c');
	u_set(&u, 0, 'd');
	ok(l.irqs == 2 && u_get(&u, 2) == 2, "output again: one edge");
	u_set(&u, 3, 0x80);
	u_set(&u, 0, 1);
	u_set(&u, 1, 2);
	ok(u_get(&u, 0) == 1 && u_get(&u, 1) == 2, "the divisor");
	u_set(&u, 3, 3);
	u_set(&u, 4, 0x1a);
	ok((u_get(&u, 6) & 0xf0) == 0x90, "loop-back of the modem lines");
	u_set(&u, 1, 1);
	u_set(&u, 0, 'z');
	ok(u_get(&u, 5) == 0x61 && u_get(&u, 2) == 4 && u_get(&u, 0) == 'z' && u_get(&u, 5) == 0x60, "loop-back of a byte");
	u_set(&u, 4, 0);
	u_set(&u, 2, 1);
	ok((u_get(&u, 2) & 0xc0) == 0xc0 && u_get(&u, 6) == 0xb0, "FIFOs, modem ready");
	u_set(&u, 7, 0x77);
	ok(u_get(&u, 7) == 0x77 && l.n == 4, "scratch; nothing else was said");
	uart_bus_ops.read(&u, 0, &v, 8);
	uart_bus_ops.write(&u, 4, "\0\0\0\0", 4);
	ok(true, "wide accesses");
}

int main(void)
{
	test_ioapic();
	test_uart();
	return tap_done();
}
