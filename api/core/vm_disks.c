/* A VM's disks besides its root disk: claimed for it, handed to vmm, let go. A raw file that can be written belongs to one VM at a time: other VMs of
 * this daemon are looked through, and a lock on the open file keeps out whoever else asks for one (a second daemon, and VMs that outlived core). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/disks.h"

#define SAY_EVERY_MS 4000u /* ours waits longer itself */

static const struct vm *user_of(const struct vm *self, const struct conf_disk *d)
{
	for (const struct vm *vm = self->core->reg.first; vm; vm = vm->next) {
		if (vm == self || !vm->group || (vm->state != VM_STARTING && !vm_has_process(vm)))
			continue;
		for (unsigned i = 0; i < vm->group->n_disks; i++)
			if (conf_disks_clash(d, &vm->group->disks[i]))
				return vm;
	}
	return NULL;
}

static int lock(const struct conf_disk *d, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(d->file.fd, F_OFD_SETLK, &l) ? -errno : 0;
}

int vm_disks_claim(struct vm *vm, struct fault *f)
{
	const struct host_group *g = vm->group;

	for (unsigned i = 0; i < g->n_disks; i++) {
		const struct conf_disk *d = &g->disks[i];
		const struct vm *other = user_of(vm, d);
		int err = 0;

		if (other)
			return fault_set(f, -EBUSY, "disk '%.200s' is in use by VM '%s', and can be written by one VM only: stop that one first", d->file.path,
					 other->r.name);
		if (d->file.fd >= 0 && !d->read_only)
			err = lock(d, F_WRLCK);
		if (err)
			return fault_set(f, err, "disk '%.200s' is in use by another process: %s", d->file.path, strerror(-err));
		vm->disks_claimed = true;
	}
	return 0;
}

void vm_disks_let_go(struct vm *vm)
{
	for (unsigned i = 0; vm->disks_claimed && vm->group && i < vm->group->n_disks; i++)
		if (vm->group->disks[i].file.fd >= 0 && !vm->group->disks[i].read_only)
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
	int fd, err;

	if (d->file.fd >= 0) {
		fd = fcntl(d->file.fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	snprintf(name, sizeof(name), "disk%u.img", i + 1);
	fd = openat(vm->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && ((uint64_t)st.st_size >= d->bytes || ftruncate(fd, (off_t)d->bytes) == 0))
		return fd;
	err = -errno;
	close(fd);
	return err;
}
