/*
 * Work that may wait for a disk, done in a forked child so that the loop never does: copying an image, removing a disk.
 * The child has core's descriptors, touches no channel, and dies with core.
 */
#ifndef API_CORE_HELPER_H
#define API_CORE_HELPER_H

#include "lib/ev/ev.h"

struct helper {
	struct ev_loop *loop; /* borrowed; NULL: not running */
	pid_t pid;
	int fd;               /* owned: the child's result */
	struct ev_io io;
	void (*done)(struct helper *h, int err); /* err of work(); -EIO when the child died */
	void *arg;
};

/* Runs work(arg) in a child; then h->done(h, its result). h->done and h->arg are set by the caller. 0 or -errno. */
int helper_start(struct helper *h, struct ev_loop *loop, int (*work)(void *arg), void *arg);
/* Ends the child; done is not called. Safe when not running. */
void helper_cancel(struct helper *h);

#endif
