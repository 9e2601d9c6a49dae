#include "api/core/flavour.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/core/vm.h"

#define COMMON "console=ttyS0 quiet panic=-1 root=/dev/vda rw rootfstype=ext4 init=/sbin/init"

/* In order: our own min kernel; the flavour for a KVM without VMX or SVM; a kernel the operator brought. */
static const struct flavour flavours[] = {
	{ COMMON, false },
	{ COMMON, false }, /* brings its own words, built in (kernel-config/emulated.config) */
	{ COMMON, false },
};

const struct flavour *flavour_of(const struct vm *vm)
{
	if (vm->group && vm->group->kernel.fd >= 0)
		return &flavours[2];
	return &flavours[vm->core->emulated ? 1 : 0];
}

/* NAME=VALUE words that the kernel does not know reach init as its environment (init/init.h). */
int flavour_cmdline(const struct vm *vm, bool with_network, char *out, size_t cap)
{
	char gw[ADDR_TEXT_MAX] = "";
	int n;

	if (with_network)
		addr_format(vm->group->pool.gateway.addr, gw);
	n = snprintf(out, cap, "%s%s MICA_HOST=%s%s%s%s%s%s%s", flavour_of(vm)->cmdline,
		     vm->r.ram_bytes > 3ull << 30 ? " swiotlb=noforce" : "", vm->r.name, with_network ? " MICA_IP=" : "",
		     with_network ? vm->r.ip : "", with_network ? " MICA_GW=" : "", gw, vm->group->dns[0] ? " MICA_DNS=" : "",
		     vm->group->dns);
	return n < 0 || (size_t)n >= cap ? -EMSGSIZE : 0;
}
