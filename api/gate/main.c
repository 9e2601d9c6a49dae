/* gate [--uid N --gid N]: descriptor 3 is the channel to core; ends when core does. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/gate/gate.h"

static int parse_args(int argc, char **argv, uint64_t *uid, uint64_t *gid)
{
	for (int i = 1; i < argc; i += 2) {
		uint64_t *to = strcmp(argv[i], "--uid") == 0 ? uid : strcmp(argv[i], "--gid") == 0 ? gid : NULL;

		if (!to || i + 1 >= argc || parse_u64(argv[i + 1], UINT32_MAX - 1, to))
			return -EINVAL;
	}
	return 0;
}

static void on_tick(struct ev_timer *t)
{
	struct gate *g = t->arg;
	uint64_t now = now_mono_ms();

	for (struct vm *vm = g->vms; vm; vm = vm->next)
		vm_tick(vm, now);
	ev_timer_set(g->loop, t, TICK_MS);
}

static int start(struct gate *g)
{
	int err = ev_new(&g->loop);

	if (!err)
		err = link_init(g);
	g->tick = (struct ev_timer){ .fn = on_tick, .arg = g };
	return err ? err : ev_timer_set(g->loop, &g->tick, TICK_MS);
}

int main(int argc, char **argv)
{
	static struct gate gate = { .host_fd = -1 };
	struct fault fault = { "" };
	uint64_t uid = getuid(), gid = getgid();
	struct rlimit files;
	int err;

	if (parse_args(argc, argv, &uid, &gid)) {
		fprintf(stderr, "error: usage: gate [--uid N --gid N], with the channel to core on descriptor 3\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* of the terminal: core ends, then we */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	err = gate_drop_rights((uid_t)uid, (gid_t)gid, &fault);
	if (!err && (err = start(&gate)))
		fault_errno(&fault, err, "cannot start");
	if (!err)
		err = gate_filter_calls(&fault);
	if (!err && (err = ev_run(gate.loop)))
		fault_errno(&fault, err, "cannot wait for events");
	while (gate.vms) /* what was known is written */
		vm_down(gate.vms);
	events_host_stop(&gate);
	while (gate.bridges)
		bridge_down(&gate, gate.bridges->name);
	if (err)
		fprintf(stderr, "error: gate: %s\n", fault.text);
	return err ? 1 : 0;
}
