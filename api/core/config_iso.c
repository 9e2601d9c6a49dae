/* A group of isolated VMs: the range they get their /30 from, and what does not go together with it. */
#include <stdio.h>
#include <string.h>

#include "api/core/config_int.h"

static const struct cidr reserved[] = {
	{ 169u << 24 | 254u << 16, 24 },                       /* RFC 3927 §2.1, and the ends of our veths */
	{ 169u << 24 | 254u << 16 | 169u << 8 | 254u, 32 },    /* clouds' metadata */
	{ 0, 8 }, { 127u << 24, 8 }, { 224u << 24, 3 },
};

/* By whom, "" when nobody: groups before this one, ranges that later ones ask for, the host. */
static const char *claimed_by(const struct checking *x, const struct host_group *g, struct cidr c, bool all)
{
	const struct keys_group *k = x->k->host_groups.v;

	for (size_t i = 0; i < x->host->n_addrs; i++)
		if (cidr_overlaps(x->host->addrs[i], c))
			return "an address of this host";
	for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
		if (cidr_overlaps(reserved[i], c))
			return "addresses with a meaning of their own";
	for (size_t i = 0; all && i < x->k->host_groups.n; i++) {
		struct cidr other;

		if (i < x->c->n_groups && &x->c->groups[i] == g)
			continue;
		if (i < x->c->n_groups && x->c->groups[i].pool.gateway.bits && cidr_overlaps(x->c->groups[i].pool.gateway, c))
			return "another group";
		if (k[i].network.range.line && cidr_parse(k[i].network.range.v, 99, &other) == 0 && cidr_overlaps(other, c))
			return "another group";
		if (k[i].network.gateway.line && cidr_parse(k[i].network.gateway.v, 99, &other) == 0 && cidr_overlaps(other, c))
			return "another group";
	}
	return "";
}

struct deriving { const struct checking *x; const struct host_group *g; };

static bool taken(void *arg, struct cidr c)
{
	const struct deriving *d = arg;

	return claimed_by(d->x, d->g, c, true)[0];
}

static int derive(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	struct deriving d = { x, g };
	struct cidr c;

	if (addr_derive_range(g->name, taken, &d, &c))
		return REFUSE(x, k->mode.line, "group '%s': no free range is left in 169.254.0.0/16: give it one, as 'range: 10.99.0.0/22'", g->name);
	addr_pool_init_pairs(&g->pool, c);
	return 0;
}

static int check_range(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	const char *by;
	struct cidr c;

	if (!k->range.line)
		return derive(x, k, g);
	if (cidr_parse(k->range.v, 99, &c) || c.bits < 8 || c.bits > 30)
		return REFUSE(x, k->range.line, "group '%s': range '%.60s' must be a network of /8 to /30, as 169.254.100.0/22 (256 VMs)", g->name, k->range.v);
	if (c.addr != cidr_first(c))
		return REFUSE(x, k->range.line, "group '%s': range '%s' has bits behind its length: write the network's first address", g->name, k->range.v);
	by = claimed_by(x, g, c, false); /* other groups: config_check_overlaps, with their names */
	if (by[0])
		return REFUSE(x, k->range.line, "group '%s': range '%s' is taken by %s: choose another [E_RANGE_USED]", g->name, k->range.v, by);
	addr_pool_init_pairs(&g->pool, c);
	return 0;
}

static int check_name(struct checking *x, const struct keys_group *k, const struct host_group *g)
{
	unsigned digits = 1;

	for (unsigned n = g->count; n > 9; n /= 10)
		digits++;
	if (strlen(g->name) + 1 + digits <= ISO_NAME_MAX)
		return 0;
	return REFUSE(x, k->name.line, "group '%s': names of isolated VMs as '%s-%u' have at most %u characters: shorten the group's", g->name, g->name,
		      g->count ? g->count : 1, ISO_NAME_MAX);
}

int config_check_isolated(struct checking *x, const struct keys_group *keys, struct host_group *g)
{
	const struct keys_network *k = &keys->network;
	const struct { const char *name; unsigned line; } others[] = {
		{ "bridge", k->bridge.line }, { "tap_prefix", k->tap_prefix.line }, { "gateway", k->gateway.line }, { "parent", k->parent.line },
	};
	int r = check_name(x, keys, g);

	if (!r && k->addresses.n)
		r = REFUSE(x, k->addresses.line, "group '%s': isolated VMs take their addresses from 'range': remove addresses", g->name);
	for (size_t i = 0; !r && i < ARRAY_LEN(others); i++)
		if (others[i].line)
			config_note(x, others[i].line, "group '%s': network.%s has no meaning in mode 'isolated'", g->name, others[i].name);
	if (!r)
		r = check_range(x, k, g);
	if (!r && g->count > addr_pool_size(&g->pool))
		r = REFUSE(x, keys->count.line ? keys->count.line : k->line, "group '%s': %u VMs, but the range has room for %llu", g->name, g->count,
			   (unsigned long long)addr_pool_size(&g->pool));
	return r ? r : config_check_policy(x, k, g);
}
