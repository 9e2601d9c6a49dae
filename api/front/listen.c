/* Listening sockets: core opened them, front accepts. On those of local users core does. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/front/front.h"

static void listener_event(struct ev_io *io, uint32_t events)
{
	struct listener *l = io->arg;

	(void)events;
	for (int i = 0; i < 32; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			conn_new(l, fd, 0);
			continue;
		}
		if (errno == EMFILE && guard_evict(l->front))
			continue;
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			ev_del(l->front->loop, io); /* the sweep tries again */
			l->paused = true;
		}
		if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
}

void listeners_resume(struct front *f)
{
	for (unsigned i = 0; i < f->n_listeners; i++) {
		struct listener *l = &f->listeners[i];

		if (l->paused && ev_add(f->loop, &l->io, l->fd, EPOLLIN) == 0)
			l->paused = false;
	}
}

int listener_add(struct front *f, const struct wire_msg *m, int fd_taken)
{
	struct listener *l = &f->listeners[f->n_listeners];
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);
	uint64_t index = 0, auth = 1, tls = 0;

	wire_get_u64(m, C_T_LISTENER, &index);
	wire_get_u64(m, C_T_AUTH_NEEDED, &auth);
	wire_get_u64(m, C_T_TLS, &tls);
	if (f->n_listeners == LISTENERS_MAX || getsockname(fd_taken, (struct sockaddr *)&addr, &len)) {
		close(fd_taken);
		return -EINVAL;
	}
	fd_set_nonblock(fd_taken, true);
	*l = (struct listener){ .front = f, .fd = fd_taken, .index = (unsigned)index, .auth_needed = auth != 0,
				.tcp = addr.ss_family != AF_UNIX, .tls = tls != 0,
				.io = { .fn = listener_event, .arg = l, .fd = -1 } };
	f->n_listeners++;
	return ev_add(f->loop, &l->io, l->fd, EPOLLIN);
}

void local_add(struct front *f, const struct wire_msg *m, int fd_taken)
{
	uint64_t local = 0;

	wire_get_u64(m, C_T_LOCAL, &local);
	fd_set_nonblock(fd_taken, true);
	conn_new(&f->locals, fd_taken, local);
}
