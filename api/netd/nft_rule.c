/* One rule: its matches as expressions, in the order cheap to dear, then what is counted and told, then the verdict. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "api/netd/nft.h"

/* ---- expressions ---- */

struct expr {
	size_t elem, data;
};

static struct expr open_expr(struct nft_batch *b, const char *name)
{
	struct expr e = {.elem = nft_nest(b, NFTA_LIST_ELEM)};
	nft_put_str(b, NFTA_EXPR_NAME, name);
	e.data = nft_nest(b, NFTA_EXPR_DATA);
	return e;
}

static void close_expr(struct nft_batch *b, struct expr e)
{
	nft_end(b, e.data);
	nft_end(b, e.elem);
}

static void value(struct nft_batch *b, uint16_t type, const void *p, size_t n)
{
	size_t at = nft_nest(b, type);
	nft_put(b, NFTA_DATA_VALUE, p, n);
	nft_end(b, at);
}

static void compare(struct nft_batch *b, bool not, const void *p, size_t n)
{
	struct expr e = open_expr(b, "cmp");
	nft_put_u32(b, NFTA_CMP_SREG, NFT_REG_1);
	nft_put_u32(b, NFTA_CMP_OP, not ? NFT_CMP_NEQ : NFT_CMP_EQ);
	value(b, NFTA_CMP_DATA, p, n);
	close_expr(b, e);
}

static void mask(struct nft_batch *b, const void *m, size_t n)
{
	static const uint8_t none[16];
	struct expr e = open_expr(b, "bitwise");
	nft_put_u32(b, NFTA_BITWISE_SREG, NFT_REG_1);
	nft_put_u32(b, NFTA_BITWISE_DREG, NFT_REG_1);
	nft_put_u32(b, NFTA_BITWISE_LEN, (uint32_t)n);
	value(b, NFTA_BITWISE_MASK, m, n);
	value(b, NFTA_BITWISE_XOR, none, n);
	close_expr(b, e);
}

static void meta(struct nft_batch *b, uint32_t key)
{
	struct expr e = open_expr(b, "meta");
	nft_put_u32(b, NFTA_META_DREG, NFT_REG_1);
	nft_put_u32(b, NFTA_META_KEY, key);
	close_expr(b, e);
}

static void payload(struct nft_batch *b, uint32_t reg, uint32_t base, uint32_t offset, uint32_t len)
{
	struct expr e = open_expr(b, "payload");
	nft_put_u32(b, NFTA_PAYLOAD_DREG, reg);
	nft_put_u32(b, NFTA_PAYLOAD_BASE, base);
	nft_put_u32(b, NFTA_PAYLOAD_OFFSET, offset);
	nft_put_u32(b, NFTA_PAYLOAD_LEN, len);
	close_expr(b, e);
}

static void lookup(struct nft_batch *b, const char *set, bool verdict, bool not)
{
	struct expr e = open_expr(b, "lookup");
	nft_put_str(b, NFTA_LOOKUP_SET, set);
	nft_put_u32(b, NFTA_LOOKUP_SREG, NFT_REG_1);
	if (verdict)
		nft_put_u32(b, NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
	if (not)
		nft_put_u32(b, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
	close_expr(b, e);
}

/* ---- matches ---- */

static void match_link(struct nft_batch *b, uint32_t key, const char *name, bool not)
{
	char whole[IFNAMSIZ] = "";
	size_t n = strlen(name);
	meta(b, key);
	if (n && name[n - 1] == '*') {
		compare(b, not, name, n - 1);
		return;
	}
	memcpy(whole, name, n < IFNAMSIZ ? n : IFNAMSIZ - 1);
	compare(b, not, whole, sizeof whole);
}

/* RFC 791 §3.1, RFC 8200 §3 */
static void load_address(struct nft_batch *b, uint8_t family, bool dst)
{
	if (family == 6)
		payload(b, NFT_REG_1, NFT_PAYLOAD_NETWORK_HEADER, dst ? 24 : 8, 16);
	else
		payload(b, NFT_REG_1, NFT_PAYLOAD_NETWORK_HEADER, dst ? 16 : 12, 4);
}

static void match_address(struct nft_batch *b, uint8_t family, bool dst, const uint8_t *a, unsigned bits, bool not)
{
	uint8_t m[16] = {0}, net[16] = {0};
	unsigned n = family == 6 ? 16 : 4;
	for (unsigned i = 0; i < n; i++) {
		unsigned left = bits > 8 * i ? bits - 8 * i : 0;
		m[i] = left >= 8 ? 0xff : (uint8_t)(0xff00 >> left);
		net[i] = a[i] & m[i];
	}
	load_address(b, family, dst);
	if (bits < 8 * n)
		mask(b, m, n);
	compare(b, not, net, n);
}

static void match_packet(struct nft_batch *b, const struct nft_rule *r)
{
	uint8_t nfproto = r->family == 6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	if (r->family) {
		meta(b, NFT_META_NFPROTO);
		compare(b, false, &nfproto, 1);
	}
	if (r->proto) {
		meta(b, NFT_META_L4PROTO);
		compare(b, false, &r->proto, 1);
	}
	if (r->src)
		match_address(b, r->family, false, r->src, r->src_bits, r->src_not);
	if (r->dst)
		match_address(b, r->family, true, r->dst, r->dst_bits, false);
	if (r->port) {
		uint16_t port = htons(r->port);
		payload(b, NFT_REG_1, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2); /* TCP and UDP alike */
		compare(b, false, &port, 2);
	}
	if (r->icmp) {
		uint8_t type = (uint8_t)(r->icmp - 1);
		payload(b, NFT_REG_1, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
		compare(b, false, &type, 1);
	}
}

static void match_sets(struct nft_batch *b, const struct nft_rule *r)
{
	if (r->in_set) {
		meta(b, NFT_META_IIFNAME);
		lookup(b, r->in_set, false, false);
	}
	if (r->out_set) {
		meta(b, NFT_META_OIFNAME);
		lookup(b, r->out_set, false, r->out_set_not);
	}
	if (r->src_set) {
		load_address(b, r->family, false);
		lookup(b, r->src_set, false, false);
	}
	if (r->dst_set) {
		load_address(b, r->family, true);
		lookup(b, r->dst_set, false, false);
	}
	if (r->vmap_in) {
		meta(b, NFT_META_IIFNAME);
		lookup(b, r->vmap_in, true, false);
	}
	if (r->vmap_dst) { /* address and port stand side by side in the registers */
		load_address(b, r->family, true);
		if (r->vmap_port)
			payload(b, r->family == 6 ? NFT_REG32_04 : NFT_REG32_01, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
		lookup(b, r->vmap_dst, true, false);
	}
}

static void match_raw(struct nft_batch *b, const struct nft_rule *r)
{
	if (r->ethertype) {
		uint16_t type = htons(r->ethertype);
		payload(b, NFT_REG_1, NFT_PAYLOAD_LL_HEADER, 12, 2);
		compare(b, false, &type, 2);
	}
	for (unsigned i = 0; i < r->n_raw; i++) {
		payload(b, NFT_REG_1, r->raw[i].base - 1u, r->raw[i].offset, r->raw[i].len);
		compare(b, r->raw[i].not, r->raw[i].is, r->raw[i].len);
	}
}

/* In the kernel's own byte order. */
static void match_uid(struct nft_batch *b, uint32_t uid)
{
	meta(b, NFT_META_SKUID);
	compare(b, false, &uid, sizeof uid);
}

static void match_flow(struct nft_batch *b, uint32_t states)
{
	static const uint32_t none;
	uint32_t bits = 0;
	if (states & NFT_CT_INVALID)
		bits |= NF_CT_STATE_INVALID_BIT;
	if (states & NFT_CT_ESTABLISHED)
		bits |= NF_CT_STATE_BIT(IP_CT_ESTABLISHED);
	if (states & NFT_CT_RELATED)
		bits |= NF_CT_STATE_BIT(IP_CT_RELATED);
	if (states & NFT_CT_NEW)
		bits |= NF_CT_STATE_BIT(IP_CT_NEW);
	struct expr e = open_expr(b, "ct");
	nft_put_u32(b, NFTA_CT_DREG, NFT_REG_1);
	nft_put_u32(b, NFTA_CT_KEY, NFT_CT_STATE);
	close_expr(b, e);
	mask(b, &bits, sizeof bits);
	compare(b, true, &none, sizeof none);
}

/* ---- what then ---- */

static void count(struct nft_batch *b, const char *name)
{
	struct expr e = open_expr(b, "objref");
	nft_put_u32(b, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	nft_put_str(b, NFTA_OBJREF_IMM_NAME, name);
	close_expr(b, e);
}

static void limit(struct nft_batch *b, unsigned per_s)
{
	struct expr e = open_expr(b, "limit");
	nft_put_u64(b, NFTA_LIMIT_RATE, per_s);
	nft_put_u64(b, NFTA_LIMIT_UNIT, 1);
	nft_put_u32(b, NFTA_LIMIT_BURST, NFT_LOG_BURST);
	nft_put_u32(b, NFTA_LIMIT_TYPE, NFT_LIMIT_PKTS);
	close_expr(b, e);
}

static void flows(struct nft_batch *b, unsigned over)
{
	struct expr e = open_expr(b, "connlimit");
	nft_put_u32(b, NFTA_CONNLIMIT_COUNT, over);
	nft_put_u32(b, NFTA_CONNLIMIT_FLAGS, NFT_CONNLIMIT_F_INV);
	close_expr(b, e);
}

static void put_u16(struct nft_batch *b, uint16_t type, uint16_t v)
{
	v = htons(v);
	nft_put(b, type, &v, sizeof v);
}

static void tell(struct nft_batch *b, const char *prefix)
{
	struct expr e = open_expr(b, "log");
	put_u16(b, NFTA_LOG_GROUP, b->log_group ? b->log_group : NFT_LOG_GROUP);
	nft_put_str(b, NFTA_LOG_PREFIX, prefix);
	nft_put_u32(b, NFTA_LOG_SNAPLEN, NFT_LOG_SNAPLEN);
	put_u16(b, NFTA_LOG_QTHRESHOLD, 1);
	close_expr(b, e);
}

static void verdict(struct nft_batch *b, int code, const char *chain)
{
	struct expr e = open_expr(b, "immediate");
	nft_put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	size_t data = nft_nest(b, NFTA_IMMEDIATE_DATA), v = nft_nest(b, NFTA_DATA_VERDICT);
	nft_put_u32(b, NFTA_VERDICT_CODE, (uint32_t)code);
	if (chain)
		nft_put_str(b, NFTA_VERDICT_CHAIN, chain);
	nft_end(b, v);
	nft_end(b, data);
	close_expr(b, e);
}

static void reject(struct nft_batch *b, uint32_t type, uint8_t code)
{
	struct expr e = open_expr(b, "reject");
	nft_put_u32(b, NFTA_REJECT_TYPE, type);
	if (type != NFT_REJECT_TCP_RST)
		nft_put(b, NFTA_REJECT_ICMP_CODE, &code, 1);
	close_expr(b, e);
}

static void then(struct nft_batch *b, const struct nft_rule *r)
{
	switch (r->then) {
	case NFT_THEN_NOTHING: break;
	case NFT_THEN_ACCEPT: verdict(b, NF_ACCEPT, NULL); break;
	case NFT_THEN_DROP: verdict(b, NF_DROP, NULL); break;
	case NFT_THEN_RETURN: verdict(b, NFT_RETURN, NULL); break;
	case NFT_THEN_GOTO: verdict(b, NFT_GOTO, r->to); break;
	case NFT_THEN_JUMP: verdict(b, NFT_JUMP, r->to); break;
	case NFT_THEN_REFUSE:
		if (r->proto == IPPROTO_TCP)
			reject(b, NFT_REJECT_TCP_RST, 0);
		else
			reject(b, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
		break;
	case NFT_THEN_MASQUERADE: close_expr(b, open_expr(b, "masq")); break;
	}
}

void nft_rule(struct nft_batch *b, const struct nft_rule *r)
{
	if (r->then == NFT_THEN_REFUSE && !r->proto) {
		struct nft_rule tcp = *r;
		tcp.proto = IPPROTO_TCP;
		nft_rule(b, &tcp);
	}
	nft_message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND, b->family, 0);
	b->last = b->msg;
	nft_put_str(b, NFTA_RULE_TABLE, b->table);
	nft_put_str(b, NFTA_RULE_CHAIN, r->chain);
	size_t list = nft_nest(b, NFTA_RULE_EXPRESSIONS);
	if (r->ct)
		match_flow(b, r->ct);
	if (r->in)
		match_link(b, NFT_META_IIFNAME, r->in, r->in_not);
	if (r->out)
		match_link(b, NFT_META_OIFNAME, r->out, r->out_not);
	if (r->uid)
		match_uid(b, r->uid);
	match_packet(b, r);
	match_raw(b, r);
	match_sets(b, r);
	if (r->flows_over)
		flows(b, r->flows_over);
	if (r->counter)
		count(b, r->counter);
	if (r->limit_per_s)
		limit(b, r->limit_per_s);
	if (r->log)
		tell(b, r->log);
	then(b, r);
	nft_end(b, list);
}
