#include "vmm/machine/machine.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/virtio/mmio.h"
#include "vmm/x86/acpi.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/state.h"

/* ---- interrupts ---- */

void machine_irq_raise(struct machine_irq *irq)
{
	uint64_t one = 1;

	/* cannot fill up: KVM takes the count at once, and what is lost then was an edge on a line that is high */
	if (write(irq->fd, &one, sizeof(one)) < 0)
		return;
}

int machine_irq_init(struct machine *m, struct machine_irq *irq, unsigned pin, struct fault *f)
{
	irq->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (irq->fd < 0)
		return fault_errno(f, -errno, "eventfd for an interrupt");
	return kvm_vm_irqfd(&m->kvm, irq->fd, pin, f);
}

static void machine_set_routes(void *arg, const struct kvm_route *route, unsigned pins)
{
	struct machine *m = arg;
	struct fault f = { "" };
	int err = kvm_vm_routes(&m->kvm, route, pins, &f);

	if (err)
		machine_end(m, REASON_KVM_ERROR, NULL, "%s", f.text);
}

/* ---- the console ---- */

static void machine_note(struct machine *m)
{
	uint64_t one = 1;

	if (write(m->note_fd, &one, sizeof(one)) < 0)
		return; /* full: the main thread will come anyway */
}

static void console_has_pending(void *arg)
{
	struct machine *m = arg;

	atomic_store(&m->console_pending, true);
	machine_note(m);
}

void machine_disk_news(void *arg)
{
	struct machine *m = arg;

	atomic_store(&m->disk_news, true);
	machine_note(m);
}

static void uart_out(void *arg, uint8_t byte)
{
	struct machine *m = arg;

	console_byte(&m->console, byte);
}

static void uart_irq(void *arg)
{
	struct machine *m = arg;

	machine_irq_raise(&m->uart_irq);
}

/* ---- building ---- */

/* A page per virtio device from which the guest reads its registers without an exit (vdev_set_window). A KVM that has no read-only
 * memory does without. mmap munmap. */
static void machine_windows(struct machine *m)
{
	size_t bytes = (size_t)machine_count_devices(m->req) * MMIO_BYTES;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return;
	if (kvm_vm_memory(&m->kvm, X86_VIRTIO_GPA, bytes, p, true, NULL))
		munmap(p, bytes);
	else
		m->windows = p;
}

static int machine_memory(struct machine *m, struct fault *f)
{
	const struct gm_region *r;
	int err = gm_init(&m->gm, m->req->ram_bytes, f);

	for (unsigned i = 0; !err && (r = gm_region(&m->gm, i)); i++)
		err = kvm_vm_memory(&m->kvm, r->gpa, r->len_bytes, r->host, false, f);
	if (!err)
		machine_windows(m);
	return err;
}

static int machine_vcpus(struct machine *m, const struct boot_entry *entry, struct fault *f)
{
	struct kvm_cpuid_table cpuid;
	int err = kvm_cpuid_supported(m->kvm.kvm_fd, &cpuid, f);

	if (err)
		return err;
	cpuid_filter(&cpuid, m->req->vcpus, kvm_vm_cap(&m->kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0, cpuid_host_is_software());
	for (unsigned i = 0; i < m->req->vcpus && !err; i++) {
		struct machine_vcpu *v = &m->vcpu[i];

		v->m = m;
		err = kvm_vcpu_init(&v->kvm, &m->kvm, i, f);
		if (err)
			return err;
		m->n_vcpus++;
		cpuid_set_apic(&cpuid, i);
		err = kvm_vcpu_cpuid(&v->kvm, &cpuid, f);
		if (!err)
			err = state_msrs(&v->kvm, f);
		if (!err && !i)
			err = state_entry(&v->kvm, entry, f);
	}
	return err;
}

static int machine_platform(struct machine *m, unsigned pins, struct fault *f)
{
	int err = 0;

	ioapic_init(&m->ioapic, pins, machine_set_routes, m);
	uart_init(&m->uart, uart_out, uart_irq, m);
	err = machine_irq_init(m, &m->uart_irq, X86_PIN_COM1, f);
	if (!err)
		err = bus_add(&m->mmio, X86_IOAPIC_GPA, IOAPIC_BYTES, &ioapic_bus_ops, &m->ioapic, f);
	if (!err)
		err = bus_add(&m->pio, X86_PORT_COM1, UART_PORTS, &uart_bus_ops, &m->uart, f);
	return err ? err : machine_add_power(m, f);
}

/* Writes that only matter once something else is read or written, and need no exit of their own: the IO-APIC's register number, and in each
 * virtio device the driver's features and a queue's addresses. What is coalesced must have no effect that its window could show. */
static int machine_coalesce(struct machine *m, struct fault *f)
{
	int err = kvm_vm_coalesce(&m->kvm, X86_IOAPIC_GPA, 4, f);

	for (unsigned i = 0; i < m->n_virtio && !err; i++) {
		uint64_t base = X86_VIRTIO_GPA + (uint64_t)i * MMIO_BYTES;

		err = kvm_vm_coalesce(&m->kvm, base + VIRTIO_MMIO_DRIVER_FEATURES, 8, f);
		if (!err)
			err = kvm_vm_coalesce(&m->kvm, base + VIRTIO_MMIO_QUEUE_DESC_LOW,
					      VIRTIO_MMIO_QUEUE_USED_HIGH + 4 - VIRTIO_MMIO_QUEUE_DESC_LOW, f);
	}
	return err;
}

static int machine_guest(struct machine *m, struct boot_entry *entry, struct fault *f)
{
	struct acpi_machine tables = { .vcpus = m->req->vcpus, .virtio = m->n_virtio, .virtio_stride_bytes = MMIO_BYTES };
	struct boot_files files = { .kernel_fd = m->req->kernel_fd, .initrd_fd = m->req->initrd_fd, .cmdline = m->req->cmdline };
	int err = acpi_write(&m->gm, &tables, f);

	return err ? err : boot_load(&m->gm, &files, entry, f);
}

static void machine_zero(struct machine *m, struct ev_loop *loop, struct boot_request *req)
{
	memset(m, 0, sizeof(*m));
	m->loop = loop;
	m->req = req;
	m->gm.memfd = -1;
	m->kvm.fd = -1;
	m->note_fd = -1;
	m->uart_irq.fd = -1;
	m->ack_fd = -1;
	m->console.fd = -1;
	pthread_mutex_init(&m->stand_lock, NULL);
	pthread_mutex_init(&m->end_lock, NULL);
	pthread_mutex_init(&m->coalesced_lock, NULL);
	pthread_cond_init(&m->stand_changed, NULL);
}

int machine_build(struct machine *m, int kvm_fd, struct ev_loop *loop, struct boot_request *req, struct fault *f)
{
	struct boot_entry entry = { .mode = BOOT_PVH };
	unsigned pins = X86_PIN_VIRTIO + machine_count_devices(req);
	int err;

	machine_zero(m, loop, req);
	m->note_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->note_fd < 0)
		return fault_errno(f, -errno, "eventfd");
	err = console_init(&m->console, req->console_fd, console_has_pending, m, f);
	if (err)
		return err;
	req->console_fd = -1; /* the console's now */
	err = kvm_vm_init(&m->kvm, kvm_fd, f);
	if (!err)
		err = machine_memory(m, f);
	if (!err && cpuid_host_is_intel())
		err = kvm_vm_real_mode_pages(&m->kvm, X86_TSS_GPA, X86_IDENTITY_MAP_GPA, f);
	if (!err)
		err = kvm_vm_split_irqchip(&m->kvm, pins, f);
	if (!err)
		err = machine_platform(m, pins, f);
	if (!err)
		err = machine_add_devices(m, f);
	if (!err)
		err = machine_guest(m, &entry, f);
	if (!err)
		err = machine_vcpus(m, &entry, f);
	if (!err)
		err = machine_coalesce(m, f);
	return err;
}

/* ---- the end ---- */

const char *machine_reason_word(enum machine_reason why)
{
	static const char *const words[] = { "", "poweroff", "reboot", "killed", "panic", "triple-fault", "kvm-error", "device", "vmm" };

	return words[why];
}

struct machine_vcpu *machine_this_vcpu(struct machine *m)
{
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (pthread_equal(m->vcpu[i].thread, pthread_self()))
			return &m->vcpu[i];
	return NULL;
}

void machine_panicked(struct machine *m)
{
	struct machine_vcpu *v = machine_this_vcpu(m);
	char text[sizeof(m->panic_registers)] = "";

	if (atomic_exchange(&m->panicked, true))
		return;
	if (v)
		state_text(&v->kvm, text, sizeof(text));
	pthread_mutex_lock(&m->end_lock);
	memcpy(m->panic_registers, text, sizeof(text));
	pthread_mutex_unlock(&m->end_lock);
	machine_note(m);
}

/* What a guest that panicked is said to have ended by, whatever it did after; end_lock is held. */
static void end_by_panic(struct machine *m, const char *words, const char *registers)
{
	m->reason = REASON_PANIC;
	snprintf(m->end_text, sizeof(m->end_text), "the guest's kernel panicked: %s\n%s", words[0] ? words : "it did not say why",
		 m->panic_registers[0] ? m->panic_registers : registers);
}

void machine_end(struct machine *m, enum machine_reason why, struct machine_vcpu *v, const char *fmt, ...)
{
	char registers[sizeof(m->panic_registers)] = "", words[CONSOLE_PANIC_BYTES] = "";
	bool restart = why == REASON_REBOOT || why == REASON_TRIPLE_FAULT || why == REASON_PANIC;
	bool guest = restart || why == REASON_POWEROFF;
	va_list ap;

	if (v)
		state_text(&v->kvm, registers, sizeof(registers));
	console_panic_text(&m->console, words);
	pthread_mutex_lock(&m->end_lock);
	if (m->reason == REASON_NONE) {
		/* words alone are a hint (a user can print them); words and a restart are a panic */
		if ((guest && atomic_load(&m->panicked)) || (restart && words[0])) {
			end_by_panic(m, words, registers);
		} else {
			int n;

			va_start(ap, fmt);
			n = vsnprintf(m->end_text, sizeof(m->end_text), fmt, ap);
			va_end(ap);
			if (registers[0] && n >= 0 && (size_t)n + 1 < sizeof(m->end_text))
				snprintf(m->end_text + n, sizeof(m->end_text) - (size_t)n, "\n%s", registers);
			m->reason = why;
		}
		atomic_store(&m->state, MACHINE_ENDED);
	}
	pthread_mutex_unlock(&m->end_lock);
	machine_note(m);
}
