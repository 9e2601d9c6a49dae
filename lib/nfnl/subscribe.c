#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/nfnl/nfnl.h"

#define QUEUE_BYTES (4 << 20) /* of the socket: a burst of events while gate is elsewhere */
#define ANSWER_MS 2000
#define ANSWERS_MAX 64        /* events may come between */

struct request {
	struct nlmsghdr h;
	struct nfgenmsg g;
	uint8_t attrs[96];
};

static void put(struct request *q, uint16_t type, const void *p, uint16_t n)
{
	struct nlattr *a = (struct nlattr *)((uint8_t *)q + NLMSG_ALIGN(q->h.nlmsg_len));

	a->nla_type = type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + n);
	memcpy((uint8_t *)a + NLA_HDRLEN, p, n);
	q->h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->h.nlmsg_len) + NLA_ALIGN(a->nla_len));
}

/* The kernel's answer to the one request. */
static int answer(int fd, uint32_t seq)
{
	union { struct nlmsghdr h; uint8_t bytes[8192]; } u;

	for (unsigned i = 0; i < ANSWERS_MAX; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		const struct nlmsgerr *e = NLMSG_DATA(&u.h);
		ssize_t n;

		if (poll(&p, 1, ANSWER_MS) <= 0)
			return -ETIMEDOUT;
		n = recv(fd, &u, sizeof(u), MSG_DONTWAIT);
		if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOBUFS)
			return -errno;
		if (n >= (ssize_t)NLMSG_LENGTH(sizeof(*e)) && u.h.nlmsg_type == NLMSG_ERROR && u.h.nlmsg_seq == seq)
			return e->error;
	}
	return -EPROTO;
}

static int bind_group(int fd, uint16_t group)
{
	struct request q = { .h = { .nlmsg_len = NLMSG_LENGTH(sizeof(q.g)), .nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG,
				    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK, .nlmsg_seq = 1 },
			     .g = { .version = NFNETLINK_V0, .res_id = htons(group) } };
	struct nfulnl_msg_config_cmd cmd = { NFULNL_CFG_CMD_BIND };
	struct nfulnl_msg_config_mode mode = { .copy_range = htonl(NF_SNAPLEN), .copy_mode = NFULNL_COPY_PACKET };
	uint32_t one = htonl(1); /* each packet at once: so its line stands before its flow's end */
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	put(&q, NFULA_CFG_CMD, &cmd, sizeof(cmd));
	put(&q, NFULA_CFG_MODE, &mode, sizeof(mode));
	put(&q, NFULA_CFG_QTHRESH, &one, sizeof(one));
	if (sendto(fd, &q, q.h.nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	return answer(fd, 1);
}

int nf_subscribe(int fd, uint16_t group, struct fault *f)
{
	int bytes = QUEUE_BYTES, events = NFNLGRP_CONNTRACK_DESTROY, err;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	err = bind_group(fd, group);
	if (err == -EINVAL || err == -EOPNOTSUPP)
		return fault_set(f, -EPROTONOSUPPORT, "this kernel cannot log packets to a program: it lacks CONFIG_NETFILTER_NETLINK_LOG");
	if (err)
		return fault_errno(f, err, "NFLOG");
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &events, sizeof(events)))
		return fault_set(f, -errno, "conntrack's events: %s; CONFIG_NF_CT_NETLINK and CONFIG_NF_CONNTRACK_EVENTS are needed", strerror(errno));
	return 0;
}
