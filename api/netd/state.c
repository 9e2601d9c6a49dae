#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/netd/netd.h"

/* ---- addresses ---- */

int net_addr_parse(const char *text, uint8_t family, unsigned min_bits, struct net_addr *out)
{
	char addr[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	uint64_t bits = family == 6 ? 128 : 32;
	*out = (struct net_addr){.family = family};
	if (n >= sizeof addr || (min_bits == 255) == (slash != NULL))
		return -EINVAL;
	memcpy(addr, text, n);
	addr[n] = '\0';
	if (inet_pton(family == 6 ? AF_INET6 : AF_INET, addr, out->a) != 1 || (slash && (parse_u64(slash + 1, bits, &bits) || bits < min_bits)))
		return -EINVAL;
	out->bits = (uint8_t)bits;
	return 0;
}

bool net_addr_holds(const struct net_addr *net, const struct net_addr *a)
{
	unsigned whole = net->bits / 8, rest = net->bits % 8;
	if (net->family != a->family || memcmp(net->a, a->a, whole) != 0)
		return false;
	return !rest || ((net->a[whole] ^ a->a[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

/* ---- bridges and ranges ---- */

struct range *range_find(struct netd *n, const char *name, bool bridge)
{
	struct range *r = n->ranges;
	while (r && (r->bridge != bridge || strcmp(r->name, name) != 0))
		r = r->next;
	return r;
}

struct range *range_make(struct netd *n, const char *name, bool bridge)
{
	struct range *r = range_find(n, name, bridge);
	unsigned count = 0;
	for (const struct range *o = n->ranges; o; o = o->next)
		count++;
	if (r || count >= NETD_NETS_MAX || !(r = calloc(1, sizeof *r)))
		return r;
	snprintf(r->name, sizeof r->name, "%s", name);
	r->bridge = bridge;
	r->next = n->ranges;
	n->ranges = r;
	return r;
}

void range_drop(struct netd *n, const char *name, bool bridge)
{
	struct range *r = range_find(n, name, bridge), **at = &n->ranges;
	while (*at && *at != r)
		at = &(*at)->next;
	if (r)
		*at = r->next;
	free(r);
}

/* ---- guarded taps ---- */

struct guard *guard_make(struct netd *n, const char *tap)
{
	struct guard *g = n->guards;
	unsigned count = 0;
	for (; g && strcmp(g->tap, tap) != 0; g = g->next)
		count++;
	if (g || count >= NETD_VMS_MAX || !(g = calloc(1, sizeof *g)))
		return g;
	snprintf(g->tap, sizeof g->tap, "%s", tap);
	g->next = n->guards;
	n->guards = g;
	return g;
}

bool guard_drop(struct netd *n, const char *tap)
{
	struct guard **at = &n->guards, *g;
	while (*at && strcmp((*at)->tap, tap) != 0)
		at = &(*at)->next;
	g = *at;
	if (g)
		*at = g->next;
	free(g);
	return g;
}

/* ---- isolated VMs ---- */

struct iso *iso_find(struct netd *n, const char *vm)
{
	struct iso *i = n->isos;
	while (i && strcmp(i->vm, vm) != 0)
		i = i->next;
	return i;
}

struct iso *iso_make(struct netd *n, const char *vm)
{
	struct iso *i = iso_find(n, vm);
	unsigned count = 0;
	if (i)
		iso_drop(n, i);
	for (i = n->isos; i; i = i->next)
		count++;
	if (count >= NETD_VMS_MAX || !(i = calloc(1, sizeof *i)))
		return NULL;
	snprintf(i->vm, sizeof i->vm, "%s", vm);
	i->nft.fd = -1;
	i->next = n->isos;
	n->isos = i;
	return i;
}

void iso_drop(struct netd *n, struct iso *i)
{
	struct iso **at = &n->isos;
	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	fd_close(&i->nft.fd);
	free(i->rules);
	free(i);
}

bool iso_names(const struct iso *i, const struct net_addr *a)
{
	for (size_t k = 0; k < i->n_rules; k++)
		if (i->rules[k].allow && i->rules[k].explicit_ && net_addr_holds(&i->rules[k].net, a))
			return true;
	return false;
}
