/* Host → VM. */
#include "cli/copy.h"
#include "cli/out.h"
#include "lib/arc/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES (128u << 10)
#define QUEUE_HIGH (512u << 10)
#define IGNORE_FILE ".slicerignore"
#define IGNORE_MAX 65536u
#define PATTERNS_MAX 1024u

struct source {
	int fd;                 /* owned */
	bool is_dir, sized;
	bool once;              /* a pipe: what was read cannot be read again */
	mode_t mode;
	uint64_t bytes;         /* of data */
	char name[256];
	bool contents;
	struct tar_source *tar; /* owned; NULL for a plain file */
	const char *patterns[PATTERNS_MAX];
	struct glob_list globs; /* views into patterns */
	char *ignore;           /* owned; the ignore file's text, cut into lines */
	char label[300];
};

void copy_base(const char *path, char out[256], bool *contents)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	size_t at = n;
	while (at > 0 && path[at - 1] != '/')
		at--;
	size_t len = n - at;
	bool dots = (len == 1 && path[at] == '.') || (len == 2 && path[at] == '.' && path[at + 1] == '.');
	*contents = dots;
	out[0] = 0;
	if (dots || len > 255)
		return;
	memcpy(out, path + at, len);
	out[len] = 0;
}

static int collect_globs(struct source *s, const struct copy_ask *ask)
{
	size_t n = 0, len = 0;
	for (size_t i = 0; i < ask->n_excludes && n < PATTERNS_MAX; i++)
		s->patterns[n++] = ask->excludes[i];
	if (!read_file_at(s->fd, IGNORE_FILE, IGNORE_MAX, &s->ignore, &len)) {
		for (char *l = strtok(s->ignore, "\r\n"); l && n < PATTERNS_MAX; l = strtok(NULL, "\r\n")) {
			if (*l == '#' || !*l)
				continue;
			if (*l == '!')
				out_note("note: %s: '%s' is left out (patterns that start with '!' are not supported)", IGNORE_FILE, l);
			else
				s->patterns[n++] = l;
		}
	}
	s->globs = (struct glob_list){ s->patterns, n };
	return n == PATTERNS_MAX ? -E2BIG : 0;
}

static void source_done(struct source *s)
{
	tar_source_free(s->tar);
	fd_close(&s->fd);
	free(s->ignore);
	free(s);
}

static int open_dir(struct source *s, const struct copy_ask *ask, struct fault *f)
{
	struct tar_source_stats st;
	int err = collect_globs(s, ask);
	if (err)
		return fault_set(f, err, "more than %u exclude patterns", PATTERNS_MAX);
	err = tar_source_measure(s->fd, &s->globs, &st, f);
	if (err)
		return err;
	s->bytes = st.data_bytes;
	return 0;
}

static int source_open(struct source *s, const char *local, const struct copy_ask *ask, struct fault *f)
{
	struct stat st;
	s->fd = open(local, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (s->fd < 0 || fstat(s->fd, &st))
		return fault_errno(f, -errno, local);
	copy_base(local, s->name, &s->contents);
	if (!s->name[0] && !s->contents)
		s->contents = true; /* "/" */
	snprintf(s->label, sizeof(s->label), "%s", s->name[0] ? s->name : local);
	s->is_dir = S_ISDIR(st.st_mode);
	s->sized = S_ISREG(st.st_mode);
	s->mode = st.st_mode;
	if (s->is_dir && ask->mode && !strcmp(ask->mode, "binary"))
		return fault_set(f, -EISDIR, "%s is a folder, and --mode binary is for files", local);
	if (s->is_dir && !ask->recursive && !ask->mode)
		return fault_set(f, -EISDIR, "%s is a folder", local);
	if (!s->is_dir && ask->mode && !strcmp(ask->mode, "tar"))
		return fault_set(f, -ENOTDIR, "%s is no folder, and --mode tar is for folders", local);
	if (s->is_dir)
		return open_dir(s, ask, f);
	s->bytes = (uint64_t)st.st_size;
	s->once = !s->sized && lseek(s->fd, 0, SEEK_CUR) < 0;
	return 0;
}

/* Starts reading from the beginning: also for a second attempt. */
static int source_rewind(struct source *s, struct fault *f)
{
	if (s->is_dir) {
		tar_source_free(s->tar);
		s->tar = NULL;
		return tar_source_new(&s->tar, s->fd, &s->globs);
	}
	if (lseek(s->fd, 0, SEEK_SET) < 0 && errno != ESPIPE)
		return fault_errno(f, -errno, s->label);
	return 0;
}

static ssize_t source_read(struct source *s, void *p, size_t n, struct fault *f)
{
	if (s->tar)
		return tar_source_read(s->tar, p, n, f);
	ssize_t got = read(s->fd, p, n);
	return got < 0 ? fault_errno(f, -errno, s->label) : got;
}

/* Sends the body while watching for an early answer. 0, or -errno with a sentence. */
static int send_body(struct call *c, struct source *s, struct progress *bar, struct fault *f)
{
	static uint8_t block[BLOCK_BYTES];
	uint64_t sent = 0;
	bool more = true;
	while (more || call_has_out(c)) {
		while (more && buf_len(&c->out) < QUEUE_HIGH) {
			ssize_t n = source_read(s, block, sizeof(block), f);
			if (n < 0)
				return (int)n;
			if (s->sized && (uint64_t)n > s->bytes - sent)
				n = (ssize_t)(s->bytes - sent); /* it grew: what was promised is what is sent */
			if (n == 0) {
				more = false;
				if (s->sized && sent < s->bytes)
					return fault_set(f, -EIO, "%s became shorter while it was copied", s->label);
				call_send_end(c);
				break;
			}
			sent += (uint64_t)n;
			progress_add(bar, (uint64_t)n);
			int err = call_send(c, block, (size_t)n);
			if (err)
				return fault_errno(f, err, "request");
		}
		struct pollfd p[2] = {
			{ .fd = c->fd, .events = (short)(POLLIN | (call_has_out(c) ? POLLOUT : 0)) },
			{ .fd = c->r->cancel_fd, .events = POLLIN },
		};
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			return -ECANCELED;
		int err = call_flush(c);
		if (!err && (p[0].revents & (POLLIN | POLLHUP | POLLERR)))
			err = call_fill(c);
		if (err)
			return fault_errno(f, err, c->r->where);
		if (call_head(c, f)) /* an answer before the end is a refusal; a broken one is found again below */
			return 0;
	}
	return 0;
}

static void build_target(struct buf *t, const char *vm, const struct source *s, const char *path, bool v1, const struct copy_ask *ask)
{
	bool first = true;
	char full[8192], perm[8];
	size_t n = strlen(path);
	buf_clear(t);
	vm_target(t, vm, "/cp");
	snprintf(perm, sizeof(perm), "%04o", (unsigned)(s->mode & 0777));
	/* The older rules know no folder as destination of a file. */
	snprintf(full, sizeof(full), "%s%s", path, !v1 && !s->is_dir && n && path[n - 1] == '/' ? s->name : "");
	http_add_param(t, &first, "path", full);
	if (v1)
		http_add_param(t, &first, "mode", s->is_dir ? "cp-v1-tar" : "cp-v1-binary");
	else
		http_add_param(t, &first, "mode", s->is_dir ? "tar" : "binary");
	if (v1) {
		http_add_param(t, &first, "copy_semantics", "cp-v1");
		http_add_param(t, &first, "source_name", s->name);
		http_add_param(t, &first, "source_type", s->is_dir ? "directory" : "file");
		http_add_param(t, &first, "copy_contents", s->contents && s->is_dir ? "true" : NULL);
	}
	http_add_param(t, &first, "uid", ask->uid);
	http_add_param(t, &first, "gid", ask->gid);
	http_add_param(t, &first, "permissions", ask->permissions ? ask->permissions : s->is_dir || !s->sized ? NULL : perm);
}

/* One attempt; the answer's status and body. */
static int attempt(const struct remote *r, const char *target, struct source *s, const struct copy_ask *ask, int *status, struct buf *text, struct fault *f)
{
	struct buf extra;
	struct progress bar;
	struct call *c = calloc(1, sizeof(*c));
	int err = c ? source_rewind(s, f) : -ENOMEM;
	if (err) {
		free(c);
		return err;
	}
	buf_init(&extra, 1024);
	http_add_field(&extra, "Content-Type", s->is_dir ? "application/x-tar" : "application/octet-stream");
	if (s->is_dir)
		http_add_field_u64(&extra, "X-Slicer-Unpacked-Size", s->bytes);
	progress_init(&bar, s->label, s->bytes, ask->quiet);
	err = call_open(c, r, "POST", target, s->sized ? CALL_LENGTH : CALL_CHUNKED, s->bytes, &extra, f);
	if (!err) {
		err = send_body(c, s, &bar, f);
		if (!err)
			err = call_wait_head(c, f);
		if (!err) {
			*status = c->head.status;
			err = call_body(c, text, f);
			if (err && *status >= 300)
				err = 0; /* a refusal whose text was cut off by our own unread bytes */
		}
		call_done(c);
	}
	progress_done(&bar);
	buf_done(&extra);
	free(c);
	return err;
}

static bool says(const struct buf *text, const char *what)
{
	char s[1024];
	remote_error_text(text, s, sizeof(s));
	return strstr(s, what);
}

static int copy_rounds(const struct remote *r, char vm[VM_NAME_MAX], struct source *s, const char *path, const struct copy_ask *ask, struct fault *f)
{
	struct buf target, text;
	bool v1 = true, renamed = false;
	int code = 0, status = 0;
	char doing[600];
	snprintf(doing, sizeof(doing), "cannot copy %.200s to %s:%.200s", s->label, vm, path);
	buf_init(&target, HTTP_TARGET_MAX);
	buf_init(&text, 65536);
	for (int round = 0; round < 3; round++) {
		build_target(&target, vm, s, path, v1, ask);
		buf_clear(&text);
		const char *t = buf_cstr(&target);
		int err = t ? attempt(r, t, s, ask, &status, &text, f) : fault_set(f, -E2BIG, "the path is too long");
		if (err) {
			code = remote_broken(r, err == -ECANCELED ? 130 : ask->code, err, f, doing);
			break;
		}
		if (status == 404 && !renamed && remote_friendly(r, vm, vm)) {
			renamed = true;
			continue;
		}
		if (status == 400 && v1 && s->once && says(&text, "invalid mode: cp-v1")) {
			code = out_error(ask->code, "the agent there knows only older copies, and what a pipe gave cannot be sent again",
					 "write it to a file and copy that", "%s", doing);
			break;
		}
		if (status == 400 && v1 && says(&text, "invalid mode: cp-v1")) {
			v1 = false;
			continue;
		}
		if (status >= 300)
			code = remote_refused(r, ask->code, status, &text, doing);
		break;
	}
	buf_done(&target);
	buf_done(&text);
	return code;
}

/* A refused attempt eats of a pipe, so a friendly name becomes the VM's own before it is read. 0, or an exit code after saying why. */
static int settle_name(const struct remote *r, char vm[VM_NAME_MAX], const char *local, const struct copy_ask *ask)
{
	struct answer a;
	char doing[600];
	snprintf(doing, sizeof(doing), "cannot copy %.200s to %s", local, vm);
	int code = vm_ask(r, "GET", vm, "/tags", NULL, &a, doing);
	if (!code)
		answer_done(&a);
	return code && code != 130 ? ask->code : code;
}

int copy_in(const struct remote *r, char vm[VM_NAME_MAX], const char *local, const char *path, const struct copy_ask *ask)
{
	struct source *s = calloc(1, sizeof(*s));
	struct fault f = { 0 };
	if (!s)
		return out_error(ask->code, strerror(ENOMEM), "free some memory", "cannot copy");
	s->fd = -1;
	int code, err = source_open(s, local, ask, &f);
	if (err)
		code = out_error(ask->code, f.text, err == -EISDIR && !ask->mode ? "add -r to copy folders" : err == -ENOENT ? "check the path" : "",
			"cannot copy %s", local);
	else
		code = s->once ? settle_name(r, vm, local, ask) : 0;
	if (!err && !code)
		code = copy_rounds(r, vm, s, *path ? path : "~/", ask, &f);
	source_done(s);
	return code;
}
