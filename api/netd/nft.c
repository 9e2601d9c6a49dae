#include "api/netd/netd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TABLE "mica"
enum { BATCH_MAX = 4096 };

/* A batch is one transaction: all of it holds or none (nf_tables commits at NFNL_MSG_BATCH_END). */
struct batch {
	struct nft *nft;
	size_t len;
	struct nlmsghdr *msg; /* the one being written */
	unsigned acks;
	_Alignas(struct nlmsghdr) char bytes[BATCH_MAX];
};

int nft_init(struct nft *n)
{
	n->seq = 0;
	n->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	return n->fd < 0 ? -errno : 0;
}

/* All messages here are ours and bounded by interface names of at most 15 bytes: BATCH_MAX cannot be reached. */
static void message(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res_id)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(void *)(b->bytes + b->len);
	struct nfgenmsg *g = NLMSG_DATA(h);
	memset(h, 0, NLMSG_SPACE(sizeof *g));
	*h = (struct nlmsghdr){.nlmsg_len = (uint32_t)NLMSG_SPACE(sizeof *g), .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++b->nft->seq};
	g->nfgen_family = family;
	g->version = NFNETLINK_V0;
	g->res_id = htons(res_id);
	b->msg = h;
	b->len += h->nlmsg_len;
	b->acks += (flags & NLM_F_ACK) != 0;
}

static void command(struct batch *b, unsigned type, uint16_t flags)
{
	message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags | NLM_F_ACK, NFPROTO_IPV4, 0);
}

static size_t put(struct batch *b, uint16_t type, const void *p, size_t n)
{
	size_t at = b->len;
	struct nlattr *a = (struct nlattr *)(void *)(b->bytes + at);
	a->nla_type = type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + n);
	if (n)
		memcpy((char *)a + NLA_HDRLEN, p, n);
	size_t whole = NLA_ALIGN(a->nla_len);
	memset((char *)a + a->nla_len, 0, whole - a->nla_len);
	b->len += whole;
	b->msg->nlmsg_len += (uint32_t)whole;
	return at;
}

static void put_str(struct batch *b, uint16_t type, const char *s)
{
	put(b, type, s, strlen(s) + 1);
}

static void put_u32(struct batch *b, uint16_t type, uint32_t v)
{
	v = htonl(v);
	put(b, type, &v, sizeof v);
}

static size_t nest(struct batch *b, uint16_t type)
{
	return put(b, type | NLA_F_NESTED, NULL, 0);
}

static void end(struct batch *b, size_t at)
{
	((struct nlattr *)(void *)(b->bytes + at))->nla_len = (uint16_t)(b->len - at);
}

/* -- expressions of a rule (nft(8) shows them with --debug=netlink) -- */

static size_t expression(struct batch *b, const char *name, size_t *data)
{
	size_t at = nest(b, NFTA_LIST_ELEM);
	put_str(b, NFTA_EXPR_NAME, name);
	*data = nest(b, NFTA_EXPR_DATA);
	return at;
}

static void value(struct batch *b, uint16_t type, const void *p, size_t n)
{
	size_t at = nest(b, type);
	put(b, NFTA_DATA_VALUE, p, n);
	end(b, at);
}

static void compare(struct batch *b, uint32_t op, const void *p, size_t n)
{
	size_t d, e = expression(b, "cmp", &d);
	put_u32(b, NFTA_CMP_SREG, NFT_REG_1);
	put_u32(b, NFTA_CMP_OP, op);
	value(b, NFTA_CMP_DATA, p, n);
	end(b, d);
	end(b, e);
}

static void source_is(struct batch *b, uint32_t addr_be, unsigned prefix)
{
	uint32_t mask = htonl(prefix ? ~0u << (32 - prefix) : 0), none = 0, subnet = addr_be & mask;
	size_t d, e = expression(b, "payload", &d);
	put_u32(b, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put_u32(b, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
	put_u32(b, NFTA_PAYLOAD_OFFSET, 12); /* source address, RFC 791 §3.1 */
	put_u32(b, NFTA_PAYLOAD_LEN, 4);
	end(b, d);
	end(b, e);
	e = expression(b, "bitwise", &d);
	put_u32(b, NFTA_BITWISE_SREG, NFT_REG_1);
	put_u32(b, NFTA_BITWISE_DREG, NFT_REG_1);
	put_u32(b, NFTA_BITWISE_LEN, 4);
	value(b, NFTA_BITWISE_MASK, &mask, 4);
	value(b, NFTA_BITWISE_XOR, &none, 4);
	end(b, d);
	end(b, e);
	compare(b, NFT_CMP_EQ, &subnet, 4);
}

static void leaves_not_by(struct batch *b, const char *bridge)
{
	char name[IFNAMSIZ] = "";
	size_t d, e = expression(b, "meta", &d);
	put_u32(b, NFTA_META_DREG, NFT_REG_1);
	put_u32(b, NFTA_META_KEY, NFT_META_OIFNAME);
	end(b, d);
	end(b, e);
	snprintf(name, sizeof name, "%s", bridge);
	compare(b, NFT_CMP_NEQ, name, sizeof name);
}

static void chain_name(const char *bridge, char out[NFT_NAME_MAXLEN])
{
	snprintf(out, NFT_NAME_MAXLEN, "nat-%s", bridge);
}

static int commit(struct batch *b)
{
	message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	return netlink_talk(b->nft->fd, b->bytes, b->len, b->nft->seq, b->acks);
}

static void begin(struct batch *b, struct nft *n)
{
	*b = (struct batch){.nft = n};
	message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	command(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
	put_str(b, NFTA_TABLE_NAME, TABLE);
}

int nft_masquerade(struct nft *n, const char *bridge, uint32_t addr_be, unsigned prefix)
{
	struct batch b;
	char chain[NFT_NAME_MAXLEN];
	int err = nft_forget(n, bridge);
	if (err)
		return err;
	chain_name(bridge, chain);
	begin(&b, n);
	command(&b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	put_str(&b, NFTA_CHAIN_TABLE, TABLE);
	put_str(&b, NFTA_CHAIN_NAME, chain);
	size_t hook = nest(&b, NFTA_CHAIN_HOOK);
	put_u32(&b, NFTA_HOOK_HOOKNUM, NF_INET_POST_ROUTING);
	put_u32(&b, NFTA_HOOK_PRIORITY, NF_IP_PRI_NAT_SRC);
	end(&b, hook);
	put_str(&b, NFTA_CHAIN_TYPE, "nat");
	command(&b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
	put_str(&b, NFTA_RULE_TABLE, TABLE);
	put_str(&b, NFTA_RULE_CHAIN, chain);
	size_t list = nest(&b, NFTA_RULE_EXPRESSIONS), d;
	source_is(&b, addr_be, prefix);
	leaves_not_by(&b, bridge);
	size_t e = expression(&b, "masq", &d);
	end(&b, d);
	end(&b, e);
	end(&b, list);
	return commit(&b);
}

int nft_forget(struct nft *n, const char *bridge)
{
	struct batch b;
	char chain[NFT_NAME_MAXLEN];
	chain_name(bridge, chain);
	begin(&b, n);
	/* made first, so that deleting never meets a chain that is not there (which would undo the whole batch) */
	command(&b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
	put_str(&b, NFTA_CHAIN_TABLE, TABLE);
	put_str(&b, NFTA_CHAIN_NAME, chain);
	command(&b, NFT_MSG_DELRULE, 0);
	put_str(&b, NFTA_RULE_TABLE, TABLE);
	put_str(&b, NFTA_RULE_CHAIN, chain);
	command(&b, NFT_MSG_DELCHAIN, 0);
	put_str(&b, NFTA_CHAIN_TABLE, TABLE);
	put_str(&b, NFTA_CHAIN_NAME, chain);
	return commit(&b);
}
