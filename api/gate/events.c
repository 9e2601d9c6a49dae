/* What the kernel tells of a VM's packets: a flow began (allowed or denied), a flow is over. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api/gate/gate.h"

#define LAST_READS 64u

static void began(struct vm *vm, const struct nf_event *e)
{
	struct flow *f = flows_put(&vm->flows, &e->t);

	vm->counts.flows_allowed++;
	if (f)
		memcpy(f->rule, e->prefix + 1, strnlen(e->prefix + 1, sizeof(f->rule) - 1) + 1);
	record_write(vm, &(struct record_line){ .event = "start", .t = &e->t, .name = seen_name(vm, e->t.family, e->t.dst), .rule = e->prefix + 1, .allowed = true });
}

static void denied(struct vm *vm, const struct nf_event *e)
{
	vm->counts.flows_denied++;
	record_write(vm, &(struct record_line){ .event = "denied", .t = &e->t, .name = seen_name(vm, e->t.family, e->t.dst),
						.rule = e->prefix[0] ? e->prefix + 1 : "unknown", .bytes_out = e->packet_bytes });
}

static bool to_gateway(const struct vm *vm, const struct nf_tuple *t)
{
	const struct policy_net *gw = &vm->gw[t->family == 6];

	return gw->family == t->family && !memcmp(gw->addr, t->dst, t->family == 6 ? 16 : 4);
}

static void ended(struct vm *vm, const struct nf_event *e)
{
	struct flow f = { .rule = "unknown" }; /* it began before this gate */
	bool known = flows_take(&vm->flows, &e->t, &f);
	uint64_t now = now_real_ns(), start = e->start_ns ? e->start_ns : known ? f.start_ns : 0, stop = e->stop_ns ? e->stop_ns : now;

	if (!known && to_gateway(vm, &e->t)) /* questions to us and echoes: not forwarded, not logged */
		return;
	vm->counts.bytes_out += e->bytes_out;
	vm->counts.bytes_in += e->bytes_in;
	record_write(vm, &(struct record_line){ .event = "end", .t = &e->t, .name = seen_name(vm, e->t.family, e->t.dst), .rule = f.rule, .allowed = true,
						.bytes_out = e->bytes_out, .bytes_in = e->bytes_in,
						.duration_ms = start && stop > start ? (stop - start) / 1000000u : 0 });
}

static void on_event(void *arg, const struct nf_event *e)
{
	struct vm *vm = arg;

	if (e->kind == NF_DESTROY)
		ended(vm, e);
	else if (e->prefix[0] == '+')
		began(vm, e);
	else
		denied(vm, e);
}

/* What is there, not more than a share. 0, or -errno: the socket broke. lost: something of it was. */
static int take(struct gate *g, int fd, void (*fn)(void *, const struct nf_event *), void *arg, void (*lost)(void *arg, const char *what))
{
	uint8_t *p = g->events;

	for (unsigned i = 0; i < BURST_READS; i++) {
		ssize_t n = recv(fd, p, NF_MESSAGE_MAX, MSG_DONTWAIT);

		if (n < 0 && errno == ENOBUFS) {
			lost(arg, "events of the kernel: its queue was full");
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			lost(arg, "events of the kernel: the socket broke");
			return n ? -errno : -EPIPE;
		}
		if (nf_read(p, (size_t)n, fn, arg))
			lost(arg, "an event that could not be read");
	}
	return 0;
}

static void vm_lost(void *arg, const char *what)
{
	record_lost(arg, 1, what);
}

static void on_readable(struct ev_io *io, uint32_t events)
{
	struct vm *vm = io->arg;

	(void)events;
	if (take(vm->gate, vm->events_fd, on_event, vm, vm_lost))
		events_stop(vm);
}

/* ---- VMs on bridges ---- */

static void on_host_event(void *arg, const struct nf_event *e)
{
	struct gate *g = arg;
	bool six = e->t.family == 6;

	for (struct vm *vm = g->vms; vm; vm = vm->next)
		if (vm->bridge[0] && vm->ruled && vm->ip[six].family && memcmp(vm->ip[six].addr, e->t.src, six ? 16 : 4) == 0) {
			on_event(vm, e);
			return;
		}
}

static void host_lost(void *arg, const char *what)
{
	const struct gate *g = arg;

	for (struct vm *vm = g->vms; vm; vm = vm->next)
		if (vm->bridge[0] && vm->ruled)
			record_lost(vm, 1, what);
}

static void on_host_readable(struct ev_io *io, uint32_t events)
{
	struct gate *g = io->arg;

	(void)events;
	if (take(g, g->host_fd, on_host_event, g, host_lost))
		events_host_stop(g);
}

int events_host_start(struct gate *g, int fd)
{
	events_host_stop(g);
	fd_set_nonblock(fd, true);
	g->host_fd = fd;
	g->host_io = (struct ev_io){ .fn = on_host_readable, .arg = g, .fd = -1 };
	return ev_add(g->loop, &g->host_io, fd, EPOLLIN);
}

void events_host_stop(struct gate *g)
{
	if (g->host_fd < 0)
		return;
	ev_del(g->loop, &g->host_io);
	fd_close(&g->host_fd);
}

/* ---- its life ---- */

/* The namespace goes with its flows, and nobody tells how much they carried. */
void events_end(struct vm *vm)
{
	uint64_t now = now_real_ns();

	for (unsigned i = 0; i < LAST_READS && vm->events_fd >= 0; i++)
		on_readable(&vm->events_io, EPOLLIN);
	for (unsigned i = 0; i < LAST_READS && vm->bridge[0] && vm->ruled && vm->gate->host_fd >= 0; i++)
		on_host_readable(&vm->gate->host_io, EPOLLIN);
	for (size_t i = 0; i < vm->flows.places; i++) {
		const struct flow *f = &vm->flows.at[i];

		if (f->start_ns)
			record_write(vm, &(struct record_line){ .event = "end", .t = &f->t, .name = seen_name(vm, f->t.family, f->t.dst), .rule = f->rule, .allowed = true,
								.note = "the VM ended", .duration_ms = now > f->start_ns ? (now - f->start_ns) / 1000000u : 0 });
	}
}

int events_start(struct vm *vm)
{
	fd_set_nonblock(vm->events_fd, true);
	vm->events_io = (struct ev_io){ .fn = on_readable, .arg = vm, .fd = -1 };
	return ev_add(vm->gate->loop, &vm->events_io, vm->events_fd, EPOLLIN);
}

void events_stop(struct vm *vm)
{
	if (vm->events_fd < 0)
		return;
	ev_del(vm->gate->loop, &vm->events_io);
	fd_close(&vm->events_fd);
}
