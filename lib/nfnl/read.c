#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/nfnl/nfnl.h"

#define DESTROY_TYPE (NFNL_SUBSYS_CTNETLINK << 8 | 2) /* IPCTNL_MSG_CT_DELETE */
#define PACKET_TYPE (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET)
#define EXTENSIONS_MAX 8 /* IPv6 headers before the payload */
#define FRAGMENT 44

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint64_t be64(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

/* ---- attributes ---- */

struct view {
	const uint8_t *p;
	size_t n;
};

/* The first attribute of that type in v. */
static bool attr(struct view v, unsigned type, struct view *out)
{
	while (v.n >= NLA_HDRLEN) {
		struct nlattr a;
		size_t step;

		memcpy(&a, v.p, sizeof(a));
		if (a.nla_len < NLA_HDRLEN || a.nla_len > v.n)
			return false;
		if ((a.nla_type & NLA_TYPE_MASK) == type) {
			*out = (struct view){ v.p + NLA_HDRLEN, a.nla_len - NLA_HDRLEN };
			return true;
		}
		step = NLA_ALIGN(a.nla_len);
		if (step > v.n)
			return false;
		v.p += step;
		v.n -= step;
	}
	return false;
}

static bool attr_bytes(struct view v, unsigned type, void *out, size_t n)
{
	struct view a;

	if (!attr(v, type, &a) || a.n != n)
		return false;
	memcpy(out, a.p, n);
	return true;
}

static uint16_t attr16(struct view v, unsigned type)
{
	uint8_t b[2];

	return attr_bytes(v, type, b, sizeof(b)) ? be16(b) : 0;
}

static uint8_t attr8(struct view v, unsigned type)
{
	uint8_t b;

	return attr_bytes(v, type, &b, 1) ? b : 0;
}

static uint64_t nested64(struct view v, unsigned outer, unsigned type)
{
	struct view in;
	uint8_t b[8];

	return attr(v, outer, &in) && attr_bytes(in, type, b, sizeof(b)) ? be64(b) : 0;
}

/* ---- a flow's end ---- */

static void ports_of(struct view proto, struct nf_tuple *t)
{
	if (t->proto == IPPROTO_ICMP) {
		t->sport = attr16(proto, CTA_PROTO_ICMP_ID);
		t->dport = (uint16_t)(attr8(proto, CTA_PROTO_ICMP_TYPE) << 8 | attr8(proto, CTA_PROTO_ICMP_CODE));
	} else if (t->proto == IPPROTO_ICMPV6) {
		t->sport = attr16(proto, CTA_PROTO_ICMPV6_ID);
		t->dport = (uint16_t)(attr8(proto, CTA_PROTO_ICMPV6_TYPE) << 8 | attr8(proto, CTA_PROTO_ICMPV6_CODE));
	} else {
		t->sport = attr16(proto, CTA_PROTO_SRC_PORT);
		t->dport = attr16(proto, CTA_PROTO_DST_PORT);
	}
}

static bool read_destroy(struct view v, struct nf_event *e)
{
	struct view orig, ip, proto;

	if (!attr(v, CTA_TUPLE_ORIG, &orig) || !attr(orig, CTA_TUPLE_IP, &ip) || !attr(orig, CTA_TUPLE_PROTO, &proto))
		return false;
	if (attr_bytes(ip, CTA_IP_V4_SRC, e->t.src, 4) && attr_bytes(ip, CTA_IP_V4_DST, e->t.dst, 4))
		e->t.family = 4;
	else if (attr_bytes(ip, CTA_IP_V6_SRC, e->t.src, 16) && attr_bytes(ip, CTA_IP_V6_DST, e->t.dst, 16))
		e->t.family = 6;
	else
		return false;
	e->t.proto = attr8(proto, CTA_PROTO_NUM);
	ports_of(proto, &e->t);
	e->kind = NF_DESTROY;
	e->bytes_out = nested64(v, CTA_COUNTERS_ORIG, CTA_COUNTERS_BYTES);
	e->bytes_in = nested64(v, CTA_COUNTERS_REPLY, CTA_COUNTERS_BYTES);
	e->start_ns = nested64(v, CTA_TIMESTAMP, CTA_TIMESTAMP_START);
	e->stop_ns = nested64(v, CTA_TIMESTAMP, CTA_TIMESTAMP_STOP);
	return true;
}

/* ---- a logged packet ---- */

static void read_transport(struct view v, struct nf_tuple *t)
{
	if ((t->proto == IPPROTO_TCP || t->proto == IPPROTO_UDP || t->proto == IPPROTO_UDPLITE || t->proto == IPPROTO_SCTP || t->proto == IPPROTO_DCCP) && v.n >= 4) {
		t->sport = be16(v.p);
		t->dport = be16(v.p + 2);
	} else if ((t->proto == IPPROTO_ICMP || t->proto == IPPROTO_ICMPV6) && v.n >= 2) {
		t->dport = be16(v.p);
		t->sport = v.n >= 6 ? be16(v.p + 4) : 0;
	}
}

static bool read_ip4(struct view v, struct nf_event *e)
{
	size_t head = v.n >= 20 ? (size_t)(v.p[0] & 15) * 4 : 0;

	if (head < 20)
		return false;
	e->t.family = 4;
	e->t.proto = v.p[9];
	e->packet_bytes = be16(v.p + 2);
	memcpy(e->t.src, v.p + 12, 4);
	memcpy(e->t.dst, v.p + 16, 4);
	if (head <= v.n && !(be16(v.p + 6) & 0x1fff)) /* a later fragment has no ports */
		read_transport((struct view){ v.p + head, v.n - head }, &e->t);
	return true;
}

static bool read_ip6(struct view v, struct nf_event *e)
{
	size_t at = 40;
	uint8_t next;

	if (v.n < 40)
		return false;
	e->t.family = 6;
	e->packet_bytes = 40u + be16(v.p + 4);
	memcpy(e->t.src, v.p + 8, 16);
	memcpy(e->t.dst, v.p + 24, 16);
	next = v.p[6];
	for (unsigned i = 0; i < EXTENSIONS_MAX && (next == 0 || next == 43 || next == 60 || next == FRAGMENT); i++) {
		const uint8_t *x = v.p + at;
		bool fragment = next == FRAGMENT;

		if (v.n - at < 8)
			break;
		next = x[0];
		if (fragment && (be16(x + 2) & 0xfff8)) { /* a later one has no ports */
			e->t.proto = next;
			return true;
		}
		at += fragment ? 8 : 8 + 8 * (size_t)x[1];
		if (at > v.n)
			break;
	}
	e->t.proto = next;
	if (at < v.n)
		read_transport((struct view){ v.p + at, v.n - at }, &e->t);
	return true;
}

static bool read_packet(struct view v, struct nf_event *e)
{
	struct view payload, prefix;

	if (!attr(v, NFULA_PAYLOAD, &payload) || !payload.n)
		return false;
	if (attr(v, NFULA_PREFIX, &prefix)) {
		size_t n = 0;

		while (n < prefix.n && n < NF_PREFIX_MAX && prefix.p[n] > 0x20 && prefix.p[n] < 0x7f) {
			e->prefix[n] = (char)prefix.p[n];
			n++;
		}
	}
	e->kind = NF_PACKET;
	return payload.p[0] >> 4 == 4 ? read_ip4(payload, e) : payload.p[0] >> 4 == 6 && read_ip6(payload, e);
}

/* ---- messages ---- */

unsigned nf_read(const void *p, size_t n, void (*fn)(void *, const struct nf_event *), void *arg)
{
	struct view v = { p, n };
	unsigned broken = 0;

	while (v.n >= sizeof(struct nlmsghdr)) {
		struct nf_event e = { 0 };
		struct nlmsghdr h;
		struct view attrs;
		size_t step;
		bool whole;

		memcpy(&h, v.p, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > v.n)
			return broken + 1;
		if (h.nlmsg_type == DESTROY_TYPE || h.nlmsg_type == PACKET_TYPE) {
			whole = h.nlmsg_len >= NLMSG_LENGTH(sizeof(struct nfgenmsg));
			attrs = (struct view){ v.p + NLMSG_LENGTH(sizeof(struct nfgenmsg)), whole ? h.nlmsg_len - NLMSG_LENGTH(sizeof(struct nfgenmsg)) : 0 };
			whole = whole && (h.nlmsg_type == DESTROY_TYPE ? read_destroy(attrs, &e) : read_packet(attrs, &e));
			if (whole)
				fn(arg, &e);
			else
				broken++;
		}
		step = NLMSG_ALIGN(h.nlmsg_len);
		if (step > v.n)
			break;
		v.p += step;
		v.n -= step;
	}
	return broken;
}
