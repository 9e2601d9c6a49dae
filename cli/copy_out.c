/* VM → host. What the VM says about names and types is hostile. */
#include "cli/copy.h"
#include "cli/exec.h"
#include "cli/files.h"
#include "cli/out.h"
#include "lib/arc/dest.h"
#include "lib/arc/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the answer's head says. */
struct offer {
	bool is_dir;
	char name[256];
	mode_t mode;
};

static void decode_name(const char *b64url, char out[256])
{
	char std[512];
	size_t n = strlen(b64url);
	out[0] = 0;
	if (!n || n > 340)
		return;
	for (size_t i = 0; i < n; i++)
		std[i] = b64url[i] == '-' ? '+' : b64url[i] == '_' ? '/' : b64url[i];
	while (n % 4 && n < sizeof(std) - 1)
		std[n++] = '=';
	char raw[400];
	ssize_t got = base64_decode(std, n, raw);
	if (got <= 0 || got > 255 || memchr(raw, 0, (size_t)got))
		return;
	memcpy(out, raw, (size_t)got);
	out[got] = 0;
}

static void read_offer(const struct call *c, const char *path, struct offer *o)
{
	char v[512];
	bool contents;
	*o = (struct offer){ .mode = 0644 };
	copy_base(path, o->name, &contents);
	if (!http_head_copy(&c->head, "X-Slicer-Source-Name-Base64", v, sizeof(v)) && v[0])
		decode_name(v, o->name);
	if (!http_head_copy(&c->head, "X-Slicer-Source-Type", v, sizeof(v)))
		o->is_dir = !strcmp(v, "directory");
	else if (!http_head_copy(&c->head, "Content-Type", v, sizeof(v)))
		o->is_dir = !strncmp(v, "application/x-tar", 17);
	if (!http_head_copy(&c->head, "X-Slicer-File-Mode", v, sizeof(v)) && strlen(v) <= 5 && v[strspn(v, "01234567")] == 0)
		o->mode = (mode_t)strtoul(v, NULL, 8) & 0777;
}

/* Pieces of the body into a descriptor. */
static int save_stream(struct call *c, int fd, struct progress *bar, struct fault *f)
{
	const uint8_t *p;
	size_t n;
	int got;
	while ((got = call_wait_piece(c, &p, &n, f)) == 1) {
		int err = write_wait(fd, p, n, c->r->cancel_fd);
		if (err)
			return fault_errno(f, err, "writing");
		progress_add(bar, n);
	}
	return got == 2 ? 0 : got;
}

static int save_file(struct call *c, const char *dest, mode_t mode, struct progress *bar, struct fault *f)
{
	char folder[PATH_MAX], name_mem[NAME_MAX + 1];
	const char *name;
	struct tree_file t;
	if (split_path(dest, folder, sizeof(folder), &name, name_mem))
		return fault_set(f, -EINVAL, "%s names no file", dest);
	AUTO_FD dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fault_errno(f, -errno, folder);
	tree_file_init(&t);
	int err = tree_file_open(&t, dir);
	if (err)
		return fault_errno(f, err, folder);
	err = save_stream(c, t.fd, bar, f);
	if (!err) {
		err = tree_file_commit(&t, name, tree_file_mode(mode), NULL);
		if (err)
			fault_errno(f, err, dest);
	}
	tree_file_drop(&t);
	return err;
}

static int fill_folder(struct call *c, int dir, const struct glob_list *globs, struct progress *bar, struct fault *f)
{
	struct tar_sink *sink;
	const uint8_t *p;
	size_t n;
	int got, err = tar_sink_new(&sink, dir, globs);
	if (err)
		return fault_errno(f, err, "unpacking");
	while (!err && (got = call_wait_piece(c, &p, &n, f)) != 2) {
		err = got < 0 ? got : tar_sink_feed(sink, p, n, f);
		progress_add(bar, n);
	}
	if (!err)
		err = tar_sink_finish(sink, f);
	tar_sink_free(sink);
	return err;
}

/* A folder that is not there yet appears complete or not at all; one that is there receives file by file. */
static int save_folder(struct call *c, const char *dest, bool exists, const struct glob_list *globs, struct progress *bar, struct fault *f)
{
	char folder[PATH_MAX], name_mem[NAME_MAX + 1], temp[40];
	const char *name;
	uint8_t salt[8];
	if (exists) {
		AUTO_FD dir = open(dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		return dir < 0 ? fault_errno(f, -errno, dest) : fill_folder(c, dir, globs, bar, f);
	}
	if (split_path(dest, folder, sizeof(folder), &name, name_mem))
		return fault_set(f, -EINVAL, "%s names no folder", dest);
	AUTO_FD parent = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return fault_errno(f, -errno, folder);
	int err = random_fill(salt, sizeof(salt));
	memcpy(temp, ".mica-", 7);
	hex_encode(salt, sizeof(salt), temp + 6);
	if (err || mkdirat(parent, temp, 0755))
		return fault_errno(f, err ? err : -errno, folder);
	AUTO_FD dir = openat(parent, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	err = dir < 0 ? fault_errno(f, -errno, temp) : fill_folder(c, dir, globs, bar, f);
	if (!err && renameat(parent, temp, parent, name))
		err = fault_errno(f, -errno, dest);
	if (err)
		remove_tree(parent, temp);
	return err;
}

static int save(struct call *c, const char *path, const char *local, const struct copy_ask *ask, struct fault *f)
{
	struct offer o;
	struct stat st;
	char dest[DEST_PATH_MAX], base[256];
	bool contents;
	struct progress bar;
	struct glob_list globs = { ask->excludes, ask->n_excludes };
	read_offer(c, path, &o);
	copy_base(path, base, &contents);
	bool there = !stat(local, &st);
	struct dest_ask where = { .path = local, .there = !there ? DEST_MISSING : S_ISDIR(st.st_mode) ? DEST_DIR : DEST_FILE, .is_dir = o.is_dir, .v1 = true,
				  .contents = contents, .source_name = o.name };
	progress_init(&bar, o.name[0] ? o.name : path, c->head.body == HTTP_BODY_LENGTH ? c->head.body_bytes : 0, ask->quiet);
	int err;
	bool direct = !strcmp(local, "-") || (there && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode));
	if (direct && !o.is_dir) { /* a device or pipe is written to, never replaced */
		AUTO_FD fd = !strcmp(local, "-") ? fcntl(1, F_DUPFD_CLOEXEC, 3) : open(local, O_WRONLY | O_CLOEXEC | O_NOCTTY);
		err = fd < 0 ? fault_errno(f, -errno, local) : save_stream(c, fd, &bar, f);
	} else {
		err = dest_decide(&where, dest, f);
		char real[PATH_MAX];
		bool exists = !err && !stat(dest, &st);
		if (exists && !o.is_dir && realpath(dest, real) && strlen(real) < sizeof(dest))
			strcpy(dest, real); /* a link keeps pointing where it did; the file behind it is replaced */
		if (!err && o.is_dir)
			err = save_folder(c, dest, exists, &globs, &bar, f);
		else if (!err)
			err = save_file(c, dest, o.mode, &bar, f);
	}
	progress_done(&bar);
	return err;
}

enum out_mode { OUT_V1, OUT_BINARY, OUT_TAR };

static void build_target(struct buf *t, const char *vm, const char *path, enum out_mode m, const struct copy_ask *ask)
{
	bool first = true, tar = ask->mode && !strcmp(ask->mode, "tar"), binary = ask->mode && !strcmp(ask->mode, "binary");
	static const char *const old[] = { [OUT_BINARY] = "binary", [OUT_TAR] = "tar" };
	buf_clear(t);
	vm_target(t, vm, "/cp");
	http_add_param(t, &first, "path", path);
	if (m == OUT_V1) {
		http_add_param(t, &first, "mode", tar ? "cp-v1-tar" : binary || !ask->recursive ? "cp-v1-binary" : "cp-v1-recursive");
		http_add_param(t, &first, "copy_semantics", "cp-v1");
	} else {
		http_add_param(t, &first, "mode", old[m]);
	}
	for (size_t i = 0; i < ask->n_excludes; i++)
		http_add_param(t, &first, "exclude", ask->excludes[i]);
}

/* Reads the refusal and decides: another attempt (0, *m changed) or the end (code, after saying why). */
static int refused(const struct remote *r, struct call *c, char vm[VM_NAME_MAX], enum out_mode *m, const struct copy_ask *ask, const char *doing, bool last)
{
	struct buf text;
	struct fault f;
	char s[1024];
	int status = c->head.status, code = 0;
	buf_init(&text, 65536);
	call_body(c, &text, &f);
	remote_error_text(&text, s, sizeof(s));
	bool tar = ask->mode && !strcmp(ask->mode, "tar");
	if (last)
		code = remote_refused(r, ask->code, status, &text, doing);
	else if (status == 400 && *m == OUT_V1 && strstr(s, "invalid mode: cp-v1"))
		*m = tar ? OUT_TAR : OUT_BINARY;
	else if (status == 400 && *m == OUT_BINARY && ask->recursive && !ask->mode && strstr(s, "must specify a file not a directory"))
		*m = OUT_TAR;
	else if (status == 400 && strstr(s, "must specify a file not a directory"))
		code = out_error(ask->code, s, "add -r to copy folders", "%s", doing);
	else if (status != 404 || !remote_friendly(r, vm, vm))
		code = remote_refused(r, ask->code, status, &text, doing);
	buf_done(&text);
	return code;
}

int copy_out(const struct remote *r, char vm[VM_NAME_MAX], const char *path, const char *local, const struct copy_ask *ask)
{
	struct buf target, extra;
	struct fault f = { 0 };
	struct call *c = calloc(1, sizeof(*c));
	enum out_mode m = OUT_V1;
	char doing[600];
	if (!c)
		return out_error(ask->code, strerror(ENOMEM), "free some memory", "cannot copy");
	snprintf(doing, sizeof(doing), "cannot copy %s:%.200s to %.200s", vm, path, local);
	buf_init(&target, HTTP_TARGET_MAX);
	buf_init(&extra, 1024);
	http_add_field(&extra, "Accept", ask->recursive && !ask->mode ? "application/octet-stream, application/x-tar" : ask->mode
		&& !strcmp(ask->mode, "tar") ? "application/x-tar" : "application/octet-stream");
	int code = 0, err = 0;
	bool saved = false;
	for (int round = 0; round < 4 && !err && !code && !saved; round++) {
		build_target(&target, vm, *path ? path : "~/", m, ask);
		const char *t = buf_cstr(&target);
		err = t ? call_open(c, r, "GET", t, CALL_NO_BODY, 0, &extra, &f) : fault_set(&f, -E2BIG, "the path is too long");
		if (err)
			break;
		err = call_wait_head(c, &f);
		if (!err && c->head.status >= 300) {
			code = refused(r, c, vm, &m, ask, doing, round == 3);
		} else if (!err) {
			err = save(c, path, local, ask, &f);
			saved = !err;
		}
		call_done(c);
	}
	if (err == -ECANCELED)
		code = 130;
	else if (err == -ECONNRESET || err == -EPROTO || err == -ECONNREFUSED || (err && !f.text[0]))
		code = remote_broken(r, ask->code, err, &f, doing);
	else if (err)
		code = out_error(ask->code, f.text, err == -ENOSPC ? "make room on this machine's disk; nothing was replaced" : err == -EACCES
			|| err == -EPERM ? "choose a folder you may write to" : "check the destination", "%s", doing);
	buf_done(&target);
	buf_done(&extra);
	free(c);
	return code;
}
