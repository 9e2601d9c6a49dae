/* One HTTP exchange over one connection. */
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define OUT_MAX (4u << 20)
#define IN_MAX (1u << 20)
#define READ_BYTES 131072u

static int connect_unix(const char *path, struct fault *f)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fault_errno(f, -errno, path);
	int taken = fd;
	fd = -1;
	return taken;
}

static int connect_tcp(const struct remote *r, struct fault *f)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	int gai = getaddrinfo(r->host, r->port, &hints, &list);
	if (gai)
		return fault_set(f, -EHOSTUNREACH, "%s: %s", r->host, gai_strerror(gai));
	int err = -EHOSTUNREACH, fd = -1;
	for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
		fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen)) {
			err = -errno;
			fd_close(&fd);
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		return fault_errno(f, err, r->where);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return fd;
}

int call_open(struct call *c, const struct remote *r, const char *method, const char *target, enum call_body body, uint64_t length,
	      const struct buf *extra, struct fault *f)
{
	*c = (struct call){ .r = r, .chunked_out = body == CALL_CHUNKED };
	c->fd = r->is_unix ? connect_unix(r->path, f) : connect_tcp(r, f);
	if (c->fd < 0)
		return c->fd;
	fd_set_nonblock(c->fd, true);
	buf_init(&c->in, IN_MAX);
	buf_init(&c->out, OUT_MAX);
	int err = r->tls ? secure_open(c, f) : 0;
	if (err) {
		call_done(c);
		return err;
	}
	http_head_init(&c->head, HTTP_RESPONSE);
	c->head.to_head = !strcmp(method, "HEAD");
	http_add_request(&c->out, method, target, r->host_header);
	http_add_field(&c->out, "User-Agent", r->agent);
	if (r->token[0]) {
		char bearer[sizeof(r->token) + 8] = "Bearer ";
		strcat(bearer, r->token);
		http_add_field(&c->out, "Authorization", bearer);
	}
	if (extra)
		buf_add(&c->out, buf_data(extra), buf_len(extra));
	if (body == CALL_CHUNKED)
		http_add_field(&c->out, "Transfer-Encoding", "chunked");
	else if (body == CALL_LENGTH)
		http_add_field_u64(&c->out, "Content-Length", length);
	http_add_end(&c->out);
	if (c->out.failed) {
		call_done(c);
		return fault_set(f, -E2BIG, "the request is too long");
	}
	return 0;
}

void call_done(struct call *c)
{
	if (!c->r)
		return;
	fd_close(&c->fd);
	buf_done(&c->in);
	buf_done(&c->out);
	tls_free(c->tls);
	c->tls = NULL;
	buf_done(&c->net_in);
	buf_done(&c->net_out);
	free(c->head_mem);
	c->head_mem = NULL;
	c->r = NULL;
}

int call_send(struct call *c, const void *p, size_t n)
{
	if (c->chunked_out)
		http_chunk_add(&c->out, p, n);
	else
		buf_add(&c->out, p, n);
	return c->out.failed ? -ENOMEM : 0;
}

void call_send_end(struct call *c)
{
	if (c->chunked_out)
		http_chunk_end(&c->out);
}

int call_flush(struct call *c)
{
	int err = c->tls ? secure_flush(c) : buf_write_fd(&c->out, c->fd);
	if (err == -EPIPE || err == -ECONNRESET) {
		buf_clear(&c->net_out);
		buf_clear(&c->out); /* its answer, if it sent one before, can still be read */
		return 0;
	}
	return err == -EAGAIN ? 0 : err;
}

int call_fill(struct call *c)
{
	if (buf_len(&c->in) + READ_BYTES > IN_MAX || c->eof)
		return 0;
	if (c->tls)
		return secure_fill(c, READ_BYTES);
	ssize_t n = buf_read_fd(&c->in, c->fd, READ_BYTES);
	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n == 0 || n == -ECONNRESET) {
		c->eof = true;
		return 0;
	}
	return n < 0 ? (int)n : 0;
}

static int keep_head(struct call *c, struct fault *f)
{
	/* The views must outlive the bytes in c->in: parse a copy. */
	size_t n = c->head.head_bytes;
	bool to_head = c->head.to_head;
	c->head_mem = malloc(n);
	if (!c->head_mem)
		return fault_errno(f, -ENOMEM, "reply");
	memcpy(c->head_mem, buf_data(&c->in), n);
	buf_eat(&c->in, n);
	http_head_init(&c->head, HTTP_RESPONSE);
	c->head.to_head = to_head;
	int err = http_head_parse(&c->head, c->head_mem, n, NULL);
	if (err)
		return fault_set(f, -EPROTO, "the answer is not HTTP");
	c->left = c->head.body_bytes;
	c->have_head = true;
	return 1;
}

int call_head(struct call *c, struct fault *f)
{
	while (!c->have_head) {
		struct http_refusal why = { 0 };
		int err = http_head_parse(&c->head, buf_data(&c->in), buf_len(&c->in), &why);
		if (err == -EAGAIN)
			return c->eof ? fault_set(f, -ECONNRESET, "the connection closed before an answer came") : 0;
		if (err)
			return fault_set(f, -EPROTO, "the answer is not HTTP: %s", why.text ? why.text : "broken head");
		if (c->head.status >= 100 && c->head.status < 200 && c->head.status != 101) {
			bool to_head = c->head.to_head;
			buf_eat(&c->in, c->head.head_bytes);
			http_head_init(&c->head, HTTP_RESPONSE);
			c->head.to_head = to_head;
			continue;
		}
		return keep_head(c, f);
	}
	return 1;
}

static int cut(struct fault *f)
{
	return fault_set(f, -ECONNRESET, "the connection closed in the middle of the answer");
}

static int chunked_piece(struct call *c, const uint8_t **p, size_t *n, struct fault *f)
{
	for (;;) {
		size_t used = 0;
		int got = http_chunked_step(&c->chunked, buf_data(&c->in), buf_len(&c->in), &used, p, n);
		if (got < 0)
			return fault_set(f, -EPROTO, "the answer's chunks are broken");
		/* A piece lies inside the bytes eaten now; they stay put until the next read into c->in. */
		buf_eat(&c->in, used);
		if (got == 2)
			c->ended = true;
		if (got || !buf_len(&c->in))
			return got ? got : c->eof ? cut(f) : 0;
	}
}

int call_piece(struct call *c, const uint8_t **p, size_t *n, struct fault *f)
{
	*n = 0;
	if (c->ended || c->head.body == HTTP_BODY_NONE || (c->head.body == HTTP_BODY_LENGTH && !c->left)) {
		c->ended = true;
		return 2;
	}
	if (c->head.body == HTTP_BODY_CHUNKED)
		return chunked_piece(c, p, n, f);
	size_t have = buf_len(&c->in);
	if (!have && c->eof) {
		c->ended = c->head.body == HTTP_BODY_CLOSE && !c->eof_cut;
		return c->ended ? 2 : cut(f);
	}
	if (!have)
		return 0;
	if (c->head.body == HTTP_BODY_LENGTH) {
		have = have > c->left ? (size_t)c->left : have;
		c->left -= have;
	}
	*p = buf_data(&c->in);
	*n = have;
	buf_eat(&c->in, have);
	return 1;
}

int cancel_signals(void *old_sigset)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, old_sigset))
		return -errno;
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int wait_io(struct call *c)
{
	struct pollfd p[2] = {
		{ .fd = c->fd, .events = (short)(POLLIN | (call_has_out(c) ? POLLOUT : 0)) },
		{ .fd = c->r->cancel_fd, .events = POLLIN },
	};
	if (poll(p, 2, -1) < 0 && errno != EINTR)
		return -errno;
	if (p[1].revents)
		return -ECANCELED;
	int err = call_flush(c);
	return err ? err : call_fill(c);
}

int call_wait_head(struct call *c, struct fault *f)
{
	for (;;) {
		int got = call_head(c, f);
		if (got)
			return got > 0 ? 0 : got;
		int err = wait_io(c);
		if (err)
			return fault_errno(f, err, c->r->where);
	}
}

int call_wait_piece(struct call *c, const uint8_t **p, size_t *n, struct fault *f)
{
	for (;;) {
		int got = call_piece(c, p, n, f);
		if (got)
			return got;
		int err = wait_io(c);
		if (err)
			return fault_errno(f, err, c->r->where);
	}
}

int call_body(struct call *c, struct buf *into, struct fault *f)
{
	const uint8_t *p;
	size_t n;
	int got;
	while ((got = call_wait_piece(c, &p, &n, f)) == 1)
		if (buf_add(into, p, n))
			return fault_set(f, -E2BIG, "the answer is too long");
	return got == 2 ? 0 : got;
}
