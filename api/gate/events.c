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

static void on_readable(struct ev_io *io, uint32_t events)
{
	struct vm *vm = io->arg;
	uint8_t *p = vm->gate->events;

	(void)events;
	for (unsigned i = 0; i < BURST_READS; i++) {
		ssize_t n = recv(vm->events_fd, p, NF_MESSAGE_MAX, MSG_DONTWAIT);

		if (n < 0 && errno == ENOBUFS) {
			record_lost(vm, 1, "events of the kernel: its queue was full");
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			record_lost(vm, 1, "events of the kernel: the socket broke");
			events_stop(vm);
			return;
		}
		if (nf_read(p, (size_t)n, on_event, vm))
			record_lost(vm, 1, "an event that could not be read");
	}
}

/* The namespace goes with its flows, and nobody tells how much they carried. */
void events_end(struct vm *vm)
{
	uint64_t now = now_real_ns();

	for (unsigned i = 0; i < LAST_READS && vm->events_fd >= 0; i++)
		on_readable(&vm->events_io, EPOLLIN);
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
