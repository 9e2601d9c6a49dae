/* Entries of allow and drop: what is refused and how it is said, and that what is taken is written back the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy/policy.h"
#include "tests/unit/tap.h"

static void test_bad(void)
{
	static const char *const bad[] = { "", " ", "*", "*.", "1.2.3", "1.2.3.4.5", "1.2.3.400", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4/33",
		"1.2.3.4/8", "10.0.0.0/", "10.0.0.0/+8", "fe80::/129", "fd00::1/8", "2001:db8::1:443:x", "[2001:db8::1", "[2001:db8::1]443", "[2001:db8::1]:", "[1.2.3.4]:80",
		"[]:80", "[::1]:0", "example..com", ".example.com", "-", "a b.com", "http://example.com", "https://example.com:443/", "*.*.com", "a.*.com", "*example.com",
		"b\xc3\xbcr\xc3\xbc.example", "example.com:99999", "example.com:443:1", "example.com/24", "1.2.3.4 ", "0x7f.1", "::g" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct policy_entry e;
		struct fault f = { "" };
		bool dash = strcmp(bad[i], "-") == 0 || strcmp(bad[i], "0x7f.1") == 0; /* odd, but names */

		ok(dash ? policy_entry_parse(&e, bad[i], &f) == 0 : policy_entry_parse(&e, bad[i], &f) == -EINVAL && f.text[0], "%s '%s': %s",
		   dash ? "taken" : "refused", bad[i], f.text);
		policy_entry_done(&e);
	}
	char longest[400];
	struct policy_entry e;

	memset(longest, 'a', sizeof(longest));
	longest[64] = longest[128] = longest[192] = '.';
	longest[64 + 63] = 'a';
	longest[254] = '\0';
	ok(policy_entry_parse(&e, longest, NULL) == -EINVAL, "254 bytes of name");
	policy_entry_done(&e);
}

static void test_good(void)
{
	static const char *const good[][2] = { { "1.2.3.4", NULL }, { "10.0.0.0/8", NULL }, { "1.2.3.4/32", "1.2.3.4" }, { "1.2.3.4:443", NULL }, { "10.0.0.0/8:443", NULL },
		{ "0.0.0.0/0", NULL }, { "::/0", NULL }, { "2001:DB8:0::1", "2001:db8::1" },
		{ "fd00::/8", NULL }, { "[2001:db8::1]:443", NULL }, { "[2001:db8::1]", "2001:db8::1" },
		{ "[fd00::/8]:53", NULL }, 
		{ "Example.COM", "example.com" }, { "example.com.", "example.com" }, { "example.com:443", NULL }, { "*.example.com", NULL },
		{ "*.Example.com:8443", "*.example.com:8443" }, 
		{ "xn--bcher-kva.example", NULL }, { "localhost", NULL }, { "_dmarc.example.com", NULL }, { "0.0.0.0/1", NULL } };

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		char text[POLICY_TEXT_MAX + 1] = "";
		struct policy_entry e;
		struct fault f = { "" };
		int r = policy_entry_parse(&e, good[i][0], &f);

		if (!r)
			policy_entry_format(&e, text);
		ok(!r && !strcmp(text, good[i][1] ? good[i][1] : good[i][0]), "'%s' is '%s' %s", good[i][0], text, f.text);
		policy_entry_done(&e);
	}
}

static void test_lists(void)
{
	struct policy p = { 0 }, q = { 0 };
	struct fault f = { "" };
	static uint8_t rules[POLICY_RULES_MAX][POLICY_RULE_BYTES];

	ok(policy_add(&p, POLICY_DROP, "example.com:443", &f) == -EINVAL && strstr(f.text, "without the port"), "a name with a port is not dropped: %s", f.text);
	ok(!policy_add(&p, POLICY_DROP, "example.com", &f) && !policy_add(&p, POLICY_DROP, "0.0.0.0/0", &f), "drops");
	ok(!policy_add(&p, POLICY_ALLOW, "*.example.org:443", &f) && !policy_add(&p, POLICY_ALLOW, "10.1.0.0/16:80", &f), "allows");
	ok(!policy_copy_list(&q, &p, POLICY_ALLOW) && q.n[POLICY_ALLOW] == 2 && q.list[0][0].name != p.list[0][0].name &&
	   !strcmp(q.list[0][0].name, "example.org"), "copied");
	ok(policy_pack(&p, rules) == 3, "three rules: names have none, everything has two");
	ok(rules[0][0] == 1 && rules[0][1] == 4 && rules[0][2] == 16 && rules[0][4] == 80 && rules[0][6] == 1 &&
	   rules[0][8] == 10 && rules[0][9] == 1 && rules[0][24] == 1, "the network");
	ok(rules[1][0] == 0 && rules[1][1] == 4 && rules[1][2] == 0 && rules[1][6] == 1 && rules[1][24] == 0 && rules[2][1] == 6, "everything");
	policy_done(&q);
	for (unsigned i = 0; i < POLICY_ENTRIES_MAX; i++)
		if (policy_add(&q, POLICY_ALLOW, "0.0.0.0/0", &f) || policy_add(&q, POLICY_DROP, "0.0.0.0/0", &f))
			break;
	ok(q.n[0] == POLICY_ENTRIES_MAX && policy_add(&q, POLICY_ALLOW, "1.2.3.4", &f) == -ENOSPC && strstr(f.text, "networks"), "full: %s", f.text);
	ok(policy_pack(&q, rules) == POLICY_RULES_MAX, "and still packed");
	policy_done(&p);
	policy_done(&q);
}

int main(void)
{
	test_bad();
	test_good();
	test_lists();
	return tap_done();
}
