/* A VM's disks besides its root disk: claimed for it, handed to vmm, let go. A raw file that can be written belongs to one VM at a time: other VMs of
 * this daemon are looked through, and a lock on the open file (shared by those who only read) keeps out whoever else asks for one (a second daemon, and
 * VMs that outlived core). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/disks.h"

#define SAY_EVERY_MS 4000u /* ours waits longer itself */

unsigned vm_n_disks(const struct vm *vm)
{
	return vm->group && !vm->r.target[0] ? vm->group->n_disks : 0;
}

static const struct vm *user_of(const struct vm *self, const struct conf_disk *d)
{
	for (const struct vm *vm = self->core->reg.first; vm; vm = vm->next) {
		if (vm == self || (vm->state != VM_STARTING && !vm_has_process(vm)))
			continue;
		for (unsigned i = 0; i < vm_n_disks(vm); i++)
			if (conf_disks_clash(d, &vm->group->disks[i]))
				return vm;
	}
	return NULL;
}

static short lock_type(const struct conf_disk *d)
{
	return d->read_only ? F_RDLCK : F_WRLCK;
}

static int lock(const struct conf_disk *d, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(d->file.fd, F_OFD_SETLK, &l) ? -errno : 0;
}

/* Another program, or another daemon, has a lock that this use of the file cannot share. */
static bool is_locked(const struct conf_disk *d)
{
	struct flock l = { .l_type = lock_type(d), .l_whence = SEEK_SET };

	return fcntl(d->file.fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

int vm_disks_free(const struct vm *vm, struct fault *f)
{
	const struct host_group *g = vm->group;

	for (unsigned i = 0; i < vm_n_disks(vm); i++) {
		const struct conf_disk *d = &g->disks[i];
		const struct vm *other = d->file.fd < 0 ? NULL : user_of(vm, d);

		if (other)
			return fault_set(f, -EBUSY, "disk '%.200s' is in use by VM '%s', and can be written by one VM only: stop that one first", d->file.path,
					 other->r.name);
		if (d->file.fd >= 0 && is_locked(d))
			return fault_set(f, -EBUSY, "disk '%.200s' is in use by another process ('lslocks' may tell which): stop that one first", d->file.path);
	}
	return 0;
}

int vm_disks_claim(struct vm *vm, struct fault *f)
{
	const struct host_group *g = vm->group;
	int err = vm_disks_free(vm, f);

	for (unsigned i = 0; i < vm_n_disks(vm) && !err; i++) {
		const struct conf_disk *d = &g->disks[i];

		if (d->file.fd >= 0)
			err = lock(d, lock_type(d));
		if (err)
			return fault_set(f, err, "disk '%.200s' cannot be locked: %s", d->file.path, strerror(-err));
		vm->disks_claimed = true;
	}
	return err;
}

/* Groups made while the daemon runs, and VMs of one group, share open files: of one that others read too the lock stays. */
static bool is_shared(const struct vm *self, const struct conf_disk *d)
{
	for (const struct vm *vm = self->core->reg.first; vm; vm = vm->next)
		for (unsigned i = 0; vm != self && vm->disks_claimed && i < vm_n_disks(vm); i++)
			if (conf_disks_same(d, &vm->group->disks[i]))
				return true;
	return false;
}

void vm_disks_let_go(struct vm *vm)
{
	for (unsigned i = 0; vm->disks_claimed && i < vm_n_disks(vm); i++)
		if (vm->group->disks[i].file.fd >= 0 && !is_shared(vm, &vm->group->disks[i]))
			(void)lock(&vm->group->disks[i], F_UNLCK);
	vm->disks_claimed = false;
}

void vm_disk_told(struct vm *vm, const struct wire_msg *m)
{
	uint64_t i = 0, err = 0;
	int was;

	if (!wire_get_u64(m, V_T_DISK_INDEX, &i) || i >= VMM_DISKS_MAX || !wire_get_u64(m, V_T_DISK_ERRNO, &err) || err > INT_MAX)
		return;
	was = vm->disk_errno[i];
	vm->disk_errno[i] = (int)err;
	if (!err == !was || (vm->disk_said_ms && now_mono_ms() - vm->disk_said_ms < SAY_EVERY_MS))
		return; /* a vmm that is no longer ours could say it all day */
	vm->disk_said_ms = now_mono_ms();
	if (err)
		core_say(vm->core, "NOTE", "%s: the host cannot do what its disk /dev/vd%c asks for: %s; its guest gets I/O errors%s", vm->r.name, (char)('a' + i),
			 strerror((int)err), err == ENOSPC || err == EDQUOT ? ", until there is room again" : "");
	else
		core_say(vm->core, "NOTE", "%s: its disk /dev/vd%c can be written again", vm->r.name, (char)('a' + i));
}

void vm_disk_error_put(struct buf *b, const struct vm *vm)
{
	char text[80 * VMM_DISKS_MAX] = "";
	size_t at = 0;

	for (unsigned i = 0; vm_has_process(vm) && i < VMM_DISKS_MAX && at < sizeof(text); i++)
		if (vm->disk_errno[i])
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s/dev/vd%c: %.60s", at ? "; " : "", (char)('a' + i), strerror(vm->disk_errno[i]));
	if (at)
		wire_str(b, C_T_DISK_ERROR, text);
}

int vm_disk_extra(const struct vm *vm, unsigned i)
{
	const struct conf_disk *d = &vm->group->disks[i];
	char name[24];
	struct stat st;
	unsigned number = 0; /* among the new ones, so that files may come and go in the list */
	int fd, err;

	if (d->file.fd >= 0) {
		fd = fcntl(d->file.fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	for (unsigned k = 0; k <= i; k++)
		number += vm->group->disks[k].file.fd < 0;
	snprintf(name, sizeof(name), "disk%u.img", number);
	fd = openat(vm->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && ((uint64_t)st.st_size >= d->bytes || ftruncate(fd, (off_t)d->bytes) == 0))
		return fd;
	err = -errno;
	close(fd);
	return err;
}
