/*
 * What a guest may say of itself. On a bridge: table netdev "mica…", chain "tap-NAME" where frames come in from the guest. Its own MAC, its own IPv4 address
 * in packets and in ARP, its own IPv6 address (and the link-local one of its MAC, RFC 4291 appendix A) in packets and in neighbour discovery. Other
 * kinds of frames do not pass: tagged or tunnelled ones could carry what these rules would not see.
 * On the LAN (macvtap) the chain stands where the link sends: its own MAC, in ARP too, and its own IPv4 address where we gave it one. What DHCP gave is not known here,
 * nor which IPv6 addresses it made from what the LAN's router announces.
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>

#include "api/netd/netd.h"

enum { LINK = 1, NET = 2, TRANSPORT = 3, GUARD_PRIORITY = -500, SOLICITATION = 135, ADVERTISEMENT = 136, MLD_REPORT = 143 };

/* On the LAN: what is not known of it cannot be held against it. */
static void put_unknown(struct nft_batch *b, const struct guard *g, const char *chain)
{
	static const uint16_t kinds[] = {ETH_P_IPV6, ETH_P_IP, ETH_P_ARP};
	for (size_t i = 0; i < (g->guest4.family ? 1 : ARRAY_LEN(kinds)); i++)
		nft_rule(b, &(struct nft_rule){.chain = chain, .ethertype = kinds[i], .then = NFT_THEN_ACCEPT});
}

/* Frames that match go on to the next test; what is left at the end of a kind is dropped. */
void nft_tap_put(struct nft_batch *b, const struct guard *g)
{
	static const uint8_t zero[16], sizes[2] = {6, 4};
	char chain[NFT_CHAIN_MAX];
	uint8_t local[16] = {0xfe, 0x80, [8] = (uint8_t)(g->mac[0] ^ 2), g->mac[1], g->mac[2], 0xff, 0xfe, g->mac[3], g->mac[4], g->mac[5]};
	const uint8_t *guest4 = g->guest4.a, *guest6 = g->guest6.a;
	const struct nft_rule rules[] = {
		{.n_raw = 1, .raw = {{LINK, 6, 6, g->mac, true}}, .then = NFT_THEN_DROP},
		/* ARP (RFC 826): addresses of Ethernet and IPv4 only; the sender is the guest, or nobody yet (RFC 5227) */
		{.ethertype = ETH_P_ARP, .n_raw = 1, .raw = {{NET, 4, 2, sizes, true}}, .then = NFT_THEN_DROP},
		{.ethertype = ETH_P_ARP, .n_raw = 1, .raw = {{NET, 8, 6, g->mac, true}}, .then = NFT_THEN_DROP},
		{.ethertype = ETH_P_ARP, .n_raw = 1, .raw = {{NET, 14, 4, guest4, false}}, .then = NFT_THEN_ACCEPT}, /* guest4 0.0.0.0: not known */
		{.ethertype = ETH_P_ARP, .n_raw = 1, .raw = {{NET, 14, 4, zero, false}}, .then = NFT_THEN_ACCEPT},
		{.ethertype = ETH_P_IP, .n_raw = 1, .raw = {{NET, 12, 4, guest4, false}}, .then = NFT_THEN_ACCEPT},
		/* neighbour discovery (RFC 4861 §4.3, §4.4): an advertisement speaks for its target, whatever headers stand before it */
		{.ethertype = ETH_P_IPV6, .proto = IPPROTO_ICMPV6, .icmp = 1 + ADVERTISEMENT, .n_raw = 2, .then = NFT_THEN_DROP,
		 .raw = {{TRANSPORT, 8, 16, guest6, true}, {TRANSPORT, 8, 16, local, true}}},
		{.ethertype = ETH_P_IPV6, .n_raw = 1, .raw = {{NET, 8, 16, guest6, false}}, .then = NFT_THEN_ACCEPT},
		{.ethertype = ETH_P_IPV6, .n_raw = 1, .raw = {{NET, 8, 16, local, false}}, .then = NFT_THEN_ACCEPT},
		/* before it has an address: is somebody else there, and which groups it listens to (RFC 4862 §5.4.2, 3810) */
		{.ethertype = ETH_P_IPV6, .proto = IPPROTO_ICMPV6, .icmp = 1 + SOLICITATION, .n_raw = 1, .raw = {{NET, 8, 16, zero, false}}, .then = NFT_THEN_ACCEPT},
		{.ethertype = ETH_P_IPV6, .proto = IPPROTO_ICMPV6, .icmp = 1 + MLD_REPORT, .n_raw = 1, .raw = {{NET, 8, 16, zero, false}}, .then = NFT_THEN_ACCEPT},
		{.then = NFT_THEN_DROP},
	};
	snprintf(chain, sizeof chain, "tap-%s", g->tap);
	nft_chain_add(b, chain, &(struct nft_hook){.type = "filter", .hook = g->lan ? NF_NETDEV_EGRESS : NF_NETDEV_INGRESS, .priority = GUARD_PRIORITY, .device = g->tap});
	nft_chain_flush(b, chain);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		struct nft_rule r = rules[i];
		r.chain = chain;
		if (g->lan && r.then == NFT_THEN_DROP && !r.n_raw)
			put_unknown(b, g, chain);
		if (r.ethertype != ETH_P_IPV6 || g->guest6.family)
			nft_rule(b, &r);
	}
}

/* With the tap gone the chain is gone too on older kernels, and stays without a device on newer ones (6.16): made first, so that there is one to delete;
 * which takes a device again, so one that is gone is asked for by the chain alone. */
int nft_tap_guard(struct netd *n, const struct guard *g, bool up)
{
	struct nft_batch b;
	char chain[NFT_CHAIN_MAX];
	snprintf(chain, sizeof chain, "tap-%s", g->tap);
	nft_begin(&b, &n->nft, NFPROTO_NETDEV, n->table);
	if (up) {
		nft_table_add(&b);
		nft_tap_put(&b, g);
		return nft_commit(&b);
	}
	nft_chain_del(&b, chain);
	int err = nft_commit(&b);
	return err == -ENOENT ? 0 : err;
}
