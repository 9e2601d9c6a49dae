/* Requests about disks: what they take, growing, export, zeros. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "api/core/auth.h"
#include "api/core/disks.h"
#include "api/core/timers.h"
#include "lib/wire/agent.h"

#define DISK_STEP_BYTES 4096u
#define GROW_LOOK_MS 100u  /* the guest's kernel hears of it by an interrupt: the agent may be earlier */
#define GROW_LOOKS_MAX 50u

/* ---- what there is ---- */

static bool shows(const struct ask *a, const struct vm *vm)
{
	return !vm->remove && !vm->r.target[0] && token_sees(a->token, vm->r.group);
}

void ask_disk_list(struct ask *a)
{
	struct core *c = a->core;

	for (const struct vm *vm = c->reg.first; vm; vm = vm->next) {
		struct disk_use u;
		struct buf *b;

		if (!shows(a, vm))
			continue;
		u = disk_use(vm);
		b = peer_begin_reply(&c->front, C_ITEM, a->id);
		wire_str(b, C_T_VM, vm->r.name);
		wire_str(b, C_T_GROUP, vm->r.group);
		wire_str(b, C_T_STATUS, vm_status(vm));
		wire_u64(b, C_T_SIZE, vm->r.disk_bytes);
		wire_u64(b, C_T_STORED_BYTES, u.own_bytes);
		wire_u64(b, C_T_SHARED_BYTES, u.shared_bytes);
		wire_str(b, C_T_IMAGE, vm->r.image);
		vm_disk_error_put(b, vm);
		if (peer_send(&c->front, NULL, 0)) {
			reply_err(c, a->id, 503, "more is asked of the daemon than it can answer now: try again");
			return;
		}
	}
	reply_ok(c, a->id, NULL);
}

void ask_disk_df(struct ask *a)
{
	struct core *c = a->core;
	uint64_t own = 0, promised = 0, images = 0, most;
	struct statfs sf;
	struct buf *b;

	if (fstatfs(c->state_fd, &sf)) {
		reply_err(c, a->id, 500, "the state folder's file system does not tell: %s", strerror(errno));
		return;
	}
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next) {
		struct disk_use u;

		if (!shows(a, vm))
			continue;
		u = disk_use(vm);
		own += u.own_bytes;
		most = vm_disk_promised(vm);
		promised += most > u.own_bytes ? most - u.own_bytes : 0;
	}
	for (const struct image *im = c->images.first; im; im = im->next)
		images += images_stored(&c->images, im->id);
	for (const struct commit *k = c->commits.first; k; k = k->next)
		images += commits_stored(&c->commits, k->id);
	b = peer_begin_reply(&c->front, WIRE_OK, a->id);
	wire_u64(b, C_T_TOTAL_BYTES, (uint64_t)sf.f_blocks * (uint64_t)sf.f_bsize);
	wire_u64(b, C_T_FREE_BYTES, (uint64_t)sf.f_bavail * (uint64_t)sf.f_bsize);
	wire_u64(b, C_T_STORED_BYTES, own);
	wire_u64(b, C_T_SHARED_BYTES, images);
	wire_u64(b, C_T_PROMISED_BYTES, promised);
	peer_send(&c->front, NULL, 0);
}

/* ---- growing ---- */

static void grow_done(struct vm *vm, uint64_t seen_bytes, const char *text)
{
	struct core *c = vm->core;
	struct buf *b;

	vm->grow.busy = false;
	ev_timer_del(c->loop, &vm->grow.timer);
	if (!auth_still(c, vm->grow.id, vm->grow.who))
		return;
	b = peer_begin_reply(&c->front, WIRE_OK, vm->grow.id);
	wire_u64(b, C_T_SIZE, seen_bytes);
	wire_str(b, C_T_TEXT, text);
	peer_send(&c->front, NULL, 0);
}

static void grow_failed(struct vm *vm, unsigned status, const char *why)
{
	vm->grow.busy = false;
	ev_timer_del(vm->core->loop, &vm->grow.timer);
	reply_err(vm->core, vm->grow.id, status,
		  "the disk of VM '%s' has %llu bytes now, but its file system did not follow, which it will at its next start: %s", vm->r.name,
		  (unsigned long long)vm->r.disk_bytes, why);
}

void disk_grow_over(struct vm *vm)
{
	if (vm->grow.busy)
		grow_failed(vm, 409, "the VM ended meanwhile");
}

/* Hostile: what an agent says. */
static void on_fs_grown(struct vm *vm, const struct wire_msg *m)
{
	struct fault f = { "" };
	uint64_t seen = 0;
	unsigned status = 504;

	if (!vm->grow.busy)
		return;
	if (peer_result(m, "the agent", &f, &status)) {
		if (status == 501)
			grow_done(vm, vm->r.disk_bytes, "the disk has grown; its root file system is not one that grows by itself");
		else
			grow_failed(vm, 504, f.text);
		return;
	}
	wire_get_u64(m, A_T_SIZE, &seen);
	if (seen >= vm->grow.bytes)
		grow_done(vm, vm->grow.bytes, "disk and file system have grown");
	else if (++vm->grow.looks > GROW_LOOKS_MAX || ev_timer_set(vm->core->loop, &vm->grow.timer, GROW_LOOK_MS))
		grow_failed(vm, 504, "its kernel still sees the old size");
}

static void ask_agent(struct vm *vm)
{
	struct buf b;

	if (!vm->ready && !vm->maybe_ready) {
		grow_done(vm, vm->grow.bytes, "the disk has grown; its file system follows when the agent is there");
		vm->greeted = false; /* so that the next hello asks for it */
		return;
	}
	buf_init(&b, 256);
	wire_end(&b, wire_begin(&b, A_GROW, 1));
	if (agent_ask(vm, &b, AGENT_GROW_MS, on_fs_grown))
		grow_failed(vm, 503, "the agent cannot be asked");
	buf_done(&b);
}

static void on_look(struct ev_timer *t)
{
	ask_agent(t->arg);
}

static void on_resized(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct vm *vm = arg;
	struct fault f = { "" };
	unsigned status = 503;

	(void)fds; (void)n_fds;
	if (!vm->grow.busy)
		return;
	if (peer_result(m, "the VM's process", &f, &status))
		grow_failed(vm, status, f.text);
	else
		ask_agent(vm);
}

/* Record, then file: whatever ends us in between, the disk is a good one of the old or of the new size. */
static int grow_files(struct vm *vm, uint64_t bytes)
{
	uint64_t old = vm->r.disk_bytes;
	bool keep = vm->r.persistent || vm->r.protected_;
	AUTO_FD fd = openat(vm->dir_fd, "disk.img", O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	int err;

	if (fd < 0)
		return -errno;
	vm->r.disk_bytes = bytes;
	err = bytes == old ? 0 : record_save(&vm->r, vm->dir_fd, keep);
	if (!err)
		err = disk_fit(vm, fd);
	if (err && bytes != old) {
		vm->r.disk_bytes = old;
		(void)record_save(&vm->r, vm->dir_fd, keep); /* it may well say the larger size: then the next start tries again */
	}
	return err;
}

/* disk_overcommit and quotas, as when a VM is made (admit.c). */
static bool too_much(struct ask *a, uint64_t bytes)
{
	struct fault f = { "" };
	unsigned status = 507;

	if (!vm_admit_grow(a->vm, bytes - a->vm->r.disk_bytes, &status, &f) && !vm_admit_promise(a->core, bytes - a->vm->r.disk_bytes, &status, &f))
		return false;
	reply_err(a->core, a->id, status, "%s", f.text);
	return true;
}

static bool may_grow(struct ask *a, uint64_t *bytes)
{
	struct vm *vm = a->vm;

	if (!wire_get_u64(a->m, C_T_SIZE, bytes) || *bytes == 0 || *bytes > DISK_MAX_BYTES) {
		reply_err(a->core, a->id, 400, "'size' must be the new size of the disk, as \"20G\", at most %lluT", DISK_MAX_BYTES >> 40);
		return false;
	}
	*bytes = (*bytes + DISK_STEP_BYTES - 1) / DISK_STEP_BYTES * DISK_STEP_BYTES;
	if (*bytes < vm->r.disk_bytes)
		reply_err(a->core, a->id, 409, "the disk of VM '%s' has %llu bytes: a disk can grow, not shrink: ask for more", a->name,
			  (unsigned long long)vm->r.disk_bytes);
	else if (vm->r.target[0])
		reply_err(a->core, a->id, 409, "VM '%s' is a builder", a->name);
	else if (vm->state == VM_PAUSED)
		reply_err(a->core, a->id, 409, "VM '%s' is paused: resume it first", a->name);
	else if (vm->state == VM_STOPPED && !vm->r.persistent && !vm->r.protected_)
		reply_err(a->core, a->id, 409, "VM '%s' is not persistent, its disk is gone", a->name);
	else if ((vm->state != VM_RUNNING && vm->state != VM_STOPPED) || vm->grow.busy || vm->disk_job || vm->commit)
		reply_err(a->core, a->id, 409, "VM '%s' is starting or stopping, or something is done to its disk: try again", a->name);
	else if (!too_much(a, *bytes))
		return true;
	return false;
}

void ask_disk_grow(struct ask *a)
{
	struct vm *vm = a->vm;
	uint64_t bytes = 0;
	int err;

	if (!may_grow(a, &bytes))
		return;
	err = grow_files(vm, bytes);
	if (err) {
		reply_err(a->core, a->id, err == -ENOSPC || err == -EDQUOT || err == -EFBIG ? 507 : 500, "the disk of VM '%s' cannot grow: %s", a->name,
			  strerror(-err));
		return;
	}
	vm->grow = (struct vm_grow){ .busy = true, .id = a->id, .who = a->who, .bytes = bytes, .timer = { .fn = on_look, .arg = vm } };
	if (vm->state == VM_STOPPED) {
		grow_done(vm, bytes, "the disk has grown; its file system follows at the next start");
		return;
	}
	wire_u64(peer_begin(&vm->vmm, V_RESIZE), V_T_DISK_INDEX, 0);
	if (peer_call(&vm->vmm, NULL, 0, on_resized, vm))
		grow_failed(vm, 503, "its process cannot be asked");
}

/* ---- export, zeros ---- */

/* Stopped, with a disk: else it is answered. */
static bool is_idle(struct ask *a, const char *or_else)
{
	const struct vm *vm = a->vm;

	if (vm->state != VM_STOPPED)
		reply_err(a->core, a->id, 409, "VM '%s' is not stopped: %s", a->name, or_else);
	else if (!vm->r.persistent && !vm->r.protected_)
		reply_err(a->core, a->id, 409, "VM '%s' is not persistent, its disk is gone", a->name);
	else
		return true;
	return false;
}

static void refuse_job(struct ask *a, int err)
{
	if (err == -EBUSY)
		reply_err(a->core, a->id, 409, "the disk of VM '%s' is being exported or sparsified: try again", a->name);
	else
		reply_err(a->core, a->id, 500, "the disk of VM '%s': %s", a->name, strerror(-err));
}

void ask_disk_export(struct ask *a)
{
	uint64_t bytes;
	int fd, err;

	if (!is_idle(a, "shut it down first ('mica vm shutdown')"))
		return;
	err = disk_export(a->vm, &fd, &bytes);
	if (err) {
		refuse_job(a, err);
		return;
	}
	wire_u64(peer_begin_reply(&a->core->front, WIRE_OK, a->id), C_T_SIZE, bytes);
	peer_send(&a->core->front, &fd, 1);
	close(fd);
}

void ask_disk_sparsify(struct ask *a)
{
	int err = is_idle(a, "in a running one 'fstrim /' does it") ? disk_sparsify(a->vm, a->id, a->who) : 0;

	if (err)
		refuse_job(a, err);
}
