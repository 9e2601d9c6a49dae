/* One question to a guest's agent: V_CONNECT, a frame out, a frame in, closed. For what core itself needs; clients' streams go to front. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/vm.h"
#include "lib/wire/agent.h"

#define CALLS_MAX 8u /* of one VM at a time */

struct agent_call {
	struct agent_call *next;
	struct vm *vm;         /* borrowed; NULL: dropped while V_CONNECT was under way */
	agent_reply_fn *fn;
	int fd;                /* owned */
	struct ev_io io;
	struct ev_timer timer;
	struct buf out, in;
};

static void call_free(struct agent_call *a, struct ev_loop *l)
{
	ev_del(l, &a->io);
	ev_timer_del(l, &a->timer);
	fd_close(&a->fd);
	buf_done(&a->out);
	buf_done(&a->in);
	free(a);
}

static void unlink_call(struct agent_call *a)
{
	struct agent_call **at = &a->vm->calls;

	while (*at && *at != a)
		at = &(*at)->next;
	if (*at)
		*at = a->next;
}

static void finish(struct agent_call *a, const struct wire_msg *m)
{
	struct vm *vm = a->vm;

	unlink_call(a);
	a->fn(vm, m);
	call_free(a, vm->core->loop);
}

static void on_io(struct ev_io *io, uint32_t events)
{
	struct agent_call *a = io->arg;
	struct wire_msg m;
	size_t used;
	ssize_t n;
	int r = 0;

	if (buf_len(&a->out))
		r = buf_write_fd(&a->out, a->fd);
	if (r && r != -EAGAIN) {
		finish(a, NULL);
		return;
	}
	ev_mod(a->vm->core->loop, io, r == -EAGAIN ? EPOLLIN | EPOLLOUT : EPOLLIN);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	n = buf_read_fd(&a->in, a->fd, 16384);
	r = buf_len(&a->in) ? wire_parse(buf_data(&a->in), buf_len(&a->in), &m, &used) : -EAGAIN;
	if (r == 0)
		finish(a, &m);
	else if (r != -EAGAIN || n == 0 || (n < 0 && n != -EAGAIN))
		finish(a, NULL);
}

static void on_timeout(struct ev_timer *t)
{
	struct agent_call *a = t->arg;

	if (a->fd >= 0) {
		finish(a, NULL);
		return;
	}
	unlink_call(a); /* V_CONNECT still holds it: told now, freed when its answer comes */
	a->fn(a->vm, NULL);
	a->vm = NULL;
}

static void on_connected(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct agent_call *a = arg;

	if (!a->vm) { /* nobody waits; the loop knows nothing of it any more */
		buf_done(&a->out);
		buf_done(&a->in);
		free(a);
		return;
	}
	if (!m || m->type != WIRE_OK || n_fds != 1) {
		finish(a, NULL);
		return;
	}
	a->fd = fds[0];
	fds[0] = -1;
	if (fd_set_nonblock(a->fd, true) || ev_add(a->vm->core->loop, &a->io, a->fd, EPOLLIN | EPOLLOUT))
		finish(a, NULL);
}

int agent_ask(struct vm *vm, struct buf *frame, unsigned timeout_ms, agent_reply_fn *fn)
{
	struct agent_call *a;
	unsigned n = 0;
	int err;

	for (a = vm->calls; a; a = a->next)
		n++;
	if (!peer_there(&vm->vmm))
		return -ENOTCONN;
	a = n < CALLS_MAX ? calloc(1, sizeof(*a)) : NULL;
	if (!a)
		return n < CALLS_MAX ? -ENOMEM : -EBUSY;
	*a = (struct agent_call){ .next = vm->calls, .vm = vm, .fn = fn, .fd = -1 };
	a->io = (struct ev_io){ .fn = on_io, .arg = a, .fd = -1 };
	a->timer = (struct ev_timer){ .fn = on_timeout, .arg = a };
	buf_init(&a->in, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	buf_init(&a->out, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	err = buf_add(&a->out, buf_data(frame), buf_len(frame));
	buf_clear(frame);
	wire_u64(peer_begin(&vm->vmm, V_CONNECT), V_T_PORT, AGENT_PORT);
	if (!err)
		err = ev_timer_set(vm->core->loop, &a->timer, timeout_ms);
	if (!err)
		err = peer_call(&vm->vmm, NULL, 0, on_connected, a);
	if (err) {
		call_free(a, vm->core->loop);
		return err;
	}
	vm->calls = a;
	return 0;
}

void agent_calls_drop(struct vm *vm)
{
	while (vm->calls) {
		struct agent_call *a = vm->calls;
		bool connecting = a->fd < 0;

		vm->calls = a->next;
		ev_timer_del(vm->core->loop, &a->timer);
		if (connecting)
			a->vm = NULL; /* its V_CONNECT is answered by peer_done at the latest */
		else
			call_free(a, vm->core->loop);
	}
}
