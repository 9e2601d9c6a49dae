/* The stream on which a guest's agent says hello, and what follows from it. Every byte here is hostile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/core/req.h"
#include "api/core/timers.h"
#include "api/core/ssh_keys.h"
#include "lib/wire/agent.h"

#define HELLOS_MAX 16u /* a second */

bool vm_is_up(const struct vm *vm, bool userdata)
{
	return vm->ready && vm->grown && vm->secrets_done && !vm->r.fixups && (!userdata || !vm->r.userdata || vm->userdata_done);
}

static void tell_ready(struct vm *vm)
{
	if (vm->state != VM_RUNNING)
		return;
	if (vm_is_up(vm, false))
		req_reached(vm, GOAL_READY);
	if (vm_is_up(vm, true))
		req_reached(vm, GOAL_USERDATA);
}

/* ---- userdata: sent at every boot (the agent runs it once per disk), asked for while somebody waits ---- */

static void on_health(struct vm *vm, const struct wire_msg *m)
{
	uint64_t ran = 0;

	if (m && m->type == A_HEALTH_IS && wire_get_u64(m, A_T_USERDATA_RAN, &ran) && ran == 1) {
		vm->userdata_done = true;
		tell_ready(vm);
	} else if (req_any(vm, 1u << GOAL_USERDATA)) {
		ev_timer_set(vm->core->loop, &vm->poll_timer, USERDATA_POLL_MS);
	}
}

static void on_poll(struct ev_timer *t)
{
	struct vm *vm = t->arg;
	struct buf b;

	buf_init(&b, 256);
	wire_end(&b, wire_begin(&b, A_HEALTH, 1));
	if (agent_ask(vm, &b, AGENT_ASK_MS, on_health))
		ev_timer_set(vm->core->loop, t, USERDATA_POLL_MS);
	buf_done(&b);
}

void vm_poll_userdata(struct vm *vm)
{
	if (!vm->ready || vm->userdata_done || !vm->r.userdata)
		return;
	vm->poll_timer.fn = on_poll;
	vm->poll_timer.arg = vm;
	ev_timer_set(vm->core->loop, &vm->poll_timer, 0);
}

static void on_userdata(struct vm *vm, const struct wire_msg *m)
{
	struct fault f = { "" };

	if (!m || m->type != WIRE_OK) {
		peer_result(m, "the agent", &f, NULL);
		core_say(vm->core, "NOTE", "%s: userdata was not taken: %s", vm->r.name, f.text);
	}
	if (req_any(vm, 1u << GOAL_USERDATA))
		vm_poll_userdata(vm);
}

static void send_userdata(struct vm *vm)
{
	char *text = NULL;
	struct buf b;
	size_t n, mark;

	if (!vm->r.userdata || read_file_at(vm->dir_fd, "userdata", USERDATA_MAX, &text, &n))
		return;
	buf_init(&b, WIRE_PAYLOAD_MAX);
	mark = wire_begin(&b, A_USERDATA, 1);
	wire_bytes(&b, A_T_DATA, text, n);
	if (wire_end(&b, mark) || agent_ask(vm, &b, AGENT_ASK_MS, on_userdata))
		core_say(vm->core, "NOTE", "%s: userdata could not be sent", vm->r.name);
	buf_done(&b);
	free(text);
}

/* ---- ready ---- */

static void on_grown(struct vm *vm, const struct wire_msg *m)
{
	struct fault f = { "" };

	if ((!m || m->type != WIRE_OK) && vm->state == VM_RUNNING) { /* one that stops meanwhile grows at its next boot */
		peer_result(m, "the agent", &f, NULL);
		core_say(vm->core, "NOTE", "%s: its root file system did not grow to its disk: %s", vm->r.name, f.text);
	}
	vm->grown = true;
	tell_ready(vm);
}

/* Once a boot: the disk is larger than the image it was made from; the script waits for secrets. */
static void greet(struct vm *vm)
{
	vm->greeted = true;
	if (vm->r.fixups)
		vm_fork_fix(vm);
	else
		vm_fixed(vm);
}

void vm_fixed(struct vm *vm)
{
	struct buf b;

	buf_init(&b, 256);
	wire_end(&b, wire_begin(&b, A_GROW, 1));
	if (agent_ask(vm, &b, AGENT_GROW_MS, on_grown))
		vm->grown = true;
	buf_done(&b);
	if (!ssh_keys_send(vm))
		vm_sync_secrets(vm);
}

/* The script may need them, so it comes after. */
void vm_secrets_there(struct vm *vm)
{
	send_userdata(vm);
	tell_ready(vm);
}

static void on_hello(struct vm *vm)
{
	bool first = !vm->ready;

	vm->ready = true;
	if (vm->starts) {
		vm->starts = false;
		ev_timer_del(vm->core->loop, &vm->timer);
		core_moved(vm->core);
	}
	if (!vm->greeted)
		greet(vm);
	if (first && vm->r.protected_) {
		bool known = vm->r.ip[0] && strcmp(vm->r.ip, ADDR_BY_DHCP) != 0;

		core_say(vm->core, "NOTE", "%s is ready%s%s", vm->r.name, known ? " at " : "", known ? vm->r.ip : "");
	}
	tell_ready(vm);
}

/* ---- the stream ---- */

static void on_frame(struct vm *vm, const struct wire_msg *m)
{
	uint64_t proto = 0;

	if (m->type != A_HELLO || (vm->state != VM_RUNNING && vm->state != VM_STARTING && vm->state != VM_STOPPING))
		return;
	if (!wire_get_u64(m, A_T_PROTO, &proto) || proto != AGENT_PROTO) {
		core_say(vm->core, "NOTE", "%s: its agent speaks protocol %llu, this daemon %u: use an image of this version", vm->r.name,
			 (unsigned long long)proto, AGENT_PROTO);
		return;
	}
	if (vm->state == VM_STOPPING) {
		vm->ready = true;
		vm_agent_is_back(vm);
	} else {
		on_hello(vm);
	}
}

static void on_agent_io(struct ev_io *io, uint32_t events)
{
	struct vm *vm = io->arg;
	ssize_t n = buf_read_fd(&vm->agent_in, vm->agent_fd, 16384);
	struct wire_msg m;
	size_t used;
	int r = 0;

	(void)events;
	while (vm->agent_fd >= 0 && buf_len(&vm->agent_in) &&
	       !(r = wire_parse(buf_data(&vm->agent_in), buf_len(&vm->agent_in), &m, &used))) {
		on_frame(vm, &m);
		if (vm->agent_fd >= 0)
			buf_eat(&vm->agent_in, used);
	}
	if (n == 0 || (n < 0 && n != -EAGAIN) || (r && r != -EAGAIN))
		vm_agent_lost(vm);
}

void vm_agent_lost(struct vm *vm)
{
	ev_del(vm->core->loop, &vm->agent_io);
	fd_close(&vm->agent_fd);
	buf_clear(&vm->agent_in);
	vm->ready = false;
}

/* An agent says hello once a boot, and again when it is started again. A guest that does it in a loop costs core time that is others'. */
static bool too_many_hellos(struct vm *vm)
{
	uint64_t now = now_mono_ms();

	if (now - vm->hellos_since_ms >= 1000) {
		vm->hellos_since_ms = now;
		vm->hellos = 0;
	}
	return ++vm->hellos > HELLOS_MAX;
}

void vm_agent_incoming(struct vm *vm, int fd_taken)
{
	if (too_many_hellos(vm)) {
		if (vm->hellos == HELLOS_MAX + 1)
			core_say(vm->core, "NOTE", "%s: its guest opens streams to the daemon more than %u times a second: they are dropped", vm->r.name, HELLOS_MAX);
		close(fd_taken);
		return;
	}
	vm_agent_lost(vm); /* the newest counts: the agent was restarted */
	vm->agent_fd = fd_taken;
	vm->agent_io = (struct ev_io){ .fn = on_agent_io, .arg = vm, .fd = -1 };
	if (fd_set_nonblock(fd_taken, true) || ev_add(vm->core->loop, &vm->agent_io, fd_taken, EPOLLIN))
		fd_close(&vm->agent_fd);
}

void vm_listen_agent(struct vm *vm)
{
	wire_u64(peer_begin(&vm->vmm, V_LISTEN), V_T_PORT, AGENT_HELLO_PORT);
	peer_send(&vm->vmm, NULL, 0); /* its OK is nobody's; a vmm that is gone is seen elsewhere */
}

int vm_agent_shutdown(struct vm *vm, const char *action)
{
	struct buf b;
	size_t mark;
	int err;

	if (vm->agent_fd < 0 || !vm->ready)
		return -ENOTCONN;
	buf_init(&b, 256);
	mark = wire_begin(&b, A_SHUTDOWN, 1);
	wire_str(&b, A_T_ACTION, action);
	err = wire_end(&b, mark);
	if (!err)
		err = buf_write_fd(&b, vm->agent_fd); /* -EAGAIN: the guest reads nothing; then vmm is asked */
	buf_done(&b);
	return err;
}
