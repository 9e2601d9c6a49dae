#include "api/core/publish.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/core/req.h"

#define BACKLOG 512
#define RETRY_MS 3000u
#define FIRST_RETRY_MS 300u /* a front that is just ending may still hold the port */

static void on_retry(struct ev_timer *t);

static void retry_later(struct core *c, unsigned delay_ms)
{
	if (c->publishing.retry.slot)
		return;
	c->publishing.retry = (struct ev_timer){ .fn = on_retry, .arg = c };
	ev_timer_set(c->loop, &c->publishing.retry, delay_ms);
}

/* ---- one port ---- */

static int explain(int err, const struct publish_spec *s, struct fault *f)
{
	size_t bracket = s->text[0] == '[' ? strcspn(s->text, "]") : 0;
	char at[PUBLISH_TEXT_MAX];

	snprintf(at, sizeof(at), "%.*s", (int)(bracket + strcspn(s->text + bracket, ":")), s->text);
	switch (err) {
	case -EADDRINUSE:
		return fault_set(f, err, "publish '%s': port %u on %s is in use by another program of this host [E_PUBLISH_USED]", s->text, s->port, at);
	case -EACCES: case -EPERM:
		return fault_set(f, err, "publish '%s': port %u needs a right that the daemon gave up: choose one from 1024 on, or let everybody have it: "
				 "sysctl net.ipv4.ip_unprivileged_port_start=%u", s->text, s->port, s->port);
	case -EADDRNOTAVAIL: case -EAFNOSUPPORT:
		return fault_set(f, err, "publish '%s': %s is no address of this host", s->text, at);
	default:
		return fault_set(f, err, "publish '%s': %s", s->text, strerror(-err));
	}
}

static int open_socket(const struct publish_spec *s, struct fault *f)
{
	struct sockaddr_storage a;
	socklen_t n = publish_sockaddr(s, &a);
	int fd = socket(s->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, err;

	if (fd < 0)
		return explain(-errno, s, f);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (s->family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&a, n) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err = -errno;
	close(fd);
	return explain(err, s, f);
}

/* Ours already? */
static int check_clash(const struct core *c, const struct publication *p, struct fault *f)
{
	const struct config *k = &c->config;
	struct publish_spec api = { .family = AF_INET, .port = k->port };
	uint32_t addr = htonl(k->bind_addr);

	memcpy(api.addr, &addr, sizeof(addr));
	if (k->bind_host && !c->ephemeral && publish_clash(&api, &p->spec))
		return fault_set(f, -EADDRINUSE, "publish '%s': the daemon's own API listens on port %u: choose another one, or set api.port [E_PUBLISH_USED]",
				 p->spec.text, k->port);
	for (const struct publication *o = c->publishing.first; o; o = o->next)
		if (o != p && o->vm != p->vm && o->listening && publish_clash(&o->spec, &p->spec))
			return fault_set(f, -EADDRINUSE, "publish '%s': VM '%s' has that port ('%s') [E_PUBLISH_USED]", p->spec.text, o->vm->r.name, o->spec.text);
	return 0;
}

static int hand_over(struct core *c, const struct publication *p, int fd, struct fault *f)
{
	struct buf *b = peer_begin_reply(&c->front, C_PUBLISH, 0);
	int err;

	wire_u64(b, C_T_PUB_ID, p->id);
	wire_str(b, C_T_VM, p->vm->r.name);
	err = peer_send(&c->front, &fd, 1);
	return err ? fault_set(f, err, "publish '%s': front takes no socket: %s", p->spec.text, strerror(-err)) : 0;
}

/* 0, or -errno with a sentence, which p keeps too. */
static int open_one(struct core *c, struct publication *p, struct fault *f)
{
	int err = check_clash(c, p, f), fd = err ? err : open_socket(&p->spec, f);

	if (fd >= 0) {
		err = hand_over(c, p, fd, f);
		close(fd);
	} else {
		err = fd;
	}
	p->listening = !err;
	p->tries += err != 0;
	snprintf(p->why, sizeof(p->why), "%.*s", (int)sizeof(p->why) - 1, err ? f->text : "");
	return err;
}

/* Tries what does not listen yet. Told once each, and not the first time: what ended with the daemon may hold a port for a moment. */
static void open_waiting(struct core *c)
{
	unsigned delay_ms = 0;

	for (struct publication *p = c->publishing.first; p; p = p->next) {
		struct fault f = { "" };
		unsigned before = p->tries;

		if (p->listening)
			continue;
		if (open_one(c, p, &f)) {
			if (p->tries == 2)
				core_say(c, "NOTE", "%s: %s: it is tried again every few seconds", p->vm->r.name, f.text);
			delay_ms = delay_ms == FIRST_RETRY_MS || p->tries < 2 ? FIRST_RETRY_MS : RETRY_MS;
		} else if (before >= 2) {
			core_say(c, "NOTE", "%s: '%s' is published now", p->vm->r.name, p->spec.text);
		}
	}
	if (delay_ms)
		retry_later(c, delay_ms);
}

static void on_retry(struct ev_timer *t)
{
	open_waiting(t->arg);
}

/* ---- those of a VM ---- */

static int add(struct vm *vm, const struct publish_spec *s)
{
	struct publishing *g = &vm->core->publishing;
	struct publication *p = calloc(1, sizeof(*p)), **at = &g->first;

	if (!p)
		return -ENOMEM;
	*p = (struct publication){ .vm = vm, .id = ++g->last_id, .spec = *s };
	while (*at) /* the oldest first: it keeps a port that two want */
		at = &(*at)->next;
	*at = p;
	return 0;
}

static void load(struct vm *vm)
{
	const char *at = vm->r.publish ? vm->r.publish : "";
	struct publish_spec s;
	int got;

	while ((got = publish_next(&at, &s))) /* as many as the text holds */
		if (got < 0 || add(vm, &s))
			core_say(vm->core, "NOTE", "%s: a port of its record cannot be published", vm->r.name);
}

int publish_claim(struct vm *vm, unsigned *status, struct fault *f)
{
	struct core *c = vm->core;
	int err = 0;

	if (!vm->r.publish)
		return 0;
	load(vm);
	if (vm->r.protected_) {
		open_waiting(c);
		return 0;
	}
	for (struct publication *p = c->publishing.first; p && !err; p = p->next)
		if (p->vm == vm)
			err = open_one(c, p, f);
	if (!err)
		return 0;
	*status = err == -EADDRINUSE ? 409 : err == -ENOBUFS || err == -EPIPE || err == -EMFILE ? 503 : 400;
	publish_drop(vm);
	return err;
}

static void forget(struct core *c, struct publication **at)
{
	struct publication *p = *at;

	*at = p->next;
	if (p->listening && peer_there(&c->front)) {
		wire_u64(peer_begin_reply(&c->front, C_UNPUBLISH, 0), C_T_PUB_ID, p->id);
		if (peer_send(&c->front, NULL, 0) && c->front.on_gone && c->phase != CORE_STOPPING)
			c->front.on_gone(&c->front, -EPIPE); /* a front that cannot be told must not go on: all start afresh, VMs live on */
	}
	free(p);
}

void publish_drop(struct vm *vm)
{
	struct publication **at = &vm->core->publishing.first;

	pub_calls_drop(vm);
	while (*at)
		if ((*at)->vm == vm)
			forget(vm->core, at);
		else
			at = &(*at)->next;
}

void publish_restore(struct vm *vm)
{
	publish_drop(vm);
	load(vm);
	open_waiting(vm->core);
}

/* The file's word for a VM of count; its record is brought to say the same. */
static void follow(struct vm *vm, const struct host_group *g)
{
	const char *now = vm->r.publish ? vm->r.publish : "", *wanted = g->publish ? g->publish : "";
	char *copy = NULL;

	if (strcmp(now, wanted) == 0 || (*wanted && !(copy = strdup(wanted))))
		return;
	free(vm->r.publish);
	vm->r.publish = copy;
	publish_drop(vm);
	load(vm);
	if (vm->state != VM_MAKING && record_save(&vm->r, vm->dir_fd, true))
		core_say(vm->core, "NOTE", "%s: its record could not be written", vm->r.name);
}

void publish_follow(struct core *c, const struct host_group *g)
{
	for (struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (vm->r.protected_ && !vm->remove && vm->state != VM_REMOVING && strcmp(vm->r.group, g->name) == 0)
			follow(vm, g);
	open_waiting(c);
}

void publish_start(struct core *c)
{
	for (struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (!vm->remove && vm->state != VM_REMOVING)
			load(vm);
	open_waiting(c);
}

void publish_put(struct buf *b, const struct vm *vm)
{
	const char *at = vm->r.publish ? vm->r.publish : "";
	struct publish_spec s;
	int got;

	while ((got = publish_next(&at, &s))) /* as many as the text holds */
		if (got > 0)
			wire_str(b, C_T_PUBLISH, s.text);
}

void publish_put_faults(struct buf *b, const struct vm *vm)
{
	for (const struct publication *p = vm->core->publishing.first; p; p = p->next)
		if (p->vm == vm && !p->listening && p->why[0])
			wire_str(b, C_T_PUB_FAULT, p->why);
}
