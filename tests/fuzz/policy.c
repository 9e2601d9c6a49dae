/* Any text as entries: refused with a sentence, or taken, and then its own writing is taken too and means the same; deciding never runs off. */
#include <stdlib.h>
#include <string.h>

#include "lib/policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(struct policy *p, const char *text)
{
	char a[POLICY_TEXT_MAX + 1], b[POLICY_TEXT_MAX + 1];
	struct policy_entry e, again;
	struct fault f = { "" };

	if (policy_entry_parse(&e, text, &f)) {
		if (!f.text[0])
			abort();
		policy_entry_done(&e);
		return;
	}
	policy_entry_format(&e, a);
	if (policy_entry_parse(&again, a, &f))
		abort();
	policy_entry_format(&again, b);
	if (strcmp(a, b) != 0 || again.kind != e.kind || again.port != e.port || memcmp(&again.net, &e.net, sizeof(e.net)) != 0)
		abort();
	policy_entry_done(&e);
	policy_entry_done(&again);
	policy_add(p, POLICY_ALLOW, text, &f);
	policy_add(p, POLICY_DROP, text, &f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t rules[POLICY_RULES_MAX][POLICY_RULE_BYTES];
	struct policy p = { 0 };
	struct policy_ask a = { .family = 4, .proto = 6, .port = 443 };
	char line[600], id[POLICY_ID_MAX], name[POLICY_NAME_MAX + 1];

	while (size) {
		size_t n = 0;

		while (n < size && data[n] != '\n')
			n++;
		if (n < sizeof(line)) {
			memcpy(line, data, n);
			line[n] = '\0';
			one(&p, line);
			if (!policy_name_canon(line, name)) {
				struct policy_verdict v = policy_decide_name(&p, name, 0);

				policy_rule_id(v.rule, v.index, id);
			}
		}
		data += n < size ? n + 1 : n;
		size -= n < size ? n + 1 : n;
	}
	for (unsigned i = 0; i < 64; i++) {
		a.addr[i % 16] = (uint8_t)(i * 37);
		a.family = i & 1 ? 6 : 4;
		policy_decide(&p, &a);
	}
	policy_pack(&p, rules);
	policy_done(&p);
	return 0;
}
