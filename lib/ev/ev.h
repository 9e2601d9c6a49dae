/*
 * lib/ev: one epoll loop per thread: descriptors, timers, nothing else. Watchers are
 * embedded in the caller's structs and borrowed by the loop until removed. Everything is
 * called on the loop's thread; a callback may add and remove any watcher, its own included.
 * Stands on lib/base alone.
 */
#ifndef LIB_EV_EV_H
#define LIB_EV_EV_H

#include <sys/epoll.h>
#include "lib/base/base.h"

struct ev_loop;
struct ev_io {
	void (*fn)(struct ev_io *io, uint32_t events); /* EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR */
	void *arg;                                     /* borrowed, for the caller */
	int fd;                                        /* borrowed; -1 when not added */
	uint32_t events;                               /* what is asked for now */
};
struct ev_timer {
	void (*fn)(struct ev_timer *t);
	void *arg;
	uint64_t at_ms;   /* monotonic */
	unsigned slot;    /* heap place + 1; 0 when not set */
};

int ev_new(struct ev_loop **out);
void ev_free(struct ev_loop *l); /* NULL is fine; watchers and descriptors stay the caller's */
/* Starts watching io->fd (level-triggered). 0 or -errno. */
int ev_add(struct ev_loop *l, struct ev_io *io, int fd, uint32_t events);
int ev_mod(struct ev_loop *l, struct ev_io *io, uint32_t events); /* no syscall when unchanged */
void ev_del(struct ev_loop *l, struct ev_io *io); /* safe when not added; call before close(fd) */
/* (Re)sets a one-shot timer. 0 or -ENOMEM. */
int ev_timer_set(struct ev_loop *l, struct ev_timer *t, uint64_t delay_ms);
void ev_timer_del(struct ev_loop *l, struct ev_timer *t); /* safe when not set */
/* Runs until ev_stop(); returns 0 or -errno of epoll_wait. */
int ev_run(struct ev_loop *l);
/* One wait (at most timeout_ms; -1 = until something happens) and its callbacks. Events seen or -errno. */
int ev_once(struct ev_loop *l, int timeout_ms);
void ev_stop(struct ev_loop *l);

#endif
