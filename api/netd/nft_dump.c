/* What the kernel lists: one request, answers in as many messages as it takes. */
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "api/netd/nft.h"

enum { REPLY_MAX = 65536 };

bool nft_attr(const void *from, size_t n, unsigned type, struct nft_bytes *out)
{
	const uint8_t *p = from;
	while (n >= NLA_HDRLEN) {
		const struct nlattr *a = (const struct nlattr *)(const void *)p;
		size_t whole = NLA_ALIGN(a->nla_len);
		if (a->nla_len < NLA_HDRLEN || a->nla_len > n)
			return false;
		if ((a->nla_type & NLA_TYPE_MASK) == type) {
			*out = (struct nft_bytes){p + NLA_HDRLEN, (size_t)a->nla_len - NLA_HDRLEN};
			return true;
		}
		if (whole >= n)
			return false;
		p += whole;
		n -= whole;
	}
	return false;
}

static void give(const struct nlmsghdr *h, void (*take)(void *, const struct nft_bytes *), void *arg)
{
	size_t skip = NLMSG_SPACE(sizeof(struct nfgenmsg));
	if (h->nlmsg_len >= skip)
		take(arg, &(struct nft_bytes){(const uint8_t *)h + skip, h->nlmsg_len - skip});
}

int nft_dump(struct nft_batch *b, void (*take)(void *, const struct nft_bytes *), void *arg)
{
	static char reply[REPLY_MAX]; /* one thread */
	int fd = b->nft->fd, err = 0;
	uint32_t seq = b->nft->seq;
	if (b->out.failed || send(fd, buf_data(&b->out), buf_len(&b->out), 0) < 0)
		err = b->out.failed ? -ENOMEM : -errno;
	buf_done(&b->out);
	while (!err) {
		ssize_t got = recv(fd, reply, sizeof reply, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		struct nlmsghdr *h;
		for (size_t at = 0; (h = netlink_next(reply, (size_t)got, &at));) {
			if (h->nlmsg_seq != seq)
				continue;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return netlink_error(h);
			give(h, take, arg);
		}
	}
	return err;
}
