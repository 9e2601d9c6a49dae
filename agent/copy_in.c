#include "agent/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the request says, after the checks. */
struct incoming {
	struct place place;
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

static int read_request(struct incoming *in, const struct wire_msg *m, const struct who *w, struct fault *f)
{
	char mode[16], path[PATH_MAX], name[256], type[16];
	struct place_ask ask = {.v1 = flag(m, A_T_V1), .contents = flag(m, A_T_CONTENTS), .path = path, .source_name = name, .source_type = type};
	memset(in, 0, sizeof *in);
	if (wire_get_str(m, A_T_MODE, mode, sizeof mode) < 0 || (strcmp(mode, "binary") != 0 && strcmp(mode, "tar") != 0))
		return fault_set(f, -EINVAL, "invalid mode: must be binary or tar");
	int rc = wire_get_str(m, A_T_PATH, path, sizeof path);
	if (rc < 0)
		return fault_set(f, rc == -EMSGSIZE ? -ENAMETOOLONG : -EINVAL, "the path is missing, too long or holds a NUL byte");
	if ((rc = optional_str(m, A_T_SOURCE_NAME, name, sizeof name, f)) < 0 || (rc = optional_str(m, A_T_SOURCE_TYPE, type, sizeof type, f)) < 0)
		return rc;
	ask.is_dir = mode[0] == 't';
	ask.has_mode = wire_get_u64(m, A_T_PERM, &ask.mode);
	if ((rc = place_find(&in->place, &ask, w, f)) < 0)
		return rc;
	in->place.sized = wire_get_u64(m, A_T_SIZE, &in->place.size);
	rc = request_list(m, A_T_EXCLUDE, &in->patterns, &in->excludes.n);
	if (rc < 0)
		return fault_set(f, rc, "the exclude patterns cannot be read");
	in->excludes.patterns = (const char *const *)in->patterns;
	return 0;
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

static int receive_file(struct job *j, struct incoming *in, struct fault *f)
{
	struct place_file pf;
	int rc = place_file_open(&pf, &in->place, f);
	if (rc < 0)
		return rc;
	job_ok(j);
	rc = each_data(j, place_file_put, &pf, f);
	if (rc == 0)
		rc = place_file_commit(&pf, &in->place, f);
	if (rc < 0) {
		place_file_drop(&pf);
		return rc;
	}
	answer_size(j, pf.bytes);
	return 0;
}

static int put_tree(void *arg, const void *p, size_t n, struct fault *f)
{
	return tar_sink_feed(arg, p, n, f);
}

static int receive_tree(struct job *j, struct incoming *in, struct fault *f)
{
	struct tar_sink *sink = NULL;
	AUTO_FD fd = place_folder_open(&in->place, f);
	if (fd < 0)
		return fd;
	int rc = tar_sink_new(&sink, fd, &in->excludes);
	if (rc < 0)
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
		rc = in.place.is_dir ? receive_tree(j, &in, &f) : receive_file(j, &in, &f);
	if (rc == -EACCES || rc == -EPERM)
		fault_wrap(&f, rc, "as uid %u", (unsigned)w.uid);
	free(in.patterns);
	if (rc < 0)
		job_refuse(j, rc, &f);
}
