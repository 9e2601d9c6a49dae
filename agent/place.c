#include "agent/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int place_find(struct place *p, const struct place_ask *ask, const struct who *w, struct fault *f)
{
	char path[PATH_MAX];
	struct stat st;
	memset(p, 0, sizeof *p);
	p->is_dir = ask->is_dir;
	p->mode = 0644;
	int rc = path_resolve(ask->path, w, path, f);
	if (rc < 0)
		return rc;
	struct dest_ask d = {.path = path, .there = DEST_MISSING, .is_dir = ask->is_dir, .v1 = ask->v1, .contents = ask->contents,
			     .source_name = ask->source_name};
	if (ask->source_type[0] && (strcmp(ask->source_type, "directory") == 0) != ask->is_dir)
		return fault_set(f, -EINVAL, "source_type '%.20s' does not go with this mode", ask->source_type);
	if (ask->has_mode && ask->mode > 07777)
		return fault_set(f, -EINVAL, "permissions must be octal, at most 7777");
	if (stat(path, &st) == 0)
		d.there = S_ISDIR(st.st_mode) ? DEST_DIR : DEST_FILE;
	else if (errno == ENOTDIR && path[0] && path[strlen(path) - 1] == '/')
		d.there = DEST_FILE;
	else if (errno != ENOENT)
		return fault_errno(f, -errno, ask->path);
	if ((rc = dest_decide(&d, p->dest, f)) < 0)
		return rc;
	if (ask->has_mode)
		p->mode = ask->mode & 0777;
	else if (stat(p->dest, &st) == 0)
		p->mode = st.st_mode & 0777;
	return 0;
}

/* A promise larger than the free space is refused before a byte is written. */
static int check_space(const struct place *p, int dir_fd, struct fault *f)
{
	struct statvfs v;
	if (!p->sized || fstatvfs(dir_fd, &v) < 0)
		return 0;
	uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	if (p->size <= free_bytes)
		return 0;
	return fault_set(f, -ENOSPC, "%llu bytes will not fit: %llu are free in the guest there", (unsigned long long)p->size,
			 (unsigned long long)free_bytes);
}

/* Links in the destination itself are the user's own wish and followed, as cp does; the file behind them is replaced. */
int place_file_open(struct place_file *pf, const struct place *p, struct fault *f)
{
	char real[PATH_MAX], dir[PATH_MAX];
	const char *name;
	struct stat st;
	tree_file_init(&pf->file);
	pf->bytes = 0;
	if (stat(p->dest, &st) == 0) {
		if (!S_ISREG(st.st_mode))
			return fault_set(f, -EINVAL, "%.300s is not a regular file: it is left alone", p->dest);
		if (!realpath(p->dest, real))
			return fault_errno(f, -errno, p->dest);
		path_split(real, dir, &name);
	} else {
		path_split(p->dest, dir, &name);
	}
	if (strlen(name) > 255)
		return fault_set(f, -ENAMETOOLONG, "the file name is longer than 255 bytes");
	strcpy(pf->leaf, name);
	if (!dest_name_is_valid(pf->leaf))
		return fault_set(f, -EINVAL, "'%.100s' cannot be a file's name", pf->leaf);
	int rc = path_make(dir);
	int fd = rc < 0 ? rc : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* stays open for this process's life */
	if (fd < 0)
		return fault_errno(f, rc < 0 ? rc : -errno, dir);
	if ((rc = check_space(p, fd, f)) < 0)
		return rc;
	rc = tree_file_open(&pf->file, fd);
	return rc < 0 ? fault_errno(f, rc, dir) : 0;
}

int place_file_put(void *arg, const void *p, size_t n, struct fault *f)
{
	struct place_file *pf = arg;
	int rc = write_full(pf->file.fd, p, n);
	if (rc == -ENOSPC || rc == -EDQUOT)
		return fault_set(f, rc, "no space left on the guest's disk after %llu bytes; nothing was changed", (unsigned long long)pf->bytes);
	if (rc < 0)
		return fault_errno(f, rc, "writing");
	pf->bytes += n;
	return 0;
}

int place_file_commit(struct place_file *pf, const struct place *p, struct fault *f)
{
	if (p->sized && pf->bytes != p->size)
		return fault_set(f, -EPROTO, "%llu bytes were promised, %llu came", (unsigned long long)p->size, (unsigned long long)pf->bytes);
	int rc = tree_file_commit(&pf->file, pf->leaf, p->mode, NULL);
	return rc < 0 ? fault_errno(f, rc, p->dest) : 0;
}

void place_file_drop(struct place_file *pf)
{
	tree_file_drop(&pf->file);
}

int place_folder_open(const struct place *p, struct fault *f)
{
	int rc = path_make(p->dest), fd = rc < 0 ? rc : open(p->dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fault_errno(f, rc < 0 ? rc : -errno, p->dest);
	if ((rc = check_space(p, fd, f)) < 0)
		fd_close(&fd);
	return rc < 0 ? rc : fd;
}
