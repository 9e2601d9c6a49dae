/* What is done with a guest's question, and with the answer to one that was allowed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/gate/gate.h"

#define TYPE_IXFR 251u
#define TYPE_MAILA 254u
#define OPENING_MS 3000u /* core and netd answer in a few; then the guest hears of the failure */

static const char *type_text(uint16_t type, char out[12])
{
	static const struct { uint16_t type; const char *text; } known[] = {
		{ 1, "A" }, { 2, "NS" }, { 5, "CNAME" }, { 6, "SOA" }, { 12, "PTR" }, { 15, "MX" }, { 16, "TXT" }, { 28, "AAAA" }, { 33, "SRV" }, { 35, "NAPTR" }, { 43, "DS" }, { 48, "DNSKEY" }, { 64, "SVCB" }, { 65, "HTTPS" },
		{ 255, "ANY" }, { 257, "CAA" },
	};
	char digits[8];
	unsigned n = 0, at = 4;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].type == type)
			return known[i].text;
	memcpy(out, "TYPE", 4);
	do
		digits[n++] = (char)('0' + type % 10);
	while ((type /= 10));
	while (n)
		out[at++] = digits[--n];
	out[at] = '\0';
	return out;
}

static void note(struct vm *vm, const struct dns_query *q, bool allowed, const char *rule)
{
	char type[12];

	if (!vm->ruled)
		return;
	record_write(vm, &(struct record_line){ .event = "dns", .name = q->name, .rule = rule, .allowed = allowed, .qtype = type_text(q->type, type) });
}

static bool take_token(struct vm *vm)
{
	uint64_t now = now_mono_ms(), more = (now - vm->tokens_ms) * VM_RATE_PER_S;

	vm->tokens = vm->tokens + more > VM_BURST * 1000u ? VM_BURST * 1000u : vm->tokens + more;
	vm->tokens_ms = now;
	if (vm->tokens < 1000)
		return false;
	vm->tokens -= 1000;
	return true;
}

void answer_empty(struct vm *vm, struct asker *a, const struct dns_query *q, enum dns_rcode rcode)
{
	uint8_t out[DNS_HEAD_BYTES + DNS_NAME_WIRE_MAX + 32];

	serve_answer(vm, a, q, out, dns_write_empty(out, q, rcode, false, false));
}

static void refuse(struct vm *vm, struct asker *a, const struct dns_query *q, const char *rule)
{
	vm->counts.refused++;
	note(vm, q, false, rule);
	answer_empty(vm, a, q, DNS_REFUSED);
}

static bool by_name(const struct vm *vm, struct policy_verdict v)
{
	return v.rule == RULE_ALLOW && vm->policy.list[POLICY_ALLOW][v.index].kind != POLICY_NET;
}

/* An allowed question: from the cache, or on its way. */
static void ask(struct vm *vm, struct asker *a, const struct dns_query *q, struct policy_verdict v)
{
	struct query *query = query_new(vm, a, q, v);
	uint8_t *msg = vm->gate->scratch;
	struct dns_answer answer;
	size_t n;

	if (!query) {
		answer_empty(vm, a, q, DNS_SERVFAIL);
		return;
	}
	n = cache_get(vm, q, msg, now_mono_ms());
	if (n && !dns_read_answer(msg, n, q, (uint16_t)(msg[0] << 8 | msg[1]), &answer))
		deliver(query, msg, n, &answer);
	else
		query_start(query);
}

void decide(struct vm *vm, struct asker *a, const uint8_t *p, size_t n)
{
	struct dns_query q;
	struct policy_verdict v;
	char rule[POLICY_ID_MAX];
	int err = dns_read_query(p, n, &q);

	if (err == -EBADMSG) {
		if (a->conn)
			a->conn->waiting--;
		return;
	}
	vm->counts.queries++;
	if (!take_token(vm)) {
		vm->over_rate++;
		vm->counts.refused += !vm->ruled; /* nothing else tells */
		answer_empty(vm, a, &q, DNS_SERVFAIL);
		return;
	}
	if (err || q.class != DNS_CLASS_IN || (q.type >= TYPE_IXFR && q.type <= TYPE_MAILA)) {
		answer_empty(vm, a, &q, err == -EINVAL ? DNS_FORMERR : DNS_NOTIMP);
		return;
	}
	v = policy_decide_name(&vm->policy, q.name, 0);
	if (local_answer(vm, a, &q, by_name(vm, v)))
		return;
	policy_rule_id(v.rule, v.index, rule);
	if (!v.allow || !vm->n_upstream) {
		refuse(vm, a, &q, v.allow ? "config:no-dns" : rule);
		return;
	}
	note(vm, &q, true, rule);
	ask(vm, a, &q, v);
}

/* ---- answers ---- */

/* Does an allow entry with addresses, narrower than /0, hold it? */
static bool named_by_address(const struct vm *vm, const struct dns_addr *x)
{
	for (size_t i = 0; i < vm->policy.n[POLICY_ALLOW]; i++) {
		const struct policy_entry *e = &vm->policy.list[POLICY_ALLOW][i];

		if (e->kind == POLICY_NET && e->net.prefix && policy_net_holds(&e->net, x->family, x->addr))
			return true;
	}
	return false;
}

/* A name that leads into space that is denied: a rebinding attempt, or a wrong server. */
static void note_rebinding(struct vm *vm, const struct dns_query *q, const struct dns_addr *x)
{
	static const struct policy nothing;
	struct policy_ask ask_ = { .family = x->family, .own = vm->own, .n_own = vm->n_own };
	struct nf_tuple t = { .family = x->family };
	struct policy_verdict v;
	char rule[POLICY_ID_MAX];

	memcpy(ask_.addr, x->addr, 16);
	memcpy(t.dst, x->addr, 16);
	v = policy_decide(&nothing, &ask_);
	policy_rule_id(v.rule, v.index, rule);
	record_write(vm, &(struct record_line){ .event = "dns", .t = &t, .name = q->name, .rule = rule, .note = "rebinding" });
}

/* What the guest is told of an allowed name: addresses that it can reach. */
static unsigned keep(struct vm *vm, const struct dns_query *q, const struct dns_answer *a, struct dns_addr *told, struct dns_addr *to_open, unsigned *n_open)
{
	unsigned n = 0;

	*n_open = 0;
	for (unsigned i = 0; i < a->n_addrs; i++) {
		bool may = policy_may_open(vm->own, vm->n_own, a->addrs[i].family, a->addrs[i].addr);

		if (!may && !named_by_address(vm, &a->addrs[i])) {
			note_rebinding(vm, q, &a->addrs[i]);
			continue;
		}
		if (may)
			to_open[(*n_open)++] = a->addrs[i];
		told[n] = a->addrs[i];
		told[n].ttl_s = told[n].ttl_s > TTL_TOLD_S ? TTL_TOLD_S : told[n].ttl_s;
		n++;
	}
	return n;
}

static void answer(struct query *q, uint8_t *msg, size_t n)
{
	serve_answer(q->vm, &q->asker, &q->q, msg, n);
	query_free(q);
}

/* The name is an entry of allow: the CNAMEs between it and its addresses are left out, since no rule names them. */
static void deliver_named(struct query *q, const struct dns_answer *a)
{
	struct dns_addr told[DNS_ADDRS_MAX], to_open[DNS_ADDRS_MAX];
	unsigned n_open, n = keep(q->vm, &q->q, a, told, to_open, &n_open);
	uint8_t out[2048];
	size_t len;
	int err;

	if (!n) {
		q->vm->counts.refused++;
		query_fail(q, DNS_REFUSED);
		return;
	}
	len = dns_write_addrs(out, q->asker.conn ? sizeof(out) : q->q.udp_max, &q->q, told, n, false);
	err = open_addrs(q, to_open, n_open);
	if (err) {
		query_fail(q, DNS_SERVFAIL);
	} else if (!q->opening) {
		answer(q, out, len);
	} else if (!(q->msg = malloc(len))) {
		query_fail(q, DNS_SERVFAIL);
	} else {
		memcpy(q->msg, out, len);
		q->msg_len = len;
		q->state = QUERY_OPENING;
		ev_timer_set(q->vm->gate->loop, &q->timer, OPENING_MS);
	}
}

void deliver(struct query *q, uint8_t *msg, size_t n, const struct dns_answer *a)
{
	uint64_t now = now_mono_ms();

	for (unsigned i = 0; i < a->n_addrs; i++)
		seen_put(q->vm, &a->addrs[i], q->q.name, now);
	if (a->n_addrs && by_name(q->vm, q->verdict)) {
		deliver_named(q, a);
		return;
	}
	dns_restore(msg, &q->q);
	dns_age(msg, n, 0, TTL_CAP_S);
	answer(q, msg, n);
}
