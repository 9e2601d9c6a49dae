/*
 * vsock credit: from any state that keeps the promises, each operation keeps them, whatever the counters (32 bits that wrap), the guest's claims and the
 * host's socket are. One step from any state is all steps.
 * cbmc: --unwind 4
 *
 * Mutations it was seen to catch: vstream_guest_may_send as `rx_cnt - fwd_cnt + len <= buf_alloc`; vstream_credit without its comparison; host_refuses without counting what
 * it drops; vstream_flush without counting what it sends.
 */
#include "tests/proof/proof.h"

#include <errno.h>
#include <sys/socket.h>

static int error_number;
#undef errno
#define errno error_number
#include "vmm/back/vstream.c"

/* ---- lib/base's buffer as buf.h says it, without its bytes ---- */

static uint8_t room[8];

uint8_t *buf_room(struct buf *b, size_t n)
{
	if (n > b->max || buf_len(b) > b->max - n || nondet_bool())
		return NULL;
	return room;
}

void buf_eat(struct buf *b, size_t n)
{
	PROVE(n <= buf_len(b), "no more is taken out than is in");
	b->head += n;
}

void buf_done(struct buf *b)
{
	b->head = b->tail = 0;
}

/* ---- the host's socket: takes and gives some, or an error ---- */

static ssize_t some(size_t n)
{
	ssize_t got = nondet_i64();

	error_number = nondet_bool() ? EAGAIN : EPIPE; /* EINTR only repeats */
	ASSUME(got >= -1 && (got < 0 || (size_t)got <= n));
	return got;
}

static size_t asked; /* bytes in the iovecs */

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	return some(asked);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	ssize_t put = some(n);

	ASSUME(put != 0); /* a stream socket takes a byte or says why not */
	return put;
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	return some(asked);
}

int shutdown(int fd, int how)
{
	return 0;
}

static struct vstream s;

/* What vstream.c promises of its counters: the guest has under way what waits for the host, at most what it was granted. */
static bool promised(void)
{
	return s.rx_cnt - s.fwd_cnt == (uint32_t)buf_len(&s.to_host) && buf_len(&s.to_host) <= s.buf_alloc;
}

static void any_stream(void)
{
	s.fd = nondet_bool() ? -1 : 7;
	s.state = nondet_bool() ? VSTREAM_OPEN : VSTREAM_CLOSING;
	s.buf_alloc = nondet_u32();
	s.rx_cnt = nondet_u32();
	s.fwd_cnt = nondet_u32();
	s.fwd_told = nondet_u32();
	s.peer_alloc = nondet_u32();
	s.peer_fwd = nondet_u32();
	s.tx_cnt = nondet_u32();
	s.host_no_recv = nondet_bool();
	s.guest_no_send = nondet_bool();
	s.guest_no_recv = nondet_bool();
	s.to_host.head = nondet_u32();
	s.to_host.tail = nondet_u32();
	ASSUME(s.to_host.head <= s.to_host.tail && s.buf_alloc >= 16384 && s.buf_alloc <= (64u << 20));
	ASSUME(promised());
}

/* A packet of any length, as vmm/dev/vsock_out.c takes it. */
void proof_guest_sends(void)
{
	uint32_t len = nondet_u32();
	struct iovec iov = { room, len };
	size_t sent;

	any_stream();
	if (!vstream_guest_may_send(&s, len)) {
		PROVE(len > s.buf_alloc - buf_len(&s.to_host), "what is refused does not fit");
		return;
	}
	PROVE(buf_len(&s.to_host) + len <= s.buf_alloc, "what is taken fits");
	asked = len;
	sent = vstream_send(&s, &iov, 1, len);
	PROVE(sent <= len, "no more is sent than came");
	if (sent < len) {
		uint8_t *keep = vstream_keep(&s, len - sent);

		if (!keep)
			return; /* the caller resets the stream */
	}
	PROVE(promised(), "after a packet the counters are true");
}

void proof_host_takes(void)
{
	any_stream();
	ASSUME(s.fd >= 0 || buf_len(&s.to_host) == 0);
	switch (nondet_u8() % 3) {
	case 0: /* one turn of the loop: what is kept goes, some, or not */
		ASSUME(buf_len(&s.to_host) <= 2);
		vstream_flush(&s);
		break;
	case 1:
		vstream_hup(&s);
		break;
	default:
		vstream_stop_recv(&s);
		break;
	}
	PROVE(promised(), "after the host's side the counters are true");
}

/* Credit that the guest gives: we never have more under way than it said, as long as it does not take back what it said. */
void proof_host_sends(void)
{
	uint32_t credit, before;
	struct iovec iov = { room, 0 };
	ssize_t got;

	any_stream();
	credit = vstream_credit(&s);
	PROVE(credit <= s.peer_alloc, "never more than was granted");
	before = s.tx_cnt - s.peer_fwd;
	PROVE(credit == 0 || (before < s.peer_alloc && credit == s.peer_alloc - before), "exactly what is left of it");
	asked = nondet_u32();
	ASSUME(asked >= 1 && asked <= credit); /* take_buffers */
	iov.iov_len = asked;
	got = vstream_recv(&s, &iov, 1);
	PROVE(got <= (ssize_t)asked && s.tx_cnt - s.peer_fwd <= s.peer_alloc, "after sending no more is under way than was granted");
}

/* The guest hears of room before it runs out: a quarter that was freed is due. */
void proof_credit_due(void)
{
	any_stream();
	ASSUME(s.rx_cnt - s.fwd_told <= s.buf_alloc && s.fwd_cnt - s.fwd_told <= s.rx_cnt - s.fwd_told);
	if (!vstream_credit_due(&s))
		PROVE(s.rx_cnt - s.fwd_told - (s.rx_cnt - s.fwd_cnt) < s.buf_alloc / 4, "what it does not know of is less than a quarter");
}
