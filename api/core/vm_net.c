/* A VM's network card as vmm gets it: the queues of its tap, its limits for good. */
#include <errno.h>

#include "api/core/vm.h"

unsigned vm_net_queues(const struct vm *vm)
{
	return vm->r.vcpus < NETD_QUEUES_MAX ? vm->r.vcpus : NETD_QUEUES_MAX;
}

int vm_take_taps(struct vm *vm, int *fds, unsigned n_fds)
{
	if (n_fds < 1 || n_fds > NETD_QUEUES_MAX)
		return -EPROTO;
	vm_taps_close(vm);
	for (; vm->n_taps < n_fds; vm->n_taps++) {
		vm->tap_fds[vm->n_taps] = fds[vm->n_taps];
		fds[vm->n_taps] = -1;
	}
	return 0;
}

void vm_taps_close(struct vm *vm)
{
	while (vm->n_taps)
		fd_close(&vm->tap_fds[--vm->n_taps]);
}

void vm_net_limits(const struct vm *vm, struct buf *b)
{
	if (vm->r.net_bytes_s) {
		wire_u64(b, V_T_RX_BYTES_S, vm->r.net_bytes_s);
		wire_u64(b, V_T_TX_BYTES_S, vm->r.net_bytes_s);
	}
	if (vm->r.net_packets_s) {
		wire_u64(b, V_T_RX_PACKETS_S, vm->r.net_packets_s);
		wire_u64(b, V_T_TX_PACKETS_S, vm->r.net_packets_s);
	}
}
