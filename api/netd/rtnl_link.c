/* What netd makes: links, addresses, routes, neighbours. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/socket.h>

#include "api/netd/rtnl.h"

static void put_text(struct rt_request *q, uint16_t type, const char *s)
{
	rt_put(q, type, s, strlen(s) + 1);
}

/* With an address of its own, by its name: else it takes the lowest of its ports', and guests lose their gateway for seconds whenever a VM comes or goes. */
int rtnl_bridge_add(struct rtnl *r, const char *name)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct rt_request q;
	struct link_info made;
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
	for (const char *c = name; *c; c++)
		h = (h ^ (uint8_t)*c) * 0x100000001b3u;
	const uint8_t mac[6] = {0x06, (uint8_t)(h >> 32), (uint8_t)(h >> 24), (uint8_t)(h >> 16), (uint8_t)(h >> 8), (uint8_t)h};
	rt_begin(r, &q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
	put_text(&q, IFLA_IFNAME, name);
	rt_put(&q, IFLA_ADDRESS, mac, sizeof mac);
	struct rtattr *nest = rt_put(&q, IFLA_LINKINFO, NULL, 0);
	put_text(&q, IFLA_INFO_KIND, "bridge");
	rt_close(&q, nest);
	int err = rt_ask(r, &q);
	if (!err)
		err = rtnl_link_find(r, name, &made);
	if (!err)
		err = rtnl_link_set(r, made.index, 0, false, true);
	return err;
}

int rtnl_macvtap_add(struct rtnl *r, const char *name, int parent, const uint8_t mac[6])
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct rt_request q;
	uint32_t mode = MACVLAN_MODE_BRIDGE;
	struct link_info made;
	rt_begin(r, &q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
	put_text(&q, IFLA_IFNAME, name);
	rt_put(&q, IFLA_LINK, &parent, sizeof parent);
	rt_put(&q, IFLA_ADDRESS, mac, 6);
	struct rtattr *kind = rt_put(&q, IFLA_LINKINFO, NULL, 0);
	put_text(&q, IFLA_INFO_KIND, "macvtap");
	struct rtattr *data = rt_put(&q, IFLA_INFO_DATA, NULL, 0);
	rt_put(&q, IFLA_MACVLAN_MODE, &mode, sizeof mode);
	rt_close(&q, data);
	rt_close(&q, kind);
	int err = rt_ask(r, &q);
	if (!err)
		err = rtnl_link_find(r, name, &made);
	return err ? err : rtnl_link_set(r, made.index, 0, false, true);
}

int rtnl_link_set(struct rtnl *r, int index, int master, bool up, bool mark)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct rt_request q;
	if (up)
		info.ifi_flags = info.ifi_change = IFF_UP;
	rt_begin(r, &q, RTM_SETLINK, 0, &info, sizeof info);
	if (master)
		rt_put(&q, IFLA_MASTER, &master, sizeof master);
	if (mark)
		put_text(&q, IFLA_IFALIAS, r->alias);
	return rt_ask(r, &q);
}

int rtnl_link_del(struct rtnl *r, int index)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct rt_request q;
	rt_begin(r, &q, RTM_DELLINK, 0, &info, sizeof info);
	return rt_ask(r, &q);
}

int rtnl_link_mac(struct rtnl *r, int index, const uint8_t mac[6])
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct rt_request q;
	rt_begin(r, &q, RTM_SETLINK, 0, &info, sizeof info);
	rt_put(&q, IFLA_ADDRESS, mac, 6);
	return rt_ask(r, &q);
}

int rtnl_link_move(struct rtnl *r, int index, int ns_fd, const char *new_name)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct rt_request q;
	rt_begin(r, &q, RTM_SETLINK, 0, &info, sizeof info);
	rt_put(&q, IFLA_NET_NS_FD, &ns_fd, sizeof ns_fd);
	put_text(&q, IFLA_IFNAME, new_name);
	return rt_ask(r, &q);
}

int rtnl_veth_add(struct rtnl *r, const char *name, const uint8_t mac[6], const char *peer, const uint8_t peer_mac[6], int ns_fd)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct rt_request q;
	rt_begin(r, &q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
	put_text(&q, IFLA_IFNAME, name);
	rt_put(&q, IFLA_ADDRESS, mac, 6);
	struct rtattr *kind = rt_put(&q, IFLA_LINKINFO, NULL, 0);
	put_text(&q, IFLA_INFO_KIND, "veth");
	struct rtattr *data = rt_put(&q, IFLA_INFO_DATA, NULL, 0), *other = rt_put(&q, VETH_INFO_PEER, &info, sizeof info);
	put_text(&q, IFLA_IFNAME, peer);
	rt_put(&q, IFLA_ADDRESS, peer_mac, 6);
	rt_put(&q, IFLA_NET_NS_FD, &ns_fd, sizeof ns_fd);
	rt_close(&q, other);
	rt_close(&q, data);
	rt_close(&q, kind);
	int err = rt_ask(r, &q);
	struct link_info made;
	if (!err)
		err = rtnl_link_find(r, name, &made);
	return err ? err : rtnl_link_set(r, made.index, 0, false, true);
}

int rtnl_addr_add(struct rtnl *r, int index, const struct net_addr *a)
{
	struct ifaddrmsg info = {.ifa_family = a->family == 6 ? AF_INET6 : AF_INET, .ifa_prefixlen = a->bits, .ifa_index = (uint32_t)index,
				 .ifa_flags = a->family == 6 ? IFA_F_NODAD : 0};
	struct rt_request q;
	rt_begin(r, &q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
	rt_put(&q, IFA_LOCAL, a->a, net_addr_bytes(a));
	rt_put(&q, IFA_ADDRESS, a->a, net_addr_bytes(a));
	int err = rt_ask(r, &q);
	return err == -EEXIST ? 0 : err;
}

int rtnl_route_set(struct rtnl *r, int index, const struct net_addr *dst, const struct net_addr *via)
{
	struct rtmsg info = {.rtm_family = via->family == 6 ? AF_INET6 : AF_INET, .rtm_dst_len = dst->bits, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
			     .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST, .rtm_flags = RTNH_F_ONLINK};
	struct net_addr net = *dst;
	struct rt_request q;
	for (unsigned i = 0; i < net_addr_bytes(dst); i++) { /* the kernel refuses bits beyond the length */
		unsigned left = dst->bits > 8 * i ? dst->bits - 8 * i : 0;
		net.a[i] &= left >= 8 ? 0xff : (uint8_t)(0xff00 >> left);
	}
	rt_begin(r, &q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &info, sizeof info);
	if (dst->bits)
		rt_put(&q, RTA_DST, net.a, net_addr_bytes(dst));
	rt_put(&q, RTA_GATEWAY, via->a, net_addr_bytes(via));
	rt_put(&q, RTA_OIF, &index, sizeof index);
	return rt_ask(r, &q);
}

int rtnl_neigh_set(struct rtnl *r, int index, const struct net_addr *a, const uint8_t mac[6])
{
	struct ndmsg info = {.ndm_family = a->family == 6 ? AF_INET6 : AF_INET, .ndm_ifindex = index, .ndm_state = NUD_PERMANENT};
	struct rt_request q;
	rt_begin(r, &q, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &info, sizeof info);
	rt_put(&q, NDA_DST, a->a, net_addr_bytes(a));
	rt_put(&q, NDA_LLADDR, mac, 6);
	return rt_ask(r, &q);
}
