/*
 * The rules that a policy becomes, in the table of one VM (i->table: in its namespace, or on the host for one on a bridge). What comes there, and from whom, the base
 * chains say (nft_ns.c, nft_bridge.c).
 *
 *   policy        in order: explicit allow, builtin denials, addresses opened by name, allow of everything, drop, default
 *   "+id", "-id"  a chain for each deciding rule: counts, tells NFLOG (not more often than it can bear, the rest counted), then the verdict
 *
 * Addresses opened by name stand behind the builtin denials, so that no DNS answer reaches what an address entry must name.
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>

#include "api/netd/netd.h"

#define ID_MAX 24
#define UNLOGGED "~" /* behind a counter's name: flows the log was not told of */
enum { LOGS_PER_S = 200 };

#define METADATA "-builtin:metadata"

/* What nobody reaches unless an entry names it. lib/policy says the same. */
static const struct {
	const char *id;
	uint8_t family, bits, a[16];
} builtin[] = {
	{METADATA, 4, 16, {169, 254}},
	{METADATA, 6, 10, {0xfe, 0x80}},
	{METADATA, 6, 128, {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}},
	{NFT_LAN, 4, 8, {0}},
	{NFT_LAN, 4, 8, {10}},
	{NFT_LAN, 4, 10, {100, 64}},
	{NFT_LAN, 4, 8, {127}},
	{NFT_LAN, 4, 12, {172, 16}},
	{NFT_LAN, 4, 16, {192, 168}},
	{NFT_LAN, 4, 3, {224}},
	{NFT_LAN, 6, 7, {0xfc}},
	{NFT_LAN, 6, 8, {0xff}},
	{NFT_LAN, 6, 127, {0}},
};

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
	static const char *const fixed[] = {METADATA, NFT_LAN, NFT_FLOWS, "+default:allow", "-default:deny"};
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
	nft_rule(b, &(struct nft_rule){.chain = "policy", .family = 4, .dst_set = "own4", .then = NFT_THEN_GOTO, .to = NFT_LAN});
	nft_rule(b, &(struct nft_rule){.chain = "policy", .family = 6, .dst_set = "own6", .then = NFT_THEN_GOTO, .to = NFT_LAN});
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

/* Networks of ours, whatever addresses they have: from a bridge other VMs are reached by name only, as from a namespace (nft_host.c). */
static void put_ranges(struct nft_batch *b, const struct netd *n)
{
	for (const struct range *r = n->ranges; r; r = r->next) {
		nft_rule(b, &(struct nft_rule){.chain = "policy", .family = 4, .dst = r->net4.a, .dst_bits = r->net4.bits, .then = NFT_THEN_GOTO, .to = NFT_LAN});
		if (r->net6.family)
			nft_rule(b, &(struct nft_rule){.chain = "policy", .family = 6, .dst = r->net6.a, .dst_bits = r->net6.bits, .then = NFT_THEN_GOTO, .to = NFT_LAN});
	}
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

/* ---- all of it ---- */

int nft_policy_put(struct nft_batch *b, struct netd *n, const struct iso *i)
{
	make_sets(b);
	nft_chain_add(b, "refuse", NULL);
	nft_rule(b, &(struct nft_rule){.chain = "refuse", .then = NFT_THEN_REFUSE});
	make_deciders(b, i);
	nft_chain_add(b, "policy", NULL);
	put_entries(b, i, true, true);
	put_builtin(b);
	if (i->bridge[0])
		put_ranges(b, n);
	put_opened(b);
	put_entries(b, i, true, false);
	put_entries(b, i, false, false);
	nft_rule(b, &(struct nft_rule){.chain = "policy", .then = NFT_THEN_GOTO, .to = i->default_allow ? "+default:allow" : "-default:deny"});
	int err = rtnl_each_addr(&n->rtnl, add_own, b);
	if (err)
		b->out.failed = true;
	return err;
}

/* ---- while it runs ---- */

int nft_policy_open(struct iso *i, const struct net_addr *a, uint16_t port, unsigned rule, uint64_t ttl_s)
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
		nft_begin(&b, &i->nft, NFPROTO_INET, i->table);
		b.log_group = i->log_group;
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

int nft_policy_limited(struct netd *n, struct iso *i, int (*write)(struct netd *n, struct iso *i, bool count_flows))
{
	int err = write(n, i, !n->no_flow_limit);
	if (err != -ENOENT || n->no_flow_limit)
		return err;
	err = write(n, i, false);
	n->no_flow_limit = !err;
	return err;
}
