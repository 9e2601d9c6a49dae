/* The host's part: our mark, bridges and ranges of the groups, asked of netd at start; without netd (or without success) a group's VMs get no network card. */
#include "api/core/net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/core/gate.h"
#include "lib/wire/netd.h"

static void next_phase(struct core *c)
{
	int err;

	if (c->net_waiting || c->phase != CORE_STARTING)
		return;
	err = core_adopt(c);
	if (err) {
		core_say(c, "FATAL", "the state folder cannot be read: %s", strerror(-err));
		c->exit_code = 1;
		ev_stop(c->loop);
	}
}

/* Who we are to netd and in made-up addresses: the state folder, whatever it is called. */
void net_owner(const struct core *c, char out[9])
{
	struct stat st = { 0 };
	uint64_t h;

	fstat(c->state_fd, &st);
	h = (uint64_t)st.st_dev * 0x9e3779b97f4a7c15u ^ (uint64_t)st.st_ino * 0xff51afd7ed558ccdu;
	if (c->ephemeral) /* nobody comes back to this folder */
		snprintf(out, 9, NETD_PASSING "%07x", (unsigned)(h ^ h >> 32) & 0xfffffff);
	else
		snprintf(out, 9, "%08x", (unsigned)(h ^ h >> 32));
}

/* ---- groups ---- */

static void put_bridge(struct core *c, const struct host_group *g)
{
	struct buf *b = peer_begin(&c->netd, N_BRIDGE_UP);
	char gateway[ADDR_TEXT_MAX], gateway6[ADDR6_TEXT_MAX];

	cidr_format(g->pool.gateway, gateway);
	wire_str(b, N_T_BRIDGE, g->bridge);
	wire_str(b, N_T_GATEWAY, gateway);
	addr6_format(g->prefix6, g->pool.gateway.addr, 64, gateway6);
	if (g->ipv6)
		wire_str(b, N_T_GATEWAY6, gateway6);
}

static void put_range(struct core *c, const struct host_group *g)
{
	struct buf *b = peer_begin(&c->netd, N_RANGE_UP);
	char range[ADDR_TEXT_MAX], range6[ADDR6_TEXT_MAX];

	cidr_format(g->pool.gateway, range);
	wire_str(b, N_T_NAME, g->name);
	wire_str(b, N_T_RANGE4, range);
	addr6_format(g->prefix6, 0, 64, range6);
	if (g->ipv6)
		wire_str(b, N_T_RANGE6, range6);
}

/* Nothing is made for a group: what its VMs will want is looked at. */
static void put_parent(struct core *c, const struct host_group *g)
{
	struct buf *b = peer_begin(&c->netd, N_PARENT);

	if (g->parent[0])
		wire_str(b, N_T_PARENT, g->parent);
}

int net_group_up(struct core *c, struct host_group *g, peer_reply_fn *fn, void *arg)
{
	char owner[9];

	if (g->net_mode == NET_NONE)
		return -ENODEV;
	if (!peer_there(&c->netd))
		return -ENOTCONN;
	net_owner(c, owner);
	addr6_prefix(owner, g->name, g->prefix6);
	if (g->net_mode == NET_BRIDGE)
		put_bridge(c, g);
	else if (g->net_mode == NET_MACVTAP)
		put_parent(c, g);
	else
		put_range(c, g);
	return peer_call(&c->netd, NULL, 0, fn, arg);
}

void net_group_down(struct core *c, const struct host_group *g)
{
	gate_bridge_down(c, g);
	if (!peer_there(&c->netd))
		return;
	if (g->net_mode == NET_MACVTAP)
		return;
	if (g->net_mode == NET_BRIDGE)
		wire_str(peer_begin(&c->netd, N_BRIDGE_DOWN), N_T_BRIDGE, g->bridge);
	else
		wire_str(peer_begin(&c->netd, N_RANGE_DOWN), N_T_NAME, g->name);
	peer_send(&c->netd, NULL, 0);
}

/* Is there an earlier group with this bridge? (only those that name no network share one) */
static const struct host_group *bridge_seen(const struct core *c, size_t group)
{
	const struct host_group *g = c->config.groups;

	for (size_t i = 0; i < group && g[group].net_mode == NET_BRIDGE; i++)
		if (g[i].net_mode == NET_BRIDGE && strcmp(g[i].bridge, g[group].bridge) == 0)
			return &g[i];
	return NULL;
}

/* ---- at start ---- */

static void group_decided(struct core *c, const struct host_group *g, bool up, const char *text)
{
	for (size_t i = 0; i < c->config.n_groups; i++) {
		struct host_group *other = &c->config.groups[i];

		if (other != g && (g->net_mode != NET_BRIDGE || bridge_seen(c, i) != g))
			continue;
		c->net_up[i] = up;
		memcpy(other->prefix6, g->prefix6, sizeof(other->prefix6)); /* one bridge, one network */
		other->ipv6 &= !text[0];
		if (text[0])
			core_say(c, "NOTE", up ? "host group '%s': %s" : "host group '%s' has no network: %s", other->name, text);
	}
}

static void on_group(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct host_group *g = arg;
	struct core *c = g->core;
	struct fault f = { "" };
	bool up = peer_result(m, "netd", &f, NULL) == 0;

	(void)fds; (void)n_fds;
	if (up)
		wire_get_str(m, WIRE_T_TEXT, f.text, sizeof(f.text)); /* no IPv6, and why */
	if (m)
		group_decided(c, g, up, f.text);
	gate_bridge_up(c, g);
	c->net_waiting--;
	next_phase(c);
}

static void groups_up(struct core *c)
{
	for (size_t i = 0; i < c->config.n_groups; i++) {
		struct host_group *g = &c->config.groups[i];

		g->core = c;
		if (!bridge_seen(c, i) && net_group_up(c, g, on_group, g) == 0)
			c->net_waiting++;
	}
}

static bool is_wanted(const struct core *c)
{
	for (size_t i = 0; i < c->config.n_groups; i++)
		if (c->config.groups[i].net_mode != NET_NONE)
			return true;
	return false;
}

static void on_host(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct core *c = arg;
	struct fault f = { "" };

	(void)fds; (void)n_fds;
	if (peer_result(m, "netd", &f, NULL) == 0)
		groups_up(c);
	else if (m && is_wanted(c))
		core_say(c, "NOTE", "no network for VMs: %s", f.text);
	c->net_waiting--;
	next_phase(c);
}

int core_net_start(struct core *c)
{
	char owner[9];

	c->net_waiting = 1;
	net_owner(c, owner);
	if (peer_there(&c->netd)) {
		wire_str(peer_begin(&c->netd, N_HOST_UP), N_T_OWNER, owner);
		if (peer_call(&c->netd, NULL, 0, on_host, c) == 0)
			return 0;
	} else if (is_wanted(c)) {
		core_say(c, "NOTE", "no network for VMs (that needs root): they are reached through the agent only");
	}
	c->net_waiting--;
	next_phase(c);
	return 0;
}

/* Only when no VM is left on it. */
void core_net_stop(struct core *c)
{
	for (size_t i = 0; i < c->config.n_groups; i++)
		if (c->net_up[i] && !bridge_seen(c, i))
			net_group_down(c, &c->config.groups[i]);
	if (!peer_there(&c->netd))
		return;
	peer_begin(&c->netd, N_HOST_DOWN);
	peer_send(&c->netd, NULL, 0);
}
