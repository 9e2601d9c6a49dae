/* What a policy says of an address or a name. */
#include <stdio.h>
#include <string.h>

#include "lib/policy/policy.h"

#define NET4(a, b, c, d, len) { 4, len, { a, b, c, d } }

/* fe80::/10 is here too: nothing beyond the gateway has such an address. */
static const struct policy_net metadata[] = {
	NET4(169, 254, 0, 0, 16),
	{ 6, 10, { 0xfe, 0x80 } },
	{ 6, 128, { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 } },
};
static const struct policy_net lan[] = {
	NET4(10, 0, 0, 0, 8), NET4(172, 16, 0, 0, 12), NET4(192, 168, 0, 0, 16), NET4(100, 64, 0, 0, 10), NET4(127, 0, 0, 0, 8), NET4(0, 0, 0, 0, 8),
	NET4(224, 0, 0, 0, 4), NET4(240, 0, 0, 0, 4),
	{ 6, 7, { 0xfc } },
	{ 6, 8, { 0xff } },
	{ 6, 127, { 0 } },                                    /* :: and ::1 */
	{ 6, 96, { [10] = 0xff, [11] = 0xff } },              /* IPv4-mapped: no packet has such an address, but an answer may */
};

static bool in(const struct policy_net *n, size_t count, uint8_t family, const uint8_t *addr)
{
	for (size_t i = 0; i < count; i++)
		if (policy_net_holds(&n[i], family, addr))
			return true;
	return false;
}

/* "0.0.0.0/0" is everything, "::/0" IPv6. */
static bool is_all(const struct policy_entry *e, uint8_t family)
{
	return e->kind == POLICY_NET && !e->net.prefix && (e->net.family == 4 || family == 6);
}

static bool port_fits(uint16_t rule, uint8_t proto, uint16_t port)
{
	if (!rule)
		return true;
	return rule == port && (proto == 6 || proto == 17 || proto == 0);
}

static struct policy_verdict verdict(bool allow, enum policy_rule rule, size_t i)
{
	return (struct policy_verdict){ allow, rule, (unsigned)i };
}

bool policy_default_allows(const struct policy *p)
{
	return !p->n[POLICY_ALLOW] || p->n[POLICY_DROP];
}

static struct policy_verdict by_default(const struct policy *p)
{
	bool allow = policy_default_allows(p);

	return verdict(allow, allow ? RULE_DEFAULT_ALLOW : RULE_DEFAULT_DENY, 0);
}

/* The first entry of the list that holds the address; wide: only those of /0, else only narrower ones (drop lists take both). */
static bool find(const struct policy *p, enum policy_list list, const struct policy_ask *a, bool narrow, bool wide, size_t *out)
{
	for (size_t i = 0; i < p->n[list]; i++) {
		const struct policy_entry *e = &p->list[list][i];

		if (e->kind != POLICY_NET || !port_fits(e->port, a->proto, a->port))
			continue;
		if ((narrow && e->net.prefix && policy_net_holds(&e->net, a->family, a->addr)) || (wide && is_all(e, a->family))) {
			*out = i;
			return true;
		}
	}
	return false;
}

static bool is_opened(const struct policy_ask *a, size_t *rule)
{
	for (size_t i = 0; i < a->n_opened; i++) {
		const struct policy_opened *o = &a->opened[i];

		if (o->family == a->family && !memcmp(o->addr, a->addr, o->family == 6 ? 16 : 4) && port_fits(o->port, a->proto, a->port)) {
			*rule = o->rule;
			return true;
		}
	}
	return false;
}

struct policy_verdict policy_decide(const struct policy *p, const struct policy_ask *a)
{
	size_t i;

	if (find(p, POLICY_ALLOW, a, true, false, &i) || is_opened(a, &i))
		return verdict(true, RULE_ALLOW, i);
	if (in(metadata, ARRAY_LEN(metadata), a->family, a->addr))
		return verdict(false, RULE_METADATA, 0);
	if (in(lan, ARRAY_LEN(lan), a->family, a->addr) || in(a->own, a->n_own, a->family, a->addr))
		return verdict(false, RULE_LAN, 0);
	if (find(p, POLICY_ALLOW, a, false, true, &i))
		return verdict(true, RULE_ALLOW, i);
	if (find(p, POLICY_DROP, a, true, true, &i))
		return verdict(false, RULE_DROP, i);
	return by_default(p);
}

bool policy_may_open(const struct policy_net *own, size_t n_own, uint8_t family, const uint8_t *addr)
{
	return !in(metadata, ARRAY_LEN(metadata), family, addr) && !in(lan, ARRAY_LEN(lan), family, addr) && !in(own, n_own, family, addr);
}

/* ---- names ---- */

static bool names(const struct policy_entry *e, const char *name)
{
	size_t n = strlen(name), s;

	if (e->kind == POLICY_NAME)
		return strcmp(e->name, name) == 0;
	if (e->kind != POLICY_SUFFIX)
		return false;
	s = strlen(e->name);
	return n > s + 1 && name[n - s - 1] == '.' && strcmp(name + n - s, e->name) == 0;
}

bool policy_rule_names(const struct policy *p, unsigned i, const char *name)
{
	return i < p->n[POLICY_ALLOW] && names(&p->list[POLICY_ALLOW][i], name);
}

static bool find_name(const struct policy *p, enum policy_list list, const char *name, uint16_t port, size_t *out)
{
	for (size_t i = 0; i < p->n[list]; i++) {
		const struct policy_entry *e = &p->list[list][i];

		if (names(e, name) && (!port || !e->port || e->port == port)) {
			*out = i;
			return true;
		}
	}
	return false;
}

/* A /0 entry of the list: some address that nobody names is decided by it. */
static bool find_all(const struct policy *p, enum policy_list list, uint16_t port, bool any_port, size_t *out)
{
	for (size_t i = 0; i < p->n[list]; i++) {
		const struct policy_entry *e = &p->list[list][i];

		if (is_all(e, list == POLICY_ALLOW ? 6 : 4) && (!e->port || (port ? e->port == port : any_port))) {
			*out = i;
			return true;
		}
	}
	return false;
}

struct policy_verdict policy_decide_name(const struct policy *p, const char *name, uint16_t port)
{
	size_t i;

	if (find_name(p, POLICY_ALLOW, name, port, &i))
		return verdict(true, RULE_ALLOW, i);
	if (find_name(p, POLICY_DROP, name, 0, &i))
		return verdict(false, RULE_DROP, i);
	if (find_all(p, POLICY_ALLOW, port, true, &i))
		return verdict(true, RULE_ALLOW, i);
	if (find_all(p, POLICY_DROP, port, false, &i))
		return verdict(false, RULE_DROP, i);
	return by_default(p);
}

void policy_rule_id(enum policy_rule rule, unsigned index, char out[POLICY_ID_MAX])
{
	static const char *const ids[] = { "allow", "drop", "builtin:metadata", "builtin:lan", "default:allow", "default:deny" };

	if (rule == RULE_ALLOW || rule == RULE_DROP)
		snprintf(out, POLICY_ID_MAX, "%s[%u]", ids[rule], index);
	else
		snprintf(out, POLICY_ID_MAX, "%s", ids[rule]);
}

/* ---- for netd ---- */

static void pack(uint8_t *r, bool allow, uint8_t family, const struct policy_entry *e, size_t index)
{
	memset(r, 0, POLICY_RULE_BYTES);
	r[0] = allow;
	r[1] = family;
	r[2] = e->net.prefix;
	r[4] = (uint8_t)e->port;
	r[5] = (uint8_t)(e->port >> 8);
	r[6] = (uint8_t)index;
	r[7] = (uint8_t)(index >> 8);
	memcpy(r + 8, e->net.addr, 16);
	r[24] = allow && e->net.prefix;
}

size_t policy_pack(const struct policy *p, uint8_t (*out)[POLICY_RULE_BYTES])
{
	size_t n = 0;

	for (unsigned list = 0; list < 2; list++)
		for (size_t i = 0; i < p->n[list]; i++) {
			const struct policy_entry *e = &p->list[list][i];

			if (e->kind != POLICY_NET)
				continue;
			pack(out[n++], list == POLICY_ALLOW, e->net.family, e, i);
			if (e->net.family == 4 && !e->net.prefix)
				pack(out[n++], list == POLICY_ALLOW, 6, e, i);
		}
	return n;
}
