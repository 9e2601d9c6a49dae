/*
 * Rules in the namespace of an isolated VM: table inet "mica", written anew as a whole for every policy.
 *
 *   prerouting, before conntrack   who the guest says it is: its own addresses or nothing
 *   input                          the gateway: DNS and echo, nothing else
 *   output                         answers only: nothing in the namespace begins a flow to the outside
 *   forward                        flows that run; from outside: peers only; from the guest: chain "policy"
 *   policy                         in order: explicit allow, builtin denials, addresses opened by name, allow of everything, drop, default
 *   "+id", "-id"                   a chain for each deciding rule: counts, tells NFLOG (not more often than it can bear, the rest counted), then the verdict
 *
 * Addresses opened by name stand behind the builtin denials, so that no DNS answer reaches what an address entry must name.
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
#include <sys/socket.h>

#include "api/netd/netd.h"

#define TABLE "mica"
#define TAP NETD_NS_TAP
#define UP NETD_NS_UP
#define ID_MAX 24
#define UNLOGGED "~" /* behind a counter's name: flows the log was not told of */
enum { LOGS_PER_S = 200, FLOWS_MAX = 8192 };

#define METADATA "-builtin:metadata"
#define LAN "-builtin:lan"
#define FLOWS "-builtin:flows"

/* What nobody reaches unless an entry names it. lib/policy says the same. */
static const struct {
	const char *id;
	uint8_t family, bits, a[16];
} builtin[] = {
	{METADATA, 4, 16, {169, 254}},
	{METADATA, 6, 10, {0xfe, 0x80}},
	{METADATA, 6, 128, {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}},
	{LAN, 4, 8, {0}},
	{LAN, 4, 8, {10}},
	{LAN, 4, 10, {100, 64}},
	{LAN, 4, 8, {127}},
	{LAN, 4, 12, {172, 16}},
	{LAN, 4, 16, {192, 168}},
	{LAN, 4, 3, {224}},
	{LAN, 6, 7, {0xfc}},
	{LAN, 6, 8, {0xff}},
	{LAN, 6, 127, {0}},
};

static const struct nft_hook
	before = {.type = "filter", .hook = NF_INET_PRE_ROUTING, .priority = NF_IP_PRI_RAW},
	input = {.type = "filter", .hook = NF_INET_LOCAL_IN, .drop = true},
	output = {.type = "filter", .hook = NF_INET_LOCAL_OUT},
	forward = {.type = "filter", .hook = NF_INET_FORWARD, .drop = true};

/* ---- a chain that decides ---- */

static void decider(struct nft_batch *b, const char *id)
{
	char unlogged[ID_MAX + sizeof UNLOGGED];
	enum nft_verdict v = id[0] == '+' ? NFT_THEN_ACCEPT : NFT_THEN_GOTO;
	snprintf(unlogged, sizeof unlogged, "%s" UNLOGGED, id);
	nft_counter_add(b, id);
	nft_counter_add(b, unlogged);
	nft_chain_add(b, id, NULL);
	nft_rule(b, &(struct nft_rule){.chain = id, .counter = id, .limit_per_s = LOGS_PER_S, .log = id, .then = v, .to = "refuse"});
	nft_rule(b, &(struct nft_rule){.chain = id, .counter = unlogged, .then = v, .to = "refuse"});
}

static void rule_id(char out[ID_MAX], bool allow, unsigned index)
{
	snprintf(out, ID_MAX, "%s[%u]", allow ? "+allow" : "-drop", index);
}

static void make_deciders(struct nft_batch *b, const struct iso *i)
{
	uint8_t made[2][NETD_RULES_MAX / 8] = {{0}};
	char id[ID_MAX];
	static const char *const fixed[] = {METADATA, LAN, FLOWS, "+default:allow", "-default:deny"};
	for (size_t k = 0; k < ARRAY_LEN(fixed); k++)
		decider(b, fixed[k]);
	for (size_t k = 0; k < i->n_rules; k++) {
		const struct iso_rule *r = &i->rules[k];
		uint8_t *byte = &made[r->allow][r->index / 8], bit = (uint8_t)(1u << r->index % 8);
		if (*byte & bit)
			continue;
		*byte |= bit;
		rule_id(id, r->allow, r->index);
		decider(b, id);
	}
}

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
		{.in = TAP, .then = NFT_THEN_GOTO, .to = LAN},
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
		{.chain = "forward", .in = TAP, .out = UP, .flows_over = FLOWS_MAX, .then = NFT_THEN_GOTO, .to = FLOWS},
		{.chain = "forward", .in = TAP, .out = UP, .then = NFT_THEN_GOTO, .to = "policy"},
		{.chain = "forward", .in = TAP, .then = NFT_THEN_GOTO, .to = LAN},
	};
	nft_chain_add(b, "output", &output);
	nft_chain_add(b, "forward", &forward);
	for (size_t k = 0; k < ARRAY_LEN(rules); k++)
		if (count_flows || !rules[k].flows_over)
			nft_rule(b, &rules[k]);
}

static void put_entry(struct nft_batch *b, const struct iso_rule *e)
{
	char id[ID_MAX];
	struct nft_rule r = {.chain = "policy", .family = e->net.family, .proto = e->proto, .port = e->port, .then = NFT_THEN_GOTO, .to = id};
	rule_id(id, e->allow, e->index);
	if (e->net.bits) {
		r.dst = e->net.a;
		r.dst_bits = e->net.bits;
	}
	if (e->port && !e->proto) { /* TCP and UDP */
		r.proto = IPPROTO_TCP;
		nft_rule(b, &r);
		r.proto = IPPROTO_UDP;
	}
	nft_rule(b, &r);
}

static void put_entries(struct nft_batch *b, const struct iso *i, bool allow, bool explicit_)
{
	for (size_t k = 0; k < i->n_rules; k++)
		if (i->rules[k].allow == allow && (!allow || i->rules[k].explicit_ == explicit_))
			put_entry(b, &i->rules[k]);
}

static void put_builtin(struct nft_batch *b)
{
	for (size_t k = 0; k < ARRAY_LEN(builtin); k++)
		nft_rule(b, &(struct nft_rule){.chain = "policy", .family = builtin[k].family, .dst = builtin[k].a, .dst_bits = builtin[k].bits,
					       .then = NFT_THEN_GOTO, .to = builtin[k].id});
	nft_rule(b, &(struct nft_rule){.chain = "policy", .family = 4, .dst_set = "own4", .then = NFT_THEN_GOTO, .to = LAN});
	nft_rule(b, &(struct nft_rule){.chain = "policy", .family = 6, .dst_set = "own6", .then = NFT_THEN_GOTO, .to = LAN});
}

static void put_opened(struct nft_batch *b)
{
	static const struct nft_rule rules[] = {
		{.chain = "policy", .family = 4, .vmap_dst = "open4"},
		{.chain = "policy", .family = 6, .vmap_dst = "open6"},
		{.chain = "policy", .family = 4, .proto = IPPROTO_TCP, .vmap_dst = "port4", .vmap_port = true},
		{.chain = "policy", .family = 4, .proto = IPPROTO_UDP, .vmap_dst = "port4", .vmap_port = true},
		{.chain = "policy", .family = 6, .proto = IPPROTO_TCP, .vmap_dst = "port6", .vmap_port = true},
		{.chain = "policy", .family = 6, .proto = IPPROTO_UDP, .vmap_dst = "port6", .vmap_port = true},
	};
	for (size_t k = 0; k < ARRAY_LEN(rules); k++)
		nft_rule(b, &rules[k]);
}

static void put_policy(struct nft_batch *b, const struct iso *i)
{
	put_entries(b, i, true, true);
	put_builtin(b);
	put_opened(b);
	put_entries(b, i, true, false);
	put_entries(b, i, false, false);
	nft_rule(b, &(struct nft_rule){.chain = "policy", .then = NFT_THEN_GOTO, .to = i->default_allow ? "+default:allow" : "-default:deny"});
}

/* ---- sets ---- */

static void make_sets(struct nft_batch *b)
{
	static const struct { const char *name; enum nft_key key; unsigned flags; } sets[] = {
		{"own4", NFT_KEY_ADDR4, 0}, {"own6", NFT_KEY_ADDR6, 0}, {"peers4", NFT_KEY_ADDR4, 0}, {"peers6", NFT_KEY_ADDR6, 0},
		{"open4", NFT_KEY_ADDR4, NFT_SET_OF_VERDICTS | NFT_SET_TIMED}, {"open6", NFT_KEY_ADDR6, NFT_SET_OF_VERDICTS | NFT_SET_TIMED},
		{"port4", NFT_KEY_ADDR4_PORT, NFT_SET_OF_VERDICTS | NFT_SET_TIMED}, {"port6", NFT_KEY_ADDR6_PORT, NFT_SET_OF_VERDICTS | NFT_SET_TIMED},
	};
	for (size_t k = 0; k < ARRAY_LEN(sets); k++)
		nft_set_add(b, sets[k].name, sets[k].key, sets[k].flags);
}

static void add_own(void *arg, const struct net_addr *a)
{
	nft_elem_add(arg, a->family == 6 ? "own6" : "own4", &(struct nft_elem){.key = a->a, .key_bytes = net_addr_bytes(a)});
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
	nft_begin(&b, &i->nft, NFPROTO_INET, TABLE);
	nft_table_add(&b); /* so that there is one to delete */
	nft_table_del(&b);
	nft_table_add(&b);
	make_sets(&b);
	nft_chain_add(&b, "refuse", NULL);
	nft_rule(&b, &(struct nft_rule){.chain = "refuse", .then = NFT_THEN_REFUSE});
	make_deciders(&b, i);
	nft_chain_add(&b, "policy", NULL);
	put_before(&b, i);
	put_input(&b, i);
	put_forward(&b, count_flows);
	put_policy(&b, i);
	int err = rtnl_each_addr(&n->rtnl, add_own, &b);
	put_peers(&b, n, i);
	if (err)
		b.out.failed = true;
	int failed = nft_commit(&b);
	if (!failed)
		memset(i->opened, 0, sizeof i->opened);
	return err ? err : failed;
}

int nft_ns_policy(struct netd *n, struct iso *i)
{
	int err = write_policy(n, i, !n->no_flow_limit);
	if (err != -ENOENT || n->no_flow_limit)
		return err;
	err = write_policy(n, i, false); /* a kernel without CONFIG_NFT_CONNLIMIT */
	n->no_flow_limit = !err;
	return err;
}

/* ---- while it runs ---- */

int nft_ns_open(struct iso *i, const struct net_addr *a, uint16_t port, unsigned rule, uint64_t ttl_s)
{
	struct nft_batch b;
	char id[ID_MAX];
	uint8_t key[20] = {0};
	unsigned n = net_addr_bytes(a);
	const char *set = a->family == 6 ? (port ? "port6" : "open6") : port ? "port4" : "open4";
	bool have = i->opened[rule / 8] & 1u << rule % 8;
	for (size_t k = 0; k < i->n_rules && !have; k++)
		have = i->rules[k].allow && i->rules[k].index == rule;
	rule_id(id, true, rule);
	memcpy(key, a->a, n);
	if (port) {
		key[n] = (uint8_t)(port >> 8);
		key[n + 1] = (uint8_t)port;
		n += 4;
	}
	struct nft_elem e = {.key = key, .key_bytes = n, .chain = id, .timeout_ms = ttl_s * 1000};
	int err = -ENOENT;
	/* An element that stands would keep its time and its rule, so it goes first; when there was none that fails, and it is made alone. */
	for (int again = 0; (err == -ENOENT || err == -EEXIST || err == -EBUSY) && again < 3; again++) {
		nft_begin(&b, &i->nft, NFPROTO_INET, TABLE);
		if (!have)
			decider(&b, id);
		if (again != 1)
			nft_elem_del(&b, set, &e);
		nft_elem_add(&b, set, &e);
		err = nft_commit(&b);
	}
	if (!err)
		i->opened[rule / 8] |= (uint8_t)(1u << rule % 8);
	return err;
}

int nft_ns_peer(struct iso *i, const struct net_addr *a, bool in)
{
	struct nft_batch b;
	struct nft_elem e = {.key = a->a, .key_bytes = net_addr_bytes(a)};
	const char *set = a->family == 6 ? "peers6" : "peers4";
	nft_begin(&b, &i->nft, NFPROTO_INET, TABLE);
	nft_elem_add(&b, set, &e);
	if (!in)
		nft_elem_del(&b, set, &e);
	return nft_commit(&b);
}
