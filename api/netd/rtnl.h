/* Between rtnl.c and rtnl_link.c: one request being written. */
#ifndef API_NETD_RTNL_H
#define API_NETD_RTNL_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "api/netd/netd.h"

#define RT_REQUEST_MAX 512

struct rt_request {
	struct nlmsghdr head;
	char body[RT_REQUEST_MAX];
};
void rt_begin(struct rtnl *r, struct rt_request *q, uint16_t type, uint16_t flags, const void *family, size_t len);
struct rtattr *rt_put(struct rt_request *q, uint16_t type, const void *p, size_t n);
void rt_close(struct rt_request *q, struct rtattr *nest);
int rt_ask(struct rtnl *r, struct rt_request *q); /* 0 or the kernel's refusal */

#endif
