#include "api/core/local.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/core/core.h"
#include "lib/sandbox/sandbox.h"
#include "lib/wire/core.h"

#define AGAIN_MS 1000u
#define ACCEPT_BURST 32 /* a turn, so that one socket cannot keep the loop */
#define OUR_UIDS 65536u

struct local {
	struct core *core;
	struct local *next;
	uint64_t id;
	int fd; /* owned: one of the two; front has the other */
	struct ev_io io;
};

static struct local **bucket_of(struct locals *l, uint64_t id)
{
	return &l->bucket[id % LOCAL_BUCKETS];
}

bool local_is_open(const struct core *c, uint64_t id)
{
	const struct local *u = c->locals.bucket[id % LOCAL_BUCKETS];

	while (u && u->id != id)
		u = u->next;
	return u && id;
}

static void watch(struct core *c, bool on)
{
	for (unsigned i = 0; i < c->n_listeners; i++) {
		struct listener *l = &c->listeners[i];

		if (!on)
			ev_del(c->loop, &l->io);
		else if (l->local && l->io.fd < 0 && ev_add(c->loop, &l->io, l->fd, EPOLLIN))
			ev_timer_set(c->loop, &c->locals.again, AGAIN_MS);
	}
}

static void on_again(struct ev_timer *t)
{
	watch(t->arg, true);
}

static void end(struct local *u)
{
	struct core *c = u->core;
	struct local **at = bucket_of(&c->locals, u->id);

	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
	ev_del(c->loop, &u->io);
	close(u->fd);
	free(u);
	c->locals.n--;
	watch(c, true);
}

/* Nothing is asked for, so it is a hang-up: the user's end is closed, or front, which says so by shutdown(2), is done with it. */
static void on_event(struct ev_io *io, uint32_t events)
{
	(void)events;
	end(io->arg);
}

/* None of our own processes is a local user, whatever socket it got hold of. (Those of a daemon that a user started are that user.) */
static bool is_ours(int fd)
{
	struct ucred who;
	socklen_t n = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) || who.uid - SANDBOX_UID_BASE < OUR_UIDS;
}

static void begin(struct core *c, int fd_taken)
{
	struct local *u = is_ours(fd_taken) ? NULL : calloc(1, sizeof(*u));

	if (!u || random_fill(&u->id, sizeof(u->id))) {
		free(u);
		close(fd_taken);
		return;
	}
	u->core = c;
	u->fd = fd_taken;
	u->io = (struct ev_io){ .fn = on_event, .arg = u, .fd = -1 };
	u->next = *bucket_of(&c->locals, u->id);
	*bucket_of(&c->locals, u->id) = u;
	c->locals.n++;
	wire_u64(peer_begin_reply(&c->front, C_LOCAL, 0), C_T_LOCAL, u->id);
	if (ev_add(c->loop, &u->io, u->fd, 0) || peer_send(&c->front, &u->fd, 1))
		end(u);
}

static void on_listener(struct ev_io *io, uint32_t events)
{
	struct core *c = io->arg;
	int listen_fd = io->fd;

	(void)events;
	for (int i = 0; i < ACCEPT_BURST; i++) {
		int fd = c->locals.n < c->locals.max ? accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC) : -1;

		if (fd >= 0) {
			begin(c, fd);
		} else if (c->locals.n == c->locals.max || (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN)) {
			watch(c, false); /* until one ends, or a while has passed */
			ev_timer_set(c->loop, &c->locals.again, AGAIN_MS);
			return;
		} else if (errno == EAGAIN) {
			return;
		}
	}
}

int local_open(struct core *c)
{
	struct rlimit files;
	int err = 0;

	c->locals.max = LOCALS_MAX;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 4 < LOCALS_MAX)
		c->locals.max = (unsigned)files.rlim_cur / 4;
	c->locals.again = (struct ev_timer){ .fn = on_again, .arg = c };
	for (unsigned i = 0; i < c->n_listeners && !err; i++) {
		struct listener *l = &c->listeners[i];

		l->io = (struct ev_io){ .fn = on_listener, .arg = c, .fd = -1 };
		if (l->local)
			err = ev_add(c->loop, &l->io, l->fd, EPOLLIN);
	}
	return err;
}
