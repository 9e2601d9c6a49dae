/* Whether this host and its group have room for one more VM. A refusal says what is there, what is wanted, and what to do. See vm.h. */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>

#include "api/core/vm.h"

#define BOOT_TOUCHES (128ull << 20) /* what a guest uses of its RAM until it is ready */
#define DISK_SPARE (16ull << 20)    /* records, logs, the first blocks that a guest writes; less on a small file system */
#ifndef BCACHEFS_STATFS_MAGIC
#define BCACHEFS_STATFS_MAGIC 0xca451a4e
#endif
#define MIB(n) ((unsigned long long)((n) >> 20))

static bool starts(const struct vm *vm)
{
	return vm->state == VM_MAKING || vm->state == VM_QUEUED || vm->state == VM_STARTING;
}

static uint64_t touches(uint64_t ram_bytes)
{
	return ram_bytes < BOOT_TOUCHES ? ram_bytes : BOOT_TOUCHES;
}

/* Without a policy a VM's whole RAM must be there now. With one, what all VMs were promised is bounded, and only the start must fit. */
static int admit_promises(const struct core *c, uint64_t ram_bytes, struct fault *f)
{
	uint64_t total = core_ram_total(c), most = total / 100 * c->config.ram_overcommit, promised = 0;

	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (vm->state != VM_STOPPED && vm->state != VM_REMOVING && vm->state != VM_ENDING)
			promised += vm->r.ram_bytes;
	if (!total || (promised <= most && ram_bytes <= most - promised))
		return 0;
	return fault_set(f, -ENOMEM, "this host's VMs have %llu MiB of RAM together, the VM wants %llu MiB, and ram_overcommit allows %llu MiB (%u %% of %llu): stop a VM, "
			 "ask for less RAM, or raise ram_overcommit [E_NO_RAM]", MIB(promised), MIB(ram_bytes), MIB(most), c->config.ram_overcommit, MIB(total));
}

int vm_admit(struct core *c, uint64_t ram_bytes, unsigned *status, struct fault *f)
{
	uint64_t have = core_ram_available(c), soon = 0, now = c->config.ram_overcommit ? touches(ram_bytes) : ram_bytes;
	int err = c->config.ram_overcommit ? admit_promises(c, ram_bytes, f) : 0;

	*status = 503;
	if (err)
		return err;
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		soon += starts(vm) ? touches(vm->r.ram_bytes) : 0;
	if (!have || (now <= have && soon <= have - now))
		return 0;
	return fault_set(f, -ENOMEM, "this host has %llu MiB of free memory%s, the VM wants %llu MiB: stop a VM, or ask for less RAM [E_NO_RAM]", MIB(have),
			 soon ? " (some of it for VMs that start now)" : "", MIB(now));
}

/* Copies cost nothing there. */
static bool shares_extents(const struct statfs *s)
{
	return (uint32_t)s->f_type == BTRFS_SUPER_MAGIC || (uint32_t)s->f_type == XFS_SUPER_MAGIC || (uint32_t)s->f_type == BCACHEFS_STATFS_MAGIC;
}

uint64_t vm_disk_promised(const struct vm *vm)
{
	uint64_t bytes = vm->r.disk_bytes + vm->r.target_bytes;

	for (unsigned i = 0; i < vm_n_disks(vm); i++)
		bytes += vm->group->disks[i].file.fd < 0 ? vm->group->disks[i].bytes : 0;
	return bytes;
}

int vm_admit_promise(const struct core *c, uint64_t more_bytes, unsigned *status, struct fault *f)
{
	uint64_t promised = more_bytes, most;
	struct statfs s;

	if (!more_bytes || !c->config.disk_overcommit || fstatfs(c->vms_fd, &s) || !s.f_blocks)
		return 0;
	most = (uint64_t)s.f_blocks * (uint64_t)s.f_bsize / 100 * c->config.disk_overcommit;
	for (const struct vm *o = c->reg.first; o; o = o->next)
		promised += vm_disk_promised(o);
	if (promised <= most)
		return 0;
	*status = 507;
	return fault_set(f, -ENOSPC, "all disks would promise %llu MiB together, and disk_overcommit allows %llu MiB (%u %% of the state folder's file system): delete VMs, "
			 "ask for less, or raise disk_overcommit [E_DISK_FULL]", MIB(promised), MIB(most), c->config.disk_overcommit);
}

uint64_t vm_disk_in_memory(const struct vm *vm)
{
	struct statfs s;

	if (fstatfs(vm->core->vms_fd, &s) || ((uint32_t)s.f_type != TMPFS_MAGIC && (uint32_t)s.f_type != RAMFS_MAGIC))
		return 0;
	return vm_disk_promised(vm);
}

int vm_admit_disk(struct core *c, struct vm *vm, unsigned *status, struct fault *f)
{
	uint64_t soon = 0, have, spare;
	struct statfs s;

	if (fstatfs(c->vms_fd, &s) || !s.f_bsize || !s.f_blocks)
		return 0; /* nobody can tell: the copy will */
	have = (uint64_t)s.f_bavail * (uint64_t)s.f_bsize;
	spare = (uint64_t)s.f_blocks * (uint64_t)s.f_bsize / 64;
	spare = spare < DISK_SPARE ? spare : DISK_SPARE;
	vm->copy_bytes = shares_extents(&s) ? 0 : vm_disk_copies(vm);
	for (const struct vm *o = c->reg.first; o; o = o->next)
		soon += o->state == VM_MAKING ? o->copy_bytes : 0;
	*status = 507;
	if (vm->copy_bytes + soon + spare > have)
		return fault_set(f, -ENOSPC, "the state folder's file system has %llu MiB free%s, the VM's disk begins with a copy of %llu MiB: free some, or delete VMs [E_DISK_FULL]", MIB(have),
				 soon ? " (some of it for VMs that are being made)" : "", MIB(vm->copy_bytes));
	return vm_admit_promise(c, vm_disk_promised(vm), status, f);
}

struct quota vm_quota_used(const struct core *c, const char *group, const char *token)
{
	struct quota used = { { 0 } };

	for (const struct vm *vm = c->reg.first; vm; vm = vm->next) {
		if (vm->state == VM_REMOVING || (group && strcmp(vm->r.group, group) != 0) || (token && strcmp(vm->r.token, token) != 0))
			continue;
		used.v[Q_VMS]++;
		used.v[Q_VCPUS] += vm->r.vcpus;
		used.v[Q_RAM] += vm->r.ram_bytes;
		used.v[Q_DISK] += vm_disk_promised(vm);
	}
	return used;
}

/* more: of a VM of this group and token. */
static int admit_more(struct core *c, const struct vm *vm, const struct quota *more, unsigned *status, struct fault *f)
{
	const struct token *t = vm->r.token[0] ? tokens_find(&c->tokens, vm->r.token) : NULL;
	struct quota used;
	char whose[100];
	int err = 0;

	*status = 409;
	if (vm->group && quota_given(&vm->group->quota)) {
		used = vm_quota_used(c, vm->r.group, NULL);
		snprintf(whose, sizeof(whose), "host group '%s'", vm->r.group);
		err = quota_check(&vm->group->quota, &used, more, whose, "raise it in the host group", f);
	}
	if (err || !t || !quota_given(&t->quota))
		return err;
	used = vm_quota_used(c, NULL, t->name);
	snprintf(whose, sizeof(whose), "token '%s'", t->name);
	return quota_check(&t->quota, &used, more, whose, "ask for a token with more ('mica token create')", f);
}

int vm_admit_quotas(struct core *c, const struct vm *vm, unsigned *status, struct fault *f)
{
	return admit_more(c, vm, &(struct quota){ { 1, vm->r.vcpus, vm->r.ram_bytes, vm_disk_promised(vm) } }, status, f);
}

int vm_admit_grow(const struct vm *vm, uint64_t more_bytes, unsigned *status, struct fault *f)
{
	return admit_more(vm->core, vm, &(struct quota){ { 0, 0, 0, more_bytes } }, status, f);
}
