/*
 * api/netd: the process that changes the host's network, and the only one that may. It holds CAP_NET_ADMIN, /dev/net/tun, two
 * netlink sockets and the forwarding switch, and parses only frames of lib/wire/netd.h from core. Everything it makes says so: the
 * ifalias "mica" on links, the nf_tables table "mica". It touches nothing else. rtnl.c links and
 * addresses, nft.c address translation, tap.c taps, main.c the frames. One thread.
 */
#ifndef API_NETD_NETD_H
#define API_NETD_NETD_H

#include <net/if.h>
#include "lib/base/base.h"

#define NETD_ALIAS "mica"

/* -- rtnl.c: rtnetlink(7) -- */
struct rtnl {
	int fd;          /* owned, NETLINK_ROUTE */
	uint32_t seq;
};
struct link_info {
	int index;       /* 0: no such link */
	bool ours;       /* carries NETD_ALIAS */
	bool bridge;
};
int rtnl_init(struct rtnl *r);
int rtnl_link_find(struct rtnl *r, const char *name, struct link_info *out); /* 0 also when it is not there (index 0) */
int rtnl_bridge_add(struct rtnl *r, const char *name);                      /* marked ours, not yet up */
int rtnl_link_set(struct rtnl *r, int index, int master, bool up, bool mark); /* master 0: leave */
int rtnl_link_del(struct rtnl *r, int index);
int rtnl_addr_add(struct rtnl *r, int index, uint32_t addr_be, unsigned prefix); /* 0 also when it stands there */
/* Calls fn for every link that carries our mark. */
int rtnl_each_ours(struct rtnl *r, void (*fn)(void *arg, const char *name, bool bridge), void *arg);

/* -- nft.c: nf_tables over netlink; one chain "nat-<bridge>" a bridge in table ip "mica" -- */
struct nft {
	int fd;          /* owned, NETLINK_NETFILTER */
	uint32_t seq;
};
int nft_init(struct nft *n);
/* Masquerades what comes from addr/prefix and leaves by another link than the bridge. Replaces an older rule of that bridge. */
int nft_masquerade(struct nft *n, const char *bridge, uint32_t addr_be, unsigned prefix);
int nft_forget(struct nft *n, const char *bridge); /* 0 also when there was nothing */

/* -- tap.c -- */
/* A tap that lives as long as its descriptor. fd or -errno. */
int tap_open(const char *name);

/* Sends one request (or batch; sequence numbers rise to last_seq) and reads acknowledgements until `acks` came: 0 or the first error (-errno). */
int netlink_talk(int fd, const void *msg, size_t len, uint32_t last_seq, unsigned acks);

#endif
