#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/arc/dest.h"
#include "lib/arc/tree.h"

/* What the request says, after the checks. */
struct incoming {
	char dest[DEST_PATH_MAX];  /* the file to make or the folder to fill */
	bool is_dir;               /* bytes are a tar */
	bool sized;
	uint64_t size;             /* promised bytes (tar: unpacked) */
	mode_t mode;               /* of a file */
	struct glob_list excludes;
	char **patterns;           /* owned */
};

static int optional_str(const struct wire_msg *m, uint16_t tag, char *dst, size_t cap, struct fault *f)
{
	int rc = wire_get_str(m, tag, dst, cap);
	dst[rc == 0 ? strlen(dst) : 0] = '\0';
	if (rc < 0 && rc != -ENOENT)
		return fault_set(f, rc == -EMSGSIZE ? -ENAMETOOLONG : -EINVAL, "a name in the request %s",
				 rc == -EMSGSIZE ? "is too long" : "holds a NUL byte");
	return 0;
}

static bool flag(const struct wire_msg *m, uint16_t tag)
{
	uint64_t v;
	return wire_get_u64(m, tag, &v) && v == 1;
}

/* Where it goes, decided by the shared rules from what is there now. */
static int find_dest(struct incoming *in, const struct wire_msg *m, const struct who *w, struct fault *f)
{
	char asked[PATH_MAX], path[PATH_MAX], name[256], type[16];
	struct stat st;
	int rc = wire_get_str(m, A_T_PATH, asked, sizeof asked);
	if (rc < 0)
		return fault_set(f, rc == -EMSGSIZE ? -ENAMETOOLONG : -EINVAL, "the path is missing, too long or holds a NUL byte");
	if ((rc = optional_str(m, A_T_SOURCE_NAME, name, sizeof name, f)) < 0 ||
	    (rc = optional_str(m, A_T_SOURCE_TYPE, type, sizeof type, f)) < 0 || (rc = path_resolve(asked, w, path, f)) < 0)
		return rc;
	struct dest_ask ask = {.path = path, .there = DEST_MISSING, .is_dir = in->is_dir, .v1 = flag(m, A_T_V1),
			       .contents = flag(m, A_T_CONTENTS), .source_name = name};
	if (type[0] && (strcmp(type, "directory") == 0) != in->is_dir)
		return fault_set(f, -EINVAL, "source_type '%.20s' does not go with this mode", type);
	if (stat(path, &st) == 0)
		ask.there = S_ISDIR(st.st_mode) ? DEST_DIR : DEST_FILE;
	else if (errno == ENOTDIR && path[0] && path[strlen(path) - 1] == '/')
		ask.there = DEST_FILE;
	else if (errno != ENOENT)
		return fault_errno(f, -errno, asked);
	return dest_decide(&ask, in->dest, f);
}

static int read_request(struct incoming *in, const struct wire_msg *m, const struct who *w, struct fault *f)
{
	char mode[16];
	uint64_t perm;
	memset(in, 0, sizeof *in);
	if (wire_get_str(m, A_T_MODE, mode, sizeof mode) < 0 || (strcmp(mode, "binary") != 0 && strcmp(mode, "tar") != 0))
		return fault_set(f, -EINVAL, "invalid mode: must be binary or tar");
	in->is_dir = mode[0] == 't';
	in->sized = wire_get_u64(m, A_T_SIZE, &in->size);
	in->mode = 0644;
	int rc = find_dest(in, m, w, f);
	if (rc < 0)
		return rc;
	struct stat st;
	if (wire_get_u64(m, A_T_PERM, &perm)) {
		if (perm > 07777)
			return fault_set(f, -EINVAL, "permissions must be octal, at most 7777");
		in->mode = perm & 0777;
	} else if (stat(in->dest, &st) == 0) {
		in->mode = st.st_mode & 0777;
	}
	rc = request_list(m, A_T_EXCLUDE, &in->patterns, &in->excludes.n);
	if (rc < 0)
		return fault_set(f, rc, "the exclude patterns cannot be read");
	in->excludes.patterns = (const char *const *)in->patterns;
	return 0;
}

/* A promise larger than the free space is refused before a byte is written. */
static int check_space(const struct incoming *in, int dir_fd, struct fault *f)
{
	struct statvfs v;
	if (!in->sized || fstatvfs(dir_fd, &v) < 0)
		return 0;
	uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	if (in->size <= free_bytes)
		return 0;
	return fault_set(f, -ENOSPC, "%llu bytes will not fit: %llu are free in the guest there", (unsigned long long)in->size,
			 (unsigned long long)free_bytes);
}

/* A_DATA … A_DATA_EOF, each handed to put. 0 at the mark; -EPIPE: the host went away in the middle. */
static int each_data(struct job *j, int (*put)(void *arg, const void *p, size_t n, struct fault *f), void *arg, struct fault *f)
{
	struct wire_msg m;
	struct wire_field d;
	for (;;) {
		int rc = job_next(j, &m);
		if (rc < 0)
			return fault_set(f, rc, "the stream ended before the copy was complete");
		if (m.type == A_DATA_EOF)
			return 0;
		if (m.type != A_DATA || !wire_get(&m, A_T_DATA, &d))
			continue;
		if ((rc = put(arg, d.p, d.n, f)) < 0)
			return rc;
	}
}

static void answer_size(struct job *j, uint64_t size)
{
	size_t mark = wire_begin(&j->out, WIRE_OK, j->req->id);
	wire_u64(&j->out, A_T_SIZE, size);
	wire_end(&j->out, mark);
	(void)job_send(j);
}

struct file_in {
	struct tree_file file;
	uint64_t bytes;
};

static int put_file(void *arg, const void *p, size_t n, struct fault *f)
{
	struct file_in *fi = arg;
	int rc = write_full(fi->file.fd, p, n);
	if (rc == -ENOSPC || rc == -EDQUOT)
		return fault_set(f, rc, "no space left on the guest's disk after %llu bytes; nothing was changed", (unsigned long long)fi->bytes);
	if (rc < 0)
		return fault_errno(f, rc, "writing");
	fi->bytes += n;
	return 0;
}

/* Links in the destination itself are the user's own wish and followed, as cp does; the file behind them is replaced. */
static int open_place(struct incoming *in, struct file_in *fi, char leaf[256], struct fault *f)
{
	char real[PATH_MAX], dir[PATH_MAX];
	const char *name;
	struct stat st;
	if (stat(in->dest, &st) == 0) {
		if (!S_ISREG(st.st_mode))
			return fault_set(f, -EINVAL, "%.300s is not a regular file: it is left alone", in->dest);
		if (!realpath(in->dest, real))
			return fault_errno(f, -errno, in->dest);
		path_split(real, dir, &name);
	} else {
		path_split(in->dest, dir, &name);
	}
	if (strlen(name) > 255)
		return fault_set(f, -ENAMETOOLONG, "the file name is longer than 255 bytes");
	strcpy(leaf, name);
	if (!dest_name_is_valid(leaf))
		return fault_set(f, -EINVAL, "'%.100s' cannot be a file's name", leaf);
	int rc = path_make(dir);
	int fd = rc < 0 ? rc : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* stays open for this process's life */
	if (fd < 0)
		return fault_errno(f, rc < 0 ? rc : -errno, dir);
	if ((rc = check_space(in, fd, f)) < 0)
		return rc;
	rc = tree_file_open(&fi->file, fd);
	return rc < 0 ? fault_errno(f, rc, dir) : 0;
}

static int receive_file(struct job *j, struct incoming *in, struct fault *f)
{
	struct file_in fi = {.bytes = 0};
	char leaf[256];
	tree_file_init(&fi.file);
	int rc = open_place(in, &fi, leaf, f);
	if (rc < 0)
		return rc;
	job_ok(j);
	rc = each_data(j, put_file, &fi, f);
	if (rc == 0 && in->sized && fi.bytes != in->size)
		rc = fault_set(f, -EPROTO, "%llu bytes were promised, %llu came", (unsigned long long)in->size, (unsigned long long)fi.bytes);
	if (rc < 0) {
		tree_file_drop(&fi.file);
		return rc;
	}
	rc = tree_file_commit(&fi.file, leaf, in->mode, NULL);
	if (rc < 0)
		return fault_errno(f, rc, in->dest);
	answer_size(j, fi.bytes);
	return 0;
}

static int put_tree(void *arg, const void *p, size_t n, struct fault *f)
{
	return tar_sink_feed(arg, p, n, f);
}

static int receive_tree(struct job *j, struct incoming *in, struct fault *f)
{
	struct tar_sink *sink = NULL;
	int rc = path_make(in->dest);
	AUTO_FD fd = rc < 0 ? -1 : open(in->dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fault_errno(f, rc < 0 ? rc : -errno, in->dest);
	if ((rc = check_space(in, fd, f)) < 0)
		return rc;
	if ((rc = tar_sink_new(&sink, fd, &in->excludes)) < 0)
		return rc;
	job_ok(j);
	rc = each_data(j, put_tree, sink, f);
	if (rc == 0)
		rc = tar_sink_finish(sink, f);
	if (rc == 0)
		answer_size(j, tar_sink_stats(sink).data_bytes);
	tar_sink_free(sink);
	return rc;
}

void copy_in(struct job *j)
{
	struct fault f = {.text = ""};
	struct who w;
	struct incoming in = {.patterns = NULL};
	int rc = who_asked(&w, j->a, j->req, DEFAULT_UID, &f);
	umask(022);
	if (rc == 0 && j->a->root && (rc = who_become(&w)) < 0)
		fault_errno(&f, rc, "cannot become that user");
	if (rc == 0)
		rc = read_request(&in, j->req, &w, &f);
	if (rc == 0)
		rc = in.is_dir ? receive_tree(j, &in, &f) : receive_file(j, &in, &f);
	if (rc == -EACCES || rc == -EPERM)
		fault_wrap(&f, rc, "as uid %u", (unsigned)w.uid);
	free(in.patterns);
	if (rc < 0)
		job_refuse(j, rc, &f);
}
