#include "lib/arc/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Folders get their times and final modes at the end, last first, so that filling them does not undo it. This many bytes of that are
 * remembered; folders beyond keep the time of their filling. */
#define LATER_MAX_BYTES (8u << 20)

struct later {
	uint32_t mode;
	uint32_t name_len; /* the name follows, with its NUL */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t before;   /* offset of the one before, from the start */
};
struct tar_sink {
	struct tar_reader reader;
	int root_fd;                      /* borrowed */
	const struct glob_list *excludes; /* borrowed */
	int dir_fd;                       /* owned O_PATH: folder of the entry being made; -1 = the root */
	char dir_name[TAR_NAME_MAX];      /* its name; "" = the root */
	const char *leaf;                 /* in reader.e.name */
	struct tree_file file;            /* open while a file's bytes come */
	struct buf later;
	uint32_t last_later;              /* offset + 1; 0 = none */
	struct tar_sink_stats stats;
};

static int parent_fd(const struct tar_sink *s)
{
	return s->dir_fd >= 0 ? s->dir_fd : s->root_fd;
}

static int say(struct fault *f, int err, const char *name)
{
	if (err == -ELOOP)
		return fault_set(f, err, "%.300s: a symbolic link stands in the way; copies do not follow links", name);
	if (err == -ENOTDIR)
		return fault_set(f, err, "%.300s: part of its path is a file, not a folder", name);
	if (err == -EISDIR || err == -EEXIST)
		return fault_set(f, err, "%.300s: a folder of that name is in the way", name);
	if (err == -ENOSPC || err == -EDQUOT)
		return fault_set(f, err, "%.300s: no space left on the disk", name);
	return fault_errno(f, err, name);
}

/* Makes every folder of path that is missing; never through a link. */
static int make_parents(int root_fd, const char *path)
{
	char part[TAR_NAME_MAX];
	size_t n = strlen(path);
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		const char *slash = strrchr(part, '/');
		AUTO_FD up = -1;
		int at = root_fd;
		if (slash) {
			char above[TAR_NAME_MAX];
			memcpy(above, part, (size_t)(slash - part));
			above[slash - part] = '\0';
			at = up = open_beneath(root_fd, above, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
			if (up < 0)
				return up;
		}
		if (mkdirat(at, slash ? slash + 1 : part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* Opens the folder of name and remembers it: entries of one folder mostly follow each other. */
static int open_parent(struct tar_sink *s, const char *name)
{
	const char *slash = strrchr(name, '/');
	size_t n = slash ? (size_t)(slash - name) : 0;
	s->leaf = slash ? slash + 1 : name;
	if (strlen(s->dir_name) == n && memcmp(s->dir_name, name, n) == 0)
		return 0;
	fd_close(&s->dir_fd);
	memcpy(s->dir_name, name, n);
	s->dir_name[n] = '\0';
	if (n == 0)
		return 0;
	int fd = open_beneath(s->root_fd, s->dir_name, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd == -ENOENT) {
		int rc = make_parents(s->root_fd, s->dir_name);
		fd = rc < 0 ? rc : open_beneath(s->root_fd, s->dir_name, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	}
	if (fd < 0) {
		s->dir_name[0] = '\0';
		return fd;
	}
	s->dir_fd = fd;
	return 0;
}

static void remember(struct tar_sink *s, const struct tar_entry *e)
{
	struct later l = {.mode = e->mode & 0777, .name_len = (uint32_t)strlen(e->name), .mtime_s = e->mtime_s,
			  .mtime_ns = e->mtime_ns, .before = s->last_later};
	size_t at = buf_len(&s->later), need = sizeof l + l.name_len + 1;
	if (need > LATER_MAX_BYTES - at)
		return;
	if (buf_add(&s->later, &l, sizeof l) == 0 && buf_add(&s->later, e->name, l.name_len + 1) == 0)
		s->last_later = (uint32_t)at + 1;
}

static int make_dir(struct tar_sink *s, const struct tar_entry *e)
{
	if (mkdirat(parent_fd(s), s->leaf, 0700) < 0 && errno != EEXIST)
		return -errno;
	AUTO_FD fd = open_beneath(parent_fd(s), s->leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	/* Ours to fill for now; an old folder of another owner stays as it is. */
	if (fchmod(fd, (e->mode & 0777) | 0700) < 0 && errno != EPERM)
		return -errno;
	s->stats.dirs++;
	remember(s, e);
	return 0;
}

static int on_entry(void *arg, const struct tar_entry *e, struct fault *f)
{
	struct tar_sink *s = arg;
	if (glob_excludes_deep(s->excludes, e->name, e->type == TAR_DIR)) {
		s->stats.excluded++;
		return 0;
	}
	if (e->type == TAR_OTHER)
		return fault_set(f, -EINVAL, "%.300s is a %s: only regular files and folders are copied", e->name,
				 e->kind == '2' ? "symbolic link" : e->kind == '1' ? "hard link" : "special file");
	int rc = open_parent(s, e->name);
	if (rc == 0)
		rc = e->type == TAR_DIR ? make_dir(s, e) : tree_file_open(&s->file, parent_fd(s));
	return rc < 0 ? say(f, rc, e->name) : 0;
}

static int on_data(void *arg, const void *p, size_t n, struct fault *f)
{
	struct tar_sink *s = arg;
	if (s->file.fd < 0)
		return 0; /* excluded */
	int rc = write_full(s->file.fd, p, n);
	if (rc < 0)
		return say(f, rc, s->reader.e.name);
	s->stats.data_bytes += n;
	return 0;
}

static int on_end(void *arg, struct fault *f)
{
	struct tar_sink *s = arg;
	const struct tar_entry *e = &s->reader.e;
	if (s->file.fd < 0)
		return 0;
	struct timespec mtime = {.tv_sec = e->mtime_s, .tv_nsec = e->mtime_ns};
	int rc = tree_file_commit(&s->file, s->leaf, tree_file_mode(e->mode), &mtime);
	if (rc < 0)
		return say(f, rc, e->name);
	s->stats.files++;
	return 0;
}

static const struct tar_reader_ops sink_ops = {.entry = on_entry, .data = on_data, .end = on_end};

int tar_sink_new(struct tar_sink **out, int root_fd, const struct glob_list *excludes)
{
	struct tar_sink *s = malloc(sizeof *s);
	if (!s)
		return -ENOMEM;
	tar_reader_init(&s->reader, &sink_ops, s);
	s->root_fd = root_fd;
	s->excludes = excludes;
	s->dir_fd = -1;
	s->dir_name[0] = '\0';
	s->leaf = "";
	s->last_later = 0;
	s->stats = (struct tar_sink_stats){0};
	tree_file_init(&s->file);
	buf_init(&s->later, LATER_MAX_BYTES);
	*out = s;
	return 0;
}

int tar_sink_feed(struct tar_sink *s, const void *p, size_t n, struct fault *f)
{
	return tar_reader_feed(&s->reader, p, n, f);
}

static void finish_dir(const struct tar_sink *s, const struct later *l, const char *name)
{
	AUTO_FD fd = open_beneath(s->root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	struct timespec both[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = l->mtime_s, .tv_nsec = l->mtime_ns}};
	if (fd < 0)
		return; /* moved away meanwhile: nothing of ours is lost */
	(void)futimens(fd, both);
	(void)fchmod(fd, l->mode);
}

int tar_sink_finish(struct tar_sink *s, struct fault *f)
{
	int rc = tar_reader_finish(&s->reader, f);
	if (rc < 0)
		return rc;
	const uint8_t *base = buf_data(&s->later);
	for (uint32_t at = s->last_later; at;) { /* every step goes to a smaller offset */
		struct later l;
		memcpy(&l, base + at - 1, sizeof l);
		finish_dir(s, &l, (const char *)base + at - 1 + sizeof l);
		at = l.before;
	}
	return 0;
}

void tar_sink_free(struct tar_sink *s)
{
	if (!s)
		return;
	tree_file_drop(&s->file);
	fd_close(&s->dir_fd);
	buf_done(&s->later);
	free(s);
}

struct tar_sink_stats tar_sink_stats(const struct tar_sink *s)
{
	return s->stats;
}
