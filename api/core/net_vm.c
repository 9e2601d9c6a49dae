/*
 * A VM's card. Bridge: a tap from netd, its rules before it. Macvtap: a link from netd, opened by jail, that stays until netd hears that the VM is gone.
 * Isolated: jail opens the network namespace of the VM's process, netd puts links and rules into it and gives the
 * tap, gate gets the sockets of its DNS and its events. The namespace goes with the process, and everything in it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/core/gate.h"
#include "api/core/net.h"
#include "api/core/policy.h"
#include "lib/wire/gate.h"
#include "lib/wire/jail.h"
#include "lib/wire/netd.h"

static uint32_t addr_of(const struct vm *vm)
{
	struct cidr c = { 0, 0 };

	cidr_parse(vm->r.ip, 99, &c);
	return c.addr;
}

void net_gateway_of(const struct vm *vm, char out[ADDR_TEXT_MAX])
{
	addr_format(addr_pool_gateway(&vm->group->pool, addr_of(vm)), out);
}

void net_addr6_of(const struct vm *vm, struct net_addr6 *out)
{
	const struct host_group *g = vm->group;
	uint32_t a = addr_of(vm);

	memset(out, 0, sizeof(*out));
	if (!g || !g->ipv6 || !net_has_card(vm))
		return;
	addr6_format(g->prefix6, a, g->pool.pairs ? 126 : 64, out->guest);
	addr6_format(g->prefix6, a, 0, out->guest_alone);
	addr6_format(g->prefix6, addr_pool_gateway(&g->pool, a), 0, out->gateway);
}

/* Unique on the host, also beside another daemon's VM of that name: a hash, since an interface's name is shorter than a VM's. */
static void link_of(const struct vm *vm, char out[IFNAME_LEN])
{
	char owner[9], name[VM_NAME_MAX + 12];
	uint8_t mac[6];

	net_owner(vm->core, owner);
	snprintf(name, sizeof(name), "%s/%s", owner, vm->r.name);
	mac_of_name(name, mac);
	snprintf(out, IFNAME_LEN, NETD_LINK_PREFIX "%02x%02x%02x%02x%02x", mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void tap_of(const struct vm *vm, char out[IFNAME_LEN + 8])
{
	snprintf(out, IFNAME_LEN + 8, "%s%u", vm->group->tap_prefix, vm->r.slot);
}

static void put_addresses(struct buf *b, const struct vm *vm, bool with_gateway)
{
	struct net_addr6 six;

	net_addr6_of(vm, &six);
	wire_bytes(b, N_T_MAC, vm->r.mac, sizeof(vm->r.mac));
	wire_str(b, N_T_GUEST4, vm->r.ip);
	if (six.guest[0])
		wire_str(b, N_T_GUEST6, six.guest);
	if (!with_gateway)
		return;
	char gateway[ADDR_TEXT_MAX];

	net_gateway_of(vm, gateway);
	wire_str(b, N_T_GW4, gateway);
	if (six.guest[0])
		wire_str(b, N_T_GW6, six.gateway);
}

static void put_lan(struct buf *b, const struct vm *vm)
{
	wire_bytes(b, N_T_MAC, vm->r.mac, sizeof(vm->r.mac));
	if (!net_is_dhcp(vm))
		wire_str(b, N_T_GUEST4, vm->r.ip);
}

/* ---- what is under way for a VM ---- */

static void ns_close(struct vm *vm)
{
	for (int i = 0; i < J_NS_FDS; i++)
		fd_close(&vm->ns_fds[i]);
}

static void finish(struct vm *vm)
{
	void (*done)(struct vm *) = vm->net_done;

	ns_close(vm);
	vm->net_done = NULL;
	if (done)
		done(vm);
}

/* The reply of a step; true: it went well. Starting, the VM fails with what it says; adopting, it is told and the VM goes on as it is. */
static bool step(struct vm *vm, const struct wire_msg *m, const char *who)
{
	struct fault f = { "" };

	if (!vm->net_done) /* it is gone meanwhile */
		return false;
	if (!peer_result(m, who, &f, vm->state == VM_STARTING ? &vm->made_status : NULL)) {
		if (m && !wire_get_str(m, WIRE_T_TEXT, f.text, sizeof(f.text)) && f.text[0])
			core_say(vm->core, "NOTE", "%s: %s", vm->r.name, f.text);
		return true;
	}
	if (vm->state == VM_STARTING) {
		ns_close(vm);
		vm->net_done = NULL;
		vm_fail(vm, "start", "its network could not be made: %s", f.text);
	} else {
		core_say(vm->core, "NOTE", "%s: its network could not be taken over, it goes on under the rules it had: %s", vm->r.name, f.text);
		finish(vm);
	}
	return false;
}

/* ---- isolated ---- */

static void tell_gate(struct vm *vm)
{
	char ip4[ADDR_TEXT_MAX], gw4[ADDR_TEXT_MAX];
	struct net_addr6 six;
	struct gate_place at = { .ip4 = ip4, .gw4 = gw4, .events_fd = vm->ns_fds[J_NS_EVENTS], .udp_fd = vm->ns_fds[J_NS_DNS_UDP],
				 .tcp_fd = vm->ns_fds[J_NS_DNS_TCP] };

	net_addr6_of(vm, &six);
	addr_format(addr_of(vm), ip4);
	net_gateway_of(vm, gw4);
	if (six.guest[0]) {
		at.ip6 = six.guest_alone;
		at.gw6 = six.gateway;
	}
	if (gate_vm_up(vm, &at))
		core_say(vm->core, "NOTE", "%s has no DNS and no network record: gate cannot be asked", vm->r.name);
}

static void on_iso(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;

	if (!step(vm, m, "netd"))
		return;
	if (vm->state == VM_STARTING && vm_take_taps(vm, fds, n_fds)) {
		vm_fail(vm, "start", "netd gave no tap");
		return;
	}
	vm->ruled = true;
	tell_gate(vm);
	if (vm->rules_stale)
		gate_policy_changed(vm, NULL, NULL);
	finish(vm);
}

static void on_netns(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	struct core *c = vm->core;
	char link[IFNAME_LEN];
	struct buf *b;

	if (!step(vm, m, "jail"))
		return;
	for (unsigned i = 0; i < n_fds && n_fds == J_NS_FDS; i++) {
		vm->ns_fds[i] = fds[i];
		fds[i] = -1;
	}
	const int for_netd[] = { vm->ns_fds[J_NS_ROUTE], vm->ns_fds[J_NS_RULES], vm->ns_fds[J_NS_EVENTS], vm->ns_fds[J_NS_ITSELF] };
	if (n_fds != J_NS_FDS || !peer_there(&c->netd)) {
		step(vm, NULL, n_fds != J_NS_FDS ? "jail" : "netd");
		return;
	}
	link_of(vm, link);
	policy_load(vm);
	b = peer_begin(&c->netd, vm->state == VM_STARTING ? N_ISO_UP : N_ISO_ADOPT);
	wire_str(b, N_T_VM, vm->r.name);
	wire_str(b, N_T_LINK, link);
	put_addresses(b, vm, true);
	wire_u64(b, N_T_QUEUES, vm_net_queues(vm));
	policy_put_rules(b, vm);
	if (peer_call(&c->netd, for_netd, ARRAY_LEN(for_netd), on_iso, vm))
		step(vm, NULL, "netd");
}

static int ask_netns(struct vm *vm)
{
	struct core *c = vm->core;

	if (!peer_there(&c->jail))
		return -EPIPE;
	wire_str(peer_begin(&c->jail, J_NETNS), J_T_NAME, vm->r.name);
	return peer_call(&c->jail, NULL, 0, on_netns, vm);
}

/* ---- bridge ---- */

static void ask_rules(struct vm *vm);

static void on_tap(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;

	if (!step(vm, m, "netd"))
		return;
	if (vm->state == VM_STARTING && vm_take_taps(vm, fds, n_fds)) {
		vm_fail(vm, "start", "netd gave no tap");
		return;
	}
	vm->ruled = true;
	gate_bridge_vm_up(vm);
	if (vm->rules_stale)
		gate_policy_changed(vm, NULL, NULL);
	finish(vm);
}

static int ask_tap(struct vm *vm, bool adopt)
{
	struct core *c = vm->core;
	struct buf *b = peer_begin(&c->netd, adopt ? N_TAP_ADOPT : N_TAP_UP);
	char tap[IFNAME_LEN + 8];

	tap_of(vm, tap);
	wire_str(b, N_T_TAP, tap);
	if (!adopt)
		wire_str(b, N_T_BRIDGE, vm->group->bridge);
	if (net_is_macvtap(vm))
		put_lan(b, vm);
	else
		put_addresses(b, vm, false);
	if (!adopt)
		wire_u64(b, N_T_QUEUES, vm_net_queues(vm));
	return peer_call(&c->netd, NULL, 0, on_tap, vm);
}

/* Before its card: what it may reach beyond the bridge. */
static void on_rules(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	struct core *c = vm->core;

	(void)fds; (void)n_fds;
	if (!step(vm, m, "netd"))
		return;
	if (c->host_events_lost && vm->group->audit_required && !vm->net_locked) {
		vm->net_locked = true;
		ask_rules(vm);
	} else if (ask_tap(vm, vm->state != VM_STARTING)) {
		step(vm, NULL, "netd");
	}
}

static void ask_rules(struct vm *vm)
{
	net_rules_frame(vm);
	if (peer_call(&vm->core->netd, NULL, 0, on_rules, vm))
		step(vm, NULL, "netd");
}

static int ask_bridge(struct vm *vm, bool adopt)
{
	policy_load(vm);
	if (!net_has_rules(vm))
		return ask_tap(vm, adopt);
	ask_rules(vm);
	return 0;
}

static void on_events_given(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct core *c = arg;
	struct fault f = { "" };

	(void)fds; (void)n_fds;
	if (m && peer_result(m, "gate", &f, NULL))
		core_say(c, "NOTE", "VMs on bridges have no network record: %s", f.text);
}

static void on_events(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct core *c = arg;
	struct fault f = { "" };

	if (!m)
		return;
	c->host_events_lost = peer_result(m, "netd", &f, NULL) || n_fds != 1;
	if (c->host_events_lost) {
		core_say(c, "NOTE", "VMs on bridges have no network record: %s", f.text);
	} else if (peer_there(&c->gate)) {
		wire_u64(peer_begin(&c->gate, G_HOST_EVENTS), G_T_FD_EVENTS, 0);
		peer_call(&c->gate, fds, 1, on_events_given, c);
	}
}

/* Once, before the first rules: without it their flows go unrecorded. */
static void want_events(struct core *c)
{
	if (c->host_events_asked || !peer_there(&c->gate))
		return;
	c->host_events_asked = true;
	peer_begin(&c->netd, N_EVENTS);
	peer_call(&c->netd, NULL, 0, on_events, c);
}

void net_rules_frame(struct vm *vm)
{
	struct core *c = vm->core;
	char tap[IFNAME_LEN + 8];
	struct buf *b;

	if (net_mode_is_bridge(vm) && net_has_rules(vm))
		want_events(c);
	b = peer_begin(&c->netd, net_is_isolated(vm) ? N_POLICY : net_has_rules(vm) ? N_TAP_RULES : N_VM_DOWN);
	wire_str(b, N_T_VM, vm->r.name);
	if (!net_has_rules(vm))
		return;
	if (net_mode_is_bridge(vm)) {
		tap_of(vm, tap);
		wire_str(b, N_T_TAP, tap);
		wire_str(b, N_T_BRIDGE, vm->group->bridge);
		put_addresses(b, vm, true);
	}
	policy_put_rules(b, vm);
}

/* ---- macvtap ---- */

static void on_opened(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;

	if (!step(vm, m, "jail"))
		return;
	if (vm->state == VM_STARTING && vm_take_taps(vm, fds, n_fds))
		vm_fail(vm, "start", "jail gave no tap");
	else
		finish(vm);
}

static void on_link(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	uint64_t index = 0;
	struct buf *b;

	(void)fds; (void)n_fds;
	if (!step(vm, m, "netd"))
		return;
	wire_get_u64(m, N_T_INDEX, &index);
	if (!peer_there(&vm->core->jail)) {
		step(vm, NULL, "jail");
		return;
	}
	b = peer_begin(&vm->core->jail, J_TAP);
	wire_u64(b, J_T_IFINDEX, index);
	wire_u64(b, J_T_QUEUES, vm_net_queues(vm));
	if (peer_call(&vm->core->jail, NULL, 0, on_opened, vm))
		step(vm, NULL, "jail");
}

static int ask_link(struct vm *vm)
{
	struct core *c = vm->core;
	struct buf *b = peer_begin(&c->netd, N_MACVTAP_UP);
	char tap[IFNAME_LEN + 8];

	tap_of(vm, tap);
	wire_str(b, N_T_TAP, tap);
	put_lan(b, vm);
	if (vm->group->parent[0])
		wire_str(b, N_T_PARENT, vm->group->parent);
	return peer_call(&c->netd, NULL, 0, on_link, vm);
}

/* ---- up, adopted, down ---- */

int net_vm_up(struct vm *vm, void (*done)(struct vm *))
{
	int err;

	if (net_is_isolated(vm) && !addr_pool_holds(&vm->group->pool, addr_of(vm))) {
		vm_fail(vm, "start", "its address %s is not in its host group's range any more: delete it", vm->r.ip);
		return 0;
	}
	vm->net_done = done;
	err = net_is_isolated(vm) ? ask_netns(vm) : net_is_macvtap(vm) ? ask_link(vm) : ask_bridge(vm, false);
	if (err)
		vm->net_done = NULL;
	return err;
}

void net_vm_adopt(struct vm *vm, void (*done)(struct vm *))
{
	int err;

	if (!net_has_card(vm)) {
		done(vm);
		return;
	}
	vm->net_done = done;
	err = net_is_isolated(vm) ? ask_netns(vm) : net_is_macvtap(vm) ? ask_tap(vm, true) : ask_bridge(vm, true);
	if (err)
		step(vm, NULL, "netd");
}

void net_vm_forget(struct vm *vm)
{
	vm->net_done = NULL;
	ns_close(vm);
}

void net_vm_down(struct vm *vm)
{
	struct core *c = vm->core;
	char tap[IFNAME_LEN + 8];

	if (vm->net_done) {
		peer_forget(&c->jail, vm);
		peer_forget(&c->netd, vm);
	}
	net_vm_forget(vm);
	gate_vm_down(vm);
	vm->ruled = vm->rules_stale = false;
	if (!net_has_card(vm))
		return;
	if (net_has_rules(vm)) {
		wire_str(peer_begin(&c->netd, N_VM_DOWN), N_T_VM, vm->r.name);
		peer_send(&c->netd, NULL, 0);
	}
	if (!net_is_isolated(vm)) {
		tap_of(vm, tap);
		wire_str(peer_begin(&c->netd, N_TAP_DOWN), N_T_TAP, tap);
		peer_send(&c->netd, NULL, 0);
	}
}

void net_sync(struct core *c)
{
	char name[IFNAME_LEN + 8];
	struct buf *b;

	if (!peer_there(&c->netd))
		return;
	b = peer_begin(&c->netd, N_SYNC);
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next) {
		bool may_live = vm->state >= VM_STARTING && vm->state <= VM_ENDING;

		if ((vm->state != VM_ADOPTING && !(net_is_macvtap(vm) && may_live)) || !net_has_card(vm))
			continue;
		if (net_is_isolated(vm))
			link_of(vm, name);
		else
			tap_of(vm, name);
		wire_str(b, N_T_LINK, name);
	}
	peer_send(&c->netd, NULL, 0);
}
