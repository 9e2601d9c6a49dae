/* What a group's VMs may reach, and what holds when their record cannot be written. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/core/config_int.h"

static int take_list(struct checking *x, const struct yaml_strs *from, enum policy_list list, struct host_group *g)
{
	for (size_t i = 0; i < from->n; i++) {
		struct fault f = { "" };

		if (policy_add(&g->policy, list, from->v[i].v, &f))
			return REFUSE(x, from->v[i].line, "group '%s': network.%s: %s", g->name, list == POLICY_ALLOW ? "allow" : "drop", f.text);
	}
	return 0;
}

/* ---- rules that would not hold ---- */

bool group_asks_gate(const struct host_group *g)
{
	char dns[sizeof(g->dns)], gateway[ADDR_TEXT_MAX], *save = NULL;

	if (g->net_mode != NET_BRIDGE || !g->dns[0] || strncmp(g->dns, "127.", 4) == 0) /* 127.… is the contract's word for no DNS at all */
		return false;
	addr_format(g->pool.gateway.addr, gateway);
	snprintf(dns, sizeof(dns), "%s", g->dns);
	for (char *s = strtok_r(dns, ",", &save); s; s = strtok_r(NULL, ",", &save))
		if (strcmp(s, gateway) == 0)
			return false;
	return true;
}

/* Inside the bridge's own network, where VMs see each other below IP? Its gateway is the host. */
static bool is_sibling(const struct host_group *g, const struct policy_entry *e)
{
	static const uint8_t none[8];
	const uint8_t *a = e->net.addr;
	struct cidr c = { .addr = (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3], .bits = g->pool.gateway.bits };

	if (e->kind != POLICY_NET)
		return false;
	if (e->net.family == 6)
		return e->net.prefix >= 64 && memcmp(g->prefix6, none, 8) != 0 && memcmp(a, g->prefix6, 8) == 0;
	return e->net.prefix >= c.bits && cidr_first(c) == cidr_first(g->pool.gateway) && c.addr != g->pool.gateway.addr;
}

static int fits_bridge(const struct host_group *g, const struct policy_entry *e, struct fault *f)
{
	char text[POLICY_TEXT_MAX + 1];

	policy_entry_format(e, text);
	if (is_sibling(g, e))
		return fault_set(f, -EINVAL, "'%s' lies in the network of bridge '%s', whose VMs see each other whatever the rules: use 'mode: isolated' to keep them apart", text,
				 g->bridge);
	if (e->kind != POLICY_NET && !group_asks_gate(g))
		return fault_set(f, -EINVAL, "'%s' is a name, and names are enforced by mica's resolver, which this group's dns_servers leave out: name other DNS servers, or addresses", text);
	return 0;
}

int group_rules_fit(const struct host_group *g, const struct policy *p, struct fault *f)
{
	int err = 0;

	if (!group_has_rules(g) && (p->n[POLICY_ALLOW] || p->n[POLICY_DROP]))
		return fault_set(f, -EINVAL, "allow and drop would not hold in mode '%s': use 'network: { mode: isolated }', or 'bridge'", config_net_mode(g));
	for (unsigned list = 0; g->net_mode == NET_BRIDGE && list < 2; list++)
		for (size_t i = 0; !err && i < p->n[list]; i++)
			err = fits_bridge(g, &p->list[list][i], f);
	return err;
}

/* ---- as keys ---- */

int config_check_policy(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	int r = take_list(x, &k->allow, POLICY_ALLOW, g);

	if (!r)
		r = take_list(x, &k->drop, POLICY_DROP, g);
	struct fault f = { "" };

	if (!r && group_rules_fit(g, &g->policy, &f))
		r = REFUSE(x, k->allow.n ? k->allow.line : k->drop.line, "group '%s': %s", g->name, f.text);
	if (r || !k->audit.line)
		return r;
	if (g->net_mode != NET_ISOLATED && !g->policy.n[POLICY_ALLOW] && !g->policy.n[POLICY_DROP])
		return REFUSE(x, k->audit.line, "group '%s': in mode '%s' there is a network record only where rules hold%s", g->name, config_net_mode(g),
			      group_has_rules(g) ? ": give it allow or drop ('allow: [0.0.0.0/0]' is the world without private networks)" : "");
	g->audit_required = strcmp(k->audit.v, "required") == 0;
	if (!g->audit_required && strcmp(k->audit.v, "best-effort") != 0)
		return REFUSE(x, k->audit.line, "group '%s': network.audit is 'best-effort' or 'required' (then a VM whose record cannot be written gets no new "
			      "connections), not '%.40s'", g->name, k->audit.v);
	return 0;
}
