#include "agent/bg.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH_BYTES 32768u /* gathered before it is sent: small frames go out together */
#define OUT_MAX (BATCH_BYTES + 2 * FRAME_MAX)
#define IDLE_BYTES 4096u
#define TURN_MAX 16u

static uint8_t scratch[AGENT_DATA_MAX]; /* one thread: a frame on its way from the ring to a stream */

static void unlink_flow(struct bg_flow *w)
{
	if (!w->x)
		return;
	struct bg_flow **at = &w->x->flows;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	w->x = NULL;
}

static void flow_free(struct bg_flow *w)
{
	unlink_flow(w);
	ev_timer_del(w->a->loop, &w->limit);
	ev_del(w->a->loop, &w->io);
	fd_close(&w->fd);
	buf_done(&w->out);
	w->a->sessions--;
	free(w);
}

static void put_end(struct bg_flow *w)
{
	wire_end(&w->out, wire_begin(&w->out, WIRE_OK, w->req_id));
	w->ending = true;
}

static void put_gone(struct bg_flow *w)
{
	struct fault f;
	fault_set(&f, -EIDRM, "this background command was reaped meanwhile");
	err_frame(&w->out, w->req_id, -EIDRM, &f, NULL);
	w->ending = true;
}

static void put_item(struct bg_flow *w, const struct ring_item *it)
{
	size_t mark = wire_begin(&w->out, it->gap ? A_GAP : (uint16_t)it->kind, 0);
	wire_u64(&w->out, A_T_FRAME_ID, it->id);
	wire_u64(&w->out, A_T_TIME_NS, it->gap ? now_real_ns() : it->time_ns);
	if (it->gap) {
		wire_u64(&w->out, A_T_DROPPED_FRAMES, it->dropped_frames);
		wire_u64(&w->out, A_T_DROPPED_BYTES, it->dropped_bytes);
		wire_str(&w->out, WIRE_T_TEXT, it->exact ? "older output was dropped: the ring keeps only the newest"
							: "older output was dropped; of the bytes at most so many were after the frame asked for");
	} else {
		if (w->x->as_text)
			wire_u64(&w->out, A_T_AS_TEXT, 1);
		wire_bytes(&w->out, A_T_DATA, scratch, it->n);
	}
	wire_end(&w->out, mark);
}

static void put_started(struct bg_flow *w)
{
	size_t mark = wire_begin(&w->out, A_STARTED, 0);
	uint64_t pid = 0;
	struct wire_msg about = {.p = buf_data(&w->x->about), .n = (uint32_t)buf_len(&w->x->about)};
	(void)wire_get_u64(&about, A_T_PID, &pid);
	wire_u64(&w->out, A_T_FRAME_ID, 1);
	wire_u64(&w->out, A_T_PID, pid);
	wire_u64(&w->out, A_T_TIME_NS, w->x->start_ns);
	wire_end(&w->out, mark);
}

static void put_exit(struct bg_flow *w)
{
	size_t mark = wire_begin(&w->out, A_EXIT, 0);
	wire_u64(&w->out, A_T_FRAME_ID, w->x->exit_id);
	wire_u64(&w->out, A_T_CODE, (uint64_t)w->x->code);
	wire_u64(&w->out, A_T_TIME_NS, w->x->end_ns);
	if (w->x->sig)
		wire_u64(&w->out, A_T_SIGNAL, (uint64_t)w->x->sig);
	wire_end(&w->out, mark);
}

/* One frame more of a log. False: nothing to say before the command does something. */
static bool step_logs(struct bg_flow *w)
{
	struct ring_item it;
	if (w->from_id <= 1) {
		w->from_id = 2;
		put_started(w);
		return true;
	}
	if ((w->follow || w->at.id < w->until_id) && ring_next(&w->x->ring, &w->at, &it, scratch)) {
		if (it.id >= w->from_id) /* it may have asked for frames that are still to come */
			put_item(w, &it);
		return true;
	}
	if (w->x->ended && w->at.id >= w->x->ring.next_id) {
		if (w->from_id <= w->x->exit_id)
			put_exit(w);
		put_end(w);
	} else if (!w->follow) {
		put_end(w);
	}
	return w->ending;
}

static bool step_list(struct bg_flow *w)
{
	const struct bg_exec *x = w->a->bg ? w->a->bg->oldest : NULL;
	while (x && x->serial <= w->listed)
		x = x->next;
	if (!x) {
		put_end(w);
		return true;
	}
	w->listed = x->serial;
	bg_describe(&w->out, w->req_id, x, NULL, NULL);
	return true;
}

static bool step_wait(struct bg_flow *w)
{
	bool timed_out = !w->x->ended;
	if (!w->x->ended && !w->timed_out)
		return false;
	bg_describe(&w->out, w->req_id, w->x, NULL, &timed_out);
	w->ending = true;
	return true;
}

static bool step(struct bg_flow *w)
{
	if (w->kind == FLOW_LIST)
		return step_list(w);
	if (!w->x) {
		put_gone(w);
		return true;
	}
	return w->kind == FLOW_LOGS ? step_logs(w) : w->kind == FLOW_WAIT && step_wait(w);
}

void bg_flow_go(struct bg_flow *w)
{
	bool more = true;
	for (unsigned turn = 0; more && turn < TURN_MAX; turn++) {
		while (!w->ending && buf_len(&w->out) < BATCH_BYTES && step(w))
			;
		if (w->out.failed) { /* out of memory: a stream without its end, which is what happened */
			flow_free(w);
			return;
		}
		more = buf_len(&w->out) > 0;
		int rc = more ? buf_write_fd(&w->out, w->fd) : 0;
		if (rc == -EAGAIN)
			break;
		if (rc < 0 || w->ending) {
			flow_free(w);
			return;
		}
	}
	if (!more && w->out.cap > IDLE_BYTES) { /* who waits for output keeps no room for it */
		buf_done(&w->out);
		buf_init(&w->out, OUT_MAX);
	}
	(void)ev_mod(w->a->loop, &w->io, EPOLLRDHUP | (more ? EPOLLOUT : 0u));
}

static void on_stream(struct ev_io *io, uint32_t events)
{
	struct bg_flow *w = io->arg;
	if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		flow_free(w);
	else
		bg_flow_go(w);
}

static void on_limit(struct ev_timer *t)
{
	struct bg_flow *w = t->arg;
	w->timed_out = true;
	bg_flow_go(w);
}

struct bg_flow *bg_flow_new(struct conn *c, const struct wire_msg *m, enum bg_flow_kind kind, struct bg_exec *x)
{
	struct bg_flow *w = calloc(1, sizeof *w);
	if (!w)
		return NULL;
	*w = (struct bg_flow){.a = c->a, .kind = kind, .req_id = m->id, .fd = -1,
			      .io = {.fn = on_stream, .arg = w, .fd = -1}, .limit = {.fn = on_limit, .arg = w}};
	w->fd = conn_take_fd(c);
	if (ev_add(c->a->loop, &w->io, w->fd, EPOLLRDHUP) < 0) {
		c->fd = w->fd;
		free(w);
		return NULL;
	}
	buf_init(&w->out, OUT_MAX);
	c->a->sessions++;
	if (x) {
		w->x = x;
		w->next = x->flows;
		x->flows = w;
	}
	return w;
}

void bg_wake(struct bg_exec *x)
{
	for (struct bg_flow *w = x->flows, *next; w; w = next) {
		next = w->next;
		if (buf_len(&w->out) == 0) /* else its stream is full: the loop tells when it is not */
			bg_flow_go(w);
	}
}

void bg_forget(struct bg_exec *x)
{
	while (x->flows) {
		struct bg_flow *w = x->flows;
		unlink_flow(w);
		if (buf_len(&w->out) == 0)
			bg_flow_go(w);
	}
}
