/* A VM's memory, its process's end, and what is made of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/core/net.h"
#include "api/core/policy.h"
#include "api/core/adopt.h"
#include "api/core/disks.h"
#include "api/core/report.h"
#include "api/core/req.h"
#include "api/core/timers.h"

const char *vm_status(const struct vm *vm)
{
	switch (vm->state) {
	case VM_PAUSED: return "Paused";
	case VM_STOPPED: case VM_ENDING: case VM_REMOVING: return "Stopped";
	default: return "Running";
	}
}

struct vm *vm_alloc(struct core *c)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->core = c;
	vm->dir_fd = vm->pidfd = vm->agent_fd = -1;
	vm->pid_io.fd = vm->agent_io.fd = -1;
	for (int i = 0; i < J_NS_FDS; i++)
		vm->ns_fds[i] = -1;
	vm->exit_status = -1;
	vm->timer = (struct ev_timer){ .fn = vm_on_timer, .arg = vm };
	buf_init(&vm->agent_in, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	return vm;
}

/* Everything that belongs to a running process; the state folder stays. */
static void drop_process(struct vm *vm)
{
	struct ev_loop *l = vm->core->loop;

	if (vm->state == VM_STARTING && vm->pidfd < 0) { /* a cage may be under way: what comes out of it ends at once */
		vm_tell_jail_kill(vm);
		peer_forget(&vm->core->jail, vm);
		peer_forget(&vm->core->netd, vm);
	}
	disk_grow_over(vm);
	vm_disks_let_go(vm);
	agent_calls_drop(vm);
	vm_agent_lost(vm);
	peer_done(&vm->vmm);
	ev_del(l, &vm->pid_io);
	fd_close(&vm->pidfd);
	vm_taps_close(vm);
	ev_timer_del(l, &vm->timer);
	ev_timer_del(l, &vm->poll_timer);
	ev_timer_del(l, &vm->fork_timer);
	vm->pid = 0;
	vm->starts = vm->maybe_ready = vm->greeted = vm->secrets_busy = false;
}

void vm_free(struct vm *vm)
{
	disk_job_end(vm);
	req_free_all(vm);
	publish_drop(vm);
	helper_cancel(&vm->helper);
	drop_process(vm);
	peer_forget(&vm->core->jail, vm);
	peer_forget(&vm->core->netd, vm);
	peer_forget(&vm->core->gate, vm);
	net_vm_forget(vm);
	fd_close(&vm->dir_fd);
	buf_done(&vm->agent_in);
	record_done(&vm->r);
	policy_done(&vm->policy);
	free(vm->userdata);
	free(vm->ssh_keys);
	buf_done(&vm->secrets_gone);
	image_free(vm->keep);
	commit_free(vm->commit);
	free(vm->reason);
	free(vm->words);
	free(vm);
}

int vm_from_record(struct core *c, struct record *r, int dir_fd, struct vm **out)
{
	struct vm *vm = vm_alloc(c);
	int err;

	if (!vm)
		return -ENOMEM;
	vm->r = *r;
	vm->dir_fd = dir_fd;
	memset(r, 0, sizeof(*r));
	vm->group = config_group(&c->config, vm->r.group);
	policy_load(vm);
	vm->state = VM_ADOPTING;
	err = registry_add(&c->reg, vm);
	if (err)
		vm_free(vm);
	else
		*out = vm;
	return err;
}

/* ---- the process ---- */

static void on_pid(struct ev_io *io, uint32_t events)
{
	(void)events;
	vm_process_gone(io->arg);
}

int vm_watch_pid(struct vm *vm, int pidfd_taken)
{
	vm->pidfd = pidfd_taken;
	vm->pid_io = (struct ev_io){ .fn = on_pid, .arg = vm, .fd = -1 };
	return ev_add(vm->core->loop, &vm->pid_io, pidfd_taken, EPOLLIN);
}

void vm_running(struct vm *vm, bool paused)
{
	vm->state = paused ? VM_PAUSED : VM_RUNNING;
	vm_fork_watch(vm);
	if (vm->starts)
		ev_timer_set(vm->core->loop, &vm->timer, START_HOLD_MS);
	else
		ev_timer_del(vm->core->loop, &vm->timer);
}

/* The first reason that is given stays. */
static void set_reason(struct vm *vm, const char *reason, const char *words)
{
	if (vm->reason)
		return;
	vm->reason = strdup(reason);
	free(vm->words);
	vm->words = strdup(words);
}

void vm_fail(struct vm *vm, const char *reason, const char *fmt, ...)
{
	char words[1200];
	va_list ap;

	if (core_is_lost(vm->core)) /* a vmm may be under way that nobody told us of: who comes after us looks */
		return;
	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	set_reason(vm, reason, words);
	if (vm_has_process(vm))
		vm_kill(vm);
	else
		vm_process_gone(vm);
}

void vm_exited_frame(struct vm *vm, const struct wire_msg *m)
{
	struct wire_field f;
	char reason[32];
	char *words = wire_get(m, V_T_TEXT, &f) ? wire_field_dup(&f) : NULL;

	if (!wire_get_str(m, V_T_REASON, reason, sizeof(reason)))
		set_reason(vm, reason, words ? words : "");
	free(words);
}

void vm_process_gone(struct vm *vm)
{
	char *reason = NULL, *words = NULL;

	if (vm->state == VM_ENDING || vm->state == VM_REMOVING)
		return;
	if (peer_there(&vm->vmm))
		peer_drain(&vm->vmm); /* its last frame may still be unread */
	if (vm->state == VM_ADOPTING) /* nobody was there to see why it ended: only its report may say that it failed */
		vm->stop_asked = true;
	drop_process(vm);
	net_vm_down(vm);
	vm->state = VM_ENDING;
	unlinkat(vm->dir_fd, "ctl.sock", 0);
	if (!vm->reason && !report_read(vm->dir_fd, &reason, &words))
		set_reason(vm, reason, words);
	free(reason);
	free(words);
	if (!vm->reason && !vm->stop_asked && vm->exit_status < 0 && peer_there(&vm->core->jail) &&
	    !ev_timer_set(vm->core->loop, &vm->timer, LAST_WORDS_MS))
		return; /* jail will tell what killed it */
	vm_settle(vm);
}

/* ---- what stays ---- */

static bool ended_badly(const struct vm *vm)
{
	static const char *const fine[] = { "poweroff", "reboot", "killed" };

	if (!vm->reason)
		return !vm->stop_asked;
	for (size_t i = 0; i < ARRAY_LEN(fine); i++)
		if (strcmp(vm->reason, fine[i]) == 0)
			return false;
	return true;
}

static bool stays(const struct vm *vm, bool failed)
{
	if (vm->remove || vm->undo || vm->core->ephemeral)
		return false;
	if (vm->r.persistent || vm->r.protected_)
		return true;
	return failed && vm->core->phase == CORE_SERVING; /* so that its owner can read why */
}

static void note_failure(struct vm *vm)
{
	const char *fault;

	free(vm->r.fault);
	vm->r.fault = report_compose(vm);
	fault = vm->r.fault ? vm->r.fault : "failed"; /* its first line; the rest is with the VM, and with who waited for it */
	core_say(vm->core, "NOTE", "%s: %.*s", vm->r.name, (int)strcspn(fault, "\n"), fault);
}

#define WAIT_FOR_LIFE (1u << GOAL_MADE | 1u << GOAL_READY | 1u << GOAL_USERDATA)

static void settle_stopped(struct vm *vm, bool failed)
{
	int err, fd;

	vm->state = VM_STOPPED;
	if (!vm->r.persistent && !vm->r.protected_)
		unlinkat(vm->dir_fd, "disk.img", 0); /* nothing will run from it again */
	fd = openat(vm->dir_fd, "report", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); /* its start is no more pending (adopt.c) */
	fd_close(&fd);
	err = record_save(&vm->r, vm->dir_fd, false);
	if (err && failed)
		core_say(vm->core, "NOTE", "%s: its record could not be written: %s", vm->r.name, strerror(-err));
	req_reached(vm, GOAL_STOPPED);
}

void vm_settle(struct vm *vm)
{
	bool failed = ended_badly(vm), begin = vm->adopting && vm->never_booted && vm->group && !vm->remove && !vm->core->ephemeral;

	if (vm->helper.loop) /* it is a builder whose image is being stored: jail's word comes late */
		return;
	ev_timer_del(vm->core->loop, &vm->timer);
	if (begin) { /* acknowledged, and not started when core died */
		vm_queue(vm);
		adopt_decided(vm);
		return;
	}
	if (failed && !vm->remove)
		note_failure(vm);
	if (failed && (req_creator_waits(vm) || vm->r.fixups))
		vm->undo = true;
	if (failed && vm->undo)
		req_refuse_late(vm, WAIT_FOR_LIFE, vm->made_status ? vm->made_status : 500,
				vm->r.fault ? vm->r.fault : "the VM could not be started");
	else if (failed)
		req_refuse(vm, WAIT_FOR_LIFE, vm->made_status ? vm->made_status : 500, "%s",
			   vm->r.fault ? vm->r.fault : "the VM could not be started");
	else
		req_refuse(vm, WAIT_FOR_LIFE, 409, "VM '%s' was stopped before it was ready", vm->r.name);
	if (failed)
		req_refuse(vm, 1u << GOAL_KEPT, 500, "%s", vm->r.fault ? vm->r.fault : "the builder failed");
	if (vm->keep && !failed && !vm->remove)
		vm_keep(vm);
	else if (stays(vm, failed))
		settle_stopped(vm, failed);
	else
		vm_remove_files(vm);
	adopt_decided(vm);
	core_moved(vm->core);
}
