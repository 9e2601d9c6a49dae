#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/arc/tree.h"

struct outgoing {
	char path[PATH_MAX];
	char name[256];          /* source name; "" for a root or "/." */
	char mode[16];
	bool contents;           /* the path ended in "/." */
	struct glob_list excludes;
	char **patterns;         /* owned */
};

/* "/a/b/" → "/a/b" and "b"; "/a/." → "/a" and "". */
static void take_name(struct outgoing *o)
{
	size_t n = strlen(o->path);
	if (n >= 2 && o->path[n - 1] == '.' && o->path[n - 2] == '/') {
		o->contents = true;
		o->path[--n] = '\0';
	}
	while (n > 1 && o->path[n - 1] == '/')
		o->path[--n] = '\0';
	const char *slash = strrchr(o->path, '/'), *name = slash ? slash + 1 : o->path;
	o->name[0] = '\0';
	if (!o->contents && strlen(name) < sizeof o->name && strcmp(name, "..") != 0)
		strcpy(o->name, name);
}

static int read_request(struct outgoing *o, const struct wire_msg *m, const struct who *w, struct fault *f)
{
	char asked[PATH_MAX];
	memset(o, 0, sizeof *o);
	int rc = wire_get_str(m, A_T_PATH, asked, sizeof asked);
	if (rc < 0)
		return fault_set(f, rc == -EMSGSIZE ? -ENAMETOOLONG : -EINVAL, "the path is missing, too long or holds a NUL byte");
	if (wire_get_str(m, A_T_MODE, o->mode, sizeof o->mode) < 0 ||
	    (strcmp(o->mode, "binary") != 0 && strcmp(o->mode, "tar") != 0 && strcmp(o->mode, "recursive") != 0))
		return fault_set(f, -EINVAL, "invalid mode: must be binary, tar or recursive");
	if ((rc = path_resolve(asked, w, o->path, f)) < 0)
		return rc;
	rc = request_list(m, A_T_EXCLUDE, &o->patterns, &o->excludes.n);
	if (rc < 0)
		return fault_set(f, rc, "the exclude patterns cannot be read");
	o->excludes.patterns = (const char *const *)o->patterns;
	take_name(o);
	return 0;
}

static int send_meta(struct job *j, const struct outgoing *o, const struct stat *st)
{
	bool dir = S_ISDIR(st->st_mode);
	size_t mark = wire_begin(&j->out, A_CP_META, j->req->id);
	wire_str(&j->out, A_T_SOURCE_TYPE, dir ? "directory" : "file");
	wire_str(&j->out, A_T_SOURCE_NAME, o->name);
	wire_u64(&j->out, A_T_PERM, st->st_mode & 0777);
	if (!dir && st->st_size > 0) /* files of /proc say 0 and hold something */
		wire_u64(&j->out, A_T_SIZE, (uint64_t)st->st_size);
	wire_end(&j->out, mark);
	return job_send(j);
}

/* Where the next A_DATA's bytes come from. */
typedef ssize_t read_fn(void *arg, void *dst, size_t n, struct fault *f);

/* 0, or what reading said; a host that went away (-EPIPE) is not told anything. */
static int send_data(struct job *j, read_fn *get, void *arg, struct fault *f)
{
	for (;;) {
		size_t mark = wire_begin(&j->out, A_DATA, j->req->id), field = wire_open(&j->out, A_T_DATA);
		uint8_t *p = buf_room(&j->out, AGENT_DATA_MAX);
		ssize_t n = p ? get(arg, p, AGENT_DATA_MAX, f) : -ENOMEM;
		if (n <= 0) {
			buf_clear(&j->out);
			return (int)n;
		}
		buf_grew(&j->out, (size_t)n);
		wire_close(&j->out, field);
		wire_end(&j->out, mark);
		int rc = job_send(j);
		if (rc < 0)
			return rc;
	}
}

static ssize_t get_file(void *arg, void *dst, size_t n, struct fault *f)
{
	ssize_t got = read_full(*(int *)arg, dst, n);
	if (got < 0)
		fault_errno(f, (int)got, "reading");
	return got;
}

static ssize_t get_tree(void *arg, void *dst, size_t n, struct fault *f)
{
	return tar_source_read(arg, dst, n, f);
}

static int send_file(struct job *j, const struct outgoing *o, int fd, const struct stat *st, struct fault *f)
{
	if (!S_ISREG(st->st_mode))
		return fault_set(f, -EINVAL, "%.300s is not a regular file", o->path);
	(void)fd_set_nonblock(fd, false);
	int rc = send_meta(j, o, st);
	return rc < 0 ? rc : send_data(j, get_file, &fd, f);
}

static int send_tree(struct job *j, const struct outgoing *o, int fd, const struct stat *st, struct fault *f)
{
	struct tar_source *s = NULL;
	int rc = tar_source_new(&s, fd, &o->excludes);
	if (rc < 0)
		return fault_errno(f, rc, o->path);
	rc = send_meta(j, o, st);
	if (rc == 0)
		rc = send_data(j, get_tree, s, f);
	tar_source_free(s);
	return rc;
}

static int send_any(struct job *j, const struct outgoing *o, struct fault *f)
{
	struct stat st;
	/* O_NONBLOCK: a fifo must not make us wait for a writer. Links in the path are the user's own wish. */
	AUTO_FD fd = open(o->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fault_errno(f, -errno, o->path);
	bool dir = S_ISDIR(st.st_mode);
	if (dir && strcmp(o->mode, "binary") == 0)
		return fault_set(f, -EISDIR, "%.300s: must specify a file not a directory", o->path);
	if (!dir && (strcmp(o->mode, "tar") == 0 || o->contents))
		return fault_set(f, -ENOTDIR, "%.300s: must specify a directory not a file", o->path);
	return dir ? send_tree(j, o, fd, &st, f) : send_file(j, o, fd, &st, f);
}

/* Reads as root when no UID is given: the contract's download names no user, and its callers hold the whole guest anyway; "~" is
 * the default user's all the same. */
void copy_out(struct job *j)
{
	struct fault f = {.text = ""};
	struct who w;
	struct wire_field there;
	struct outgoing o = {.patterns = NULL};
	int rc = who_asked(&w, j->a, j->req, DEFAULT_UID, &f);
	if (rc == 0 && j->a->root && wire_get(j->req, A_T_UID, &there) && (rc = who_become(&w)) < 0)
		fault_errno(&f, rc, "cannot become that user");
	if (rc == 0)
		rc = read_request(&o, j->req, &w, &f);
	if (rc == 0)
		rc = send_any(j, &o, &f);
	free(o.patterns);
	if (rc == -EPIPE || rc == -ECONNRESET)
		return;
	if (rc < 0) {
		job_refuse(j, rc, &f);
		return;
	}
	wire_end(&j->out, wire_begin(&j->out, A_DATA_EOF, j->req->id));
	(void)job_send(j);
}
