#include "agent/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_MAX 16 /* at a turn: a crowd is let in between the steps of those that are served */

/* Addresses are text; the numbers are those of lib/wire/agent.h. */
_Static_assert(AGENT_PORT == 1024 && AGENT_HELLO_PORT == 1025, "the default addresses below name these ports");

static void complain(const char *what, int err)
{
	fprintf(stderr, "slicer-agent: %s: %s\n", what, strerror(-err));
}

static void on_connection(struct ev_io *io, uint32_t events)
{
	struct agent *a = io->arg;
	(void)events;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int fd = accept4(a->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			break;
		conn_accept(a, fd);
	}
}

static int serve(struct agent *a, const char *listen_at, const char *hello_at)
{
	struct hello *h;
	int rc = ev_new(&a->loop);
	if (rc < 0)
		return rc;
	a->listen_fd = stream_listen(listen_at);
	if (a->listen_fd < 0) {
		complain(listen_at, a->listen_fd);
		return a->listen_fd;
	}
	a->listen = (struct ev_io){.fn = on_connection, .arg = a, .fd = -1};
	if ((rc = ev_add(a->loop, &a->listen, a->listen_fd, EPOLLIN)) < 0)
		return rc;
	/* Listening first: a host that has seen the hello may ask at once. */
	if (strcmp(hello_at, "none") != 0 && (rc = hello_new(&h, a, hello_at)) < 0)
		return rc;
	return ev_run(a->loop);
}

/* 0, 1 and 2 must stand for something, or a stream's descriptor would be taken for them in children. */
static void fill_standard_fds(void)
{
	int fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2)
		fd = open("/dev/null", O_RDWR);
	fd_close(&fd);
}

/* A stream may need six descriptors, a background command three. Children get the old limit back: a high one misleads programs that use select(2). */
static void raise_file_limit(struct agent *a)
{
	if (getrlimit(RLIMIT_NOFILE, &a->files) < 0)
		return;
	struct rlimit own = {.rlim_cur = SESSIONS_MAX * 6 + BG_MAX * 3 + 64, .rlim_max = a->files.rlim_max};
	if (own.rlim_cur > own.rlim_max)
		own.rlim_cur = own.rlim_max;
	if (own.rlim_cur > a->files.rlim_cur)
		(void)setrlimit(RLIMIT_NOFILE, &own);
}

static int usage(void)
{
	fputs("usage: slicer-agent [--listen ADDRESS] [--hello ADDRESS|none] [--prefix DIR]\n"
	      "       slicer-agent upload check|finalise|abort …\n"
	      "       slicer-agent --version\n"
	      "Without options it serves the host of the guest it runs in. ADDRESS is vsock:PORT or unix:/path; with\n"
	      "--listen it is for tests and leaves the machine alone.\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct agent a = {.machine = true, .prefix = "", .started_ns = now_mono_ns(), .root = getuid() == 0};
	const char *listen_at = "vsock:1024", *hello_at = "vsock:1025";
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("slicer-agent " MICA_VERSION);
		return 0;
	}
	if (argc >= 2 && strcmp(argv[1], "upload") == 0)
		return upload_main(argc - 2, argv + 2);
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			return usage();
		if (strcmp(argv[i], "--listen") == 0) {
			listen_at = argv[i + 1];
			a.machine = false;
		} else if (strcmp(argv[i], "--hello") == 0) {
			hello_at = argv[i + 1];
		} else if (strcmp(argv[i], "--prefix") == 0) {
			a.prefix = argv[i + 1];
		} else {
			return usage();
		}
	}
	if (!a.machine && strncmp(hello_at, "vsock", 5) == 0)
		hello_at = "none";
	fill_standard_fds();
	raise_file_limit(&a);
	signal(SIGPIPE, SIG_IGN);
	int rc = serve(&a, listen_at, hello_at);
	if (rc < 0)
		complain("cannot serve", rc);
	return 1;
}
