/*
 * One channel with questions in flight: frames go out with an id, the reply (or the end of the peer) calls back.
 * Used for front (which asks), jail, netd and each vmm (which are asked). A callback may call peer_done() on its own peer;
 * the struct itself must live until the loop is back (VMs are buried, not freed, see registry.h).
 */
#ifndef API_CORE_PEER_H
#define API_CORE_PEER_H

#include "lib/ev/ev.h"
#include "lib/wire/chan.h"

/* The reply, exactly once; m NULL: the peer is gone. fds: set to -1 what you keep, the rest is closed afterwards. */
typedef void peer_reply_fn(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds);

struct peer_call;
struct peer {
	const char *name;        /* for messages */
	struct ev_loop *loop;    /* borrowed; NULL: not there */
	struct chan chan;
	struct ev_io io;
	struct buf out;          /* the frame being written */
	size_t mark;
	uint32_t last_id;
	struct peer_call *calls; /* owned, newest first */
	void *arg;               /* for the owner */
	/* A frame nobody waits for (a request from front, V_INCOMING, …). fds as above. */
	void (*on_msg)(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds);
	/* The other end is gone or broke the protocol (err); the waiting calls were told. */
	void (*on_gone)(struct peer *p, int err);
};

int peer_init(struct peer *p, struct ev_loop *loop, int fd_taken, size_t queued_max_bytes); /* name, arg, on_… are set by the caller */
void peer_done(struct peer *p); /* waiting calls are told (m NULL); safe when not there */
static inline bool peer_there(const struct peer *p) { return p->loop && p->chan.fd >= 0; }

/* peer_begin, wire_… fields into the result, then one of the three. Frames must not be begun inside one another. */
struct buf *peer_begin(struct peer *p, uint16_t type);
struct buf *peer_begin_reply(struct peer *p, uint16_t type, uint32_t id);
int peer_call(struct peer *p, const int *fds, unsigned n_fds, peer_reply_fn *fn, void *arg); /* on error fn is not called */
int peer_send(struct peer *p, const int *fds, unsigned n_fds);
/* Takes what was received and is still unread; the peer may be gone afterwards. */
void peer_drain(struct peer *p);
/* The calls with this arg are answered to nobody. */
void peer_forget(struct peer *p, const void *arg);

/* What a reply says: 0 for WIRE_OK; else a negative errno (-EPIPE for m NULL, -EIO without ERRNO), the sentence in f,
 * and its HTTP status (503 for m NULL) in *status (may be NULL; untouched on success). */
int peer_result(const struct wire_msg *m, const char *who, struct fault *f, unsigned *status);

#endif
