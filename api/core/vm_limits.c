/* What jail is told of a VM's share of the host: at its start, and once more when it is adopted, as the file says then. See vm.h. */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "api/core/vm.h"
#include "lib/wire/jail.h"

/* Both 0 or more; 0: no limit. */
static uint64_t lower(uint64_t a, uint64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/* What vmm lets its disks do together, and what their file system does besides (journal, blocks read around it); at most the daemon's limit for any VM. The kernel
 * counts reads and writes apart. */
static void put_io(const struct vm *vm, struct buf *b)
{
	const struct config *k = &vm->core->config;
	uint64_t disks = vm->group ? vm_n_disks(vm) + 1 + (vm->r.target[0] != 0) : 0, bytes_s = k->vm_io_bytes_s, ops_s = k->vm_io_ops_s;
	struct stat st;

	if (vm->group) { /* rates are at most NET_RATE_MAX, disks a few */
		bytes_s = lower(vm->group->disk_bytes_s * disks / 4 * 5, bytes_s);
		ops_s = lower(vm->group->disk_ops_s * disks * 2, ops_s);
	}
	if (fstat(vm->core->vms_fd, &st))
		return;
	wire_u64(b, J_T_IO_MAJOR, major(st.st_dev));
	wire_u64(b, J_T_IO_MINOR, minor(st.st_dev));
	if (bytes_s)
		wire_u64(b, J_T_IO_BYTES_S, bytes_s);
	if (ops_s)
		wire_u64(b, J_T_IO_OPS_S, ops_s);
}

void vm_put_limits(const struct vm *vm, struct buf *b)
{
	wire_u64(b, J_T_RAM_BYTES, vm->r.ram_bytes);
	wire_u64(b, J_T_VCPUS, vm->r.vcpus);
	wire_u64(b, J_T_CPU_WEIGHT, vm->group ? vm->group->cpu_weight : CPU_WEIGHT_DEFAULT);
	wire_u64(b, J_T_MORE_BYTES, vm_disk_in_memory(vm));
	put_io(vm, b);
}
