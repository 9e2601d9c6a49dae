/* Netfilter's messages, built here byte by byte. */
#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <string.h>

#include "lib/nfnl/nfnl.h"
#include "tests/unit/tap.h"

static uint8_t msg[4096];
static size_t len;
static struct nf_event seen[4];
static unsigned n_seen;

static size_t open_attr(unsigned type)
{
	size_t at = len;

	memcpy(msg + len, &(struct nlattr){ 0, (uint16_t)type }, 4);
	len += 4;
	return at;
}

static void close_attr(size_t at)
{
	uint16_t n = (uint16_t)(len - at);

	memcpy(msg + at, &n, 2);
	len = NLA_ALIGN(len);
}

static void attr(unsigned type, const void *p, size_t n)
{
	size_t at = open_attr(type);

	memcpy(msg + len, p, n);
	len += n;
	close_attr(at);
}

static void begin(uint16_t type)
{
	memset(msg, 0, sizeof(msg));
	memcpy(msg, &(struct nlmsghdr){ .nlmsg_type = type }, sizeof(struct nlmsghdr));
	len = NLMSG_LENGTH(sizeof(struct nfgenmsg));
}

static void on_event(void *arg, const struct nf_event *e)
{
	(void)arg;
	if (n_seen < ARRAY_LEN(seen))
		seen[n_seen++] = *e;
}

static unsigned end(void)
{
	uint32_t n = (uint32_t)len;

	memcpy(msg, &n, 4);
	n_seen = 0;
	return nf_read(msg, len, on_event, NULL);
}

static const uint8_t tcp4[] = { 0x46, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 169, 254, 100, 2, 1, 2, 3, 4, 1, 1, 1, 0, 0x9c, 0x40, 0x01, 0xbb, 0, 0 };

static void test_packet(void)
{
	uint8_t later[sizeof(tcp4)];
	static const uint8_t udp6[] = { 0x60, 0, 0, 0, 0, 24, 0, 64,
		0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		60, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 53, 0, 8, 0, 0 };
	static const uint8_t ping[] = { 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0,
		10, 0, 0, 1, 10, 0, 0, 2, 8, 0, 0, 0, 0x12, 0x34, 0, 1 };

	begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET);
	attr(NFULA_PREFIX, "+allow[0]", 10);
	attr(NFULA_PAYLOAD, tcp4, sizeof(tcp4));
	ok(!end() && n_seen == 1 && seen[0].kind == NF_PACKET && !strcmp(seen[0].prefix, "+allow[0]") && seen[0].t.proto == 6 && seen[0].t.sport == 40000 &&
	   seen[0].t.dport == 443 && seen[0].t.dst[3] == 4 && seen[0].packet_bytes == 60, "TCP with IP options");
	memcpy(later, tcp4, sizeof(later));
	later[7] = 9;
	begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET);
	attr(NFULA_PAYLOAD, later, sizeof(later));
	ok(!end() && n_seen == 1 && !seen[0].t.dport && !seen[0].prefix[0], "a later fragment has no ports");
	begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET);
	attr(NFULA_PAYLOAD, udp6, sizeof(udp6));
	ok(!end() && n_seen == 1 && seen[0].t.family == 6 && seen[0].t.proto == 17 && seen[0].t.dport == 53, "UDP behind two extension headers");
	begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET);
	attr(NFULA_PAYLOAD, ping, sizeof(ping));
	ok(!end() && n_seen == 1 && seen[0].t.dport == 0x0800 && seen[0].t.sport == 0x1234, "an echo request");
	for (size_t n = 0; n < sizeof(udp6); n++) {
		begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET);
		attr(NFULA_PAYLOAD, udp6, n);
		end();
	}
	ok(1, "cut packets");
	begin(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET);
	attr(NFULA_PREFIX, "x", 2);
	ok(end() == 1 && !n_seen, "no packet in it");
	msg[len - 8] = 0xff; /* an attribute that is longer than the message */
	ok(end() == 1 && !n_seen, "a broken attribute");
}

static void put_tuple(void)
{
	size_t a = open_attr(CTA_TUPLE_ORIG | NLA_F_NESTED), b = open_attr(CTA_TUPLE_IP | NLA_F_NESTED);
	uint16_t sport = htons(40000), dport = htons(443);

	attr(CTA_IP_V4_SRC, "\xa9\xfe\x64\x02", 4);
	attr(CTA_IP_V4_DST, "\x01\x02\x03\x04", 4);
	close_attr(b);
	b = open_attr(CTA_TUPLE_PROTO | NLA_F_NESTED);
	attr(CTA_PROTO_NUM, "\x06", 1);
	attr(CTA_PROTO_SRC_PORT, &sport, 2);
	attr(CTA_PROTO_DST_PORT, &dport, 2);
	close_attr(b);
	close_attr(a);
}

static void put_bytes(unsigned outer, uint8_t v)
{
	uint8_t be[8] = { [7] = v };
	size_t a = open_attr(outer | NLA_F_NESTED);

	attr(CTA_COUNTERS_BYTES, be, 8);
	close_attr(a);
}

static void test_destroy(void)
{
	begin(NFNL_SUBSYS_CTNETLINK << 8 | 2);
	put_tuple();
	put_bytes(CTA_COUNTERS_ORIG, 100);
	put_bytes(CTA_COUNTERS_REPLY, 200);
	ok(!end() && n_seen == 1 && seen[0].kind == NF_DESTROY && seen[0].bytes_out == 100 && seen[0].bytes_in == 200 &&
	   seen[0].t.dport == 443 && seen[0].t.src[3] == 2, "a flow's end");
	begin(NFNL_SUBSYS_CTNETLINK << 8 | 2);
	ok(end() == 1 && !n_seen, "without a tuple");
	begin(NFNL_SUBSYS_CTNETLINK << 8 | 0);
	ok(end() == 0 && !n_seen, "other messages are no events");
	begin(NFNL_SUBSYS_CTNETLINK << 8 | 2);
	put_tuple();
	end();
	ok(nf_read(msg, len - 1, on_event, NULL) == 1, "a cut message");
}

int main(void)
{
	test_packet();
	test_destroy();
	return tap_done();
}
