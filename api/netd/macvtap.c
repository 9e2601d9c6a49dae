/* Links of VMs that stand on the LAN themselves: macvtap on a link of the host. Nothing is kept here: core names those that live in N_SYNC. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/netd/netd.h"

/* 0 with the parent's index; a missing one is -ENODEV with f. */
static int parent_of(struct request *r, int *index, char name[IFNAMSIZ], struct fault *f)
{
	struct link_info l;
	int err = wire_get_str(r->m, N_T_PARENT, name, IFNAMSIZ);
	*index = 0;
	if (err == -ENOENT) {
		snprintf(name, IFNAMSIZ, "default");
		err = rtnl_default_link(&r->n->rtnl, index);
		if (err)
			return fault_errno(f, err, "the host's default route");
		return *index ? 0 : fault_set(f, -ENODEV, "the host has no default route to tell the link of its LAN: name one as network.parent [E_PARENT]");
	}
	if (err || !link_name_is_valid(name))
		return fault_set(f, -EINVAL, "the parent's name is not valid");
	err = rtnl_link_find(&r->n->rtnl, name, &l);
	if (err)
		return fault_errno(f, err, name);
	*index = l.index;
	return l.index ? 0 : fault_set(f, -ENODEV, "network.parent %s is not there: name a link of this host (`ip link`) [E_PARENT]", name);
}

int parent_look(struct request *r, struct fault *f)
{
	char name[IFNAMSIZ];
	int index, err = parent_of(r, &index, name, &r->said);
	if (err && err != -ENODEV) {
		*f = r->said;
		return err;
	}
	return 0; /* it may come until a VM starts */
}

static int clear_name(struct request *r, struct fault *f)
{
	struct link_info l;
	int err = find_ours(r->n, r->name, &l, f);
	if (err || !l.index)
		return err;
	if (!l.mine || !l.macvtap)
		return fault_set(f, -EEXIST, "network interface %s belongs to another VM: give the host group another tap_prefix", r->name);
	err = rtnl_link_del(&r->n->rtnl, l.index);
	return err && err != -ENODEV ? fault_errno(f, err, r->name) : 0;
}

static const char *hint(int err)
{
	return err == -EOPNOTSUPP ? " (the host's kernel needs CONFIG_MACVTAP, or modprobe macvtap) [E_MACVTAP_MISSING]" :
	       err == -EBUSY ? " (the parent is part of a bridge or bond, or somebody uses that MAC on it)" :
	       err == -EINVAL ? " (the parent is no Ethernet link)" : "";
}

int macvtap_up(struct request *r, struct fault *f)
{
	struct rtnl *rt = &r->n->rtnl;
	struct link_info l = {0};
	char parent[IFNAMSIZ];
	uint8_t mac[6];
	int index, err;
	if (request_mac(r, mac))
		return fault_set(f, -EINVAL, "a macvtap link needs the guest's MAC");
	if ((err = parent_of(r, &index, parent, f)) || (err = clear_name(r, f)))
		return err;
	if ((err = rtnl_macvtap_add(rt, r->name, index, mac)))
		return fault_set(f, err, "cannot make macvtap link %s on %s: %s%s", r->name, parent, strerror(-err), hint(err));
	err = rtnl_link_find(rt, r->name, &l);
	if (!err)
		err = guard_lan(r, f); /* before the first frame */
	if (!err)
		err = rtnl_link_set(rt, l.index, 0, true, true);
	if (err) {
		if (l.index)
			rtnl_link_del(rt, l.index);
		return fault_set(f, err, "cannot set up macvtap link %s on %s: %s%s", r->name, parent, strerror(-err), hint(err));
	}
	wire_u64(&r->n->out, N_T_INDEX, (uint64_t)l.index);
	return 0;
}
