/* Requests about the host and bridges: our tables, bridges, their taps. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/netd/netd.h"

enum { SWEEP_MAX = 512 }; /* links removed in one round */

int find_ours(struct netd *n, const char *name, struct link_info *l, struct fault *f)
{
	int err = rtnl_link_find(&n->rtnl, name, l);
	if (err)
		return fault_errno(f, err, name);
	if (l->index && !l->ours)
		return fault_set(f, -EEXIST, "network interface %s exists and was not made by mica: choose another name in the host group's network section, or remove it "
				 "[E_BRIDGE_TAKEN]", name);
	return 0;
}

int host_up(struct request *r, struct fault *f)
{
	struct netd *n = r->n;
	char owner[NETD_OWNER_MAX + 1];
	if (wire_get_str(r->m, N_T_OWNER, owner, sizeof owner) || !name_is_valid(owner, NETD_OWNER_MAX))
		return fault_set(f, -EINVAL, "an owner has 1 to 8 of a-z and 0-9");
	snprintf(n->owner, sizeof n->owner, "%s", owner);
	snprintf(n->table, sizeof n->table, "mica-%s", owner);
	snprintf(n->rtnl.alias, sizeof n->rtnl.alias, NETD_ALIAS " %s", owner);
	stale_hold(n);
	stale_sweep(n);
	return nft_host_base(n, f);
}

int host_down(struct request *r, struct fault *f)
{
	int err = nft_host_none(r->n);
	if (!err)
		err = nft_bridge_sweep(r->n, NULL, NULL);
	r->n->synced = false;
	return err ? fault_errno(f, err, "the host's rules cannot be removed") : 0;
}

/* ---- what an earlier netd left ---- */

struct sweep {
	struct request *r;
	unsigned n;
	char names[SWEEP_MAX][IFNAMSIZ];
};

static bool is_kept(const void *arg, const char *name)
{
	const struct request *r = arg;
	struct wire_iter it;
	struct wire_field f;
	wire_iter_init(&it, r->m->p, r->m->n);
	while (wire_next(&it, &f)) /* as many as the frame holds */
		if (f.tag == N_T_LINK && f.n == strlen(name) && memcmp(f.p, name, f.n) == 0)
			return true;
	return false;
}

static bool is_claimed(struct netd *n, const char *name)
{
	for (const struct iso *i = n->isos; i; i = i->next)
		if (strcmp(i->link, name) == 0)
			return true;
	for (const struct guard *g = n->guards; g; g = g->next)
		if (strcmp(g->tap, name) == 0)
			return true;
	return range_find(n, name, true);
}

static void sweep_one(void *arg, const char *name, const struct link_info *l)
{
	struct sweep *s = arg;
	if (l->mine && s->n < SWEEP_MAX && link_name_is_valid(name) && !is_claimed(s->r->n, name) && !is_kept(s->r, name))
		snprintf(s->names[s->n++], IFNAMSIZ, "%s", name);
}

int host_sync(struct request *r, struct fault *f)
{
	static struct sweep s; /* one thread; too large for the stack */
	struct netd *n = r->n;
	int err = nft_host_all(n);
	if (!err)
		err = nft_bridge_sweep(n, is_kept, r);
	if (err)
		return fault_errno(f, err, "the host's rules cannot be written anew");
	n->synced = true;
	s.r = r;
	s.n = 0;
	if ((err = rtnl_each_ours(&n->rtnl, sweep_one, &s)))
		return fault_errno(f, err, "links that were left behind");
	for (unsigned i = 0; i < s.n; i++) {
		struct link_info l;
		if (rtnl_link_find(&n->rtnl, s.names[i], &l) == 0 && l.mine)
			rtnl_link_del(&n->rtnl, l.index);
	}
	return 0;
}

/* ---- bridges ---- */

/* The guests have IPv4 in any case: what is missing for IPv6 is only told. */
static void bridge_up6(struct request *r, struct range *b, int index)
{
	struct netd *n = r->n;
	struct fault why = {""};
	if (request_addr(r, N_T_GATEWAY6, 6, 48, &b->net6))
		return;
	int err = sysctl_forward6(&n->rtnl, &why);
	if (!err && (err = rtnl_addr_add(&n->rtnl, index, &b->net6)))
		fault_errno(&why, err, "its address");
	if (err) {
		b->net6 = (struct net_addr){0};
		fault_set(&r->said, 0, "no IPv6 on %s: %s", b->name, why.text);
	}
}

int bridge_up(struct request *r, struct fault *f)
{
	struct netd *n = r->n;
	const char *name = r->name;
	struct link_info l;
	struct net_addr gateway;
	if (request_addr(r, N_T_GATEWAY, 4, 8, &gateway))
		return fault_set(f, -EINVAL, "the gateway is no IPv4 address with a prefix length");
	int err = find_ours(n, name, &l, f);
	if (err)
		return err;
	if (!l.index && (err = rtnl_bridge_add(&n->rtnl, name)))
		return fault_set(f, err, "cannot make bridge %s: %s%s", name, strerror(-err), err == -EOPNOTSUPP ? " (the host's kernel needs CONFIG_BRIDGE)" : "");
	struct range *b = range_make(n, name, true);
	if (!b)
		return fault_set(f, -ENOSPC, "too many bridges");
	b->net4 = gateway;
	b->net6 = (struct net_addr){0};
	if ((err = rtnl_link_find(&n->rtnl, name, &l)) || (err = rtnl_addr_add(&n->rtnl, l.index, &gateway)) ||
	    (err = rtnl_link_set(&n->rtnl, l.index, 0, true, true)))
		return fault_set(f, err, "cannot set up bridge %s: %s", name, strerror(-err));
	if ((err = sysctl_forward4(f)) || (err = nft_host_base(n, f)))
		return err;
	bridge_up6(r, b, l.index);
	if ((err = nft_host_range(n, b, true)))
		return fault_set(f, err, "cannot set address translation for %s: %s", name, strerror(-err));
	return 0;
}

int bridge_down(struct request *r, struct fault *f)
{
	struct netd *n = r->n;
	struct link_info l;
	struct range *b = range_find(n, r->name, true);
	int err = find_ours(n, r->name, &l, f);
	if (err)
		return err;
	if (b && (err = nft_host_range(n, b, false)))
		return fault_errno(f, err, "cannot remove address translation");
	range_drop(n, r->name, true);
	if (l.mine && (err = rtnl_link_del(&n->rtnl, l.index)) && err != -ENODEV)
		return fault_errno(f, err, r->name);
	return 0;
}

/* ---- taps on bridges ---- */

/* 0 with the guard in *out (NULL: none was asked for), -EINVAL, -ENOSPC. */
static int guard_of(struct request *r, struct guard **out, struct fault *f)
{
	struct guard g = {.next = NULL};
	*out = NULL;
	int err = request_mac(r, g.mac);
	if (err == -ENOENT)
		return 0;
	int four = err ? err : request_addr(r, N_T_GUEST4, 4, 8, &g.guest4);
	if (err || four == -EINVAL || (four && !r->lan) || request_addr(r, N_T_GUEST6, 6, 48, &g.guest6) == -EINVAL)
		return fault_set(f, -EINVAL, "a guarded tap needs the guest's MAC and addresses");
	struct guard *kept = guard_make(r->n, r->name);
	if (!kept)
		return fault_set(f, -ENOSPC, "too many taps");
	memcpy(kept->mac, g.mac, sizeof kept->mac);
	kept->guest4 = g.guest4;
	kept->guest6 = g.guest6;
	kept->lan = r->lan;
	*out = kept;
	return 0;
}

static int guard_on(struct request *r, const struct guard *g, struct fault *f)
{
	int err = g ? nft_tap_guard(r->n, g, true) : 0;
	if (!err)
		return 0;
	guard_drop(r->n, r->name);
	return fault_set(f, err, "cannot guard tap %s against false addresses: %s%s", r->name, strerror(-err),
			 err == -EOPNOTSUPP || err == -ENOENT ? " (the host's kernel needs CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_INGRESS)" : "");
}

int guard_lan(struct request *r, struct fault *f)
{
	struct fault why;
	struct guard *g;
	r->lan = true;
	int err = guard_of(r, &g, f);
	if (err || !g || !(err = nft_tap_guard(r->n, g, true)))
		return err;
	guard_drop(r->n, r->name);
	fault_set(&why, err, "%s", strerror(-err));
	fault_set(&r->said, 0, "nothing guards which addresses it uses on the LAN: %s%s", why.text,
		  err == -EOPNOTSUPP || err == -ENOENT ? " (the host's kernel needs CONFIG_NETFILTER_EGRESS and CONFIG_NF_TABLES_NETDEV)" : "");
	return 0;
}

/* Attached and up, with its guard before the first frame. */
static int tap_attach(struct request *r, int bridge, struct fault *f)
{
	struct netd *n = r->n;
	struct link_info l;
	struct guard *g;
	int err = guard_of(r, &g, f);
	if (!err)
		err = guard_on(r, g, f);
	if (err)
		return err;
	if ((err = rtnl_link_find(&n->rtnl, r->name, &l)) || (err = rtnl_link_set(&n->rtnl, l.index, bridge, true, true)))
		return fault_set(f, err, "cannot attach tap %s: %s", r->name, strerror(-err));
	return 0;
}

int tap_up(struct request *r, struct fault *f)
{
	struct netd *n = r->n;
	struct link_info l, bridge;
	char bridge_name[IFNAMSIZ];
	unsigned queues;
	if (wire_get_str(r->m, N_T_BRIDGE, bridge_name, sizeof bridge_name) || !link_name_is_valid(bridge_name))
		return fault_set(f, -EINVAL, "the bridge's name is not valid");
	if (request_queues(r, &queues))
		return fault_set(f, -EINVAL, "a tap has 1 to %u queues", NETD_QUEUES_MAX);
	int err = find_ours(n, bridge_name, &bridge, f);
	if (err || !bridge.index || !bridge.bridge)
		return err ? err : fault_set(f, -ENODEV, "bridge %s is not there", bridge_name);
	if ((err = find_ours(n, r->name, &l, f)))
		return err;
	if ((err = tap_open(r->name, queues, r->out_fds)))
		return fault_set(f, err, "cannot open tap %s: %s%s", r->name, strerror(-err),
				 err == -ENOENT ? " (/dev/net/tun is not there: the host's kernel needs CONFIG_TUN, or modprobe tun) [E_TUN_MISSING]" :
				 err == -EBUSY ? " (another process holds it)" : "");
	if ((err = tap_attach(r, bridge.index, f)) == 0) {
		r->n_out = queues;
		return 0;
	}
	for (unsigned i = 0; i < queues; i++)
		close(r->out_fds[i]);
	return err;
}

int tap_adopt(struct request *r, struct fault *f)
{
	struct link_info l;
	struct guard *g;
	int err = find_ours(r->n, r->name, &l, f);
	if (err || !l.index)
		return err ? err : fault_set(f, -ENODEV, "tap %s is not there", r->name);
	if (l.macvtap)
		return guard_lan(r, f);
	err = guard_of(r, &g, f);
	return err || !r->n->synced ? err : guard_on(r, g, f); /* before: host_sync() writes it with the others */
}

int tap_down(struct request *r, struct fault *f)
{
	struct netd *n = r->n;
	struct link_info l;
	struct guard g = {.next = NULL};
	int err = find_ours(n, r->name, &l, f);
	if (err)
		return err;
	if (l.mine && (err = rtnl_link_del(&n->rtnl, l.index)) && err != -ENODEV) /* another daemon's stays */
		return fault_errno(f, err, r->name);
	if (!guard_drop(n, r->name))
		return 0;
	snprintf(g.tap, sizeof g.tap, "%s", r->name);
	err = nft_tap_guard(n, &g, false);
	return err ? fault_errno(f, err, "cannot remove the tap's guard") : 0;
}
