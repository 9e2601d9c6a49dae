/* DNS messages: what is refused, which addresses of an answer count, and that our own writing is read back. */
#include <errno.h>
#include <string.h>

#include "lib/dns/dns.h"
#include "tests/unit/tap.h"

static uint8_t msg[DNS_MESSAGE_MAX];
static size_t len;

static void u8(unsigned v) { msg[len++] = (uint8_t)v; }
static void u16(unsigned v) { u8(v >> 8); u8(v); }
static void u32(uint32_t v) { u16(v >> 16); u16(v); }
static void name(const char *s)
{
	while (*s) {
		size_t l = strcspn(s, ".");

		u8((unsigned)l);
		memcpy(msg + len, s, l);
		len += l;
		s += l + (s[l] == '.');
	}
	u8(0);
}
static void head(unsigned id, unsigned flags, unsigned qd, unsigned an, unsigned ns, unsigned ar)
{
	len = 0;
	u16(id); u16(flags); u16(qd); u16(an); u16(ns); u16(ar);
}
static void rr(const char *owner, unsigned type, uint32_t ttl, unsigned data)
{
	name(owner); u16(type); u16(1); u32(ttl); u16(data);
}

static struct dns_query q;

static void ask(const char *n, unsigned type)
{
	head(7, DNS_RD, 1, 0, 0, 0);
	name(n); u16(type); u16(1);
	if (dns_read_query(msg, len, &q))
		printf("# question broken\n");
}

static void test_query(void)
{
	head(7, DNS_RD, 1, 0, 0, 1);
	name("Www.Example.COM"); u16(DNS_A); u16(1);
	u8(0); u16(DNS_OPT); u16(4096); u32(0x8000); u16(0);
	ok(!dns_read_query(msg, len, &q) && !strcmp(q.name, "www.example.com") && q.type == DNS_A && q.edns && q.dnssec_ok &&
	   q.udp_max == DNS_UDP_MAX && q.id == 7, "a question");
	ok(q.wire[1] == 'W', "kept as it came");
	for (size_t n = 0; n < len; n++)
		if (dns_read_query(msg, n, &q) == 0)
			ok(0, "cut at %zu", n);
	ok(dns_read_query(msg, 11, &q) == -EBADMSG && dns_read_query(msg, 20, &q) == -EINVAL, "cut questions");
	ask("a.b", 1);
	msg[2] |= 0x80;
	ok(dns_read_query(msg, len, &q) == -EBADMSG, "an answer is no question");
	ask("a.b", 1);
	msg[2] = 0x28;
	ok(dns_read_query(msg, len, &q) == -EOPNOTSUPP, "an update");
	head(1, 0, 2, 0, 0, 0);
	name("a"); u16(1); u16(1); name("b"); u16(1); u16(1);
	ok(dns_read_query(msg, len, &q) == -EINVAL, "two questions");
	head(1, 0, 1, 0, 0, 0);
	u16(0xc00c); u16(1); u16(1);
	ok(dns_read_query(msg, len, &q) == -EINVAL, "a name that points to itself");
	head(1, 0, 1, 0, 0, 0);
	u8(1); u8('a'); u16(0xc00c); u16(1); u16(1);
	ok(dns_read_query(msg, len, &q) == -EINVAL, "a loop");
	head(1, 0, 1, 0, 0, 0);
	for (int i = 0; i < 5; i++) {
		u8(63);
		memset(msg + len, 'x', 63);
		len += 63;
	}
	u8(0); u16(1); u16(1);
	ok(dns_read_query(msg, len, &q) == -EINVAL, "a name of 320 bytes");
	head(1, 0, 1, 0, 0, 0);
	u8(3); u8('a'); u8('.'); u8(0); u8(0); u16(1); u16(1);
	ok(!dns_read_query(msg, len, &q) && !strcmp(q.name, "a\\046\\000"), "odd bytes: %s", q.name);
	head(1, 0, 1, 0, 0, 0);
	u8(0); u16(2); u16(1);
	ok(!dns_read_query(msg, len, &q) && !strcmp(q.name, "."), "the root");
}

static void test_answer(void)
{
	struct dns_answer a;

	ask("www.example.com", DNS_A);
	head(99, DNS_QR, 1, 4, 0, 1);
	name("wWw.example.com"); u16(DNS_A); u16(1);
	rr("other.com", DNS_A, 300, 4); u32(0x01010101);                    /* not asked for */
	rr("www.example.com", DNS_CNAME, 30, 2 + 1); u8(1); u8('x'); u8(0);
	rr("X", DNS_A, 300, 4); u32(0x02020202);
	rr("x", DNS_A, 20, 4); u32(0x03030303);
	rr("more.example.com", DNS_A, 5, 4); u32(0x04040404);               /* additional */
	ok(!dns_read_answer(msg, len, &q, 99, &a) && a.n_addrs == 2 && a.addrs[0].addr[0] == 2 && a.addrs[0].ttl_s == 30 && a.addrs[1].ttl_s == 20 && a.ttl_s == 5,
	   "the chain of the asked name counts, nothing else");
	ok(dns_read_answer(msg, len, &q, 98, &a) == -EBADMSG, "another id");
	for (size_t n = 0; n < len; n++)
		if (dns_read_answer(msg, n, &q, 99, &a) == 0)
			ok(0, "cut at %zu", n);
	dns_age(msg, len, 10, 15);
	ok(!dns_read_answer(msg, len, &q, 99, &a) && a.ttl_s == 0 && a.addrs[0].ttl_s == 15 && a.addrs[1].ttl_s == 10, "aged");
	head(99, DNS_QR, 1, 1, 0, 0);
	name("www.example.org"); u16(DNS_A); u16(1);
	rr("www.example.org", DNS_A, 300, 4); u32(0x01010101);
	ok(dns_read_answer(msg, len, &q, 99, &a) == -EBADMSG, "another question");
	head(99, DNS_QR, 1, 2, 0, 0);
	name("www.example.com"); u16(DNS_A); u16(1);
	rr("www.example.com", DNS_CNAME, 30, 3); u8(1); u8('y'); u8(0);
	rr("y", DNS_CNAME, 30, 17); name("www.example.com");
	ok(!dns_read_answer(msg, len, &q, 99, &a) && !a.n_addrs, "CNAMEs in a circle end");
	head(99, DNS_QR, 1, 1, 0, 0);
	name("www.example.com"); u16(DNS_A); u16(1);
	rr("www.example.com", DNS_A, 30, 5); u32(1); u8(1);
	ok(dns_read_answer(msg, len, &q, 99, &a) == -EPROTO, "an address of 5 bytes");
	head(99, DNS_QR | DNS_NXDOMAIN, 1, 0, 1, 0);
	name("www.example.com"); u16(DNS_A); u16(1);
	rr("com", DNS_SOA, 900, 22); u8(0); u8(0); u32(1); u32(2); u32(3); u32(4); u32(60);
	ok(!dns_read_answer(msg, len, &q, 99, &a) && a.rcode == DNS_NXDOMAIN && a.ttl_s == 60, "a negative answer's time");
	head(99, DNS_QR | DNS_TC, 1, 9, 0, 0);
	name("www.example.com"); u16(DNS_A); u16(1);
	ok(!dns_read_answer(msg, len, &q, 99, &a) && a.truncated, "cut by its sender");
}

static void test_write(void)
{
	struct dns_addr addrs[40];
	struct dns_answer a;
	struct dns_query back;
	uint8_t out[DNS_MESSAGE_MAX], addr[16];
	size_t n;

	ask("Www.example.com", DNS_A);
	n = dns_write_query(out, &q, 4711);
	ok(!dns_read_query(out, n, &back) && back.id == 4711 && back.edns && !strcmp(back.name, "www.example.com"), "our question is one");
	for (unsigned i = 0; i < 40; i++)
		addrs[i] = (struct dns_addr){ 4, { 10, 0, 0, (uint8_t)i }, 60 };
	n = dns_write_addrs(out, DNS_PLAIN_MAX, &q, addrs, 40, true);
	ok(n <= DNS_PLAIN_MAX && !dns_read_answer(out, n, &q, 7, &a) && a.n_addrs > 20 && a.addrs[3].addr[3] == 3 && (a.flags & DNS_AA), "addresses, as many as fit");
	n = dns_write_empty(out, &q, DNS_REFUSED, false, false);
	ok(!dns_read_answer(out, n, &q, 7, &a) && a.rcode == DNS_REFUSED && n == DNS_HEAD_BYTES + q.wire_len, "refused");
	q.edns = true;
	n = dns_write_empty(out, &q, DNS_NOERROR, false, true);
	ok(!dns_read_answer(out, n, &q, 7, &a) && a.truncated, "truncated");
	n = dns_write_empty(out, &q, DNS_NOERROR, false, false);
	ok(dns_strip_edns(out, n) == DNS_HEAD_BYTES + q.wire_len && !dns_read_answer(out, DNS_HEAD_BYTES + q.wire_len, &q, 7, &a), "without EDNS0");
	ask("4.3.2.1.in-addr.arpa", DNS_PTR);
	n = dns_write_ptr(out, &q, "vm-1.mica", 60);
	ok(!dns_read_answer(out, n, &q, 7, &a) && a.ttl_s == 60, "a name");
	ok(dns_reverse("4.3.2.1.in-addr.arpa", addr) == 4 && addr[0] == 1 && addr[3] == 4, "IPv4 backwards");
	ok(dns_reverse("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", addr) == 6 &&
	   addr[0] == 0x20 && addr[1] == 1 && addr[3] == 0xb8 && addr[15] == 1,
	   "IPv6 backwards");
	ok(!dns_reverse("3.2.1.in-addr.arpa", addr) && !dns_reverse("04.3.2.1.in-addr.arpa", addr) &&
	   !dns_reverse("400.3.2.1.in-addr.arpa", addr) && !dns_reverse("x", addr),
	   "and what is no address");
}

int main(void)
{
	test_query();
	test_answer();
	test_write();
	return tap_done();
}
