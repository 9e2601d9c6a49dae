/* A VM's network rules and record: shown, changed, explained, read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/auth.h"
#include "api/core/gate.h"
#include "api/core/net.h"
#include "api/core/policy.h"
#include "api/core/requests.h"
#include "lib/wire/gate.h"

#define TARGET_MAX 2048u

static bool may_have_rules(struct ask *a)
{
	if (a->vm->group && group_has_rules(a->vm->group))
		return true;
	reply_err(a->core, a->id, 409, "no rules hold for VM '%s' in its network mode: they belong to 'network: { mode: isolated }', or 'bridge'", a->name);
	return false;
}

/* ---- rules ---- */

/* Waits for netd and gate; its VM may go meanwhile. */
struct changing {
	struct core *core;
	uint32_t id;
	char name[VM_NAME_MAX + 1];
};

static void reply_policy(struct core *c, uint32_t id, const struct vm *vm)
{
	struct buf *b = peer_begin_reply(&c->front, WIRE_OK, id);

	wire_str(b, C_T_NET_MODE, net_mode_of(vm));
	policy_put(b, vm);
	if (peer_send(&c->front, NULL, 0))
		reply_err(c, id, 500, "the rules of VM '%s' are longer than one answer", vm->r.name);
}

static void on_changed(void *arg, const struct fault *f)
{
	struct changing *x = arg;
	const struct vm *vm = registry_find(&x->core->reg, x->name);

	if (f->text[0])
		reply_err(x->core, x->id, 500, "the rules of VM '%s' are kept, but do not hold yet: %s", x->name, f->text);
	else if (vm)
		reply_policy(x->core, x->id, vm);
	else
		reply_err(x->core, x->id, 404, "VM '%s' was deleted meanwhile", x->name);
	free(x);
}

static void change(struct ask *a, const struct policy_lists *l, bool reset)
{
	struct changing *x = calloc(1, sizeof(*x));
	int err = x ? policy_set(a->vm, l, reset) : -ENOMEM;

	if (err) {
		free(x);
		reply_err(a->core, a->id, err == -ENOSPC || err == -EDQUOT ? 507 : 500, "the rules of VM '%s' cannot be kept: %s", a->name, strerror(-err));
		return;
	}
	*x = (struct changing){ .core = a->core, .id = a->id };
	memcpy(x->name, a->vm->r.name, sizeof(x->name));
	err = gate_policy_changed(a->vm, on_changed, x);
	if (err) {
		struct fault f = { "" };

		fault_errno(&f, err, "netd");
		on_changed(x, &f);
	}
}

void ask_policy(struct ask *a)
{
	struct policy_lists l;
	struct fault f = { "" };
	uint64_t reset = 0;

	wire_get_u64(a->m, C_T_NET_RESET, &reset);
	/* What a VM may reach is part of what it is: who may only forward must not loosen it. */
	if (!auth_has(a, policy_is_changed(a->m) ? SCOPE_VM : SCOPE_NET))
		return;
	if (policy_lists_take(&l, a->m, &f)) {
		reply_err(a->core, a->id, 400, "%s", f.text);
		return;
	}
	if (may_have_rules(a) && policy_lists_fit(&l, a->vm->group, &f)) {
		reply_err(a->core, a->id, 400, "%s", f.text);
	} else if (a->vm->group && group_has_rules(a->vm->group)) {
		if (reset || l.text[0] || l.text[1])
			change(a, &l, reset != 0);
		else
			reply_policy(a->core, a->id, a->vm);
	}
	policy_lists_done(&l);
}

/* ---- explain ---- */

struct target {
	char host[POLICY_NAME_MAX + 1]; /* "" for an address */
	struct policy_net addr;
	uint8_t proto;
	uint16_t port;
};

static const struct { const char *scheme; uint8_t proto; uint16_t port; } schemes[] = {
	{ "http", 6, 80 }, { "https", 6, 443 }, { "ssh", 6, 22 }, { "git", 6, 9418 }, { "ftp", 6, 21 }, { "ws", 6, 80 }, { "wss", 6, 443 },
	{ "tcp", 6, 0 }, { "udp", 17, 0 },
	{ "dns", 17, 53 }, { "ntp", 17, 123 }, { "icmp", 1, 0 },
};

/* "https://user@host:port/path" → proto, port, and "host:port" at *rest. */
static int take_scheme(struct target *t, char *text, char **rest, struct fault *f)
{
	char *sep = strstr(text, "://"), *at;

	*rest = text;
	if (!sep)
		return 0;
	*sep = '\0';
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		if (strcmp(schemes[i].scheme, text) == 0) {
			t->proto = schemes[i].proto;
			t->port = schemes[i].port;
			*rest = sep + 3;
			(*rest)[strcspn(*rest, "/?#")] = '\0';
			at = strrchr(*rest, '@');
			*rest = at ? at + 1 : *rest;
			return 0;
		}
	return fault_set(f, -EINVAL, "'%.40s://' is not known: give a URL of http or https, tcp://…, udp://…, an address, address:port, or a host name", text);
}

static int take_target(struct target *t, char *text, struct fault *f)
{
	struct policy_entry e = { 0 };
	char *rest;
	int err = take_scheme(t, text, &rest, f);

	if (!err)
		err = policy_entry_parse(&e, rest, f);
	if (!err && (e.kind == POLICY_SUFFIX || (e.kind == POLICY_NET && e.net.prefix != (e.net.family == 6 ? 128 : 32))))
		err = fault_set(f, -EINVAL, "'%.60s' stands for many: name one address or one host", rest);
	if (!err) {
		t->addr = e.net;
		if (e.name)
			memcpy(t->host, e.name, strlen(e.name) + 1);
		if (e.port)
			t->port = e.port;
		if (!t->proto && t->port)
			t->proto = 6;
		if (t->proto == 1 && e.net.family == 6)
			t->proto = 58;
	}
	policy_entry_done(&e);
	return err;
}

struct explaining {
	struct vm *vm; /* borrowed: answers all its calls before it is freed */
	uint32_t id;
	struct target t;
	struct policy_opened opened[GATE_LIVE_MAX];
	uint64_t left_s[GATE_LIVE_MAX];
	size_t n_opened;
	struct { uint8_t family, addr[16]; } known[GATE_LIVE_MAX];
	size_t n_known;
};

static void take_opened(struct explaining *x, const struct wire_field *f)
{
	struct policy_opened *o = &x->opened[x->n_opened];
	struct wire_field addr;
	struct wire_msg m;
	uint64_t port = 0, rule = 0;

	if (x->n_opened == GATE_LIVE_MAX || wire_sub(f, &m) || !wire_get(&m, G_T_ADDR, &addr) || (addr.n != 4 && addr.n != 16))
		return;
	wire_get_u64(&m, G_T_PORT, &port);
	wire_get_u64(&m, G_T_RULE, &rule);
	wire_get_u64(&m, G_T_TTL_S, &x->left_s[x->n_opened]);
	*o = (struct policy_opened){ .family = addr.n == 4 ? 4 : 6, .port = (uint16_t)port, .rule = (uint16_t)rule };
	memcpy(o->addr, addr.p, addr.n);
	x->n_opened++;
}

static void take_live(struct explaining *x, const struct wire_msg *m)
{
	struct wire_iter it;
	struct wire_field f;

	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f)) { /* as many as the frame holds */
		if (f.tag == G_T_OPENED)
			take_opened(x, &f);
		if (f.tag == G_T_ADDR && (f.n == 4 || f.n == 16) && x->n_known < GATE_LIVE_MAX) {
			x->known[x->n_known].family = f.n == 4 ? 4 : 6;
			memcpy(x->known[x->n_known++].addr, f.p, f.n);
		}
	}
}

/* What the id stands for, in the operator's own words. */
static void rule_text(const struct policy *p, struct policy_verdict v, char out[POLICY_TEXT_MAX + 1])
{
	static const char *const said[] = { [RULE_METADATA] = "link-local and metadata addresses", [RULE_LAN] = "private networks, other VMs and the host",
		[RULE_DEFAULT_ALLOW] = "what no rule names is allowed", [RULE_DEFAULT_DENY] = "what no allow entry names is denied" };

	if (v.rule == RULE_ALLOW || v.rule == RULE_DROP)
		policy_entry_format(&p->list[v.rule == RULE_ALLOW ? POLICY_ALLOW : POLICY_DROP][v.index], out);
	else
		snprintf(out, POLICY_TEXT_MAX + 1, "%s", said[v.rule]);
}

static void put_verdict(struct buf *b, const struct vm *vm, struct policy_verdict v)
{
	char id[POLICY_ID_MAX], text[POLICY_TEXT_MAX + 1];

	policy_rule_id(v.rule, v.index, id);
	rule_text(&vm->policy, v, text);
	wire_u64(b, C_T_ALLOWED, v.allow);
	wire_str(b, C_T_RULE, id);
	wire_str(b, C_T_RULE_TEXT, text);
}

/* On a bridge: what is in its own network is not judged, but for the host. */
static bool is_sibling(const struct vm *vm, uint8_t family, const uint8_t *addr)
{
	const struct cidr *net = &vm->group->pool.gateway;
	struct cidr a = { (uint32_t)addr[0] << 24 | (uint32_t)addr[1] << 16 | (uint32_t)addr[2] << 8 | addr[3], net->bits };

	if (!net_mode_is_bridge(vm) || family != 4)
		return net_mode_is_bridge(vm) && vm->group->ipv6 && memcmp(addr, vm->group->prefix6, 8) == 0;
	return cidr_first(a) == cidr_first(*net) && a.addr != net->addr;
}

static struct policy_verdict decide(const struct explaining *x, uint8_t family, const uint8_t *addr)
{
	struct policy_net own[GROUPS_MAX];
	struct policy_ask q = { .family = family, .proto = x->t.proto, .port = x->t.port, .opened = x->opened, .n_opened = x->n_opened, .own = own };

	if (!net_has_rules(x->vm))
		return (struct policy_verdict){ .allow = true, .rule = RULE_DEFAULT_ALLOW };
	memcpy(q.addr, addr, family == 6 ? 16 : 4);
	q.n_own = policy_own(x->vm->core, own);
	return policy_decide(&x->vm->policy, &q);
}

/* An address that the name led to, with what holds for it. */
static struct policy_verdict put_known(struct buf *b, const struct explaining *x, size_t i)
{
	struct policy_verdict v = decide(x, x->known[i].family, x->known[i].addr);
	char text[POLICY_ADDR_TEXT_MAX];
	size_t mark = wire_open(b, C_T_ADDR);

	policy_addr_format(x->known[i].family, x->known[i].addr, text);
	wire_str(b, C_T_IP, text);
	put_verdict(b, x->vm, v);
	for (size_t k = 0; k < x->n_opened; k++)
		if (x->opened[k].family == x->known[i].family && !memcmp(x->opened[k].addr, x->known[i].addr, 16)) {
			wire_u64(b, C_T_OPEN_S, x->left_s[k]);
			break;
		}
	wire_close(b, mark);
	return v;
}

static void explain(const struct explaining *x)
{
	struct core *c = x->vm->core;
	struct buf *b = peer_begin_reply(&c->front, WIRE_OK, x->id);
	char text[POLICY_ADDR_TEXT_MAX];

	if (x->vm->net_locked)
		wire_u64(b, C_T_NET_LOCKED, 1);
	if (x->t.host[0]) {
		wire_str(b, C_T_NAME, x->t.host);
		put_verdict(b, x->vm, policy_decide_name(&x->vm->policy, x->t.host, x->t.port));
		for (size_t i = 0; i < x->n_known; i++)
			put_known(b, x, i);
	} else {
		policy_addr_format(x->t.addr.family, x->t.addr.addr, text);
		wire_str(b, C_T_NAME, text);
		if (is_sibling(x->vm, x->t.addr.family, x->t.addr.addr)) {
			wire_u64(b, C_T_ALLOWED, 1);
			wire_str(b, C_T_RULE, "bridge");
			wire_str(b, C_T_RULE_TEXT, "VMs of one bridge see each other");
		} else {
			put_verdict(b, x->vm, decide(x, x->t.addr.family, x->t.addr.addr));
		}
	}
	wire_u64(b, C_T_PORT, x->t.port);
	wire_u64(b, C_T_PROTO, x->t.proto);
	peer_send(&c->front, NULL, 0);
}

static void on_live(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct explaining *x = arg;

	(void)fds; (void)n_fds;
	if (m && m->type == WIRE_OK)
		take_live(x, m);
	explain(x);
	free(x);
}

void ask_explain(struct ask *a)
{
	struct explaining *x = calloc(1, sizeof(*x));
	char text[TARGET_MAX] = "";
	struct fault f = { "" };
	struct buf *b;

	if (!x || !may_have_rules(a)) {
		if (!x)
			reply_err(a->core, a->id, 500, "out of memory");
		free(x);
		return;
	}
	x->vm = a->vm;
	x->id = a->id;
	if (wire_get_str(a->m, C_T_TEXT, text, sizeof(text)) || take_target(&x->t, text, &f)) {
		reply_err(a->core, a->id, 400, "%s", f.text[0] ? f.text : "'target' is needed: a URL, address, address:port or host name");
		free(x);
		return;
	}
	if (a->vm->gated && peer_there(&a->core->gate)) {
		b = peer_begin(&a->core->gate, G_LIVE);
		wire_str(b, G_T_VM, a->vm->r.name);
		if (x->t.host[0])
			wire_str(b, G_T_NAME, x->t.host);
		if (!peer_call(&a->core->gate, NULL, 0, on_live, x))
			return;
	}
	explain(x);
	free(x);
}

/* ---- the record ---- */

void ask_net_log(struct ask *a)
{
	static const char *const logs[] = GATE_LOG_FILES;
	int fds[ARRAY_LEN(logs)];
	unsigned n = 0;

	for (size_t i = ARRAY_LEN(logs); i--;) { /* oldest first */
		fds[n] = openat(a->vm->dir_fd, logs[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
		n += fds[n] >= 0;
	}
	if (n) {
		peer_begin_reply(&a->core->front, WIRE_OK, a->id);
		peer_send(&a->core->front, fds, n);
	} else {
		reply_err(a->core, a->id, 404, "VM '%s' has no network record: one is kept in mode 'isolated', and on a bridge where rules hold", a->name);
	}
	while (n)
		fd_close(&fds[--n]);
}
