/* Running flows (ctnetlink): ended, so that the rules see their next packet as a new flow's. */
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "api/netd/netd.h"

enum { TUPLES_MAX = 8 << 20, TUPLE_MAX = 256 };

/* All of them: the namespace is one VM's. */
int ct_flush(struct nft *n)
{
	struct { struct nlmsghdr h; struct nfgenmsg g; } m = {
		.h = {.nlmsg_len = sizeof m, .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		      .nlmsg_seq = ++n->seq},
		.g = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0},
	};
	return netlink_talk(n->fd, &m, sizeof m, n->seq, 1);
}

/* ---- of one address, among all of the host's ---- */

struct tuples {
	const struct net_addr *a;
	struct buf out; /* each: its length in two bytes, and the attribute's inside */
};

static void take_flow(void *arg, const struct nft_bytes *m)
{
	struct tuples *t = arg;
	struct nft_bytes tuple, ip, src;
	if (!nft_attr(m->p, m->n, CTA_TUPLE_ORIG, &tuple) || !nft_attr(tuple.p, tuple.n, CTA_TUPLE_IP, &ip) ||
	    !nft_attr(ip.p, ip.n, t->a->family == 6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, &src))
		return;
	if (src.n != net_addr_bytes(t->a) || memcmp(src.p, t->a->a, src.n) != 0 || tuple.n > TUPLE_MAX)
		return;
	uint16_t n = (uint16_t)tuple.n;
	buf_add(&t->out, &n, sizeof n);
	buf_add(&t->out, tuple.p, tuple.n);
}

static int end_one(struct nft *n, uint8_t family, const uint8_t *tuple, uint16_t bytes)
{
	struct nft_batch b = {.nft = n};
	buf_init(&b.out, 1024);
	nft_message(&b, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, NLM_F_ACK, family, 0);
	nft_put(&b, CTA_TUPLE_ORIG | NLA_F_NESTED, tuple, bytes);
	int err = b.out.failed ? -ENOMEM : netlink_talk(n->fd, buf_data(&b.out), buf_len(&b.out), n->seq, 1);
	buf_done(&b.out);
	return err == -ENOENT ? 0 : err; /* it ended meanwhile */
}

int ct_flush_from(struct nft *n, const struct net_addr *a)
{
	struct tuples t = {.a = a};
	struct nft_batch b = {.nft = n};
	uint8_t family = a->family == 6 ? AF_INET6 : AF_INET;
	buf_init(&t.out, TUPLES_MAX);
	buf_init(&b.out, 256);
	nft_message(&b, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP, family, 0);
	int err = nft_dump(&b, take_flow, &t);
	if (!err && t.out.failed)
		err = -ENOMEM;
	const uint8_t *p = buf_data(&t.out);
	for (size_t left = buf_len(&t.out); !err && left;) {
		uint16_t bytes;
		memcpy(&bytes, p, sizeof bytes);
		err = end_one(n, family, p + sizeof bytes, bytes);
		p += sizeof bytes + bytes;
		left -= sizeof bytes + bytes;
	}
	buf_done(&t.out);
	return err;
}
