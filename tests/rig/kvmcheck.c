/*
 * kvmcheck: does this /dev/kvm run guest code as hardware would? A VM of 64 KiB and a few instructions that kernels use at
 * privilege 0 and no capability tells about: popcnt and the delivery of int3. (Some KVMs interpret that code and lack them.)
 * Exit 0 and "kvmcheck: full" when all of it works, 1 and "kvmcheck: basic" when a VM runs and that does not,
 * 2 and a reason when no VM runs at all. Bounded by an alarm of 5 s.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_BYTES 0x10000
#define CODE_GPA 0x1000
#define STACK_GPA 0x8000
#define CPUID_ENTRIES_MAX 256

/* Written and assembled by hand. 16-bit code at CODE_GPA; ivt[3] points at on_int3. 'out 0xe9, al' reports al. */
static const uint8_t basic[] = {
	0xb0, 0x01, 0xe6, 0xe9, /* mov al,1; out 0xe9,al */
	0xf4,			/* hlt */
};
static const uint8_t full[] = {
	0xb9, 0xff, 0x00,	      /* mov cx,0xff */
	0xf3, 0x0f, 0xb8, 0xc1,	      /* popcnt ax,cx */
	0xe6, 0xe9,		      /* out 0xe9,al   -> 8 */
	0xcc,			      /* int3          -> on_int3 reports 3 */
	0xb0, 0x05, 0xe6, 0xe9, 0xf4, /* mov al,5; out 0xe9,al; hlt */
};
static const uint8_t on_int3[] = {0xb0, 0x03, 0xe6, 0xe9, 0xcf}; /* mov al,3; out 0xe9,al; iret */

struct vm {
	int vcpu_fd;
	struct kvm_run *run;
	uint8_t *mem;
};

static void on_alarm(int sig)
{
	static const char text[] = "kvmcheck: basic: the guest's code did not come to an end\n";

	(void)sig;
	if (write(1, text, sizeof text - 1) < 0)
		_exit(2);
	_exit(1);
}

static int give_up(const char *what)
{
	printf("kvmcheck: none: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* Without leaf 1's popcnt bit, a KVM that interprets would be right to refuse it. */
static void vm_show_cpuid(int kvm_fd, int vcpu_fd)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + CPUID_ENTRIES_MAX * sizeof cpuid->entries[0]);

	if (!cpuid)
		give_up("calloc");
	cpuid->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) == 0)
		ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid);
	free(cpuid);
}

static void vm_make(struct vm *vm)
{
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm_fd, run_bytes;
	struct kvm_userspace_memory_region slot = {.memory_size = GUEST_BYTES};

	if (kvm_fd < 0)
		give_up("open /dev/kvm");
	vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (vm_fd < 0)
		give_up("KVM_CREATE_VM");
	vm->mem = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->mem == MAP_FAILED)
		give_up("mmap");
	slot.userspace_addr = (uintptr_t)vm->mem;
	if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		give_up("KVM_SET_USER_MEMORY_REGION");
	vm->vcpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0);
	if (vm->vcpu_fd < 0)
		give_up("KVM_CREATE_VCPU");
	run_bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	if (run_bytes < (int)sizeof *vm->run || vm->run == MAP_FAILED)
		give_up("mmap of kvm_run");
	vm_show_cpuid(kvm_fd, vm->vcpu_fd);
}

static void vm_load(struct vm *vm, const uint8_t *code, size_t code_bytes)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = CODE_GPA, .rsp = STACK_GPA, .rflags = 2};
	const uint16_t vector3[2] = {CODE_GPA + 0x800, 0};

	memcpy(vm->mem + CODE_GPA, code, code_bytes);
	memcpy(vm->mem + CODE_GPA + 0x800, on_int3, sizeof on_int3);
	memcpy(vm->mem + 3 * 4, vector3, sizeof vector3);
	if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		give_up("KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		give_up("setting registers");
}

/* Runs until hlt; the bytes the guest reported go to said. 0, or -1 when it ended any other way. */
static int vm_run(struct vm *vm, uint8_t *said, size_t room)
{
	size_t used = 0;

	for (int exits = 0; exits < 16; exits++) {
		if (ioctl(vm->vcpu_fd, KVM_RUN, 0) < 0)
			give_up("KVM_RUN");
		if (vm->run->exit_reason == KVM_EXIT_HLT)
			return 0;
		if (vm->run->exit_reason != KVM_EXIT_IO || vm->run->io.port != 0xe9 || used == room)
			return -1;
		said[used++] = *((uint8_t *)vm->run + vm->run->io.data_offset);
	}
	return -1;
}

int main(void)
{
	struct vm vm;
	uint8_t said[3] = {0};

	signal(SIGALRM, on_alarm);
	alarm(5);
	vm_make(&vm);
	vm_load(&vm, basic, sizeof basic);
	if (vm_run(&vm, said, sizeof said) || said[0] != 1) {
		printf("kvmcheck: none: the first instructions ended with exit reason %u\n", vm.run->exit_reason);
		return 2;
	}
	vm_load(&vm, full, sizeof full);
	if (vm_run(&vm, said, sizeof said) || said[0] != 8 || said[1] != 3 || said[2] != 5) {
		printf("kvmcheck: basic: popcnt and int3 at privilege 0 do not work (exit reason %u)\n", vm.run->exit_reason);
		return 1;
	}
	puts("kvmcheck: full");
	return 0;
}
