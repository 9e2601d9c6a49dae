#include "api/core/cmdline.h"

#include <errno.h>
#include <stdio.h>

#define COMMON "console=ttyS0 quiet panic=-1 root=/dev/vda rw rootfstype=ext4 init=/sbin/init"
/* Above 3 GiB a kernel keeps 64 MiB for bounce buffers that no device of ours needs. */
#define NO_BOUNCE " swiotlb=noforce"
/* Our kernels are built without return thunks (kernel-config/reasons.md), so on Zen this changes nothing but the hundred bytes of complaint
 * that even a quiet kernel would print, one exit each. */
#define OURS " spec_rstack_overflow=off"
/* One processor for good: lock prefixes need no patching, a tenth of the boot's instructions. */
#define OURS_ALONE " noreplace-smp"

/* NAME=VALUE words that the kernel does not know reach init as its environment (init/init.h). */
int cmdline_make(const struct vm *vm, bool with_network, char *out, size_t cap)
{
	const struct host_group *g = vm->group;
	bool ours = g->kernel.fd < 0;
	char gw[ADDR_TEXT_MAX] = "";
	int n;

	if (with_network)
		addr_format(g->pool.gateway.addr, gw);
	n = snprintf(out, cap, "%s%s%s%s MICA_HOST=%s%s%s%s%s%s%s", COMMON, vm->r.ram_bytes > 3ull << 30 ? NO_BOUNCE : "",
		     ours ? OURS : "", ours && vm->r.vcpus == 1 ? OURS_ALONE : "", vm->r.name, with_network ? " MICA_IP=" : "",
		     with_network ? vm->r.ip : "", with_network ? " MICA_GW=" : "", gw, g->dns[0] ? " MICA_DNS=" : "", g->dns);
	return n < 0 || (size_t)n >= cap ? -EMSGSIZE : 0;
}
