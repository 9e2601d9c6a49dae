/*
 * api/netd: the process that changes the host's network, and the only one that may. It holds CAP_NET_ADMIN, /dev/net/tun and netlink sockets, those of
 * VMs' namespaces too (jail opened them), and parses only frames of lib/wire/netd.h from core and the kernel's answers. Everything it makes says so:
 * the ifalias "mica …" on links, the nf_tables tables "mica…". It touches nothing else. main.c starts it, serve.c takes the frames, bridge.c, macvtap.c
 * iso.c and ruled.c do what they ask, stale.c tidies up after the dead, state.c is what netd knows; rtnl*.c speak rtnetlink, nft_msg.c and nft_rule.c nf_tables; nft_host.c, nft_ns.c, nft_bridge.c, nft_policy.c
 * and nft_tap.c say which rules there are on the host, in a VM's namespace, for one on a bridge, for both, and on a tap; ct.c running flows, tap.c taps, sysctl.c forwarding. One thread.
 */
#ifndef API_NETD_NETD_H
#define API_NETD_NETD_H

#include <net/if.h>

#include "api/netd/nft.h"
#include "lib/wire/chan.h"
#include "lib/wire/netd.h"

#define NETD_ALIAS "mica"
#define NETD_OWNER_MAX 8u
#define NETD_NS_TAP "tap0" /* in a VM's namespace: the guest's side … */
#define NETD_NS_UP "up0"   /* … and the host's */

/* An address with its network; bits 0 and family 0: none. */
struct net_addr {
	uint8_t family; /* 4 or 6 */
	uint8_t bits;
	uint8_t a[16];  /* network order, the first 4 for family 4 */
};
static inline unsigned net_addr_bytes(const struct net_addr *a) { return a->family == 6 ? 16 : 4; }
/* "a.b.c.d/len" or "x::y/len" (the length within min_bits and the family's), or with min_bits 255 an address without a length. 0 or -EINVAL. */
int net_addr_parse(const char *text, uint8_t family, unsigned min_bits, struct net_addr *out);
bool net_addr_holds(const struct net_addr *net, const struct net_addr *a); /* a's address lies in net */

/* -- rtnl.c, rtnl_link.c: rtnetlink(7) -- */
struct rtnl {
	int fd;          /* owned, NETLINK_ROUTE; of the host or of a VM's namespace */
	uint32_t seq;
	char alias[16];  /* what marks a link as this owner's */
};
struct link_info {
	int index;       /* 0: no such link */
	bool ours;       /* marked by mica, whoever the owner … */
	bool mine;       /* … and by this one */
	bool bridge, macvtap;
};
int rtnl_init(struct rtnl *r);
int rtnl_link_find(struct rtnl *r, const char *name, struct link_info *out); /* 0 also when it is not there (index 0) */
int rtnl_bridge_add(struct rtnl *r, const char *name);                      /* marked ours, not yet up */
int rtnl_link_set(struct rtnl *r, int index, int master, bool up, bool mark); /* master 0: leave */
int rtnl_link_del(struct rtnl *r, int index);
int rtnl_link_mac(struct rtnl *r, int index, const uint8_t mac[6]);
/* Into that namespace, under a new name. */
int rtnl_link_move(struct rtnl *r, int index, int ns_fd, const char *new_name);
/* A pair: `name` here, `peer` in that namespace, both down, marked. */
int rtnl_veth_add(struct rtnl *r, const char *name, const uint8_t mac[6], const char *peer, const uint8_t peer_mac[6], int ns_fd);
/* On the link `parent`, mode bridge, down, marked. */
int rtnl_macvtap_add(struct rtnl *r, const char *name, int parent, const uint8_t mac[6]);
/* The link that IPv4 leaves the host by: of the default route with the lowest metric. 0 also when there is none (index 0). */
int rtnl_default_link(struct rtnl *r, int *index);
/* The address that a has, with its length: 0 also when it stands there. IPv6 is usable at once (no duplicate detection). */
int rtnl_addr_add(struct rtnl *r, int index, const struct net_addr *a);
/* To dst (bits 0: everywhere) by a neighbour on that link whose address need not be in any network of ours. Replaces. */
int rtnl_route_set(struct rtnl *r, int index, const struct net_addr *dst, const struct net_addr *via);
int rtnl_neigh_set(struct rtnl *r, int index, const struct net_addr *a, const uint8_t mac[6]); /* for good: never asked for */
/* Calls fn for every link that carries our mark. */
int rtnl_each_ours(struct rtnl *r, void (*fn)(void *arg, const char *name, const struct link_info *l), void *arg);
int rtnl_each_name(struct rtnl *r, void (*fn)(void *arg, const char *name), void *arg);
/* Calls fn for every address of the host itself. */
int rtnl_each_addr(struct rtnl *r, void (*fn)(void *arg, const struct net_addr *a), void *arg);

/* -- tap.c -- */
/* Taps that live as long as their descriptors: `queues` queues of one link, owned by the caller. 0 or -errno (then none is open). */
int tap_open(const char *name, unsigned queues, int *fds);

/* -- ct.c: running flows of the namespace behind that NETLINK_NETFILTER socket -- */
int ct_flush(struct nft *n);
/* Those that that address began, on the host. */
int ct_flush_from(struct nft *n, const struct net_addr *a);

/* -- sysctl.c: files of /proc/sys/net. Switches once, never off again -- */
int sysctl_forward4(struct fault *f);
int sysctl_count_flows(struct fault *f); /* bytes and times of flows */
/* IPv6 as well; links that take router advertisements go on taking them (accept_ra 2). */
int sysctl_forward6(struct rtnl *r, struct fault *f);

/* -- state.c: what netd knows, so that rules can be written anew -- */
#define NETD_NETS_MAX 256u
#define NETD_VMS_MAX 8192u
struct range {                /* a bridge's subnet, or a group's range of isolated VMs */
	struct range *next;
	char name[64];        /* of the bridge or the group */
	bool bridge;
	struct net_addr net4, net6; /* net6.family 0: none */
};
struct guard {                /* a tap whose guest may not lie about who it is */
	struct guard *next;
	char tap[IFNAMSIZ];
	uint8_t mac[6];
	struct net_addr guest4, guest6; /* guest6.family 0: none */
	bool lan;             /* a macvtap link: IPv6 is not looked at, IPv4 with guest4.family 0 neither */
};
struct iso_rule {             /* RULE, unpacked */
	bool allow, explicit_;
	uint8_t proto;
	uint16_t port, index;
	struct net_addr net;
};
struct iso {
	struct iso *next;
	char vm[64], link[IFNAMSIZ]; /* of the veth on the host; of one on a bridge: its tap */
	char bridge[IFNAMSIZ]; /* "": isolated */
	char table[32];       /* of its rules; on a bridge: on the host, beside ours */
	uint8_t mac[6];
	struct net_addr guest4, gw4, guest6, gw6; /* …6.family 0: none */
	struct nft nft;       /* owned: of its namespace, or the host */
	struct iso_rule *rules; /* owned */
	size_t n_rules;
	bool default_allow;
	bool on_host;         /* its rules stand in the host's table */
	uint16_t log_group;   /* of NFLOG on the host; 0: the namespace's */
	uint8_t opened[32];   /* bit i: chain +allow[i] was made for a name */
};
struct netd {
	struct chan core;
	struct rtnl rtnl;
	struct nft nft;       /* of the host */
	struct buf out;
	char owner[NETD_OWNER_MAX + 1];
	char table[16];       /* of the host's nf_tables */
	struct range *ranges; /* owned lists */
	struct guard *guards;
	struct iso *isos;
	int held_fd;          /* owned: says that this owner lives (stale.c); negative: none */
	bool synced;
	bool no_flow_limit;   /* the kernel cannot count a VM's flows */
};
struct range *range_find(struct netd *n, const char *name, bool bridge);
struct range *range_make(struct netd *n, const char *name, bool bridge); /* found or new; NULL: too many, or no memory */
void range_drop(struct netd *n, const char *name, bool bridge);
struct guard *guard_make(struct netd *n, const char *tap);
bool guard_drop(struct netd *n, const char *tap);                       /* was there one? */
struct iso *iso_find(struct netd *n, const char *vm);
struct iso *iso_make(struct netd *n, const char *vm);                   /* empty, in the list; one of that name is dropped before */
void iso_drop(struct netd *n, struct iso *i);
/* Does a VM's explicit entry allow that address? */
bool iso_names(const struct iso *i, const struct net_addr *a);

/* -- which rules: each call is one transaction. 0, or -errno with f naming what the kernel lacks -- */
int nft_host_base(struct netd *n, struct fault *f);          /* our table and base chains, if missing */
int nft_host_range(struct netd *n, const struct range *r, bool up);
int nft_host_iso(struct netd *n, struct iso *i, bool up);
int nft_host_all(struct netd *n);                            /* everything anew from what is known, guards too */
int nft_host_none(struct netd *n);                           /* no table of ours is left */
int nft_tap_guard(struct netd *n, const struct guard *g, bool up);
void nft_tap_put(struct nft_batch *b, const struct guard *g);
int nft_ns_policy(struct netd *n, struct iso *i);            /* the namespace's table anew; names that were opened are closed */
int nft_bridge_policy(struct netd *n, struct iso *i);        /* the same of a VM on a bridge */
int nft_bridge_none(struct netd *n, const char *table);      /* such a table goes */
/* Those of this owner go that belong to no VM that is known, nor to a tap that is kept (kept may be NULL). */
int nft_bridge_sweep(struct netd *n, bool (*kept)(const void *arg, const char *tap), const void *arg);
int nft_policy_put(struct nft_batch *b, struct netd *n, const struct iso *i); /* into an empty table: all but base chains */
/* write() with a limit of flows where the kernel has one (CONFIG_NFT_CONNLIMIT; asked once), else without. */
int nft_policy_limited(struct netd *n, struct iso *i, int (*write)(struct netd *n, struct iso *i, bool count_flows));
int nft_policy_open(struct iso *i, const struct net_addr *a, uint16_t port, unsigned rule, uint64_t ttl_s);
#define NFT_LAN "-builtin:lan"     /* chains of it */
#define NFT_FLOWS "-builtin:flows"
#define NFT_FLOWS_MAX 8192
int nft_ns_peer(struct iso *i, const struct net_addr *a, bool in); /* that VM may begin flows to this one */
int nft_ns_counters(struct iso *i, struct buf *out);         /* COUNTER fields of N_COUNTERS */

/* -- stale.c: what killed `mica run`s left -- */
void stale_hold(struct netd *n);  /* this owner lives, as long as this process does */
void stale_sweep(struct netd *n); /* what belongs to those that do not */

/* -- bridge.c, iso.c: the requests. fds: what the frame brought (taken descriptors are set to -1) -- */
struct request {
	struct netd *n;
	const struct wire_msg *m;
	const char *name;     /* of the link or VM the request is about, checked */
	int *fds;
	int out_fds[NETD_QUEUES_MAX]; /* go with the reply, owned */
	unsigned n_out;
	struct fault said;    /* goes with an OK as TEXT */
	bool lan;             /* about a link on the LAN */
};
int bridge_up(struct request *r, struct fault *f);
int bridge_down(struct request *r, struct fault *f);
int tap_up(struct request *r, struct fault *f);
int tap_down(struct request *r, struct fault *f);
int tap_adopt(struct request *r, struct fault *f);
int parent_look(struct request *r, struct fault *f);  /* macvtap.c */
int macvtap_up(struct request *r, struct fault *f);
int guard_lan(struct request *r, struct fault *f);    /* bridge.c; a kernel that cannot is only told */
int host_up(struct request *r, struct fault *f);
int host_down(struct request *r, struct fault *f);
int host_sync(struct request *r, struct fault *f);
int range_up(struct request *r, struct fault *f);
int range_down(struct request *r, struct fault *f);
int iso_up(struct request *r, struct fault *f);
int iso_adopt(struct request *r, struct fault *f);
int vm_down(struct request *r, struct fault *f);
int iso_policy(struct request *r, struct fault *f);
int iso_open(struct request *r, struct fault *f);
int iso_counters(struct request *r, struct fault *f);
int tap_rules(struct request *r, struct fault *f);    /* ruled.c */
int events_open(struct request *r, struct fault *f);
/* The rules of a request: *out is malloc'ed (NULL for none). */
int take_rules(const struct request *r, struct iso_rule **out, size_t *n, bool *default_allow, struct fault *f);
/* A link of that name that is not ours is somebody's: never touched. */
int find_ours(struct netd *n, const char *name, struct link_info *l, struct fault *f);
bool link_name_is_valid(const char *s);
int request_addr(const struct request *r, uint16_t tag, uint8_t family, unsigned min_bits, struct net_addr *out); /* 0, -ENOENT, -EINVAL */
int request_mac(const struct request *r, uint8_t mac[6]);
int request_queues(const struct request *r, unsigned *queues);

#endif
