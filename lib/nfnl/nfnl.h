/*
 * lib/nfnl: netfilter's messages about packets and flows: NFLOG (a rule logged the first packet of a flow) and conntrack's DESTROY (a flow is over).
 * netd subscribes a NETLINK_NETFILTER socket in a VM's namespace (that needs CAP_NET_ADMIN), gate reads it without any right. Packets in them are the
 * guest's own bytes: attributes and headers are read defensively. Stands on lib/base alone. Protocols: linux/netfilter/nfnetlink_log.h,
 * nfnetlink_conntrack.h, RFC 791, 8200, 792, 4443, 9293, 768.
 */
#ifndef LIB_NFNL_NFNL_H
#define LIB_NFNL_NFNL_H

#include "lib/base/base.h"

#define NF_PREFIX_MAX 64u
#define NF_SNAPLEN 128u
#define NF_MESSAGE_MAX 65536u /* bytes of one read */

/* Subscribes fd (a NETLINK_NETFILTER socket, unbound or bound): NFLOG of that group, first NF_SNAPLEN bytes of each packet, and conntrack's DESTROY
 * events; a large receive queue; losses are told by ENOBUFS. Blocks for the kernel's answers (they come at once). 0 or -errno (-EPROTONOSUPPORT,
 * -EOPNOTSUPP: the kernel lacks NETFILTER_NETLINK_LOG or NF_CT_NETLINK; f names it). */
int nf_subscribe(int fd, uint16_t group, struct fault *f);

struct nf_tuple {
	uint8_t family;        /* 4 or 6 */
	uint8_t proto;         /* 6, 17, 1, 58, … */
	uint8_t src[16], dst[16];
	uint16_t sport, dport; /* ports; ICMP: identifier, type*256+code; 0: none */
};
enum nf_kind { NF_PACKET, NF_DESTROY };
struct nf_event {
	enum nf_kind kind;
	struct nf_tuple t;     /* as the guest's side began it */
	char prefix[NF_PREFIX_MAX + 1]; /* NF_PACKET: of the rule; without control characters */
	uint32_t packet_bytes; /* NF_PACKET: its length as its header says */
	uint64_t bytes_out, bytes_in; /* NF_DESTROY; 0 without accounting */
	uint64_t start_ns, stop_ns;   /* NF_DESTROY: real time; 0 when the namespace keeps no times */
};
/* Goes through what one recv() gave: fn for each event that is whole. What is broken is skipped and counted in the result. */
unsigned nf_read(const void *p, size_t n, void (*fn)(void *arg, const struct nf_event *e), void *arg);

#endif
