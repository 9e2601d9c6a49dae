/* Which part of nf_tables a kernel lacks: each is tried alone, in a table that is made and removed within one transaction. */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>

#include "api/netd/nft.h"

#define PROBE_TABLE "mica-probe"
#define PROBE_CHAIN "probe"

static const struct nft_hook filter = {.type = "filter", .hook = NF_INET_FORWARD, .priority = 0},
			     nat = {.type = "nat", .hook = NF_INET_POST_ROUTING, .priority = NF_IP_PRI_NAT_SRC};

/* In the order in which one needs the other. */
static const struct {
	const char *option;
	uint8_t family;
	const struct nft_hook *hook;
	struct nft_rule rule; /* chain NULL: none */
} parts[] = {
	{"CONFIG_NF_TABLES", NFPROTO_IPV4, NULL, {0}},
	{"CONFIG_NF_TABLES_IPV4", NFPROTO_IPV4, &filter, {0}},
	{"CONFIG_NF_TABLES_INET", NFPROTO_INET, &filter, {0}},
	{"CONFIG_NFT_CT", NFPROTO_INET, &filter, {.chain = PROBE_CHAIN, .ct = NFT_CT_ESTABLISHED, .then = NFT_THEN_ACCEPT}},
	{"CONFIG_NFT_REJECT_INET", NFPROTO_INET, &filter, {.chain = PROBE_CHAIN, .then = NFT_THEN_REFUSE}},
	{"CONFIG_NFT_LIMIT", NFPROTO_INET, &filter, {.chain = PROBE_CHAIN, .limit_per_s = 1}},
	{"CONFIG_NFT_OBJREF", NFPROTO_INET, &filter, {.chain = PROBE_CHAIN, .counter = "probe"}},
	{"CONFIG_NFT_LOG and CONFIG_NETFILTER_NETLINK_LOG", NFPROTO_INET, &filter, {.chain = PROBE_CHAIN, .log = "probe"}},
	{"CONFIG_NFT_NAT", NFPROTO_INET, &nat, {0}},
	{"CONFIG_NFT_MASQ", NFPROTO_INET, &nat, {.chain = PROBE_CHAIN, .then = NFT_THEN_MASQUERADE}},
	{"CONFIG_NF_TABLES_NETDEV", NFPROTO_NETDEV, NULL, {0}},
};

const char *nft_missing(struct nft *n)
{
	if (n->fd < 0)
		return "CONFIG_NETFILTER_NETLINK";
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		struct nft_batch b;
		nft_begin(&b, n, parts[i].family, PROBE_TABLE);
		nft_table_add(&b);
		nft_chain_add(&b, PROBE_CHAIN, parts[i].hook);
		if (parts[i].rule.counter)
			nft_counter_add(&b, parts[i].rule.counter);
		if (parts[i].rule.chain)
			nft_rule(&b, &parts[i].rule);
		nft_table_del(&b);
		int err = nft_commit(&b);
		if (err && err != -EPERM && err != -ENOMEM && err != -ENOBUFS)
			return parts[i].option;
	}
	return NULL;
}
