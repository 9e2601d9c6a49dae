/* Endings that are wanted: shutdown with grace, kill, delete; and what each state's timer means. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "api/core/adopt.h"
#include "api/core/req.h"
#include "api/core/timers.h"
#include "lib/wire/jail.h"

/* Who was asked last to end the VM; each has a time, then the next one is asked. */
enum { STAGE_AGENT, STAGE_QUIT, STAGE_KILL, STAGE_SIGNAL, STAGE_GIVEN_UP };

void vm_tell_jail_kill(struct vm *vm)
{
	struct peer *jail = &vm->core->jail;

	if (!peer_there(jail))
		return;
	wire_str(peer_begin(jail, J_KILL), J_T_NAME, vm->r.name);
	peer_send(jail, NULL, 0); /* the pidfd tells whether it worked */
}

static int ask(struct vm *vm, int stage, const char *action)
{
	switch (stage) {
	case STAGE_AGENT: /* adopted, and its agent not yet back: asked when it comes, within the same time */
		return vm->maybe_ready && !vm->ready ? 0 : vm_agent_shutdown(vm, action);
	case STAGE_QUIT:
		peer_begin(&vm->vmm, V_QUIT);
		return peer_send(&vm->vmm, NULL, 0);
	case STAGE_KILL:
		vm_tell_jail_kill(vm);
		return peer_there(&vm->core->jail) ? 0 : -EPIPE;
	case STAGE_SIGNAL:
		return vm->pidfd >= 0 ? pidfd_signal(vm->pidfd, SIGKILL) : -ESRCH;
	default:
		return -ETIMEDOUT;
	}
}

static void stop_from(struct vm *vm, int stage, const char *action)
{
	static const unsigned limit_ms[] = { STOP_AGENT_MS, STOP_QUIT_MS, STOP_KILL_MS, STOP_KILL_MS };

	vm->state = VM_STOPPING;
	while (stage < STAGE_GIVEN_UP && ask(vm, stage, action))
		stage++;
	vm->stop_stage = stage;
	if (stage < STAGE_GIVEN_UP) {
		ev_timer_set(vm->core->loop, &vm->timer, limit_ms[stage]);
		return;
	}
	core_say(vm->core, "NOTE", "%s: its process %d could not be ended", vm->r.name, (int)vm->pid);
	req_refuse(vm, ~0u, 500, "the process of VM '%s' could not be ended", vm->r.name);
}

void vm_agent_is_back(struct vm *vm)
{
	if (vm->stop_stage == STAGE_AGENT)
		vm_agent_shutdown(vm, vm->stop_action);
}

/* Before it has a process: the flags do it when the step under way is back. */
static bool stop_early(struct vm *vm)
{
	switch (vm->state) {
	case VM_QUEUED:
		vm_process_gone(vm);
		return true;
	case VM_STARTING:
		return !vm_has_process(vm);
	case VM_ADOPTING:
		return vm->pidfd < 0;
	case VM_RUNNING: case VM_PAUSED: case VM_STOPPING:
		return false;
	default: /* on its way already, or nothing to stop */
		return true;
	}
}

void vm_kill(struct vm *vm)
{
	if (!stop_early(vm))
		stop_from(vm, peer_there(&vm->core->jail) ? STAGE_KILL : STAGE_QUIT, "");
}

void vm_stop(struct vm *vm, const char *action)
{
	bool again = vm->stop_asked && vm->state == VM_STOPPING;

	vm->stop_asked = true;
	vm->stop_action = strcmp(action, "reboot") == 0 ? "reboot" : "shutdown";
	if (again || stop_early(vm))
		return;
	if (vm->state == VM_PAUSED) { /* a frozen guest cannot shut down */
		peer_begin(&vm->vmm, V_RESUME);
		peer_send(&vm->vmm, NULL, 0);
	}
	stop_from(vm, vm->state == VM_STARTING ? STAGE_KILL : STAGE_AGENT, action);
}

void vm_remove(struct vm *vm)
{
	vm->remove = vm->stop_asked = true;
	publish_drop(vm);
	switch (vm->state) {
	case VM_MAKING: case VM_STOPPED:
		vm_remove_files(vm);
		break;
	default:
		vm_kill(vm); /* QUEUED is settled at once; ENDING and REMOVING go on by themselves */
		break;
	}
}

void vm_on_timer(struct ev_timer *t)
{
	struct vm *vm = t->arg;

	switch (vm->state) {
	case VM_STARTING:
		vm_fail(vm, "start", "it did not start within %u seconds", START_MS / 1000);
		break;
	case VM_RUNNING: case VM_PAUSED:
		vm->starts = false;
		if (!peer_there(&vm->vmm))
			vm_fail(vm, "vmm", "its process closed the control socket and did not end");
		core_moved(vm->core);
		break;
	case VM_STOPPING:
		stop_from(vm, vm->stop_stage + 1, "");
		break;
	case VM_ENDING:
		vm_settle(vm);
		break;
	case VM_ADOPTING: /* its socket is held and it says nothing: never start a second one on its disk, and let the rest go on */
		core_say(vm->core, "NOTE", "%s: its process does not answer; it is taken back as soon as it does", vm->r.name);
		adopt_decided(vm);
		break;
	default:
		break;
	}
}
