#include "api/core/req.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/timers.h"

/* ---- replies ---- */

void reply_ok(struct core *c, uint32_t id, const char *text)
{
	wire_str(peer_begin_reply(&c->front, WIRE_OK, id), C_T_TEXT, text);
	peer_send(&c->front, NULL, 0);
}

void reply_fd(struct core *c, uint32_t id, int fd)
{
	peer_begin_reply(&c->front, WIRE_OK, id);
	peer_send(&c->front, &fd, 1);
}

static void reply_err_text(struct core *c, uint32_t id, unsigned status, const char *text)
{
	struct buf *b = peer_begin_reply(&c->front, WIRE_ERR, id);

	wire_u64(b, WIRE_T_STATUS, status);
	wire_str(b, WIRE_T_TEXT, text);
	peer_send(&c->front, NULL, 0);
}

void reply_err(struct core *c, uint32_t id, unsigned status, const char *fmt, ...)
{
	char text[FAULT_MAX + 200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reply_err_text(c, id, status, text);
}

void node_put(struct buf *b, const struct vm *vm, bool with_prefix)
{
	const struct record *r = &vm->r;
	char ip[sizeof(r->ip)];

	snprintf(ip, sizeof(ip), "%s", r->ip[0] ? r->ip : "127.0.0.1/8");
	if (!with_prefix)
		ip[strcspn(ip, "/")] = 0;
	wire_str(b, C_T_VM, r->name);
	wire_str(b, C_T_GROUP, r->group);
	wire_str(b, C_T_IP, ip);
	wire_u64(b, C_T_RAM_BYTES, r->ram_bytes);
	wire_u64(b, C_T_CPUS, r->vcpus);
	wire_u64(b, C_T_CREATED_NS, r->created_ns);
	if (vm->last_call_ns)
		wire_u64(b, C_T_LAST_CALL_NS, vm->last_call_ns);
	wire_str(b, C_T_ARCH, "x86_64");
	for (unsigned i = 0; i < r->n_tags; i++)
		wire_str(b, C_T_TAG, r->tags[i]);
	wire_str(b, C_T_STATUS, vm_status(vm));
	wire_u64(b, C_T_PERSISTENT, r->persistent || r->protected_);
	publish_put(b, vm);
	wire_str(b, C_T_FAULT, r->fault);
	fork_put(b, vm);
}

void reply_node(struct core *c, uint32_t id, const struct vm *vm)
{
	node_put(peer_begin_reply(&c->front, WIRE_OK, id), vm, true);
	peer_send(&c->front, NULL, 0);
}

/* ---- who waits ---- */

static void drop(struct req *q)
{
	struct req **at = &q->vm->reqs;

	while (*at && *at != q)
		at = &(*at)->next;
	if (*at)
		*at = q->next;
	ev_timer_del(q->vm->core->loop, &q->timer);
	free(q->late);
	free(q);
}

static void set_late(struct req *q, unsigned status, const char *text)
{
	if (q->late)
		return;
	q->goal = GOAL_REMOVED;
	q->late_status = status;
	q->late = strdup(text);
	ev_timer_del(q->vm->core->loop, &q->timer);
}

/* A creation that took too long: the VM goes first, then its client hears 408. */
static void on_timeout(struct ev_timer *t)
{
	struct req *q = t->arg;
	char text[200];

	snprintf(text, sizeof(text), "VM '%s' was not ready in time%s", q->vm->r.name, q->creates ? " and was destroyed" : "; it goes on starting");
	if (q->creates) {
		set_late(q, 408, text);
		vm_remove(q->vm);
		return;
	}
	reply_err_text(q->vm->core, q->id, 408, text);
	drop(q);
}

int req_add(struct vm *vm, uint32_t id, uint32_t who, enum req_goal goal, bool creates, uint64_t timeout_ms)
{
	struct req *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	*q = (struct req){ .next = vm->reqs, .vm = vm, .id = id, .who = who, .goal = goal, .creates = creates };
	q->node_reply = goal == GOAL_MADE || goal == GOAL_READY || goal == GOAL_USERDATA;
	q->timer = (struct ev_timer){ .fn = on_timeout, .arg = q };
	if (timeout_ms && ev_timer_set(vm->core->loop, &q->timer, timeout_ms)) {
		free(q);
		return -ENOMEM;
	}
	vm->reqs = q;
	return 0;
}

/* A creation has ended so. */
static void count_launch(const struct req *q, unsigned status)
{
	if (q->creates)
		metrics_launch(&q->vm->core->metrics, q->vm->r.group, status);
}

static void answer(struct req *q)
{
	struct core *c = q->vm->core;
	char text[200];
	struct buf *b;

	count_launch(q, q->late ? q->late_status : 201);
	if (q->late) {
		reply_err_text(c, q->id, q->late_status, q->late);
	} else if (q->node_reply) {
		reply_node(c, q->id, q->vm);
	} else if (q->goal == GOAL_KEPT) {
		image_put(peer_begin_reply(&c->front, WIRE_OK, q->id), c, q->vm->kept);
		peer_send(&c->front, NULL, 0);
	} else if (q->goal == GOAL_COMMITTED) {
		commit_put(peer_begin_reply(&c->front, WIRE_OK, q->id), commits_of(&c->commits, q->vm));
		peer_send(&c->front, NULL, 0);
	} else {
		snprintf(text, sizeof(text), "VM '%s' was %s", q->vm->r.name, q->goal == GOAL_REMOVED ? "deleted" : "stopped");
		b = peer_begin_reply(&c->front, WIRE_OK, q->id);
		wire_str(b, C_T_TEXT, text);
		if (q->goal == GOAL_REMOVED)
			wire_u64(b, C_T_DISK_REMOVED, 1);
		peer_send(&c->front, NULL, 0);
	}
}

void req_reached(struct vm *vm, enum req_goal goal)
{
	for (struct req *q = vm->reqs, *next; q; q = next) {
		next = q->next;
		if (q->goal == goal) {
			answer(q);
			drop(q);
		}
	}
}

void req_refuse(struct vm *vm, unsigned goals, unsigned status, const char *fmt, ...)
{
	char text[FAULT_MAX + 200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (struct req *q = vm->reqs, *next; q; q = next) {
		next = q->next;
		if (!(goals & 1u << q->goal))
			continue;
		if (q->late) {
			answer(q);
		} else {
			count_launch(q, status);
			reply_err_text(vm->core, q->id, status, text);
		}
		drop(q);
	}
}

void req_refuse_late(struct vm *vm, unsigned goals, unsigned status, const char *text)
{
	for (struct req *q = vm->reqs; q; q = q->next)
		if (goals & 1u << q->goal)
			set_late(q, status, text);
}

void req_cut(struct vm *vm, uint32_t who)
{
	static const char over[] = "this token was revoked or has expired";
	bool undo = false;

	for (struct req *q = vm->reqs, *next; q; q = next) {
		next = q->next;
		if (q->who != who)
			continue;
		if (q->creates) {
			set_late(q, 401, over);
			undo = true;
		} else {
			reply_err_text(vm->core, q->id, 401, over);
			drop(q);
		}
	}
	if (undo)
		vm_remove(vm);
}

bool req_any(const struct vm *vm, unsigned goals)
{
	for (const struct req *q = vm->reqs; q; q = q->next)
		if (goals & 1u << q->goal)
			return true;
	return false;
}

bool req_creator_waits(const struct vm *vm)
{
	for (const struct req *q = vm->reqs; q; q = q->next)
		if (q->creates && q->node_reply)
			return true;
	return false;
}

void req_free_all(struct vm *vm)
{
	for (struct req *q = vm->reqs, *next; q; q = next) {
		next = q->next;
		drop(q);
	}
}
