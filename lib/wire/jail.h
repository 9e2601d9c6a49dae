/*
 * Frames between core and jail (chan, SEQPACKET). jail holds /dev/kvm and the vmm program; it builds the cage, starts
 * vmm in it, and is the only one that can end a vmm by force. It parses nothing else.
 */
#ifndef LIB_WIRE_JAIL_H
#define LIB_WIRE_JAIL_H

#include "lib/wire/wire.h"

enum jail_type {
	J_SPAWN = 16,  /* c→j: NAME SLOT RAM_BYTES VCPUS [CPU_WEIGHT MORE_BYTES IO_…] + fd: listening control socket → OK PID + pidfd, or ERR */
	J_KILL = 17,   /* c→j: NAME → OK when the signal is sent (also when it is gone), ERR 404 unknown to jail */
	J_ADOPT = 18,  /* c→j: NAME SLOT PID [RAM_BYTES VCPUS CPU_WEIGHT MORE_BYTES IO_…] → OK + pidfd when that process has the uid of a vmm in that slot, ERR otherwise; its
	                  cgroup gets its limits once more */
	J_EXITED = 19, /* j→c, unasked: NAME STATUS (wait status as of waitid: si_code*256+si_status) */
	J_DESCRIBE = 20, /* c→j → OK TEXT: what the cage holds here (uid, namespaces, cgroup, seccomp), and what could not be had and why */
	J_TAP = 23,    /* c→j: IFINDEX [QUEUES] → OK + a descriptor of that macvtap link for each queue; ERR when the link is not mica's */
	J_NETNS = 21,  /* c→j: NAME → OK [TEXT] + descriptors of that vmm's network namespace, in the order of enum jail_netns: lo is up, forwarding is on. TEXT: what
	                  could not be had there (IPv6, accounting of flows). May be asked again (another core): once the old DNS sockets are closed */
	J_DNS = 22,    /* c→j: ADDR4 [ADDR6] LINK → OK [TEXT] + port 53 of these addresses of the host, UDP and TCP (it listens) of each, in this order.
	                  Bound to LINK too (SO_BINDTODEVICE): nobody behind another link is heard. TEXT: why IPv6 could not be had. ERR: for one,
	                  somebody has that port */
};
enum jail_tag {
	J_T_NAME = 16, /* str */ J_T_SLOT, /* 0–65535: uid = base + slot */ J_T_RAM_BYTES, J_T_VCPUS, J_T_PID, J_T_STATUS, J_T_TEXT, /* str */
	J_T_CPU_WEIGHT, /* 1–10000, as cpu.weight of a cgroup; 100 when it is not there */ J_T_MORE_BYTES, /* of memory beside its RAM: disks that are in memory */
	J_T_ADDR4, /* str "192.168.137.1" */ J_T_ADDR6, /* str */ J_T_LINK, /* str */
	J_T_IFINDEX = 28, J_T_QUEUES, /* 1–JAIL_QUEUES_MAX; default 1 */
	J_T_IO_MAJOR, J_T_IO_MINOR, /* of the file system that holds its disks */ J_T_IO_BYTES_S, J_T_IO_OPS_S, /* io.max there, each way; none: no limit */
};
#define JAIL_QUEUES_MAX 4u
/* What J_NETNS brings. Each socket belongs to the namespace, whoever holds it. */
enum jail_netns {
	J_NS_ROUTE,  /* NETLINK_ROUTE, for netd */
	J_NS_RULES,  /* NETLINK_NETFILTER, for netd */
	J_NS_EVENTS, /* NETLINK_NETFILTER: netd subscribes it, gate reads it */
	J_NS_ITSELF, /* the namespace, for netd to move links into */
	J_NS_DNS_UDP, J_NS_DNS_TCP, /* port 53 of every address, IPv4 and IPv6 in one socket (IPv4 alone where the host has no IPv6); TCP listens. For gate */
	J_NS_FDS
};

#endif
