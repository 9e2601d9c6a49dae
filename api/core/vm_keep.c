/*
 * A builder: a VM without network, whose second disk becomes an image. Its client copies an archive in and unpacks it there (rootfs/unpack), or does what
 * else it likes; then C_IMAGE_KEEP shuts it down, and what its second disk holds by then is moved into the store. Builders live in a host group of
 * their own that no list shows, and never outlive the daemon: whoever drove one is gone then.
 */
#include <errno.h>
#include <string.h>

#include "api/core/req.h"

static int keep_work(void *arg)
{
	struct vm *vm = arg;

	return images_finish(&vm->core->images, vm->keep);
}

static void kept(struct helper *h, int err)
{
	struct vm *vm = h->arg;
	struct images *s = &vm->core->images;
	struct image *im = vm->keep;

	if (err) {
		req_refuse(vm, 1u << GOAL_KEPT, err == -ENOSPC || err == -EDQUOT ? 507 : 500, "the image could not be stored: %s", strerror(-err));
	} else {
		vm->keep = NULL;
		im->bytes = vm->r.target_bytes; /* the child's own copy knows */
		for (unsigned i = 0; i < im->n_names; i++) {
			err = images_name(s, NULL, im->names[i]); /* taken from the image that had it */
			if (err)
				core_say(vm->core, "NOTE", "image name '%s' stays with an older image too: %s", im->names[i], strerror(-err));
		}
		images_add(s, im);
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
