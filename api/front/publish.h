/*
 * Published ports: core hands a listening socket over (C_PUBLISH); each connection to it gets a stream from core (C_PUB_CONNECT) whose
 * other end is the port in the guest, and bytes go both ways with backpressure, each half ending by itself. There is no HTTP and no token
 * here. When core gives no stream (the VM is paused, stopped, not up; nobody listens in it) the client sees a reset. Part of front.h's room.
 */
#ifndef API_FRONT_PUBLISH_H
#define API_FRONT_PUBLISH_H

#include "lib/base/buf.h"
#include "lib/wire/wire.h"

struct front;
struct publication;
struct relay;
struct published {
	struct publication *first; /* owned */
	struct relay *relays;      /* owned: its connections, newest first */
	unsigned n_relays;
	unsigned most, most_each;  /* connections at once: in all, and into one VM */
	uint64_t opened, refused, full; /* since the start: joined; core gave no stream; too many, or no descriptor left */
};

void published_init(struct published *p, uint64_t files_max);
void publish_add(struct front *f, const struct wire_msg *m, int fd_taken); /* C_PUBLISH */
void publish_remove(struct front *f, const struct wire_msg *m);            /* C_UNPUBLISH */
/* An answer of core: one to C_PUB_CONNECT? Takes fds by setting them to -1. */
bool publish_answer(struct front *f, const struct wire_msg *m, int *fds, unsigned n_fds);
void publish_sweep(struct front *f); /* every second */
void published_put(const struct published *p, struct buf *out); /* for GET /metrics */

#endif
