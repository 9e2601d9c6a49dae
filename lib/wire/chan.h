/*
 * A channel between two of mica's processes: a unix SOCK_SEQPACKET socket, one frame a
 * packet, descriptors beside it. Outgoing frames queue (bounded) while the peer is slow.
 * The owner drives it from its ev loop: chan_want() tells the events, chan_flush() writes,
 * chan_recv() reads. Not shared between threads.
 */
#ifndef LIB_WIRE_CHAN_H
#define LIB_WIRE_CHAN_H

#include "lib/wire/wire.h"

struct chan_packet;
struct chan {
	int fd;                          /* owned; -1 when closed */
	struct chan_packet *first, *last; /* owned queue of frames that did not go out yet */
	size_t queued_bytes, queued_max;
	uint8_t *rx;                     /* owned receive buffer, one frame */
	pid_t peer_pid;                  /* of the last packet; 0 when not known */
	uid_t peer_uid;
};

/* A connected non-blocking CLOEXEC pair. 0 or -errno. */
int chan_pair(int out_fds[2]);
/* Takes the descriptor, also when it fails. 0 or -errno. */
int chan_init(struct chan *c, int fd_taken, size_t queued_max_bytes);
void chan_done(struct chan *c);
/* Sends (or queues) exactly one whole frame that stands in b, with n_fds descriptors that are dup'ed when
 * queued and stay the caller's; clears b. 0; -EPIPE; -ENOBUFS when the queue is full; -EMSGSIZE. */
int chan_send(struct chan *c, struct buf *b, const int *fds, unsigned n_fds);
int chan_flush(struct chan *c);         /* 0 all out, -EAGAIN some left, other -errno: give the peer up */
bool chan_stuck(struct chan *c);        /* flushes; true when the peer is to be given up */
uint32_t chan_want(const struct chan *c); /* EPOLLIN, with EPOLLOUT while something is queued */
/* Next frame: 1 with *m valid until the next call and fds[0..*n_fds) owned by the caller; 0 nothing now; -EPIPE at
 * end; -EPROTO on a malformed frame or too many descriptors (already closed). fds has WIRE_FDS_MAX places. */
int chan_recv(struct chan *c, struct wire_msg *m, int *fds, unsigned *n_fds);
/* Asks the kernel for the sender's pid and uid with each packet that comes to this socket from here on (SO_PASSCRED), so call it before the peer can
 * send; chan_last_creds tells those of the last packet that chan_recv gave. 0 or -errno. */
int chan_want_creds(int fd);
bool chan_last_creds(const struct chan *c, pid_t *pid, uid_t *uid);
/* Blocking helpers for small tools: send and wait for the next frame; timeout in ms. 0, -ETIMEDOUT, or as above. */
int chan_wait(struct chan *c, uint32_t events, int timeout_ms);

#endif
