/* The daemon's phases: starting, serving, stopping. */
#include "api/core/core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/core/req.h"
#include "api/core/timers.h"

void core_say(struct core *c, const char *word, const char *fmt, ...)
{
	char line[FAULT_MAX + 300];
	int at = snprintf(line, sizeof(line) - 1, "%s ", word), n;
	va_list ap;

	va_start(ap, fmt);
	n = vsnprintf(line + at, sizeof(line) - 1 - (size_t)at, fmt, ap);
	va_end(ap);
	n = n < 0 ? at : (int)strlen(line);
	for (int i = 0; i < n; i++) /* one line each; "\n" inside becomes " | " for a person's eye, short */
		if (line[i] == '\n')
			line[i] = '|';
	line[n++] = '\n';
	if (write(c->status_fd, line, (size_t)n) < 0) /* non-blocking: a supervisor that reads nothing loses lines, not VMs */
		return;
}

bool core_is_lost(const struct core *c)
{
	bool all = peer_there(&c->front) && peer_there(&c->jail) && (c->no_netd || peer_there(&c->netd));

	return !all && !c->ephemeral && c->phase != CORE_STOPPING;
}

static uint64_t ram(const struct core *c, const char *line)
{
	char text[1024];
	ssize_t n = c->meminfo_fd < 0 ? 0 : pread(c->meminfo_fd, text, sizeof(text) - 1, 0);
	uint64_t kib = 0;

	if (n <= 0)
		return 0;
	text[n] = 0;
	return metrics_word(text, line, &kib) ? kib << 10 : 0;
}

uint64_t core_ram_available(const struct core *c)
{
	return ram(c, "MemAvailable:");
}

uint64_t core_ram_total(const struct core *c)
{
	return ram(c, "MemTotal:");
}

/* ---- serving ---- */

static void start_one(struct core *c, const struct host_group *g)
{
	struct vm_wish w = { .group = g, .persistent = g->persistent, .protected_ = true, .publish = g->publish };
	struct fault f = { "" };
	struct vm *vm;
	unsigned status;
	int err = vm_create(c, &w, &vm, &status, &f);

	metrics_launch(&c->metrics, g->name, err ? status : 201);
	if (err)
		core_say(c, "NOTE", "a VM of host group '%s' could not be started: %s", g->name, f.text);
}

/* The newest of count's VMs: nothing is deleted that was not asked to be. */
static void let_go(struct core *c, const struct host_group *g)
{
	struct vm *last = NULL;

	for (struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (vm->r.protected_ && strcmp(vm->r.group, g->name) == 0)
			last = vm;
	if (!last)
		return;
	last->r.protected_ = false;
	last->r.persistent = true;
	record_save(&last->r, last->dir_fd, true);
	core_say(c, "NOTE", "%s is above host group '%s's count now: it is kept as a persistent VM", last->r.name, g->name);
}

void core_keep_count(struct core *c, const struct host_group *g)
{
	unsigned have = registry_protected(&c->reg, g->name);

	for (; have > g->count; have--)
		let_go(c, g);
	publish_follow(c, g);
	for (struct vm *vm = c->reg.first, *next; vm; vm = next) {
		next = vm->next;
		if (vm->r.protected_ && vm->state == VM_STOPPED && !vm->commit && strcmp(vm->r.group, g->name) == 0)
			vm_queue(vm);
	}
	for (; have < g->count; have++)
		start_one(c, g);
}

static void say_ready(struct core *c)
{
	char text[500] = "";
	size_t n = 0;

	for (unsigned i = 0; i < c->n_listeners && n < sizeof(text); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : "", c->listeners[i].name);
	core_say(c, "READY", "%s", text);
}

void core_serve(struct core *c)
{
	int err;

	if (c->phase != CORE_STARTING)
		return;
	if (c->tls.wanted && !c->tls.ready) {
		core_tls_start(c);
		return;
	}
	c->phase = CORE_SERVING;
	if (c->stop_pending) {
		core_stop(c, c->kill_now);
		return;
	}
	err = core_announce_listeners(c);
	if (err) {
		core_say(c, "FATAL", "front takes no sockets: %s", strerror(-err));
		c->exit_code = 1;
		ev_stop(c->loop);
		return;
	}
	for (struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (!vm->group)
			core_say(c, "NOTE", "%s belongs to host group '%s', which is there no more: it is kept, and cannot be started", vm->r.name,
				 vm->r.group);
	publish_start(c);
	say_ready(c);
	for (size_t i = 0; i < c->config.n_groups; i++)
		core_keep_count(c, &c->config.groups[i]);
	core_moved(c);
}

/* ---- stopping ---- */

static void finish(struct core *c)
{
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (vm->state != VM_STOPPED)
			return;
	core_net_stop(c);
	ev_stop(c->loop);
}

static void on_stop_timeout(struct ev_timer *t)
{
	struct core *c = t->arg;

	core_say(c, "NOTE", "some VMs did not end in time: they go on, and are found again at the next start");
	ev_stop(c->loop);
}

static void stop_one(struct core *c, struct vm *vm)
{
	if (vm->state == VM_MAKING || c->ephemeral)
		vm_remove(vm);
	else if (c->kill_now && vm->state != VM_STOPPED) {
		vm->stop_asked = true;
		vm_kill(vm);
	} else {
		vm_stop(vm, "shutdown");
	}
}

void core_stop(struct core *c, bool now)
{
	if (c->phase == CORE_STOPPING && (c->kill_now || !now))
		return;
	c->kill_now |= now;
	c->stop_pending = true;
	if (c->phase == CORE_STARTING) /* core_serve() comes back here */
		return;
	c->phase = CORE_STOPPING;
	c->stop_timer = (struct ev_timer){ .fn = on_stop_timeout, .arg = c };
	ev_timer_set(c->loop, &c->stop_timer, STOP_ALL_MS);
	for (struct vm *vm = c->reg.first, *next; vm; vm = next) {
		next = vm->next;
		stop_one(c, vm);
	}
	core_moved(c);
}

static void on_moved(struct ev_timer *t)
{
	struct core *c = t->arg;

	if (c->phase == CORE_SERVING)
		vm_start_queued(c);
	else if (c->phase == CORE_STOPPING)
		finish(c);
}

void core_moved(struct core *c)
{
	c->moved_timer.fn = on_moved;
	c->moved_timer.arg = c;
	ev_timer_set(c->loop, &c->moved_timer, 0);
}
