#include "lib/arc/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct level {
	DIR *dir;        /* owned */
	size_t path_len; /* of this folder in tar_source.path */
};
struct tar_source {
	int root_fd;                    /* borrowed */
	const struct glob_list *excludes; /* borrowed */
	bool measure;                   /* walk only: no headers, no file is opened */
	bool ended;
	struct level stack[TREE_DEPTH_MAX];
	unsigned depth;                 /* levels in use */
	int file_fd;                    /* owned; -1 between files */
	uint64_t left;                  /* of file_fd */
	size_t pad;                     /* zero bytes due after it */
	struct buf head;                /* header bytes not yet given out */
	struct tar_entry e;             /* e.name holds the path of what is read now */
	char path[TAR_NAME_MAX];
	struct tar_source_stats stats;
};

static int push(struct tar_source *s, int dir_fd_taken, size_t path_len)
{
	if (s->depth == TREE_DEPTH_MAX) {
		close(dir_fd_taken);
		return -ELOOP;
	}
	DIR *d = fdopendir(dir_fd_taken);
	if (!d) {
		int rc = -errno;
		close(dir_fd_taken);
		return rc;
	}
	s->stack[s->depth++] = (struct level){d, path_len};
	return 0;
}

int tar_source_new(struct tar_source **out, int root_fd, const struct glob_list *excludes)
{
	struct tar_source *s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->root_fd = root_fd;
	s->excludes = excludes;
	s->file_fd = -1;
	buf_init(&s->head, TAR_HEADER_MAX);
	int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : push(s, fd, 0);
	if (rc < 0) {
		tar_source_free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void tar_source_free(struct tar_source *s)
{
	if (!s)
		return;
	while (s->depth)
		closedir(s->stack[--s->depth].dir);
	fd_close(&s->file_fd);
	buf_done(&s->head);
	free(s);
}

struct tar_source_stats tar_source_stats(const struct tar_source *s)
{
	return s->stats;
}

static int say(struct fault *f, int err, const char *path)
{
	fault_errno(f, err, path);
	return err;
}

static int emit(struct tar_source *s, enum tar_type type, const struct stat *st, struct fault *f)
{
	struct tar_entry *e = &s->e;
	if (s->measure)
		return 0;
	strcpy(e->name, s->path); /* same size */
	e->type = type;
	e->mode = (uint32_t)st->st_mode & 0777;
	e->size = type == TAR_FILE ? (uint64_t)st->st_size : 0;
	e->mtime_s = st->st_mtim.tv_sec;
	e->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	int rc = tar_header(&s->head, e);
	return rc < 0 ? say(f, rc, s->path) : 0;
}

static int enter(struct tar_source *s, int parent_fd, const char *name, const struct stat *st, struct fault *f)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return say(f, -errno, s->path);
	int rc = push(s, fd, strlen(s->path));
	if (rc < 0)
		return say(f, rc, s->path);
	s->stats.dirs++;
	return emit(s, TAR_DIR, st, f);
}

static int begin_file(struct tar_source *s, int parent_fd, const char *name, struct fault *f)
{
	struct stat st;
	/* O_NONBLOCK: should it have become a fifo since it was looked at, we must not wait for a writer. */
	int fd = openat(parent_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return say(f, -errno, s->path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return fault_set(f, -EAGAIN, "%s changed while it was copied", s->path);
	}
	s->file_fd = fd;
	s->left = (uint64_t)st.st_size;
	s->pad = tar_padding(s->left);
	s->stats.files++;
	return emit(s, TAR_FILE, &st, f);
}

static int visit(struct tar_source *s, const char *name, struct fault *f)
{
	struct level *top = &s->stack[s->depth - 1];
	size_t n = strlen(name), at = top->path_len;
	int fd = dirfd(top->dir);
	struct stat st;
	if (at + 1 + n >= sizeof s->path)
		return fault_set(f, -ENAMETOOLONG, "%.200s…: the path is too long", s->path);
	if (at)
		s->path[at++] = '/';
	memcpy(s->path + at, name, n + 1);
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return say(f, -errno, s->path);
		s->stats.skipped++; /* gone since it was listed */
		return 0;
	}
	bool is_dir = S_ISDIR(st.st_mode);
	if (glob_excludes(s->excludes, s->path, is_dir))
		return 0;
	if (is_dir)
		return enter(s, fd, name, &st, f);
	if (!S_ISREG(st.st_mode)) {
		s->stats.skipped++;
		return 0;
	}
	if (!s->measure)
		return begin_file(s, fd, name, f);
	s->stats.files++;
	s->stats.data_bytes += (uint64_t)st.st_size;
	return 0;
}

/* Goes on until there is something to give out, or the end. Depth is bounded by TREE_DEPTH_MAX. */
static int advance(struct tar_source *s, struct fault *f)
{
	while (s->depth && s->file_fd < 0 && buf_len(&s->head) == 0) {
		struct level *top = &s->stack[s->depth - 1];
		errno = 0;
		struct dirent *d = readdir(top->dir);
		s->path[top->path_len] = '\0';
		if (!d && errno)
			return say(f, -errno, s->path);
		if (!d) {
			closedir(top->dir);
			s->depth--;
			continue;
		}
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		int rc = visit(s, d->d_name, f);
		if (rc < 0)
			return rc;
	}
	if (s->depth == 0 && s->file_fd < 0 && buf_len(&s->head) == 0 && !s->ended) {
		s->ended = true;
		return s->measure ? 0 : tar_finish(&s->head);
	}
	return 0;
}

static ssize_t give_file(struct tar_source *s, uint8_t *dst, size_t n, struct fault *f)
{
	if (n > s->left)
		n = (size_t)s->left;
	if (n) {
		ssize_t got = read(s->file_fd, dst, n);
		if (got < 0)
			return errno == EINTR ? 0 : say(f, -errno, s->e.name);
		if (got == 0)
			return fault_set(f, -EIO, "%s became shorter while it was copied", s->e.name);
		s->left -= (uint64_t)got;
		s->stats.data_bytes += (uint64_t)got;
		n = (size_t)got;
	}
	if (s->left == 0)
		fd_close(&s->file_fd);
	return (ssize_t)n;
}

ssize_t tar_source_read(struct tar_source *s, void *dst, size_t n, struct fault *f)
{
	uint8_t *to = dst;
	size_t done = 0;
	while (done < n) {
		size_t room = n - done, take;
		if ((take = buf_len(&s->head)) != 0) {
			take = take < room ? take : room;
			memcpy(to + done, buf_data(&s->head), take);
			buf_eat(&s->head, take);
		} else if (s->file_fd >= 0) {
			ssize_t got = give_file(s, to + done, room, f);
			if (got < 0)
				return got;
			take = (size_t)got;
		} else if (s->pad) {
			take = s->pad < room ? s->pad : room;
			memset(to + done, 0, take);
			s->pad -= take;
		} else if (s->ended) {
			break;
		} else {
			int rc = advance(s, f);
			if (rc < 0)
				return rc;
			take = 0;
		}
		done += take;
	}
	return (ssize_t)done;
}

int tar_source_measure(int root_fd, const struct glob_list *excludes, struct tar_source_stats *out, struct fault *f)
{
	struct tar_source *s = NULL;
	int rc = tar_source_new(&s, root_fd, excludes);
	if (rc < 0)
		return fault_errno(f, rc, "cannot list the folder");
	s->measure = true;
	rc = advance(s, f);
	*out = s->stats;
	tar_source_free(s);
	return rc;
}
