/* A VM as gate knows it: its names and addresses, its policy, its sockets. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/gate/gate.h"

#define COUNTS_MS 1000u
#define SWEEP_MS 5000u

struct vm *vm_find(struct gate *g, const char *name)
{
	struct vm *vm = g->vms;

	while (vm && strcmp(vm->name, name) != 0)
		vm = vm->next;
	return vm;
}

/* ---- fields ---- */

static int get_addr(const struct wire_msg *m, uint16_t tag, uint8_t family, struct policy_net *out, struct fault *f)
{
	char text[POLICY_ADDR_TEXT_MAX];
	int err = wire_get_str(m, tag, text, sizeof(text));

	*out = (struct policy_net){ 0 };
	if (err == -ENOENT)
		return 0;
	if (err || policy_addr_parse(text, out) || out->family != family)
		return fault_set(f, -EINVAL, "an address of IPv%u is needed", family);
	return 0;
}

/* A network or address of a repeated field. */
static int field_net(const struct wire_field *x, struct policy_net *out, struct fault *f)
{
	struct policy_entry e = { 0 };
	char *text = wire_field_dup(x);
	int err = text ? policy_entry_parse(&e, text, f) : -ENOMEM;

	if (!err && (e.kind != POLICY_NET || e.port))
		err = fault_set(f, -EINVAL, "'%s' is no address or network", text);
	*out = e.net;
	policy_entry_done(&e);
	free(text);
	return err;
}

static int get_nets(const struct wire_msg *m, uint16_t tag, struct policy_net *out, unsigned max, unsigned *n, struct fault *f)
{
	struct wire_iter it;
	struct wire_field x;
	int err = 0;

	*n = 0;
	wire_iter_init(&it, m->p, m->n);
	while (!err && *n < max && wire_next(&it, &x))
		if (x.tag == tag && !(err = field_net(&x, &out[*n], f)))
			(*n)++;
	return err;
}

static int get_policy(const struct wire_msg *m, struct policy *out, struct fault *f)
{
	struct wire_iter it;
	struct wire_field x;
	int err = 0;

	*out = (struct policy){ 0 };
	wire_iter_init(&it, m->p, m->n);
	while (!err && wire_next(&it, &x)) {
		char *text;

		if (x.tag != G_T_ALLOW && x.tag != G_T_DROP)
			continue;
		text = wire_field_dup(&x);
		err = text ? policy_add(out, x.tag == G_T_ALLOW ? POLICY_ALLOW : POLICY_DROP, text, f) : -ENOMEM;
		free(text);
	}
	if (err)
		policy_done(out);
	return err;
}

static void set_policy(struct vm *vm, struct policy *p)
{
	policy_done(&vm->policy);
	vm->policy = *p;
	opened_policy_changed(vm);
}

int vm_policy(struct gate *g, const struct wire_msg *m, struct fault *f)
{
	char name[GATE_NAME_MAX + 1];
	struct vm *vm = wire_get_str(m, G_T_VM, name, sizeof(name)) ? NULL : vm_find(g, name);
	struct policy p;
	int err;

	if (!vm)
		return fault_set(f, -ENOENT, "gate knows no such VM");
	err = get_policy(m, &p, f);
	if (err)
		return err;
	opened_settled(vm);
	set_policy(vm, &p);
	vm->policy_id = vm->reopening ? m->id : 0;
	return 0;
}

static int get_texts(struct vm *vm, const struct wire_msg *m, struct fault *f)
{
	struct policy p;
	int err = wire_get_str(m, G_T_GROUP, vm->group, sizeof(vm->group));

	if (err)
		return fault_set(f, -EINVAL, "a group is needed");
	err = wire_get_str(m, G_T_BRIDGE, vm->bridge, sizeof(vm->bridge));
	if (err == -ENOENT)
		vm->bridge[0] = '\0';
	else if (err)
		return fault_set(f, err, "that is no bridge's name");
	uint64_t ruled = 0;

	wire_get_u64(m, G_T_RULED, &ruled);
	vm->ruled = !vm->bridge[0] || ruled;
	err = get_addr(m, G_T_IP4, 4, &vm->ip[0], f);
	if (!err)
		err = get_addr(m, G_T_IP6, 6, &vm->ip[1], f);
	if (!err)
		err = get_addr(m, G_T_GW4, 4, &vm->gw[0], f);
	if (!err)
		err = get_addr(m, G_T_GW6, 6, &vm->gw[1], f);
	if (!err)
		err = get_nets(m, G_T_DNS, vm->upstream, VM_UPSTREAMS_MAX, &vm->n_upstream, f);
	if (!err)
		err = get_nets(m, G_T_OWN, vm->own, VM_OWN_MAX, &vm->n_own, f);
	if (!err)
		err = get_policy(m, &p, f);
	if (!err)
		set_policy(vm, &p);
	return err;
}

/* ---- descriptors ---- */

static bool has_tag(const struct wire_msg *m, uint16_t tag)
{
	struct wire_field x;

	return wire_get(m, tag, &x);
}

static int take_one(struct vm *vm, uint16_t tag, int fd)
{
	switch (tag) {
	case G_T_FD_UDP:
		return serve_take(vm->udp, fd, serve_udp);
	case G_T_FD_TCP:
		return serve_take(vm->tcp, fd, serve_tcp);
	case G_T_FD_EVENTS:
		vm->events_fd = fd;
		return events_start(vm);
	default:
		record_start(vm, fd);
		return 0;
	}
}

static int take_fds(struct vm *vm, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct wire_iter it;
	struct wire_field x;
	int err = 0;

	if (has_tag(m, G_T_FD_UDP))
		serve_stop_all(vm->udp);
	if (has_tag(m, G_T_FD_TCP))
		serve_stop_all(vm->tcp);
	if (has_tag(m, G_T_FD_EVENTS))
		events_stop(vm);
	wire_iter_init(&it, m->p, m->n);
	while (!err && wire_next(&it, &x)) {
		uint64_t i;
		int fd;

		if (x.tag != G_T_FD_UDP && x.tag != G_T_FD_TCP && x.tag != G_T_FD_EVENTS && x.tag != G_T_FD_LOG)
			continue;
		if (!wire_field_u64(&x, &i) || i >= n_fds || fds[i] < 0)
			return -EPROTO;
		fd = fds[i];
		fds[i] = -1;
		err = take_one(vm, x.tag, fd);
	}
	return err;
}

/* ---- life ---- */

static struct vm *vm_new(struct gate *g, const char *name)
{
	struct vm *vm = g->n_vms < GATE_VMS_MAX ? calloc(1, sizeof(*vm)) : NULL;

	if (!vm)
		return NULL;
	vm->gate = g;
	memcpy(vm->name, name, strlen(name) + 1);
	for (unsigned i = 0; i < VM_SOCKETS_MAX; i++)
		vm->udp[i] = vm->tcp[i] = (struct dns_socket){ .gate = g, .vm = vm, .fd = -1 };
	vm->events_fd = vm->record.fd = -1;
	vm->tokens = VM_BURST * 1000u;
	vm->tokens_ms = now_mono_ms();
	buf_init(&vm->record.out, 1u << 20);
	vm->record.rotate_bytes = GATE_LOG_BYTES;
	vm->next = g->vms;
	g->vms = vm;
	g->n_vms++;
	return vm;
}

int vm_up(struct gate *g, const struct wire_msg *m, int *fds, unsigned n_fds, struct fault *f)
{
	char name[GATE_NAME_MAX + 1];
	struct vm *vm;
	int err;

	if (wire_get_str(m, G_T_VM, name, sizeof(name)) || !name_is_valid(name, GATE_NAME_MAX))
		return fault_set(f, -EINVAL, "a VM's name is needed");
	vm = vm_find(g, name);
	if (!vm && !(vm = vm_new(g, name)))
		return -ENOMEM;
	wire_get_u64(m, G_T_LOG_BYTES, &vm->record.rotate_bytes);
	err = get_texts(vm, m, f);
	if (!err && (err = take_fds(vm, m, fds, n_fds)))
		fault_errno(f, err, "gate cannot take the sockets");
	if (err)
		vm_down(vm);
	return err;
}

void vm_down(struct vm *vm)
{
	struct gate *g = vm->gate;
	struct vm **at = &g->vms;

	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
	g->n_vms--;
	while (vm->queries)
		query_free(vm->queries);
	while (vm->conns)
		conn_free(vm->conns);
	serve_stop_all(vm->udp);
	serve_stop_all(vm->tcp);
	events_stop(vm);
	record_stop(vm);
	vm_tell_counts(vm, 0);
	opened_settled(vm);
	link_forget(g, vm);
	link_forget(g, &vm->reopening);
	opened_free(vm);
	seen_free(vm);
	cache_free(vm);
	flows_free(&vm->flows);
	policy_done(&vm->policy);
	free(vm);
}

void vm_tell_counts(struct vm *vm, uint64_t now_ms)
{
	struct buf *b;

	if (now_ms && now_ms - vm->told_ms < COUNTS_MS)
		return;
	if (!memcmp(&vm->told, &vm->counts, sizeof(vm->told)) && vm->told_lost == vm->record.lost)
		return;
	vm->told_ms = now_ms;
	vm->told = vm->counts;
	vm->told_lost = vm->record.lost;
	b = link_begin(vm->gate, G_COUNTS);
	wire_str(b, G_T_VM, vm->name);
	wire_u64(b, G_T_FLOWS_ALLOWED, vm->counts.flows_allowed);
	wire_u64(b, G_T_FLOWS_DENIED, vm->counts.flows_denied);
	wire_u64(b, G_T_BYTES_OUT, vm->counts.bytes_out);
	wire_u64(b, G_T_BYTES_IN, vm->counts.bytes_in);
	wire_u64(b, G_T_QUERIES, vm->counts.queries);
	wire_u64(b, G_T_REFUSED, vm->counts.refused);
	wire_u64(b, G_T_LOST, vm->record.lost);
	link_send(vm->gate);
}

void vm_tick(struct vm *vm, uint64_t now_ms)
{
	if (now_ms - vm->swept_ms >= SWEEP_MS) {
		vm->swept_ms = now_ms;
		opened_sweep(vm, now_ms);
		conns_tick(vm, now_ms);
		if (vm->over_rate && vm->ruled) /* else there is no record */
			record_lost(vm, vm->over_rate, "DNS questions beyond the limit");
		vm->over_rate = 0;
	}
	record_flush(vm, now_ms);
	vm_tell_counts(vm, now_ms);
}

void vm_put_live(struct vm *vm, struct buf *b, const char *name)
{
	uint64_t now = now_mono_ms();
	unsigned n = 0;

	for (unsigned i = 0; i < vm->n_opened && n < GATE_LIVE_MAX; i++) {
		const struct opened *o = &vm->opened[i];
		size_t mark;

		if (o->ask_id || o->until_ms <= now || (name && strcmp(o->name, name) != 0))
			continue;
		mark = wire_open(b, G_T_OPENED);
		wire_bytes(b, G_T_ADDR, o->addr, o->family == 6 ? 16 : 4);
		wire_u64(b, G_T_PORT, o->port);
		wire_u64(b, G_T_RULE, o->rule);
		wire_u64(b, G_T_TTL_S, (o->until_ms - now) / 1000);
		wire_str(b, G_T_NAME, o->name);
		wire_close(b, mark);
		n++;
	}
	n = 0;
	for (unsigned i = 0; name && vm->seen && i < SEEN_PLACES && n < GATE_LIVE_MAX; i++)
		if (vm->seen[i].family && strcmp(vm->seen[i].name, name) == 0) {
			wire_bytes(b, G_T_ADDR, vm->seen[i].addr, vm->seen[i].family == 6 ? 16 : 4);
			n++;
		}
}
