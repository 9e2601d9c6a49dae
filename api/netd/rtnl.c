#include "api/netd/netd.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_MAX = 512, REPLY_MAX = 65536 };

struct request {
	struct nlmsghdr head;
	char body[REQUEST_MAX];
};

int rtnl_init(struct rtnl *r)
{
	r->seq = 0;
	r->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	return r->fd < 0 ? -errno : 0;
}

static void begin(struct rtnl *r, struct request *q, uint16_t type, uint16_t flags, const void *family, size_t len)
{
	memset(q, 0, sizeof *q);
	q->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	q->head.nlmsg_type = type;
	q->head.nlmsg_flags = NLM_F_REQUEST | flags;
	q->head.nlmsg_seq = ++r->seq;
	memcpy(q->body, family, len);
}

/* Every name and value here is ours and short, so the request cannot run over: the sizes add up to well under REQUEST_MAX. */
static struct rtattr *put(struct request *q, uint16_t type, const void *p, size_t n)
{
	struct rtattr *a = (struct rtattr *)(void *)((char *)q + NLMSG_ALIGN(q->head.nlmsg_len));
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(n);
	if (n)
		memcpy(RTA_DATA(a), p, n);
	q->head.nlmsg_len = NLMSG_ALIGN(q->head.nlmsg_len) + (uint32_t)RTA_ALIGN(a->rta_len);
	return a;
}

static void close_nest(struct request *q, struct rtattr *a)
{
	a->rta_len = (uint16_t)((char *)q + q->head.nlmsg_len - (char *)a);
}

static ssize_t receive(int fd, char *reply, size_t cap)
{
	ssize_t n;
	do
		n = recv(fd, reply, cap, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int netlink_talk(int fd, const void *msg, size_t len, uint32_t last_seq, unsigned acks)
{
	char reply[8192];
	uint32_t first_seq = ((const struct nlmsghdr *)msg)->nlmsg_seq;
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	if (sendto(fd, msg, len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
		return -errno;
	while (acks) {
		ssize_t n = receive(fd, reply, sizeof reply);
		if (n < 0)
			return (int)n;
		size_t left = (size_t)n;
		for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)reply; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			/* A batch that failed half way has left answers behind: only those to this one's messages count. */
			if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_seq - first_seq > last_seq - first_seq)
				continue;
			int err = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (err)
				return err;
			acks--;
			if (!acks)
				break;
		}
	}
	return 0;
}

static int ask(struct rtnl *r, struct request *q)
{
	q->head.nlmsg_flags |= NLM_F_ACK;
	return netlink_talk(r->fd, q, q->head.nlmsg_len, q->head.nlmsg_seq, 1);
}

/* rtnetlink.h's macros cast const away, so what only looks takes plain pointers too. */
static struct rtattr *attribute(struct rtattr *a, size_t left, unsigned type)
{
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			return a;
	return NULL;
}

static bool text_is(struct rtattr *a, const char *s)
{
	return a && RTA_PAYLOAD(a) == strlen(s) + 1 && memcmp(RTA_DATA(a), s, RTA_PAYLOAD(a)) == 0;
}

/* Reads one RTM_NEWLINK. */
static void parse_link(struct nlmsghdr *h, struct link_info *out, const char **name)
{
	struct ifinfomsg *info = NLMSG_DATA(h);
	struct rtattr *first = IFLA_RTA(info);
	size_t left = h->nlmsg_len - NLMSG_LENGTH(sizeof *info);
	struct rtattr *alias = attribute(first, left, IFLA_IFALIAS), *kind = attribute(first, left, IFLA_LINKINFO);
	struct rtattr *ifname = attribute(first, left, IFLA_IFNAME);
	*out = (struct link_info){.index = info->ifi_index, .ours = text_is(alias, NETD_ALIAS)};
	if (kind)
		out->bridge = text_is(attribute(RTA_DATA(kind), RTA_PAYLOAD(kind), IFLA_INFO_KIND), "bridge");
	*name = ifname ? RTA_DATA(ifname) : "";
}

int rtnl_link_find(struct rtnl *r, const char *name, struct link_info *out)
{
	static char reply[REPLY_MAX]; /* one thread; too large for the stack */
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct request q;
	const char *found;
	*out = (struct link_info){0};
	begin(r, &q, RTM_GETLINK, 0, &info, sizeof info);
	put(&q, IFLA_IFNAME, name, strlen(name) + 1);
	if (send(r->fd, &q, q.head.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = receive(r->fd, reply, sizeof reply);
		if (n < 0)
			return (int)n;
		struct nlmsghdr *h = (struct nlmsghdr *)(void *)reply;
		if (!NLMSG_OK(h, (size_t)n) || h->nlmsg_seq != r->seq)
			continue;
		if (h->nlmsg_type == NLMSG_ERROR) {
			int err = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			return err == -ENODEV ? 0 : err;
		}
		if (h->nlmsg_type == RTM_NEWLINK)
			parse_link(h, out, &found);
		return 0;
	}
}

int rtnl_bridge_add(struct rtnl *r, const char *name)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct request q;
	struct link_info made;
	begin(r, &q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
	put(&q, IFLA_IFNAME, name, strlen(name) + 1);
	struct rtattr *nest = put(&q, IFLA_LINKINFO, NULL, 0);
	put(&q, IFLA_INFO_KIND, "bridge", sizeof "bridge");
	close_nest(&q, nest);
	int err = ask(r, &q);
	if (!err)
		err = rtnl_link_find(r, name, &made);
	if (!err)
		err = rtnl_link_set(r, made.index, 0, false, true);
	return err;
}

int rtnl_link_set(struct rtnl *r, int index, int master, bool up, bool mark)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct request q;
	if (up)
		info.ifi_flags = info.ifi_change = IFF_UP;
	begin(r, &q, RTM_SETLINK, 0, &info, sizeof info);
	if (master)
		put(&q, IFLA_MASTER, &master, sizeof master);
	if (mark)
		put(&q, IFLA_IFALIAS, NETD_ALIAS, sizeof NETD_ALIAS);
	return ask(r, &q);
}

int rtnl_link_del(struct rtnl *r, int index)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct request q;
	begin(r, &q, RTM_DELLINK, 0, &info, sizeof info);
	return ask(r, &q);
}

int rtnl_addr_add(struct rtnl *r, int index, uint32_t addr_be, unsigned prefix)
{
	struct ifaddrmsg info = {.ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)prefix, .ifa_index = (uint32_t)index};
	struct request q;
	begin(r, &q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info, sizeof info);
	put(&q, IFA_LOCAL, &addr_be, sizeof addr_be);
	put(&q, IFA_ADDRESS, &addr_be, sizeof addr_be);
	int err = ask(r, &q);
	return err == -EEXIST ? 0 : err;
}

int rtnl_each_ours(struct rtnl *r, void (*fn)(void *arg, const char *name, bool bridge), void *arg)
{
	static char reply[REPLY_MAX];
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct request q;
	begin(r, &q, RTM_GETLINK, NLM_F_DUMP, &info, sizeof info);
	if (send(r->fd, &q, q.head.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = receive(r->fd, reply, sizeof reply);
		if (n < 0)
			return (int)n;
		size_t left = (size_t)n;
		for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)reply; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			struct link_info l;
			const char *name;
			if (h->nlmsg_seq != r->seq)
				continue;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (h->nlmsg_type != RTM_NEWLINK)
				continue;
			parse_link(h, &l, &name);
			if (l.ours)
				fn(arg, name, l.bridge);
		}
	}
}
