/*
 * The network namespace of a vmm, opened for those who work in it: sockets and switches, no rule and no address. jail steps into the namespace and back
 * again by setns(2): no child is needed that would have to hand descriptors back. If the way back fails jail ends itself, since what it opens next
 * would belong to a VM.
 */
#include "vmm/jail/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DNS_PORT = 53, DNS_BACKLOG = 16 };

/* Switches of the namespace: `default` is what the links get that netd moves in later. */
static const struct {
	const char *path, *value;
	bool must;
} switches[] = {
	{"ipv4/ip_forward", "1", true},
	{"ipv4/conf/all/rp_filter", "1", false},
	{"ipv4/conf/all/accept_redirects", "0", false},
	{"ipv4/conf/all/send_redirects", "0", false},
	{"ipv4/conf/default/send_redirects", "0", false},
	{"ipv4/icmp_ratelimit", "0", false}, /* every refused flow of a busy guest shall hear of it at once; the kernel's limit on all (1000/s) stays */
	{"ipv6/conf/default/accept_dad", "0", false},
	{"ipv6/conf/default/accept_ra", "0", false},
	{"ipv6/conf/all/accept_ra", "0", false},
	{"ipv6/conf/all/forwarding", "1", false},
	{"ipv6/icmp/ratelimit", "0", false},
	{"netfilter/nf_conntrack_acct", "1", false},
	{"netfilter/nf_conntrack_timestamp", "1", false},
	{"netfilter/nf_conntrack_events", "1", false},
};

static int write_switch(const char *path, const char *value)
{
	char full[128];
	snprintf(full, sizeof full, "/proc/sys/net/%s", path);
	AUTO_FD fd = open(full, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

static int set_switches(struct fault *said, struct fault *f)
{
	bool no_ipv6 = false;
	for (size_t i = 0; i < ARRAY_LEN(switches); i++) {
		int err = write_switch(switches[i].path, switches[i].value);
		if (err && switches[i].must)
			return fault_set(f, err, "net.%s cannot be set in the VM's network namespace: %s", switches[i].path, strerror(-err));
		if (err && strncmp(switches[i].path, "ipv6/", 5) == 0)
			no_ipv6 = true;
		else if (err && strncmp(switches[i].path, "netfilter/", 10) == 0)
			fault_set(said, err, "flows are not counted or timed (net.%s: %s): the host's kernel needs CONFIG_NF_CONNTRACK_EVENTS and CONFIG_NF_CONNTRACK_TIMESTAMP",
				  switches[i].path, strerror(-err));
	}
	if (no_ipv6 && !said->text[0])
		fault_set(said, 0, "no IPv6 in it: the host's kernel has none (CONFIG_IPV6)");
	return 0;
}

static int loopback_up(void)
{
	struct ifreq r = {.ifr_name = "lo"};
	AUTO_FD s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0 || ioctl(s, SIOCGIFFLAGS, &r) < 0)
		return -errno;
	r.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &r) < 0 ? -errno : 0;
}

/* One socket for both families; IPv4 alone where there is no IPv6. */
static int dns_socket(int type)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
	int on = 1, off = 0;
	AUTO_FD s = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool six = s >= 0;
	if (!six && (s = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
		return -errno;
	if (six && setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0)
		return -errno;
	if (type == SOCK_STREAM && setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
		return -errno;
	if (bind(s, six ? (struct sockaddr *)&any6 : (struct sockaddr *)&any4, six ? sizeof any6 : sizeof any4) < 0)
		return -errno;
	if (type == SOCK_STREAM && listen(s, DNS_BACKLOG) < 0)
		return -errno;
	int out = s;
	s = -1;
	return out;
}

/* Inside. */
static int open_all(int fds[J_NS_FDS], struct fault *said, struct fault *f)
{
	static const int protocol[] = {[J_NS_ROUTE] = NETLINK_ROUTE, [J_NS_RULES] = NETLINK_NETFILTER, [J_NS_EVENTS] = NETLINK_NETFILTER};
	int err = loopback_up();
	if (err)
		return fault_errno(f, err, "lo in the VM's network namespace");
	if ((err = set_switches(said, f)))
		return err;
	for (size_t i = 0; i < ARRAY_LEN(protocol); i++)
		if ((fds[i] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol[i])) < 0)
			return fault_errno(f, -errno, i == J_NS_ROUTE ? "netlink" : "netlink of netfilter (the host's kernel needs CONFIG_NETFILTER_NETLINK)");
	if ((fds[J_NS_DNS_UDP] = dns_socket(SOCK_DGRAM)) < 0)
		return fault_errno(f, fds[J_NS_DNS_UDP], "UDP port 53 in the VM's network namespace");
	if ((fds[J_NS_DNS_TCP] = dns_socket(SOCK_STREAM)) < 0)
		return fault_errno(f, fds[J_NS_DNS_TCP], "TCP port 53 in the VM's network namespace");
	if ((fds[J_NS_ITSELF] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
		return fault_errno(f, -errno, "/proc/self/ns/net");
	return 0;
}

int netns_open(int pidfd, int fds[J_NS_FDS], struct fault *said, struct fault *f)
{
	for (int i = 0; i < J_NS_FDS; i++)
		fds[i] = -1;
	AUTO_FD home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return fault_errno(f, -errno, "/proc/self/ns/net");
	if (setns(pidfd, CLONE_NEWNET) < 0)
		return fault_errno(f, -errno, "the VM's network namespace cannot be entered (the host's kernel needs CONFIG_NET_NS)");
	int err = open_all(fds, said, f);
	if (setns(home, CLONE_NEWNET) < 0)
		abort();
	for (int i = 0; err && i < J_NS_FDS; i++)
		fd_close(&fds[i]);
	return err;
}

/* ---- on the host, behind a bridge ---- */

union dns_addr { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; };

/* An address of one machine: not of all, of none, of many. */
static bool dns_addr_parse(const char *text, int family, union dns_addr *out)
{
	*out = (union dns_addr){.v6 = {.sin6_family = 0}};
	if (family == AF_INET6) {
		out->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT)};
		return inet_pton(AF_INET6, text, &out->v6.sin6_addr) == 1 && !IN6_IS_ADDR_UNSPECIFIED(&out->v6.sin6_addr) &&
		       !IN6_IS_ADDR_MULTICAST(&out->v6.sin6_addr) && !IN6_IS_ADDR_V4MAPPED(&out->v6.sin6_addr);
	}
	out->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
	return inet_pton(AF_INET, text, &out->v4.sin_addr) == 1 && out->v4.sin_addr.s_addr && ntohl(out->v4.sin_addr.s_addr) >> 28 < 14;
}

/* FREEBIND: an IPv6 address is not there for bind() until duplicates were looked for. No SO_REUSEADDR for UDP: who has the port shall be noticed. */
static int dns_socket_at(const union dns_addr *at, int type, const char *link)
{
	bool six = at->any.sa_family == AF_INET6;
	int on = 1;
	AUTO_FD s = socket(at->any.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0 || setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, link, (socklen_t)strlen(link) + 1) < 0 ||
	    setsockopt(s, IPPROTO_IP, IP_FREEBIND, &on, sizeof on) < 0)
		return -errno;
	if (six && setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0)
		return -errno;
	if (type == SOCK_STREAM && setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
		return -errno;
	if (bind(s, &at->any, six ? sizeof at->v6 : sizeof at->v4) < 0 || (type == SOCK_STREAM && listen(s, DNS_BACKLOG) < 0))
		return -errno;
	int out = s;
	s = -1;
	return out;
}

static int dns_pair(const char *text, int family, const char *link, int fds[2], struct fault *f)
{
	union dns_addr at;
	fds[0] = fds[1] = -1;
	if (!dns_addr_parse(text, family, &at))
		return fault_set(f, -EINVAL, "'%.60s' is no address for DNS", text);
	for (int i = 0; i < 2; i++)
		if ((fds[i] = dns_socket_at(&at, i ? SOCK_STREAM : SOCK_DGRAM, link)) < 0) {
			int err = fds[i];
			fd_close(&fds[0]);
			return fault_set(f, err, "port 53 (%s) of %s on %s: %s", i ? "TCP" : "UDP", text, link,
					 err == -EADDRINUSE ? "another program listens there" : strerror(-err));
		}
	return 0;
}

int netns_dns_open(const struct netns_dns *ask, int fds[NETNS_DNS_FDS], unsigned *n_fds, struct fault *said, struct fault *f)
{
	*n_fds = 0;
	if (!ask->link[0] || strlen(ask->link) >= IFNAMSIZ)
		return fault_set(f, -EINVAL, "'%.60s' is no link", ask->link);
	int err = dns_pair(ask->addr4, AF_INET, ask->link, fds, f);
	if (err)
		return err;
	*n_fds = 2;
	if (ask->addr6[0] && !dns_pair(ask->addr6, AF_INET6, ask->link, fds + 2, said))
		*n_fds = 4;
	return 0;
}
