/*
 * Rules on the host: table inet "mica…", ours alone.
 *
 *   input     what an isolated VM sends to the host's own addresses: only what its policy names
 *   forward   … and to other VMs; nothing from outside begins a flow to one
 *   output    what gate sends by UDP: questions to DNS servers, and answers
 *   nat-NAME  address translation of a bridge's subnet or a group's range
 *   vm-LINK   what that VM's policy names
 *
 * The VM's own namespace has judged every packet before (nft_ns.c): this is the wall behind the wall, which also holds for addresses that the host
 * got later.
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <stdio.h>
#include <string.h>

#include "api/netd/netd.h"
#include "lib/sandbox/sandbox.h"

#define ANY_VM NETD_LINK_PREFIX "*"

static const struct nft_hook
	input = {.type = "filter", .hook = NF_INET_LOCAL_IN, .priority = NF_IP_PRI_FILTER},
	forward = {.type = "filter", .hook = NF_INET_FORWARD, .priority = NF_IP_PRI_FILTER},
	output = {.type = "filter", .hook = NF_INET_LOCAL_OUT, .priority = NF_IP_PRI_FILTER},
	postrouting = {.type = "nat", .hook = NF_INET_POST_ROUTING, .priority = NF_IP_PRI_NAT_SRC};

static void put_base(struct nft_batch *b)
{
	static const uint8_t dns[2] = {0, 53};
	static const struct nft_rule rules[] = {
		/* Landlock holds its TCP to that port, but knows no UDP */
		{.chain = "output", .uid = SANDBOX_UID_BASE + 4, .proto = IPPROTO_UDP, .n_raw = 2, .raw = {{3, 0, 2, dns, true}, {3, 2, 2, dns, true}}, .then = NFT_THEN_DROP},
		{.chain = "input", .ct = NFT_CT_ESTABLISHED | NFT_CT_RELATED, .then = NFT_THEN_ACCEPT},
		{.chain = "input", .vmap_in = "vms"},
		{.chain = "input", .in_set = "links", .then = NFT_THEN_REFUSE},
		{.chain = "forward", .ct = NFT_CT_ESTABLISHED | NFT_CT_RELATED, .then = NFT_THEN_ACCEPT},
		{.chain = "forward", .vmap_in = "vms"},
		{.chain = "forward", .in_set = "links", .out = ANY_VM, .then = NFT_THEN_DROP},
		{.chain = "forward", .in_set = "links", .out_set = "bridges", .then = NFT_THEN_DROP},
		{.chain = "forward", .in = ANY_VM, .in_not = true, .out_set = "links", .then = NFT_THEN_DROP},
	};
	nft_table_add(b);
	nft_set_add(b, "links", NFT_KEY_LINK, 0);
	nft_set_add(b, "bridges", NFT_KEY_LINK, 0);
	nft_set_add(b, "vms", NFT_KEY_LINK, NFT_SET_OF_VERDICTS);
	nft_chain_add(b, "input", &input);
	nft_chain_add(b, "forward", &forward);
	nft_chain_add(b, "output", &output);
	nft_chain_flush(b, "output");
	nft_chain_flush(b, "input");
	nft_chain_flush(b, "forward");
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		nft_rule(b, &rules[i]);
}

static void nat_chain(const struct range *r, char out[NFT_CHAIN_MAX * 2])
{
	snprintf(out, NFT_CHAIN_MAX * 2, "nat-%s%s", r->bridge ? "" : "vms-", r->name);
}

static void bridge_element(struct nft_batch *b, const struct range *r, bool add)
{
	char name[IFNAMSIZ] = "";
	snprintf(name, sizeof name, "%.15s", r->name);
	struct nft_elem e = {.key = name, .key_bytes = sizeof name};
	nft_elem_add(b, "bridges", &e);
	if (!add)
		nft_elem_del(b, "bridges", &e);
}

/* A bridge's VMs keep their addresses on the bridge; those of isolated VMs show on links of ours only. */
static void put_range(struct nft_batch *b, const struct range *r)
{
	char chain[NFT_CHAIN_MAX * 2];
	const struct net_addr *const nets[] = {&r->net4, &r->net6};
	nat_chain(r, chain);
	nft_chain_add(b, chain, &postrouting);
	nft_chain_flush(b, chain);
	for (size_t i = 0; i < ARRAY_LEN(nets); i++) {
		struct nft_rule rule = {.chain = chain, .family = nets[i]->family, .src = nets[i]->a, .src_bits = nets[i]->bits, .out_not = true,
					.then = NFT_THEN_MASQUERADE};
		if (!nets[i]->family)
			continue;
		rule.out = r->bridge ? r->name : ANY_VM;
		if (!r->bridge) {
			rule.out_set = "bridges";
			rule.out_set_not = true;
		}
		nft_rule(b, &rule);
	}
	if (r->bridge)
		bridge_element(b, r, true);
}

static void link_key(const struct iso *i, char key[IFNAMSIZ])
{
	memset(key, 0, IFNAMSIZ);
	memcpy(key, i->link, strnlen(i->link, IFNAMSIZ - 1));
}

static void put_iso(struct nft_batch *b, const struct iso *i)
{
	char chain[NFT_CHAIN_MAX], key[IFNAMSIZ];
	snprintf(chain, sizeof chain, "vm-%s", i->link);
	link_key(i, key);
	nft_chain_add(b, chain, NULL);
	nft_chain_flush(b, chain);
	for (size_t k = 0; k < i->n_rules; k++) {
		const struct iso_rule *e = &i->rules[k];
		struct nft_rule r = {.chain = chain, .family = e->net.family, .dst = e->net.a, .dst_bits = e->net.bits, .proto = e->proto, .port = e->port,
				     .then = NFT_THEN_ACCEPT};
		if (!e->allow || !e->explicit_)
			continue;
		if (e->port && !e->proto) {
			r.proto = 6;
			nft_rule(b, &r);
			r.proto = 17;
		}
		nft_rule(b, &r);
	}
	nft_elem_add(b, "links", &(struct nft_elem){.key = key, .key_bytes = sizeof key});
	nft_elem_add(b, "vms", &(struct nft_elem){.key = key, .key_bytes = sizeof key, .chain = chain, .jump = true});
}

int nft_host_base(struct netd *n, struct fault *f)
{
	struct nft_batch b;
	nft_begin(&b, &n->nft, NFPROTO_INET, n->table);
	put_base(&b);
	int err = n->nft.fd < 0 ? -EPROTONOSUPPORT : nft_commit(&b);
	if (n->nft.fd < 0)
		buf_done(&b.out);
	if (!err)
		return 0;
	const char *option = nft_missing(&n->nft);
	return fault_set(f, err, "no rules can be set: %s%s%s [E_NFT_MISSING]", strerror(-err), option ? ": the host's kernel needs " : "", option ? option : "");
}

int nft_host_range(struct netd *n, const struct range *r, bool up)
{
	struct nft_batch b;
	char chain[NFT_CHAIN_MAX * 2];
	nat_chain(r, chain);
	nft_begin(&b, &n->nft, NFPROTO_INET, n->table);
	if (up) {
		put_range(&b, r);
		return nft_commit(&b);
	}
	nft_chain_add(&b, chain, &postrouting); /* so that there is one to delete */
	nft_chain_del(&b, chain);
	if (r->bridge)
		bridge_element(&b, r, false);
	return nft_commit(&b);
}

int nft_host_iso(struct netd *n, struct iso *i, bool up)
{
	struct nft_batch b;
	char chain[NFT_CHAIN_MAX], key[IFNAMSIZ];
	if (!up && !i->on_host)
		return 0;
	snprintf(chain, sizeof chain, "vm-%s", i->link);
	link_key(i, key);
	nft_begin(&b, &n->nft, NFPROTO_INET, n->table);
	if (up) {
		put_iso(&b, i);
	} else {
		nft_elem_del(&b, "links", &(struct nft_elem){.key = key, .key_bytes = sizeof key});
		nft_elem_del(&b, "vms", &(struct nft_elem){.key = key, .key_bytes = sizeof key});
		nft_chain_del(&b, chain);
	}
	int err = nft_commit(&b);
	if (!err)
		i->on_host = up;
	return err;
}

static void put_none(struct nft_batch *b)
{
	static const uint8_t families[] = {NFPROTO_NETDEV, NFPROTO_INET};
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		nft_family(b, families[i]);
		nft_table_add(b); /* so that there is one to delete */
		nft_table_del(b);
	}
}

int nft_host_none(struct netd *n)
{
	struct nft_batch b;
	nft_begin(&b, &n->nft, NFPROTO_INET, n->table);
	put_none(&b);
	return nft_commit(&b);
}

/* The tables as they shall be, in place of those that an earlier netd left. */
int nft_host_all(struct netd *n)
{
	struct nft_batch b;
	nft_begin(&b, &n->nft, NFPROTO_INET, n->table);
	put_none(&b);
	put_base(&b);
	for (const struct range *r = n->ranges; r; r = r->next)
		put_range(&b, r);
	for (const struct iso *i = n->isos; i; i = i->next)
		if (!i->bridge[0])
			put_iso(&b, i);
	if (n->guards) {
		nft_family(&b, NFPROTO_NETDEV);
		nft_table_add(&b);
		for (const struct guard *g = n->guards; g; g = g->next)
			nft_tap_put(&b, g);
	}
	int err = nft_commit(&b);
	for (struct iso *i = n->isos; i && !err; i = i->next)
		i->on_host = !i->bridge[0];
	return err;
}
