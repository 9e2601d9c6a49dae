#include "api/core/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/core/net.h"
#include "api/core/policy.h"
#include "lib/wire/gate.h"
#include "lib/wire/netd.h"

#define MISSED_MS 1000u
#define MISSED_TURNS 5u

/* ---- the record's files ---- */

static const char *const logs[] = GATE_LOG_FILES;

static int log_open(const struct vm *vm)
{
	int fd = openat(vm->dir_fd, logs[0], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0640);

	return fd < 0 ? -errno : fd;
}

/* The newest becomes .1 and so on; the oldest goes. A file that is read goes on under its descriptor. */
static int log_rotate(const struct vm *vm)
{
	for (size_t i = ARRAY_LEN(logs) - 1; i > 0; i--)
		if (renameat(vm->dir_fd, logs[i - 1], vm->dir_fd, logs[i]) && errno != ENOENT)
			return -errno;
	return log_open(vm);
}

int gate_log_open(struct vm *vm)
{
	int fd = log_open(vm);

	if (fd >= 0)
		return fd;
	core_say(vm->core, "NOTE", "%s: its network record cannot be opened: %s", vm->r.name, strerror(-fd));
	if (vm->group && vm->group->audit_required && !vm->net_locked) {
		vm->net_locked = true;
		gate_policy_changed(vm, NULL, NULL);
	}
	return fd;
}

/* ---- flows that were not logged ---- */

static uint64_t unlogged(const struct wire_msg *m)
{
	struct wire_iter it;
	struct wire_field f;
	struct wire_msg counter;
	uint64_t sum = 0, v;

	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f)) /* as many as the frame holds */
		if (f.tag == N_T_COUNTER && !wire_sub(&f, &counter) && wire_get_u64(&counter, N_T_UNLOGGED, &v))
			sum += v;
	return sum;
}

static void on_counters(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	struct core *c = vm->core;
	uint64_t now, before = vm->net_missed;
	struct buf *b;

	(void)fds; (void)n_fds;
	if (!m || m->type != WIRE_OK || !vm->gated || !peer_there(&c->gate))
		return;
	now = unlogged(m);
	vm->net_missed = now;
	if (now < before) /* a new policy counts from nothing */
		before = 0;
	if (now == before)
		return;
	b = peer_begin(&c->gate, G_MISSED);
	wire_str(b, G_T_VM, vm->r.name);
	wire_u64(b, G_T_LOST, now - before);
	peer_send(&c->gate, NULL, 0);
}

/* A share of the VMs each time: all of them every MISSED_TURNS. */
static void on_missed_timer(struct ev_timer *t)
{
	struct core *c = t->arg;
	uint64_t turn = now_mono_ms() / MISSED_MS % MISSED_TURNS;

	for (struct vm *vm = c->reg.first; vm && peer_there(&c->netd); vm = vm->next)
		if (vm->gated && vm->r.slot % MISSED_TURNS == turn) {
			wire_str(peer_begin(&c->netd, N_COUNTERS), N_T_VM, vm->r.name);
			if (peer_call(&c->netd, NULL, 0, on_counters, vm))
				break;
		}
	ev_timer_set(c->loop, t, MISSED_MS);
}

/* From the first VM on. */
void gate_watch_unlogged(struct vm *vm)
{
	struct core *c = vm->core;

	vm->net_missed = 0;
	if (c->missed_timer.fn)
		return;
	c->missed_timer = (struct ev_timer){ .fn = on_missed_timer, .arg = c };
	ev_timer_set(c->loop, &c->missed_timer, MISSED_MS);
}

/* ---- core → gate ---- */

void gate_put_upstreams(struct buf *b, const struct vm *vm)
{
	char dns[sizeof(vm->group->dns)], *save = NULL;

	if (!vm->group)
		return;
	snprintf(dns, sizeof(dns), "%s", vm->group->dns);
	for (char *s = strtok_r(dns, ",", &save); s; s = strtok_r(NULL, ",", &save))
		if (strncmp(s, "127.", 4) != 0) /* the contract's word for: no DNS */
			wire_str(b, G_T_DNS, s);
}

void gate_put_own(struct buf *b, const struct core *c)
{
	struct policy_net own[GROUPS_MAX];
	size_t n = policy_own(c, own);

	for (size_t i = 0; i < n; i++) {
		struct policy_entry e = { .kind = POLICY_NET, .net = own[i] };
		char text[POLICY_TEXT_MAX + 1];

		policy_entry_format(&e, text);
		wire_str(b, G_T_OWN, text);
	}
}

static void on_up(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	struct fault f = { "" };

	(void)fds; (void)n_fds;
	if (m && peer_result(m, "gate", &f, NULL))
		core_say(vm->core, "NOTE", "%s has no DNS and no network record: %s", vm->r.name, f.text);
}

int gate_vm_up(struct vm *vm, const struct gate_place *at)
{
	struct core *c = vm->core;
	int fds[4] = { at->events_fd, at->udp_fd, at->tcp_fd, -1 }, err;
	struct buf *b;

	if (!peer_there(&c->gate))
		return 0;
	fds[3] = gate_log_open(vm);
	b = peer_begin(&c->gate, G_VM_UP);
	wire_str(b, G_T_VM, vm->r.name);
	wire_str(b, G_T_GROUP, vm->r.group);
	wire_str(b, G_T_IP4, at->ip4);
	wire_str(b, G_T_GW4, at->gw4);
	wire_str(b, G_T_IP6, at->ip6);
	wire_str(b, G_T_GW6, at->gw6);
	gate_put_upstreams(b, vm);
	gate_put_own(b, c);
	policy_put_entries(b, vm);
	wire_u64(b, G_T_FD_EVENTS, 0);
	wire_u64(b, G_T_FD_UDP, 1);
	wire_u64(b, G_T_FD_TCP, 2);
	if (fds[3] >= 0)
		wire_u64(b, G_T_FD_LOG, 3);
	err = peer_call(&c->gate, fds, fds[3] >= 0 ? 4 : 3, on_up, vm);
	vm->gated = !err;
	gate_watch_unlogged(vm);
	fd_close(&fds[3]);
	return err;
}

void gate_vm_down(struct vm *vm)
{
	struct core *c = vm->core;

	vm->net_locked = false;
	if (!vm->gated && !vm->named)
		return;
	vm->gated = vm->named = false;
	peer_forget(&c->gate, vm);
	if (!peer_there(&c->gate))
		return;
	wire_str(peer_begin(&c->gate, G_VM_DOWN), G_T_VM, vm->r.name);
	peer_send(&c->gate, NULL, 0);
}

/* ---- another policy: netd first, so that nothing is open that the resolver would refuse ---- */

struct change {
	struct core *core;
	char name[VM_NAME_MAX + 1];
	void (*done)(void *arg, const struct fault *f);
	void *arg;
};

static void changed(struct change *x, const struct fault *f)
{
	if (x->done)
		x->done(x->arg, f);
	else if (f->text[0])
		core_say(x->core, "NOTE", "%s: its network rules could not be changed: %s", x->name, f->text);
	free(x);
}

static void on_gate_policy(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct fault f = { "" };

	(void)fds; (void)n_fds;
	peer_result(m, "gate", &f, NULL);
	changed(arg, &f);
}

static void on_netd_policy(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct change *x = arg;
	struct core *c = x->core;
	struct vm *vm = registry_find(&c->reg, x->name);
	struct fault f = { "" };
	struct buf *b;

	(void)fds; (void)n_fds;
	if (peer_result(m, "netd", &f, NULL) || !vm || (!vm->gated && !net_mode_is_bridge(vm)) || !peer_there(&c->gate)) {
		changed(x, &f);
		return;
	}
	if (net_mode_is_bridge(vm) && (!vm->gated || !net_has_rules(vm))) { /* it begins to have rules, or has none any more */
		if (gate_bridge_tell(vm, on_gate_policy, x))
			changed(x, &f);
		return;
	}
	b = peer_begin(&c->gate, G_POLICY);
	wire_str(b, G_T_VM, vm->r.name);
	policy_put_entries(b, vm);
	if (peer_call(&c->gate, NULL, 0, on_gate_policy, x)) {
		fault_set(&f, -EIO, "gate cannot be asked");
		changed(x, &f);
	}
}

int gate_policy_changed(struct vm *vm, void (*done)(void *, const struct fault *), void *arg)
{
	struct core *c = vm->core;
	struct fault f = { "" };
	struct change *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	*x = (struct change){ .core = c, .done = done, .arg = arg };
	memcpy(x->name, vm->r.name, sizeof(x->name));
	vm->rules_stale = !vm->ruled && vm->net_done; /* those on their way are older: told again once they are there */
	if (!vm->ruled || !peer_there(&c->netd)) {
		if (!vm->net_done && (vm->state == VM_RUNNING || vm->state == VM_PAUSED) && net_has_card(vm))
			fault_set(&f, -ENOTCONN, "the network of VM '%s' could not be taken over, it goes on under the rules it had: stop and start it", vm->r.name);
		changed(x, &f);
		return 0;
	}
	net_rules_frame(vm);
	if (peer_call(&c->netd, NULL, 0, on_netd_policy, x)) {
		free(x);
		return -EIO;
	}
	return 0;
}

/* ---- gate → core ---- */

static void answer(struct core *c, uint32_t id, int err, const char *text)
{
	struct buf *b;

	if (!id || !peer_there(&c->gate))
		return;
	b = peer_begin_reply(&c->gate, err ? WIRE_ERR : WIRE_OK, id);
	if (err) {
		wire_u64(b, WIRE_T_STATUS, 403);
		wire_u64(b, WIRE_T_ERRNO, (uint64_t)-err);
		wire_str(b, WIRE_T_TEXT, text);
	}
	peer_send(&c->gate, NULL, 0);
}

/* One G_OPEN: as many N_OPEN as it has addresses. */
struct opening {
	struct core *core;
	uint32_t id;
	unsigned waiting;
	int err;
	char text[200];
};

static void opening_less(struct opening *o)
{
	if (--o->waiting)
		return;
	answer(o->core, o->id, o->err, o->text);
	free(o);
}

static void on_open(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct opening *o = arg;
	struct fault f = { "" };
	int err = peer_result(m, "netd", &f, NULL);

	(void)fds; (void)n_fds;
	if (err && !o->err) {
		o->err = err;
		snprintf(o->text, sizeof(o->text), "%.199s", f.text);
	}
	opening_less(o);
}

static void open_one(struct opening *o, const struct vm *vm, const struct wire_field *addr, uint64_t rule, uint64_t port, uint64_t ttl_s)
{
	struct core *c = o->core;
	struct buf *b = peer_begin(&c->netd, N_OPEN);

	wire_str(b, N_T_VM, vm->r.name);
	wire_bytes(b, N_T_ADDR, addr->p, addr->n);
	wire_u64(b, N_T_PORT, port);
	wire_u64(b, N_T_RULE, rule);
	wire_u64(b, N_T_TTL_S, ttl_s);
	o->waiting++;
	if (!peer_call(&c->netd, NULL, 0, on_open, o))
		return;
	o->waiting--;
	o->err = -EIO;
	snprintf(o->text, sizeof(o->text), "netd cannot be asked");
}

/* Is that address one that a name may open? */
static bool may_open(const struct core *c, const struct wire_field *addr)
{
	struct policy_net own[GROUPS_MAX];
	uint8_t bytes[16] = { 0 };

	if (addr->n != 4 && addr->n != 16)
		return false;
	memcpy(bytes, addr->p, addr->n);
	return policy_may_open(own, policy_own(c, own), addr->n == 4 ? 4 : 6, bytes);
}

/* The name must be the entry's, with its port: gate could be somebody else by now. */
static const char *bad_open(const struct vm *vm, const struct wire_msg *m, uint64_t *rule, uint64_t *port, uint64_t *ttl_s)
{
	char text[POLICY_NAME_MAX + 1], name[POLICY_NAME_MAX + 1];

	if (!vm || !vm->gated)
		return "no such VM";
	if (vm->net_locked)
		return "its record cannot be written";
	if (wire_get_str(m, G_T_NAME, text, sizeof(text)) || policy_name_canon(text, name) || !wire_get_u64(m, G_T_RULE, rule) || !wire_get_u64(m, G_T_PORT, port) ||
	    !wire_get_u64(m, G_T_TTL_S, ttl_s))
		return "a field is missing or no good";
	if (*rule >= vm->policy.n[POLICY_ALLOW] || !policy_rule_names(&vm->policy, (unsigned)*rule, name) || vm->policy.list[POLICY_ALLOW][*rule].port != *port)
		return "that VM's policy does not say so";
	return *ttl_s && *ttl_s <= 86400 ? NULL : "such a time is not possible";
}

static void on_open_asked(struct core *c, const struct vm *vm, const struct wire_msg *m)
{
	uint64_t rule = 0, port = 0, ttl_s = 0;
	const char *bad = bad_open(vm, m, &rule, &port, &ttl_s);
	struct opening *o = bad || !peer_there(&c->netd) ? NULL : calloc(1, sizeof(*o));
	struct wire_iter it;
	struct wire_field x;

	if (!o) {
		answer(c, m->id, -EPERM, bad ? bad : "netd is not there");
		return;
	}
	*o = (struct opening){ .core = c, .id = m->id, .waiting = 1 };
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &x) && o->waiting <= GATE_LIVE_MAX) {
		if (x.tag != G_T_ADDR)
			continue;
		if (may_open(c, &x)) {
			open_one(o, vm, &x, rule, port, ttl_s);
		} else {
			o->err = -EPERM;
			snprintf(o->text, sizeof(o->text), "a name opens no such address");
		}
	}
	opening_less(o);
}

static void on_rotate(struct core *c, const struct vm *vm, uint32_t id)
{
	int fd = vm && vm->gated ? log_rotate(vm) : -ENOENT;

	if (fd < 0) {
		answer(c, id, fd, strerror(-fd));
		return;
	}
	peer_begin_reply(&c->gate, WIRE_OK, id);
	peer_send(&c->gate, &fd, 1);
	fd_close(&fd);
}

static void on_trouble(struct vm *vm, const struct wire_msg *m)
{
	uint64_t err = 0, lost = 0;
	bool required = vm->group && vm->group->audit_required;

	wire_get_u64(m, G_T_ERRNO, &err);
	wire_get_u64(m, G_T_LOST, &lost);
	if (err && err < 4096)
		core_say(vm->core, "NOTE", "%s: its network record cannot be written: %s; %s", vm->r.name, strerror((int)err),
			 required ? "it gets no new connections until it can be (network.audit: required)" : "the VM goes on, what is lost is counted");
	else
		core_say(vm->core, "NOTE", "%s: its network record is written again; %llu lines were lost", vm->r.name, (unsigned long long)lost);
	if (!required || vm->net_locked == (err != 0))
		return;
	vm->net_locked = err != 0;
	gate_policy_changed(vm, NULL, NULL);
}

static void on_counts(struct vm *vm, const struct wire_msg *m)
{
	static const uint16_t tags[] = { G_T_FLOWS_ALLOWED, G_T_FLOWS_DENIED, G_T_BYTES_OUT, G_T_BYTES_IN, G_T_QUERIES, G_T_REFUSED, G_T_LOST };

	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		wire_get_u64(m, tags[i], &vm->net_counts[i]);
}

void gate_on_msg(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct core *c = p->arg;
	char name[VM_NAME_MAX + 1] = "";
	struct vm *vm;

	(void)fds; (void)n_fds;
	wire_get_str(m, G_T_VM, name, sizeof(name));
	vm = registry_find(&c->reg, name);
	if (m->type == G_OPEN)
		on_open_asked(c, vm, m);
	else if (m->type == G_ROTATE)
		on_rotate(c, vm, m->id);
	else if (m->type == G_TROUBLE && vm)
		on_trouble(vm, m);
	else if (m->type == G_COUNTS && vm)
		on_counts(vm, m);
}
