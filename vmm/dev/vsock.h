/*
 * vmm/dev/vsock.h: streams between the guest and this process (virtio 1.2 §5.10), our own back end: no vhost. The host's end of every
 * stream is one end of a unix socketpair whose other end the caller gets and may pass on; plain read, write, shutdown and close work on it.
 * Flow control by credit both ways: a host reader that is slow stops its own stream and no other; what the
 * guest may have under way is bounded per stream (VSOCK_ALLOC_*) and in total (VSOCK_BUDGET_BYTES).
 *   guest SHUTDOWN(send) → the caller reads end of file after the last byte; SHUTDOWN(receive) → EPIPE for the caller's writes; RST → close
 *   caller shutdown(SHUT_WR) → SHUTDOWN(send) after the last byte; caller close() → SHUTDOWN(both), then the guest resets
 * Hostile guest: wrong types, operations, states → RST; wrong lengths → needs reset; too many streams → RST. Seen from the caller all
 * of it is a stream that ended.
 * Every function here: the loop's thread only. Syscalls of that thread: socketpair fcntl sendmsg sendto recvmsg recvfrom shutdown
 * close, those of malloc and free, and the loop's.
 */
#ifndef VMM_DEV_VSOCK_H
#define VMM_DEV_VSOCK_H

#include "vmm/virtio/vdev.h"

#define VSOCK_HOST_CID 2u
#define VSOCK_STREAMS_MAX 2048u
#define VSOCK_INCOMING_MAX 256u  /* of them: opened by the guest */
#define VSOCK_ALLOC_MIN_BYTES 16384u
#define VSOCK_ALLOC_MAX_BYTES 524288u
#define VSOCK_BUDGET_BYTES (64u << 20) /* most that can be buffered for slow host readers: all streams */

struct vsock;
/* The answer to vsock_connect. Neither callback may call a vsock_ function (the device's lock is held). fd ≥ 0: connected, the callee owns it. Else -ECONNREFUSED (no listener in the guest), -ETIMEDOUT,
 * -ENETDOWN (device reset). Called once, from the loop, never from within vsock_connect. */
typedef void vsock_connect_fn(void *arg, int fd);
/* A guest connects to (2, port). Return 0 to take the stream: the callee owns fd; anything else refuses (RST), and fd is closed here. */
typedef int vsock_incoming_fn(void *arg, uint32_t port, uint32_t guest_port, int fd);

/* guest_cid ≥ 3. */
int vsock_new(struct vsock **out, struct gm *gm, uint64_t guest_cid, struct fault *f);
/* Also answers every connect that waits with -ENETDOWN. NULL is fine. */
void vsock_free(struct vsock *s);
struct vdev *vsock_vdev(struct vsock *s);

/* Connects to guest_port. Works before the guest's driver is ready: the request then waits, at most timeout_ms.
 * 0, -ENOMEM, -EMFILE (streams), -errno of socketpair. */
int vsock_connect(struct vsock *s, uint32_t guest_port, unsigned timeout_ms, vsock_connect_fn *fn, void *arg);
/* Answers guest connects to port; replaces an earlier listener of that port. fn NULL: no longer. 0, -ENOSPC (at most 64 ports). */
int vsock_listen(struct vsock *s, uint32_t port, vsock_incoming_fn *fn, void *arg);
/* Streams alive now. */
unsigned vsock_streams(const struct vsock *s);

#endif
