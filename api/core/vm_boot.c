/* From QUEUED to RUNNING, one step a reply: tap from netd, a caged vmm from jail, hello, V_BOOT. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/core/adopt.h"
#include "api/core/cmdline.h"
#include "api/core/disks.h"
#include "api/core/net.h"
#include "api/core/req.h"
#include "api/core/timers.h"
#include "lib/wire/agent.h"
#include "lib/wire/jail.h"
#include "lib/wire/netd.h"

#define CTL_BACKLOG 4
#define CTL_QUEUE_MAX (1u << 20)
#define CID_FIRST 3u /* 0–2 are taken by the protocol */

/* A relative name keeps clear of sun_path's limit; core is one thread, so its working folder is its own. */
static int ctl_socket(struct vm *vm, int (*act)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "ctl.sock" };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;

	if (fd < 0)
		return -errno;
	chan_want_creds(fd); /* before its hello can come; without them adoption refuses it */
	if (fchdir(vm->dir_fd) || act(fd, (const struct sockaddr *)&a, sizeof(a)))
		err = -errno;
	if (fchdir(vm->core->state_fd) && !err)
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

static void vmm_gone(struct peer *p, int err)
{
	struct vm *vm = p->arg;

	if (vm->state == VM_ENDING)
		return;
	if (vm->pidfd < 0)
		vm_process_gone(vm);
	else if (err == -EPROTO)
		vm_fail(vm, "vmm", "it broke the protocol of its control socket");
	else
		ev_timer_set(vm->core->loop, &vm->timer, LAST_WORDS_MS); /* its end is seen by then, or it is made to end */
}

int vm_connect_vmm(struct vm *vm)
{
	int fd = ctl_socket(vm, connect);

	vm->hello_seen = false;
	if (fd < 0)
		return fd;
	vm->vmm = (struct peer){ .name = "vmm", .arg = vm, .on_msg = vm_on_vmm_msg, .on_gone = vmm_gone };
	return peer_init(&vm->vmm, vm->core->loop, fd, CTL_QUEUE_MAX);
}

/* ---- step by step ---- */

/* Somebody does not want it any more: true, and the VM is on its way out. */
static bool unwanted(struct vm *vm)
{
	if (vm->state != VM_STARTING)
		return true;
	if (!vm->remove && !vm->stop_asked)
		return false;
	if (vm_has_process(vm))
		vm_kill(vm);
	else
		vm_process_gone(vm);
	return true;
}

/* Is this reply an error? Then the VM fails with it. */
static bool failed(struct vm *vm, const struct wire_msg *m, const char *who)
{
	struct fault f = { "" };

	if (!peer_result(m, who, &f, &vm->made_status))
		return false;
	vm_fail(vm, "start", "%s", f.text);
	return true;
}

static void on_booted(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;

	(void)fds; (void)n_fds;
	if (vm->state != VM_STARTING)
		return;
	if (!m) /* the end of the process says more */
		return;
	if (!failed(vm, m, "vmm") && !unwanted(vm))
		vm_running(vm, false);
}

struct boot_files { int fd[WIRE_FDS_MAX]; unsigned n; bool no_base; };

/* Adds a descriptor to the frame; its field is the index. */
static int boot_fd(struct vm *vm, struct boot_files *files, uint16_t tag, const char *name, int flags)
{
	int fd = openat(vm->dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);

	if (fd < 0)
		return -errno;
	if (tag)
		wire_u64(&vm->vmm.out, tag, files->n);
	files->fd[files->n++] = fd;
	return 0;
}

static void boot_dup(struct vm *vm, struct boot_files *files, uint16_t tag, int fd)
{
	wire_u64(&vm->vmm.out, tag, files->n);
	files->fd[files->n++] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* What lies under the disk, when it has a map: *extra is how many descriptors were added. */
static int boot_base(struct vm *vm, struct boot_files *files, unsigned *extra)
{
	int err = boot_fd(vm, files, 0, "disk.map", O_RDWR);

	*extra = 0;
	if (err)
		return err == -ENOENT ? 0 : err;
	files->fd[files->n] = vm_base_fd(vm);
	files->no_base = files->fd[files->n] < 0;
	if (files->no_base)
		return files->fd[files->n];
	files->n++;
	*extra = 2;
	return 0;
}

/* A builder's second disk: the image to be. */
static int boot_target(struct vm *vm, struct boot_files *files)
{
	struct buf *b = &vm->vmm.out;
	int fd = images_unfinished(&vm->core->images, vm->r.target), map, base;
	size_t mark;

	if (fd < 0)
		return fd;
	files->fd[files->n++] = fd;
	map = images_map(&vm->core->images, vm->r.target, false, O_RDWR);
	base = map < 0 ? -1 : vm_base_fd(vm);
	if (map < 0 ? map != -ENOENT : base < 0) {
		int err = map < 0 ? map : base;

		fd_close(&map);
		return err;
	}
	mark = wire_open(b, V_T_DISK);
	wire_u64(b, V_T_FD, files->n - 1);
	if (map >= 0) {
		wire_u64(b, V_T_MAP_FD, files->n);
		wire_u64(b, V_T_BASE_FD, files->n + 1);
		files->fd[files->n++] = map;
		files->fd[files->n++] = base;
	}
	wire_str(b, V_T_ID, "target");
	wire_close(b, mark);
	return 0;
}

static void boot_limits(const struct vm *vm, struct buf *b)
{
	if (vm->group->disk_bytes_s)
		wire_u64(b, V_T_BYTES_S, vm->group->disk_bytes_s);
	if (vm->group->disk_ops_s)
		wire_u64(b, V_T_OPS_S, vm->group->disk_ops_s);
}

static int boot_disk(struct vm *vm, struct boot_files *files)
{
	struct buf *b = &vm->vmm.out;
	unsigned index = files->n, extra = 0;
	int err = boot_fd(vm, files, 0, "disk.img", O_RDWR);
	size_t mark;

	if (!err)
		err = disk_fit(vm, files->fd[index]);
	if (!err)
		err = boot_base(vm, files, &extra);
	if (err)
		return err;
	mark = wire_open(b, V_T_DISK);
	wire_u64(b, V_T_FD, index);
	if (extra) {
		wire_u64(b, V_T_MAP_FD, index + 1);
		wire_u64(b, V_T_BASE_FD, index + 2);
	}
	wire_str(b, V_T_ID, "root");
	boot_limits(vm, b);
	wire_close(b, mark);
	return 0;
}

static int boot_extra(struct vm *vm, struct boot_files *files)
{
	struct buf *b = &vm->vmm.out;
	char id[16];

	for (unsigned i = 0; i < vm_n_disks(vm); i++) {
		int fd = vm_disk_extra(vm, i);
		size_t mark;

		if (fd < 0)
			return fd;
		mark = wire_open(b, V_T_DISK);
		wire_u64(b, V_T_FD, files->n);
		if (vm->group->disks[i].read_only)
			wire_u64(b, V_T_READONLY, 1);
		snprintf(id, sizeof(id), "disk%u", i + 1);
		wire_str(b, V_T_ID, id);
		boot_limits(vm, b);
		wire_close(b, mark);
		files->fd[files->n++] = fd;
	}
	return 0;
}

static void boot_net(struct vm *vm, struct boot_files *files)
{
	struct buf *b = &vm->vmm.out;
	size_t mark;

	if (!vm->n_taps)
		return;
	mark = wire_open(b, V_T_NET);
	for (unsigned i = 0; i < vm->n_taps; i++)
		wire_u64(b, V_T_FD, files->n + i);
	wire_bytes(b, V_T_MAC, vm->r.mac, sizeof(vm->r.mac));
	vm_net_limits(vm, b);
	wire_close(b, mark);
	for (unsigned i = 0; i < vm->n_taps; i++)
		files->fd[files->n++] = vm->tap_fds[i];
	vm->n_taps = 0;
}

static int boot_fields(struct vm *vm, struct boot_files *files)
{
	const struct host_group *g = vm->group;
	char cmdline[VMM_CMDLINE_MAX];
	struct buf *b = peer_begin(&vm->vmm, V_BOOT);
	int err = cmdline_make(vm, vm->n_taps > 0, cmdline, sizeof(cmdline));

	if (err)
		return err;
	wire_u64(b, V_T_VCPUS, vm->r.vcpus);
	wire_u64(b, V_T_RAM_BYTES, vm->r.ram_bytes);
	wire_str(b, V_T_CMDLINE, cmdline);
	wire_u64(b, V_T_CID, CID_FIRST + vm->r.slot);
	if (vm->core->ephemeral)
		wire_u64(b, V_T_EPHEMERAL, 1);
	boot_dup(vm, files, V_T_KERNEL_FD, g->kernel.fd >= 0 ? g->kernel.fd : g->kernel_full ? CORE_FD_KERNEL_FULL : CORE_FD_KERNEL);
	if (g->initrd.fd >= 0)
		boot_dup(vm, files, V_T_INITRD_FD, g->initrd.fd);
	err = boot_fd(vm, files, V_T_CONSOLE_FD, "console.log", O_WRONLY | O_APPEND | O_CREAT | O_TRUNC);
	if (!err)
		err = boot_fd(vm, files, V_T_REPORT_FD, "report", O_WRONLY | O_CREAT | O_TRUNC);
	if (!err)
		err = boot_disk(vm, files);
	if (!err && vm->r.target[0])
		err = boot_target(vm, files);
	if (!err)
		err = boot_extra(vm, files);
	if (!err)
		boot_net(vm, files);
	return err;
}

static void boot(struct vm *vm)
{
	struct boot_files files = { .n = 0 };
	int err;

	if (unwanted(vm))
		return;
	vm_listen_agent(vm);
	err = boot_fields(vm, &files);
	vm->never_booted = false;
	if (!err)
		err = peer_call(&vm->vmm, files.fd, files.n, on_booted, vm);
	while (files.n)
		fd_close(&files.fd[--files.n]);
	if (err && files.no_base)
		vm_fail(vm, "start", "its disk lies over that of '%s', which is gone: put it back (%s)", vm->r.parent[0] ? vm->r.parent : vm->r.base, strerror(-err));
	else if (err)
		vm_fail(vm, "start", "its files could not be handed to vmm: %s", strerror(-err));
}

/* Its hello comes next. */
static void greet_vmm(struct vm *vm)
{
	int err = unwanted(vm) ? 0 : vm->state == VM_STARTING ? vm_connect_vmm(vm) : 0;

	if (err)
		vm_fail(vm, "start", "its control socket cannot be reached: %s", strerror(-err));
}

static void net_asked(struct vm *vm, int err)
{
	if (err)
		vm_fail(vm, "start", "its network cannot be asked for: %s", strerror(-err));
}

static void on_spawned(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	uint64_t pid = 0;
	int err;

	if (vm->state != VM_STARTING || failed(vm, m, "jail"))
		return;
	if (n_fds != 1 || !wire_get_u64(m, J_T_PID, &pid) || pid > INT32_MAX) {
		vm_fail(vm, "start", "jail gave no process");
		return;
	}
	vm->pid = (pid_t)pid;
	err = vm_watch_pid(vm, fds[0]);
	fds[0] = -1;
	if (unwanted(vm))
		return;
	if (err)
		vm_fail(vm, "start", "its process cannot be watched: %s", strerror(-err));
	else if (net_has_card(vm) && net_is_isolated(vm))
		net_asked(vm, net_vm_up(vm, greet_vmm));
	else
		greet_vmm(vm);
}

static void spawn(struct vm *vm)
{
	struct buf *b;
	int fd, err;

	unlinkat(vm->dir_fd, "ctl.sock", 0);
	fd = ctl_socket(vm, bind);
	err = fd < 0 ? fd : listen(fd, CTL_BACKLOG) ? -errno : 0;
	if (!err && peer_there(&vm->core->jail)) {
		b = peer_begin(&vm->core->jail, J_SPAWN);
		wire_str(b, J_T_NAME, vm->r.name);
		wire_u64(b, J_T_SLOT, vm->r.slot);
		vm_put_limits(vm, b);
		err = peer_call(&vm->core->jail, &fd, 1, on_spawned, vm);
	} else if (!err) {
		err = -EPIPE;
	}
	fd_close(&fd);
	if (err)
		vm_fail(vm, "start", "its control socket could not be made: %s", strerror(-err));
}

static void spawn_wanted(struct vm *vm)
{
	if (!unwanted(vm))
		spawn(vm);
}

/* A tap of a bridge is there before the process; an isolated VM's network is made in the namespace of its process (on_spawned). */
static void start(struct vm *vm)
{
	struct core *c = vm->core;
	struct fault f = { "" };

	vm->state = VM_STARTING;
	vm->starts = true;
	vm->exit_status = -1;
	vm->made_status = 0;
	ev_timer_set(c->loop, &vm->timer, START_MS);
	if (vm_disks_claim(vm, &f)) {
		vm->made_status = 409;
		vm_fail(vm, "disk", "%s", f.text);
		return;
	}
	if (net_has_card(vm) && !net_is_isolated(vm))
		net_asked(vm, net_vm_up(vm, spawn_wanted));
	else
		spawn(vm);
}

void vm_start_queued(struct core *c)
{
	unsigned starting = 0;

	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		starting += vm->starts;
	for (struct vm *vm = c->reg.first, *next; vm && starting < c->starts_max; vm = next) {
		next = vm->next;
		if (vm->state == VM_QUEUED) {
			starting++;
			start(vm);
		}
	}
}

void vm_queue(struct vm *vm)
{
	disk_job_end(vm);
	vm->state = VM_QUEUED;
	vm->stop_asked = vm->ready = vm->userdata_done = vm->grown = vm->greeted = false;
	vm->secrets_busy = vm->secrets_done = false;
	vm->secrets_seen = 0;
	buf_clear(&vm->secrets_gone);
	free(vm->reason);
	free(vm->words);
	vm->reason = vm->words = NULL;
	memset(vm->disk_errno, 0, sizeof(vm->disk_errno));
	free(vm->r.fault);
	vm->r.fault = NULL;
	unlinkat(vm->dir_fd, "report", 0); /* of an earlier boot */
	core_moved(vm->core);
}

/* ---- what vmm says unasked ---- */

void vm_on_vmm_msg(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = p->arg;
	uint64_t port = 0;

	switch (m->type) {
	case V_HELLO:
		if (vm->hello_seen)
			break;
		vm->hello_seen = true;
		if (vm->state == VM_STARTING)
			boot(vm);
		else if (vm->state == VM_ADOPTING)
			adopt_hello(vm, m);
		break;
	case V_INCOMING:
		if (n_fds == 1 && wire_get_u64(m, V_T_PORT, &port) && port == AGENT_HELLO_PORT) {
			vm_agent_incoming(vm, fds[0]);
			fds[0] = -1;
		}
		break;
	case V_DISK:
		vm_disk_told(vm, m);
		break;
	case V_EXITED:
		vm_exited_frame(vm, m);
		break;
	default:
		break;
	}
}
