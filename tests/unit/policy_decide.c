/* The contract's table (§6.2) and our order: which rule decides for an address or a name. */
#include <errno.h>
#include <string.h>

#include "lib/policy/policy.h"
#include "tests/unit/tap.h"

static struct policy make(const char *allow, const char *drop)
{
	struct policy p = { 0 };

	for (unsigned list = 0; list < 2; list++) {
		char text[500], *save = NULL;

		snprintf(text, sizeof(text), "%s", list == POLICY_ALLOW ? allow : drop);
		for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
			if (policy_add(&p, (enum policy_list)list, w, NULL))
				printf("# bad entry %s\n", w);
	}
	return p;
}

static const struct policy_net own[] = { { 4, 24, { 198, 51, 100 } } };

struct row { const char *allow, *drop, *addr; uint8_t proto; uint16_t port; const char *id; };
static const struct row rows[] = {
	/* §6.2: neither → open */
	{ "", "", "1.2.3.4", 6, 80, "default:allow" },
	{ "", "", "2001:db8::1", 6, 80, "default:allow" },
	{ "", "", "169.254.169.254", 6, 80, "builtin:metadata" },
	{ "", "", "fd00:ec2::254", 6, 80, "builtin:metadata" },
	{ "", "", "fe80::1", 58, 0, "builtin:metadata" },
	{ "", "", "10.0.0.1", 1, 0, "builtin:lan" },
	{ "", "", "172.31.0.1", 6, 22, "builtin:lan" },
	{ "", "", "172.32.0.1", 6, 22, "default:allow" },
	{ "", "", "100.127.255.255", 6, 22, "builtin:lan" },
	{ "", "", "fd12::1", 6, 22, "builtin:lan" },
	{ "", "", "224.0.0.251", 17, 5353, "builtin:lan" },
	{ "", "", "ff02::1", 17, 5353, "builtin:lan" },
	{ "", "", "255.255.255.255", 17, 67, "builtin:lan" },
	{ "", "", "198.51.100.7", 6, 80, "builtin:lan" }, /* the caller's own */
	/* only allow → everything else blocked */
	{ "1.2.3.4", "", "1.2.3.4", 1, 0, "allow[0]" },
	{ "1.2.3.4", "", "1.2.3.5", 6, 80, "default:deny" },
	{ "9.9.9.9 1.2.3.0/24", "", "1.2.3.5", 17, 80, "allow[1]" },
	{ "192.168.222.1:3128", "", "192.168.222.1", 6, 3128, "allow[0]" },
	{ "192.168.222.1:3128", "", "192.168.222.1", 6, 3129, "builtin:lan" },
	{ "192.168.222.1:3128", "", "192.168.222.1", 1, 0, "builtin:lan" },
	{ "1.2.3.4:443", "", "1.2.3.4", 17, 443, "allow[0]" },
	{ "1.2.3.4:443", "", "1.2.3.4", 6, 80, "default:deny" },
	{ "[2001:db8::1]:443", "", "2001:db8::1", 6, 443, "allow[0]" },
	{ "2001:db8::/32", "", "2001:db9::1", 6, 443, "default:deny" },
	{ "169.254.169.254", "", "169.254.169.254", 6, 80, "allow[0]" },
	{ "10.0.0.0/8", "", "10.1.2.3", 6, 80, "allow[0]" },
	{ "0.0.0.0/0", "", "8.8.8.8", 17, 53, "allow[0]" },
	{ "0.0.0.0/0", "", "2001:db8::1", 17, 53, "allow[0]" },
	{ "::/0", "", "8.8.8.8", 17, 53, "default:deny" },
	{ "0.0.0.0/0", "", "10.0.0.1", 6, 80, "builtin:lan" },
	{ "0.0.0.0/0 10.0.0.1", "", "10.0.0.1", 6, 80, "allow[1]" },
	{ "0.0.0.0/0 8.8.8.8", "", "8.8.8.8", 6, 80, "allow[1]" }, /* what is narrower is looked at first */
	{ "0.0.0.0/0:443", "", "8.8.8.8", 6, 443, "allow[0]" },
	{ "0.0.0.0/0:443", "", "8.8.8.8", 6, 80, "default:deny" },
	/* only drop → rest allowed */
	{ "", "8.8.8.8", "8.8.8.8", 17, 53, "drop[0]" },
	{ "", "8.8.8.8", "8.8.4.4", 17, 53, "default:allow" },
	{ "", "8.8.8.8:53", "8.8.8.8", 6, 443, "default:allow" },
	{ "", "0.0.0.0/0", "8.8.8.8", 6, 443, "drop[0]" },
	{ "", "0.0.0.0/0", "2001:db8::1", 6, 443, "drop[0]" },
	{ "", "::/0", "8.8.8.8", 6, 443, "default:allow" },
	/* both → allow wins, drop next, remainder allowed */
	{ "1.2.3.4", "1.2.3.0/24", "1.2.3.4", 6, 80, "allow[0]" },
	{ "1.2.3.4", "1.2.3.0/24", "1.2.3.5", 6, 80, "drop[0]" },
	{ "1.2.3.4", "1.2.3.0/24", "1.2.4.5", 6, 80, "default:allow" },
	{ "192.168.222.1:3128 192.168.222.1:3129", "0.0.0.0/0", "192.168.222.1", 6, 3129, "allow[1]" },
	{ "192.168.222.1:3128 192.168.222.1:3129", "0.0.0.0/0", "1.1.1.1", 6, 80, "drop[0]" },
	{ "0.0.0.0/0", "0.0.0.0/0", "1.1.1.1", 6, 80, "allow[0]" }, /* "useless while allow still holds 0.0.0.0/0" */
	{ "0.0.0.0/0", "1.1.1.1", "1.1.1.1", 6, 80, "allow[0]" },
	/* names open nothing by themselves */
	{ "example.com", "", "1.1.1.1", 6, 80, "default:deny" },
};

static void test_addresses(void)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		struct policy p = make(r->allow, r->drop);
		struct policy_ask a = { .proto = r->proto, .port = r->port, .own = own, .n_own = ARRAY_LEN(own) };
		struct policy_net n;
		struct policy_verdict v;
		char id[POLICY_ID_MAX];
		bool allow = strncmp(r->id, "allow", 5) == 0 || !strcmp(r->id, "default:allow");

		policy_addr_parse(r->addr, &n);
		a.family = n.family;
		memcpy(a.addr, n.addr, 16);
		v = policy_decide(&p, &a);
		policy_rule_id(v.rule, v.index, id);
		ok(!strcmp(id, r->id) && v.allow == allow, "allow {%s} drop {%s} %s %u:%u → %s", r->allow, r->drop, r->addr, r->proto, r->port, id);
		policy_done(&p);
	}
}

static void test_opened(void)
{
	struct policy p = make("example.com:443", "");
	struct policy_opened o[] = { { 4, { 93, 184, 216, 34 }, 443, 0 } };
	struct policy_ask a = { .family = 4, .addr = { 93, 184, 216, 34 }, .proto = 6, .port = 443, .opened = o, .n_opened = 1 };
	struct policy_verdict v = policy_decide(&p, &a);

	ok(v.allow && v.rule == RULE_ALLOW && v.index == 0, "opened by name");
	a.port = 80;
	ok(policy_decide(&p, &a).rule == RULE_DEFAULT_DENY, "another port");
	a.port = 443;
	a.proto = 1;
	ok(policy_decide(&p, &a).rule == RULE_DEFAULT_DENY, "another protocol");
	a.proto = 6;
	a.addr[3] = 35;
	ok(policy_decide(&p, &a).rule == RULE_DEFAULT_DENY, "another address");
	ok(policy_may_open(NULL, 0, 4, (const uint8_t[16]){ 93, 184, 216, 34 }) &&
	   !policy_may_open(NULL, 0, 4, (const uint8_t[16]){ 192, 168, 1, 1 }) &&
	   !policy_may_open(NULL, 0, 4, (const uint8_t[16]){ 169, 254, 169, 254 }) && !policy_may_open(NULL, 0, 6, (const uint8_t[16]){ [15] = 1 }) &&
	   !policy_may_open(NULL, 0, 6, (const uint8_t[16]){ [10] = 0xff, [11] = 0xff, [12] = 10 }) &&
	   !policy_may_open(own, 1, 4, (const uint8_t[16]){ 198, 51, 100, 1 }),
	   "what an answer may open");
	policy_done(&p);
}

static void test_names(void)
{
	static const struct { const char *allow, *drop, *name; uint16_t port; const char *id; } t[] = {
		{ "", "", "example.com", 0, "default:allow" },
		{ "example.com", "", "example.com", 0, "allow[0]" },
		{ "example.com", "", "www.example.com", 0, "default:deny" },
		{ "*.example.com", "", "example.com", 0, "default:deny" },
		{ "*.example.com", "", "www.example.com", 0, "allow[0]" },
		{ "*.example.com", "", "a.b.example.com", 0, "allow[0]" },
		{ "*.example.com", "", "badexample.com", 0, "default:deny" },
		{ "1.2.3.4", "", "example.com", 0, "default:deny" },
		{ "1.2.3.4 0.0.0.0/0", "", "example.com", 0, "allow[1]" },
		{ "0.0.0.0/0:443", "", "example.com", 0, "allow[0]" },
		{ "0.0.0.0/0:443", "", "example.com", 80, "default:deny" },
		{ "example.com:443", "", "example.com", 0, "allow[0]" },
		{ "example.com:443", "", "example.com", 80, "default:deny" },
		{ "example.com:443 example.com:80", "", "example.com", 80, "allow[1]" },
		{ "example.com", "*.example.com", "example.com", 0, "allow[0]" },
		{ "example.com", "*.example.com", "x.example.com", 0, "drop[0]" },
		{ "example.com", "*.example.com", "example.org", 0, "default:allow" },
		{ "www.example.com", "0.0.0.0/0", "www.example.com", 0, "allow[0]" },
		{ "www.example.com", "0.0.0.0/0", "example.com", 0, "drop[0]" },
		{ "", "8.8.8.8", "example.com", 0, "default:allow" },
		{ "0.0.0.0/0", "example.com", "example.com", 0, "drop[0]" },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct policy p = make(t[i].allow, t[i].drop);
		struct policy_verdict v = policy_decide_name(&p, t[i].name, t[i].port);
		char id[POLICY_ID_MAX];

		policy_rule_id(v.rule, v.index, id);
		ok(!strcmp(id, t[i].id), "allow {%s} drop {%s} %s:%u → %s", t[i].allow, t[i].drop, t[i].name, t[i].port, id);
		policy_done(&p);
	}
}

int main(void)
{
	test_addresses();
	test_opened();
	test_names();
	return tap_done();
}
