/* core: arguments, what is opened while it may, the drop, the loop. See core.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "api/core/auth.h"
#include "api/core/groups.h"
#include "api/core/gate.h"
#include "api/core/walls.h"
#include "lib/wire/core.h"
#include "lib/wire/jail.h"

#define FRONT_QUEUE_MAX (8u << 20)
#define PEER_QUEUE_MAX (1u << 20)
#define CONFIG_STDIN "stdin"

struct args {
	const char *config, *state;
	bool emulated, ephemeral, no_netd, tls;
	bool full; /* the kernel of that name is there: its descriptor, unless check */
	bool check, show, effective; /* only look at the file: 0 or 1, notes as ever; show: the file, on standard output */
	uid_t uid;
	gid_t gid;
};

static int parse_args(struct args *a, char **v, struct fault *f)
{
	const char *flavour = "min", *uid = NULL, *gid = NULL;
	const struct { const char *name; const char **value; bool *flag; } options[] = {
		{ "--config", &a->config, NULL }, { "--state", &a->state, NULL }, { "--flavour", &flavour, NULL }, { "--uid", &uid, NULL },
		{ "--gid", &gid, NULL }, { "--ephemeral", NULL, &a->ephemeral }, { "--no-netd", NULL, &a->no_netd },
		{ "--tls", NULL, &a->tls }, { "--full", NULL, &a->full }, { "--check", NULL, &a->check }, { "--show", NULL, &a->show }, { "--effective", NULL, &a->effective },
	};
	uint64_t id;

	for (v++; *v; v++) {
		size_t i = 0;

		while (i < ARRAY_LEN(options) && strcmp(options[i].name, *v) != 0)
			i++;
		if (i == ARRAY_LEN(options))
			return fault_set(f, -EINVAL, "core: unknown argument '%s'", *v);
		if (options[i].flag)
			*options[i].flag = true;
		else if (!(*options[i].value = *++v))
			return fault_set(f, -EINVAL, "core: %s needs a value", options[i].name);
	}
	a->check |= a->show |= a->effective;
	if (!a->config || (!a->state && !a->check))
		return fault_set(f, -EINVAL, "core: --config and --state are needed (it is started by `mica up`)");
	a->emulated = strcmp(flavour, "emulated") == 0;
	a->uid = uid && !parse_u64(uid, INT32_MAX, &id) ? (uid_t)id : (uid_t)-1;
	a->gid = gid && !parse_u64(gid, INT32_MAX, &id) ? (gid_t)id : (gid_t)-1;
	return (uid || gid) && (a->uid == (uid_t)-1 || a->gid == (gid_t)-1) ? fault_set(f, -EINVAL, "core: --uid and --gid go together") : 0;
}

/* Those of the host's links, so that no range of ours is laid over them. Its own bridges count by their gateway in the configuration. */
static void take_addresses(struct config_host *host)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all))
		return;
	for (struct ifaddrs *i = all; i && host->n_addrs < HOST_ADDRS_MAX; i = i->ifa_next) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)(const void *)i->ifa_addr, *m = (const struct sockaddr_in *)(const void *)i->ifa_netmask;

		if (!a || !m || i->ifa_addr->sa_family != AF_INET || ntohl(a->sin_addr.s_addr) >> 24 == 127)
			continue;
		host->addrs[host->n_addrs++] = (struct cidr){ ntohl(a->sin_addr.s_addr), (unsigned)__builtin_popcount(m->sin_addr.s_addr) };
	}
	freeifaddrs(all);
}

static int read_config(struct core *c, const struct args *a, struct fault *f)
{
	bool from_stdin = strcmp(a->config, "-") == 0;
	const char *name = from_stdin ? CONFIG_STDIN : a->config;
	struct config_host host = { .tls = a->tls, .emulated = a->emulated, .kernel_full = a->full };
	struct sysinfo info;
	struct stat st;
	char *text;
	size_t n;
	int err = read_file_at(AT_FDCWD, from_stdin ? "/proc/self/fd/0" : name, YAML_TEXT_MAX + 1, &text, &n);

	if (err)
		return fault_set(f, err, "configuration '%s': %s; 'mica new NAME > mica.yaml' makes one [E_CONFIG_MISSING]", name, strerror(-err));
	if (sysinfo(&info) == 0)
		host.ram_bytes = (uint64_t)info.totalram * info.mem_unit;
	if (fstat(CORE_FD_IMAGE, &st) == 0)
		host.min_image_bytes = (uint64_t)st.st_size;
	take_addresses(&host);
	err = config_parse(&c->config, name, text, n, &host, f);
	free(text);
	return err;
}

static int open_all(struct core *c, const struct args *a, struct fault *f)
{
	int err = read_config(c, a, f);

	if (!err)
		err = core_open_state(c, a->state, f);
	if (!err)
		err = core_lock(c, f);
	if (!err) /* `mica run` has local users alone: no text has that digest */
		err = a->ephemeral ? random_fill(c->token_hash, sizeof(c->token_hash)) : core_tokens(c, f);
	if (!err && !a->ephemeral && c->config.tls)
		err = core_tls_read(c, f);
	if (!err)
		err = core_listen(c, a->state, f);
	if (!err && a->uid != (uid_t)-1)
		err = core_own_files(c, a->uid, a->gid, f);
	return err;
}

/* ---- events ---- */

static void on_signal(struct ev_io *io, uint32_t events)
{
	struct core *c = io->arg;
	struct signalfd_siginfo s;

	(void)events;
	while (read(c->signal_fd, &s, sizeof(s)) == (ssize_t)sizeof(s))
		core_stop(c, c->phase == CORE_STOPPING || !c->config.graceful_shutdown);
}

static void give_up(struct core *c, int code)
{
	c->exit_code = code;
	ev_stop(c->loop);
}

/* The supervisor ends us all when one of us ends; VMs live on, unless they belong to a `mica run`. */
static void on_peer_gone(struct peer *p, int err)
{
	struct core *c = p->arg;

	if (c->phase == CORE_STOPPING)
		return;
	if (c->ephemeral) {
		core_stop(c, true);
		return;
	}
	core_say(c, "NOTE", "%s is gone (%s): core ends, VMs go on", p->name, strerror(-err));
	give_up(c, 1);
}

static void on_status(struct ev_io *io, uint32_t events)
{
	struct core *c = io->arg;

	if (!(events & (EPOLLERR | EPOLLHUP)))
		return;
	ev_del(c->loop, io);
	if (c->ephemeral)
		core_stop(c, true);
	else if (c->phase != CORE_STOPPING)
		give_up(c, 1);
}

static void on_jail_msg(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct core *c = p->arg;
	char name[VM_NAME_MAX + 1];
	uint64_t status;
	struct vm *vm;

	(void)fds; (void)n_fds;
	if (m->type != J_EXITED || wire_get_str(m, J_T_NAME, name, sizeof(name)) || !wire_get_u64(m, J_T_STATUS, &status))
		return;
	vm = registry_find(&c->reg, name);
	if (!vm || (vm->state == VM_STARTING && vm->pidfd < 0)) /* or it speaks of the process before: jail tells an end before a beginning */
		return;
	vm->exit_status = (int)(status & 0xffff);
	if (vm->state == VM_ENDING)
		vm_settle(vm);
}

static void on_control_msg(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	(void)fds; (void)n_fds;
	if (m->type == C_TLS)
		core_tls_change(p->arg, m);
}

static void on_sweep(struct ev_timer *t)
{
	struct core *c = t->arg;

	registry_sweep(&c->reg);
}

static void on_note(void *arg, const char *text)
{
	core_say(arg, "NOTE", "%s", text);
}

static int add_peer(struct core *c, struct peer *p, const char *name, int fd, size_t queue,
		    void (*on_msg)(struct peer *, const struct wire_msg *, int *, unsigned))
{
	*p = (struct peer){ .name = name, .arg = c, .on_msg = on_msg, .on_gone = on_peer_gone };
	fd_set_cloexec(fd, true);
	return peer_init(p, c->loop, fd, queue);
}

static int watch_all(struct core *c)
{
	sigset_t set;
	int err = ev_new(&c->loop);

	if (err)
		return err;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	c->signal_io = (struct ev_io){ .fn = on_signal, .arg = c, .fd = -1 };
	c->status_io = (struct ev_io){ .fn = on_status, .arg = c, .fd = -1 };
	c->sweep_timer = (struct ev_timer){ .fn = on_sweep, .arg = c };
	err = c->signal_fd < 0 ? -errno : ev_add(c->loop, &c->signal_io, c->signal_fd, EPOLLIN);
	if (!err)
		err = add_peer(c, &c->front, "front", CORE_FD_FRONT, FRONT_QUEUE_MAX, core_on_request);
	if (!err)
		err = add_peer(c, &c->jail, "jail", CORE_FD_JAIL, PEER_QUEUE_MAX, on_jail_msg);
	if (!err && !c->no_netd)
		err = add_peer(c, &c->netd, "netd", CORE_FD_NETD, PEER_QUEUE_MAX, NULL);
	if (!err && c->has_gate)
		err = add_peer(c, &c->gate, "gate", CORE_FD_GATE, PEER_QUEUE_MAX, gate_on_msg);
	if (!err && c->has_control) {
		err = add_peer(c, &c->control, "supervisor", CORE_FD_CONTROL, PEER_QUEUE_MAX, on_control_msg);
		c->control.on_gone = NULL; /* the status pipe tells */
	}
	if (!err && ev_add(c->loop, &c->status_io, c->status_fd, 0)) /* a plain file cannot hang up */
		c->status_io.fd = -1;
	return err;
}

static void prepare_process(struct core *c)
{
	struct rlimit files;
	cpu_set_t cpus;
	struct stat st;

	prctl(PR_SET_NAME, "mica-core");
	umask(0027);
	c->has_control = fstat(CORE_FD_CONTROL, &st) == 0 && S_ISSOCK(st.st_mode);
	c->has_gate = fstat(CORE_FD_GATE, &st) == 0 && S_ISSOCK(st.st_mode);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* of the terminal: the supervisor turns it into SIGTERM */
	signal(SIGHUP, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	for (int fd = CORE_FD_FRONT; fd <= CORE_FD_STATUS; fd++)
		fd_set_cloexec(fd, true); /* helpers are forks, not programs; nothing is ever executed from here */
	c->status_fd = CORE_FD_STATUS;
	fd_set_nonblock(c->status_fd, true);
	c->meminfo_fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	metrics_open(&c->metrics);
	c->starts_max = sched_getaffinity(0, sizeof(cpus), &cpus) ? 2 : 2 * (unsigned)CPU_COUNT(&cpus);
	registry_init(&c->reg);
}

/* A code where nobody knew better: what the host said of the state folder. */
static const char *code_of(int err)
{
	switch (err) {
	case -EROFS: return " [E_STATE_READONLY]";
	case -EACCES: case -EPERM: return " [E_STATE_DENIED]";
	case -ENOSPC: case -EDQUOT: return " [E_DISK_FULL]";
	case -EMFILE: case -ENFILE: return " [E_FD_LIMIT]";
	case -ENOTDIR: case -EISDIR: case -ELOOP: case -ENAMETOOLONG: return " [E_STATE_PATH]";
	case -EINVAL: case -ENOSYS: case -EOPNOTSUPP: case -ENOLCK: case -ENXIO: return " [E_STATE_FS]";
	default: return "";
	}
}

static void say_fatal(struct core *c, const struct fault *f, int err, bool state)
{
	core_say(c, "FATAL", "%s%s", f->text[0] ? f->text : strerror(-err), strstr(f->text, "[E_") ? "" : state ? code_of(err) : " [E_CONFIG_BAD]");
}

/* `mica config`: the daemon's own look at a file, and nothing else. */
static int look_at_config(struct core *c, const struct args *a)
{
	struct fault f = { "" };
	struct buf out;
	int err = read_config(c, a, &f);

	buf_init(&out, 4 * YAML_TEXT_MAX);
	for (size_t i = 0; !err && i < c->config.n_notes; i++)
		core_say(c, "NOTE", "%s", c->config.notes[i]);
	if (!err && a->show)
		err = config_show(&c->config, a->effective, &out);
	if (!err && a->show)
		err = write_full(STDOUT_FILENO, buf_data(&out), buf_len(&out));
	if (err)
		say_fatal(c, &f, err, false);
	buf_done(&out);
	config_done(&c->config);
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	static struct core core;
	struct core *c = &core;
	struct args a = { 0 };
	struct fault f = { "" };
	int err;

	(void)argc;
	c->commits.dir_fd = c->images.dir_fd = c->state_fd = c->vms_fd = c->groups_fd = c->signal_fd = c->secrets.dir_fd = c->tls.dir_fd = c->tokens.dir_fd = -1;
	prepare_process(c);
	err = parse_args(&a, argv, &f);
	if (!err && a.check)
		return look_at_config(c, &a);
	c->ephemeral = a.ephemeral;
	c->emulated = a.emulated;
	c->no_netd = a.no_netd;
	if (a.full)
		fd_set_cloexec(CORE_FD_KERNEL_FULL, true);
	if (!err)
		err = open_all(c, &a, &f);
	if (!err)
		err = core_drop_rights(a.uid, a.gid, c->state_fd, &f);
	if (!err) {
		err = fchdir(c->state_fd) ? -errno : watch_all(c);
		if (err)
			fault_errno(&f, err, "core's descriptors");
	}
	if (!err && (err = secrets_load(&c->secrets, on_note, c)))
		fault_errno(&f, err, "folder 'secrets' in the state folder");
	if (!err)
		auth_watch(c);
	if (!err)
		err = core_filter_calls(&f);
	if (err) {
		say_fatal(c, &f, err, c->config.groups != NULL);
		return 1;
	}
	for (size_t i = 0; i < c->config.n_notes; i++)
		core_say(c, "NOTE", "%s", c->config.notes[i]);
	for (size_t i = 0; i < c->config.n_groups; i++)
		if (c->emulated && c->config.groups[i].kernel.fd >= 0)
			core_say(c, "NOTE", "host group '%s': this machine's KVM runs no stock kernels, so kernel_file '%s' may not boot ('mica doctor' tells why) [E_KVM_EMULATED]",
				 c->config.groups[i].name, c->config.groups[i].kernel.path);
	images_load(c);
	commits_load(c);
	builder_group(&c->builder);
	groups_load(c);
	group_rules_load(c);
	core_net_start(c);
	err = ev_run(c->loop);
	registry_done(&c->reg);
	secrets_done(&c->secrets);
	tokens_done(&c->tokens);
	metrics_done(&c->metrics);
	return err ? 1 : c->exit_code;
}
