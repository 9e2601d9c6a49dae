/* Questions to core: one outstanding per request, found again by its id. */
#include <errno.h>
#include <unistd.h>
#include "api/front/front.h"

static struct req **bucket_of(struct front *f, uint32_t id)
{
	return &f->asks[id % ASK_BUCKETS];
}

struct buf *ask_begin(struct req *r, uint16_t type)
{
	struct front *f = r->conn->front;

	ask_drop(r);
	buf_clear(&f->frame);
	if (++f->next_id == 0)
		f->next_id = 1;
	r->ask_id = f->next_id;
	r->ask_fn = NULL;
	r->ask_next = *bucket_of(f, r->ask_id);
	*bucket_of(f, r->ask_id) = r;
	f->frame_mark = wire_begin(&f->frame, type, r->ask_id);
	if (r->conn->local)
		wire_u64(&f->frame, C_T_LOCAL, r->conn->local);
	else
		wire_u64(&f->frame, C_T_LISTENER, r->conn->listener->index);
	if (r->has_auth)
		wire_bytes(&f->frame, C_T_AUTH, r->auth, sizeof(r->auth));
	return &f->frame;
}

int ask_try(struct req *r, ask_fn *fn)
{
	struct front *f = r->conn->front;
	int err;

	r->ask_fn = fn;
	err = wire_end(&f->frame, f->frame_mark);
	if (!err)
		err = chan_send(&f->core, &f->frame, NULL, 0);
	if (err)
		ask_drop(r);
	else
		ev_mod(f->loop, &f->core_io, chan_want(&f->core));
	return err;
}

void ask_send(struct req *r, ask_fn *fn)
{
	int err = ask_try(r, fn);

	if (err == -EMSGSIZE)
		reply_error(r, 413, "the request is too large: its texts together must stay below 60 KiB");
	else if (err)
		reply_error(r, 503, "the daemon is busy; try again");
}

void ask_drop(struct req *r)
{
	struct req **at;

	if (!r->ask_id)
		return;
	at = bucket_of(r->conn->front, r->ask_id);
	while (*at && *at != r)
		at = &(*at)->ask_next;
	if (*at)
		*at = r->ask_next;
	r->ask_id = 0;
	r->ask_next = NULL;
}

static struct req *ask_find(struct front *f, uint32_t id)
{
	struct req *r = id ? *bucket_of(f, id) : NULL;

	while (r && r->ask_id != id)
		r = r->ask_next;
	return r;
}

static void answer(struct front *f, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct req *r = ask_find(f, m->id);
	struct conn *c = r ? r->conn : NULL;
	ask_fn *fn = r ? r->ask_fn : NULL;

	if (!r) { /* a published port's, or the client has gone */
		publish_answer(f, m, fds, n_fds);
		return;
	}
	if (m->type != C_ITEM)
		ask_drop(r);
	if (fn)
		fn(r, m, fds, n_fds);
	conn_settle(c);
}

static void on_frame(struct front *f, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	if (m->type == C_LISTEN && n_fds == 1) {
		listener_add(f, m, fds[0]);
		fds[0] = -1;
	} else if (m->type == C_LOCAL && n_fds == 1) {
		local_add(f, m, fds[0]);
		fds[0] = -1;
	} else if (m->type == C_PUBLISH && n_fds == 1) {
		publish_add(f, m, fds[0]);
		fds[0] = -1;
	} else if (m->type == C_UNPUBLISH) {
		publish_remove(f, m);
	} else if (m->type == C_TLS) {
		cert_frame(f, m);
	} else if (m->type == C_CUT) {
		front_cut(f, m);
	} else {
		answer(f, m, fds, n_fds);
	}
	for (unsigned i = 0; i < n_fds; i++)
		fd_close(&fds[i]);
}

void core_event(struct ev_io *io, uint32_t events)
{
	struct front *f = io->arg;
	int fds[WIRE_FDS_MAX];
	unsigned n_fds;
	struct wire_msg m;
	int got = 1;

	if (events & EPOLLOUT) {
		int err = chan_flush(&f->core);

		if (err && err != -EAGAIN)
			got = err;
	}
	for (unsigned i = 0; got == 1 && i < 64; i++) {
		got = chan_recv(&f->core, &m, fds, &n_fds);
		if (got == 1)
			on_frame(f, &m, fds, n_fds);
	}
	if (got < 0) {
		f->core_gone = true;
		ev_stop(f->loop);
		return;
	}
	ev_mod(f->loop, &f->core_io, chan_want(&f->core));
}
