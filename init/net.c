#include "init/init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A word for the files below; what does not fit is cut, the words come from our own host. */
struct text {
	char s[512];
	size_t n;
};

static void add(struct text *t, const char *s, size_t n)
{
	if (n > sizeof t->s - t->n)
		n = sizeof t->s - t->n;
	memcpy(t->s + t->n, s, n);
	t->n += n;
}

static void adds(struct text *t, const char *s)
{
	add(t, s, strlen(s));
}

/* In /run, with a link from /etc when nothing stands there: an image's own file is never touched. */
static void publish(const struct text *t, const char *run_path, const char *etc_path)
{
	AUTO_FD fd = open(run_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write_full(fd, t->s, t->n) < 0)
		say(run_path, -errno);
	(void)symlink(run_path, etc_path);
}

static void write_hosts(const char *host, const char *ip)
{
	struct text t = {.n = 0};
	adds(&t, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
	if (host) {
		add(&t, ip ? ip : "127.0.1.1", ip ? strcspn(ip, "/") : 9);
		adds(&t, " ");
		adds(&t, host);
		adds(&t, "\n");
	}
	publish(&t, "/run/hosts", "/etc/hosts");
}

static void write_resolv(const char *dns)
{
	struct text t = {.n = 0};
	while (*dns) {
		size_t n = strcspn(dns, ",");
		if (n) {
			adds(&t, "nameserver ");
			add(&t, dns, n);
			adds(&t, "\n");
		}
		dns += n + (dns[n] == ',');
	}
	publish(&t, "/run/resolv.conf", "/etc/resolv.conf");
}

static struct sockaddr_in sin_of(uint32_t addr_be)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = addr_be};
}

static int link_up(int s, const char *name)
{
	struct ifreq r = {0};
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(s, SIOCGIFFLAGS, &r) < 0)
		return -errno;
	r.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &r) < 0 ? -errno : 0;
}

static int set_address(int s, const char *name, uint32_t addr_be, uint32_t mask_be)
{
	struct ifreq r = {0};
	struct sockaddr_in a = sin_of(addr_be), m = sin_of(mask_be);
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	memcpy(&r.ifr_addr, &a, sizeof a);
	if (ioctl(s, SIOCSIFADDR, &r) < 0)
		return -errno;
	memcpy(&r.ifr_netmask, &m, sizeof m);
	return ioctl(s, SIOCSIFNETMASK, &r) < 0 ? -errno : 0;
}

static int default_route(int s, uint32_t gateway_be)
{
	struct rtentry rt = {.rt_flags = RTF_UP | RTF_GATEWAY};
	struct sockaddr_in any = sin_of(0), gw = sin_of(gateway_be);
	memcpy(&rt.rt_dst, &any, sizeof any);
	memcpy(&rt.rt_genmask, &any, sizeof any);
	memcpy(&rt.rt_gateway, &gw, sizeof gw);
	return ioctl(s, SIOCADDRT, &rt) < 0 ? -errno : 0;
}

/* "192.168.137.2/24" */
static int parse_cidr(const char *text, uint32_t *addr_be, uint32_t *mask_be)
{
	char quad[16];
	size_t n = strcspn(text, "/");
	uint64_t bits;
	struct in_addr a;
	if (text[n] != '/' || n >= sizeof quad || parse_u64(text + n + 1, 32, &bits) < 0)
		return -EINVAL;
	memcpy(quad, text, n);
	quad[n] = '\0';
	if (inet_pton(AF_INET, quad, &a) != 1)
		return -EINVAL;
	*addr_be = a.s_addr;
	*mask_be = bits ? htonl(~(uint32_t)0 << (32 - bits)) : 0;
	return 0;
}

static int eth_up(int s, const char *ip, const char *gateway)
{
	uint32_t addr, mask;
	struct in_addr gw;
	int rc = parse_cidr(ip, &addr, &mask);
	if (rc == 0)
		rc = set_address(s, "eth0", addr, mask);
	if (rc == 0)
		rc = link_up(s, "eth0");
	if (rc < 0 || !gateway || !*gateway)
		return rc;
	return inet_pton(AF_INET, gateway, &gw) == 1 ? default_route(s, gw.s_addr) : -EINVAL;
}

/* ---- IPv6: the same, where the kernel has it ---- */

struct in6_ifreq { /* linux/ipv6.h, which does not go together with the C library's headers */
	struct in6_addr addr;
	uint32_t prefix_len;
	int index;
};

/* Our addresses are given, not found: no router is listened to, no duplicate can be. */
static void switch_off(const char *path)
{
	AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)write_full(fd, "0", 1);
}

static int parse_cidr6(const char *text, struct in6_addr *addr, uint32_t *bits)
{
	char alone[INET6_ADDRSTRLEN];
	size_t n = strcspn(text, "/");
	uint64_t v;
	if (text[n] != '/' || n >= sizeof alone || parse_u64(text + n + 1, 128, &v) < 0)
		return -EINVAL;
	memcpy(alone, text, n);
	alone[n] = '\0';
	*bits = (uint32_t)v;
	return inet_pton(AF_INET6, alone, addr) == 1 ? 0 : -EINVAL;
}

static int eth_up6(int s, const char *ip, const char *gateway)
{
	struct in6_ifreq a = {.index = (int)if_nametoindex("eth0")};
	struct in6_rtmsg rt = {.rtmsg_flags = RTF_UP | RTF_GATEWAY, .rtmsg_metric = 1, .rtmsg_ifindex = a.index};
	int rc = parse_cidr6(ip, &a.addr, &a.prefix_len);
	if (rc == 0 && ioctl(s, SIOCSIFADDR, &a) < 0)
		rc = -errno;
	if (rc < 0 || !gateway || !*gateway)
		return rc;
	if (inet_pton(AF_INET6, gateway, &rt.rtmsg_gateway) != 1)
		return -EINVAL;
	return ioctl(s, SIOCADDRT, &rt) < 0 ? -errno : 0;
}

static void ipv6_up(const char *ip, const char *gateway)
{
	AUTO_FD s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0) {
		if (errno != EAFNOSUPPORT) /* a kernel without IPv6: then without */
			say("IPv6", -errno);
		return;
	}
	int rc = eth_up6(s, ip, gateway);
	if (rc < 0)
		say("eth0, IPv6", rc);
}

/* Its script writes /run/resolv.conf unless we do. An image without busybox has a client of its own. */
static void dhcp_start(const struct net_words *w)
{
	static char path_word[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", dns_word[] = "MICA_DNS=given", argv0[] = "udhcpc", f[] = "-f", i[] = "-i", eth[] = "eth0",
		    s[] = "-s", script[] = DHCP_PATH, a[] = "-A", again_s[] = "5", x[] = "-x";
	static struct text host = {.s = "hostname:", .n = 9};
	char *argv[] = {argv0, f, i, eth, s, script, a, again_s, w->host ? x : NULL, host.s, NULL}, *envp[] = {path_word, w->dns ? dns_word : NULL, NULL};
	if (access(DHCP_PATH, X_OK) < 0 || access(BUSYBOX_PATH, X_OK) < 0)
		return say("no DHCP client of ours in this image: eth0 is the image's own to set up", 0);
	if (w->host)
		add(&host, w->host, strnlen(w->host, 64));
	if (w->dns)
		write_resolv(w->dns);
	if (start(BUSYBOX_PATH, argv, envp) < 0)
		say("udhcpc", -errno);
}

void net_up(const struct net_words *w)
{
	bool dhcp = w->ip && strcmp(w->ip, "dhcp") == 0;
	const char *ip = dhcp ? NULL : w->ip;
	int rc;
	if (w->host && sethostname(w->host, strnlen(w->host, 64)) < 0)
		say("hostname", -errno);
	write_hosts(w->host, ip && *ip ? ip : NULL);
	AUTO_FD s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0) {
		say("network", -errno);
		return;
	}
	if ((rc = link_up(s, "lo")) < 0)
		say("lo", rc);
	if (dhcp)
		dhcp_start(w);
	if (!ip || !*ip)
		return;
	if (w->ip6 && *w->ip6) { /* before the link is up, and with it an address of the kernel's own */
		switch_off("/proc/sys/net/ipv6/conf/eth0/accept_dad");
		switch_off("/proc/sys/net/ipv6/conf/eth0/accept_ra");
	}
	if ((rc = eth_up(s, ip, w->gateway)) < 0)
		say("eth0", rc);
	if (w->ip6 && *w->ip6)
		ipv6_up(w->ip6, w->gateway6);
	if (w->dns)
		write_resolv(w->dns);
}
