#include "agent/agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_MAX_BYTES (64u << 20) /* names of one folder, sorted before they go out */
#define REMOVE_DEPTH_MAX 256u

/* Who asks and for what. Without UID the request acts as root, like the contract's file calls; "~" is the default user's. */
struct ask {
	struct who who;
	char path[PATH_MAX];
	bool as_root;
	bool recursive;
};

static int ask_read(struct ask *a, const struct job *j, struct fault *f)
{
	char asked[PATH_MAX];
	struct wire_field there;
	uint64_t v;
	int rc = who_asked(&a->who, j->a, j->req, DEFAULT_UID, f);
	if (rc < 0)
		return rc;
	a->as_root = !wire_get(j->req, A_T_UID, &there);
	a->recursive = wire_get_u64(j->req, A_T_RECURSIVE, &v) && v == 1;
	rc = wire_get_str(j->req, A_T_PATH, asked, sizeof asked);
	if (rc < 0)
		return fault_set(f, rc == -EMSGSIZE ? -ENAMETOOLONG : -EINVAL, "the path is missing, too long or holds a NUL byte");
	if (!a->as_root && j->a->root && (rc = who_become(&a->who)) < 0)
		return fault_errno(f, rc, "cannot become that user");
	umask(022);
	return path_resolve(asked, &a->who, a->path, f);
}

static void put_entry(struct job *j, const char *name, const struct stat *st)
{
	size_t mark = wire_begin(&j->out, A_FS_ENTRY, j->req->id);
	int64_t s = st->st_mtim.tv_sec;
	wire_str(&j->out, A_T_NAME, name);
	wire_str(&j->out, A_T_SOURCE_TYPE, S_ISDIR(st->st_mode) ? "directory" : S_ISLNK(st->st_mode) ? "symlink" : "file");
	wire_u64(&j->out, A_T_SIZE, (uint64_t)st->st_size);
	wire_u64(&j->out, A_T_TIME_NS, s < 0 || s > INT64_MAX / 1000000000 ? 0 : (uint64_t)s * 1000000000u + (uint64_t)st->st_mtim.tv_nsec);
	wire_u64(&j->out, A_T_PERM, st->st_mode & 07777);
	wire_end(&j->out, mark);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The folder's names in `names`, NUL after each. */
static int collect(DIR *d, struct buf *names, size_t *count)
{
	for (;;) {
		errno = 0;
		struct dirent *e = readdir(d);
		if (!e)
			return -errno;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		int rc = buf_add(names, e->d_name, strlen(e->d_name) + 1);
		if (rc < 0)
			return rc;
		++*count;
	}
}

static int send_sorted(struct job *j, int dir_fd, struct buf *names, size_t count)
{
	char **list = malloc((count + 1) * sizeof *list), *at = (char *)buf_data(names);
	int rc = list ? 0 : -ENOMEM;
	for (size_t i = 0; list && i < count; i++) {
		list[i] = at;
		at += strlen(at) + 1;
	}
	if (list && count)
		qsort(list, count, sizeof *list, by_name);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct stat st;
		if (fstatat(dir_fd, list[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* gone since it was listed */
		put_entry(j, list[i], &st);
		if (buf_len(&j->out) > FRAME_MAX / 2)
			rc = job_send(j);
	}
	free(list);
	return rc;
}

void fs_readdir(struct job *j)
{
	struct fault f = {.text = ""};
	struct ask a;
	struct buf names;
	size_t count = 0;
	buf_init(&names, LIST_MAX_BYTES);
	int rc = ask_read(&a, j, &f);
	DIR *d = rc == 0 ? opendir(a.path) : NULL;
	if (rc == 0 && !d)
		rc = fault_errno(&f, -errno, a.path);
	if (rc == 0 && (rc = collect(d, &names, &count)) < 0)
		fault_errno(&f, rc, a.path);
	if (rc == 0)
		rc = send_sorted(j, dirfd(d), &names, count);
	if (rc < 0)
		job_refuse(j, rc, &f);
	else
		job_ok(j);
}

void fs_stat(struct job *j)
{
	struct fault f = {.text = ""};
	struct ask a;
	struct stat st;
	int rc = ask_read(&a, j, &f);
	if (rc == 0 && lstat(a.path, &st) < 0)
		rc = errno == ENOENT ? fault_set(&f, -ENOENT, "no such file or directory") : fault_errno(&f, -errno, a.path);
	if (rc < 0) {
		job_refuse(j, rc, &f);
		return;
	}
	size_t n = strlen(a.path);
	while (n > 1 && a.path[n - 1] == '/')
		a.path[--n] = '\0';
	const char *slash = strrchr(a.path, '/');
	put_entry(j, slash && slash[1] ? slash + 1 : a.path, &st);
	(void)job_send(j);
}

/* One folder; made by root for nobody in particular it belongs to the default user, so that it can be used. */
static int make_one(const struct ask *a, const struct job *j, const char *path, mode_t mode)
{
	if (mkdir(path, mode) < 0)
		return -errno;
	if (chmod(path, mode) < 0)
		return -errno;
	if (a->as_root && j->a->root && lchown(path, a->who.uid, a->who.gid) < 0)
		return -errno;
	return 0;
}

static int make_dirs(const struct ask *a, const struct job *j, mode_t mode, struct fault *f)
{
	char part[PATH_MAX];
	size_t n = strlen(a->path);
	struct stat st;
	int rc = 0;
	for (size_t i = 1; a->recursive && i < n; i++) {
		if (a->path[i] != '/' || a->path[i + 1] == '\0' || a->path[i + 1] == '/')
			continue;
		memcpy(part, a->path, i);
		part[i] = '\0';
		rc = make_one(a, j, part, 0755);
		if (rc < 0 && rc != -EEXIST)
			return fault_errno(f, rc, part);
	}
	rc = make_one(a, j, a->path, mode);
	if (rc == -EEXIST && a->recursive && stat(a->path, &st) == 0 && S_ISDIR(st.st_mode))
		rc = 0;
	return rc < 0 ? fault_errno(f, rc, a->path) : 0;
}

void fs_mkdir(struct job *j)
{
	struct fault f = {.text = ""};
	struct ask a;
	uint64_t perm = 0755;
	(void)wire_get_u64(j->req, A_T_PERM, &perm);
	int rc = ask_read(&a, j, &f);
	if (rc == 0 && perm > 07777)
		rc = fault_set(&f, -EINVAL, "mode must be octal, at most 7777");
	if (rc == 0)
		rc = make_dirs(&a, j, (mode_t)perm, &f);
	if (rc < 0)
		job_refuse(j, rc, &f);
	else
		job_ok(j);
}

/* Everything in a folder, never through a link: each step opens beneath the one before. */
static int empty_dir(int dir_fd_taken, unsigned depth)
{
	DIR *d = fdopendir(dir_fd_taken);
	int rc = 0;
	if (!d) {
		rc = -errno;
		close(dir_fd_taken);
		return rc;
	}
	while (rc == 0) {
		errno = 0;
		struct dirent *e = readdir(d);
		if (!e) {
			rc = -errno;
			break;
		}
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM) {
			rc = -errno;
			break;
		}
		int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			rc = errno == ENOTDIR ? -EPERM : -errno;
		else
			rc = depth == REMOVE_DEPTH_MAX ? (close(fd), -ELOOP) : empty_dir(fd, depth + 1);
		if (rc == 0 && unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0)
			rc = -errno;
	}
	closedir(d);
	return rc;
}

int dir_empty(int dir_fd_taken)
{
	return empty_dir(dir_fd_taken, 0);
}

static int remove_path(const struct ask *a)
{
	struct stat st;
	if (lstat(a->path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return unlink(a->path) < 0 ? -errno : 0;
	if (a->recursive) {
		int fd = open(a->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int rc = fd < 0 ? -errno : dir_empty(fd);
		if (rc < 0)
			return rc;
	}
	return rmdir(a->path) < 0 ? -errno : 0;
}

void fs_remove(struct job *j)
{
	struct fault f = {.text = ""};
	struct ask a;
	int rc = ask_read(&a, j, &f);
	if (rc == 0 && a.path[strspn(a.path, "/.")] == '\0')
		rc = fault_set(&f, -EINVAL, "the root folder is not removed");
	if (rc == 0 && (rc = remove_path(&a)) < 0) {
		if (rc == -ENOTEMPTY || rc == -EEXIST)
			fault_set(&f, rc, "%.300s is not empty: remove it recursively", a.path);
		else
			fault_errno(&f, rc, a.path);
	}
	if (rc < 0)
		job_refuse(j, rc, &f);
	else
		job_ok(j);
}
