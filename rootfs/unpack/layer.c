/* One layer onto the target (OCI image-spec layer.md). Every path is resolved as if the target were the root, so a link of an earlier layer leads
 * where it would lead in the running image, and never out. */
#include "rootfs/unpack/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/base/buf.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
enum { HOLE = 65536, FOLDER_TIMES_MAX = 32 << 20 };

struct unpacking {
	int root_fd;
	const struct placing *how; /* NULL: a layer */
	bool kept;                 /* the entry is a folder that was there and stays as it is */
	struct tar_reader r;
	struct applied *count;
	int dir_fd;              /* owned: folder of the last entry, dir_name */
	char dir_name[TAR_NAME_MAX];
	char base[256];          /* of the entry that is made */
	struct tar_entry e;
	int fd;                  /* owned: of the file that is written; -1 */
	uint64_t at, end;        /* bytes of it that came; where the last that was written ends */
	struct {
		char *name, *value;  /* owned */
		size_t n;
	} xattr[XATTRS_MAX];
	unsigned n_xattrs;
	struct buf folders;      /* struct folder_time and a name with its NUL, each: set when nothing comes into them any more */
};

struct folder_time {
	int64_t s;
	int64_t ns;
};

/* The folder, made with its parents where they are missing. fd or -errno. */
static int folder(int root_fd, const char *path)
{
	char part[TAR_NAME_MAX];
	int fd = open_in_root(root_fd, *path ? path : ".", O_PATH | O_DIRECTORY, 0);

	if (fd != -ENOENT)
		return fd;
	for (size_t n = 0; path[n];) {
		int err;

		n += strcspn(path + n, "/");
		memcpy(part, path, n);
		part[n] = '\0';
		n += path[n] == '/';
		fd = open_in_root(root_fd, part, O_PATH | O_DIRECTORY, 0);
		err = fd == -ENOENT ? make_in_root(root_fd, part, 0755) : fd; /* -EEXIST: a link that leads nowhere */
		if (fd >= 0)
			close(fd);
		else if (err)
			return err;
	}
	return open_in_root(root_fd, path, O_PATH | O_DIRECTORY, 0);
}

/* Splits a clean name; u->dir_fd becomes its folder, u->base its last part. */
static int enter(struct unpacking *u, const char *name, struct fault *f)
{
	const char *slash = strrchr(name, '/');
	size_t n = slash ? (size_t)(slash - name) : 0;

	if (strlen(slash ? slash + 1 : name) >= sizeof(u->base))
		return fault_set(f, -ENAMETOOLONG, "'%.200s': a name longer than 255 bytes", name);
	memcpy(u->base, slash ? slash + 1 : name, strlen(slash ? slash + 1 : name) + 1);
	if (u->dir_fd >= 0 && strlen(u->dir_name) == n && memcmp(u->dir_name, name, n) == 0)
		return 0;
	fd_close(&u->dir_fd);
	memcpy(u->dir_name, name, n);
	u->dir_name[n] = '\0';
	u->dir_fd = folder(u->root_fd, u->dir_name);
	return u->dir_fd < 0 ? fault_set(f, u->dir_fd, "'%.200s': its folder cannot be had: %s", name,
					 u->dir_fd == -EEXIST ? "a link on the way leads nowhere" : strerror(-u->dir_fd)) : 0;
}

/* ---- first pass: what this layer takes away from those below ---- */

static int whiteout(void *arg, const struct tar_entry *e, struct fault *f)
{
	struct unpacking *u = arg;
	const char *base = strrchr(e->name, '/');
	char dir[TAR_NAME_MAX];
	size_t n = base ? (size_t)(base - e->name) : 0;
	int fd, err;

	base = base ? base + 1 : e->name;
	if (strncmp(base, WHITEOUT, 4) != 0)
		return 0;
	memcpy(dir, e->name, n);
	dir[n] = '\0';
	fd = open_in_root(u->root_fd, n ? dir : ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0; /* nothing below to take away */
	if (fd < 0)
		return fault_set(f, fd, "'%.200s': %s", e->name, strerror(-fd));
	u->count->whiteouts++;
	if (strcmp(base, OPAQUE) == 0)
		return (err = remove_children(fd)) ? fault_errno(f, err, e->name) : 0;
	err = base[4] && strcmp(base + 4, ".") != 0 && strcmp(base + 4, "..") != 0 ? remove_tree(fd, base + 4) : -EPROTO;
	close(fd);
	return err ? fault_errno(f, err, e->name) : 0;
}

static int ignore_data(void *arg, const void *p, size_t n, struct fault *f)
{
	(void)arg, (void)p, (void)n, (void)f;
	return 0;
}

static int ignore_end(void *arg, struct fault *f)
{
	(void)arg, (void)f;
	return 0;
}

/* ---- second pass: what it brings ---- */

static int keep_xattr(void *arg, const char *name, const void *value, size_t n, struct fault *f)
{
	struct unpacking *u = arg;
	char *copy = malloc(n + 1);

	if (u->n_xattrs == XATTRS_MAX) {
		free(copy);
		return fault_set(f, -E2BIG, "more than %u extended attributes on one file", XATTRS_MAX);
	}
	if (!copy)
		return -ENOMEM;
	memcpy(copy, value, n);
	u->xattr[u->n_xattrs].name = strdup(name);
	u->xattr[u->n_xattrs].value = copy;
	u->xattr[u->n_xattrs].n = n;
	return u->xattr[u->n_xattrs++].name ? 0 : -ENOMEM;
}

static void drop_xattrs(struct unpacking *u)
{
	for (unsigned i = 0; i < u->n_xattrs; i++) {
		free(u->xattr[i].name);
		free(u->xattr[i].value);
	}
	u->n_xattrs = 0;
}

static int set_xattrs(const struct unpacking *u, const char *base, struct fault *f)
{
	char path[64 + sizeof(u->base)];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", u->dir_fd, base);
	for (unsigned i = 0; i < u->n_xattrs; i++) /* an attribute that this file system has not is no reason to have no image */
		if (lsetxattr(path, u->xattr[i].name, u->xattr[i].value, u->xattr[i].n, 0) < 0 && errno != EOPNOTSUPP)
			return fault_set(f, -errno, "'%.200s': attribute '%.80s': %s", u->e.name, u->xattr[i].name, strerror(errno));
	return 0;
}

/* So many folders that their names do not fit have the time of the import: no reason to have no image. */
static void keep_folder_time(struct unpacking *u)
{
	struct folder_time t = { u->e.mtime_s, u->e.mtime_ns };
	size_t n = strlen(u->e.name) + 1;

	if (buf_len(&u->folders) + sizeof(t) + n <= FOLDER_TIMES_MAX && !buf_add(&u->folders, &t, sizeof(t)))
		(void)buf_add(&u->folders, u->e.name, n);
}

static void set_folder_times(struct unpacking *u)
{
	struct folder_time t;

	while (!u->folders.failed && buf_len(&u->folders) > sizeof(t)) {
		memcpy(&t, buf_data(&u->folders), sizeof(t));
		buf_eat(&u->folders, sizeof(t));
		const char *name = (const char *)buf_data(&u->folders);
		struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = t.s, .tv_nsec = t.ns } };
		AUTO_FD dir = open_in_root(u->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

		if (dir >= 0) /* a later entry may have taken it away */
			futimens(dir, times);
		buf_eat(&u->folders, strlen(name) + 1);
	}
}

/* Owner, attributes, mode, time: in this order, for a new owner takes set-uid bits and capabilities away. A file is open still. */
static int dress(struct unpacking *u, struct fault *f)
{
	const struct tar_entry *e = &u->e;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = e->mtime_s, .tv_nsec = e->mtime_ns } };
	bool root = strcmp(e->name, ".") == 0, link = e->kind == '2', file = u->fd >= 0;
	const char *base = root ? "." : u->base;
	int err;

	if (u->kept)
		return 0;
	if (e->uid > UINT32_MAX - 1 || e->gid > UINT32_MAX - 1)
		return fault_set(f, -EPROTO, "'%.200s': an impossible owner", e->name);
	if (file ? fchown(u->fd, (uid_t)e->uid, (gid_t)e->gid) : fchownat(u->dir_fd, base, (uid_t)e->uid, (gid_t)e->gid, AT_SYMLINK_NOFOLLOW))
		return fault_errno(f, -errno, e->name);
	err = u->n_xattrs ? set_xattrs(u, base, f) : 0;
	if (!err && !link && (file ? fchmod(u->fd, e->mode) : fchmodat(u->dir_fd, base, e->mode, 0)))
		return fault_errno(f, -errno, e->name);
	if (e->type == TAR_DIR)
		keep_folder_time(u);
	else
		utimensat(file ? u->fd : u->dir_fd, file ? NULL : base, times, file ? 0 : AT_SYMLINK_NOFOLLOW);
	return err;
}

static int cannot_make(const struct unpacking *u, int err, struct fault *f)
{
	return fault_set(f, err, "'%.200s': %s%s", u->e.name, strerror(-err), err == -ENOSPC ? LARGER : "");
}

static int make_hard_link(struct unpacking *u, struct fault *f)
{
	char target[TAR_NAME_MAX], *slash;
	const char *from = u->e.link;
	char below[TAR_NAME_MAX];
	int dir, err = 0;

	while (*from == '/' || (from[0] == '.' && from[1] == '/'))
		from++;
	if (u->how && u->how->below[0]) {
		if ((size_t)snprintf(below, sizeof(below), "%s/%s", u->how->below, from) >= sizeof(below))
			return fault_set(f, -ENAMETOOLONG, "'%.200s': a hard link's name is too long", u->e.name);
		from = below;
	}
	if (!tar_name_is_clean(from))
		return fault_set(f, -EINVAL, "'%.100s' is a hard link to '%.100s': that leaves the image", u->e.name, u->e.link);
	memcpy(target, from, strlen(from) + 1);
	slash = strrchr(target, '/');
	if (slash)
		*slash = '\0';
	dir = open_in_root(u->root_fd, slash ? target : ".", O_PATH | O_DIRECTORY, 0);
	if (dir < 0 || linkat(dir, slash ? slash + 1 : target, u->dir_fd, u->base, 0) < 0)
		err = dir < 0 ? dir : -errno;
	fd_close(&dir);
	return err ? fault_set(f, err, "'%.100s' is a hard link to '%.100s': %s", u->e.name, u->e.link, strerror(-err)) : 0;
}

static int make_other(struct unpacking *u, struct fault *f)
{
	const struct tar_entry *e = &u->e;
	mode_t kind = e->kind == '3' ? S_IFCHR : e->kind == '4' ? S_IFBLK : S_IFIFO;

	switch (e->kind) {
	case '1':
		return make_hard_link(u, f);
	case '2':
		return symlinkat(e->link, u->dir_fd, u->base) < 0 ? cannot_make(u, -errno, f) : 0;
	case '3':
	case '4':
	case '6':
		return mknodat(u->dir_fd, u->base, kind | 0600, makedev(e->dev_major, e->dev_minor)) < 0 ? cannot_make(u, -errno, f) : 0;
	default:
		return fault_set(f, -EOPNOTSUPP, "'%.200s': an entry of type '%c' is not understood%s", e->name, e->kind > ' ' && e->kind < 127 ? e->kind : '?',
				 e->kind == 'S' ? ": write the archive without --sparse" : "");
	}
}

static int make_file(struct unpacking *u, struct fault *f)
{
	u->end = 0;
	u->fd = openat(u->dir_fd, u->base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return u->fd < 0 ? cannot_make(u, -errno, f) : 0;
}

/* What has no name yet: -EEXIST when it has. */
static int make(struct unpacking *u, struct fault *f)
{
	return u->e.type == TAR_OTHER ? make_other(u, f) : make_file(u, f);
}

static int make_folder(struct unpacking *u, struct fault *f)
{
	struct stat st;
	int err;

	if (fstatat(u->dir_fd, u->base, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		u->kept = u->how && S_ISDIR(st.st_mode) && !u->how->folders;
		if (S_ISDIR(st.st_mode))
			return 0;
		AUTO_FD dir = u->how && S_ISLNK(st.st_mode) ? open_in_root(u->root_fd, u->e.name, O_PATH | O_DIRECTORY, 0) : -1;
		u->kept = dir >= 0;
		if (u->kept)
			return 0;
	}
	if (mkdirat(u->dir_fd, u->base, 0700) == 0)
		return 0;
	err = errno == EEXIST ? remove_tree(u->dir_fd, u->base) : -errno;
	return err || mkdirat(u->dir_fd, u->base, 0700) < 0 ? cannot_make(u, err ? err : -errno, f) : 0;
}

/* A layer's names are what takes files away. */
static bool is_whiteout(const struct unpacking *u, const char *name)
{
	const char *base = strrchr(name, '/');

	return !u->how && strncmp(base ? base + 1 : name, WHITEOUT, 4) == 0;
}

/* Where the entry really goes, and whose it is. */
static int place(struct unpacking *u, struct fault *f)
{
	const struct placing *h = u->how;
	char name[TAR_NAME_MAX];
	int n = h->as ? snprintf(name, sizeof(name), "%s", h->as) : snprintf(name, sizeof(name), "%s%s%s", h->below, h->below[0] ? "/" : "", u->e.name);

	if (n < 0 || (size_t)n >= sizeof(name))
		return fault_set(f, -ENAMETOOLONG, "'%.200s': its new name is too long", u->e.name);
	memcpy(u->e.name, name, (size_t)n + 1);
	u->e.uid = h->uid < 0 ? u->e.uid : (uint64_t)h->uid;
	u->e.gid = h->gid < 0 ? u->e.gid : (uint64_t)h->gid;
	if (h->mode >= 0)
		u->e.mode = (uint32_t)h->mode;
	return 0;
}

static int begin(void *arg, const struct tar_entry *given, struct fault *f)
{
	struct unpacking *u = arg;
	const struct tar_entry *e = &u->e;
	struct stat st;
	int err;

	u->e = *given;
	u->at = 0;
	u->count->entries++;
	u->kept = u->how && strcmp(given->name, ".") == 0;
	if (u->kept || is_whiteout(u, given->name))
		return 0;
	err = u->how ? place(u, f) : 0;
	if (!err)
		err = enter(u, strcmp(e->name, ".") == 0 ? "./" : e->name, f);
	if (err || strcmp(e->name, ".") == 0)
		return err;
	if (e->type == TAR_DIR)
		return make_folder(u, f);
	if (u->how && fstatat(u->dir_fd, u->base, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return fault_set(f, -EISDIR, "'/%.200s' is a folder in the image, and a file here: remove the folder in a RUN before", e->name);
	err = make(u, f);
	if (err != -EEXIST)
		return err;
	err = remove_tree(u->dir_fd, u->base);
	return err ? fault_errno(f, err, e->name) : make(u, f);
}

/* Long runs of zeroes become holes. */
static int content(void *arg, const void *p, size_t n, struct fault *f)
{
	static const uint8_t zero[HOLE];
	struct unpacking *u = arg;

	for (size_t done = 0; u->fd >= 0 && done < n;) {
		size_t len = n - done < HOLE ? n - done : HOLE;
		int err = 0;

		if (len < 4096 || memcmp((const char *)p + done, zero, len) != 0) {
			err = pwrite_full(u->fd, (const char *)p + done, len, u->at + done);
			u->end = u->at + done + len;
		}
		if (err)
			return fault_set(f, err, "'%.200s': %s%s", u->e.name, strerror(-err), err == -ENOSPC ? LARGER : "");
		done += len;
	}
	u->at += n;
	u->count->bytes += n;
	return 0;
}

static int finish(void *arg, struct fault *f)
{
	struct unpacking *u = arg;
	int err = 0;

	if (u->fd >= 0 && u->end < u->at && ftruncate(u->fd, (off_t)u->at) < 0) /* a hole ends it */
		err = fault_errno(f, -errno, u->e.name);
	if (!err && u->e.kind != '1' && !is_whiteout(u, u->e.name))
		err = dress(u, f);
	fd_close(&u->fd);
	drop_xattrs(u);
	return err;
}

static int on_bytes(void *arg, const void *p, size_t n, struct fault *f)
{
	struct unpacking *u = arg;

	return tar_reader_feed(&u->r, p, n, f);
}

static int pass(struct unpacking *u, const struct range *r, const struct tar_reader_ops *ops, char digest[DIGEST_TEXT_MAX], struct fault *f)
{
	int err;

	tar_reader_init(&u->r, ops, u);
	u->r.image = true;
	err = ops->data == content ? stream_run(r, on_bytes, u, digest, f) : stream_names(r, &u->r, f);
	return err ? err : tar_reader_finish(&u->r, f);
}

static const struct tar_reader_ops bring = { .entry = begin, .data = content, .end = finish, .xattr = keep_xattr };

static struct unpacking *unpacking_new(int root_fd, struct applied *count)
{
	struct unpacking *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->root_fd = root_fd;
	u->dir_fd = u->fd = -1;
	u->count = count;
	buf_init(&u->folders, FOLDER_TIMES_MAX);
	return u;
}

static void unpacking_free(struct unpacking *u)
{
	drop_xattrs(u);
	buf_done(&u->folders);
	fd_close(&u->fd);
	fd_close(&u->dir_fd);
	free(u);
}

int tree_place(const struct range *archive, const struct placing *how, int root_fd, struct applied *count, struct fault *f)
{
	struct unpacking *u = unpacking_new(root_fd, count);
	int err;

	if (!u)
		return fault_set(f, -ENOMEM, "out of memory");
	u->how = how;
	err = pass(u, archive, &bring, NULL, f);
	if (!err)
		set_folder_times(u);
	unpacking_free(u);
	return err;
}

int layer_apply(const struct layer *l, bool first, int root_fd, struct applied *count, char digest[DIGEST_TEXT_MAX], struct fault *f)
{
	static const struct tar_reader_ops away = { .entry = whiteout, .data = ignore_data, .end = ignore_end };
	struct unpacking *u = unpacking_new(root_fd, count);
	int err = 0;

	if (!u)
		return fault_set(f, -ENOMEM, "out of memory");
	if (!first)
		err = pass(u, &l->range, &away, NULL, f);
	if (!err)
		err = pass(u, &l->range, &bring, digest, f);
	if (!err && l->diff_id[0] && strcmp(digest, l->diff_id) != 0)
		err = fault_set(f, -EBADMSG, "a layer has other content than the image's configuration says (%s, not %s): the archive is damaged", digest,
				l->diff_id);
	if (!err)
		set_folder_times(u);
	unpacking_free(u);
	return err;
}
