/* What network a VM has, by its group. */
#include "api/core/net.h"

bool net_has_card(const struct vm *vm)
{
	const struct core *c = vm->core;

	return vm->r.ip[0] && vm->group && vm->group->net_mode != NET_NONE && c->net_up[vm->group - c->config.groups] && peer_there(&c->netd);
}

bool net_is_isolated(const struct vm *vm)
{
	return vm->group && vm->group->net_mode == NET_ISOLATED;
}

bool net_mode_is_bridge(const struct vm *vm)
{
	return vm->group && vm->group->net_mode == NET_BRIDGE;
}

bool net_has_rules(const struct vm *vm)
{
	return net_is_isolated(vm) || (net_mode_is_bridge(vm) && (vm->policy.n[POLICY_ALLOW] || vm->policy.n[POLICY_DROP]));
}

bool net_is_macvtap(const struct vm *vm)
{
	return vm->group && vm->group->net_mode == NET_MACVTAP;
}

bool net_is_dhcp(const struct vm *vm)
{
	return vm->group && group_dhcp(vm->group);
}

const char *net_mode_of(const struct vm *vm)
{
	return !vm->r.ip[0] ? "none" : net_is_isolated(vm) ? "isolated" : net_is_macvtap(vm) ? "macvtap" : "bridge";
}
