/* Shared by the files of the vsock device: vsock.c (registers, interrupts, interface), vsock_life.c (life of streams), vsock_in.c (packets to
 * the guest, receive queue), vsock_out.c (packets from the guest, transmit queue). Loop's thread, lock held, unless said. */
#ifndef VMM_DEV_VSOCK_PRIV_H
#define VMM_DEV_VSOCK_PRIV_H

#include <linux/virtio_vsock.h>
#include "vmm/back/vtable.h"
#include "vmm/dev/vsock.h"

#define RXQ 0u
#define TXQ 1u
#define HDR_BYTES ((uint32_t)sizeof(struct virtio_vsock_hdr)) /* 44 */
#define LISTENERS_MAX 64u
#define REPLIES_MAX 256u
#define SLOTS_MAX 16u            /* receive buffers filled by one recvmsg */
#define BATCH_BYTES_MAX 65536u   /* bytes moved for one stream before the next has its turn */
#define TURN_BYTES_MAX (1u << 20) /* bytes and … */
#define TURN_PACKETS_MAX 256     /* … packets per turn of the loop */
/* The guest frees its packets when it hears that they were used; nothing waits for that, so it hears once for many. */
#define TX_IRQ_PACKETS 64u
#define TX_IRQ_MS 3u
#define LINGER_MS 8000u          /* a closed stream waits this long for the guest */

struct listener {
	uint32_t port;
	vsock_incoming_fn *fn;
	void *arg;
};
struct reply { /* RST for a stream that we do not have (any more) */
	uint32_t host_port, guest_port;
	uint16_t type;
};
struct slot { /* a receive buffer taken for data */
	uint16_t head;
	bool split;       /* the header does not lie in one piece: it is the chain in `chain` */
	uint64_t hdr_gpa;
	uint32_t room_bytes;
};

struct vsock {
	struct vdev v; /* first */
	uint64_t cid;
	bool live; /* was active; streams may stand on the guest's side */
	bool drop; /* a reset took the guest's side away: sync ends all streams */
	bool rx_used;          /* buffers were returned: interrupt at the end of the turn */
	unsigned tx_used;      /* packets returned since the last interrupt for them */
	struct ev_timer tx_timer;
	bool tx_paused;        /* replies are full: no more packets from the guest until some are gone */
	struct vtable t;
	unsigned by_guest; /* streams that the guest has opened */
	struct listener listener[LISTENERS_MAX];
	unsigned listeners;
	struct reply reply[REPLIES_MAX]; /* ring */
	unsigned reply_first, replies;
	struct slot slot[SLOTS_MAX];
	struct vq_chain chain;
	struct iovec iov[VQ_SIZE_MAX];
};

/* vsock.c */
/* Interrupts for what this turn returned. */
void vsock_flush_irqs(struct vsock *s);
struct listener *vsock_find_listener(struct vsock *s, uint32_t port);

/* vsock_life.c */
/* A stream with a socketpair, under ports that are free; NULL and *err otherwise. */
struct vstream *vsock_stream_new(struct vsock *s, uint32_t host_port, uint32_t guest_port, int *err);
/* Closes and frees it, without a word to anybody. */
void vsock_remove_stream(struct vsock *s, struct vstream *st);
/* After anything happened to a stream: state changes that follow, list, watcher. May free it: true when it is gone. */
bool vsock_settle(struct vsock *s, struct vstream *st);
/* Tells the guest RST and lets the stream go (last bytes still reach the host). */
void vsock_reset_stream(struct vsock *s, struct vstream *st);
/* The guest has let it go: fails a connect with err, drains the rest. */
void vsock_detach(struct vsock *s, struct vstream *st, int err);
/* CONNECTING → OPEN. */
void vsock_connected(struct vsock *s, struct vstream *st);
/* A guest's REQUEST. -errno: answer RST. */
int vsock_incoming(struct vsock *s, const struct virtio_vsock_hdr *h);

/* vsock_in.c */
/* Queues a RST; when the ring is full it is dropped: the guest's next packet asks for it again. */
void vsock_reply_rst(struct vsock *s, uint32_t host_port, uint32_t guest_port, uint16_t type);
/* Sends what is owed, as far as there are receive buffers and turn is left. Frees no stream. */
void vsock_service(struct vsock *s);

/* vsock_out.c */
void vsock_transmit(struct vsock *s);

#endif
