#include "vmm/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COALESCED_PAGE_BYTES 4096u

int kvm_vm_init(struct kvm_vm *vm, int kvm_fd, struct fault *f)
{
	int n;

	vm->kvm_fd = kvm_fd;
	vm->fd = -1;
	vm->slots = 0;
	vm->coalesced_off = 0;
	n = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);
	if (n < 0)
		return fault_set(f, -errno, "what was given as /dev/kvm is no KVM: %s [E_KVM_USELESS]", strerror(errno));
	if (n != KVM_API_VERSION)
		return fault_set(f, -ENOTSUP, "/dev/kvm speaks version %d, not %d: the host's kernel is too old [E_KVM_USELESS]", n, KVM_API_VERSION);
	/* the newest of what we build on: split irqchip, irqfd and ioeventfd are older */
	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) <= 0)
		return fault_set(f, -ENOTSUP, "/dev/kvm cannot do immediate exits: the host needs Linux 4.12 or newer [E_KVM_USELESS]");
	n = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (int)sizeof(struct kvm_run))
		return fault_set(f, -ENOTSUP, "/dev/kvm offers a vCPU area of %d bytes, which is too small", n);
	vm->run_bytes = (uint32_t)n;
	do
		vm->fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		return fault_set(f, -errno, "cannot create a VM: %s", strerror(errno));
	return 0;
}

void kvm_vm_done(struct kvm_vm *vm)
{
	fd_close(&vm->fd);
}

int kvm_vm_memory(struct kvm_vm *vm, uint64_t gpa, uint64_t bytes, void *host, bool readonly, struct fault *f)
{
	struct kvm_userspace_memory_region r = {
		.slot = vm->slots,
		.flags = readonly ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)host,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return fault_set(f, -errno, "memory slot %u (%llu bytes at guest address 0x%llx): %s", vm->slots,
				 (unsigned long long)bytes, (unsigned long long)gpa, strerror(errno));
	vm->slots++;
	return 0;
}

int kvm_vm_split_irqchip(struct kvm_vm *vm, unsigned pins, struct fault *f)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { pins } };

	if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0)
		return fault_errno(f, -errno, "split irqchip");
	return 0;
}

int kvm_vm_real_mode_pages(struct kvm_vm *vm, uint64_t tss_gpa, uint64_t map_gpa, struct fault *f)
{
	__u64 map = map_gpa;

	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &map) < 0)
		return fault_errno(f, -errno, "address of the identity map");
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)tss_gpa) < 0)
		return fault_errno(f, -errno, "address of the real-mode TSS");
	return 0;
}

int kvm_vm_routes(struct kvm_vm *vm, const struct kvm_route *pins, unsigned n, struct fault *f)
{
	struct {
		uint32_t nr, flags; /* as struct kvm_irq_routing */
		struct kvm_irq_routing_entry entries[KVM_PINS_MAX];
	} t;
	unsigned used = 0;

	memset(&t, 0, sizeof(t));
	for (unsigned i = 0; i < n && i < KVM_PINS_MAX; i++) {
		struct kvm_irq_routing_entry *e;

		if (!pins[i].data)
			continue;
		e = &t.entries[used++];
		e->gsi = i;
		e->type = KVM_IRQ_ROUTING_MSI;
		e->u.msi.address_lo = pins[i].address_lo;
		e->u.msi.address_hi = pins[i].address_hi;
		e->u.msi.data = pins[i].data;
	}
	t.nr = used;
	if (ioctl(vm->fd, KVM_SET_GSI_ROUTING, &t) < 0)
		return fault_errno(f, -errno, "interrupt routes");
	return 0;
}

int kvm_vm_irqfd(struct kvm_vm *vm, int event_fd, unsigned pin, struct fault *f)
{
	struct kvm_irqfd r = { .fd = (uint32_t)event_fd, .gsi = pin };

	if (ioctl(vm->fd, KVM_IRQFD, &r) < 0)
		return fault_set(f, -errno, "irqfd on pin %u: %s", pin, strerror(errno));
	return 0;
}

int kvm_vm_ioeventfd(struct kvm_vm *vm, int event_fd, uint64_t gpa, unsigned bytes, uint64_t value, struct fault *f)
{
	struct kvm_ioeventfd r = {
		.datamatch = value,
		.addr = gpa,
		.len = bytes,
		.fd = event_fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	if (ioctl(vm->fd, KVM_IOEVENTFD, &r) < 0)
		return fault_set(f, -errno, "ioeventfd at 0x%llx: %s", (unsigned long long)gpa, strerror(errno));
	return 0;
}

int kvm_vm_coalesce(struct kvm_vm *vm, uint64_t gpa, uint32_t bytes, struct fault *f)
{
	struct kvm_coalesced_mmio_zone z = { .addr = gpa, .size = bytes };

	if (!vm->coalesced_off) {
		int page = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

		if (page <= 0 || ((uint32_t)page + 1) * COALESCED_PAGE_BYTES > vm->run_bytes)
			return 0;
		vm->coalesced_off = (uint32_t)page * COALESCED_PAGE_BYTES;
	}
	if (ioctl(vm->fd, KVM_REGISTER_COALESCED_MMIO, &z) < 0)
		return fault_set(f, -errno, "coalescing writes at 0x%llx: %s", (unsigned long long)gpa, strerror(errno));
	return 0;
}

int kvm_vm_cap(const struct kvm_vm *vm, int cap)
{
	int n = ioctl(vm->fd, KVM_CHECK_EXTENSION, cap);

	return n < 0 ? 0 : n;
}

int kvm_cpuid_supported(int kvm_fd, struct kvm_cpuid_table *out, struct fault *f)
{
	memset(out, 0, sizeof(*out));
	out->nent = KVM_CPUID_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, out) < 0)
		return fault_errno(f, -errno, "CPUID that this KVM supports");
	if (out->nent > KVM_CPUID_MAX)
		return fault_set(f, -E2BIG, "this KVM names %u CPUID entries, more than %u", out->nent, KVM_CPUID_MAX);
	return 0;
}
