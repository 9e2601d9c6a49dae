/* Requests that change a running VM, or reach into it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/auth.h"
#include "lib/wire/agent.h"

void ask_delete(struct ask *a)
{
	char group[VM_NAME_MAX + 1];
	int err = wire_get_str(a->m, C_T_GROUP, group, sizeof(group));

	if (err != -ENOENT && (err || strcmp(group, a->vm->r.group) != 0))
		reply_err(a->core, a->id, 404, "no VM named '%s' in that host group", a->name);
	else if (a->vm->r.protected_)
		reply_err(a->core, a->id, 403, "VM '%s' belongs to its host group's count: lower count in the daemon's file instead", a->name);
	else if (req_add(a->vm, a->id, a->who, GOAL_REMOVED, false, 0))
		reply_err(a->core, a->id, 500, "out of memory");
	else
		vm_remove(a->vm);
}

void ask_shutdown(struct ask *a)
{
	char action[16] = "reboot";
	int err = wire_get_str(a->m, C_T_ACTION, action, sizeof(action));

	if ((err && err != -ENOENT) || (strcmp(action, "shutdown") != 0 && strcmp(action, "reboot") != 0))
		reply_err(a->core, a->id, 400, "'action' must be 'shutdown' or 'reboot'");
	else if (a->vm->state == VM_STOPPED)
		reply_ok(a->core, a->id, "it is stopped already");
	else if (a->vm->state == VM_MAKING)
		reply_err(a->core, a->id, 409, "VM '%s' is being made: delete it instead", a->name);
	else if (req_add(a->vm, a->id, a->who, GOAL_STOPPED, false, 0))
		reply_err(a->core, a->id, 500, "out of memory");
	else
		vm_stop(a->vm, action);
}

/* A question that vmm answers for a client. */
struct relay {
	struct core *core;
	struct vm *vm;      /* borrowed: it answers all its calls before it is freed */
	uint32_t id, who;
	enum vm_state then; /* pause, resume: the state after success */
	bool quiet;         /* connect: no use of the agent */
};

static struct relay *relay_new(const struct ask *a, enum vm_state then)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (r)
		*r = (struct relay){ a->core, a->vm, a->id, a->who, then };
	else
		reply_err(a->core, a->id, 500, "out of memory");
	return r;
}

static void relay_call(struct relay *r, peer_reply_fn *fn)
{
	int err = peer_call(&r->vm->vmm, NULL, 0, fn, r);

	if (!err)
		return;
	reply_err(r->core, r->id, 503, "VM '%s' cannot be asked: %s", r->vm->r.name, strerror(-err));
	free(r);
}

static void reply_stream(struct relay *r, int fd)
{
	char ip[ADDR_TEXT_MAX];

	snprintf(ip, sizeof(ip), "%s", r->vm->r.ip[0] ? r->vm->r.ip : "127.0.0.1");
	ip[strcspn(ip, "/")] = 0;
	wire_str(peer_begin_reply(&r->core->front, WIRE_OK, r->id), C_T_IP, ip);
	peer_send(&r->core->front, &fd, 1);
	if (!r->quiet)
		r->vm->last_call_ns = now_real_ns();
}

static void on_connected(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct relay *r = arg;
	struct fault f = { "" };
	unsigned status = 503;

	if (peer_result(m, "the VM", &f, &status))
		reply_err(r->core, r->id, status, "VM '%s': %s", r->vm->r.name, f.text);
	else if (n_fds != 1)
		reply_err(r->core, r->id, 500, "VM '%s': no stream came", r->vm->r.name);
	else if (auth_still(r->core, r->id, r->who))
		reply_stream(r, fds[0]);
	free(r);
}

void ask_connect(struct ask *a)
{
	struct vm *vm = a->vm;
	uint64_t port = AGENT_PORT, quiet = 0;
	struct relay *r;

	wire_get_u64(a->m, C_T_PORT, &port);
	wire_get_u64(a->m, C_T_QUIET, &quiet);
	if (vm->state == VM_PAUSED) {
		reply_err(a->core, a->id, 409, "VM '%s' is paused: resume it first", a->name);
	} else if (vm->state == VM_STOPPED || vm->state == VM_ENDING) {
		reply_err(a->core, a->id, 409, "VM '%s' is stopped%s%s", a->name, vm->r.fault ? ": " : ": relaunch it first",
			  vm->r.fault ? vm->r.fault : "");
	} else if ((vm->state != VM_RUNNING && vm->state != VM_STOPPING) || !(vm->ready || vm->maybe_ready) || vm->r.fixups) {
		reply_err(a->core, a->id, 503, "the agent of VM '%s' does not answer yet: 'mica vm ready %s' waits for it", a->name, a->name);
	} else if (port == 0 || port > UINT32_MAX) {
		reply_err(a->core, a->id, 400, "no such port");
	} else if ((r = relay_new(a, VM_RUNNING))) {
		r->quiet = quiet != 0;
		wire_u64(peer_begin(&vm->vmm, V_CONNECT), V_T_PORT, port);
		relay_call(r, on_connected);
	}
}

static void on_stood(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct relay *r = arg;
	struct fault f = { "" };
	unsigned status = 503;

	(void)fds; (void)n_fds;
	if (peer_result(m, "the VM", &f, &status)) {
		reply_err(r->core, r->id, status, "VM '%s': %s", r->vm->r.name, f.text);
	} else {
		if (r->vm->state == VM_RUNNING || r->vm->state == VM_PAUSED)
			r->vm->state = r->then;
		vm_sync_secrets(r->vm); /* what changed while it stood still */
		if (auth_still(r->core, r->id, r->who))
			reply_ok(r->core, r->id, r->then == VM_PAUSED ? "paused" : "resumed");
	}
	free(r);
}

static void stand(struct ask *a, enum vm_state from, enum vm_state to, uint16_t type)
{
	struct relay *r;

	if (a->vm->state == to) {
		reply_ok(a->core, a->id, to == VM_PAUSED ? "it is paused already" : "it runs already");
	} else if (a->vm->state != from) {
		reply_err(a->core, a->id, 409, "VM '%s' is not %s", a->name, from == VM_RUNNING ? "running" : "paused");
	} else if ((r = relay_new(a, to))) {
		peer_begin(&a->vm->vmm, type);
		relay_call(r, on_stood);
	}
}

void ask_pause(struct ask *a)
{
	stand(a, VM_RUNNING, VM_PAUSED, V_PAUSE);
}

void ask_resume(struct ask *a)
{
	stand(a, VM_PAUSED, VM_RUNNING, V_RESUME);
}

void ask_daemon_shutdown(struct ask *a)
{
	reply_ok(a->core, a->id, NULL);
	core_stop(a->core, !a->core->config.graceful_shutdown);
}
