#include "api/netd/rtnl.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REPLY_MAX = 65536 };

int rtnl_init(struct rtnl *r)
{
	*r = (struct rtnl){.alias = NETD_ALIAS};
	r->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	return r->fd < 0 ? -errno : 0;
}

void rt_begin(struct rtnl *r, struct rt_request *q, uint16_t type, uint16_t flags, const void *family, size_t len)
{
	memset(q, 0, sizeof *q);
	q->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	q->head.nlmsg_type = type;
	q->head.nlmsg_flags = NLM_F_REQUEST | flags;
	q->head.nlmsg_seq = ++r->seq;
	memcpy(q->body, family, len);
}

/* Every name and value here is ours and short, so the request cannot run over: the sizes add up to well under RT_REQUEST_MAX. */
struct rtattr *rt_put(struct rt_request *q, uint16_t type, const void *p, size_t n)
{
	struct rtattr *a = (struct rtattr *)(void *)((char *)q + NLMSG_ALIGN(q->head.nlmsg_len));
	a->rta_type = type;
	a->rta_len = (uint16_t)RTA_LENGTH(n);
	if (n)
		memcpy(RTA_DATA(a), p, n);
	q->head.nlmsg_len = NLMSG_ALIGN(q->head.nlmsg_len) + (uint32_t)RTA_ALIGN(a->rta_len);
	return a;
}

void rt_close(struct rt_request *q, struct rtattr *a)
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

struct nlmsghdr *netlink_next(char *answer, size_t n, size_t *at)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(void *)(answer + *at);
	size_t left = n - *at, step;
	if (!NLMSG_OK(h, left))
		return NULL;
	step = NLMSG_ALIGN(h->nlmsg_len); /* the last one's padding may be missing */
	*at += step < left ? step : left;
	return h;
}

int netlink_error(struct nlmsghdr *h)
{
	return h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)) ? ((struct nlmsgerr *)NLMSG_DATA(h))->error : -EPROTO;
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
		struct nlmsghdr *h;
		for (size_t at = 0; (h = netlink_next(reply, (size_t)n, &at));) {
			/* A batch that failed half way has left answers behind: only those to this one's messages count. */
			if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_seq - first_seq > last_seq - first_seq)
				continue;
			int err = netlink_error(h);
			if (err)
				return err;
			acks--;
			if (!acks)
				break;
		}
	}
	return 0;
}

int rt_ask(struct rtnl *r, struct rt_request *q)
{
	q->head.nlmsg_flags |= NLM_F_ACK;
	return netlink_talk(r->fd, q, q->head.nlmsg_len, q->head.nlmsg_seq, 1);
}

/* rtnetlink.h's macros cast const away, so what only looks takes plain pointers too. */
static struct rtattr *attribute(struct rtattr *a, size_t left, unsigned type)
{
	while (RTA_OK(a, left)) {
		size_t step = RTA_ALIGN(a->rta_len);
		if ((a->rta_type & NLA_TYPE_MASK) == type)
			return a;
		if (step >= left) /* the last one's padding may be missing */
			break;
		a = (struct rtattr *)(void *)((char *)a + step);
		left -= step;
	}
	return NULL;
}

/* Text of an attribute, NUL-terminated by the kernel; NULL when it is not. */
static const char *text_of(struct rtattr *a)
{
	return a && RTA_PAYLOAD(a) && memchr(RTA_DATA(a), 0, RTA_PAYLOAD(a)) ? RTA_DATA(a) : NULL;
}

static bool text_is(struct rtattr *a, const char *s)
{
	return a && RTA_PAYLOAD(a) == strlen(s) + 1 && memcmp(RTA_DATA(a), s, RTA_PAYLOAD(a)) == 0;
}

/* "mica", or "mica OWNER". */
static bool is_mark(const char *alias)
{
	size_t n = sizeof NETD_ALIAS - 1;
	return alias && strncmp(alias, NETD_ALIAS, n) == 0 && (!alias[n] || alias[n] == ' ');
}

/* Reads one RTM_NEWLINK. */
static void parse_link(const struct rtnl *r, struct nlmsghdr *h, struct link_info *out, const char **name)
{
	struct ifinfomsg *info = NLMSG_DATA(h);
	struct rtattr *first = IFLA_RTA(info);
	size_t left = h->nlmsg_len - NLMSG_LENGTH(sizeof *info);
	const char *alias = text_of(attribute(first, left, IFLA_IFALIAS));
	struct rtattr *kind = attribute(first, left, IFLA_LINKINFO);
	*out = (struct link_info){.index = info->ifi_index, .ours = is_mark(alias), .mine = alias && strcmp(alias, r->alias) == 0};
	if (kind) {
		out->bridge = text_is(attribute(RTA_DATA(kind), RTA_PAYLOAD(kind), IFLA_INFO_KIND), "bridge");
		out->macvtap = text_is(attribute(RTA_DATA(kind), RTA_PAYLOAD(kind), IFLA_INFO_KIND), "macvtap");
	}
	*name = text_of(attribute(first, left, IFLA_IFNAME));
	if (!*name)
		*name = "";
}

int rtnl_link_find(struct rtnl *r, const char *name, struct link_info *out)
{
	static char reply[REPLY_MAX]; /* one thread; too large for the stack */
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	struct rt_request q;
	const char *found;
	*out = (struct link_info){0};
	rt_begin(r, &q, RTM_GETLINK, 0, &info, sizeof info);
	rt_put(&q, IFLA_IFNAME, name, strlen(name) + 1);
	if (send(r->fd, &q, q.head.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = receive(r->fd, reply, sizeof reply);
		if (n < 0)
			return (int)n;
		size_t at = 0;
		struct nlmsghdr *h = netlink_next(reply, (size_t)n, &at);
		if (!h || h->nlmsg_seq != r->seq)
			continue;
		if (h->nlmsg_type == NLMSG_ERROR)
			return netlink_error(h) == -ENODEV ? 0 : netlink_error(h);
		if (h->nlmsg_type == RTM_NEWLINK && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct ifinfomsg)))
			parse_link(r, h, out, &found);
		return 0;
	}
}

/* Asks for all of a kind; fn gets each message of it that is whole. */
static int dump(struct rtnl *r, uint16_t ask, uint16_t kind, const void *family, size_t len,
		void (*fn)(struct rtnl *r, struct nlmsghdr *h, void *arg), void *arg)
{
	static char reply[REPLY_MAX];
	struct rt_request q;
	rt_begin(r, &q, ask, NLM_F_DUMP, family, len);
	if (send(r->fd, &q, q.head.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = receive(r->fd, reply, sizeof reply);
		if (n < 0)
			return (int)n;
		struct nlmsghdr *h;
		for (size_t at = 0; (h = netlink_next(reply, (size_t)n, &at));) {
			if (h->nlmsg_seq != r->seq)
				continue;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return netlink_error(h);
			if (h->nlmsg_type == kind && h->nlmsg_len >= NLMSG_LENGTH(len))
				fn(r, h, arg);
		}
	}
}

struct each_link {
	void (*ours)(void *arg, const char *name, const struct link_info *l);
	void (*name)(void *arg, const char *name);
	void *arg;
};

static void on_link(struct rtnl *r, struct nlmsghdr *h, void *arg)
{
	struct each_link *e = arg;
	struct link_info l;
	const char *name;
	parse_link(r, h, &l, &name);
	if (e->name)
		e->name(e->arg, name);
	else if (l.ours)
		e->ours(e->arg, name, &l);
}

int rtnl_each_ours(struct rtnl *r, void (*fn)(void *arg, const char *name, const struct link_info *l), void *arg)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	return dump(r, RTM_GETLINK, RTM_NEWLINK, &info, sizeof info, on_link, &(struct each_link){.ours = fn, .arg = arg});
}

int rtnl_each_name(struct rtnl *r, void (*fn)(void *arg, const char *name), void *arg)
{
	struct ifinfomsg info = {.ifi_family = AF_UNSPEC};
	return dump(r, RTM_GETLINK, RTM_NEWLINK, &info, sizeof info, on_link, &(struct each_link){.name = fn, .arg = arg});
}

struct each_addr {
	void (*fn)(void *arg, const struct net_addr *a);
	void *arg;
};

static void on_addr(struct rtnl *r, struct nlmsghdr *h, void *arg)
{
	struct each_addr *e = arg;
	struct ifaddrmsg *info = NLMSG_DATA(h);
	struct net_addr a = {.family = info->ifa_family == AF_INET6 ? 6 : 4, .bits = info->ifa_prefixlen};
	size_t left = h->nlmsg_len - NLMSG_LENGTH(sizeof *info);
	struct rtattr *local = attribute(IFA_RTA(info), left, IFA_LOCAL), *addr = attribute(IFA_RTA(info), left, IFA_ADDRESS);
	(void)r;
	if (!local) /* IPv4 on a point-to-point link has both, then this one is ours */
		local = addr;
	if ((info->ifa_family != AF_INET && info->ifa_family != AF_INET6) || !local || RTA_PAYLOAD(local) != net_addr_bytes(&a))
		return;
	memcpy(a.a, RTA_DATA(local), net_addr_bytes(&a));
	e->fn(e->arg, &a);
}

int rtnl_each_addr(struct rtnl *r, void (*fn)(void *arg, const struct net_addr *a), void *arg)
{
	struct ifaddrmsg info = {.ifa_family = AF_UNSPEC};
	return dump(r, RTM_GETADDR, RTM_NEWADDR, &info, sizeof info, on_addr, &(struct each_addr){fn, arg});
}

struct best_route {
	int index;
	uint32_t metric;
};

static uint32_t number_of(struct rtattr *a)
{
	uint32_t v = 0;
	if (a && RTA_PAYLOAD(a) == sizeof v)
		memcpy(&v, RTA_DATA(a), sizeof v);
	return v;
}

static void on_route(struct rtnl *r, struct nlmsghdr *h, void *arg)
{
	struct best_route *best = arg;
	struct rtmsg *info = NLMSG_DATA(h);
	size_t left = h->nlmsg_len - NLMSG_LENGTH(sizeof *info);
	int index = (int)number_of(attribute(RTM_RTA(info), left, RTA_OIF));
	uint32_t metric = number_of(attribute(RTM_RTA(info), left, RTA_PRIORITY));
	(void)r;
	if (info->rtm_family != AF_INET || info->rtm_dst_len || info->rtm_table != RT_TABLE_MAIN || info->rtm_type != RTN_UNICAST || index <= 0)
		return;
	if (!best->index || metric < best->metric)
		*best = (struct best_route){index, metric};
}

int rtnl_default_link(struct rtnl *r, int *index)
{
	struct rtmsg info = {.rtm_family = AF_INET};
	struct best_route best = {0, 0};
	int err = dump(r, RTM_GETROUTE, RTM_NEWROUTE, &info, sizeof info, on_route, &best);
	*index = best.index;
	return err;
}
