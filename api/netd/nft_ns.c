/*
 * Rules in the namespace of an isolated VM: table inet "mica", written anew as a whole for every policy.
 *
 *   prerouting, before conntrack   who the guest says it is: its own addresses or nothing
 *   input                          the gateway: DNS and echo, nothing else
 *   output                         answers only: nothing in the namespace begins a flow to the outside
 *   forward                        flows that run; from outside: peers only; from the guest: chain "policy"
 *   policy …                       nft_policy.c
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <stdio.h>
#include <string.h>

#include "api/netd/netd.h"

#define TAP NETD_NS_TAP
#define UP NETD_NS_UP

static const struct nft_hook
	before = {.type = "filter", .hook = NF_INET_PRE_ROUTING, .priority = NF_IP_PRI_RAW},
	input = {.type = "filter", .hook = NF_INET_LOCAL_IN, .drop = true},
	output = {.type = "filter", .hook = NF_INET_LOCAL_OUT},
	forward = {.type = "filter", .hook = NF_INET_FORWARD, .drop = true};

/* ---- the chains ---- */

static void put_before(struct nft_batch *b, const struct iso *i)
{
	static const uint8_t link_local[16] = {0xfe, 0x80}, none[16];
	const struct nft_rule rules[] = {
		{.in = TAP, .family = 4, .src = i->guest4.a, .src_bits = 32, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 6, .src = i->guest6.a, .src_bits = 128, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 6, .src = link_local, .src_bits = 10, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 6, .src = none, .src_bits = 128, .then = NFT_THEN_ACCEPT}, /* looking for a duplicate of its address */
		{.in = TAP, .counter = "spoofed", .then = NFT_THEN_DROP},
	};
	nft_counter_add(b, "spoofed");
	nft_chain_add(b, "before", &before);
	for (size_t k = 0; k < ARRAY_LEN(rules); k++) {
		struct nft_rule r = rules[k];
		r.chain = "before";
		if (r.family != 6 || i->guest6.family)
			nft_rule(b, &r);
	}
}

static void put_input(struct nft_batch *b, const struct iso *i)
{
	const uint8_t *gw4 = i->gw4.a, *gw6 = i->gw6.a;
	const struct nft_rule rules[] = {
		{.in = "lo", .then = NFT_THEN_ACCEPT},
		{.ct = NFT_CT_ESTABLISHED | NFT_CT_RELATED, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 4, .proto = IPPROTO_UDP, .dst = gw4, .dst_bits = 32, .port = 53, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 4, .proto = IPPROTO_TCP, .dst = gw4, .dst_bits = 32, .port = 53, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 4, .proto = IPPROTO_ICMP, .dst = gw4, .dst_bits = 32, .icmp = 1 + 8, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 6, .proto = IPPROTO_UDP, .dst = gw6, .dst_bits = 128, .port = 53, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 6, .proto = IPPROTO_TCP, .dst = gw6, .dst_bits = 128, .port = 53, .then = NFT_THEN_ACCEPT},
		{.in = TAP, .family = 6, .proto = IPPROTO_ICMPV6, .icmp = 1 + 128, .then = NFT_THEN_ACCEPT}, /* echo */
		{.in = TAP, .family = 6, .proto = IPPROTO_ICMPV6, .icmp = 1 + 133, .then = NFT_THEN_ACCEPT}, /* router solicitation: unheard */
		{.in = TAP, .family = 6, .proto = IPPROTO_ICMPV6, .icmp = 1 + 135, .then = NFT_THEN_ACCEPT}, /* neighbour solicitation */
		{.in = TAP, .family = 6, .proto = IPPROTO_ICMPV6, .icmp = 1 + 136, .then = NFT_THEN_ACCEPT}, /* neighbour advertisement */
		{.in = TAP, .then = NFT_THEN_GOTO, .to = NFT_LAN},
	};
	nft_chain_add(b, "input", &input);
	for (size_t k = 0; k < ARRAY_LEN(rules); k++) {
		struct nft_rule r = rules[k];
		r.chain = "input";
		if (r.family != 6 || i->guest6.family)
			nft_rule(b, &r);
	}
}

/* Each flow stands in the host's table of flows as well, which all VMs share: one VM shall not fill it. */
static void put_forward(struct nft_batch *b, bool count_flows)
{
	static const struct nft_rule rules[] = {
		{.chain = "output", .ct = NFT_CT_ESTABLISHED | NFT_CT_RELATED, .then = NFT_THEN_ACCEPT},
		{.chain = "output", .out = UP, .then = NFT_THEN_DROP},
		{.chain = "forward", .ct = NFT_CT_ESTABLISHED | NFT_CT_RELATED, .then = NFT_THEN_ACCEPT},
		{.chain = "forward", .ct = NFT_CT_INVALID, .then = NFT_THEN_DROP},
		/* A VM whose policy names this one. Others hear nothing: what comes late for a flow that was judged again shall not end it. */
		{.chain = "forward", .in = UP, .out = TAP, .family = 4, .src_set = "peers4", .then = NFT_THEN_ACCEPT},
		{.chain = "forward", .in = UP, .out = TAP, .family = 6, .src_set = "peers6", .then = NFT_THEN_ACCEPT},
		{.chain = "forward", .in = TAP, .out = UP, .flows_over = NFT_FLOWS_MAX, .then = NFT_THEN_GOTO, .to = NFT_FLOWS},
		{.chain = "forward", .in = TAP, .out = UP, .then = NFT_THEN_GOTO, .to = "policy"},
		{.chain = "forward", .in = TAP, .then = NFT_THEN_GOTO, .to = NFT_LAN},
	};
	nft_chain_add(b, "output", &output);
	nft_chain_add(b, "forward", &forward);
	for (size_t k = 0; k < ARRAY_LEN(rules); k++)
		if (count_flows || !rules[k].flows_over)
			nft_rule(b, &rules[k]);
}

static void put_peers(struct nft_batch *b, const struct netd *n, const struct iso *i)
{
	for (const struct iso *o = n->isos; o; o = o->next) {
		if (o != i && iso_names(o, &i->guest4))
			nft_elem_add(b, "peers4", &(struct nft_elem){.key = o->guest4.a, .key_bytes = 4});
		if (o != i && i->guest6.family && o->guest6.family && iso_names(o, &i->guest6))
			nft_elem_add(b, "peers6", &(struct nft_elem){.key = o->guest6.a, .key_bytes = 16});
	}
}

static int write_policy(struct netd *n, struct iso *i, bool count_flows)
{
	struct nft_batch b;
	nft_begin(&b, &i->nft, NFPROTO_INET, i->table);
	nft_table_add(&b); /* so that there is one to delete */
	nft_table_del(&b);
	nft_table_add(&b);
	int err = nft_policy_put(&b, n, i);
	put_before(&b, i);
	put_input(&b, i);
	put_forward(&b, count_flows);
	put_peers(&b, n, i);
	int failed = nft_commit(&b);
	if (!failed)
		memset(i->opened, 0, sizeof i->opened);
	return err ? err : failed;
}

int nft_ns_policy(struct netd *n, struct iso *i)
{
	return nft_policy_limited(n, i, write_policy);
}

/* ---- while it runs ---- */

int nft_ns_peer(struct iso *i, const struct net_addr *a, bool in)
{
	struct nft_batch b;
	struct nft_elem e = {.key = a->a, .key_bytes = net_addr_bytes(a)};
	const char *set = a->family == 6 ? "peers6" : "peers4";
	nft_begin(&b, &i->nft, NFPROTO_INET, i->table);
	nft_elem_add(&b, set, &e);
	if (!in)
		nft_elem_del(&b, set, &e);
	return nft_commit(&b);
}
