/* COPY, ADD, WORKDIR: files onto the new disk; and off it, for another stage. */
#include "rootfs/step/step.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* "/a/b/" as "a/b". */
static int clean(const char *path, char out[TAR_NAME_MAX], struct fault *f)
{
	size_t n;

	while (*path == '/')
		path++;
	n = strlen(path);
	while (n && path[n - 1] == '/')
		n--;
	if (n >= TAR_NAME_MAX)
		return fault_set(f, -ENAMETOOLONG, "a path has at most %u bytes", TAR_NAME_MAX - 1);
	memcpy(out, path, n);
	out[n] = '\0';
	return n && !tar_name_is_clean(out) ? fault_set(f, -EINVAL, "'%.200s' is no clean path", path) : 0;
}

/* The folder and those above it; new ones get that owner. */
static int make_folders(int root_fd, const char *path, const struct who *who, struct fault *f)
{
	char part[TAR_NAME_MAX];

	for (size_t n = 0; path[n];) {
		int fd, err;

		n += strcspn(path + n, "/");
		memcpy(part, path, n);
		part[n] = '\0';
		n += path[n] == '/';
		fd = open_in_root(root_fd, part, O_PATH | O_DIRECTORY, 0);
		if (fd >= 0) {
			close(fd);
			continue;
		}
		err = fd == -ENOENT ? make_in_root(root_fd, part, 0755) : fd;
		if (err)
			return fault_set(f, err, "/%.200s: %s", part, err == -ENOTDIR ? "there is a file of that name" : strerror(-err));
		AUTO_FD made = open_in_root(root_fd, part, O_RDONLY | O_DIRECTORY, 0);
		if (made < 0 || fchown(made, who->uid, who->gid) || fchmod(made, 0755))
			return fault_errno(f, made < 0 ? made : -errno, part);
	}
	return 0;
}

int step_folder(int root_fd, const struct ask *a, struct fault *f)
{
	char path[TAR_NAME_MAX];
	const struct who root = { 0 };
	int err = clean(a->dest, path, f);

	return err ? err : make_folders(root_fd, path, &root, f);
}

int step_copy(int root_fd, const struct ask *a, const char *archive, struct fault *f)
{
	char dest[TAR_NAME_MAX], dir[TAR_NAME_MAX];
	struct placing how = { .below = dest, .uid = a->owners ? -1 : 0, .gid = a->owners ? -1 : 0, .mode = a->chmod,
			       .folders = a->chmod >= 0 || a->chown[0] };
	struct applied count = { 0 };
	struct who who = { 0 };
	struct stat st;
	int err = clean(a->dest, dest, f);
	size_t n = strlen(a->dest);
	bool folder = !a->single || (n && a->dest[n - 1] == '/');
	AUTO_FD fd = open(archive, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st))
		return fault_errno(f, -errno, archive);
	if (!err && a->chown[0]) {
		err = who_find(root_fd, a->chown, true, &who, f);
		how.uid = who.uid;
		how.gid = who.gid;
	}
	if (err)
		return err;
	if (!folder) { /* a name that is a folder already takes the file in */
		AUTO_FD there = open_in_root(root_fd, dest[0] ? dest : ".", O_PATH | O_DIRECTORY, 0);
		folder = there >= 0;
	}
	memcpy(dir, dest, sizeof(dir));
	if (!folder) {
		how.as = dest;
		how.below = "";
		*(strrchr(dir, '/') ? strrchr(dir, '/') : dir) = '\0';
	}
	err = make_folders(root_fd, dir, &who, f);
	return err ? err : tree_place(&(struct range){ fd, 0, (uint64_t)st.st_size }, &how, root_fd, &count, f);
}

/* ---- off the disk ---- */

static int pack_folder(int dir_fd, const char *out, struct fault *f)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (fchdir(dir_fd) == 0)
			execlp("tar", "tar", "-cf", out, ".", (char *)NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return fault_set(f, -EIO, "tar failed");
	return 0;
}

static int pack_file(int fd, const struct stat *st, const char *name, const char *out, struct fault *f)
{
	static const uint8_t zeros[TAR_BLOCK_BYTES];
	static uint8_t chunk[1 << 16];
	struct tar_entry *e = calloc(1, sizeof(*e));
	uint64_t left = (uint64_t)st->st_size;
	struct buf b;
	AUTO_FD to = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err = to < 0 ? -errno : !e ? -ENOMEM : 0;

	buf_init(&b, 1 << 16);
	if (!err) {
		snprintf(e->name, sizeof(e->name), "%s", name);
		e->type = TAR_FILE;
		e->mode = st->st_mode & 07777;
		e->uid = st->st_uid;
		e->gid = st->st_gid;
		e->size = left;
		e->mtime_s = st->st_mtim.tv_sec;
		err = tar_header(&b, e);
	}
	if (!err)
		err = write_full(to, buf_data(&b), buf_len(&b));
	while (!err && left) {
		ssize_t n = read_full(fd, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk));

		err = n <= 0 ? -EIO : write_full(to, chunk, (size_t)n);
		left -= n > 0 ? (uint64_t)n : 0;
	}
	if (!err)
		err = write_full(to, zeros, tar_padding((uint64_t)st->st_size));
	buf_clear(&b);
	if (!err)
		err = tar_finish(&b) ? -ENOMEM : write_full(to, buf_data(&b), buf_len(&b));
	buf_done(&b);
	free(e);
	return err ? fault_errno(f, err, out) : 0;
}

int step_pack(int root_fd, const char *path, const char *out, struct fault *f)
{
	char at[TAR_NAME_MAX];
	const char *name;
	struct stat st;
	int err = clean(path, at, f);
	AUTO_FD fd = err ? -1 : open_in_root(root_fd, at[0] ? at : ".", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);

	if (err)
		return err;
	if (fd < 0 || fstat(fd, &st))
		return fault_set(f, fd < 0 ? fd : -errno, "/%.300s: %s", at, strerror(fd < 0 ? -fd : errno));
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return fault_set(f, -EINVAL, "/%.300s is neither a file nor a folder", at);
	name = strrchr(at, '/') ? strrchr(at, '/') + 1 : at;
	err = S_ISDIR(st.st_mode) ? pack_folder(fd, out, f) : pack_file(fd, &st, name, out, f);
	if (!err)
		puts(S_ISDIR(st.st_mode) ? "folder" : "file");
	return err;
}
