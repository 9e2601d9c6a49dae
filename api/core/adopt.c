#include "api/core/adopt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "api/core/net.h"
#include "api/core/timers.h"
#include "lib/wire/jail.h"

#define CLOCK_SLACK_NS (86400ull * 1000000000u)
#define ENTRIES_MAX 65536u /* of the vm/ folder */

static void one_less(struct core *c)
{
	if (--c->adopting)
		return;
	net_sync(c);
	core_serve(c);
}

void adopt_decided(struct vm *vm)
{
	if (!vm->adopting)
		return;
	vm->adopting = false;
	one_less(vm->core);
}

/* ---- a vmm that answers ---- */

static void not_ours(struct vm *vm, const char *why)
{
	if (core_is_lost(vm->core)) /* nobody judged it: the next core asks again */
		return;
	core_say(vm->core, "NOTE", "%s: what answers on its control socket is not its vmm (%s): it is told to end", vm->r.name, why);
	peer_begin(&vm->vmm, V_QUIT);
	peer_send(&vm->vmm, NULL, 0);
	vm_process_gone(vm);
}

static void adopted(struct vm *vm)
{
	vm->maybe_ready = true;
	vm_listen_agent(vm);
	vm_running(vm, vm->adopt_paused);
	adopt_decided(vm);
}

static void on_jail(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	struct fault f = { "" };

	if (vm->state != VM_ADOPTING)
		return;
	if (peer_result(m, "jail", &f, NULL) || n_fds != 1) {
		not_ours(vm, f.text[0] ? f.text : "jail gave no process");
		return;
	}
	vm_watch_pid(vm, fds[0]);
	fds[0] = -1;
	if (vm->adopt_new || vm->stop_asked) { /* it was never told to boot: begun afresh; or it shall end (it answered late) */
		vm->never_booted |= vm->adopt_new;
		vm->stop_asked = true;
		vm_kill(vm);
		return;
	}
	net_vm_adopt(vm, adopted);
}

void adopt_hello(struct vm *vm, const struct wire_msg *m)
{
	struct core *c = vm->core;
	char state[16] = "";
	struct buf *b;
	pid_t pid = 0;
	uid_t uid;

	wire_get_str(m, V_T_STATE, state, sizeof(state));
	vm->adopt_new = strcmp(state, "new") == 0;
	vm->adopt_paused = strcmp(state, "paused") == 0;
	if (!chan_last_creds(&vm->vmm.chan, &pid, &uid) || pid <= 0) {
		not_ours(vm, "it has no pid here");
		return;
	}
	vm->pid = pid;
	b = peer_begin(&c->jail, J_ADOPT);
	wire_str(b, J_T_NAME, vm->r.name);
	wire_u64(b, J_T_SLOT, vm->r.slot);
	wire_u64(b, J_T_PID, (uint64_t)pid);
	vm_put_limits(vm, b);
	if (peer_call(&c->jail, NULL, 0, on_jail, vm))
		not_ours(vm, "jail cannot be asked");
}

/* ---- the folders ---- */

/* Of a creation that was never acknowledged, or a removal that was. */
static void drop_folder(struct core *c, const char *name, int dir_fd)
{
	vm_files_remove(dir_fd);
	if (unlinkat(c->vms_fd, name, AT_REMOVEDIR))
		core_say(c, "NOTE", "folder vm/%s holds no record and cannot be removed: %s", name, strerror(errno));
}

/* Takes r and dir_fd over. A second VM of one name or place is left alone, and told. */
static int take_record(struct core *c, struct record *r, int dir_fd, const char *name)
{
	bool ahead = r->created_ns > now_real_ns() + CLOCK_SLACK_NS;
	struct vm *vm;
	int err = vm_from_record(c, r, dir_fd, &vm);

	if (!err && ahead)
		core_say(c, "NOTE", "%s was made more than a day after this host's time: its clock was set back, so ages and what expires are wrong [E_CLOCK_BACK]", name);
	if (err == -EEXIST)
		core_say(c, "NOTE", "VM folder vm/%s is left alone: its record's slot belongs to another VM; is it a copy?", name);
	return err == -EEXIST ? 0 : err;
}

static int load_one(struct core *c, const char *name)
{
	int dir_fd = openat(c->vms_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct fault f = { "" };
	struct record r = { 0 };
	int err = dir_fd < 0 ? -errno : record_load(&r, dir_fd, &f);

	if (err == -ENOENT && dir_fd >= 0)
		drop_folder(c, name, dir_fd);
	else if (err || strcmp(r.name, name) != 0)
		core_say(c, "NOTE", "VM folder vm/%s is left alone: %s", name, f.text[0] ? f.text : err ? strerror(-err) : "its record is another VM's");
	else {
		unlinkat(dir_fd, ".record.new", 0); /* the daemon before ended while it saved one */
		return take_record(c, &r, dir_fd, name);
	}
	record_done(&r);
	fd_close(&dir_fd);
	return err == -ENOMEM || err == -ENOSPC ? err : 0;
}

static int load_all(struct core *c)
{
	int fd = openat(c->vms_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return -errno;
	}
	for (unsigned i = 0; !err && i < ENTRIES_MAX && (e = readdir(d)); i++)
		if (name_is_valid(e->d_name, VM_NAME_MAX))
			err = load_one(c, e->d_name);
	closedir(d);
	return err;
}

static void decide(struct vm *vm)
{
	vm->adopting = true;
	vm->never_booted = !vm->r.fault && faccessat(vm->dir_fd, "report", F_OK, 0) != 0;
	if (vm_connect_vmm(vm) == 0) {
		ev_timer_set(vm->core->loop, &vm->timer, ADOPT_MS);
		return;
	}
	peer_done(&vm->vmm);
	vm_process_gone(vm);
}

int core_adopt(struct core *c)
{
	int err = load_all(c);

	if (err)
		return err;
	c->adopting = 1; /* until all were begun */
	for (struct vm *vm = c->reg.first, *next; vm; vm = next) {
		next = vm->next; /* burial is put off to the loop, so that next stays */
		if (vm->r.target[0])
			vm->remove = vm->stop_asked = true; /* who drove that builder is gone */
		c->adopting++; /* decided by adopt_decided() */
		decide(vm);
	}
	one_less(c);
	return 0;
}
