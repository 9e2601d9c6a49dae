#include "vmm/jail/jail.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/wire/jail.h"
#include "vmm/jail/macvtap.h"
#include "vmm/jail/netns.h"

enum { OUT_MAX = 1 << 20, SLOTS = 65536, INMATES_MAX = 4096, VCPUS_MAX = 4096 };
#define RAM_MAX (1ull << 50)

static void watch_core(struct jail *j)
{
	ev_mod(j->loop, &j->core_io, chan_want(&j->core));
}

static void reply(struct jail *j, size_t mark, const int *fds, unsigned n_fds)
{
	wire_end(&j->out, mark);
	if (chan_send(&j->core, &j->out, fds, n_fds) < 0)
		ev_stop(j->loop);
	watch_core(j);
}

static void refuse(struct jail *j, uint32_t id, unsigned status, int err, const char *text)
{
	size_t mark = wire_begin(&j->out, WIRE_ERR, id);
	wire_u64(&j->out, WIRE_T_STATUS, status);
	wire_u64(&j->out, WIRE_T_ERRNO, (uint64_t)-err);
	wire_str(&j->out, WIRE_T_TEXT, text);
	reply(j, mark, NULL, 0);
}

static struct inmate *find(struct jail *j, const char *name)
{
	struct inmate *i = j->inmates;
	while (i && strcmp(i->name, name) != 0)
		i = i->next;
	return i;
}

static unsigned count(const struct jail *j)
{
	unsigned n = 0;
	for (const struct inmate *i = j->inmates; i; i = i->next)
		n++;
	return n;
}

static void forget(struct inmate *i)
{
	struct inmate **at = &i->jail->inmates;
	while (*at != i)
		at = &(*at)->next;
	*at = i->next;
	ev_del(i->jail->loop, &i->exited);
	fd_close(&i->pidfd);
	free(i);
}

static void on_exit(struct ev_io *io, uint32_t events)
{
	struct inmate *i = io->arg;
	struct jail *j = i->jail;
	siginfo_t info = {.si_pid = 0};
	(void)events;
	/* An adopted vmm is not our child: its end is seen, its status is not. */
	if (waitid((idtype_t)P_PIDFD, (id_t)i->pidfd, &info, WEXITED | WNOHANG) < 0)
		info.si_code = info.si_status = 0;
	size_t mark = wire_begin(&j->out, J_EXITED, 0);
	wire_str(&j->out, J_T_NAME, i->name);
	wire_u64(&j->out, J_T_STATUS, (uint64_t)((info.si_code << 8) + (info.si_status & 255)));
	cgroup_remove(&j->host.groups, i->leaf);
	forget(i);
	reply(j, mark, NULL, 0);
}

/* Whether a vmm of that name lives. One that has just ended may be known only to core so far, which then starts it again:
 * its end is told before anything else is said of that name. */
static bool lives(struct jail *j, const char *name)
{
	struct inmate *i = find(j, name);
	struct pollfd p = {.fd = i ? i->pidfd : -1, .events = POLLIN};
	if (i && poll(&p, 1, 0) == 1) {
		on_exit(&i->exited, EPOLLIN);
		return false;
	}
	return i;
}

/* Takes pidfd. 0 or -ENOMEM. */
static int remember(struct jail *j, const char *name, unsigned slot, pid_t pid, int pidfd, const char *leaf)
{
	struct inmate *i = calloc(1, sizeof *i);
	if (!i || ev_add(j->loop, &i->exited, pidfd, EPOLLIN) < 0) {
		free(i);
		return -ENOMEM;
	}
	i->exited.fn = on_exit;
	i->exited.arg = i;
	i->jail = j;
	i->pidfd = pidfd;
	i->pid = pid;
	i->slot = slot;
	memcpy(i->name, name, strlen(name) + 1);
	snprintf(i->leaf, sizeof i->leaf, "%s", leaf);
	i->next = j->inmates;
	j->inmates = i;
	return 0;
}

static void confirm(struct jail *j, uint32_t id, const struct inmate *i)
{
	size_t mark = wire_begin(&j->out, WIRE_OK, id);
	wire_u64(&j->out, J_T_PID, (uint64_t)i->pid);
	reply(j, mark, &i->pidfd, 1);
}

/* As core says; 0 where it says nothing. */
static struct cgroup_limits limits_of(const struct wire_msg *m)
{
	uint64_t ram = 0, vcpus = 0, weight = 0, more = 0, io_major = 0, io_minor = 0, io_bytes_s = 0, io_ops_s = 0;
	wire_get_u64(m, J_T_RAM_BYTES, &ram);
	wire_get_u64(m, J_T_VCPUS, &vcpus);
	wire_get_u64(m, J_T_CPU_WEIGHT, &weight);
	wire_get_u64(m, J_T_MORE_BYTES, &more);
	wire_get_u64(m, J_T_IO_MAJOR, &io_major);
	wire_get_u64(m, J_T_IO_MINOR, &io_minor);
	wire_get_u64(m, J_T_IO_BYTES_S, &io_bytes_s);
	wire_get_u64(m, J_T_IO_OPS_S, &io_ops_s);
	return (struct cgroup_limits){.ram_bytes = ram < RAM_MAX ? ram : RAM_MAX, .more_bytes = more < RAM_MAX ? more : RAM_MAX,
				      .vcpus = vcpus < VCPUS_MAX ? (unsigned)vcpus : VCPUS_MAX,
				      .cpu_weight = weight < CGROUP_WEIGHT_MAX ? (unsigned)weight : CGROUP_WEIGHT_MAX,
				      .io_bytes_s = io_bytes_s, .io_ops_s = io_ops_s, .io_major = (uint32_t)io_major, .io_minor = (uint32_t)io_minor};
}

static void do_spawn(struct jail *j, const struct wire_msg *m, const char *name, const int *fds)
{
	struct fault f = {""};
	uint64_t slot = 0;
	char leaf[CGROUP_LEAF_MAX] = "";
	pid_t pid;
	int pidfd = -1;
	wire_get_u64(m, J_T_SLOT, &slot);
	if (lives(j, name) || count(j) >= INMATES_MAX) {
		refuse(j, m->id, 409, -EEXIST, "a VM of that name runs already, or there are too many");
		return;
	}
	struct cage_ask ask = {.vm = name, .slot = (unsigned)slot, .limits = limits_of(m), .listen_fd = fds[0]};
	int err = cage_spawn(&j->host, &ask, &pid, &pidfd, leaf, &f);
	if (!err && (err = remember(j, name, (unsigned)slot, pid, pidfd, leaf))) {
		pidfd_signal(pidfd, SIGKILL);
		waitpid(pid, NULL, 0);
		cgroup_remove(&j->host.groups, leaf);
		fd_close(&pidfd);
	}
	if (err)
		refuse(j, m->id, 503, err, f.text);
	else
		confirm(j, m->id, find(j, name));
}

static void do_kill(struct jail *j, const struct wire_msg *m, const char *name, const int *fds)
{
	(void)fds;
	struct inmate *i = find(j, name);
	if (!i) {
		refuse(j, m->id, 404, -ESRCH, "no process of that VM is known");
		return;
	}
	pidfd_signal(i->pidfd, SIGKILL);
	reply(j, wire_begin(&j->out, WIRE_OK, m->id), NULL, 0);
}

static void do_adopt(struct jail *j, const struct wire_msg *m, const char *name, const int *fds)
{
	(void)fds;
	uint64_t slot = 0, pid = 0;
	struct cgroup_limits limits = limits_of(m);
	char leaf[CGROUP_LEAF_MAX] = "";
	int pidfd = -1;
	wire_get_u64(m, J_T_SLOT, &slot);
	wire_get_u64(m, J_T_PID, &pid);
	int err = lives(j, name) || pid > INT32_MAX ? -EEXIST : cage_adopt(&j->host, (unsigned)slot, (pid_t)pid, &pidfd);
	if (!err)
		cgroup_adopt(&j->host.groups, (pid_t)pid, &limits, leaf);
	if (!err && (err = remember(j, name, (unsigned)slot, (pid_t)pid, pidfd, leaf)))
		fd_close(&pidfd);
	if (err)
		refuse(j, m->id, 409, err, "that process is not the vmm of this VM");
	else
		confirm(j, m->id, find(j, name));
}

static void do_describe(struct jail *j, const struct wire_msg *m, const char *name, const int *fds)
{
	char text[768];
	(void)name;
	(void)fds;
	cage_host_describe(&j->host, text, sizeof text);
	size_t mark = wire_begin(&j->out, WIRE_OK, m->id);
	wire_str(&j->out, J_T_TEXT, text);
	reply(j, mark, NULL, 0);
}

static void do_tap(struct jail *j, const struct wire_msg *m, const char *name, const int *fds)
{
	struct fault f = {""};
	uint64_t index = 0, queues = 1;
	int opened[JAIL_QUEUES_MAX];
	(void)name;
	(void)fds;
	wire_get_u64(m, J_T_IFINDEX, &index);
	wire_get_u64(m, J_T_QUEUES, &queues);
	int err = index - 1 >= INT32_MAX || queues - 1 >= JAIL_QUEUES_MAX ? fault_set(&f, -EINVAL, "a macvtap link has an index, and 1 to %u queues", JAIL_QUEUES_MAX)
									  : macvtap_open((unsigned)index, (unsigned)queues, opened, &f);
	if (err) {
		refuse(j, m->id, err == -EINVAL ? 400 : 503, err, f.text);
		return;
	}
	reply(j, wire_begin(&j->out, WIRE_OK, m->id), opened, (unsigned)queues);
	for (unsigned i = 0; i < queues; i++)
		close(opened[i]);
}

/* The answer with what was opened, and what there is to say of it; ours of the descriptors are closed. */
static void reply_opened(struct jail *j, uint32_t id, const struct fault *said, const int *opened, unsigned n)
{
	size_t mark = wire_begin(&j->out, WIRE_OK, id);
	if (said->text[0])
		wire_str(&j->out, J_T_TEXT, said->text);
	reply(j, mark, opened, n);
	for (unsigned k = 0; k < n; k++)
		close(opened[k]);
}

/* Only where the vmm has a namespace that is ours alone: not without root. */
static void do_netns(struct jail *j, const struct wire_msg *m, const char *name, const int *fds)
{
	struct fault f = {""}, said = {""};
	struct inmate *i = find(j, name);
	int opened[J_NS_FDS];
	(void)fds;
	if (!i || !j->host.root) {
		refuse(j, m->id, i ? 503 : 404, i ? -EPERM : -ESRCH, i ? "a VM's network takes root" : "no process of that VM is known");
		return;
	}
	int err = netns_open(i->pidfd, opened, &said, &f);
	if (err) {
		refuse(j, m->id, 503, err, f.text);
		return;
	}
	reply_opened(j, m->id, &said, opened, J_NS_FDS);
}

static void do_dns(struct jail *j, const struct wire_msg *m, const char *name, const int *fds)
{
	char addr4[64] = "", addr6[64] = "", link[64] = "";
	struct fault f = {""}, said = {""};
	int opened[NETNS_DNS_FDS];
	unsigned n;
	(void)name;
	(void)fds;
	wire_get_str(m, J_T_ADDR4, addr4, sizeof addr4);
	wire_get_str(m, J_T_ADDR6, addr6, sizeof addr6);
	wire_get_str(m, J_T_LINK, link, sizeof link);
	int err = netns_dns_open(&(struct netns_dns){.addr4 = addr4, .addr6 = addr6, .link = link}, opened, &n, &said, &f);
	if (err) {
		refuse(j, m->id, 503, err, f.text);
		return;
	}
	reply_opened(j, m->id, &said, opened, n);
}

/* Every request: its type, how many descriptors it brings, whether it names a VM and a slot, what it does. */
static const struct request {
	uint16_t type;
	unsigned n_fds;
	bool named, slotted;
	void (*act)(struct jail *j, const struct wire_msg *m, const char *name, const int *fds);
} requests[] = {
	{J_SPAWN, 1, true, true, do_spawn},
	{J_KILL, 0, true, false, do_kill},
	{J_ADOPT, 0, true, true, do_adopt},
	{J_DESCRIBE, 0, false, false, do_describe},
	{J_TAP, 0, false, false, do_tap},
	{J_NETNS, 0, true, false, do_netns},
	{J_DNS, 0, false, false, do_dns},
};

/* The one place where a frame from core is checked. False: core has broken the rules. */
static bool serve(struct jail *j, const struct wire_msg *m, const int *fds, unsigned n_fds)
{
	char name[JAIL_NAME_MAX] = "";
	uint64_t slot;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		const struct request *r = &requests[i];
		if (r->type != m->type)
			continue;
		if (n_fds != r->n_fds || (r->named && (wire_get_str(m, J_T_NAME, name, sizeof name) || !name_is_valid(name, sizeof name - 1))) ||
		    (r->slotted && (!wire_get_u64(m, J_T_SLOT, &slot) || slot >= SLOTS)))
			return false;
		r->act(j, m, name, fds);
		return true;
	}
	return false;
}

static void on_core(struct ev_io *io, uint32_t events)
{
	struct jail *j = io->arg;
	struct wire_msg m;
	int fds[WIRE_FDS_MAX], more;
	unsigned n_fds;
	if (events & EPOLLOUT && chan_stuck(&j->core))
		ev_stop(j->loop);
	while ((more = chan_recv(&j->core, &m, fds, &n_fds)) == 1) {
		bool good = serve(j, &m, fds, n_fds);
		for (unsigned i = 0; i < n_fds; i++)
			close(fds[i]);
		if (!good) {
			more = -EPROTO;
			break;
		}
	}
	if (more < 0)
		ev_stop(j->loop);
	watch_core(j);
}

int jail_init(struct jail *j, int core_fd, const struct cage_host *host)
{
	*j = (struct jail){.host = *host};
	buf_init(&j->out, OUT_MAX);
	int err = ev_new(&j->loop);
	if (!err)
		err = chan_init(&j->core, core_fd, OUT_MAX);
	j->core_io.fn = on_core;
	j->core_io.arg = j;
	return err ? err : ev_add(j->loop, &j->core_io, core_fd, EPOLLIN);
}

int jail_run(struct jail *j)
{
	int err = ev_run(j->loop);
	while (j->inmates)
		forget(j->inmates);
	cgroups_sweep(&j->host.groups);
	chan_done(&j->core);
	buf_done(&j->out);
	ev_free(j->loop);
	return err;
}
