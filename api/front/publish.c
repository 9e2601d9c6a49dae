#include "api/front/publish.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/front/front.h"

#define PUBLISHED_MAX 4096u
#define PUBLISHED_EACH_MAX 384u    /* of the 512 streams that a VM can have: the rest is for its owner */
#define ACCEPTS_MAX 64u            /* a turn */
#define STREAM_MS 30000u           /* core refuses by itself before that */
#define FIRST_BYTES 4096u          /* the first read of a side; more when it is filled */

struct publication {
	struct front *front;
	struct publication *next;
	uint32_t id;
	char vm[64];     /* whose it is */
	int fd;          /* owned */
	struct ev_io io;
	unsigned n;      /* connections */
	bool paused;     /* out of descriptors: the sweep goes on */
};

/* One end of a connection: the client's, or the guest's. */
struct side {
	struct relay *relay;
	int fd;           /* owned; -1 */
	struct ev_io io;
	struct buf in;    /* read here, to be written to the other end */
	size_t read_bytes;
	bool eof;         /* nothing more comes from here */
	bool told;        /* … and the other end knows */
	bool gone;        /* nothing can be written here any more */
};

struct relay {
	struct relay *next, *prev;
	struct publication *pub; /* borrowed: outlives it */
	uint32_t ask_id;         /* core is asked; 0 */
	uint64_t since_ms;
	struct side client, guest;
	bool busy;               /* since the last sweep */
};

void published_init(struct published *p, uint64_t files_max)
{
	uint64_t fit = files_max / 8; /* two descriptors each: most stay for the API */

	*p = (struct published){ .most = fit < PUBLISHED_MAX ? (unsigned)fit : PUBLISHED_MAX };
	p->most_each = p->most < PUBLISHED_EACH_MAX ? p->most : PUBLISHED_EACH_MAX;
}

/* ---- the end of a connection ---- */

/* What was queued is thrown away and the client sees a reset, not an end. */
static void reset_on_close(int fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void side_done(struct side *s, struct ev_loop *loop)
{
	ev_del(loop, &s->io);
	fd_close(&s->fd);
	buf_done(&s->in);
}

static void relay_end(struct relay *r, bool reset)
{
	struct front *f = r->pub->front;
	struct published *p = &f->published;

	if (reset)
		reset_on_close(r->client.fd);
	side_done(&r->client, f->loop);
	side_done(&r->guest, f->loop);
	if (r->prev)
		r->prev->next = r->next;
	else
		p->relays = r->next;
	if (r->next)
		r->next->prev = r->prev;
	p->n_relays--;
	r->pub->n--;
	free(r);
}

/* ---- bytes ---- */

/* One read a turn: other connections get theirs. false: the side broke. */
static bool side_read(struct side *s)
{
	ssize_t n;

	if (s->eof || buf_len(&s->in) >= HIGH_BYTES)
		return true;
	n = buf_read_fd(&s->in, s->fd, s->read_bytes);
	if (n == (ssize_t)s->read_bytes && s->read_bytes < HIGH_BYTES)
		s->read_bytes *= 4;
	s->eof = n == 0;
	return n >= 0 || n == -EAGAIN;
}

/* What came from `from` goes to `to`, and its end after it. A half that cannot go on takes nothing from the other. */
static void side_write(struct side *from, struct side *to)
{
	int err = to->gone ? -EPIPE : buf_len(&from->in) ? buf_write_fd(&from->in, to->fd) : 0;

	if (err && err != -EAGAIN) {
		to->gone = true;
		buf_clear(&from->in);
		from->told = true; /* nobody is left to be told */
	} else if (from->eof && !buf_len(&from->in) && !from->told) {
		shutdown(to->fd, SHUT_WR);
		from->told = true;
	}
}

/* false: no memory to watch it. */
static bool side_watch(struct side *s, const struct side *other, struct ev_loop *loop)
{
	uint32_t want = 0;

	if (!s->eof && !other->gone && buf_len(&s->in) < HIGH_BYTES)
		want |= EPOLLIN;
	if (!s->gone && buf_len(&other->in))
		want |= EPOLLOUT;
	/* without interest it must leave the set: a hang-up is reported whether asked for or not */
	if (!want)
		ev_del(loop, &s->io);
	else if (s->io.fd >= 0)
		ev_mod(loop, &s->io, want);
	else
		return ev_add(loop, &s->io, s->fd, want) == 0;
	return true;
}

static void relay_move(struct relay *r)
{
	struct ev_loop *loop = r->pub->front->loop;

	side_write(&r->client, &r->guest);
	side_write(&r->guest, &r->client);
	if (r->client.gone) /* a client that is gone for what the guest says is gone */
		relay_end(r, true);
	else if (r->guest.told && r->guest.gone) /* all that the guest had to say is there; it takes nothing more */
		relay_end(r, false);
	else if (r->client.told && r->guest.told)
		relay_end(r, false);
	else if (!side_watch(&r->client, &r->guest, loop) || !side_watch(&r->guest, &r->client, loop))
		relay_end(r, true);
}

static void side_event(struct ev_io *io, uint32_t events)
{
	struct side *s = io->arg;
	struct relay *r = s->relay;
	bool client = s == &r->client;

	r->busy = true;
	if (!r->guest.io.fn) { /* core is asked; only a client's going is told meanwhile */
		relay_end(r, true);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !side_read(s)) {
		if (client) {
			relay_end(r, true);
			return;
		}
		s->eof = s->gone = true;
	}
	if (!client && events & (EPOLLHUP | EPOLLERR)) /* its process or VM closed it: what it said before can still be read */
		s->gone = true;
	relay_move(r);
}

/* ---- the beginning ---- */

static void keep_alive(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 }, { SOL_SOCKET, SO_KEEPALIVE, 1 },
		/* as in conn.c: a client whose machine is gone is noticed after two minutes; one that is silent may be so for ever */
		{ IPPROTO_TCP, TCP_KEEPIDLE, 60 }, { IPPROTO_TCP, TCP_KEEPINTVL, 15 }, { IPPROTO_TCP, TCP_KEEPCNT, 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
}

static void side_init(struct side *s, struct relay *r, int fd)
{
	*s = (struct side){ .relay = r, .fd = fd, .read_bytes = FIRST_BYTES, .io = { .arg = s, .fd = -1 } };
	buf_init(&s->in, 2 * HIGH_BYTES);
}

static int ask(struct front *f, struct relay *r)
{
	size_t mark;
	int err;

	buf_clear(&f->frame);
	if (++f->next_id == 0)
		f->next_id = 1;
	r->ask_id = f->next_id;
	mark = wire_begin(&f->frame, C_PUB_CONNECT, r->ask_id);
	wire_u64(&f->frame, C_T_PUB_ID, r->pub->id);
	err = wire_end(&f->frame, mark);
	if (!err)
		err = chan_send(&f->core, &f->frame, NULL, 0);
	if (!err)
		ev_mod(f->loop, &f->core_io, chan_want(&f->core));
	return err;
}

static void refuse(int fd_taken)
{
	reset_on_close(fd_taken);
	close(fd_taken);
}

/* Connections into that VM. */
static unsigned into_vm(const struct published *p, const char *vm)
{
	unsigned n = 0;

	for (const struct publication *o = p->first; o; o = o->next)
		n += strcmp(o->vm, vm) == 0 ? o->n : 0;
	return n;
}

static void relay_new(struct publication *pub, int fd_taken)
{
	struct front *f = pub->front;
	struct published *p = &f->published;
	struct relay *r = p->n_relays < p->most && into_vm(p, pub->vm) < p->most_each ? calloc(1, sizeof(*r)) : NULL;

	if (!r) {
		p->full++;
		refuse(fd_taken);
		return;
	}
	keep_alive(fd_taken);
	r->pub = pub;
	r->since_ms = now_mono_ms();
	r->next = p->relays;
	if (p->relays)
		p->relays->prev = r;
	p->relays = r;
	p->n_relays++;
	pub->n++;
	side_init(&r->client, r, fd_taken);
	side_init(&r->guest, r, -1);
	r->client.io.fn = side_event;
	if (ev_add(f->loop, &r->client.io, fd_taken, 0) || ask(f, r)) {
		p->refused++;
		relay_end(r, true);
	}
}

bool publish_answer(struct front *f, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct published *p = &f->published;
	struct relay *r = m->id ? p->relays : NULL;

	while (r && r->ask_id != m->id)
		r = r->next;
	if (!r)
		return false;
	r->ask_id = 0;
	if (m->type != WIRE_OK || n_fds != 1 || fd_set_nonblock(fds[0], true)) {
		p->refused++;
		relay_end(r, true);
		return true;
	}
	r->guest.fd = fds[0];
	fds[0] = -1;
	r->guest.io.fn = side_event;
	p->opened++;
	relay_move(r);
	return true;
}

/* ---- the sockets ---- */

static void pub_event(struct ev_io *io, uint32_t events)
{
	struct publication *pub = io->arg;

	(void)events;
	for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
		int fd = accept4(pub->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			relay_new(pub, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			pub->front->published.full++;
			ev_del(pub->front->loop, io);
			pub->paused = true;
		}
		if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
}

void publish_add(struct front *f, const struct wire_msg *m, int fd_taken)
{
	struct publication *pub = calloc(1, sizeof(*pub));
	uint64_t id = 0;

	if (!pub || !wire_get_u64(m, C_T_PUB_ID, &id) || fd_set_nonblock(fd_taken, true)) {
		close(fd_taken);
		free(pub);
		return;
	}
	*pub = (struct publication){ .front = f, .next = f->published.first, .id = (uint32_t)id, .fd = fd_taken,
				     .io = { .fn = pub_event, .arg = pub, .fd = -1 } };
	wire_get_str(m, C_T_VM, pub->vm, sizeof(pub->vm));
	f->published.first = pub;
	pub->paused = ev_add(f->loop, &pub->io, fd_taken, EPOLLIN) != 0;
}

void publish_remove(struct front *f, const struct wire_msg *m)
{
	struct publication **at = &f->published.first, *pub;
	struct relay *next;
	uint64_t id = 0;

	wire_get_u64(m, C_T_PUB_ID, &id);
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	pub = *at;
	if (!pub)
		return;
	*at = pub->next;
	for (struct relay *r = f->published.relays; r; r = next) {
		next = r->next;
		if (r->pub == pub)
			relay_end(r, true);
	}
	ev_del(f->loop, &pub->io);
	fd_close(&pub->fd);
	free(pub);
}

static void trim(struct buf *b)
{
	if (!buf_len(b) && b->cap) {
		buf_done(b);
		buf_init(b, 2 * HIGH_BYTES);
	}
}

/* A second without bytes gives memory back. */
static void relay_tick(struct relay *r, uint64_t now_ms)
{
	if (!r->busy) {
		trim(&r->client.in);
		trim(&r->guest.in);
		r->client.read_bytes = r->guest.read_bytes = FIRST_BYTES;
	}
	r->busy = false;
	if (r->guest.io.fn || now_ms - r->since_ms < STREAM_MS)
		return;
	r->pub->front->published.refused++;
	relay_end(r, true);
}

void publish_sweep(struct front *f)
{
	uint64_t now_ms = now_mono_ms();
	struct relay *next;

	for (struct publication *pub = f->published.first; pub; pub = pub->next)
		if (pub->paused && ev_add(f->loop, &pub->io, pub->fd, EPOLLIN) == 0)
			pub->paused = false;
	for (struct relay *r = f->published.relays; r; r = next) {
		next = r->next;
		relay_tick(r, now_ms);
	}
}

void published_put(const struct published *p, struct buf *out)
{
	family_put(out, "mica_published_connections_total", "counter", "Connections to published ports, by what became of them.");
	buf_printf(out, "mica_published_connections_total{result=\"opened\"} %" PRIu64 "\n", p->opened);
	buf_printf(out, "mica_published_connections_total{result=\"refused\"} %" PRIu64 "\n", p->refused);
	buf_printf(out, "mica_published_connections_total{result=\"full\"} %" PRIu64 "\n", p->full);
	family_put(out, "mica_published_connections", "gauge", "Connections to published ports that are open.");
	buf_printf(out, "mica_published_connections %u\n", p->n_relays);
}
