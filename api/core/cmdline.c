#include "api/core/cmdline.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/core/gate.h"
#include "api/core/net.h"

#define COMMON "console=ttyS0 quiet panic=-1 root=/dev/vda rw rootfstype=ext4"
/* Above 3 GiB a kernel keeps 64 MiB for bounce buffers that no device of ours needs. */
#define NO_BOUNCE " swiotlb=noforce"
/* min and emulated are built without return thunks (kernel-config/reasons.md), so on Zen this changes nothing but the hundred bytes of complaint
 * that even a quiet kernel would print, one exit each. */
#define OURS " spec_rstack_overflow=off"
/* What full has built in makes devices at the start, and tunnels in each new network namespace: nobody asked for them, and K3s makes its own dummy0. */
#define FULL " fb_tunnels=none dummy.numdummies=0 ifb.numifbs=0 bonding.max_bonds=0"
/* One processor for good: lock prefixes need no patching, a tenth of the boot's instructions. */
#define OURS_ALONE " noreplace-smp"

#define DNS_TEXT_MAX ((DNS_MAX + 1) * ADDR_TEXT_MAX)

/* Isolated VMs ask gate, at their gateway, which forwards what their rules allow; those on a bridge ask it first, but are not lost without it. "127.0.0.1" is
 * the contract's word for no DNS at all. */
static void dns_of(const struct vm *vm, bool with_network, const char *gateway, char out[DNS_TEXT_MAX])
{
	bool asks_gate = with_network && net_is_isolated(vm) && peer_there(&vm->core->gate) && strncmp(vm->group->dns, "127.", 4) != 0;

	if (with_network && gate_bridge_serves(vm) && !net_has_rules(vm))
		snprintf(out, DNS_TEXT_MAX, "%s,%s", gateway, vm->group->dns);
	else if (with_network && gate_bridge_serves(vm))
		snprintf(out, DNS_TEXT_MAX, "%s", gateway);
	else
		snprintf(out, DNS_TEXT_MAX, "%s", asks_gate ? gateway : vm->group->dns);
}

/* NAME=VALUE words that the kernel does not know reach init as its environment (init/init.h). */
int cmdline_make(const struct vm *vm, bool with_network, char *out, size_t cap)
{
	const struct host_group *g = vm->group;
	bool ours = g->kernel.fd < 0;
	const char *init = vm->r.base[0] && !vm->r.target[0] ? "/usr/lib/mica/init" : "/sbin/init"; /* rootfs/unpack/adopt.c; rootfs/min.list */
	char gw[ADDR_TEXT_MAX] = "", dns[DNS_TEXT_MAX];
	char id[64] = "";
	struct net_addr6 six = { "", "", "" };
	int n;

	if (with_network) {
		if (!net_is_dhcp(vm))
			net_gateway_of(vm, gw);
		net_addr6_of(vm, &six);
	}
	bool dhcp = with_network && net_is_dhcp(vm);

	dns_of(vm, with_network, gw, dns);
	if (dhcp && !g->dns_given) /* the LAN's */
		dns[0] = 0;
	if (vm->r.machine_id[0]) /* systemd takes it and writes it down; a fork's alone is known here */
		snprintf(id, sizeof(id), " systemd.machine_id=%s", vm->r.machine_id);
	n = snprintf(out, cap, "%s init=%s%s%s%s%s MICA_HOST=%s%s%s%s%s%s%s%s%s%s%s", COMMON, init, vm->r.ram_bytes > 3ull << 30 ? NO_BOUNCE : "",
		     !ours ? "" : g->kernel_full ? FULL : OURS, ours && vm->r.vcpus == 1 ? OURS_ALONE : "", id, vm->r.guest_name[0] ? vm->r.guest_name : vm->r.name, with_network ? " MICA_IP=" : "",
		     dhcp ? "dhcp" : with_network ? vm->r.ip : "", gw[0] ? " MICA_GW=" : "", gw, six.guest[0] ? " MICA_IP6=" : "", six.guest,
		     six.guest[0] ? " MICA_GW6=" : "", six.gateway, dns[0] ? " MICA_DNS=" : "", dns);
	return n < 0 || (size_t)n >= cap ? -EMSGSIZE : 0;
}
