/* DNS on bridges: port 53 of a bridge's gateway, opened by jail, served by gate to the VMs of the groups there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/gate.h"
#include "api/core/net.h"
#include "api/core/policy.h"
#include "lib/wire/gate.h"
#include "lib/wire/jail.h"

#define FDS_MAX 4u /* UDP and TCP of IPv4, then of IPv6 */

bool gate_bridge_serves(const struct vm *vm)
{
	return vm->group && vm->group->dns_served && group_asks_gate(vm->group) && peer_there(&vm->core->gate);
}

/* ---- a bridge ---- */

struct opening {
	struct core *core;
	char bridge[IFNAME_LEN];
};

/* The first group with that bridge from i on; NULL: none. */
static struct host_group *on_bridge(struct core *c, const char *bridge, size_t i)
{
	for (; i < c->config.n_groups; i++) {
		struct host_group *g = &c->config.groups[i];

		if (g->net_mode == NET_BRIDGE && strcmp(g->bridge, bridge) == 0)
			return g;
	}
	return NULL;
}

/* false: no group has that bridge any more. */
static bool set_served(struct core *c, const char *bridge, bool served)
{
	struct host_group *g = on_bridge(c, bridge, 0);
	bool any = g != NULL;

	for (; g; g = on_bridge(c, bridge, (size_t)(g - c->config.groups) + 1))
		g->dns_served = served;
	return any;
}

static void not_served(const struct opening *o, const struct fault *f)
{
	core_say(o->core, "NOTE", "bridge '%s': VMs are not found by name there, guests ask the group's dns_servers alone: %s", o->bridge, f->text);
}

static void on_gate(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct opening *o = arg;
	struct fault f = { "" };

	(void)fds; (void)n_fds;
	if (peer_result(m, "gate", &f, NULL)) {
		set_served(o->core, o->bridge, false);
		if (m)
			not_served(o, &f);
	}
	free(o);
}

/* Takes o. */
static void give_to_gate(struct opening *o, const int *fds, unsigned n_fds)
{
	struct buf *b = peer_begin(&o->core->gate, G_GROUP_UP);

	wire_str(b, G_T_BRIDGE, o->bridge);
	for (unsigned i = 0; i < n_fds; i++)
		wire_u64(b, i % 2 ? G_T_FD_TCP : G_T_FD_UDP, i);
	if (peer_call(&o->core->gate, fds, n_fds, on_gate, o)) {
		set_served(o->core, o->bridge, false);
		free(o);
	}
}

static void on_sockets(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct opening *o = arg;
	struct core *c = o->core;
	struct fault f = { "" };

	if (peer_result(m, "jail", &f, NULL)) {
		if (m)
			not_served(o, &f);
	} else if (n_fds && n_fds % 2 == 0 && n_fds <= FDS_MAX && peer_there(&c->gate) && set_served(c, o->bridge, true)) {
		if (!wire_get_str(m, J_T_TEXT, f.text, sizeof(f.text)) && f.text[0])
			core_say(c, "NOTE", "bridge '%s': no DNS by IPv6: %s", o->bridge, f.text);
		give_to_gate(o, fds, n_fds);
		return;
	}
	free(o);
}

static void ask_sockets(struct core *c, const struct host_group *g)
{
	struct opening *o = calloc(1, sizeof(*o));
	char gateway[ADDR_TEXT_MAX], gateway6[ADDR6_TEXT_MAX];
	struct buf *b;

	if (!o)
		return;
	o->core = c;
	memcpy(o->bridge, g->bridge, sizeof(o->bridge));
	b = peer_begin(&c->jail, J_DNS);
	addr_format(g->pool.gateway.addr, gateway);
	wire_str(b, J_T_ADDR4, gateway);
	addr6_format(g->prefix6, g->pool.gateway.addr, 0, gateway6);
	if (g->ipv6)
		wire_str(b, J_T_ADDR6, gateway6);
	wire_str(b, J_T_LINK, g->bridge);
	if (peer_call(&c->jail, NULL, 0, on_sockets, o))
		free(o);
}

void gate_bridge_up(struct core *c, const struct host_group *g)
{
	const struct host_group *wanted = NULL;

	if (g->net_mode != NET_BRIDGE || !c->net_up[g - c->config.groups] || !peer_there(&c->gate) || !peer_there(&c->jail))
		return;
	for (const struct host_group *other = on_bridge(c, g->bridge, 0); other; other = on_bridge(c, g->bridge, (size_t)(other - c->config.groups) + 1)) {
		if (other->dns_served) {
			set_served(c, g->bridge, true);
			return;
		}
		if (group_asks_gate(other))
			wanted = other;
	}
	if (wanted)
		ask_sockets(c, wanted);
}

void gate_bridge_down(struct core *c, const struct host_group *g)
{
	if (g->net_mode != NET_BRIDGE || !peer_there(&c->gate))
		return;
	set_served(c, g->bridge, false);
	wire_str(peer_begin(&c->gate, G_GROUP_DOWN), G_T_BRIDGE, g->bridge);
	peer_send(&c->gate, NULL, 0);
}

/* ---- a VM on it ---- */

static void on_vm(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	struct fault f = { "" };

	(void)fds; (void)n_fds;
	if (m && peer_result(m, "gate", &f, NULL))
		core_say(vm->core, "NOTE", "%s has no DNS at its gateway: %s", vm->r.name, f.text);
}

static struct buf *vm_frame(struct vm *vm, uint32_t addr)
{
	struct buf *b = peer_begin(&vm->core->gate, G_VM_UP);
	char gateway[ADDR_TEXT_MAX], ip[ADDR_TEXT_MAX];
	struct net_addr6 six;

	net_addr6_of(vm, &six);
	net_gateway_of(vm, gateway);
	addr_format(addr, ip);
	wire_str(b, G_T_VM, vm->r.name);
	wire_str(b, G_T_GROUP, vm->r.group);
	wire_str(b, G_T_BRIDGE, vm->group->bridge);
	wire_str(b, G_T_IP4, ip);
	wire_str(b, G_T_GW4, gateway);
	if (six.guest[0]) {
		wire_str(b, G_T_IP6, six.guest_alone);
		wire_str(b, G_T_GW6, six.gateway);
	}
	gate_put_upstreams(b, vm);
	return b;
}

int gate_bridge_tell(struct vm *vm, peer_reply_fn *fn, void *arg)
{
	struct core *c = vm->core;
	bool rules = net_has_rules(vm);
	int fd = -1, err;
	struct cidr at;
	struct buf *b;

	if (!vm->group || (!rules && !vm->gated && !group_asks_gate(vm->group)) || !peer_there(&c->gate) || cidr_parse(vm->r.ip, 99, &at))
		return -ENOTCONN;
	if (rules && !vm->gated)
		fd = gate_log_open(vm);
	b = vm_frame(vm, at.addr);
	if (rules) {
		wire_u64(b, G_T_RULED, 1);
		gate_put_own(b, c);
		policy_put_entries(b, vm);
	}
	if (fd >= 0)
		wire_u64(b, G_T_FD_LOG, 0);
	err = peer_call(&c->gate, &fd, fd >= 0, fn, arg);
	vm->named = !err;
	vm->gated = !err && rules;
	if (rules && fd >= 0)
		gate_watch_unlogged(vm);
	fd_close(&fd);
	return err;
}

void gate_bridge_vm_up(struct vm *vm)
{
	gate_bridge_tell(vm, on_vm, vm);
}
