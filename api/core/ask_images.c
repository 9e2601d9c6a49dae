/* Requests about images, and for VMs that make them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/auth.h"
#include "api/core/disks.h"
#include "api/core/groups.h"
#include "api/core/timers.h"

#define BUILDER_RAM_BYTES (512ull << 20)
#define BUILDER_SCRATCH_BYTES (8ull << 30)   /* sparse: room for the archive */
#define BUILDER_SCRATCH_MIN_BYTES (64ull << 20)
#define TARGET_MIN_BYTES (16ull << 20)       /* the empty file system that it starts from */

static unsigned users_of(const struct core *c, const struct image *im)
{
	unsigned n = 0;

	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		n += !vm->r.parent[0] && strcmp(vm->r.base, im->id) == 0; /* a fork lies over its commit */
	return n;
}

void image_put(struct buf *b, const struct core *c, const struct image *im)
{
	wire_str(b, C_T_IMAGE, im->id);
	for (unsigned i = 0; i < im->n_names; i++)
		wire_str(b, C_T_NAME, im->names[i]);
	wire_u64(b, C_T_SIZE, im->bytes);
	wire_u64(b, C_T_STORED_BYTES, images_stored(&c->images, im->id));
	wire_u64(b, C_T_CREATED_NS, im->created_ns);
	wire_u64(b, C_T_USERS, users_of(c, im));
}

void ask_image_list(struct ask *a)
{
	struct core *c = a->core;

	for (const struct image *im = c->images.first; im; im = im->next) {
		image_put(peer_begin_reply(&c->front, C_ITEM, a->id), c, im);
		peer_send(&c->front, NULL, 0);
	}
	reply_ok(c, a->id, NULL);
}

/* The image that NAME names; NULL: answered. */
static struct image *take_image(struct ask *a, char name[IMAGE_NAME_MAX + 1])
{
	struct image *im = wire_get_str(a->m, C_T_NAME, name, IMAGE_NAME_MAX + 1) ? NULL : images_find(&a->core->images, name);

	if (!im)
		reply_err(a->core, a->id, 404, "no image of that name: 'mica image list' shows all");
	return im;
}

static void reply_image(struct ask *a, const struct image *im)
{
	struct buf *b = peer_begin_reply(&a->core->front, WIRE_OK, a->id);

	image_put(b, a->core, im);
	wire_str(b, C_T_TEXT, im->report);
	peer_send(&a->core->front, NULL, 0);
}

void ask_image_get(struct ask *a)
{
	char name[IMAGE_NAME_MAX + 1];
	const struct image *im = take_image(a, name);

	if (im)
		reply_image(a, im);
}

void ask_image_export(struct ask *a)
{
	char name[IMAGE_NAME_MAX + 1];
	const struct image *im = take_image(a, name);
	uint64_t bytes;
	int fd, err;

	if (!im)
		return;
	if (im->base[0]) {
		reply_err(a->core, a->id, 409, "image '%s' is a step that a build keeps: build it with -t, and export that", im->id);
		return;
	}
	fd = images_disk(&a->core->images, im->id);
	err = fd < 0 ? fd : disk_export_image(a->core, fd, &fd, &bytes);
	if (err) {
		reply_err(a->core, a->id, err == -EBUSY ? 503 : 500, "the image cannot be read: %s", err == -EBUSY ? "others are being exported; try again later" : strerror(-err));
		return;
	}
	wire_u64(peer_begin_reply(&a->core->front, WIRE_OK, a->id), C_T_SIZE, bytes);
	peer_send(&a->core->front, &fd, 1);
	close(fd);
}

void ask_image_name(struct ask *a)
{
	char name[IMAGE_NAME_MAX + 1], add[IMAGE_NAME_MAX + 1], whole[IMAGE_NAME_MAX + 1];
	struct image *im = take_image(a, name);
	int err;

	if (!im)
		return;
	if (wire_get_str(a->m, C_T_ADD, add, sizeof(add)) || !image_name_complete(add, whole)) {
		reply_err(a->core, a->id, 400, "an image's name is 1 to %u letters, digits and '._/:@-', as web:1", IMAGE_NAME_MAX);
		return;
	}
	err = images_name(&a->core->images, im, whole);
	if (err)
		reply_err(a->core, a->id, 507, "the name cannot be kept: %s", err == -ENOSPC ? "an image has at most 16" : strerror(-err));
	else
		reply_image(a, im);
}

/* ---- delete ---- */

struct erasing {
	struct helper helper;
	struct core *core;
	char gone[IMAGE_ID_BYTES + 2];
};

static int erase_work(void *arg)
{
	struct erasing *e = arg;

	return images_erase(&e->core->images, e->gone);
}

static void erased(struct helper *h, int err)
{
	struct erasing *e = h->arg;

	if (err)
		core_say(e->core, "NOTE", "images/%s could not be removed: %s; it goes at the next start", e->gone, strerror(-err));
	free(e);
}

/* A VM's disk may lie over it, or a build's step does. true: answered. */
static bool is_used(struct ask *a, const struct image *im)
{
	for (const struct image *step = a->core->images.first; step; step = step->next)
		if (strcmp(step->base, im->id) == 0) {
			reply_err(a->core, a->id, 409, "step '%s' of a build lies over this image: 'mica image prune' removes such steps", step->id);
			return true;
		}
	for (const struct vm *vm = a->core->reg.first; vm; vm = vm->next)
		if (!vm->r.parent[0] && strcmp(vm->r.base, im->id) == 0) {
			reply_err(a->core, a->id, 409, "VM '%s' was made from this image and its disk may lie over it: delete the VM first", vm->r.name);
			return true;
		}
	return false;
}

/* A host group names it, by any name (NULL) or that one. true: answered. */
static bool is_named(struct ask *a, const struct image *im, const char *name)
{
	const struct config *c = &a->core->config;
	char whole[IMAGE_NAME_MAX + 1];

	for (size_t i = 0; i < c->n_groups; i++) {
		const struct conf_file *image = &c->groups[i].image;

		if (!image->stored || images_find(&a->core->images, image->path) != im ||
		    (name && image_name_complete(image->path, whole) && strcmp(whole, name) != 0))
			continue;
		reply_err(a->core, a->id, 409, "host group '%s' makes its VMs from image '%s': give the group another one first", c->groups[i].name, image->path);
		return true;
	}
	return false;
}

static void remove_image(struct ask *a, struct image *im)
{
	struct core *c = a->core;
	struct erasing *e = calloc(1, sizeof(*e));
	int err = e ? images_take_out(&c->images, im, e->gone) : -ENOMEM;

	if (err) {
		free(e);
		reply_err(c, a->id, 500, "the image cannot be removed: %s", strerror(-err));
		return;
	}
	e->core = c;
	e->helper.done = erased;
	e->helper.arg = e;
	err = helper_start(&e->helper, c->loop, erase_work, e);
	if (err)
		erased(&e->helper, images_erase(&c->images, e->gone));
	reply_ok(c, a->id, "the image was removed");
}

void ask_image_delete(struct ask *a)
{
	char name[IMAGE_NAME_MAX + 1], whole[IMAGE_NAME_MAX + 1];
	struct image *im = take_image(a, name);
	int err;

	if (!im)
		return;
	if (im->n_names < 2 || !image_name_complete(name, whole)) {
		if (!is_used(a, im) && !is_named(a, im, NULL))
			remove_image(a, im);
		return;
	}
	if (is_named(a, im, whole))
		return;
	err = images_name(&a->core->images, NULL, whole);
	if (err)
		reply_err(a->core, a->id, 500, "the name cannot be removed: %s", strerror(-err));
	else
		reply_ok(a->core, a->id, "the name was removed, the image has others");
}

/* ---- builders ---- */

void builder_group(struct host_group *g)
{
	*g = (struct host_group){ .name = "mica-builder", .vcpus = VCPUS_MAX, .ram_bytes = UINT64_MAX, .disk_bytes = BUILDER_SCRATCH_BYTES, .storage = "image",
				  .net_mode = NET_NONE, .image = { .path = "min", .fd = -1 }, .kernel = { .path = "built in", .fd = -1 }, .initrd = { .fd = -1 } };
}

/* What it may have of the host; 0 and *status, or a refusal. */
static int take_wish(const struct ask *a, struct vm_wish *w, struct fault *f)
{
	char name[IMAGE_NAME_MAX + 1];
	struct stat st = { 0 };
	uint64_t v = 0;
	int err = wire_get_str(a->m, C_T_NAME, name, sizeof(name));

	w->ram_bytes = BUILDER_RAM_BYTES;
	w->vcpus = 1;
	if (wire_get_u64(a->m, C_T_RAM_BYTES, &v) && v) {
		if (v < RAM_MIN_BYTES || v % 4096)
			return fault_set(f, -EINVAL, "'ram_bytes' must be at least %llu and a multiple of 4096", RAM_MIN_BYTES);
		w->ram_bytes = v;
	}
	if (wire_get_u64(a->m, C_T_CPUS, &v) && v) {
		if (v > VCPUS_MAX)
			return fault_set(f, -EINVAL, "'cpus' must be 1 to %u", VCPUS_MAX);
		w->vcpus = (unsigned)v;
	}
	if (wire_get_u64(a->m, C_T_SCRATCH_BYTES, &v) && v) {
		if (v < BUILDER_SCRATCH_MIN_BYTES || v > DISK_MAX_BYTES || v % 4096)
			return fault_set(f, -EINVAL, "'scratch_bytes' must be 64M to 16T, a multiple of 4096 bytes");
		w->disk_bytes = v;
	}
	if (!wire_get_u64(a->m, C_T_SIZE, &w->target_bytes) || w->target_bytes < TARGET_MIN_BYTES || w->target_bytes > DISK_MAX_BYTES || w->target_bytes % 4096)
		return fault_set(f, -EINVAL, "'size' must be 16M to 16T, a multiple of 4096 bytes");
	if (err == -ENOENT)
		return 0;
	w->target_min = !err && strcmp(name, "min") == 0;
	if (w->target_min)
		return fstat(CORE_FD_IMAGE, &st) == 0 && (uint64_t)st.st_size <= w->target_bytes ? 0 :
			fault_set(f, -EINVAL, "'size' is less than the %llu bytes of the built-in image", (unsigned long long)st.st_size);
	w->image = err ? NULL : images_find(&a->core->images, name);
	if (!w->image)
		return fault_set(f, -ENOENT, "'from' names no image: 'mica image list' shows all");
	if (w->image->bytes > w->target_bytes)
		return fault_set(f, -EINVAL, "'size' is less than the %llu bytes of the image it starts from", (unsigned long long)w->image->bytes);
	return 0;
}

void ask_builder(struct ask *a)
{
	struct vm_wish w = { .group = &a->core->builder, .secrets = "" };
	char group[GROUP_NAME_MAX + 1];
	struct fault f = { "" };
	uint64_t timeout_ms = CREATE_WAIT_MS;
	unsigned status = 400;
	struct vm *vm;
	int err;

	err = wire_get_str(a->m, C_T_GROUP, group, sizeof(group));
	if (err != -ENOENT)
		w.group = err ? NULL : groups_find(a->core, group);
	if (!w.group) {
		reply_err(a->core, a->id, 404, "'network' names no host group: 'mica group list' shows all");
		return;
	}
	if (auth_bars_group(a, w.group->name))
		return;
	wire_get_u64(a->m, C_T_TIMEOUT_MS, &timeout_ms);
	err = take_wish(a, &w, &f);
	if (err) {
		reply_err(a->core, a->id, err == -ENOENT ? 404 : 400, "%s", f.text);
	} else if (vm_create(a->core, &w, &vm, &status, &f)) {
		reply_err(a->core, a->id, status, "%s", f.text);
	} else if (req_add(vm, a->id, a->who, GOAL_READY, true, timeout_ms)) {
		reply_err(a->core, a->id, 500, "out of memory");
		vm_remove(vm);
	}
}

/* ---- keep ---- */

static int take_names(const struct ask *a, struct image *im, struct fault *f)
{
	struct wire_iter it;
	struct wire_field fd;

	wire_iter_init(&it, a->m->p, a->m->n);
	while (wire_next(&it, &fd)) { /* as many as the frame holds */
		char *name, whole[IMAGE_NAME_MAX + 1];
		bool good;

		if (fd.tag != C_T_NAME)
			continue;
		name = wire_field_dup(&fd);
		good = name && image_name_complete(name, whole);
		free(name);
		if (!good)
			return fault_set(f, -EINVAL, "an image's name is 1 to %u letters, digits and '._/:@-', as web:1", IMAGE_NAME_MAX);
		if (im->n_names == IMAGE_NAMES_MAX)
			return fault_set(f, -EINVAL, "an image has at most %u names", IMAGE_NAMES_MAX);
		im->names[im->n_names] = strdup(whole);
		if (!im->names[im->n_names])
			return fault_errno(f, -ENOMEM, "names");
		im->n_names++;
	}
	return 0;
}

static int take_report(const struct ask *a, struct image *im, struct fault *f)
{
	struct wire_field fd;

	if (!wire_get(a->m, C_T_TEXT, &fd))
		im->report = strdup("");
	else if (!image_report_is_valid((const char *)fd.p, fd.n))
		return fault_set(f, -EINVAL, "'report' must be one line of text, at most %u bytes", IMAGE_REPORT_MAX);
	else
		im->report = wire_field_dup(&fd);
	return im->report ? 0 : fault_errno(f, -ENOMEM, "report");
}

void ask_image_keep(struct ask *a)
{
	struct fault f = { "" };
	struct image *im;
	uint64_t go_on = 0;
	int err;

	wire_get_u64(a->m, C_T_GO_ON, &go_on);
	if (!a->vm->r.target[0] || a->vm->keep || (a->vm->state != VM_RUNNING && a->vm->state != VM_PAUSED)) {
		reply_err(a->core, a->id, 409, "VM '%s' is no builder that runs: only their disks become images", a->name);
		return;
	}
	if (a->core->images.count >= IMAGES_MAX) {
		reply_err(a->core, a->id, 507, "there are %u images already: remove some", IMAGES_MAX);
		return;
	}
	im = image_new();
	if (im && !go_on)
		memcpy(im->id, a->vm->r.target, sizeof(im->id));
	err = im ? take_names(a, im, &f) : fault_errno(&f, -ENOMEM, "an image");
	if (!err)
		err = take_report(a, im, &f);
	if (!err && go_on) {
		err = vm_keep_copy(a->vm, im, a->id, a->who);
		if (!err)
			return;
		fault_errno(&f, err, "no helper process for the image");
		err = -EIO;
	}
	if (err || req_add(a->vm, a->id, a->who, GOAL_KEPT, false, 0)) {
		image_free(im);
		reply_err(a->core, a->id, err == -EINVAL ? 400 : 500, "%s", f.text[0] ? f.text : "out of memory");
		return;
	}
	a->vm->keep = im;
	vm_stop(a->vm, "shutdown");
}
