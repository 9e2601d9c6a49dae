/* Counters of the rules, as the kernel tells them. */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "api/netd/netd.h"

enum { REPLY_MAX = 65536, COUNTERS_MAX = 640, ID_MAX = 32 };

struct counters {
	unsigned n;
	struct { char id[ID_MAX]; uint64_t packets; } v[COUNTERS_MAX];
};

static const struct nlattr *find(const uint8_t *p, size_t n, unsigned type)
{
	while (n >= NLA_HDRLEN) {
		const struct nlattr *a = (const struct nlattr *)(const void *)p;
		size_t whole = NLA_ALIGN(a->nla_len);
		if (a->nla_len < NLA_HDRLEN || a->nla_len > n)
			return NULL;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		if (whole >= n)
			return NULL;
		p += whole;
		n -= whole;
	}
	return NULL;
}

static const uint8_t *payload(const struct nlattr *a) { return (const uint8_t *)a + NLA_HDRLEN; }
static size_t payload_bytes(const struct nlattr *a) { return (size_t)a->nla_len - NLA_HDRLEN; }

static void take_counter(struct counters *c, const struct nlmsghdr *h)
{
	const uint8_t *p = (const uint8_t *)h + NLMSG_SPACE(sizeof(struct nfgenmsg));
	if (h->nlmsg_len < NLMSG_SPACE(sizeof(struct nfgenmsg)) || c->n == COUNTERS_MAX)
		return;
	size_t n = h->nlmsg_len - NLMSG_SPACE(sizeof(struct nfgenmsg));
	const struct nlattr *name = find(p, n, NFTA_OBJ_NAME), *data = find(p, n, NFTA_OBJ_DATA);
	const struct nlattr *packets = data ? find(payload(data), payload_bytes(data), NFTA_COUNTER_PACKETS) : NULL;
	uint64_t v;
	if (!name || !packets || payload_bytes(packets) != sizeof v || payload_bytes(name) > ID_MAX || !memchr(payload(name), 0, payload_bytes(name)))
		return;
	memcpy(&v, payload(packets), sizeof v);
	memcpy(c->v[c->n].id, payload(name), payload_bytes(name));
	c->v[c->n++].packets = __builtin_bswap64(v);
}

static int dump(struct iso *i, struct counters *c)
{
	static char reply[REPLY_MAX];
	struct nft_batch b = {.nft = &i->nft};
	int err = 0;
	buf_init(&b.out, 4096);
	nft_message(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETOBJ, NLM_F_DUMP, NFPROTO_INET, 0);
	nft_put_str(&b, NFTA_OBJ_TABLE, "mica");
	if (b.out.failed || send(i->nft.fd, buf_data(&b.out), buf_len(&b.out), 0) < 0)
		err = b.out.failed ? -ENOMEM : -errno;
	buf_done(&b.out);
	while (!err) {
		ssize_t got = recv(i->nft.fd, reply, sizeof reply, 0);
		if (got < 0)
			return errno == EINTR ? 0 : -errno;
		size_t left = (size_t)got;
		for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)reply; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_seq != i->nft.seq)
				continue;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)) ? ((struct nlmsgerr *)NLMSG_DATA(h))->error : -EPROTO;
			take_counter(c, h);
		}
	}
	return err;
}

static uint64_t unlogged_of(const struct counters *c, const char *id)
{
	size_t n = strlen(id);
	for (unsigned i = 0; i < c->n; i++)
		if (strncmp(c->v[i].id, id, n) == 0 && strcmp(c->v[i].id + n, "~") == 0)
			return c->v[i].packets;
	return 0;
}

int nft_ns_counters(struct iso *i, struct buf *out)
{
	static struct counters c; /* one thread */
	c.n = 0;
	int err = dump(i, &c);
	for (unsigned k = 0; k < c.n && !err; k++) {
		uint64_t unlogged = unlogged_of(&c, c.v[k].id);
		if (c.v[k].id[strlen(c.v[k].id) - 1] == '~')
			continue;
		size_t mark = wire_open(out, N_T_COUNTER);
		wire_str(out, N_T_ID, c.v[k].id);
		wire_u64(out, N_T_FLOWS, c.v[k].packets);
		wire_u64(out, N_T_UNLOGGED, unlogged);
		wire_close(out, mark);
	}
	return err;
}
