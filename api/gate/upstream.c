/* Questions to the upstream DNS servers: a socket of its own for each (so a port of its own), a random id, TCP when the answer was cut. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/gate/gate.h"

#define TRIES 4u          /* over all servers; with TRY_MS below what guests' resolvers wait */
#define TRY_MS 1000u
#define TCP_MS 3000u
#define STRAY_MAX 32u     /* datagrams that are no answer, before the next try: somebody guesses */
#define NEGATIVE_TTL_MAX_S 300u

static void on_timeout(struct ev_timer *t);

struct query *query_new(struct vm *vm, const struct asker *a, const struct dns_query *q, struct policy_verdict v)
{
	struct gate *g = vm->gate;
	struct query *n = vm->n_queries >= VM_QUERIES_MAX || g->n_queries >= ALL_QUERIES_MAX ? NULL : calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->vm = vm;
	n->q = *q;
	n->asker = *a;
	n->verdict = v;
	n->fd = -1;
	n->timer = (struct ev_timer){ .fn = on_timeout, .arg = n };
	buf_init(&n->tcp, DNS_MESSAGE_MAX + 2);
	n->next = vm->queries;
	vm->queries = n;
	vm->n_queries++;
	g->n_queries++;
	return n;
}

static void hang_up(struct query *q)
{
	if (q->fd < 0)
		return;
	ev_del(q->vm->gate->loop, &q->io);
	fd_close(&q->fd);
}

void query_free(struct query *q)
{
	struct query **at = &q->vm->queries;
	struct gate *g = q->vm->gate;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	q->vm->n_queries--;
	g->n_queries--;
	hang_up(q);
	ev_timer_del(g->loop, &q->timer);
	link_forget(g, q);
	buf_done(&q->tcp);
	free(q->msg);
	free(q);
}

void query_fail(struct query *q, enum dns_rcode rcode)
{
	answer_empty(q->vm, &q->asker, &q->q, rcode);
	query_free(q);
}

static void next_try(struct query *q);

/* ---- an answer came ---- */

static void answered(struct query *q, uint8_t *msg, size_t n, const struct dns_answer *a)
{
	uint32_t ttl = a->ttl_s > TTL_CAP_S ? TTL_CAP_S : a->ttl_s;

	hang_up(q);
	if (a->rcode == DNS_NXDOMAIN || (a->rcode == DNS_NOERROR && !(msg[6] | msg[7])))
		ttl = ttl > NEGATIVE_TTL_MAX_S ? NEGATIVE_TTL_MAX_S : ttl;
	if ((a->rcode == DNS_NOERROR || a->rcode == DNS_NXDOMAIN) && ttl)
		cache_put(q->vm, &q->q, msg, n, ttl, now_mono_ms());
	deliver(q, msg, n, a);
}

static bool server_failed(const struct query *q, const struct dns_answer *a)
{
	return (a->rcode == DNS_SERVFAIL || a->rcode == DNS_REFUSED || a->rcode == DNS_NOTIMP) && q->tries < q->vm->n_upstream;
}

/* ---- TCP ---- */

static int tcp_write(struct query *q)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(q->fd, SOL_SOCKET, SO_ERROR, &err, &len) || err)
		return -EIO;
	err = buf_write_fd(&q->tcp, q->fd);
	if (err)
		return err;
	q->state = QUERY_TCP_READING;
	return ev_mod(q->vm->gate->loop, &q->io, EPOLLIN);
}

/* 0: more is needed; 1: answered (q is gone); else -errno. */
static int tcp_read(struct query *q)
{
	ssize_t got = buf_read_fd(&q->tcp, q->fd, DNS_MESSAGE_MAX + 2 - buf_len(&q->tcp));
	uint8_t *p = buf_data(&q->tcp), *msg = q->vm->gate->scratch;
	struct dns_answer a;
	size_t n;

	if (got == -EAGAIN || got == -EINTR)
		return 0;
	if (got <= 0)
		return -EIO;
	if (buf_len(&q->tcp) < 2)
		return 0;
	n = (size_t)p[0] << 8 | p[1];
	if (buf_len(&q->tcp) < 2 + n)
		return 0;
	memcpy(msg, p + 2, n);
	if (dns_read_answer(msg, n, &q->q, q->id, &a) || a.truncated || server_failed(q, &a))
		return -EPROTO;
	answered(q, msg, n, &a);
	return 1;
}

static void on_tcp(struct ev_io *io, uint32_t events)
{
	struct query *q = io->arg;
	int r;

	(void)events;
	r = q->state == QUERY_TCP_SENDING ? tcp_write(q) : tcp_read(q);
	if (r < 0 && r != -EAGAIN)
		next_try(q);
}

/* ---- sockets ---- */

static socklen_t server_addr(const struct policy_net *n, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (n->family == 6) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(53);
		memcpy(&v6->sin6_addr, n->addr, 16);
		return sizeof(*v6);
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons(53);
	memcpy(&v4->sin_addr, n->addr, 4);
	return sizeof(*v4);
}

/* Connected: the kernel drops what other addresses send, and tells when nobody is there. */
static int dial(struct query *q, int type, void (*fn)(struct ev_io *, uint32_t), uint32_t events)
{
	const struct policy_net *server = &q->vm->upstream[(q->tries - 1) % q->vm->n_upstream];
	struct sockaddr_storage to;
	socklen_t len = server_addr(server, &to);

	hang_up(q);
	q->fd = socket(to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (q->fd < 0)
		return -errno;
	if (connect(q->fd, (const struct sockaddr *)&to, len) && errno != EINPROGRESS)
		return -errno;
	q->io = (struct ev_io){ .fn = fn, .arg = q, .fd = -1 };
	return ev_add(q->vm->gate->loop, &q->io, q->fd, events);
}

static int dial_tcp(struct query *q)
{
	uint8_t out[DNS_HEAD_BYTES + DNS_NAME_WIRE_MAX + 32];
	size_t n = dns_write_query(out + 2, &q->q, q->id);

	out[0] = (uint8_t)(n >> 8);
	out[1] = (uint8_t)n;
	buf_clear(&q->tcp);
	buf_add(&q->tcp, out, n + 2);
	q->state = QUERY_TCP_SENDING;
	ev_timer_set(q->vm->gate->loop, &q->timer, TCP_MS);
	return dial(q, SOCK_STREAM, on_tcp, EPOLLOUT);
}

/* ---- UDP ---- */

static void on_udp(struct ev_io *io, uint32_t events)
{
	struct query *q = io->arg;
	uint8_t *msg = q->vm->gate->scratch;

	(void)events;
	for (unsigned i = 0; i < STRAY_MAX; i++) {
		struct dns_answer a;
		ssize_t n = recv(q->fd, msg, DNS_MESSAGE_MAX, MSG_DONTWAIT);
		int err;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) /* nobody listens there */
			break;
		err = dns_read_answer(msg, (size_t)n, &q->q, q->id, &a);
		if (err == -EBADMSG)
			continue;
		if (err || (!a.truncated && server_failed(q, &a)) || (a.truncated && dial_tcp(q)))
			break;
		if (!a.truncated)
			answered(q, msg, (size_t)n, &a);
		return;
	}
	next_try(q);
}

static int try_udp(struct query *q)
{
	uint8_t out[DNS_HEAD_BYTES + DNS_NAME_WIRE_MAX + 32];
	size_t n;
	int err = random_fill(&q->id, sizeof(q->id));

	if (!err)
		err = dial(q, SOCK_DGRAM, on_udp, EPOLLIN);
	if (err)
		return err;
	q->state = QUERY_UDP;
	n = dns_write_query(out, &q->q, q->id);
	return send(q->fd, out, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n ? 0 : -EIO;
}

static void next_try(struct query *q)
{
	hang_up(q);
	while (q->tries < TRIES) {
		q->tries++;
		ev_timer_set(q->vm->gate->loop, &q->timer, TRY_MS);
		if (!try_udp(q))
			return;
	}
	query_fail(q, DNS_SERVFAIL);
}

static void on_timeout(struct ev_timer *t)
{
	struct query *q = t->arg;

	if (q->state == QUERY_OPENING)
		query_fail(q, DNS_SERVFAIL);
	else
		next_try(q);
}

void query_start(struct query *q)
{
	next_try(q);
}
