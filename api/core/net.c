/* Bridges of the groups, asked of netd at start; without netd (or without success) a group's VMs get no network card. */
#include <errno.h>
#include <string.h>

#include "api/core/core.h"
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

static void on_bridge(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	const struct host_group *g = arg;
	struct core *c = g->core;
	struct fault f = { "" };
	bool up = peer_result(m, "netd", &f, NULL) == 0;

	(void)fds; (void)n_fds;
	for (size_t i = 0; i < c->config.n_groups; i++) {
		const struct host_group *other = &c->config.groups[i];

		if (other->net_mode != NET_BRIDGE || strcmp(other->bridge, g->bridge) != 0)
			continue;
		c->net_up[i] = up;
		if (!up && m)
			core_say(c, "NOTE", "host group '%s' has no network: %s", other->name, f.text);
	}
	c->net_waiting--;
	next_phase(c);
}

/* Is there an earlier group with this bridge? */
static bool bridge_seen(const struct core *c, size_t group)
{
	const struct host_group *g = c->config.groups;

	for (size_t i = 0; i < group; i++)
		if (g[i].net_mode == NET_BRIDGE && strcmp(g[i].bridge, g[group].bridge) == 0)
			return true;
	return false;
}

int core_net_start(struct core *c)
{
	bool wanted = false;

	c->net_waiting = 1; /* until all are asked */
	for (size_t i = 0; i < c->config.n_groups; i++) {
		struct host_group *g = &c->config.groups[i];
		char gateway[ADDR_TEXT_MAX];
		struct buf *b;

		if (g->net_mode != NET_BRIDGE)
			continue;
		wanted = true;
		if (!peer_there(&c->netd) || bridge_seen(c, i))
			continue;
		cidr_format(g->pool.gateway, gateway);
		b = peer_begin(&c->netd, N_BRIDGE_UP);
		wire_str(b, N_T_BRIDGE, g->bridge);
		wire_str(b, N_T_GATEWAY, gateway);
		g->core = c;
		if (!peer_call(&c->netd, NULL, 0, on_bridge, g))
			c->net_waiting++;
	}
	if (wanted && !peer_there(&c->netd))
		core_say(c, "NOTE", "no network for VMs (that needs root): they are reached through the agent only");
	c->net_waiting--;
	next_phase(c);
	return 0;
}

/* Only when no VM is left on it. */
void core_net_stop(struct core *c)
{
	for (size_t i = 0; i < c->config.n_groups; i++) {
		if (!c->net_up[i] || bridge_seen(c, i) || !peer_there(&c->netd))
			continue;
		wire_str(peer_begin(&c->netd, N_BRIDGE_DOWN), N_T_BRIDGE, c->config.groups[i].bridge);
		peer_send(&c->netd, NULL, 0);
	}
}
