/* Files of /proc/sys/net: CAP_NET_ADMIN is enough to write them, whatever the user. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/netd/netd.h"

#define SYS_NET "/proc/sys/net/"

static int read_one(const char *path, char *now)
{
	AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return pread(fd, now, 1, 0) == 1 ? 0 : -EIO;
}

static int write_one(const char *path, char value)
{
	AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return pwrite(fd, &value, 1, 0) == 1 ? 0 : -errno;
}

static int switch_on(const char *path, const char *name, struct fault *f)
{
	char now = '0';
	int err = read_one(path, &now);
	if (!err && now == '1')
		return 0;
	if (!err)
		err = write_one(path, '1');
	return err ? fault_set(f, err, "%s cannot be set to 1: %s; set it by hand (sysctl -w %s=1)", name, strerror(-err), name) : 0;
}

int sysctl_forward4(struct fault *f)
{
	return switch_on(SYS_NET "ipv4/ip_forward", "net.ipv4.ip_forward", f);
}

int sysctl_count_flows(struct fault *f)
{
	int err = switch_on(SYS_NET "netfilter/nf_conntrack_acct", "net.netfilter.nf_conntrack_acct", f);
	int also = switch_on(SYS_NET "netfilter/nf_conntrack_timestamp", "net.netfilter.nf_conntrack_timestamp", f);
	return err ? err : also;
}

/* A host that forwards does not hear routers' advertisements any more, unless it is told to (accept_ra 2, ip-sysctl): it would lose its default route. */
static void keep_hearing(void *arg, const char *name)
{
	char path[96], now = '0';
	(void)arg;
	snprintf(path, sizeof path, SYS_NET "ipv6/conf/%s/accept_ra", name);
	if (strchr(name, '/') == NULL && read_one(path, &now) == 0 && now == '1')
		(void)write_one(path, '2');
}

int sysctl_forward6(struct rtnl *r, struct fault *f)
{
	char now = '0';
	int err = read_one(SYS_NET "ipv6/conf/all/forwarding", &now);
	if (err)
		return fault_set(f, err, "the host's kernel has no IPv6 (CONFIG_IPV6)");
	char off = '0';
	if (read_one(SYS_NET "ipv6/conf/default/disable_ipv6", &off) == 0 && off == '1')
		return fault_set(f, -EAFNOSUPPORT, "it is switched off on this host (net.ipv6.conf.default.disable_ipv6)");
	if (now == '1')
		return 0;
	if ((err = rtnl_each_name(r, keep_hearing, NULL)))
		return fault_errno(f, err, "the host's links cannot be listed");
	return switch_on(SYS_NET "ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding", f);
}
