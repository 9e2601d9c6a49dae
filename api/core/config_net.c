/* A group's network: mode, names of interfaces, addresses; and that no two groups share what they must not. */
#include <stdio.h>
#include <string.h>

#include "api/core/config_int.h"
#include "api/core/record.h"

#define BRIDGE_DEFAULT "brvm0"
#define TAP_PREFIX_DEFAULT "vmtap"
#define GATEWAY_DEFAULT "192.168.137.1/24"
#define LAN_LAST 35u /* of a LAN's addresses our VMs get the last so many: .220 to .254 */

/* As netd checks it again: what the kernel takes, without anything odd. */
static bool ifname_ok(const char *s, size_t max)
{
	size_t n = strlen(s);

	if (!n || n > max || s[0] == '-' || s[0] == '.')
		return false;
	for (; *s; s++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *s))
			return false;
	return true;
}

static int check_mode(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	const char *mode = k->mode.line ? k->mode.v : "bridge";

	if (strcmp(mode, "none") == 0) {
		g->net_mode = NET_NONE;
		return 0;
	}
	if (strcmp(mode, "bridge") == 0) {
		g->net_mode = NET_BRIDGE;
		return 0;
	}
	if (strcmp(mode, "isolated") == 0) {
		g->net_mode = NET_ISOLATED;
		return 0;
	}
	if (strcmp(mode, "macvtap") == 0) {
		g->net_mode = NET_MACVTAP;
		return 0;
	}
	if (strcmp(mode, "nat") == 0)
		return REFUSE(x, k->mode.line, "group '%s': network mode 'nat' exists on macOS only: use 'mode: bridge'", g->name);
	return REFUSE(x, k->mode.line, "group '%s': unknown network mode '%.40s': use 'bridge', 'isolated', 'macvtap' or 'none'", g->name, mode);
}

static int check_gateway(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	const char *text = k->gateway.line ? k->gateway.v : GATEWAY_DEFAULT;
	struct cidr c;

	if (cidr_parse(text, 99, &c))
		return REFUSE(x, k->gateway.line, "group '%s': gateway '%.60s' is not an address with a length as 192.168.137.1/24", g->name,
			      text);
	if (c.bits < 8 || c.bits > 30)
		return REFUSE(x, k->gateway.line, "group '%s': gateway '%s': the length must be /8 to /30", g->name, text);
	if (c.addr == cidr_first(c) || c.addr == cidr_last(c))
		return REFUSE(x, k->gateway.line, "group '%s': gateway '%s' is the network's first or last address: use for example .1", g->name,
			      text);
	if (c.addr >> 28 >= 14 || c.addr >> 24 == 127 || c.addr >> 24 == 0)
		return REFUSE(x, k->gateway.line, "group '%s': gateway '%s' cannot be a host's address: use a private network", g->name, text);
	addr_pool_init(&g->pool, c);
	if (g->net_mode == NET_MACVTAP && g->pool.last - g->pool.first >= LAN_LAST) /* beside what the router's DHCP gives away, mostly */
		g->pool.first = g->pool.last - (LAN_LAST - 1);
	return 0;
}

static int check_range(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	const char *dash = k->range.line ? strchr(k->range.v, '-') : NULL;
	char first[ADDR_TEXT_MAX] = "";
	uint32_t a, b;

	if (!k->range.line)
		return 0;
	if (dash && (size_t)(dash - k->range.v) < sizeof(first))
		memcpy(first, k->range.v, (size_t)(dash - k->range.v));
	if (!dash || addr_parse(first, &a) || addr_parse(dash + 1, &b) || a > b)
		return REFUSE(x, k->range.line, "group '%s': range '%.60s' must be first-last, as 192.168.137.50-192.168.137.99", g->name,
			      k->range.v);
	if (!cidr_holds(g->pool.gateway, a) || !cidr_holds(g->pool.gateway, b))
		return REFUSE(x, k->range.line, "group '%s': range '%s' leaves the gateway's network", g->name, k->range.v);
	g->pool.first = a;
	g->pool.last = b;
	return 0;
}

static int check_addresses(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	struct cidr c;

	if (k->addresses.n && k->range.line)
		return REFUSE(x, k->addresses.line, "group '%s': give either addresses or range, not both", g->name);
	for (size_t i = 0; i < k->addresses.n; i++) {
		const struct yaml_str *s = &k->addresses.v[i];

		if (cidr_parse(s->v, g->pool.gateway.bits, &c) || c.bits != g->pool.gateway.bits)
			return REFUSE(x, s->line, "group '%s': address '%.60s' must be as 192.168.137.5 or 192.168.137.5/%u", g->name, s->v,
				      g->pool.gateway.bits);
		if (!addr_pool_holds(&g->pool, c.addr))
			return REFUSE(x, s->line, "group '%s': address '%s' is not a free one of the gateway's network", g->name, s->v);
		for (size_t j = 0; j < i; j++)
			if (g->pool.pinned[j] == c.addr)
				return REFUSE(x, s->line, "group '%s': address '%s' is there twice: remove one", g->name, s->v);
		g->pool.pinned[g->pool.n_pinned++] = c.addr; /* the key table caps the list */
	}
	return 0;
}

static int check_names(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	const char *bridge = k->bridge.line ? k->bridge.v : BRIDGE_DEFAULT;
	const char *tap = k->tap_prefix.line ? k->tap_prefix.v : TAP_PREFIX_DEFAULT;

	if (!ifname_ok(bridge, IFNAME_LEN - 1))
		return REFUSE(x, k->bridge.line, "group '%s': bridge '%.60s' is no interface name: at most 15 letters, digits, '-', '_' or '.'",
			      g->name, bridge);
	if (!ifname_ok(tap, TAP_PREFIX_MAX))
		return REFUSE(x, k->tap_prefix.line,
			      "group '%s': tap_prefix '%.60s': at most %u letters, digits, '-', '_' or '.', so that a number still fits", g->name,
			      tap, TAP_PREFIX_MAX);
	if (k->parent.line && !ifname_ok(k->parent.v, IFNAME_LEN - 1))
		return REFUSE(x, k->parent.line, "group '%s': parent '%.60s' is no interface name", g->name, k->parent.v);
	if (g->net_mode == NET_MACVTAP && k->bridge.line)
		config_note(x, k->bridge.line, "group '%s': network.bridge has no meaning in mode 'macvtap'", g->name);
	if (g->net_mode == NET_MACVTAP && k->parent.line)
		snprintf(g->parent, sizeof(g->parent), "%s", k->parent.v);
	if (g->net_mode == NET_BRIDGE)
		snprintf(g->bridge, sizeof(g->bridge), "%s", bridge);
	snprintf(g->tap_prefix, sizeof(g->tap_prefix), "%s", tap);
	return 0;
}

static int check_limits(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	if (k->bytes_per_s.line && (k->bytes_per_s.v < NET_BYTES_S_MIN || k->bytes_per_s.v > NET_RATE_MAX))
		return REFUSE(x, k->bytes_per_s.line, "group '%s': network.bytes_per_s is %llu bytes a second: at least %u are a network, for example 10M",
			      g->name, (unsigned long long)k->bytes_per_s.v, NET_BYTES_S_MIN);
	if (k->packets_per_s.line && (k->packets_per_s.v < 1 || k->packets_per_s.v > NET_RATE_MAX))
		return REFUSE(x, k->packets_per_s.line, "group '%s': network.packets_per_s must be at least 1: leave it out for no limit", g->name);
	g->net_bytes_s = k->bytes_per_s.v;
	g->net_packets_s = k->packets_per_s.v;
	return 0;
}

/* Without a router's address the LAN's own DHCP gives the guests theirs. */
static int check_lan(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	g->ipv6 = false; /* the LAN's router announces it, or there is none */
	if (k->ipv6.line)
		config_note(x, k->ipv6.line, "group '%s': network.ipv6 has no meaning in mode 'macvtap': guests take what the LAN's router announces", g->name);
	if (!k->gateway.line && (k->range.line || k->addresses.n))
		return REFUSE(x, k->range.line ? k->range.line : k->addresses.line,
			      "group '%s': range and addresses need the LAN's router as 'gateway: 192.168.1.1/24'; without it DHCP gives the addresses", g->name);
	return 0;
}

int config_check_network(struct checking *x, const struct keys_group *keys, struct host_group *g)
{
	const struct keys_network *k = &keys->network;
	int r = check_mode(x, k, g);

	if (r || g->net_mode == NET_NONE)
		return r;
	g->ipv6 = !k->ipv6.line || k->ipv6.v;
	r = check_limits(x, k, g);
	if (!r && g->net_mode == NET_ISOLATED)
		return config_check_isolated(x, keys, g);
	if (!r && g->net_mode == NET_MACVTAP)
		r = config_check_policy(x, k, g);
	if (r)
		return r;
	if (k->parent.line && g->net_mode != NET_MACVTAP)
		config_note(x, k->parent.line, "group '%s': network.parent is used by mode 'macvtap' only", g->name);
	r = check_names(x, k, g);
	if (!r && g->net_mode == NET_MACVTAP)
		r = check_lan(x, k, g);
	if (r || (g->net_mode == NET_MACVTAP && !k->gateway.line))
		return r;
	r = check_gateway(x, k, g);
	if (!r)
		r = check_range(x, k, g);
	if (!r)
		r = check_addresses(x, k, g);
	if (!r && g->net_mode == NET_BRIDGE)
		r = config_check_policy(x, k, g);
	if (!r && g->count > addr_pool_size(&g->pool))
		r = REFUSE(x, keys->count.line ? keys->count.line : k->line, "group '%s': %u VMs, but the network has %llu addresses for them",
			   g->name, g->count, (unsigned long long)addr_pool_size(&g->pool));
	return r;
}

/* Groups that name no network share the default one; every other pair must be apart. */
static int check_pair(struct checking *x, const struct keys_group *ka, const struct host_group *a, const struct keys_group *kb,
		      const struct host_group *b)
{
	unsigned line = kb->network.gateway.line ? kb->network.gateway.line : kb->network.line ? kb->network.line : b->line;
	char ta[ADDR_TEXT_MAX], tb[ADDR_TEXT_MAX], at[30] = "";

	if (a->net_mode == NET_NONE || b->net_mode == NET_NONE || (!ka->network.line && !kb->network.line))
		return 0;
	/* On a LAN addresses are shared on purpose; no VM gets one that another has. */
	if (group_dhcp(a) || group_dhcp(b) || (a->net_mode == NET_MACVTAP && b->net_mode == NET_MACVTAP))
		return 0;
	if (a->line) /* not by the API */
		snprintf(at, sizeof(at), " (line %u)", a->line);
	cidr_format(a->pool.gateway, ta);
	cidr_format(b->pool.gateway, tb);
	if (b->net_mode == NET_ISOLATED && kb->network.range.line)
		line = kb->network.range.line;
	if (cidr_overlaps(a->pool.gateway, b->pool.gateway))
		return REFUSE(x, line, "network %s%s of group '%s' overlaps %s of group '%s'%s: give it another %s", tb,
			      kb->network.gateway.line || b->net_mode == NET_ISOLATED ? "" : " (the default)", b->name, ta, a->name, at,
			      b->net_mode == NET_ISOLATED ? "range" : "gateway");
	if (a->net_mode == NET_BRIDGE && b->net_mode == NET_BRIDGE && strcmp(a->bridge, b->bridge) == 0)
		return REFUSE(x, kb->network.bridge.line ? kb->network.bridge.line : line,
			      "bridge '%s' of group '%s' is used by group '%s' already%s: name another bridge", b->bridge, b->name,
			      a->name, at);
	return 0;
}

int config_check_overlaps(struct checking *x)
{
	const struct keys_group *k = x->k->host_groups.v;

	for (size_t i = 0; i < x->c->n_groups; i++)
		for (size_t j = 0; j < i; j++) {
			int r = check_pair(x, &k[j], &x->c->groups[j], &k[i], &x->c->groups[i]);

			if (r)
				return r;
		}
	return 0;
}
