/* A VM's files, made and removed in a helper child: its disk (and a builder's second), userdata, record. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/vm.h"
#include "api/core/ssh_keys.h"
#include "lib/disk/disk.h"

#define COPY_CHUNK (1u << 20)
#define NEW_FILE (O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW)
#define COPY_BYTES_MAX (16u << 20) /* of an image's data: less is copied quicker than it is worth to keep a map for */

static int copy_range(int from, int to, off_t at, off_t end)
{
	static char chunk[COPY_CHUNK];

	while (at < end) {
		size_t want = (uint64_t)(end - at) < COPY_CHUNK ? (size_t)(end - at) : COPY_CHUNK;
		ssize_t n = pread_full(from, chunk, want, (uint64_t)at);
		int err;

		if (n <= 0)
			return n < 0 ? (int)n : -EIO; /* the image became shorter */
		err = pwrite_full(to, chunk, (size_t)n, (uint64_t)at);
		if (err)
			return err;
		at += n;
	}
	return 0;
}

/* Data extents only, so that a sparse image makes a sparse disk. */
static int copy_data(int from, int to, off_t bytes)
{
	off_t at = 0;

	while (at < bytes) { /* each round ends one extent */
		off_t data = lseek(from, at, SEEK_DATA), hole;
		int err;

		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0)
			return copy_range(from, to, at, bytes); /* a file system without holes */
		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0 || hole > bytes)
			hole = bytes;
		err = copy_range(from, to, data, hole);
		if (err)
			return err;
		at = hole;
	}
	return 0;
}

static uint64_t blocks_of(int fd)
{
	struct stat st;

	return fd < 0 || fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

int vm_base_fd(const struct vm *vm)
{
	return vm->r.parent[0] ? commits_disk(&vm->core->commits, vm->r.parent) : images_disk(&vm->core->images, vm->r.base);
}

uint64_t vm_disk_copies(struct vm *vm)
{
	AUTO_FD stored = vm->r.base[0] || vm->r.parent[0] ? vm_base_fd(vm) : -1;
	uint64_t built_in = blocks_of(vm->group->image.fd >= 0 ? vm->group->image.fd : CORE_FD_IMAGE), base = blocks_of(stored);

	if (vm->r.target[0])
		return blocks_of(CORE_FD_IMAGE) + (vm->target_min ? blocks_of(CORE_FD_IMAGE) : base);
	return stored < 0 ? built_in : base <= COPY_BYTES_MAX ? base : 0; /* more gets a map */
}

int vm_disk_copy(int from, int to, uint64_t bytes)
{
	int err = ioctl(to, FICLONE, from) == 0 ? 0 : copy_data(from, to, (off_t)bytes);

	return !err && ftruncate(to, (off_t)bytes) ? -errno : err;
}

enum map { NO_MAP, ROOT_MAP, TARGET_MAP };

/* Shares extents where the file system can; a small image is copied, a large one of the store lies under the disk. */
static int fill_disk(struct vm *vm, int from, int to, uint64_t bytes, enum map map)
{
	struct stat st;
	int err;

	if (fstat(from, &st))
		return -errno;
	if ((uint64_t)st.st_size > bytes)
		return -EFBIG;
	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	if (map == NO_MAP || (uint64_t)st.st_blocks * 512 <= COPY_BYTES_MAX)
		return copy_data(from, to, st.st_size);
	AUTO_FD fd = map == TARGET_MAP ? images_map(&vm->core->images, vm->r.target, false, NEW_FILE) : openat(vm->dir_fd, "disk.map", NEW_FILE, 0600);
	err = fd < 0 ? (map == TARGET_MAP ? fd : -errno) : disk_map_create(fd, (uint64_t)st.st_size, NULL);
	if (!err)
		err = disk_map_seal(fd, from, NULL);
	return !err && vm->r.persistent && fdatasync(fd) ? -errno : err;
}

/* fd is closed. from -1: empty. */
static int make_disk(struct vm *vm, int fd, int from, uint64_t bytes, enum map map)
{
	AUTO_FD to = fd;
	int err = to < 0 ? to : from >= 0 ? fill_disk(vm, from, to, bytes, map) : 0;

	if (!err && ftruncate(to, (off_t)bytes))
		err = -errno;
	if (!err && vm->r.persistent && fdatasync(to))
		err = -errno;
	return err;
}

int vm_step_copy(const struct images *s, int map_from, int from, const char *to, uint64_t bytes)
{
	struct stat st;
	AUTO_FD map = images_map(s, to, false, NEW_FILE), disk = images_unfinished(s, to);
	int err = map < 0 ? map : disk < 0 ? disk : fstat(map_from, &st) ? -errno : 0;

	if (!err) /* first: what it says is the top's is there by now */
		err = vm_disk_copy(map_from, map, (uint64_t)st.st_size);
	return err ? err : fsync(map) ? -errno : vm_disk_copy(from, disk, bytes);
}

/* A builder's second disk: empty, the built-in image, or over an image of the store. */
static int make_target(struct vm *vm, int stored)
{
	const struct images *s = &vm->core->images;
	int fd = images_begin(s, vm->r.target);

	if (!vm->target_step[0] || fd < 0)
		return make_disk(vm, fd, vm->target_min ? CORE_FD_IMAGE : stored, vm->r.target_bytes, vm->target_min ? NO_MAP : TARGET_MAP);
	close(fd);
	AUTO_FD from = images_disk(s, vm->target_step);
	AUTO_FD map = images_map(s, vm->target_step, true, O_RDONLY);
	return from < 0 ? from : map < 0 ? map : vm_step_copy(s, map, from, vm->r.target, vm->r.target_bytes);
}

/* Other children use the same open file of a group: only calls that ignore its position (pread; lseek's data and hole) are made. */
static int make_disks(struct vm *vm)
{
	bool builder = vm->r.target[0];
	int from = vm->group->image.fd >= 0 && !builder ? vm->group->image.fd : CORE_FD_IMAGE, fd, err;
	bool over = vm->r.base[0] || vm->r.parent[0];
	AUTO_FD stored = over ? vm_base_fd(vm) : -1;

	if (over && stored < 0)
		return stored;
	fd = openat(vm->dir_fd, "disk.img", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (!builder && stored >= 0)
		return make_disk(vm, fd, stored, vm->r.disk_bytes, ROOT_MAP);
	err = make_disk(vm, fd, from, vm->r.disk_bytes, NO_MAP);
	return !err && builder ? make_target(vm, stored) : err;
}

static int make_userdata(struct vm *vm)
{
	if (!vm->userdata)
		return 0;
	AUTO_FD fd = openat(vm->dir_fd, "userdata", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : write_full(fd, vm->userdata, strlen(vm->userdata));
}

int vm_disk_make(void *arg)
{
	struct vm *vm = arg;
	int err = make_disks(vm);

	if (!err)
		err = make_userdata(vm);
	if (!err)
		err = ssh_keys_write(vm);
	return err ? err : record_save(&vm->r, vm->dir_fd, vm->r.persistent || vm->r.protected_);
}

/* The record goes first: whatever is left without one is removed at the next start. */
int vm_files_remove(int dir_fd)
{
	static const char *const files[] = { "record", ".record.new", "disk.img", "disk.map", "disk1.img", "disk2.img", "disk3.img", "disk4.img", "disk5.img",
		"disk6.img", "userdata", "ssh_keys", "ctl.sock", "console.log", "report", "net.jsonl", "net.jsonl.1", "net.jsonl.2", "net.jsonl.3" };

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (unlinkat(dir_fd, files[i], 0) && errno != ENOENT)
			return -errno;
	return 0;
}

int vm_disk_remove(void *arg)
{
	struct vm *vm = arg;
	int err = vm_files_remove(vm->dir_fd);

	if (err)
		return err;
	if (vm->commit && commits_abandon(&vm->core->commits, vm->commit->id))
		return -EIO;
	if (vm->r.target[0] && images_abandon(&vm->core->images, vm->r.target))
		return -EIO;
	return unlinkat(vm->core->vms_fd, vm->r.name, AT_REMOVEDIR) && errno != ENOENT ? -errno : 0;
}
