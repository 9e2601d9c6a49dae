#include "vmm/x86/ioapic.h"

#include <string.h>

enum { REG_SELECT = 0x00, REG_WINDOW = 0x10 };
enum { SEL_ID = 0, SEL_VERSION = 1, SEL_ARBITRATION = 2, SEL_ENTRIES = 0x10 };

#define IOAPIC_VERSION 0x11u
#define ENTRY_MASKED (1ull << 16)
#define ENTRY_READ_ONLY (1ull << 12 | 1ull << 14) /* delivery status, remote IRR */
#define ENTRY_DEST_LOGICAL (1ull << 11)

void ioapic_init(struct ioapic *io, unsigned pins, void (*set_routes)(void *, const struct kvm_route *, unsigned), void *arg)
{
	memset(io, 0, sizeof(*io));
	pthread_mutex_init(&io->lock, NULL);
	io->pins = pins < X86_PINS_MAX ? pins : X86_PINS_MAX;
	io->set_routes = set_routes;
	io->arg = arg;
	for (unsigned i = 0; i < io->pins; i++)
		io->entry[i] = ENTRY_MASKED;
}

/* The message that an entry stands for (Intel SDM vol. 3, 11.11). */
static struct kvm_route ioapic_message(uint64_t entry)
{
	uint32_t dest = (uint32_t)(entry >> 56), low = (uint32_t)entry;

	return (struct kvm_route){
		.address_lo = X86_LAPIC_GPA | dest << 12 | (entry & ENTRY_DEST_LOGICAL ? 1u << 2 : 0),
		.data = low & 0x7ff, /* vector and delivery mode; edge */
	};
}

static void ioapic_apply(struct ioapic *io, unsigned pin)
{
	struct kvm_route r;

	if (io->entry[pin] & ENTRY_MASKED)
		return;
	r = ioapic_message(io->entry[pin]);
	if (!memcmp(&r, &io->route[pin], sizeof(r)))
		return;
	io->route[pin] = r;
	io->route_changes++;
	io->set_routes(io->arg, io->route, io->pins);
}

static uint32_t ioapic_get(const struct ioapic *io)
{
	unsigned pin = (io->select - SEL_ENTRIES) / 2u;

	switch (io->select) {
	case SEL_ID:
	case SEL_ARBITRATION:
		return io->id;
	case SEL_VERSION:
		return IOAPIC_VERSION | (io->pins - 1) << 16;
	default:
		if (io->select < SEL_ENTRIES || pin >= io->pins)
			return UINT32_MAX;
		return (uint32_t)(io->select & 1 ? io->entry[pin] >> 32 : io->entry[pin]);
	}
}

static void ioapic_set(struct ioapic *io, uint32_t v)
{
	unsigned pin = (io->select - SEL_ENTRIES) / 2u;

	if (io->select == SEL_ID)
		io->id = v & 0x0f000000;
	if (io->select < SEL_ENTRIES || pin >= io->pins)
		return;
	if (io->select & 1)
		io->entry[pin] = (io->entry[pin] & UINT32_MAX) | (uint64_t)v << 32;
	else
		io->entry[pin] = (io->entry[pin] & ~(uint64_t)UINT32_MAX) | (v & ~ENTRY_READ_ONLY);
	ioapic_apply(io, pin);
}

static void ioapic_read(void *dev, uint64_t off, void *dst, unsigned len)
{
	struct ioapic *io = dev;
	uint32_t v = 0;

	pthread_mutex_lock(&io->lock);
	if (off == REG_SELECT)
		v = io->select;
	else if (off == REG_WINDOW)
		v = ioapic_get(io);
	pthread_mutex_unlock(&io->lock);
	memset(dst, 0, len);
	memcpy(dst, &v, len < sizeof(v) ? len : sizeof(v));
}

static void ioapic_write(void *dev, uint64_t off, const void *src, unsigned len)
{
	struct ioapic *io = dev;
	uint32_t v = 0;

	memcpy(&v, src, len < sizeof(v) ? len : sizeof(v));
	pthread_mutex_lock(&io->lock);
	if (off == REG_SELECT)
		io->select = (uint8_t)v;
	else if (off == REG_WINDOW && len >= sizeof(v))
		ioapic_set(io, v);
	pthread_mutex_unlock(&io->lock);
}

uint64_t ioapic_route_changes(struct ioapic *io)
{
	uint64_t n;

	pthread_mutex_lock(&io->lock);
	n = io->route_changes;
	pthread_mutex_unlock(&io->lock);
	return n;
}

const struct bus_ops ioapic_bus_ops = { .name = "io-apic", .read = ioapic_read, .write = ioapic_write };
