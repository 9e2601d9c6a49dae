/*
 * Rules for a VM on a bridge whose policy says what it may reach: a table of its own on the host, inet "mica-OWNER.TAP", written anew as a whole for every policy. It
 * is known by its addresses on that bridge, which its tap's guard holds it to (nft_tap.c). What goes from one VM of a bridge to another is not seen here: frames
 * pass between taps below IP.
 *
 *   forward    what it sends beyond the bridge: flows that run, else chain "policy" (nft_policy.c)
 *   input      … to the host's own addresses: DNS and echo at the gateway, neighbours, else the same chain: the host is reached where an entry names it
 *
 * What others begin to it is not judged: its answers are flows that run.
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>

#include "api/netd/netd.h"

enum { SWEEP_MAX = 256 };

static const struct nft_hook
	input = {.type = "filter", .hook = NF_INET_LOCAL_IN, .priority = NF_IP_PRI_FILTER},
	forward = {.type = "filter", .hook = NF_INET_FORWARD, .priority = NF_IP_PRI_FILTER};

static void put_all(struct nft_batch *b, const struct iso *i, const struct nft_rule *rules, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (rules[k].family != 6 || i->guest6.family)
			nft_rule(b, &rules[k]);
}

static void put_forward(struct nft_batch *b, const struct iso *i, bool count_flows)
{
	const struct nft_rule rules[] = {
		{.chain = "forward", .in = i->bridge, .out = i->bridge, .then = NFT_THEN_ACCEPT}, /* where br_netfilter shows frames here */
		{.chain = "forward", .in = i->bridge, .family = 4, .src = i->guest4.a, .src_bits = 32, .then = NFT_THEN_GOTO, .to = "beyond"},
		{.chain = "forward", .in = i->bridge, .family = 6, .src = i->guest6.a, .src_bits = 128, .then = NFT_THEN_GOTO, .to = "beyond"},
		{.chain = "beyond", .ct = NFT_CT_ESTABLISHED | NFT_CT_RELATED, .then = NFT_THEN_ACCEPT},
		{.chain = "beyond", .ct = NFT_CT_INVALID, .then = NFT_THEN_DROP},
		{.chain = "beyond", .flows_over = NFT_FLOWS_MAX, .then = NFT_THEN_GOTO, .to = NFT_FLOWS},
		{.chain = "beyond", .then = NFT_THEN_GOTO, .to = "policy"},
	};
	nft_chain_add(b, "beyond", NULL);
	nft_chain_add(b, "forward", &forward);
	for (size_t k = 0; k < ARRAY_LEN(rules); k++)
		if ((rules[k].family != 6 || i->guest6.family) && (count_flows || !rules[k].flows_over))
			nft_rule(b, &rules[k]);
}

static void put_input(struct nft_batch *b, const struct iso *i)
{
	const uint8_t *gw4 = i->gw4.a, *gw6 = i->gw6.a;
	/* RFC 4291 appendix A; only neighbours are spoken to from it */
	const uint8_t local[16] = {0xfe, 0x80, [8] = (uint8_t)(i->mac[0] ^ 2), i->mac[1], i->mac[2], 0xff, 0xfe, i->mac[3], i->mac[4], i->mac[5]};
	const struct nft_rule rules[] = {
		{.chain = "input", .in = i->bridge, .family = 4, .src = i->guest4.a, .src_bits = 32, .then = NFT_THEN_GOTO, .to = "host"},
		{.chain = "input", .in = i->bridge, .family = 6, .src = i->guest6.a, .src_bits = 128, .then = NFT_THEN_GOTO, .to = "host"},
		{.chain = "input", .in = i->bridge, .family = 6, .src = local, .src_bits = 128, .then = NFT_THEN_GOTO, .to = "near"},
		{.chain = "near", .family = 6, .proto = IPPROTO_ICMPV6, .then = NFT_THEN_ACCEPT},
		{.chain = "near", .family = 6, .ct = NFT_CT_ESTABLISHED | NFT_CT_RELATED, .then = NFT_THEN_ACCEPT},
		{.chain = "near", .then = NFT_THEN_DROP},
		{.chain = "host", .ct = NFT_CT_ESTABLISHED | NFT_CT_RELATED, .then = NFT_THEN_ACCEPT},
		{.chain = "host", .family = 4, .proto = IPPROTO_UDP, .dst = gw4, .dst_bits = 32, .port = 53, .then = NFT_THEN_ACCEPT},
		{.chain = "host", .family = 4, .proto = IPPROTO_TCP, .dst = gw4, .dst_bits = 32, .port = 53, .then = NFT_THEN_ACCEPT},
		{.chain = "host", .family = 4, .proto = IPPROTO_ICMP, .dst = gw4, .dst_bits = 32, .icmp = 1 + 8, .then = NFT_THEN_ACCEPT},
		{.chain = "host", .family = 6, .proto = IPPROTO_UDP, .dst = gw6, .dst_bits = 128, .port = 53, .then = NFT_THEN_ACCEPT},
		{.chain = "host", .family = 6, .proto = IPPROTO_TCP, .dst = gw6, .dst_bits = 128, .port = 53, .then = NFT_THEN_ACCEPT},
		{.chain = "host", .family = 6, .proto = IPPROTO_ICMPV6, .icmp = 1 + 128, .dst = gw6, .dst_bits = 128, .then = NFT_THEN_ACCEPT}, /* echo */
		{.chain = "host", .family = 6, .proto = IPPROTO_ICMPV6, .icmp = 1 + 135, .then = NFT_THEN_ACCEPT}, /* neighbour solicitation */
		{.chain = "host", .family = 6, .proto = IPPROTO_ICMPV6, .icmp = 1 + 136, .then = NFT_THEN_ACCEPT}, /* neighbour advertisement */
		{.chain = "host", .then = NFT_THEN_GOTO, .to = "policy"},
	};
	nft_chain_add(b, "near", NULL);
	nft_chain_add(b, "host", NULL);
	nft_chain_add(b, "input", &input);
	put_all(b, i, rules, ARRAY_LEN(rules));
}

static int write_policy(struct netd *n, struct iso *i, bool count_flows)
{
	struct nft_batch b;
	nft_begin(&b, &i->nft, NFPROTO_INET, i->table);
	b.log_group = i->log_group;
	nft_table_add(&b); /* so that there is one to delete */
	nft_table_del(&b);
	nft_table_add(&b);
	int err = nft_policy_put(&b, n, i);
	put_forward(&b, i, count_flows);
	put_input(&b, i);
	int failed = nft_commit(&b);
	if (!failed)
		memset(i->opened, 0, sizeof i->opened);
	return err ? err : failed;
}

int nft_bridge_policy(struct netd *n, struct iso *i)
{
	return nft_policy_limited(n, i, write_policy);
}

int nft_bridge_none(struct netd *n, const char *table)
{
	struct nft_batch b;
	nft_begin(&b, &n->nft, NFPROTO_INET, table);
	nft_table_add(&b); /* so that there is one to delete */
	nft_table_del(&b);
	return nft_commit(&b);
}

/* ---- what an earlier netd left ---- */

struct sweep {
	const struct netd *n;
	bool (*kept)(const void *arg, const char *tap);
	const void *arg;
	unsigned count;
	char names[SWEEP_MAX][sizeof((struct iso *)0)->table];
};

static void take_table(void *arg, const struct nft_bytes *m)
{
	struct sweep *s = arg;
	struct nft_bytes name;
	size_t own = strlen(s->n->table);
	if (s->count == SWEEP_MAX || !nft_attr(m->p, m->n, NFTA_TABLE_NAME, &name) || !name.n || name.n > sizeof s->names[0] || name.p[name.n - 1])
		return;
	const char *text = (const char *)name.p;
	if (strncmp(text, s->n->table, own) != 0 || text[own] != '.')
		return;
	for (const struct iso *i = s->n->isos; i; i = i->next)
		if (strcmp(i->table, text) == 0)
			return;
	if (s->kept && s->kept(s->arg, text + own + 1))
		return;
	memcpy(s->names[s->count++], text, name.n);
}

int nft_bridge_sweep(struct netd *n, bool (*kept)(const void *, const char *), const void *arg)
{
	static struct sweep s; /* one thread; too large for the stack */
	struct nft_batch b = {.nft = &n->nft};
	int err;
	do {
		s.n = n;
		s.kept = kept;
		s.arg = arg;
		s.count = 0;
		buf_init(&b.out, 256);
		nft_message(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_DUMP, NFPROTO_INET, 0);
		err = nft_dump(&b, take_table, &s);
		for (unsigned i = 0; i < s.count && !err; i++)
			err = nft_bridge_none(n, s.names[i]);
	} while (!err && s.count == SWEEP_MAX);
	return err;
}
