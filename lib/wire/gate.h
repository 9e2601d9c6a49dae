/*
 * Frames between core and gate (chan, SEQPACKET). gate is the resolver of VMs and the writer of isolated ones' network record. It has no rights: core
 * hands it the sockets that jail opened in a VM's network namespace or on a bridge, and a file to write to. gate parses what guests send (DNS), what the kernel tells of
 * their packets (NFLOG, conntrack) and what upstream DNS servers answer; core believes it nothing that it can check itself.
 *
 * The netfilter socket comes subscribed (NFLOG group and conntrack's DESTROY: nf_subscribe() of lib/nfnl/nfnl.h, called by netd, since both need
 * CAP_NET_ADMIN): gate only reads it. Prefixes of NFLOG are rule ids as lib/policy writes them ("allow[0]", "builtin:lan", …), the verdict before
 * them: "+" allowed, "-" denied.
 */
#ifndef LIB_WIRE_GATE_H
#define LIB_WIRE_GATE_H

#include "lib/wire/wire.h"

enum gate_type {
	/* core → gate */
	G_VM_UP = 16,    /* VM GROUP [IP4 GW4] [IP6 GW6] DNS* ALLOW* DROP* OWN* [LOG_BYTES] + descriptors, told by their index in FD_EVENTS, FD_UDP* (≤ 2),
	                    FD_TCP* (≤ 2), FD_LOG → OK. All but VM and GROUP may be absent: without sockets the name is answered to siblings only. The same VM
	                    again: texts are replaced, descriptors where new ones are given. BRIDGE: it asks at that bridge's sockets (known by its
	                    addresses, which netd guards), and has a policy and a record only with RULED(1); without them unknown names go to DNS*, whatever they are. */
	G_VM_DOWN = 17,  /* VM → OK, when what was known of it is written and its sockets are closed; also when it is not known */
	G_POLICY = 18,   /* VM ALLOW* DROP* → OK: both lists whole; addresses that a name opened and that no entry names any more are forgotten */
	G_LOG = 19,      /* VM FD_LOG + fd → OK: write here from now on (after a full disk, after a rotation by core's own will) */
	G_LIVE = 20,     /* VM [NAME] → OK OPENED{ADDR PORT RULE TTL_S NAME}* ADDR*: what names opened (of NAME only, when given); ADDR: what NAME last
	                    resolved to, if that is known. At most GATE_LIVE_MAX of each. */
	G_MISSED = 21,   /* VM LOST: flows that the kernel did not log because there were too many at once; no answer. They become a gap in the record */
	G_GROUP_UP = 22, /* BRIDGE FD_UDP* (≤ 2) FD_TCP* (≤ 2) + these descriptors → OK: the VMs of this bridge (of one group or several) are served at them.
	                    Before or after their G_VM_UP. The same again: the sockets are replaced */
	G_GROUP_DOWN = 23, /* BRIDGE → OK, also when it is not known */
	G_HOST_EVENTS = 24, /* FD_EVENTS + this descriptor → OK: the host's events (N_EVENTS of netd.h): flows of VMs with RULED are told by their addresses */
	/* gate → core */
	G_OPEN = 32,     /* VM NAME RULE PORT TTL_S ADDR* (4 or 16 bytes each) → OK once packets to them pass; ERR: not in that VM's policy, or netd failed */
	G_ROTATE = 33,   /* VM → OK + fd: the new file (append); ERR: there is none, go on with the old one */
	G_TROUBLE = 34,  /* unasked: VM ERRNO: the record cannot be written (0: it can again) LOST: lines lost so far */
	G_COUNTS = 35,   /* unasked, when changed, about once a second and before the OK of G_VM_DOWN: VM FLOWS_ALLOWED FLOWS_DENIED BYTES_OUT BYTES_IN
	                    QUERIES REFUSED LOST, totals since G_VM_UP */
};
enum gate_tag { /* u64 unless said */
	G_T_VM = 16, /* str */ G_T_GROUP, /* str */ G_T_IP4, /* str "169.254.100.2" */ G_T_GW4, /* str */ G_T_IP6, /* str */ G_T_GW6, /* str */
	G_T_DNS, /* str, address of an upstream; none: only our own names */ G_T_ALLOW, /* str, repeats */ G_T_DROP, /* str, repeats */
	G_T_OWN, /* str, CIDR that counts as builtin:lan */ G_T_LOG_BYTES, /* a file is rotated beyond this; default GATE_LOG_BYTES */
	G_T_FD_EVENTS, G_T_FD_UDP, G_T_FD_TCP, G_T_FD_LOG, G_T_NAME, /* str */ G_T_RULE, /* index in allow */ G_T_PORT, /* 0: any */ G_T_TTL_S,
	G_T_ADDR, /* 4 or 16 bytes */ G_T_OPENED, /* record */ G_T_ERRNO, G_T_LOST, G_T_FLOWS_ALLOWED, G_T_FLOWS_DENIED, G_T_BYTES_OUT, G_T_BYTES_IN,
	G_T_QUERIES, G_T_REFUSED, G_T_BRIDGE, /* str, ≤ 15 */ G_T_RULED,
};
#define GATE_LIVE_MAX 64u
#define GATE_LOG_BYTES (8ull << 20)
#define GATE_LOG_KEEP 4u /* files: net.jsonl, net.jsonl.1 … .3 */
#define GATE_NFLOG_GROUP 1u

#endif
