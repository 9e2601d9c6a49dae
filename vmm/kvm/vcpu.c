#include "vmm/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int kvm_vcpu_init(struct kvm_vcpu *v, struct kvm_vm *vm, uint32_t id, struct fault *f)
{
	void *p;

	v->id = id;
	v->run = NULL;
	v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)id);
	if (v->fd < 0)
		return fault_set(f, -errno, "vCPU %u: %s", id, strerror(errno));
	p = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (p == MAP_FAILED) {
		int err = -errno;

		fd_close(&v->fd);
		return fault_set(f, err, "vCPU %u: mapping its shared area: %s", id, strerror(-err));
	}
	v->run = p;
	return 0;
}

void kvm_vcpu_done(struct kvm_vcpu *v, const struct kvm_vm *vm)
{
	if (v->run)
		munmap(v->run, vm->run_bytes);
	v->run = NULL;
	fd_close(&v->fd);
}

/* One ioctl with its sentence. */
static int vcpu_ioctl(struct kvm_vcpu *v, unsigned long request, void *arg, const char *what, struct fault *f)
{
	if (ioctl(v->fd, request, arg) < 0)
		return fault_set(f, -errno, "vCPU %u: %s: %s", v->id, what, strerror(errno));
	return 0;
}

int kvm_vcpu_cpuid(struct kvm_vcpu *v, const struct kvm_cpuid_table *t, struct fault *f)
{
	struct kvm_cpuid_table copy = *t; /* the kernel's interface is not const */

	return vcpu_ioctl(v, KVM_SET_CPUID2, &copy, "setting CPUID", f);
}

int kvm_vcpu_msrs(struct kvm_vcpu *v, const struct kvm_msr_entry *m, unsigned n, struct fault *f)
{
	struct {
		uint32_t nmsrs, padding; /* as struct kvm_msrs */
		struct kvm_msr_entry entries[16];
	} t;
	int set;

	if (n > ARRAY_LEN(t.entries))
		return fault_set(f, -E2BIG, "vCPU %u: %u model-specific registers at once", v->id, n);
	memset(&t, 0, sizeof(t));
	t.nmsrs = n;
	memcpy(t.entries, m, n * sizeof(*m));
	set = ioctl(v->fd, KVM_SET_MSRS, &t);
	if (set < 0)
		return fault_set(f, -errno, "vCPU %u: setting model-specific registers: %s", v->id, strerror(errno));
	if ((unsigned)set != n)
		return fault_set(f, -EINVAL, "vCPU %u: KVM refuses model-specific register 0x%x", v->id, m[set].index);
	return 0;
}

int kvm_vcpu_get_sregs(struct kvm_vcpu *v, struct kvm_sregs *s, struct fault *f)
{
	return vcpu_ioctl(v, KVM_GET_SREGS, s, "reading system registers", f);
}

int kvm_vcpu_set_sregs(struct kvm_vcpu *v, const struct kvm_sregs *s, struct fault *f)
{
	struct kvm_sregs copy = *s;

	return vcpu_ioctl(v, KVM_SET_SREGS, &copy, "setting system registers", f);
}

int kvm_vcpu_get_regs(struct kvm_vcpu *v, struct kvm_regs *r, struct fault *f)
{
	return vcpu_ioctl(v, KVM_GET_REGS, r, "reading registers", f);
}

int kvm_vcpu_set_regs(struct kvm_vcpu *v, const struct kvm_regs *r, struct fault *f)
{
	struct kvm_regs copy = *r;

	return vcpu_ioctl(v, KVM_SET_REGS, &copy, "setting registers", f);
}

static struct kvm_coalesced_mmio_ring *coalesced(const struct kvm_vcpu *v, const struct kvm_vm *vm)
{
	return (void *)((uint8_t *)v->run + vm->coalesced_off);
}

/* Entries that fit into the page after its head. */
#define COALESCED_MAX ((4096u - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

const struct kvm_coalesced_mmio *kvm_coalesced_first(const struct kvm_vcpu *v, const struct kvm_vm *vm)
{
	struct kvm_coalesced_mmio_ring *r = coalesced(v, vm);
	uint32_t first;

	if (!vm->coalesced_off)
		return NULL;
	first = __atomic_load_n(&r->first, __ATOMIC_ACQUIRE);
	if (first >= COALESCED_MAX || first == __atomic_load_n(&r->last, __ATOMIC_ACQUIRE))
		return NULL;
	return &r->coalesced_mmio[first];
}

void kvm_coalesced_drop(struct kvm_vcpu *v, const struct kvm_vm *vm)
{
	struct kvm_coalesced_mmio_ring *r = coalesced(v, vm);

	__atomic_store_n(&r->first, (uint32_t)((r->first + 1) % COALESCED_MAX), __ATOMIC_RELEASE);
}

int kvm_vcpu_run(struct kvm_vcpu *v)
{
	return ioctl(v->fd, KVM_RUN, 0) < 0 ? -errno : 0;
}
