/* Forks: VMs whose disk starts as a commit. Their first boot makes another machine of them before anybody may use it: fix-ups by the agent. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/req.h"
#include "api/core/timers.h"
#include "lib/wire/agent.h"

#define FIX_ALL ((unsigned)(FIX_HOSTNAME | FIX_MACHINE_ID | FIX_SSH_KEYS))

int vm_fork_fill(struct vm *vm, const struct vm_wish *w)
{
	const struct record *from = &w->from->source;
	struct record *r = &vm->r;
	uint8_t random[16];
	int err = 0;

	memcpy(r->parent, w->from->id, sizeof(r->parent));
	memcpy(r->base, from->base, sizeof(r->base));
	memcpy(r->image, from->image, sizeof(r->image));
	r->disk_bytes = from->disk_bytes > w->from->bytes ? from->disk_bytes : w->from->bytes;
	r->fixups = (w->fixups & FIX_ALL) | FIX_PENDING;
	if (!(w->fixups & FIX_HOSTNAME))
		snprintf(r->guest_name, sizeof(r->guest_name), "%s", from->guest_name[0] ? from->guest_name : from->name);
	if (w->fixups & FIX_MACHINE_ID) {
		err = random_fill(random, sizeof(random));
		random[6] = (random[6] & 0x0f) | 0x40; /* machine-id(5): as a UUID of version 4 */
		random[8] = (random[8] & 0x3f) | 0x80;
		hex_encode(random, sizeof(random), r->machine_id);
	}
	return err;
}

static void fixed(struct vm *vm)
{
	int err;

	vm->r.fixups = 0;
	ev_timer_del(vm->core->loop, &vm->fork_timer);
	err = record_save(&vm->r, vm->dir_fd, vm->r.persistent);
	if (err) /* they are done again at its next boot */
		core_say(vm->core, "NOTE", "%s: its record could not be written: %s", vm->r.name, strerror(-err));
	vm_fixed(vm);
}

static void on_fixed(struct vm *vm, const struct wire_msg *m)
{
	struct fault f = { "" };

	if (m && m->type == WIRE_OK)
		fixed(vm);
	else if (vm->state == VM_RUNNING) { /* one that stops meanwhile is fixed at its next boot */
		peer_result(m, "the agent", &f, NULL);
		vm_fail(vm, "fork", "it could not be made another machine than '%s': %s", vm->r.parent, f.text);
	}
}

static void on_late(struct ev_timer *t)
{
	struct vm *vm = t->arg;

	if (vm->state == VM_RUNNING)
		vm_fail(vm, "fork", "its agent was not there within %u seconds of its first boot", FORK_READY_MS / 1000);
	else if (vm->state == VM_PAUSED || vm->state == VM_STARTING)
		ev_timer_set(vm->core->loop, t, FORK_READY_MS);
}

void vm_fork_watch(struct vm *vm)
{
	if (!vm->r.fixups)
		return;
	vm->fork_timer.fn = on_late;
	vm->fork_timer.arg = vm;
	ev_timer_set(vm->core->loop, &vm->fork_timer, FORK_READY_MS);
}

void vm_fork_fix(struct vm *vm)
{
	struct buf b;
	size_t mark;
	int err;

	if (!(vm->r.fixups & FIX_ALL)) {
		fixed(vm);
		return;
	}
	buf_init(&b, 1024);
	mark = wire_begin(&b, A_FIXUP, 1);
	if (vm->r.fixups & FIX_HOSTNAME)
		wire_str(&b, A_T_HOSTNAME, vm->r.name);
	if (vm->r.fixups & FIX_MACHINE_ID)
		wire_str(&b, A_T_MACHINE_ID, vm->r.machine_id);
	if (vm->r.fixups & FIX_SSH_KEYS)
		wire_u64(&b, A_T_SSH_HOST_KEYS, 1);
	err = wire_end(&b, mark);
	if (!err)
		err = agent_ask(vm, &b, FORK_FIX_MS, on_fixed);
	buf_done(&b);
	if (err)
		vm_fail(vm, "fork", "its agent cannot be asked: %s", strerror(-err));
}

void fork_put(struct buf *b, const struct vm *vm)
{
	const struct commit *own = commits_of(&vm->core->commits, vm), *parent;
	const struct vm *source;

	if (own)
		wire_str(b, C_T_COMMITTED, own->id);
	if (!vm->r.parent[0])
		return;
	parent = commits_find(&vm->core->commits, vm->r.parent);
	source = parent ? registry_find(&vm->core->reg, parent->source.name) : NULL;
	wire_str(b, C_T_COMMIT, vm->r.parent);
	if (parent)
		wire_str(b, C_T_SOURCE_VM, parent->source.name);
	if (source && source->r.created_ns == parent->source.created_ns)
		wire_str(b, C_T_SOURCE_STATUS, vm_status(source));
	wire_u64(b, C_T_UP, vm_is_up(vm, false));
}
