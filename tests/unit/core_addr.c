/* Addresses: what is no address, which one comes next, MACs. */
#include <errno.h>
#include <string.h>

#include "api/core/addr.h"
#include "tests/unit/tap.h"

static bool taken_below(void *arg, uint32_t a)
{
	return a < *(uint32_t *)arg;
}

static void test_parse(void)
{
	static const char *const bad[] = { "", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1..2.3", "-1.2.3.4",
					   "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/+3", "1.2.3.4/1x", "1.2.3.1234" };
	struct cidr c;
	uint32_t a;
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ok(cidr_parse(bad[i], 24, &c) == -EINVAL, "no network: '%s'", bad[i]);
	ok(cidr_parse("1.2.3.4", 99, &c) == -EINVAL, "a length is needed");
	ok(addr_parse("10.0.0.1/8", &a) == -EINVAL && addr_parse("255.255.255.255", &a) == 0 && a == UINT32_MAX, "address alone");
	ok(cidr_parse("192.168.137.5/24", 99, &c) == 0 && cidr_first(c) == 0xc0a88900 && cidr_last(c) == 0xc0a889ff, "bounds");
	cidr_format(c, text);
	ok(strcmp(text, "192.168.137.5/24") == 0, "and back");
	ok(cidr_parse("0.0.0.0/0", 99, &c) == 0 && cidr_last(c) == UINT32_MAX, "everything");
	ok(cidr_overlaps((struct cidr){ 0x0a000001, 8 }, (struct cidr){ 0x0a050001, 24 }), "overlap");
	ok(!cidr_overlaps((struct cidr){ 0x0a000001, 24 }, (struct cidr){ 0x0a000101, 24 }), "apart");
}

static void test_pool(void)
{
	struct addr_pool p = { 0 };
	uint32_t from = 0, a;

	addr_pool_init(&p, (struct cidr){ 0x0a000001, 29 }); /* .0–.7: .2–.6 */
	ok(addr_pool_size(&p) == 5, "size of a /29");
	ok(addr_pool_next(&p, taken_below, &from, &a) == 0 && a == 0x0a000002, "first");
	from = 0x0a000006;
	ok(addr_pool_next(&p, taken_below, &from, &a) == 0 && a == 0x0a000006, "last");
	from = 0x0a000007;
	ok(addr_pool_next(&p, taken_below, &from, &a) == -ENOSPC, "full");
	addr_pool_init(&p, (struct cidr){ 0x0a000006, 29 });
	from = 0x0a000006;
	ok(addr_pool_next(&p, taken_below, &from, &a) == -ENOSPC && addr_pool_size(&p) == 4, "never the gateway's own");
	p.first = 5;
	p.last = 4;
	ok(addr_pool_next(&p, taken_below, &from, &a) == -ENOSPC && addr_pool_size(&p) == 0, "empty range");
	addr_pool_init(&p, (struct cidr){ 0x0a000001, 24 });
	p.pinned[p.n_pinned++] = 0x0a000020;
	p.pinned[p.n_pinned++] = 0x0a000010;
	from = 0;
	ok(addr_pool_next(&p, taken_below, &from, &a) == 0 && a == 0x0a000020, "pinned in their order");
	from = 0x0a000021;
	ok(addr_pool_next(&p, taken_below, &from, &a) == -ENOSPC, "pinned and no others");
}

static void test_pairs(void)
{
	struct addr_pool p;
	uint32_t a, from = 0;

	addr_pool_init_pairs(&p, (struct cidr){ 0xa9fe6400, 22 });
	ok(addr_pool_size(&p) == 256 && addr_pool_bits(&p) == 30, "a /22 has room for 256");
	ok(addr_pool_next(&p, taken_below, &from, &a) == 0 && a == 0xa9fe6402 && addr_pool_gateway(&p, a) == 0xa9fe6401, "the first /30: .2, its gateway .1");
	from = 0xa9fe6403;
	ok(addr_pool_next(&p, taken_below, &from, &a) == 0 && a == 0xa9fe6406, "the next");
	from = 0xa9fe67fe;
	ok(addr_pool_next(&p, taken_below, &from, &a) == 0 && a == 0xa9fe67fe, "the last");
	from = 0xa9fe67ff;
	ok(addr_pool_next(&p, taken_below, &from, &a) == -ENOSPC, "full");
	ok(!addr_pool_holds(&p, 0xa9fe6401) && !addr_pool_holds(&p, 0xa9fe6400) && !addr_pool_holds(&p, 0xa9fe6802) && addr_pool_holds(&p, 0xa9fe640a), "no gateway, no edge");
	addr_pool_init_pairs(&p, (struct cidr){ 0x0a000000, 30 });
	ok(addr_pool_size(&p) == 1, "a /30 has room for one");
}

static bool all_taken(void *arg, struct cidr c)
{
	(void)c;
	++*(unsigned *)arg;
	return true;
}

static bool none_taken(void *arg, struct cidr c)
{
	(void)arg; (void)c;
	return false;
}

static void test_derive(void)
{
	struct cidr c, d;
	unsigned asked = 0;
	bool fine = true;
	char name[8], text[ADDR6_TEXT_MAX];
	uint8_t six[8], other[8];

	ok(addr_derive_range("x", all_taken, &asked, &c) == -ENOSPC && asked == 61, "every block is asked for once, but the reserved ones: %u", asked);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "g%u", i);
		fine &= addr_derive_range(name, none_taken, NULL, &c) == 0 && c.bits == 22 && c.addr >> 16 == 0xa9fe && (c.addr & 0x3ff) == 0 &&
			!cidr_holds(c, 0xa9fea9fe) && !cidr_holds(c, 0xa9fe0001) && !cidr_holds(c, 0xa9feff01);
	}
	ok(fine, "never the metadata address, never the first and last 256");
	ok(addr_derive_range("g1", none_taken, NULL, &c) == 0 && addr_derive_range("g1", none_taken, NULL, &d) == 0 && c.addr == d.addr, "stable");
	addr6_prefix("o1", "vm", six);
	addr6_prefix("o2", "vm", other);
	ok(six[0] == 0xfd && memcmp(six, other, 8) != 0, "a private /64 of its own for each owner");
	addr6_format((const uint8_t[]){ 0xfd, 0, 0, 1, 0, 2, 0, 3 }, 0xa9fe6402, 126, text);
	ok(strcmp(text, "fd00:1:2:3::a9fe:6402/126") == 0, "%s", text);
}

static void test_mac(void)
{
	uint8_t a[6], b[6], c[6];
	char text[MAC_TEXT_MAX];

	mac_of_name("vm-1", a);
	mac_of_name("vm-1", b);
	mac_of_name("vm-2", c);
	ok(memcmp(a, b, 6) == 0 && memcmp(a, c, 6) != 0, "stable, and different per name");
	ok((a[0] & 3) == 2, "locally administered, unicast");
	mac_format(a, text);
	ok(mac_parse(text, b) == 0 && memcmp(a, b, 6) == 0, "text and back: %s", text);
	ok(mac_parse("02:00:00:00:00", b) && mac_parse("02-00-00-00-00-00", b) && mac_parse("02:00:00:00:00:0g", b), "no MACs");
}

int main(void)
{
	test_parse();
	test_pool();
	test_pairs();
	test_derive();
	test_mac();
	return tap_done();
}
