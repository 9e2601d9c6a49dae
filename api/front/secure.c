/*
 * TLS under a connection. The engine of lib/tls holds at most a record each way; the queues around it are bounded, so a client that
 * reads slowly is felt by HTTP as one without TLS is: c->out stays full.
 */
#include <errno.h>
#include <stdlib.h>
#include "api/front/front.h"

#define RECORDS_IN_MAX (2u * READ_BYTES)
#define RECORDS_OUT_MAX (2u * TLS_RECORD_MAX)

int secure_new(struct conn *c)
{
	struct cert *cert = c->front->cert;
	struct secure *s = cert ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return cert ? -ENOMEM : -ENOENT;
	buf_init(&s->in, RECORDS_IN_MAX);
	buf_init(&s->out, RECORDS_OUT_MAX);
	s->cert = cert;
	cert->users++;
	c->secure = s;
	return 0;
}

void secure_free(struct conn *c)
{
	struct secure *s = c->secure;

	if (!s)
		return;
	tls_free(s->tls);
	cert_drop(s->cert);
	buf_done(&s->in);
	buf_done(&s->out);
	free(s);
	c->secure = NULL;
}

void secure_read(struct conn *c)
{
	struct secure *s = c->secure;
	ssize_t n = buf_read_fd(&s->in, c->fd, READ_BYTES);

	if (n == 0) {
		s->eof = c->hung_up = true;
		conn_left(c);
	}
	if (n < 0 && n != -EAGAIN)
		conn_break(c);
}

bool secure_has_room(const struct conn *c)
{
	return !c->secure->eof && buf_len(&c->secure->in) < READ_BYTES;
}

bool secure_has_out(const struct conn *c)
{
	const struct secure *s = c->secure;

	return buf_len(&s->out) || (s->up && !s->over && !s->said_end);
}

/* A record begins with its type, 22 in a handshake; a method of HTTP with a letter. */
static bool is_plain(const struct secure *s)
{
	uint8_t first = buf_data(&s->in)[0];

	return first >= 'A' && first <= 'Z';
}

/* From here on the connection is one without TLS, and about to end. */
static void refuse_plain(struct conn *c)
{
	secure_free(c);
	c->front->rejects.n[REJECT_TLS_PLAIN]++;
	conn_refuse(c, 400, "this port speaks HTTPS only: use https:// and the fingerprint that the daemon prints at its start");
}

static void peer_ended(struct conn *c, int how)
{
	struct secure *s = c->secure;

	s->over = true;
	buf_clear(&s->in);
	if (how < 0)
		c->front->rejects.n[REJECT_TLS]++;
	if (how > 0) { /* as a client that closed its socket: what it asked is still done, nobody hears of it */
		c->peer_gone = true;
		conn_left(c);
	} else if (c->state == CONN_HEAD) { /* the alert goes out, and is seen */
		c->state = CONN_FLUSH;
		c->since_ms = now_mono_ms();
	} else {
		conn_break(c);
	}
}

static void pump(struct conn *c)
{
	struct secure *s = c->secure;
	struct fault why;
	int how;

	if (s->over || !s->tls) {
		buf_clear(&c->out);
		return;
	}
	how = tls_pump(s->tls, &s->in, &c->in, &c->out, &s->out, &why);
	if (!s->up && tls_is_up(s->tls)) {
		s->up = true;
		c->since_ms = now_mono_ms();
	}
	if (how) {
		peer_ended(c, how);
		buf_clear(&c->out);
	}
	if (s->eof && !buf_len(&s->in) && buf_len(&c->in) < c->in.max)
		c->peer_gone = true;
}

static int write_out(struct conn *c)
{
	struct secure *s = c->secure;
	int err = buf_len(&s->out) ? buf_write_fd(&s->out, c->fd) : 0;

	if (err && err != -EAGAIN)
		conn_break(c);
	return err;
}

static void say_end(struct conn *c)
{
	struct secure *s = c->secure;

	if (c->state != CONN_FLUSH || s->said_end || s->over || !s->up || buf_len(&c->out) || buf_len(&s->out))
		return;
	s->said_end = true;
	tls_finish(s->tls);
	pump(c);
	write_out(c);
}

static void begin(struct conn *c)
{
	struct secure *s = c->secure;

	if (tls_server_new(&s->tls, s->cert->id))
		conn_break(c);
}

bool secure_move(struct conn *c)
{
	struct secure *s = c->secure;
	size_t before = buf_len(&c->in);

	if (c->state == CONN_LINGER) { /* TLS is over, the socket is not */
		c->linger_bytes += buf_len(&s->in);
		buf_clear(&s->in);
		c->peer_gone |= s->eof;
		return false;
	}
	if (!s->tls && buf_len(&s->in)) {
		if (is_plain(s)) {
			refuse_plain(c);
			return true;
		}
		begin(c);
	}
	if (!s->tls)
		c->peer_gone |= s->eof;
	pump(c);
	while (!c->broken && buf_len(&s->out) && write_out(c) == 0)
		pump(c); /* when out is empty after it, TLS holds nothing back */
	say_end(c);
	return buf_len(&c->in) > before;
}
