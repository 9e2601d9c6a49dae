/* One connection to a published port: a stream to the agent, A_FORWARD on it, and only once the agent has joined it with the guest's end
 * does front get it. So front holds nothing that could carry a command, though no token was shown. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/publish.h"
#include "api/core/requests.h"
#include "lib/wire/agent.h"

#define CALLS_MAX 4096u
#define CALL_MS 16000u /* the agent gives up after 10 s */

struct pub_call {
	struct pub_call *next;
	struct core *core;
	struct vm *vm;         /* borrowed */
	uint32_t id;           /* front's */
	bool connecting;       /* V_CONNECT is under way … */
	bool answered;         /* … and nobody waits any more */
	int fd;                /* owned; -1 */
	struct ev_io io;
	struct ev_timer timer;
	struct buf out, in;
};

static void call_free(struct pub_call *a)
{
	struct pub_call **at = &a->core->publishing.calls;

	while (*at && *at != a)
		at = &(*at)->next;
	if (*at)
		*at = a->next;
	a->core->publishing.n_calls--;
	ev_del(a->core->loop, &a->io);
	ev_timer_del(a->core->loop, &a->timer);
	fd_close(&a->fd);
	buf_done(&a->out);
	buf_done(&a->in);
	free(a);
}

/* What V_CONNECT still holds is freed when that is answered. */
static void refuse(struct pub_call *a, unsigned status, const char *text)
{
	if (!a->answered)
		reply_err(a->core, a->id, status, "VM '%s': %s", a->vm->r.name, text);
	a->answered = true;
	ev_timer_del(a->core->loop, &a->timer);
	if (!a->connecting)
		call_free(a);
}

static void on_timeout(struct ev_timer *t)
{
	refuse(t->arg, 504, "the address in the guest did not answer in time");
}

static void on_answer(struct pub_call *a, const struct wire_msg *m)
{
	char text[300] = "the agent refused";

	if (m->type == WIRE_OK) {
		reply_fd(a->core, a->id, a->fd);
		a->vm->last_call_ns = now_real_ns();
		call_free(a);
		return;
	}
	wire_get_str(m, WIRE_T_TEXT, text, sizeof(text));
	refuse(a, 502, text);
}

/* How many bytes of the one frame are missing: what comes behind it is the connection's and must stay in the socket. */
static size_t missing(const struct buf *in)
{
	const uint8_t *p = buf_data(in);
	size_t have = buf_len(in), n;

	if (have < WIRE_HEAD_BYTES)
		return WIRE_HEAD_BYTES - have;
	n = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24; /* wire_parse has looked at the head: not above WIRE_PAYLOAD_MAX */
	return WIRE_HEAD_BYTES + n - have;
}

static void take_answer(struct pub_call *a)
{
	struct wire_msg m;
	size_t used;
	ssize_t n;
	int r = -EAGAIN;

	do {
		n = buf_read_fd(&a->in, a->fd, missing(&a->in));
		if (n > 0)
			r = wire_parse(buf_data(&a->in), buf_len(&a->in), &m, &used);
	} while (n > 0 && r == -EAGAIN);
	if (r == 0)
		on_answer(a, &m);
	else if (r != -EAGAIN || n != -EAGAIN)
		refuse(a, 502, "its agent broke off");
}

static void on_io(struct ev_io *io, uint32_t events)
{
	struct pub_call *a = io->arg;
	int err = buf_len(&a->out) ? buf_write_fd(&a->out, a->fd) : 0;

	if (err && err != -EAGAIN) {
		refuse(a, 502, "its agent broke off");
		return;
	}
	ev_mod(a->core->loop, io, err ? EPOLLIN | EPOLLOUT : EPOLLIN);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		take_answer(a);
}

static void on_connected(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct pub_call *a = arg;
	struct fault f = { "" };
	unsigned status = 503;

	a->connecting = false;
	if (a->answered) {
		call_free(a);
	} else if (peer_result(m, "the VM", &f, &status)) {
		refuse(a, status, f.text);
	} else if (n_fds != 1) {
		refuse(a, 500, "no stream came");
	} else {
		a->fd = fds[0];
		fds[0] = -1;
		if (fd_set_nonblock(a->fd, true) || ev_add(a->core->loop, &a->io, a->fd, EPOLLIN | EPOLLOUT))
			refuse(a, 500, "out of memory");
	}
}

static struct pub_call *call_new(struct ask *a, struct vm *vm, const char *to)
{
	struct publishing *g = &a->core->publishing;
	struct pub_call *call = g->n_calls < CALLS_MAX ? calloc(1, sizeof(*call)) : NULL;
	size_t mark;

	if (!call)
		return NULL;
	*call = (struct pub_call){ .next = g->calls, .core = a->core, .vm = vm, .id = a->id, .fd = -1 };
	call->io = (struct ev_io){ .fn = on_io, .arg = call, .fd = -1 };
	call->timer = (struct ev_timer){ .fn = on_timeout, .arg = call };
	buf_init(&call->in, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	buf_init(&call->out, 1024);
	g->calls = call;
	g->n_calls++;
	mark = wire_begin(&call->out, A_FORWARD, 1);
	wire_str(&call->out, A_T_UPSTREAM, to);
	if (wire_end(&call->out, mark) || ev_timer_set(a->core->loop, &call->timer, CALL_MS)) {
		call_free(call);
		return NULL;
	}
	return call;
}

static const struct publication *find(const struct core *c, const struct wire_msg *m)
{
	const struct publication *p = c->publishing.first;
	uint64_t id;

	if (!wire_get_u64(m, C_T_PUB_ID, &id))
		return NULL;
	while (p && !(p->id == id && p->listening))
		p = p->next;
	return p;
}

void ask_pub_connect(struct ask *a)
{
	const struct publication *p = find(a->core, a->m);
	struct vm *vm = p ? p->vm : NULL;
	struct pub_call *call;
	int err;

	if (!p || vm->remove) {
		reply_err(a->core, a->id, 404, "that port is not published");
		return;
	}
	if (vm->state != VM_RUNNING || !(vm->ready || vm->maybe_ready)) {
		reply_err(a->core, a->id, vm->state == VM_RUNNING ? 503 : 409, "VM '%s' is not running, or its agent does not answer yet", vm->r.name);
		return;
	}
	call = call_new(a, vm, p->spec.to);
	if (!call) {
		reply_err(a->core, a->id, 503, "more connections are being made than the daemon can keep");
		return;
	}
	wire_u64(peer_begin(&vm->vmm, V_CONNECT), V_T_PORT, AGENT_PORT);
	call->connecting = true;
	err = peer_call(&vm->vmm, NULL, 0, on_connected, call);
	if (err) {
		call->connecting = false;
		refuse(call, 503, strerror(-err));
	}
}

void pub_calls_drop(struct vm *vm)
{
	struct pub_call *next;

	for (struct pub_call *a = vm->core->publishing.calls; a; a = next) {
		next = a->next;
		if (a->vm == vm)
			refuse(a, 409, "it ended");
	}
}
