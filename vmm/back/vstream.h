/*
 * vmm/back/vstream.h: one byte stream between a guest and a descriptor of the host, without any packets: the descriptor, the bytes that the
 * host has not taken yet, credit both ways (virtio 1.2 §5.10.6.3), and what has been closed. vmm/dev/vsock.c
 * turns packets into calls of this and the other way round. One thread, the device's lock held.
 *
 * Counters are 32 bits and wrap, as in the packets. "guest" sends and receives towards "host", the holder of the socketpair's other end.
 */
#ifndef VMM_BACK_VSTREAM_H
#define VMM_BACK_VSTREAM_H

#include <sys/uio.h>
#include "lib/base/buf.h"
#include "lib/ev/ev.h"

enum vstream_state {
	VSTREAM_CONNECTING, /* host asked; → OPEN (RESPONSE), gone (RST, time-out, reset) */
	VSTREAM_OPEN,       /* → CLOSING (host closed), DRAINING (guest closed or reset) */
	VSTREAM_CLOSING,    /* host end closed, SHUTDOWN told; waits for the guest's RST → gone (RST, time-out) */
	VSTREAM_DRAINING,   /* the guest knows it no more; last bytes go to the host → gone (all taken, host closed) */
};
/* Packets owed to the guest, in the order they are sent. */
enum vstream_owed {
	OWE_REQUEST = 1, OWE_RESPONSE = 2, OWE_CREDIT_UPDATE = 4, OWE_CREDIT_REQUEST = 8, OWE_SHUTDOWN = 16,
};

struct vstream {
	/* vtable.h */
	struct vstream *hash_next;
	struct vstream *prev, *next;        /* all streams */
	struct vstream *todo_next, **todo_at; /* waiting for receive buffers; todo_at NULL when not */
	uint32_t host_port, guest_port;
	bool hashed;
	bool by_guest;                      /* the guest has opened it */

	enum vstream_state state;
	unsigned owed;                      /* OWE_* */
	int fd;                             /* owned: our end; -1 once the host side is done */
	int peer_fd;                        /* owned while CONNECTING: the caller's end; else -1 */
	struct ev_io io;
	struct ev_timer timer;              /* connect time-out; lingering after close */
	void *dev;                          /* borrowed: the device */
	void (*connected)(void *arg, int fd);
	void *connected_arg;

	/* guest → host */
	struct buf to_host;                 /* at most buf_alloc bytes */
	uint32_t buf_alloc;                 /* what the guest may have under way */
	uint32_t rx_cnt;                    /* bytes the guest has sent */
	uint32_t fwd_cnt;                   /* of them: bytes the host's socket has taken (or that were dropped) */
	uint32_t fwd_told;                  /* fwd_cnt the guest has heard of */
	bool guest_no_send;                 /* SHUTDOWN(send) came: end of file after to_host */
	bool host_no_recv;                  /* the host reads no more: what comes is dropped, the guest is told */

	/* host → guest */
	uint32_t peer_alloc, peer_fwd;      /* as the guest said */
	uint32_t tx_cnt;                    /* bytes sent */
	bool guest_no_recv;                 /* SHUTDOWN(receive) came */
	bool host_eof;                      /* the host sends no more, and all was sent */
	bool host_hup;                      /* both directions closed by the host (there may be bytes left to read) */
	bool readable;                      /* the socket has something, but credit or buffers were missing */
	bool asked_credit;                  /* CREDIT_REQUEST since the last answer */
};

/* Makes the socketpair: s->fd is our end (non-blocking), *peer the other (blocking, CLOEXEC). socketpair. 0 or -errno. */
int vstream_open(struct vstream *s, int *peer);
/* Closes and frees what it holds (what the host wrote and nobody read is thrown away, so that it reads end of file and not ECONNRESET); the watcher must be gone from its loop. */
void vstream_done(struct vstream *s);

/* May the guest send len more bytes? */
bool vstream_guest_may_send(const struct vstream *s, uint32_t len);
/* What we may send it. */
uint32_t vstream_credit(const struct vstream *s);
/* The guest should hear about fwd_cnt. */
bool vstream_credit_due(const struct vstream *s);

/* Bytes from the guest, allowed by vstream_guest_may_send. Sends at once what the socket takes: how many; the caller puts the
 * rest through vstream_keep. With host_no_recv all of it counts as taken. sendmsg. */
size_t vstream_send(struct vstream *s, const struct iovec *iov, int n, size_t bytes);
/* Room for `bytes` more in to_host, to be filled by the caller; NULL when out of memory. */
uint8_t *vstream_keep(struct vstream *s, size_t bytes);
/* Sends what was kept, as far as it goes; passes on the guest's end of file after the last byte. sendmsg shutdown. */
void vstream_flush(struct vstream *s);
/* Bytes from the host: > 0 how many (tx_cnt counts them), 0 end of file, -EAGAIN; another error ends the stream like end of file. recvmsg. */
ssize_t vstream_recv(struct vstream *s, struct iovec *iov, int n);
/* The guest will not receive any more: the host's writes fail from now on. shutdown. */
void vstream_stop_recv(struct vstream *s);
/* EPOLLHUP: the host has closed both directions. What it wrote before can still be read, nothing reaches it any more. */
void vstream_hup(struct vstream *s);
/* The host has written something (or closed) that was not read yet, and the guest would take it. */
bool vstream_has_data(const struct vstream *s);
/* What the loop should watch the socket for; UINT32_MAX: nothing at all, not even a hang-up. */
uint32_t vstream_wants(const struct vstream *s);

#endif
