/*
 * A builder: a VM without network, whose second disk becomes an image. Its client copies an archive in and unpacks it there (rootfs/unpack), or does what
 * else it likes; then C_IMAGE_KEEP shuts it down, and what its second disk holds by then is moved into the store. Builders live in a host group of
 * their own that no list shows (or in the one whose network they were asked to have), and never outlive the daemon: whoever drove one is gone then.
 * Of a builder that is to go on a copy is stored: the steps of a build. A disk that lies over an image (images.h) is copied as what lies over it, so that a step
 * costs what its stage changed, and becomes one file in the end. Never are there more than two layers: of a step that a builder starts from it has a copy.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/auth.h"

/* Its names are taken from the images that had them. */
static void add_image(struct core *c, struct image *im)
{
	for (unsigned i = 0; i < im->n_names; i++) {
		int err = images_name(&c->images, NULL, im->names[i]);

		if (err)
			core_say(c, "NOTE", "image name '%s' stays with an older image too: %s", im->names[i], strerror(-err));
	}
	images_add(&c->images, im);
}

static int keep_work(void *arg)
{
	struct vm *vm = arg;
	int err = vm->r.base[0] ? images_flatten(&vm->core->images, vm->r.target, vm_base_fd(vm)) : 0;

	return err ? err : images_finish(&vm->core->images, vm->keep);
}

static void kept(struct helper *h, int err)
{
	struct vm *vm = h->arg;
	struct image *im = vm->keep;

	if (err) {
		req_refuse(vm, 1u << GOAL_KEPT, err == -ENOSPC || err == -EDQUOT ? 507 : 500, "the image could not be stored: %s", strerror(-err));
	} else {
		vm->keep = NULL;
		im->bytes = vm->r.target_bytes; /* the child's own copy knows */
		add_image(vm->core, im);
		vm->kept = im;
		req_reached(vm, GOAL_KEPT);
	}
	vm->remove = true;
	vm_remove_files(vm);
}

void vm_keep(struct vm *vm)
{
	int err;

	vm->helper.done = kept;
	vm->helper.arg = vm;
	err = helper_start(&vm->helper, vm->core->loop, keep_work, vm);
	if (err)
		kept(&vm->helper, err);
}

/* ---- a copy ---- */

struct copying {
	struct helper helper;
	struct core *core;
	struct image *im; /* owned */
	int from_fd;      /* owned: the builder's second disk, which stays readable whatever becomes of the builder … */
	int map_fd;       /* owned: … and its map; -ENOENT: none */
	uint32_t id, who;
};

static int copy_work(void *arg)
{
	struct copying *k = arg;
	const struct images *s = &k->core->images;
	AUTO_FD to = images_begin(s, k->im->id);
	int err = to < 0 ? to : k->im->base[0] ? vm_step_copy(s, k->map_fd, k->from_fd, k->im->id, k->im->bytes) : vm_disk_copy(k->from_fd, to, k->im->bytes);

	if (!err)
		err = images_finish(s, k->im);
	if (err)
		images_abandon(s, k->im->id);
	return err;
}

static void copied(struct helper *h, int err)
{
	struct copying *k = h->arg;
	struct core *c = k->core;
	bool wanted = auth_still(c, k->id, k->who);
	char gone[IMAGE_ID_BYTES + 2];

	if (!err && k->im->base[0] && !images_find(&c->images, k->im->base)) { /* its builder went, and then the image under it */
		images_add(&c->images, k->im);
		err = images_take_out(&c->images, k->im, gone);
		err = err ? err : images_erase(&c->images, gone);
		k->im = NULL;
		if (wanted)
			reply_err(c, k->id, 409, "the image under this step was removed meanwhile");
	} else if (err) {
		images_abandon(&c->images, k->im->id); /* when the child died */
		if (wanted)
			reply_err(c, k->id, err == -ENOSPC || err == -EDQUOT ? 507 : 500, "the image could not be stored: %s", strerror(-err));
		image_free(k->im);
	} else {
		add_image(c, k->im);
		if (wanted) {
			image_put(peer_begin_reply(&c->front, WIRE_OK, k->id), c, k->im);
			peer_send(&c->front, NULL, 0);
		}
	}
	fd_close(&k->from_fd);
	fd_close(&k->map_fd);
	free(k);
}

int vm_keep_copy(struct vm *vm, struct image *im_taken, uint32_t id, uint32_t who)
{
	struct copying *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	*k = (struct copying){ .core = vm->core, .im = im_taken, .id = id, .who = who };
	im_taken->bytes = vm->r.target_bytes;
	k->from_fd = images_unfinished(&vm->core->images, vm->r.target);
	k->map_fd = images_map(&vm->core->images, vm->r.target, false, O_RDONLY);
	if (k->map_fd >= 0)
		memcpy(im_taken->base, vm->r.base, sizeof(im_taken->base));
	k->helper.done = copied;
	k->helper.arg = k;
	err = k->from_fd < 0 ? k->from_fd : k->map_fd < 0 && k->map_fd != -ENOENT ? k->map_fd : helper_start(&k->helper, vm->core->loop, copy_work, k);
	if (err) {
		fd_close(&k->from_fd);
		fd_close(&k->map_fd);
		free(k);
	}
	return err;
}
