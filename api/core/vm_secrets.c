/* Secrets into a running guest, one A_SECRET_PUT after the other, in the order of their changes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/timers.h"
#include "api/core/vm.h"
#include "lib/wire/agent.h"

#define GONE_BYTES_MAX 32768u

/* The oldest change that this guest was not offered; NULL: none. */
static const struct secret *next_of(const struct vm *vm)
{
	const struct secrets *s = &vm->core->secrets;
	const struct secret *next = NULL;

	for (unsigned i = 0; i < s->n; i++) {
		const struct secret *e = &s->list[i];

		if (e->change > vm->secrets_seen && (!next || e->change < next->change) && record_may_have(&vm->r, e->name))
			next = e;
	}
	return next;
}

/* What the guest's start waits for is over, well or not. */
static void settle(struct vm *vm)
{
	if (vm->secrets_done)
		return;
	vm->secrets_done = true;
	vm_secrets_there(vm);
}

static void on_put(struct vm *vm, const struct wire_msg *m)
{
	struct fault f = { "" };

	vm->secrets_busy = false;
	if (!m || m->type != WIRE_OK) {
		peer_result(m, "the agent", &f, NULL);
		if (vm->state == VM_RUNNING) /* one that stops has no use for it, one that pauses gets it later */
			core_say(vm->core, "NOTE", "%s: a secret was not taken: %s", vm->r.name, f.text);
	}
	if (m) { /* a refusal would come again */
		vm->secrets_seen = vm->secrets_offered;
		vm_sync_secrets(vm);
	} else {
		settle(vm); /* its next chance is the next change, or the next boot */
	}
}

/* ---- those that are no more ---- */

static void on_dropped(struct vm *vm, const struct wire_msg *m)
{
	struct fault f = { "" };

	vm->secrets_busy = false;
	if ((!m || m->type != WIRE_OK) && vm->state == VM_RUNNING) {
		peer_result(m, "the agent", &f, NULL);
		core_say(vm->core, "NOTE", "%s: a deleted secret stays in the guest until it boots again: %s", vm->r.name, f.text);
	}
	vm_sync_secrets(vm);
}

/* The first of them; it is tried once. true: the answer is awaited. */
static bool drop_next(struct vm *vm)
{
	while (buf_len(&vm->secrets_gone)) { /* each round takes one away */
		const char *name = (const char *)buf_data(&vm->secrets_gone);
		struct buf b;
		size_t mark;
		int err;

		buf_init(&b, 1024);
		mark = wire_begin(&b, A_SECRET_DROP, 1);
		wire_str(&b, A_T_NAME, name);
		err = wire_end(&b, mark);
		if (!err)
			err = agent_ask(vm, &b, AGENT_ASK_MS, on_dropped);
		buf_done(&b);
		if (err)
			core_say(vm->core, "NOTE", "%s: secret '%s' is deleted, but stays in the guest until it boots again: %s", vm->r.name, name,
				 strerror(-err));
		buf_eat(&vm->secrets_gone, strlen(name) + 1);
		if (!err)
			return vm->secrets_busy = true;
	}
	return false;
}

void vm_secret_gone(struct vm *vm, const char *name)
{
	if (!vm_has_process(vm) || !record_may_have(&vm->r, name))
		return;
	if (!vm->secrets_gone.max)
		buf_init(&vm->secrets_gone, GONE_BYTES_MAX);
	if (buf_add(&vm->secrets_gone, name, strlen(name) + 1)) {
		buf_clear(&vm->secrets_gone);
		core_say(vm->core, "NOTE", "%s: too many secrets were deleted at once: some stay in the guest until it boots again", vm->r.name);
	}
	vm_sync_secrets(vm);
}

/* ---- those that are there ---- */

static int offer(struct vm *vm, const struct secret *e)
{
	struct buf b;
	char *data = NULL;
	size_t n = 0, mark;
	int err = secrets_read(&vm->core->secrets, e, &data, &n);

	if (err)
		return err;
	buf_init(&b, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	mark = wire_begin(&b, A_SECRET_PUT, 1);
	wire_str(&b, A_T_NAME, e->name);
	wire_bytes(&b, A_T_DATA, data, n);
	wire_u64(&b, A_T_PERM, e->perm);
	wire_u64(&b, A_T_UID, e->uid);
	wire_u64(&b, A_T_GID, e->gid);
	err = wire_end(&b, mark);
	if (!err)
		err = agent_ask(vm, &b, AGENT_ASK_MS, on_put);
	if (b.mem)
		explicit_bzero(b.mem, b.cap);
	buf_done(&b);
	explicit_bzero(data, n);
	free(data);
	return err;
}

void vm_sync_secrets(struct vm *vm)
{
	const struct secret *e;
	int err;

	if ((vm->state != VM_RUNNING && vm->state != VM_STARTING) || !vm->ready || vm->secrets_busy)
		return;
	if (drop_next(vm))
		return;
	while ((e = next_of(vm))) { /* each round offers one or gives one up */
		vm->secrets_offered = e->change;
		err = offer(vm, e);
		if (!err) {
			vm->secrets_busy = true;
			return;
		}
		core_say(vm->core, "NOTE", "%s: secret '%s' could not be sent: %s", vm->r.name, e->name, strerror(-err));
		vm->secrets_seen = e->change;
	}
	settle(vm);
}
