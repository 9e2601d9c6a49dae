/*
 * An isolated VM: tap and veth in its vmm's own network namespace, a /30 between guest and gateway there, and one route on the host. The veth has no
 * addresses: each end knows the other by a fixed neighbour and reaches it by an on-link route, so nothing on it can be stripped or renewed by a
 * network manager, and the guest's ARP and neighbour discovery end at its own gateway.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/netd/netd.h"
#include "lib/nfnl/nfnl.h"

/* The ends of every veth, seen from the other one; no route leads there but the one on that link. */
static const struct net_addr host_end4 = {4, 32, {169, 254, 0, 1}}, ns_end4 = {4, 32, {169, 254, 0, 2}};
static const struct net_addr host_end6 = {6, 128, {0xfe, 0x80, [15] = 1}}, ns_end6 = {6, 128, {0xfe, 0x80, [15] = 2}};
static const struct net_addr everywhere4 = {4, 0, {0}}, everywhere6 = {6, 0, {0}};

enum end { END_TAP = 0x04, END_HOST = 0x08, END_UP = 0x0c };

/* Locally administered, each a stable function of the guest's. */
static void mac_of(const struct iso *i, enum end end, uint8_t out[6])
{
	memcpy(out, i->mac, 6);
	out[0] ^= (uint8_t)end;
}

/* ---- ranges of groups ---- */

int range_up(struct request *r, struct fault *f)
{
	struct netd *n = r->n;
	struct net_addr net4;
	struct fault why = {""};
	if (request_addr(r, N_T_RANGE4, 4, 8, &net4))
		return fault_set(f, -EINVAL, "the range is no IPv4 network");
	struct range *g = range_make(n, r->name, false);
	if (!g)
		return fault_set(f, -ENOSPC, "too many groups");
	g->net4 = net4;
	int err = request_addr(r, N_T_RANGE6, 6, 32, &g->net6);
	if (!err && (err = sysctl_forward6(&n->rtnl, &why))) {
		g->net6 = (struct net_addr){0};
		fault_set(&r->said, 0, "no IPv6 for group %s: %s", r->name, why.text);
	}
	if ((err = sysctl_forward4(f)) || (err = nft_host_base(n, f)))
		return err;
	err = nft_host_range(n, g, true);
	return err ? fault_set(f, err, "cannot set address translation for group %s: %s", r->name, strerror(-err)) : 0;
}

int range_down(struct request *r, struct fault *f)
{
	struct range *g = range_find(r->n, r->name, false);
	int err = g ? nft_host_range(r->n, g, false) : 0;
	if (err)
		return fault_errno(f, err, "cannot remove address translation");
	range_drop(r->n, r->name, false);
	return 0;
}

/* ---- policies ---- */

static int unpack(const struct wire_field *f, struct iso_rule *out)
{
	const uint8_t *p = f->p;
	if (f->n != NETD_RULE_BYTES)
		return -EINVAL;
	uint32_t flags = (uint32_t)p[24] | (uint32_t)p[25] << 8 | (uint32_t)p[26] << 16 | (uint32_t)p[27] << 24;
	*out = (struct iso_rule){.allow = p[0], .explicit_ = p[0] && flags & NETD_RULE_EXPLICIT, .proto = p[3], .port = (uint16_t)(p[4] | p[5] << 8),
				 .index = (uint16_t)(p[6] | p[7] << 8), .net = {.family = p[1], .bits = p[2]}};
	memcpy(out->net.a, p + 8, 16);
	bool fits = p[0] <= 1 && (p[1] == 4 || p[1] == 6) && p[2] <= (p[1] == 4 ? 32 : 128) && (p[3] == 0 || p[3] == 6 || p[3] == 17) && out->index < 256;
	return fits && (!out->explicit_ || out->net.bits) ? 0 : -EINVAL;
}

int take_rules(const struct request *r, struct iso_rule **out, size_t *n, bool *default_allow, struct fault *f)
{
	struct wire_iter it;
	struct wire_field field;
	uint64_t def = 0;
	size_t count = 0;
	wire_iter_init(&it, r->m->p, r->m->n);
	while (wire_next(&it, &field)) /* as many as the frame holds */
		count += field.tag == N_T_RULE;
	*n = 0;
	*out = NULL;
	if (count > NETD_RULES_MAX)
		return fault_set(f, -EINVAL, "a policy has at most %u rules", NETD_RULES_MAX);
	if (!wire_get_u64(r->m, N_T_DEFAULT, &def) || def > 1)
		return fault_set(f, -EINVAL, "a policy says what no rule decides");
	*default_allow = def;
	if (count && !(*out = calloc(count, sizeof **out)))
		return fault_errno(f, -ENOMEM, "policy");
	wire_iter_init(&it, r->m->p, r->m->n);
	while (wire_next(&it, &field))
		if (field.tag == N_T_RULE && unpack(&field, &(*out)[(*n)++])) {
			free(*out);
			*out = NULL;
			return fault_set(f, -EINVAL, "rule %zu of the policy is broken", *n - 1);
		}
	return 0;
}

/* Who names whom: this VM may begin flows to those that its explicit entries hold, and they are told when that changes. was, is: the VM before and
 * after; NULL: it was not there, or is no more. */
static void tell_peers(struct netd *n, const struct iso *was, const struct iso *is)
{
	const struct iso *me = is ? is : was;
	for (struct iso *o = n->isos; o; o = o->next) {
		if (strcmp(o->vm, me->vm) == 0 || o->nft.fd < 0 || o->bridge[0])
			continue;
		bool now4 = is && iso_names(is, &o->guest4), now6 = is && iso_names(is, &o->guest6);
		if (now4 != (was && iso_names(was, &o->guest4)))
			nft_ns_peer(o, &me->guest4, now4);
		if (me->guest6.family && o->guest6.family && now6 != (was && iso_names(was, &o->guest6)))
			nft_ns_peer(o, &me->guest6, now6);
	}
}

int iso_policy(struct request *r, struct fault *f)
{
	struct iso *i = iso_find(r->n, r->name);
	struct iso_rule *rules;
	size_t n_rules;
	bool default_allow;
	if (!i || i->bridge[0])
		return fault_set(f, -ENOENT, "VM %s has no isolated network", r->name);
	int err = take_rules(r, &rules, &n_rules, &default_allow, f);
	if (err)
		return err;
	struct iso old = *i;
	i->rules = rules;
	i->n_rules = n_rules;
	i->default_allow = default_allow;
	if ((err = nft_ns_policy(r->n, i))) {
		i->rules = old.rules;
		i->n_rules = old.n_rules;
		i->default_allow = old.default_allow;
		free(rules);
		return fault_errno(f, err, "the policy cannot be set; the one before holds");
	}
	tell_peers(r->n, &old, i);
	free(old.rules);
	if ((err = nft_host_iso(r->n, i, true)))
		return fault_errno(f, err, "the policy holds in the VM's namespace, the host's rules for it could not be set");
	if ((err = ct_flush(&i->nft)))
		return fault_set(f, err, "the policy holds for new flows; those that run cannot be judged again: %s%s", strerror(-err),
				 err == -EOPNOTSUPP || err == -EINVAL ? " (the host's kernel needs CONFIG_NF_CT_NETLINK)" : "");
	return 0;
}

int iso_open(struct request *r, struct fault *f)
{
	struct iso *i = iso_find(r->n, r->name);
	struct wire_field a;
	uint64_t port = 0, rule = 0, ttl_s = 0;
	struct net_addr addr = {0};
	if (!i)
		return fault_set(f, -ENOENT, "no rules stand for VM %s", r->name);
	wire_get_u64(r->m, N_T_PORT, &port);
	if (!wire_get(r->m, N_T_ADDR, &a) || (a.n != 4 && a.n != 16) || port > 65535 || !wire_get_u64(r->m, N_T_RULE, &rule) || rule > 255 ||
	    !wire_get_u64(r->m, N_T_TTL_S, &ttl_s) || !ttl_s || ttl_s > 86400)
		return fault_set(f, -EINVAL, "an opened address has 4 or 16 bytes, a rule below 256 and a time of 1 to 86400 s");
	addr.family = a.n == 16 ? 6 : 4;
	addr.bits = (uint8_t)(8 * a.n);
	memcpy(addr.a, a.p, a.n);
	int err = nft_policy_open(i, &addr, (uint16_t)port, (unsigned)rule, ttl_s);
	return err ? fault_errno(f, err, "the address cannot be opened") : 0;
}

int iso_counters(struct request *r, struct fault *f)
{
	struct iso *i = iso_find(r->n, r->name);
	if (!i)
		return fault_set(f, -ENOENT, "no rules stand for VM %s", r->name);
	int err = nft_ns_counters(i, &r->n->out);
	return err ? fault_errno(f, err, "counters") : 0;
}

/* ---- links, addresses, routes ---- */

static int no_link(struct fault *f, int err, const char *what, const char *option)
{
	return fault_set(f, err, "%s: %s%s%s", what, strerror(-err), err == -EOPNOTSUPP ? ": the host's kernel needs " : "", err == -EOPNOTSUPP ? option : "");
}

/* The guest's side: the gateway's address on the tap, the guest a fixed neighbour, so that no ARP of its changes anything. */
static int tap_setup(const struct iso *i, struct rtnl *ns, struct fault *f)
{
	uint8_t mac[6];
	struct link_info l;
	struct net_addr gw4 = i->gw4, gw6 = i->gw6;
	mac_of(i, END_TAP, mac);
	gw4.bits = i->guest4.bits;
	gw6.bits = i->guest6.bits;
	int err = rtnl_link_find(ns, NETD_NS_TAP, &l);
	if (!err && !l.index)
		err = -ENODEV;
	if (!err)
		err = rtnl_link_mac(ns, l.index, mac);
	if (!err)
		err = rtnl_addr_add(ns, l.index, &gw4);
	if (!err && gw6.family)
		err = rtnl_addr_add(ns, l.index, &gw6);
	if (!err)
		err = rtnl_link_set(ns, l.index, 0, true, true);
	if (!err)
		err = rtnl_neigh_set(ns, l.index, &i->guest4, i->mac);
	if (!err && gw6.family)
		err = rtnl_neigh_set(ns, l.index, &i->guest6, i->mac);
	return err ? no_link(f, err, "the guest's link", "CONFIG_TUN") : 0;
}

/* A link up, its other end a fixed neighbour, and what is reached by it. */
static int end_setup(struct rtnl *r, const char *name, const struct net_addr *dst, const struct net_addr *via, const uint8_t via_mac[6])
{
	struct link_info l;
	int err = rtnl_link_find(r, name, &l);
	if (!err && !l.index)
		err = -ENODEV;
	if (!err)
		err = rtnl_link_set(r, l.index, 0, true, false);
	if (!err)
		err = rtnl_neigh_set(r, l.index, via, via_mac);
	return err ? err : rtnl_route_set(r, l.index, dst, via);
}

static int veth_setup(struct netd *n, const struct iso *i, struct rtnl *ns, struct fault *f)
{
	uint8_t host_mac[6], up_mac[6];
	mac_of(i, END_HOST, host_mac);
	mac_of(i, END_UP, up_mac);
	int err = end_setup(ns, NETD_NS_UP, &everywhere4, &host_end4, host_mac);
	if (!err)
		err = end_setup(&n->rtnl, i->link, &i->guest4, &ns_end4, up_mac);
	if (!err && i->guest6.family)
		err = end_setup(ns, NETD_NS_UP, &everywhere6, &host_end6, host_mac);
	if (!err && i->guest6.family)
		err = end_setup(&n->rtnl, i->link, &i->guest6, &ns_end6, up_mac);
	return err ? no_link(f, err, "the way between guest and host", "CONFIG_VETH") : 0;
}

static int tap_make(struct request *r, const struct iso *i, unsigned queues, struct fault *f)
{
	struct netd *n = r->n;
	struct link_info l;
	char name[IFNAMSIZ] = "mtap-";
	/* known by this name only until it is in the namespace */
	snprintf(name + strlen(name), sizeof name - strlen(name), "%s", i->link + sizeof NETD_LINK_PREFIX - 1);
	int err = rtnl_link_find(&n->rtnl, name, &l);
	if (err || l.index)
		return fault_set(f, err ? err : -EEXIST, "network interface %s stands in the way", name);
	if ((err = tap_open(name, queues, r->out_fds)))
		return fault_set(f, err, "cannot open a tap: %s%s", strerror(-err),
				 err == -ENOENT ? " (/dev/net/tun is not there: the host's kernel needs CONFIG_TUN, or modprobe tun) [E_TUN_MISSING]" : "");
	r->n_out = queues;
	if ((err = rtnl_link_find(&n->rtnl, name, &l)) || (err = rtnl_link_move(&n->rtnl, l.index, r->fds[3], NETD_NS_TAP)))
		return fault_errno(f, err, "the tap cannot be moved into the VM's network namespace");
	return 0;
}

static int links_make(struct request *r, const struct iso *i, struct fault *f)
{
	struct netd *n = r->n;
	struct link_info l;
	uint8_t host_mac[6], up_mac[6];
	unsigned queues;
	if (request_queues(r, &queues))
		return fault_set(f, -EINVAL, "a tap has 1 to %u queues", NETD_QUEUES_MAX);
	int err = find_ours(n, i->link, &l, f);
	if (!err && l.index && !l.mine)
		return fault_set(f, -EEXIST, "network interface %s belongs to another mica daemon", i->link);
	if (!err && l.index) /* of a VM that has ended: its namespace may live a moment longer */
		err = rtnl_link_del(&n->rtnl, l.index);
	if (!err)
		err = tap_make(r, i, queues, f);
	if (err)
		return err;
	mac_of(i, END_HOST, host_mac);
	mac_of(i, END_UP, up_mac);
	err = rtnl_veth_add(&n->rtnl, i->link, host_mac, NETD_NS_UP, up_mac, r->fds[3]);
	return err ? no_link(f, err, "cannot make a veth pair", "CONFIG_VETH") : 0;
}

/* ---- up, adopt, down ---- */

static int take_addresses(const struct request *r, struct iso *i)
{
	int six = request_addr(r, N_T_GUEST6, 6, 64, &i->guest6);
	if (request_mac(r, i->mac) || request_addr(r, N_T_GUEST4, 4, 8, &i->guest4) || request_addr(r, N_T_GW4, 4, 255, &i->gw4))
		return -EINVAL;
	if (six == -EINVAL || (!six && request_addr(r, N_T_GW6, 6, 255, &i->gw6)))
		return -EINVAL;
	return 0;
}

static void undo(struct netd *n, struct iso *i)
{
	struct link_info l;
	if (i->link[0] && rtnl_link_find(&n->rtnl, i->link, &l) == 0 && l.mine)
		rtnl_link_del(&n->rtnl, l.index);
	nft_host_iso(n, i, false);
	iso_drop(n, i);
}

/* Fills a new iso. The namespace's own sockets go where they belong; the route socket stays the frame's. */
static int iso_describe(struct request *r, struct iso *i, struct fault *f)
{
	if (wire_get_str(r->m, N_T_LINK, i->link, sizeof i->link) || !link_name_is_valid(i->link) ||
	    strncmp(i->link, NETD_LINK_PREFIX, sizeof NETD_LINK_PREFIX - 1) != 0) {
		i->link[0] = '\0';
		return fault_set(f, -EINVAL, "the link's name must begin with " NETD_LINK_PREFIX);
	}
	if (take_addresses(r, i))
		return fault_set(f, -EINVAL, "an isolated VM needs its MAC, its addresses and its gateway's");
	snprintf(i->table, sizeof i->table, NETD_ALIAS);
	nft_take(&i->nft, r->fds[1]);
	r->fds[1] = -1;
	int err = take_rules(r, &i->rules, &i->n_rules, &i->default_allow, f);
	return err ? err : nf_subscribe(r->fds[2], NFT_LOG_GROUP, f);
}

/* Rules first: no packet passes before them. */
static int iso_make_up(struct request *r, struct iso *i, bool adopt, struct fault *f)
{
	struct netd *n = r->n;
	struct rtnl ns = {.fd = r->fds[0], .alias = NETD_ALIAS};
	int err = iso_describe(r, i, f);
	if (err)
		return err;
	if ((err = nft_ns_policy(n, i))) {
		const char *option = nft_missing(&n->nft);
		return fault_set(f, err, "rules cannot be set in the VM's network namespace: %s%s%s", strerror(-err), option ? ": the host's kernel needs " : "",
				 option ? option : "");
	}
	if ((n->synced || !adopt) && (err = nft_host_iso(n, i, true)))
		return fault_errno(f, err, "the host's rules for the VM");
	if (!adopt && (err = links_make(r, i, f)))
		return err;
	if (!adopt)
		err = tap_setup(i, &ns, f);
	if (!err)
		err = veth_setup(n, i, &ns, f);
	if (!err)
		tell_peers(n, NULL, i);
	return err;
}

static int iso_begin(struct request *r, bool adopt, struct fault *f)
{
	struct iso *old = iso_find(r->n, r->name);
	if (old && !adopt)
		undo(r->n, old);
	struct iso *i = iso_make(r->n, r->name);
	if (!i)
		return fault_set(f, -ENOSPC, "too many VMs");
	int err = iso_make_up(r, i, adopt, f);
	if (!err)
		return 0;
	while (r->n_out)
		close(r->out_fds[--r->n_out]);
	if (adopt)
		iso_drop(r->n, i); /* what runs, runs on under the rules it had */
	else
		undo(r->n, i);
	return err;
}

int iso_up(struct request *r, struct fault *f)
{
	return iso_begin(r, false, f);
}

int iso_adopt(struct request *r, struct fault *f)
{
	return iso_begin(r, true, f);
}

int vm_down(struct request *r, struct fault *f)
{
	struct iso *i = iso_find(r->n, r->name);
	if (!i)
		return 0;
	if (i->bridge[0]) {
		int err = nft_bridge_none(r->n, i->table);
		iso_drop(r->n, i);
		return err ? fault_errno(f, err, "the VM's rules cannot be removed") : 0;
	}
	tell_peers(r->n, i, NULL);
	undo(r->n, i);
	return 0;
}
