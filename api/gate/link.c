/* The channel to core: its requests (a table), our questions. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/gate/gate.h"

#define CORE_QUEUE_BYTES (4u << 20)
#define FRAMES_A_TURN 64u

struct buf *link_begin(struct gate *g, uint16_t type)
{
	buf_clear(&g->frame);
	if (++g->last_id == 0)
		g->last_id = 1;
	g->mark = wire_begin(&g->frame, type, g->last_id);
	return &g->frame;
}

static int finish(struct gate *g)
{
	int err = g->core_gone ? -EPIPE : wire_end(&g->frame, g->mark);

	if (!err)
		err = chan_send(&g->core, &g->frame, NULL, 0);
	if (!err)
		ev_mod(g->loop, &g->core_io, chan_want(&g->core));
	return err;
}

void link_send(struct gate *g)
{
	finish(g); /* a core that takes nothing ends us, see on_core */
}

int link_call(struct gate *g, void (*fn)(void *, const struct wire_msg *, int *, unsigned), void *arg)
{
	struct core_call *c = malloc(sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	*c = (struct core_call){ g->calls, g->last_id, fn, arg };
	err = finish(g);
	if (err) {
		free(c);
		return err;
	}
	g->calls = c;
	return 0;
}

static void nobody(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	(void)arg; (void)m; (void)fds; (void)n_fds;
}

void link_forget(struct gate *g, const void *arg)
{
	for (struct core_call *c = g->calls; c; c = c->next)
		if (c->arg == arg)
			c->fn = nobody;
}

static void on_reply(struct gate *g, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct core_call **at = &g->calls, *c;

	while (*at && (*at)->id != m->id)
		at = &(*at)->next;
	c = *at;
	if (!c)
		return;
	*at = c->next;
	c->fn(c->arg, m, fds, n_fds);
	free(c);
}

/* ---- core's requests ---- */

static void begin_reply(struct gate *g, uint16_t type, uint32_t id)
{
	buf_clear(&g->frame);
	g->mark = wire_begin(&g->frame, type, id);
}

static void reply(struct gate *g, uint32_t id, int err, const struct fault *f)
{
	begin_reply(g, err ? WIRE_ERR : WIRE_OK, id);
	if (err) {
		wire_u64(&g->frame, WIRE_T_STATUS, err == -ENOENT ? 404 : 500);
		wire_u64(&g->frame, WIRE_T_ERRNO, (uint64_t)-err);
		wire_str(&g->frame, WIRE_T_TEXT, f->text[0] ? f->text : strerror(-err));
	}
	finish(g);
}

void link_ok(struct gate *g, uint32_t id)
{
	reply(g, id, 0, NULL);
}

static struct vm *named(struct gate *g, const struct wire_msg *m)
{
	char name[GATE_NAME_MAX + 1];

	return wire_get_str(m, G_T_VM, name, sizeof(name)) ? NULL : vm_find(g, name);
}

static int on_down(struct gate *g, const struct wire_msg *m)
{
	struct vm *vm = named(g, m);

	if (vm) {
		events_end(vm);
		vm_down(vm);
	}
	return 0;
}

static int on_group_down(struct gate *g, const struct wire_msg *m)
{
	char name[BRIDGE_NAME_MAX + 1];

	if (!wire_get_str(m, G_T_BRIDGE, name, sizeof(name)))
		bridge_down(g, name);
	return 0;
}

static int on_log(struct gate *g, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = named(g, m);
	uint64_t i;

	if (!vm)
		return -ENOENT;
	if (!wire_get_u64(m, G_T_FD_LOG, &i) || i >= n_fds)
		return -EPROTO;
	record_start(vm, fds[i]);
	fds[i] = -1;
	return 0;
}

static int on_host_events(struct gate *g, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	uint64_t i;
	int fd;

	if (!wire_get_u64(m, G_T_FD_EVENTS, &i) || i >= n_fds)
		return -EPROTO;
	fd = fds[i];
	fds[i] = -1;
	return events_host_start(g, fd);
}

static void on_missed(struct gate *g, const struct wire_msg *m)
{
	struct vm *vm = named(g, m);
	uint64_t lost = 0;

	if (vm && wire_get_u64(m, G_T_LOST, &lost) && lost)
		record_lost(vm, lost, "flows beyond what the kernel logs");
}

/* Answers itself unless it fails. */
static int on_live(struct gate *g, const struct wire_msg *m)
{
	struct vm *vm = named(g, m);
	char text[POLICY_NAME_MAX + 2], name[POLICY_NAME_MAX + 1];
	int err = wire_get_str(m, G_T_NAME, text, sizeof(text));

	if (!vm)
		return -ENOENT;
	if (err != -ENOENT && (err || policy_name_canon(text, name)))
		return -EINVAL;
	begin_reply(g, WIRE_OK, m->id);
	vm_put_live(vm, &g->frame, err ? NULL : name);
	finish(g);
	return 0;
}

static void on_frame(struct gate *g, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct fault f = { "" };
	int err = -EOPNOTSUPP;

	switch (m->type) {
	case WIRE_OK:
	case WIRE_ERR:
		on_reply(g, m, fds, n_fds);
		return;
	case G_VM_UP:
		err = vm_up(g, m, fds, n_fds, &f);
		break;
	case G_VM_DOWN:
		err = on_down(g, m);
		break;
	case G_POLICY:
		err = vm_policy(g, m, &f);
		if (!err && named(g, m)->policy_id) /* once its addresses are open again */
			return;
		break;
	case G_GROUP_UP:
		err = bridge_up(g, m, fds, n_fds, &f);
		break;
	case G_GROUP_DOWN:
		err = on_group_down(g, m);
		break;
	case G_HOST_EVENTS:
		err = on_host_events(g, m, fds, n_fds);
		break;
	case G_LOG:
		err = on_log(g, m, fds, n_fds);
		break;
	case G_MISSED:
		on_missed(g, m);
		return;
	case G_LIVE:
		err = on_live(g, m);
		if (!err)
			return;
		break;
	default:
		break;
	}
	reply(g, m->id, err, &f);
}

static void on_core(struct ev_io *io, uint32_t events)
{
	struct gate *g = io->arg;
	int fds[WIRE_FDS_MAX], got = 1;
	unsigned n_fds;
	struct wire_msg m;

	(void)events;
	if (chan_stuck(&g->core))
		got = -EPIPE;
	for (unsigned i = 0; got == 1 && i < FRAMES_A_TURN; i++) {
		got = chan_recv(&g->core, &m, fds, &n_fds);
		if (got != 1)
			break;
		on_frame(g, &m, fds, n_fds);
		for (unsigned k = 0; k < n_fds; k++)
			fd_close(&fds[k]);
	}
	if (got < 0) {
		g->core_gone = true;
		ev_stop(g->loop);
		return;
	}
	ev_mod(g->loop, &g->core_io, chan_want(&g->core));
}

int link_init(struct gate *g)
{
	int err = chan_init(&g->core, GATE_CORE_FD, CORE_QUEUE_BYTES);

	if (err)
		return err;
	buf_init(&g->frame, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX);
	g->core_io = (struct ev_io){ .fn = on_core, .arg = g, .fd = -1 };
	return ev_add(g->loop, &g->core_io, g->core.fd, chan_want(&g->core));
}
