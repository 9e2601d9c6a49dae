#include "lib/ev/ev.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH = 64 };

struct ev_loop {
	int epfd;                        /* owned */
	bool stop;
	struct epoll_event batch[BATCH]; /* being dispatched; data.ptr is NULLed when its watcher goes */
	int batch_n, batch_i;
	struct ev_timer **heap;          /* owned array of borrowed timers, a binary min-heap on at_ms */
	unsigned heap_n, heap_cap;
};

int ev_new(struct ev_loop **out)
{
	struct ev_loop *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0) {
		int err = -errno;
		free(l);
		return err;
	}
	*out = l;
	return 0;
}

void ev_free(struct ev_loop *l)
{
	if (!l)
		return;
	fd_close(&l->epfd);
	free(l->heap);
	free(l);
}

int ev_add(struct ev_loop *l, struct ev_io *io, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = io};
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &e) < 0) {
		io->fd = -1;
		return -errno;
	}
	io->fd = fd;
	io->events = events;
	return 0;
}

int ev_mod(struct ev_loop *l, struct ev_io *io, uint32_t events)
{
	if (io->fd < 0 || io->events == events)
		return 0;
	struct epoll_event e = {.events = events, .data.ptr = io};
	if (epoll_ctl(l->epfd, EPOLL_CTL_MOD, io->fd, &e) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void ev_del(struct ev_loop *l, struct ev_io *io)
{
	if (io->fd < 0)
		return;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, io->fd, NULL);
	io->fd = -1;
	io->events = 0;
	for (int i = l->batch_i; i < l->batch_n; i++)
		if (l->batch[i].data.ptr == io)
			l->batch[i].data.ptr = NULL;
}

static void heap_put(struct ev_loop *l, unsigned i, struct ev_timer *t)
{
	l->heap[i] = t;
	t->slot = i + 1;
}

/* Moves t from place i towards the root or the leaves until the order holds. */
static void heap_settle(struct ev_loop *l, unsigned i, struct ev_timer *t)
{
	while (i > 0 && l->heap[(i - 1) / 2]->at_ms > t->at_ms) {
		heap_put(l, i, l->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		unsigned c = 2 * i + 1;
		if (c + 1 < l->heap_n && l->heap[c + 1]->at_ms < l->heap[c]->at_ms)
			c++;
		if (c >= l->heap_n || l->heap[c]->at_ms >= t->at_ms)
			break;
		heap_put(l, i, l->heap[c]);
		i = c;
	}
	heap_put(l, i, t);
}

int ev_timer_set(struct ev_loop *l, struct ev_timer *t, uint64_t delay_ms)
{
	ev_timer_del(l, t);
	if (l->heap_n == l->heap_cap) {
		unsigned cap = l->heap_cap ? l->heap_cap * 2 : 16;
		struct ev_timer **more = realloc(l->heap, cap * sizeof(struct ev_timer *));
		if (!more)
			return -ENOMEM;
		l->heap = more;
		l->heap_cap = cap;
	}
	t->at_ms = now_mono_ms() + delay_ms;
	l->heap_n++;
	heap_settle(l, l->heap_n - 1, t);
	return 0;
}

void ev_timer_del(struct ev_loop *l, struct ev_timer *t)
{
	if (!t->slot)
		return;
	unsigned i = t->slot - 1;
	t->slot = 0;
	struct ev_timer *last = l->heap[--l->heap_n];
	if (last != t)
		heap_settle(l, i, last);
}

/* Bounded to the timers that stood there at the start: one that sets itself to "now" cannot starve the descriptors. */
static void run_timers(struct ev_loop *l)
{
	uint64_t now = now_mono_ms();
	for (unsigned budget = l->heap_n; budget && l->heap_n && l->heap[0]->at_ms <= now; budget--) {
		struct ev_timer *t = l->heap[0];
		ev_timer_del(l, t);
		t->fn(t);
	}
}

static int wait_ms(const struct ev_loop *l, int timeout_ms)
{
	if (!l->heap_n)
		return timeout_ms;
	uint64_t now = now_mono_ms(), at = l->heap[0]->at_ms;
	uint64_t left = at > now ? at - now : 0;
	if (left > 3600000)
		left = 3600000;
	return timeout_ms >= 0 && (uint64_t)timeout_ms < left ? timeout_ms : (int)left;
}

int ev_once(struct ev_loop *l, int timeout_ms)
{
	int n = epoll_wait(l->epfd, l->batch, BATCH, wait_ms(l, timeout_ms));
	if (n < 0 && errno != EINTR)
		return -errno;
	l->batch_n = n < 0 ? 0 : n;
	for (l->batch_i = 0; l->batch_i < l->batch_n;) {
		struct epoll_event *e = &l->batch[l->batch_i++];
		struct ev_io *io = e->data.ptr;
		if (io)
			io->fn(io, e->events);
	}
	l->batch_n = l->batch_i = 0;
	run_timers(l);
	return n < 0 ? 0 : n;
}

int ev_run(struct ev_loop *l)
{
	l->stop = false;
	while (!l->stop) {
		int n = ev_once(l, -1);
		if (n < 0)
			return n;
	}
	return 0;
}

void ev_stop(struct ev_loop *l)
{
	l->stop = true;
}
