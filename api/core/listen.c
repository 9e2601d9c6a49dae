/* Before core gives up its rights: the state folder, its lock, the sockets of the API, whose files they are. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/core/core.h"
#include "api/core/groups.h"
#include "lib/wire/core.h"

#define BACKLOG 4096 /* as much as the kernel allows by default: a full one refuses non-blocking clients of a unix socket at once */
#define BIND_TRIES 10

/* mkdir -p, each 0750. */
static int make_path(const char *path)
{
	char copy[4096];
	size_t n = strlen(path);

	if (n >= sizeof(copy))
		return -ENAMETOOLONG;
	memcpy(copy, path, n + 1);
	for (char *p = copy + 1; *p; p++)
		if (*p == '/') {
			*p = 0;
			if (mkdir(copy, 0755) && errno != EEXIST)
				return -errno;
			*p = '/';
		}
	return mkdir(copy, 0750) && errno != EEXIST ? -errno : 0;
}

int core_open_folder(int at, const char *name, struct fault *f)
{
	int fd;

	if (mkdirat(at, name, 0750) && errno != EEXIST)
		return fault_errno(f, -errno, name);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? fault_errno(f, -errno, name) : fd;
}

int core_open_state(struct core *c, const char *path, struct fault *f)
{
	int err = make_path(path);

	if (!err) {
		c->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = c->state_fd < 0 ? -errno : 0;
	}
	if (err)
		return fault_set(f, err, "state folder '%s': %s; choose another one with --state", path, strerror(-err));
	c->vms_fd = core_open_folder(c->state_fd, "vm", f);
	err = c->vms_fd < 0 ? c->vms_fd : secrets_open(&c->secrets, c->state_fd, f);
	if (!err)
		err = groups_open(c, f);
	if (!err)
		err = images_open(c, f);
	if (!err)
		err = commits_open(c, f);
	return err ? fault_wrap(f, err, "state folder '%s'", path) : 0;
}

/* A record lock, not flock: helper children must not inherit it, and it names its holder. Held until the process ends. */
int core_lock(struct core *c, struct fault *f)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = openat(c->state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), err;

	if (fd < 0)
		return fault_errno(f, -errno, "lock file in the state folder");
	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	err = -errno;
	lock = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
	fcntl(fd, F_GETLK, &lock);
	close(fd);
	if (err != -EAGAIN && err != -EACCES)
		return fault_errno(f, err, "lock file in the state folder");
	return fault_set(f, -EBUSY, "another daemon (process %d) works on this state folder: stop it, or choose another folder with --state [E_STATE_BUSY]",
			 (int)lock.l_pid);
}

/* ---- sockets ---- */

static struct listener *new_listener(struct core *c, int fd, bool auth)
{
	struct listener *l = &c->listeners[c->n_listeners++]; /* three at most are asked for */

	l->fd = fd;
	l->auth_needed = auth;
	return l;
}

static int listen_tcp(struct core *c, struct fault *f)
{
	const struct config *k = &c->config;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(k->port), .sin_addr.s_addr = htonl(k->bind_addr) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, err = 0;
	struct listener *l;

	if (fd < 0)
		return fault_errno(f, -errno, "TCP socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	for (int i = 0; i < BIND_TRIES; i++) { /* a front that is just ending may still hold it */
		err = bind(fd, (const struct sockaddr *)&a, sizeof(a)) || listen(fd, BACKLOG) ? -errno : 0;
		if (err != -EADDRINUSE)
			break;
		usleep(100000);
	}
	if (err) {
		close(fd);
		if (err == -EADDRINUSE)
			return fault_set(f, err, "port %u on %s is in use by another program: set api.port to a free one%s%s [E_PORT_USED]", k->port, k->bind_host,
					 k->port_line ? "" : " in ", k->port_line ? "" : k->doc.file);
		return fault_set(f, err, "API address %s:%u: %s; set api.bind_address and api.port%s", k->bind_host, k->port, strerror(-err),
				 err == -EADDRNOTAVAIL ? " [E_ADDR_ABSENT]" : err == -EACCES || err == -EPERM ? " [E_PORT_DENIED]" : "");
	}
	l = new_listener(c, fd, k->tcp_auth);
	l->tls = k->tls;
	snprintf(l->name, sizeof(l->name), "%s%s:%u", k->tls ? "https://" : "", k->bind_host, k->port);
	return 0;
}

/* A socket file that nobody answers on is an old one. */
static bool answers(const struct sockaddr_un *a)
{
	AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && (connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0 || errno == EAGAIN);
}

static int bind_unix(const char *path, struct fault *f)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	int fd, tries;

	if (strlen(path) >= sizeof(a.sun_path))
		return fault_set(f, -ENAMETOOLONG, "API socket '%s': the path is longer than %zu bytes: choose a shorter one [E_SOCKET_LONG]", path,
				 sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return fault_set(f, -EEXIST, "API socket '%s': a file is there that is no socket: choose another path [E_SOCKET_TAKEN]", path);
		for (tries = 0; tries < BIND_TRIES && answers(&a); tries++)
			usleep(100000);
		if (tries == BIND_TRIES)
			return fault_set(f, -EADDRINUSE, "API socket '%s' is in use by another program: choose another path [E_SOCKET_TAKEN]", path);
		unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fault_errno(f, -errno, "unix socket");
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) || chmod(path, 0660) || listen(fd, BACKLOG)) {
		int err = -errno;

		close(fd);
		return fault_set(f, err, "API socket '%s': %s", path, strerror(-err));
	}
	return fd;
}

static int listen_unix(struct core *c, const char *path, bool auth, struct fault *f)
{
	int fd = bind_unix(path, f);
	struct listener *l;

	if (fd < 0)
		return fd;
	l = new_listener(c, fd, auth);
	l->local = !auth;
	snprintf(l->name, sizeof(l->name), "%s", path);
	return 0;
}

/* Bound by a short name from inside the folder: state paths may be longer than sun_path. */
static int listen_state(struct core *c, const char *state_path, struct fault *f)
{
	AUTO_FD here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err;

	if (here < 0 || fchdir(c->state_fd))
		return fault_errno(f, -errno, "working folder");
	err = listen_unix(c, "api.sock", false, f);
	if (!err)
		snprintf(c->listeners[c->n_listeners - 1].name, sizeof(c->listeners[0].name), "%s/api.sock", state_path);
	if (fchdir(here) && !err)
		err = fault_errno(f, -errno, "working folder");
	return err;
}

int core_listen(struct core *c, const char *state_path, struct fault *f)
{
	int err = 0;

	if (c->config.bind_host && !c->ephemeral) /* `mica run` has the state folder's socket alone */
		err = listen_tcp(c, f);
	if (!err && c->config.socket && !c->ephemeral)
		err = listen_unix(c, c->config.socket, c->config.socket_auth, f);
	return err ? err : listen_state(c, state_path, f);
}

int core_announce_listeners(struct core *c)
{
	for (unsigned i = 0; i < c->n_listeners; i++) {
		struct listener *l = &c->listeners[i];
		struct buf *b;
		int err;

		if (l->local)
			continue;
		b = peer_begin(&c->front, C_LISTEN);
		wire_u64(b, C_T_LISTENER, i);
		wire_str(b, C_T_NAME, l->name);
		wire_u64(b, C_T_AUTH_NEEDED, l->auth_needed);
		wire_u64(b, C_T_TLS, l->tls);
		err = peer_send(&c->front, &l->fd, 1);
		if (err)
			return err;
		fd_close(&l->fd);
	}
	return local_open(c);
}

/* ---- whose files they are ---- */

/* Members of the system group `mica` (or `slicer`) may use the API's socket and read the token. */
static gid_t operators(gid_t otherwise)
{
	const struct group *g = getgrnam("mica");

	if (!g)
		g = getgrnam("slicer");
	return g ? g->gr_gid : otherwise;
}

int core_own_files(struct core *c, uid_t uid, gid_t gid, struct fault *f)
{
	gid_t ops = operators(0);
	AUTO_FD auth = openat(c->state_fd, "auth", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fchown(c->state_fd, uid, ops) || fchmod(c->state_fd, 0750) || fchown(c->vms_fd, uid, gid) || fchmod(c->vms_fd, 0700) ||
	    fchown(c->secrets.dir_fd, uid, gid) || fchown(c->groups_fd, uid, gid) || fchown(c->images.dir_fd, uid, gid) ||
	    fchown(c->commits.dir_fd, uid, gid))
		return fault_errno(f, -errno, "owner of the state folder");
	if (c->tls.dir_fd >= 0 && fchown(c->tls.dir_fd, uid, gid))
		return fault_errno(f, -errno, "owner of the folder tls");
	if (fchownat(c->state_fd, "api.sock", 0, ops, AT_SYMLINK_NOFOLLOW) && errno != ENOENT)
		return fault_errno(f, -errno, "owner of api.sock");
	if (c->config.socket && lchown(c->config.socket, 0, ops))
		return fault_errno(f, -errno, "owner of the API socket");
	/* named tokens are changed while core runs: the folder is core's; the one token stays root's */
	if (auth >= 0 && (fchown(auth, uid, ops) || (fchownat(auth, "token", 0, ops, AT_SYMLINK_NOFOLLOW) && errno != ENOENT) ||
			  (fchownat(auth, "tokens", uid, gid, AT_SYMLINK_NOFOLLOW) && errno != ENOENT)))
		return fault_errno(f, -errno, "owner of the tokens");
	return 0;
}
