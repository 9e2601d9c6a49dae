/* Reading a whole disk, or looking for zeros in it: in a helper child, while the VM is stopped. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/auth.h"
#include "api/core/disks.h"
#include "lib/disk/disk.h"

#define CHUNK_BYTES (256u << 10)
#define ZERO_BLOCK 4096u
#define PIPE_BYTES (1 << 20)
#define IMAGE_EXPORTS_MAX 8u /* at once: each is a child */

struct disk_job {
	struct helper helper;
	struct core *core;
	struct vm *vm;          /* borrowed: ends this before it is freed; NULL: of an image */
	struct disk_files files; /* owned; base and map -1: raw */
	int out, in;            /* owned: the pipe of an export; -1 */
	uint32_t id, who;       /* of a request that waits for the end; 0 */
	uint64_t before_bytes;  /* that the file took */
};

static void job_free(struct disk_job *j)
{
	helper_cancel(&j->helper);
	fd_close(&j->files.top_fd);
	fd_close(&j->files.base_fd);
	fd_close(&j->files.map_fd);
	fd_close(&j->out);
	fd_close(&j->in);
	if (j->vm)
		j->vm->disk_job = NULL;
	else
		j->core->image_exports--;
	free(j);
}

static int job_files(struct disk_job *j, int flags)
{
	struct vm *vm = j->vm;

	j->files.top_fd = openat(vm->dir_fd, "disk.img", flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	if (j->files.top_fd < 0)
		return -errno;
	j->files.map_fd = openat(vm->dir_fd, "disk.map", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	if (j->files.map_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	j->files.base_fd = vm_base_fd(vm);
	return j->files.base_fd < 0 ? j->files.base_fd : 0;
}

static int job_new(struct vm *vm, int flags, struct disk_job **out)
{
	struct disk_job *j = vm->disk_job ? NULL : calloc(1, sizeof(*j));
	int err;

	if (!j)
		return vm->disk_job ? -EBUSY : -ENOMEM;
	*j = (struct disk_job){ .core = vm->core, .vm = vm, .files = { -1, -1, -1 }, .out = -1, .in = -1 };
	vm->disk_job = j;
	err = job_files(j, flags);
	if (err)
		job_free(j);
	else
		*out = j;
	return err;
}

void disk_job_end(struct vm *vm)
{
	if (!vm->disk_job)
		return;
	if (vm->disk_job->id)
		reply_err(vm->core, vm->disk_job->id, 409, "VM '%s' was started or removed meanwhile", vm->r.name);
	job_free(vm->disk_job);
}

/* ---- export ---- */

static int export_all(struct disk *d, int out)
{
	static char chunk[CHUNK_BYTES];
	int err = 0;

	for (uint64_t at = 0; at < d->bytes && !err;) {
		struct iovec v = { chunk, d->bytes - at < CHUNK_BYTES ? (size_t)(d->bytes - at) : CHUNK_BYTES };
		ssize_t n = disk_readv(d, &v, 1, at);

		err = n < 0 ? (int)n : write_full(out, chunk, (size_t)n);
		at += n < 0 ? 0 : (uint64_t)n;
	}
	return err;
}

static int export_work(void *arg)
{
	struct disk_job *j = arg;
	struct disk d;
	int err;

	fd_close(&j->in); /* so that writing ends when the reader goes */
	err = disk_open(&d, &j->files, NULL, NULL);
	if (err)
		return err;
	err = export_all(&d, j->out);
	disk_done(&d);
	return err;
}

static void exported(struct helper *h, int err)
{
	struct disk_job *j = h->arg;

	if (err && err != -EIO) /* the reader has gone: it knows */
		core_say(j->core, "NOTE", "%s: its disk could not be exported: %s", j->vm ? j->vm->r.name : "an image", strerror(-err));
	job_free(j);
}

/* Ends j when it fails. */
static int export_start(struct disk_job *j, int *out_fd, uint64_t *bytes)
{
	struct stat st;
	int p[2], err = 0;

	if (fstat(j->files.top_fd, &st) || pipe2(p, O_CLOEXEC)) {
		err = -errno;
		job_free(j);
		return err;
	}
	j->in = p[0];
	j->out = p[1];
	(void)fcntl(j->out, F_SETPIPE_SZ, PIPE_BYTES); /* a smaller one does as well */
	j->helper.done = exported;
	j->helper.arg = j;
	err = helper_start(&j->helper, j->core->loop, export_work, j);
	if (err) {
		job_free(j);
		return err;
	}
	*out_fd = j->in;
	*bytes = (uint64_t)st.st_size;
	j->in = -1;
	fd_close(&j->out); /* the child's end is the only one: its end is the end */
	return 0;
}

int disk_export(struct vm *vm, int *out_fd, uint64_t *bytes)
{
	struct disk_job *j;
	int err = job_new(vm, O_RDONLY, &j);

	return err ? err : export_start(j, out_fd, bytes);
}

int disk_export_image(struct core *c, int fd_taken, int *out_fd, uint64_t *bytes)
{
	struct disk_job *j = c->image_exports < IMAGE_EXPORTS_MAX ? calloc(1, sizeof(*j)) : NULL;

	if (!j) {
		fd_close(&fd_taken);
		return c->image_exports < IMAGE_EXPORTS_MAX ? -ENOMEM : -EBUSY;
	}
	*j = (struct disk_job){ .core = c, .files = { fd_taken, -1, -1 }, .out = -1, .in = -1 };
	c->image_exports++;
	return export_start(j, out_fd, bytes);
}

/* ---- zeros ---- */

/* Holes where whole blocks of the chunk are zero. The disk reads the same before and after each call, so it may be cut anywhere. */
static int punch(int fd, const char *chunk, size_t n, off_t at)
{
	static const char zeros[ZERO_BLOCK];
	size_t from = 0;

	for (size_t i = 0; i <= n; i += ZERO_BLOCK) {
		if (i + ZERO_BLOCK <= n && memcmp(chunk + i, zeros, ZERO_BLOCK) == 0)
			continue;
		if (i > from && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at + (off_t)from, (off_t)(i - from)))
			return -errno;
		from = i + ZERO_BLOCK;
	}
	return 0;
}

static int sparsify_extent(int fd, off_t at, off_t end)
{
	static char chunk[CHUNK_BYTES];

	while (at < end) {
		size_t want = end - at < (off_t)CHUNK_BYTES ? (size_t)(end - at) : CHUNK_BYTES;
		ssize_t n = pread_full(fd, chunk, want, (uint64_t)at);
		int err = n <= 0 ? (n ? (int)n : -EIO) : punch(fd, chunk, (size_t)n, at);

		if (err)
			return err;
		at += n;
	}
	return 0;
}

static int sparsify_work(void *arg)
{
	struct disk_job *j = arg;
	int fd = j->files.top_fd;
	off_t at = 0, bytes = lseek(fd, 0, SEEK_END);

	while (at < bytes) { /* each round ends one extent */
		off_t data = lseek(fd, at, SEEK_DATA), end;
		int err;

		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		end = lseek(fd, data, SEEK_HOLE);
		if (end < 0 || end > bytes)
			end = bytes;
		data -= data % (off_t)ZERO_BLOCK;
		err = sparsify_extent(fd, data, end);
		if (err)
			return err;
		at = end;
	}
	return 0;
}

static uint64_t stored(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

static void sparsified(struct helper *h, int err)
{
	struct disk_job *j = h->arg;
	struct core *c = j->vm->core;
	uint64_t now = stored(j->files.top_fd);
	uint32_t id = j->id;
	struct buf *b;

	if (!auth_still(c, id, j->who)) {
		/* it was answered */
	} else if (err) {
		reply_err(c, id, err == -EOPNOTSUPP ? 501 : 500, "VM '%s': %s", j->vm->r.name,
			  err == -EOPNOTSUPP ? "the file system of the state folder has no holes" : strerror(-err));
	} else {
		b = peer_begin_reply(&c->front, WIRE_OK, id);
		wire_u64(b, C_T_STORED_BYTES, now);
		wire_u64(b, C_T_FREED_BYTES, j->before_bytes > now ? j->before_bytes - now : 0);
		peer_send(&c->front, NULL, 0);
	}
	job_free(j);
}

int disk_sparsify(struct vm *vm, uint32_t id, uint32_t who)
{
	struct disk_job *j;
	int err = job_new(vm, O_RDWR, &j);

	if (err)
		return err;
	j->before_bytes = stored(j->files.top_fd);
	j->helper.done = sparsified;
	j->helper.arg = j;
	err = helper_start(&j->helper, vm->core->loop, sparsify_work, j);
	if (err) {
		job_free(j);
		return err;
	}
	j->id = id;
	j->who = who;
	return 0;
}
