/* A new VM: name, address, memory; its disk and record are written by a helper child (vm_disk.c). And the opposite. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/disks.h"
#include "api/core/policy.h"
#include "api/core/req.h"
#include "api/core/ssh_keys.h"

#define NAME_TRIES 10000u          /* folders of VMs nobody knows may be in the way */

static void made(struct helper *h, int err)
{
	struct vm *vm = h->arg;
	struct core *c = vm->core;
	bool full = err == -ENOSPC || err == -EDQUOT;
	char text[300];

	free(vm->userdata);
	free(vm->ssh_keys);
	vm->userdata = vm->ssh_keys = NULL;
	if (!err) {
		req_reached(vm, GOAL_MADE);
		vm_queue(vm);
		return;
	}
	core_say(c, "NOTE", "%s: its disk could not be made: %s", vm->r.name, strerror(-err));
	snprintf(text, sizeof(text), "the disk of VM '%s' could not be made: %s%s", vm->r.name, strerror(-err),
		 full ? " in the state folder: free some, or delete VMs [E_DISK_FULL]" : "");
	req_refuse_late(vm, ~0u, full ? 507 : 500, text);
	vm->undo = true;
	vm_remove_files(vm);
}

static void removed(struct helper *h, int err)
{
	struct vm *vm = h->arg;
	struct core *c = vm->core;

	if (err) {
		core_say(c, "NOTE", "%s: its files could not be removed: %s", vm->r.name, strerror(-err));
		vm->state = VM_STOPPED;
		vm->remove = false;
		publish_restore(vm);
		commit_free(vm->commit);
		vm->commit = NULL;
		req_refuse(vm, ~0u, 500, "the files of VM '%s' could not be removed: %s", vm->r.name, strerror(-err));
	} else {
		req_reached(vm, GOAL_STOPPED);
		req_reached(vm, GOAL_REMOVED);
		req_refuse(vm, ~0u, 404, "VM '%s' was deleted meanwhile", vm->r.name);
		registry_bury(&c->reg, vm);
		vm_commits_go_on(c);
		ev_timer_set(c->loop, &c->sweep_timer, 0);
	}
	core_moved(c);
}

void vm_remove_files(struct vm *vm)
{
	int err;

	publish_drop(vm);
	helper_cancel(&vm->helper);
	vm->state = VM_REMOVING;
	vm->helper.done = removed;
	vm->helper.arg = vm;
	err = helper_start(&vm->helper, vm->core->loop, vm_disk_remove, vm);
	if (err) /* no child to be had: it may block, but it is done */
		removed(&vm->helper, vm_disk_remove(vm));
}

static bool addr_taken(void *arg, uint32_t a)
{
	return registry_addr_taken(arg, a);
}

static int pick_address(struct core *c, const struct vm_wish *w, struct record *r, unsigned *status, struct fault *f)
{
	const struct host_group *g = w->group;
	struct cidr got = { .bits = addr_pool_bits(&g->pool) };

	if (g->net_mode == NET_NONE || !c->net_up[g - c->config.groups]) {
		*status = 400;
		return w->addr ? fault_set(f, -EINVAL, "host group '%s' has no network, so 'ip' cannot be given", g->name) : 0;
	}
	if (group_dhcp(g)) {
		*status = 400;
		snprintf(r->ip, sizeof(r->ip), "%s", ADDR_BY_DHCP);
		return w->addr ? fault_set(f, -EINVAL, "host group '%s' gets addresses by DHCP, so 'ip' cannot be given: network.gateway makes a pool", g->name) : 0;
	}
	if (w->addr) {
		*status = 400;
		got.addr = w->addr;
		if (!addr_pool_holds(&g->pool, w->addr))
			return fault_set(f, -EINVAL, "'ip' is no free address of host group '%s' [E_ADDR_TAKEN]", g->name);
		*status = 409;
		if (registry_addr_taken(&c->reg, w->addr))
			return fault_set(f, -EEXIST, "'ip' is in use by another VM [E_ADDR_TAKEN]");
	} else if (addr_pool_next(&g->pool, addr_taken, &c->reg, &got.addr)) {
		*status = 503;
		return fault_set(f, -ENOSPC, "host group '%s' has no free address left: delete a VM [E_ADDR_NONE]", g->name);
	}
	cidr_format(got, r->ip);
	return 0;
}

/* Makes the folder, and by that the name. */
static int pick_name(struct core *c, struct vm *vm, bool up, struct fault *f)
{
	unsigned n;
	int err = registry_next_number(&c->reg, vm->r.group, up, &n);

	for (unsigned i = 0; !err && i < NAME_TRIES; i++, n++) {
		snprintf(vm->r.name, sizeof(vm->r.name), "%.*s-%u", (int)GROUP_NAME_MAX, vm->r.group, n);
		if (vm->group->net_mode == NET_ISOLATED && strlen(vm->r.name) > ISO_NAME_MAX)
			return fault_set(f, -ENAMETOOLONG, "'%s' is longer than the %u characters of an isolated VM's name: delete the group's VMs, or give it a "
					 "shorter name", vm->r.name, ISO_NAME_MAX);
		if (mkdirat(c->vms_fd, vm->r.name, 0700) == 0) {
			vm->dir_fd = openat(c->vms_fd, vm->r.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
			if (vm->dir_fd >= 0)
				return 0;
			err = -errno;
			unlinkat(c->vms_fd, vm->r.name, AT_REMOVEDIR);
		} else if (errno != EEXIST) {
			err = -errno;
		}
	}
	return fault_set(f, err ? err : -EEXIST, "the folder of a new VM could not be made in the state folder: %s%s",
			 strerror(err ? -err : EEXIST), err == -ENOSPC || err == -EDQUOT ? " [E_DISK_FULL]" : err == -EROFS ? " [E_STATE_READONLY]" : "");
}

/* The stored image it is made from; NULL in *out: none. */
static int find_image(const struct core *c, const struct vm_wish *w, const struct image **out, unsigned *status, struct fault *f)
{
	const struct host_group *g = w->group;

	bool own = !w->from && !w->target_bytes; /* a builder's root disk is the built-in image, whatever its group has */

	*out = w->from ? NULL : w->image ? w->image : g->image.stored && own ? images_find(&c->images, g->image.path) : NULL;
	*status = 409;
	if (!*out && g->image.stored && own)
		return fault_set(f, -ENOENT, "host group '%s' wants image '%s', which is not there: import it ('mica image import --name %s FILE') [E_IMAGE_MISSING]", g->name,
				 g->image.path, g->image.path);
	if (*out && (*out)->base[0] && !w->target_bytes)
		return fault_set(f, -EINVAL, "image '%s' is a step that a build keeps: build it with -t, and make VMs of that", (*out)->id);
	if (*out && (*out)->base[0] && !images_find(&c->images, (*out)->base))
		return fault_set(f, -ENOENT, "the image under '%s' is not there: remove it, and build it again", (*out)->id);
	if (*out && (*out)->bytes > (w->target_bytes ? w->target_bytes : g->disk_bytes))
		return fault_set(f, -EFBIG, "the image has %llu bytes, the disks of host group '%s' only %llu: give it a larger storage_size [E_IMAGE_LARGE]",
				 (unsigned long long)(*out)->bytes, g->name, (unsigned long long)g->disk_bytes);
	return 0;
}

/* The file's and its maker's; a builder is nobody's to log in to. */
static int fill_ssh_keys(struct vm *vm, const struct vm_wish *w)
{
	const char *all[] = { vm->core->config.ssh_keys, w->ssh_keys };
	struct buf b;

	if (w->target_bytes || (!all[0] && !all[1]))
		return 0;
	buf_init(&b, SSH_KEYS_BYTES_MAX);
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i])
			buf_adds(&b, all[i]);
	vm->ssh_keys = buf_cstr(&b) ? strdup(buf_cstr(&b)) : NULL;
	buf_done(&b);
	return vm->ssh_keys ? 0 : -ENOMEM;
}

static int fill(struct vm *vm, const struct vm_wish *w, const struct image *im)
{
	const struct host_group *g = w->group;
	const char *userdata = w->from || w->target_bytes ? NULL : w->userdata ? w->userdata : g->userdata;
	struct record *r = &vm->r;
	int err = 0;

	vm->group = g;
	snprintf(r->group, sizeof(r->group), "%s", g->name);
	r->ram_bytes = w->ram_bytes ? w->ram_bytes : g->ram_bytes;
	r->vcpus = w->vcpus ? w->vcpus : g->vcpus;
	r->disk_bytes = w->disk_bytes ? w->disk_bytes : g->disk_bytes;
	r->target_bytes = w->target_bytes;
	vm->target_min = w->target_min;
	if (w->target_bytes)
		err = image_id_new(r->target);
	r->created_ns = now_real_ns();
	r->persistent = w->persistent;
	r->net_bytes_s = w->net_bytes_s ? w->net_bytes_s : g->net_bytes_s;
	r->net_packets_s = w->net_packets_s ? w->net_packets_s : g->net_packets_s;
	r->protected_ = w->protected_;
	if (w->token)
		snprintf(r->token, sizeof(r->token), "%s", w->token);
	snprintf(r->image, sizeof(r->image), "%s", w->target_bytes ? "min" : g->image.path);
	if (im && !w->target_bytes)
		snprintf(r->image, sizeof(r->image), "%s", im->n_names ? im->names[0] : im->id);
	if (im) /* a builder that starts from a step has a copy of what that changed, over the same image */
		snprintf(r->base, sizeof(r->base), "%s", im->base[0] ? im->base : im->id);
	if (im && im->base[0])
		snprintf(vm->target_step, sizeof(vm->target_step), "%s", im->id);
	if (w->from && !err)
		err = vm_fork_fill(vm, w);
	for (unsigned i = 0; i < w->n_tags && !err; i++)
		err = record_add_tag(r, w->tags[i]);
	if (w->secrets && !err) {
		r->secrets = strdup(w->secrets);
		err = r->secrets ? 0 : -ENOMEM;
	}
	if (w->allow && !err) {
		r->allow = strdup(w->allow);
		err = r->allow ? 0 : -ENOMEM;
	}
	if (w->drop && !err) {
		r->drop = strdup(w->drop);
		err = r->drop ? 0 : -ENOMEM;
	}
	if (w->publish && !err) {
		r->publish = strdup(w->publish);
		err = r->publish ? 0 : -ENOMEM;
	}
	if (!err)
		err = fill_ssh_keys(vm, w);
	if (!err)
		policy_load(vm);
	if (userdata && userdata[0]) {
		r->userdata = true;
		vm->userdata = strdup(userdata);
		err = vm->userdata ? err : -ENOMEM;
	}
	return err;
}

static int begin(struct core *c, struct vm *vm, const struct vm_wish *w, unsigned *status, struct fault *f)
{
	const struct image *im;
	int slot = registry_slot(&c->reg), err = find_image(c, w, &im, status, f);

	if (err)
		return err;
	*status = 500;
	err = fill(vm, w, im);
	if (err)
		return fault_errno(f, err, "the VM cannot be described");
	if (slot < 0 || c->reg.count >= VM_COUNT_MAX) {
		*status = 503;
		return fault_set(f, -ENOSPC, "this daemon has %u VMs already: delete some [E_VM_COUNT]", c->reg.count);
	}
	vm->r.slot = (unsigned)slot;
	*status = 409;
	err = w->protected_ ? 0 : vm_disks_free(vm, f); /* one of the file's count is there, even if it cannot start */
	if (!err)
		err = vm_admit_quotas(c, vm, status, f);
	if (!err)
		err = vm_admit(c, vm->r.ram_bytes, status, f);
	if (!err)
		err = vm_admit_disk(c, vm, status, f);
	if (!err)
		err = pick_address(c, w, &vm->r, status, f);
	if (err)
		return err;
	*status = 500;
	err = pick_name(c, vm, !w->protected_, f);
	if (err) {
		*status = err == -ENAMETOOLONG ? 409 : err == -ENOSPC || err == -EDQUOT ? 507 : 500;
		return err;
	}
	mac_of_name(vm->r.name, vm->r.mac);
	return publish_claim(vm, status, f);
}

int vm_create(struct core *c, const struct vm_wish *w, struct vm **out, unsigned *status, struct fault *f)
{
	struct vm *vm = vm_alloc(c);
	int err;

	*status = 500;
	if (!vm)
		return fault_errno(f, -ENOMEM, "a new VM");
	err = begin(c, vm, w, status, f);
	if (!err) {
		err = registry_add(&c->reg, vm);
		if (err)
			fault_errno(f, err, "the VM cannot be registered");
	}
	if (err) {
		if (vm->dir_fd >= 0)
			unlinkat(c->vms_fd, vm->r.name, AT_REMOVEDIR);
		vm_free(vm);
		return err;
	}
	vm->state = VM_MAKING;
	vm->never_booted = true;
	vm->helper.done = made;
	vm->helper.arg = vm;
	err = helper_start(&vm->helper, c->loop, vm_disk_make, vm);
	if (err) {
		vm_remove_files(vm);
		return fault_errno(f, err, "no helper process for the VM's disk");
	}
	*out = vm;
	return 0;
}
