/*
 * A stopped VM's disk becomes a commit. The commit gets a file of its own: extents are shared where the file system can, else what the disk holds is copied,
 * an overlay with what lies under it. So at every moment of a crash the source's files are what they were, and a commit is whole or a folder with
 * a dot that goes at the next start; children never have more than one layer below them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/req.h"
#include "lib/disk/disk.h"

static int open_disk(const struct vm *vm, struct disk_files *files)
{
	files->base_fd = files->map_fd = -1;
	files->top_fd = openat(vm->dir_fd, "disk.img", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (files->top_fd < 0)
		return -errno;
	files->map_fd = openat(vm->dir_fd, "disk.map", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (files->map_fd < 0 && errno != ENOENT)
		return -errno;
	if (files->map_fd >= 0)
		files->base_fd = vm_base_fd(vm);
	return files->map_fd >= 0 && files->base_fd < 0 ? files->base_fd : 0;
}

/* Closes the files. */
static int copy_disk(struct disk_files *files, int to_fd)
{
	struct fault f = { "" };
	struct disk d;
	int err;

	if (files->map_fd < 0 && ioctl(to_fd, FICLONE, files->top_fd) == 0) {
		fd_close(&files->top_fd);
		return 0;
	}
	err = disk_open(&d, files, NULL, &f);
	if (err)
		return err;
	err = disk_flatten(&d, to_fd);
	disk_done(&d);
	return err;
}

static int commit_work(void *arg)
{
	struct vm *vm = arg;
	struct commits *s = &vm->core->commits;
	struct disk_files files;
	struct stat st;
	int err = open_disk(vm, &files);
	AUTO_FD to = err ? -1 : commits_begin(s, vm->commit->id);

	if (err || to < 0) {
		fd_close(&files.top_fd);
		fd_close(&files.base_fd);
		fd_close(&files.map_fd);
		return err ? err : to;
	}
	err = copy_disk(&files, to);
	if (!err && (fstat(to, &st) || (uint64_t)st.st_size != vm->commit->bytes))
		err = -EAGAIN; /* it grew meanwhile: the meta file would lie */
	if (!err)
		err = commits_finish(s, vm->commit, to);
	if (err)
		commits_abandon(s, vm->commit->id);
	return err;
}

static void committed(struct helper *h, int err)
{
	struct vm *vm = h->arg;
	struct core *c = vm->core;
	struct commit *k = vm->commit;

	vm->commit = NULL;
	if (!err) {
		commits_add(&c->commits, k);
		req_reached(vm, GOAL_COMMITTED);
	} else {
		commits_abandon(&c->commits, k->id); /* when the child died */
		commit_free(k);
		core_say(c, "NOTE", "%s: its disk could not be committed: %s", vm->r.name, strerror(-err));
		req_refuse(vm, 1u << GOAL_COMMITTED, err == -ENOSPC || err == -EDQUOT ? 507 : 500, "the disk of VM '%s' could not be committed: %s", vm->r.name,
			   strerror(-err));
	}
	vm_commits_go_on(c);
}

/* One with this cache key is being made. */
static bool key_is_busy(const struct core *c, const char *cache_key)
{
	for (const struct vm *vm = c->reg.first; vm && cache_key; vm = vm->next)
		if (vm->commit && vm->helper.loop && vm->commit->cache_key && strcmp(vm->commit->cache_key, cache_key) == 0)
			return true;
	return false;
}

uint64_t vm_disk_mtime_ns(const struct vm *vm)
{
	struct stat st;

	if (fstatat(vm->dir_fd, "disk.img", &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return 0;
	return (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
}

/* The child has a copy of all this: what it is to write must be known before. */
static int describe_source(const struct vm *vm, struct commit *k)
{
	struct fault f = { "" };
	struct stat st;
	int err;

	if (fstatat(vm->dir_fd, "disk.img", &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	k->bytes = (uint64_t)st.st_size;
	k->source_mtime_ns = vm_disk_mtime_ns(vm);
	record_done(&k->source);
	err = record_load(&k->source, vm->dir_fd, &f);
	return err == -ENOENT ? -EINVAL : err;
}

static int begin(struct vm *vm)
{
	if (key_is_busy(vm->core, vm->commit->cache_key))
		return 0;
	vm->helper.done = committed;
	vm->helper.arg = vm;
	return helper_start(&vm->helper, vm->core->loop, commit_work, vm);
}

int vm_commit(struct vm *vm, struct commit *k_taken)
{
	int err = describe_source(vm, k_taken);

	if (err)
		return err;
	vm->commit = k_taken;
	err = begin(vm);
	if (err)
		vm->commit = NULL;
	return err;
}

static void refuse(struct vm *vm, unsigned status, const char *text)
{
	commit_free(vm->commit);
	vm->commit = NULL;
	req_refuse(vm, 1u << GOAL_COMMITTED, status, "%s", text);
}

void vm_commits_go_on(struct core *c)
{
	for (struct vm *vm = c->reg.first; vm; vm = vm->next) {
		int err;

		if (!vm->commit || vm->helper.loop || vm->state != VM_STOPPED)
			continue;
		if (vm->commit->cache_key && commits_with_key(&c->commits, vm->commit->cache_key)) {
			refuse(vm, 409, "that cache key has come to another commit meanwhile: 'mica vm commit list' shows all");
			continue;
		}
		err = begin(vm);
		if (err)
			refuse(vm, 500, strerror(-err));
	}
}
