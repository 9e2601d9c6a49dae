/* front [--uid N --gid N] [limits, see guard.h]: descriptor 3 is the channel to core; ends when core does. `front --routes` prints what it serves, and the scope it needs. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include "api/front/front.h"

#define CORE_QUEUE_BYTES (16u << 20)
#define SWEEP_MS 1000u

static int usage(void)
{
	fprintf(stderr, "error: usage: front [--uid N --gid N], with the channel to core on descriptor 3\n");
	return 2;
}

static const char *scope_of(const struct route *route)
{
	static const char *const names[] = SCOPE_NAMES;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (route->scope & 1u << i)
			return names[i];
	return "-";
}

/* For tests that hold the description of the API against what is there. */
static int print_routes(void)
{
	for (unsigned i = 0; i < n_routes; i++)
		printf("%s %s %s\n", routes[i].method, routes[i].path, routes[i].flags & ROUTE_OPEN ? "open" : scope_of(&routes[i]));
	return fflush(stdout) ? 1 : 0;
}

static int parse_args(int argc, char **argv, uint64_t *uid, uint64_t *gid, struct limits *limits)
{
	for (int i = 1; i < argc; i += 2) {
		uint64_t *to = strcmp(argv[i], "--uid") == 0 ? uid : strcmp(argv[i], "--gid") == 0 ? gid : NULL;

		if (i + 1 >= argc || (to ? parse_u64(argv[i + 1], UINT32_MAX - 1, to) : limits_flag(limits, argv[i], argv[i + 1])))
			return -EINVAL;
	}
	return 0;
}

/* What it is then. */
static uint64_t raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		return 0;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	return lim.rlim_cur;
}

static void sweep(struct ev_timer *t)
{
	struct front *f = t->arg;

	listeners_resume(f);
	publish_sweep(f);
	conn_sweep(f, now_mono_ms());
	ev_timer_set(f->loop, t, SWEEP_MS);
}

static int front_init(struct front *f)
{
	int err = ev_new(&f->loop);

	if (!err)
		err = chan_init(&f->core, FRONT_CORE_FD, CORE_QUEUE_BYTES);
	if (err)
		return err;
	buf_init(&f->frame, WIRE_HEAD_BYTES + WIRE_PAYLOAD_MAX + 4096);
	buf_init(&f->line, LINE_BYTES_MAX);
	f->core_io = (struct ev_io){ .fn = core_event, .arg = f, .fd = -1 };
	f->locals.front = f;
	f->sweep = (struct ev_timer){ .fn = sweep, .arg = f };
	err = ev_add(f->loop, &f->core_io, f->core.fd, chan_want(&f->core));
	return err ? err : ev_timer_set(f->loop, &f->sweep, SWEEP_MS);
}

int main(int argc, char **argv)
{
	static struct front front;
	struct fault fault = { "" };
	uint64_t uid = getuid(), gid = getgid();
	uint64_t files;
	int err;

	if (argc == 2 && strcmp(argv[1], "--routes") == 0)
		return print_routes();
	files = raise_fd_limit();
	limits_init(&front.limits, files);
	published_init(&front.published, files);
	if (parse_args(argc, argv, &uid, &gid, &front.limits))
		return usage();
	prctl(PR_SET_NAME, "mica-front");
	signal(SIGPIPE, SIG_IGN);
	err = front_drop_rights((uid_t)uid, (gid_t)gid, &fault);
	if (!err && (err = front_init(&front)))
		fault_errno(&fault, err, "cannot start");
	if (!err)
		err = front_filter_calls(&fault);
	if (!err && (err = ev_run(front.loop)))
		fault_errno(&fault, err, "cannot wait for events");
	if (err)
		fprintf(stderr, "error: front: %s\n", fault.text);
	return err ? 1 : 0;
}
