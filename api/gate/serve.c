/* Guests' questions in, answers out: UDP and TCP on port 53 of the gateway's address. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/gate/gate.h"

#define QUESTION_MAX 4096u          /* by TCP; nobody asks longer */
#define CONN_OUT_MAX (256u << 10)   /* answers a guest does not read */
#define CONN_IDLE_MS 10000u
#define CONN_WAITING_MAX 16u        /* questions at once on a connection */

/* ---- UDP ---- */

union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
};

/* The address that was asked is the one that answers. */
static void take_info(struct asker *a, struct msghdr *h)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(h);

	if (!c || c->cmsg_len < CMSG_LEN(0))
		return;
	if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO && c->cmsg_len == CMSG_LEN(sizeof(a->info.v4))) {
		memcpy(&a->info.v4, CMSG_DATA(c), sizeof(a->info.v4));
		a->info.v4.ipi_spec_dst = a->info.v4.ipi_addr;
		a->has_info = true;
	} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO && c->cmsg_len == CMSG_LEN(sizeof(a->info.v6))) {
		memcpy(&a->info.v6, CMSG_DATA(c), sizeof(a->info.v6));
		a->has_info = a->info_v6 = true;
	}
}

static void send_udp(const struct asker *a, const uint8_t *msg, size_t n)
{
	union control control = { .bytes = { 0 } };
	struct iovec v = { (void *)(uintptr_t)msg, n };
	struct msghdr h = { .msg_name = (void *)(uintptr_t)&a->from, .msg_namelen = a->from_len, .msg_iov = &v, .msg_iovlen = 1 };
	struct cmsghdr *c = &control.align;
	size_t len = a->info_v6 ? sizeof(a->info.v6) : sizeof(a->info.v4);

	if (a->has_info) {
		h.msg_control = &control;
		h.msg_controllen = CMSG_SPACE(len);
		c->cmsg_level = a->info_v6 ? IPPROTO_IPV6 : IPPROTO_IP;
		c->cmsg_type = a->info_v6 ? IPV6_PKTINFO : IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(len);
		memcpy(CMSG_DATA(c), &a->info, len);
	}
	while (sendmsg(a->udp->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR) /* a full queue: the guest asks again */
		;
}

/* NULL: nobody that is served here. */
static struct vm *asks(const struct dns_socket *s, const struct sockaddr_storage *from)
{
	return s->bridge ? bridge_vm(s->bridge, s->gate, from) : s->vm;
}

static void on_datagram(struct ev_io *io, uint32_t events)
{
	struct dns_socket *s = io->arg;
	struct gate *g = s->gate;

	(void)events;
	for (unsigned i = 0; i < BURST_READS; i++) {
		struct asker a = { .udp = s };
		union control control;
		struct iovec v = { g->scratch, sizeof(g->scratch) };
		struct msghdr h = { .msg_name = &a.from, .msg_namelen = sizeof(a.from), .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control,
				    .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(s->fd, &h, MSG_DONTWAIT);
		struct vm *vm;

		if (n < 0 && errno != EINTR)
			return;
		if (n < 0)
			continue;
		a.from_len = h.msg_namelen;
		vm = asks(s, &a.from);
		if (!vm)
			continue;
		take_info(&a, &h);
		decide(vm, &a, g->scratch, (size_t)n);
	}
}

int serve_udp(struct dns_socket *s)
{
	int on = 1;

	fd_set_nonblock(s->fd, true);
	if (setsockopt(s->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on))) /* not a socket of IPv6 */
		setsockopt(s->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	s->io = (struct ev_io){ .fn = on_datagram, .arg = s, .fd = -1 };
	return ev_add(s->gate->loop, &s->io, s->fd, EPOLLIN);
}

static void answer_nobody(struct vm *vm, const struct dns_socket *s)
{
	for (struct query *q = vm->queries; q; q = q->next)
		if (q->asker.udp == s)
			q->asker.udp = NULL;
}

void serve_stop(struct dns_socket *s)
{
	if (s->fd < 0)
		return;
	if (s->vm)
		answer_nobody(s->vm, s);
	for (struct vm *vm = s->vm ? NULL : s->gate->vms; vm; vm = vm->next)
		answer_nobody(vm, s);
	ev_del(s->gate->loop, &s->io);
	fd_close(&s->fd);
}

int serve_take(struct dns_socket at[VM_SOCKETS_MAX], int fd_taken, int (*serve)(struct dns_socket *))
{
	for (unsigned i = 0; i < VM_SOCKETS_MAX; i++)
		if (at[i].fd < 0) {
			at[i].fd = fd_taken;
			return serve(&at[i]);
		}
	close(fd_taken);
	return -ENOSPC;
}

void serve_stop_all(struct dns_socket at[VM_SOCKETS_MAX])
{
	for (unsigned i = 0; i < VM_SOCKETS_MAX; i++)
		serve_stop(&at[i]);
}

/* ---- TCP ---- */

void conn_free(struct guest_conn *c)
{
	struct guest_conn **at = &c->vm->conns;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->vm->n_conns--;
	for (struct query *q = c->vm->queries; q; q = q->next)
		if (q->asker.conn == c)
			q->asker.conn = NULL;
	ev_del(c->vm->gate->loop, &c->io);
	fd_close(&c->fd);
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
}

/* Interest by what can go on; false: the connection is over. */
static bool conn_watch(struct guest_conn *c)
{
	uint32_t want = 0;

	if (c->out.failed || (c->over && !c->waiting && !buf_len(&c->out)))
		return false;
	if (!c->over && c->waiting < CONN_WAITING_MAX)
		want |= EPOLLIN;
	if (buf_len(&c->out))
		want |= EPOLLOUT;
	return ev_mod(c->vm->gate->loop, &c->io, want) == 0;
}

/* Whole questions in c->in. false: it breaks the rules. */
static bool conn_questions(struct guest_conn *c)
{
	while (c->waiting < CONN_WAITING_MAX && buf_len(&c->in) >= 2) {
		const uint8_t *p = buf_data(&c->in);
		size_t n = (size_t)p[0] << 8 | p[1];
		struct asker a = { .conn = c };

		if (!n || n > QUESTION_MAX)
			return false;
		if (buf_len(&c->in) < 2 + n)
			break;
		c->waiting++;
		memcpy(c->vm->gate->scratch, p + 2, n);
		buf_eat(&c->in, 2 + n);
		decide(c->vm, &a, c->vm->gate->scratch, n);
	}
	return true;
}

static void on_conn(struct ev_io *io, uint32_t events)
{
	struct guest_conn *c = io->arg;
	bool good = true;

	if (events & EPOLLOUT) {
		int err = buf_write_fd(&c->out, c->fd);

		good = !err || err == -EAGAIN;
	}
	if (good && !c->over && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		ssize_t n = buf_read_fd(&c->in, c->fd, QUESTION_MAX);

		if (n > 0)
			c->since_ms = now_mono_ms();
		else if (n != -EAGAIN && n != -EINTR)
			c->over = true;
		good = n != -ENOBUFS;
	}
	if (events & (EPOLLHUP | EPOLLERR))
		good = false;
	if (!good || !conn_questions(c) || !conn_watch(c))
		conn_free(c);
}

static void on_listener(struct ev_io *io, uint32_t events)
{
	struct dns_socket *s = io->arg;

	(void)events;
	for (unsigned i = 0; i < VM_CONNS_MAX; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int fd = accept4(s->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct vm *vm = fd < 0 ? NULL : asks(s, &from);
		struct guest_conn *c = !vm || vm->n_conns >= VM_CONNS_MAX ? NULL : calloc(1, sizeof(*c));

		if (fd < 0)
			return;
		if (!c) {
			close(fd);
			continue;
		}
		c->vm = vm;
		c->fd = fd;
		c->since_ms = now_mono_ms();
		buf_init(&c->in, 2 * QUESTION_MAX);
		buf_init(&c->out, CONN_OUT_MAX);
		c->io = (struct ev_io){ .fn = on_conn, .arg = c, .fd = -1 };
		c->next = vm->conns;
		vm->conns = c;
		vm->n_conns++;
		if (ev_add(vm->gate->loop, &c->io, fd, EPOLLIN))
			conn_free(c);
	}
}

int serve_tcp(struct dns_socket *s)
{
	fd_set_nonblock(s->fd, true);
	s->io = (struct ev_io){ .fn = on_listener, .arg = s, .fd = -1 };
	return ev_add(s->gate->loop, &s->io, s->fd, EPOLLIN);
}

void conns_tick(struct vm *vm, uint64_t now_ms)
{
	for (struct guest_conn *c = vm->conns, *next; c; c = next) {
		next = c->next;
		if (!c->waiting && now_ms - c->since_ms > CONN_IDLE_MS)
			conn_free(c);
	}
}

/* ---- answers ---- */

/* Never frees the connection: that is left to its own event. */
static void send_tcp(struct guest_conn *c, const uint8_t *msg, size_t n)
{
	uint8_t len[2] = { (uint8_t)(n >> 8), (uint8_t)n };

	c->waiting--;
	buf_add(&c->out, len, 2);
	buf_add(&c->out, msg, n);
	ev_mod(c->vm->gate->loop, &c->io, EPOLLIN | EPOLLOUT);
}

void serve_answer(struct vm *vm, struct asker *a, const struct dns_query *q, uint8_t *msg, size_t n)
{
	uint8_t cut[DNS_HEAD_BYTES + DNS_NAME_WIRE_MAX + 32];

	(void)vm;
	if (!q->edns && q->wire_len)
		n = dns_strip_edns(msg, n);
	if (a->conn)
		send_tcp(a->conn, msg, n);
	else if (a->udp && n <= q->udp_max)
		send_udp(a, msg, n);
	else if (a->udp)
		send_udp(a, cut, dns_write_empty(cut, q, (enum dns_rcode)(msg[3] & 15), false, true));
	*a = (struct asker){ 0 };
}
