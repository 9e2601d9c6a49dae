/*
 * Frames between core and netd (chan, SEQPACKET). netd holds CAP_NET_ADMIN and netlink sockets; every interface it makes is named by core (validated
 * again there), carries the ifalias "mica" or "mica OWNER", and every rule stands in nf_tables tables of its own: "mica" or "mica-OWNER" on the host,
 * "mica" in a VM's namespace. Two daemons with different owners live side by side and never touch each other's.
 *
 * Order: N_HOST_UP, N_BRIDGE_UP and N_RANGE_UP, then N_TAP_ADOPT and N_ISO_ADOPT for the VMs that live, then N_SYNC; after it VMs come and go.
 * Until N_SYNC what an earlier netd left stays in force.
 */
#ifndef LIB_WIRE_NETD_H
#define LIB_WIRE_NETD_H

#include "lib/wire/wire.h"

enum netd_type {
	N_BRIDGE_UP = 16,   /* BRIDGE (≤15) GATEWAY "a.b.c.d/len" [GATEWAY6 "x::1/len"]: made if missing, addresses set, up, forwarding on, masquerade for
	                       that subnet → OK; TEXT: IPv6 could not be had, and why (then guests get none) */
	N_BRIDGE_DOWN = 17, /* BRIDGE → OK; removes bridge and rules made by N_BRIDGE_UP */
	N_TAP_UP = 18,      /* TAP (≤15) BRIDGE [MAC GUEST4 GUEST6] [QUEUES] → OK + tap fd(s) (IFF_TAP|IFF_NO_PI|IFF_VNET_HDR, non-blocking), attached to the
	                       bridge and up. With MAC: what leaves the guest with another MAC, IPv4 or IPv6 address (ARP and neighbour discovery too) is dropped */
	N_TAP_DOWN = 19,    /* TAP → OK, also when it is gone */
	N_LIST = 20,        /* → OK TAP* BRIDGE* (veths of isolated VMs among the taps): what carries our mark now */
	N_HOST_UP = 21,     /* OWNER (≤8 of a-z0-9) → OK: our table stands with its base chains. ERR names the kernel option that is missing */
	N_SYNC = 22,        /* LINK*: all that lives was told: rules are written anew from it, links of this owner that nobody claimed go, but for LINK* (of VMs that
	                       may still answer) → OK */
	N_RANGE_UP = 23,    /* NAME RANGE4 "a.b.c.d/len" [RANGE6]: forwarding on, masquerade for what leaves by a link that is not ours → OK; TEXT as above */
	N_RANGE_DOWN = 24,  /* NAME → OK */
	N_ISO_UP = 25,      /* VM LINK MAC GUEST4 "a.b.c.d/30" GW4 [GUEST6 "…/126" GW6] [QUEUES] DEFAULT RULE* + 4 descriptors of its namespace in the order of
	                       J_NETNS (rtnetlink, netfilter for rules, netfilter for events, namespace) → OK + tap fd(s). The events socket is subscribed
	                       (nf_subscribe). Links, addresses, routes and rules stand before the reply */
	N_ISO_ADOPT = 26,   /* as N_ISO_UP for a VM that runs: no tap is made, flows go on, rules are written anew → OK */
	N_VM_DOWN = 27,     /* VM → OK, also when it is not known: its host end, route and rules go (of one on a bridge: the rules of N_TAP_RULES) */
	N_POLICY = 28,      /* VM DEFAULT RULE*: the whole policy, in one transaction; addresses opened by name are closed (open again what still holds);
	                       then running flows are judged again → OK */
	N_OPEN = 29,        /* VM ADDR (4 or 16 bytes) PORT (0: any) RULE (index in allow) TTL_S → OK once packets pass. Never opens what builtin rules deny */
	N_COUNTERS = 30,    /* VM → OK COUNTER*: new flows by rule since that VM's policy was set */
	N_HOST_DOWN = 32,   /* → OK: our tables go; when no VM is left */
	N_TAP_ADOPT = 31,   /* TAP MAC GUEST4 GUEST6, as in N_TAP_UP, or TAP MAC [GUEST4] as in N_MACVTAP_UP, of a VM that runs → OK */
	N_PARENT = 33,      /* [PARENT] → OK; TEXT: what is missing now for macvtap links on that link of the host (absent: the one of its default route) */
	N_MACVTAP_UP = 34,  /* TAP (≤15) MAC [GUEST4] [PARENT] → OK INDEX [TEXT: it is not guarded, and why]: a macvtap link of that index, mode bridge, on the parent, up; what was left of that name goes before. What leaves the guest with another MAC, or
	                       another IPv4 address than GUEST4 (absent: it is not known), in ARP too, is dropped.
	                       jail opens it (J_TAP). It goes by N_TAP_DOWN only, not with its descriptors; N_SYNC takes it unless LINK names it */
	N_TAP_RULES = 36,   /* VM TAP BRIDGE MAC GUEST4 "a.b.c.d/len" GW4 [GUEST6 GW6] DEFAULT RULE*: what that VM on a bridge may reach beyond its bridge, the host
	                       included, in one transaction; flows that run are judged again. Before its tap is up, and again for every change → OK.
	                       Then N_OPEN and N_COUNTERS are of it, N_VM_DOWN takes the rules away */
	N_EVENTS = 37,      /* → OK + a netfilter socket of the host: NFLOG of what N_TAP_RULES decides, and the end of all of the host's flows (nf_subscribe) */
};
enum netd_tag { /* str unless said */
	N_T_BRIDGE = 16, N_T_GATEWAY, N_T_TAP, /* repeats in lists */ N_T_QUEUES, /* u64, 1–4; default 1 */
	N_T_GATEWAY6, N_T_OWNER, N_T_NAME, N_T_RANGE4, N_T_RANGE6,
	N_T_VM, N_T_LINK, /* name of the veth's end on the host */ N_T_MAC, /* 6 bytes */ N_T_GUEST4, /* "a.b.c.d/len" */ N_T_GW4, /* "a.b.c.d" */
	N_T_GUEST6, N_T_GW6,
	N_T_DEFAULT, /* u64: 1 what no rule holds is allowed, 0 denied */
	N_T_RULE, /* in N_POLICY and N_ISO_…: NETD_RULE_BYTES bytes, repeats, in order (layout below); in N_OPEN: u64 */
	N_T_ADDR, /* 4 or 16 bytes, network order */ N_T_PORT, /* u64 */ N_T_TTL_S, /* u64 */
	N_T_COUNTER, /* record: ID FLOWS UNLOGGED */
	N_T_ID, /* "+allow[0]", "-builtin:lan", "-builtin:flows" (8192 run already), …: + allowed, - denied; as the prefix in NFLOG */
	N_T_FLOWS, /* u64 */ N_T_UNLOGGED, /* u64: those of FLOWS of which the log was not told, because there were too many */
	N_T_PARENT, /* name of a link of the host */ N_T_INDEX, /* u64: the link's */
};

/* RULE, little endian: u8 verdict (0 deny, 1 allow), u8 family (4, 6), u8 prefix, u8 proto (0 any; with a port: TCP and UDP), u16 port (0: any), u16 index in
 * its list, 16 bytes address (network order, from the left), u32 flags. policy_pack() of lib/policy makes them. */
#define NETD_RULE_BYTES 28u
#define NETD_PASSING "x" /* an OWNER that begins so is not waited for once its netd is gone: the next one of any owner takes away what it left */
#define NETD_RULE_EXPLICIT 1u /* flags: it names less than everything; such an allow stands before the builtin denials */
#define NETD_RULES_MAX 1024u
#define NETD_QUEUES_MAX 4u
#define NETD_LINK_PREFIX "mica-" /* of LINK: rules on the host know isolated VMs by it */

#endif
