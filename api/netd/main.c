#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/netd/netd.h"
#include "lib/sandbox/sandbox.h"
#include "lib/wire/chan.h"
#include "lib/wire/netd.h"

enum { CORE_FD = 3, OUT_MAX = 1 << 20 };

struct netd {
	struct chan core;
	struct rtnl rtnl;
	struct nft nft;
	int forward_fd; /* owned: the switch of IPv4 forwarding; -1 when it cannot be had */
	struct buf out;
};

/* Names go into the kernel's tables and messages: letters, digits, '-', '_', '.', not "." or "..". */
static bool link_name_is_valid(const char *s)
{
	size_t n = strnlen(s, IFNAMSIZ);
	if (n == 0 || n >= IFNAMSIZ || s[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') || strchr("-_.", s[i])))
			return false;
	return true;
}

static int parse_cidr(const char *s, uint32_t *addr_be, unsigned *prefix)
{
	char addr[INET_ADDRSTRLEN];
	uint64_t bits;
	const char *slash = strchr(s, '/');
	if (!slash || (size_t)(slash - s) >= sizeof addr)
		return -EINVAL;
	memcpy(addr, s, (size_t)(slash - s));
	addr[slash - s] = '\0';
	if (inet_pton(AF_INET, addr, addr_be) != 1 || parse_u64(slash + 1, 32, &bits) || bits < 8)
		return -EINVAL;
	*prefix = (unsigned)bits;
	return 0;
}

static int forwarding_on(struct netd *n, struct fault *f)
{
	char now = '0';
	if (n->forward_fd < 0 || pread(n->forward_fd, &now, 1, 0) != 1)
		return fault_set(f, -EIO, "cannot read net.ipv4.ip_forward: set it to 1 by hand (sysctl -w net.ipv4.ip_forward=1)");
	if (now != '1' && pwrite(n->forward_fd, "1", 1, 0) != 1)
		return fault_errno(f, -errno, "net.ipv4.ip_forward cannot be set to 1; set it by hand");
	return 0;
}

/* A link of that name that is not ours is somebody's: never touched. */
static int find_ours(struct netd *n, const char *name, struct link_info *l, struct fault *f)
{
	int err = rtnl_link_find(&n->rtnl, name, l);
	if (err)
		return fault_errno(f, err, name);
	if (l->index && !l->ours)
		return fault_set(f, -EEXIST, "network interface %s exists and was not made by mica: choose another name in the host group's network section, or remove it", name);
	return 0;
}

static int bridge_up(struct netd *n, const struct wire_msg *m, const char *name, int *fd, struct fault *f)
{
	struct link_info l;
	uint32_t addr;
	unsigned prefix;
	char gateway[64];
	(void)fd;
	if (wire_get_str(m, N_T_GATEWAY, gateway, sizeof gateway) || parse_cidr(gateway, &addr, &prefix))
		return fault_set(f, -EINVAL, "the gateway is no IPv4 address with a prefix length");
	int err = find_ours(n, name, &l, f);
	if (err)
		return err;
	if (!l.index && (err = rtnl_bridge_add(&n->rtnl, name)))
		return fault_set(f, err, "cannot make bridge %s: %s%s", name, strerror(-err), err == -EOPNOTSUPP ? " (the host's kernel needs CONFIG_BRIDGE)" : "");
	if ((err = rtnl_link_find(&n->rtnl, name, &l)) || (err = rtnl_addr_add(&n->rtnl, l.index, addr, prefix)) || (err = rtnl_link_set(&n->rtnl, l.index, 0, true, true)))
		return fault_set(f, err, "cannot set up bridge %s: %s", name, strerror(-err));
	if ((err = forwarding_on(n, f)))
		return err;
	if ((err = nft_masquerade(&n->nft, name, addr, prefix)))
		return fault_set(f, err, "cannot set address translation for %s: %s%s", name, strerror(-err),
				 err == -EOPNOTSUPP || err == -ENOENT || err == -EINVAL ? " (the host's kernel needs CONFIG_NF_TABLES, CONFIG_NFT_NAT and CONFIG_NFT_MASQ)" : "");
	return 0;
}

static int link_down(struct netd *n, const char *name, bool bridge, struct fault *f)
{
	struct link_info l;
	int err = find_ours(n, name, &l, f);
	if (err)
		return err;
	if (bridge && (err = nft_forget(&n->nft, name)))
		return fault_errno(f, err, "cannot remove address translation");
	if (l.index && (err = rtnl_link_del(&n->rtnl, l.index)) && err != -ENODEV)
		return fault_errno(f, err, name);
	return 0;
}

static int bridge_down(struct netd *n, const struct wire_msg *m, const char *name, int *fd, struct fault *f)
{
	(void)m;
	(void)fd;
	return link_down(n, name, true, f);
}

static int tap_down(struct netd *n, const struct wire_msg *m, const char *name, int *fd, struct fault *f)
{
	(void)m;
	(void)fd;
	return link_down(n, name, false, f);
}

static int tap_up(struct netd *n, const struct wire_msg *m, const char *name, int *out_fd, struct fault *f)
{
	struct link_info l, bridge;
	char bridge_name[IFNAMSIZ];
	if (wire_get_str(m, N_T_BRIDGE, bridge_name, sizeof bridge_name) || !link_name_is_valid(bridge_name))
		return fault_set(f, -EINVAL, "the bridge's name is not valid");
	int err = find_ours(n, bridge_name, &bridge, f);
	if (err || !bridge.index || !bridge.bridge)
		return err ? err : fault_set(f, -ENODEV, "bridge %s is not there", bridge_name);
	if ((err = find_ours(n, name, &l, f)))
		return err;
	AUTO_FD fd = tap_open(name);
	if (fd < 0)
		return fault_set(f, fd, "cannot open tap %s: %s%s", name, strerror(-fd),
				 fd == -ENOENT ? " (/dev/net/tun is not there: the host's kernel needs CONFIG_TUN, or modprobe tun)" :
				 fd == -EBUSY ? " (another process holds it)" : "");
	if ((err = rtnl_link_find(&n->rtnl, name, &l)) || (err = rtnl_link_set(&n->rtnl, l.index, bridge.index, true, true)))
		return fault_set(f, err, "cannot attach tap %s to %s: %s", name, bridge_name, strerror(-err));
	*out_fd = fd;
	fd = -1;
	return 0;
}

static void list_one(void *arg, const char *name, bool bridge)
{
	wire_str(arg, bridge ? N_T_BRIDGE : N_T_TAP, name);
}

/* Every request: its type, the tag that names its link (0: none), what it does. None brings a descriptor. */
static const struct request {
	uint16_t type, name_tag;
	int (*act)(struct netd *n, const struct wire_msg *m, const char *name, int *out_fd, struct fault *f);
} requests[] = {
	{N_BRIDGE_UP, N_T_BRIDGE, bridge_up},
	{N_BRIDGE_DOWN, N_T_BRIDGE, bridge_down},
	{N_TAP_UP, N_T_TAP, tap_up},
	{N_TAP_DOWN, N_T_TAP, tap_down},
	{N_LIST, 0, NULL},
};

/* 0, or -errno when core has broken the rules or is gone. */
static int serve(struct netd *n, const struct wire_msg *m)
{
	const struct request *r = NULL;
	struct fault f = {""};
	char name[IFNAMSIZ] = "";
	int fd = -1;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++)
		if (requests[i].type == m->type)
			r = &requests[i];
	if (!r)
		return -EPROTO;
	int err = 0;
	if (r->name_tag && (wire_get_str(m, r->name_tag, name, sizeof name) || !link_name_is_valid(name)))
		err = fault_set(&f, -EINVAL, "a network interface name has 1 to 15 letters, digits, '-', '_' or '.'");
	else if (r->act)
		err = r->act(n, m, name, &fd, &f);
	size_t mark = wire_begin(&n->out, err ? WIRE_ERR : WIRE_OK, m->id);
	if (err) {
		wire_u64(&n->out, WIRE_T_STATUS, 500);
		wire_u64(&n->out, WIRE_T_ERRNO, (uint64_t)-err);
		wire_str(&n->out, WIRE_T_TEXT, f.text);
	} else if (m->type == N_LIST) {
		rtnl_each_ours(&n->rtnl, list_one, &n->out);
	}
	wire_end(&n->out, mark);
	err = chan_send(&n->core, &n->out, &fd, fd >= 0);
	fd_close(&fd);
	return err;
}

static int run(struct netd *n)
{
	struct wire_msg m;
	int fds[WIRE_FDS_MAX];
	unsigned n_fds;
	for (;;) {
		int more = chan_recv(&n->core, &m, fds, &n_fds);
		for (unsigned i = 0; more == 1 && i < n_fds; i++)
			close(fds[i]);
		if (more == 1)
			more = n_fds ? -EPROTO : serve(n, &m);
		else if (more == 0)
			more = chan_wait(&n->core, chan_want(&n->core), -1);
		if (more < 0)
			return more == -EPIPE ? 0 : more;
		if (chan_want(&n->core) & EPOLLOUT && chan_stuck(&n->core))
			return 0;
	}
}

/* What it takes: netlink and tun requests, and the forwarding switch that is open already. */
static const struct sandbox_rule rules[] = {
	SANDBOX_ALLOW(sendto), SANDBOX_ALLOW(recvfrom), SANDBOX_ALLOW(sendmsg), SANDBOX_ALLOW(recvmsg), SANDBOX_ALLOW(poll),
	SANDBOX_ALLOW_ARG(ioctl, 1, TUNSETIFF), SANDBOX_ALLOW_ARG(ioctl, 1, TUNSETVNETHDRSZ),
	SANDBOX_ALLOW(open), SANDBOX_ALLOW(openat), SANDBOX_ALLOW(close), SANDBOX_ALLOW(dup), SANDBOX_ALLOW(fcntl), SANDBOX_ALLOW(pread64), SANDBOX_ALLOW(pwrite64),
	SANDBOX_ALLOW(write), SANDBOX_ALLOW(writev), SANDBOX_ALLOW(mmap), SANDBOX_ALLOW(munmap), SANDBOX_ALLOW(brk), SANDBOX_ALLOW(mprotect), SANDBOX_ALLOW(exit_group),
	SANDBOX_ALLOW(clock_gettime), SANDBOX_ALLOW(rt_sigreturn), SANDBOX_ALLOW(restart_syscall),
};

/* Every tap is a fresh open of /dev/net/tun. Debian leaves it to everybody (0666); where it is root's alone, the right to pass file modes stays. */
static uint64_t tun_cap(void)
{
	struct stat st;
	bool open_to_all = stat("/dev/net/tun", &st) == 0 && (st.st_mode & 0006) == 0006;
	return open_to_all ? 0 : 1ull << CAP_DAC_OVERRIDE;
}

int main(int argc, char **argv)
{
	struct netd n = {.forward_fd = -1};
	struct fault f = {""};
	uint64_t uid = SANDBOX_UID_BASE + 2;
	if (argc == 3 && strcmp(argv[1], "--uid") == 0 ? parse_u64(argv[2], INT32_MAX, &uid) : argc != 1) {
		fprintf(stderr, "usage: netd [--uid N]   (started by mica up; descriptor 3: core)\n");
		return 2;
	}
	prctl(PR_SET_NAME, "mica-netd");
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	n.forward_fd = open("/proc/sys/net/ipv4/ip_forward", O_RDWR | O_CLOEXEC);
	buf_init(&n.out, OUT_MAX);
	int err = chan_init(&n.core, CORE_FD, OUT_MAX);
	if (!err && !(err = rtnl_init(&n.rtnl)))
		err = nft_init(&n.nft);
	if (err)
		fault_errno(&f, err, "netlink");
	if (!err)
		err = sandbox_become((uid_t)uid, (gid_t)uid, 1ull << CAP_NET_ADMIN | tun_cap(), &f);
	if (!err && (err = sandbox_seccomp(rules, ARRAY_LEN(rules))))
		fault_errno(&f, err, "seccomp");
	if (!err)
		err = run(&n);
	if (err)
		fprintf(stderr, "mica-netd: %s\n", f.text[0] ? f.text : strerror(-err));
	return err ? 1 : 0;
}
