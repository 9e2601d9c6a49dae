/* The builder: a VM whose second disk, mounted at /new, becomes the image. Each step is described in a file and done by rootfs/step. */
#include "cli/answer.h"
#include "cli/build.h"
#include "cli/copy.h"
#include "cli/exec.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP "/usr/lib/mica/step"
#define ASK "/root/ask"
#define TAR "/root/tar"
#define RAM_DEFAULT_MB 1024u
#define SCRATCH_MORE (512ull << 20) /* of the builder's root disk, over what the image can hold: archives on their way */
#define LINE_MAX_BYTES (1u << 20)
#define TEMP_MAX 256
#define PUT_AWAY "sync; umount /new && dd if=/dev/null of=/dev/vdb conv=notrunc,fsync 2>/dev/null" /* a flush: the last of it may lie over a base (lib/disk) */

static const char mount_new[] = "set -e; " MOUNT_NEW STEP " grow /new";
static const char mount_empty[] = "set -e; " SPREAD_EMPTY MOUNT_NEW STEP " grow /new";

/* Requests that make or keep something are not cut short: what they leave must be known. */
static struct remote steady(const struct build *b)
{
	struct remote r = b->r;
	r.cancel_fd = -1;
	return r;
}

static bool cancelled(const struct build *b)
{
	struct pollfd p = { .fd = b->r.cancel_fd, .events = POLLIN };
	return poll(&p, 1, 0) > 0;
}

static int script(struct build *b, const char *text, const char *doing)
{
	const char *const argv[] = { "/bin/sh", "-c", text, NULL };
	const char *out;
	struct answer an;
	int code = image_exec(&b->r, b->vm, argv, &an, &out, doing, "'mica doctor' shows whether this host runs VMs well");
	if (!code)
		answer_done(&an);
	return code;
}

static void put_builder(const struct build *b, const char *from, struct buf *body)
{
	struct json_out o;
	json_out_init(&o, body);
	json_obj(&o, NULL);
	json_put_u64(&o, "size", b->disk_bytes & ~4095ull);
	json_put_u64(&o, "scratch_bytes", (b->disk_bytes & ~4095ull) + SCRATCH_MORE);
	json_put_u64(&o, "ram_bytes", arg_u64(b->a, "ram-mb", RAM_DEFAULT_MB) << 20);
	json_put_u64(&o, "cpus", arg_u64(b->a, "cpu", 1));
	if (*from)
		json_put_str(&o, "from", from);
	if (b->network)
		json_put_str(&o, "network", b->network);
	json_end(&o);
}

int guest_start(struct build *b, const char *from)
{
	struct remote r = steady(b);
	struct answer an;
	struct buf body;
	buf_init(&body, 4096);
	put_builder(b, from, &body);
	int code = cancelled(b) ? 130 : remote_ask(&r, "POST", "/images/builders", &body, &an);
	buf_done(&body);
	if (code)
		return code;
	const struct json_val *v = an.json.v ? json_root(&an.json) : NULL;
	if (an.status >= 300) {
		code = remote_refused(&r, EXIT_FAIL, an.status, &an.text, "cannot start a builder");
	} else {
		snprintf(b->group, sizeof(b->group), "%s", json_text(v, "hostgroup", "mica-builder"));
		code = vm_name_take(b->vm, json_text(v, "hostname", ""));
		if (code)
			b->vm[0] = '\0';
	}
	answer_done(&an);
	return code ? code : script(b, *from ? mount_new : mount_empty, "cannot mount the new disk");
}

void guest_drop(struct build *b)
{
	struct remote r = steady(b);
	struct answer an;
	struct buf target;
	if (!b->vm[0])
		return;
	buf_init(&target, 2048);
	buf_adds(&target, "/hostgroup/");
	http_escape(&target, b->group);
	buf_printf(&target, "/nodes/%s", b->vm);
	if (remote_ask(&r, "DELETE", buf_cstr(&target), NULL, &an) == 0)
		answer_done(&an);
	buf_done(&target);
	b->vm[0] = '\0';
}

/* ---- files into the builder ---- */

int build_temp(void)
{
	const char *top = getenv("TMPDIR");
	char path[TEMP_MAX];
	int fd;
	if ((size_t)snprintf(path, sizeof(path), "%s/mica-build-XXXXXX", top && *top ? top : "/tmp") >= sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

static int send_file(struct build *b, int fd, const char *path)
{
	const struct copy_ask how = { .mode = "binary", .uid = "0", .gid = "0", .permissions = "0600", .quiet = true, .code = EXIT_FAIL };
	char local[64];
	snprintf(local, sizeof(local), "/proc/self/fd/%d", fd);
	return copy_in(&b->r, b->vm, local, path, &how);
}

static void field(struct buf *ask, const char *key, const char *value)
{
	buf_adds(ask, key);
	buf_adds(ask, "=");
	buf_add(ask, value, strlen(value) + 1);
}

static void fields(struct buf *ask, const char *key, const struct df_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		field(ask, key, l->s[i]);
}

/* Ends the buffer. */
static int send_ask(struct build *b, struct buf *ask)
{
	AUTO_FD fd = memfd_new("ask");
	int err = ask->failed ? -E2BIG : fd < 0 ? fd : write_full(fd, buf_data(ask), buf_len(ask));
	buf_done(ask);
	return err ? out_error(EXIT_FAIL, strerror(-err), err == -E2BIG ? "make the instruction shorter" : "free some memory", "cannot describe the step") : send_file(b, fd, ASK);
}

/* ---- commands ---- */

struct running {
	struct build *b;
	struct call *c;
	struct buf line, scratch;
	struct json json;
	bool over;
	int status;
	char error[512];
};

static int on_line(struct running *s, const char *line, size_t n, struct fault *f)
{
	struct exec_frame e;
	if (!n)
		return 0;
	if (exec_frame_read(line, n, &s->json, &s->scratch, &e))
		return fault_set(f, -EPROTO, "a line of the answer is no frame");
	if (e.type == FRAME_STDOUT || e.type == FRAME_STDERR) {
		say_output(s->b, e.type == FRAME_STDERR, e.data, e.n);
	} else if (e.type == FRAME_EXIT) {
		s->over = true;
		s->status = e.exit_code;
	} else if (e.type == FRAME_ERROR) {
		return fault_set(f, -EIO, "%s", e.error);
	}
	return 0;
}

static int on_piece(struct running *s, const uint8_t *p, size_t n, struct fault *f)
{
	int err = 0;
	while (n && !s->over && !err) {
		const uint8_t *nl = memchr(p, '\n', n);
		size_t part = nl ? (size_t)(nl - p) : n;
		err = buf_add(&s->line, p, part) ? fault_set(f, -EPROTO, "a line of the answer is too long") : 0;
		if (!err && nl) {
			err = on_line(s, (const char *)buf_data(&s->line), buf_len(&s->line), f);
			buf_clear(&s->line);
		}
		part += nl != NULL;
		p += part;
		n -= part;
	}
	return err;
}

static int follow(struct running *s, const char *target, struct fault *f)
{
	const uint8_t *p;
	struct buf text;
	size_t n;
	int err = call_open(s->c, &s->b->r, "POST", target, CALL_LENGTH, 0, NULL, f), got = 0;
	if (err)
		return err;
	err = call_wait_head(s->c, f);
	if (!err && s->c->head.status >= 300) {
		buf_init(&text, 65536);
		call_body(s->c, &text, f);
		remote_error_text(&text, f->text, sizeof(f->text));
		buf_done(&text);
		err = -EIO;
	}
	while (!err && !s->over && (got = call_wait_piece(s->c, &p, &n, f)) == 1)
		err = on_piece(s, p, n, f);
	if (!err && got < 0)
		err = got;
	if (!err && !s->over)
		err = fault_set(f, -ECONNRESET, "the answer ended without an exit code: the builder or the daemon went away");
	call_done(s->c);
	return err;
}

/* Runs step in the builder; what it prints is said as it comes. 0, or an exit code when it cannot be run at all. */
static int step(struct build *b, char *const *words, int n_words, int *status)
{
	struct running s = { .b = b, .c = calloc(1, sizeof(struct call)) };
	const struct exec_ask ask = { .words = words, .n_words = n_words, .shell = "", .cwd = "/", .uid = "0", .gid = "0" };
	struct fault f = { "" };
	struct buf target;
	int err;
	buf_init(&target, HTTP_TARGET_MAX);
	buf_init(&s.line, LINE_MAX_BYTES);
	buf_init(&s.scratch, LINE_MAX_BYTES);
	int code = s.c ? exec_target(&target, b->vm, &ask) : out_error(EXIT_FAIL, strerror(ENOMEM), "free some memory", "cannot run a step");
	if (!code) {
		err = follow(&s, buf_cstr(&target), &f);
		*status = s.status;
		if (err)
			code = remote_broken(&b->r, EXIT_FAIL, err, &f, "lost the step");
	}
	buf_done(&target);
	buf_done(&s.line);
	buf_done(&s.scratch);
	json_done(&s.json);
	free(s.c);
	return code;
}

#define STEP_WORDS(...) (char *const[]){ __VA_ARGS__ }, (int)(sizeof((char *const[]){ __VA_ARGS__ }) / sizeof(char *))
static char word_step[] = STEP, word_new[] = "/new", word_ask[] = ASK, word_tar[] = TAR;

int guest_run(struct build *b, const struct df_op *op, int *status)
{
	char run[] = "run";
	struct buf ask;
	buf_init(&ask, 4u << 20);
	fields(&ask, "arg", &op->argv);
	fields(&ask, "env", &op->env);
	fields(&ask, "env", &op->unkeyed);
	field(&ask, "user", op->user);
	field(&ask, "workdir", op->workdir);
	if (op->no_network)
		field(&ask, "no_network", "");
	int code = send_ask(b, &ask);
	return code ? code : step(b, STEP_WORDS(word_step, run, word_new, word_ask), status);
}

/* A step of our own: what it says when it fails is the cause. */
static int own_step(struct build *b, const struct df_op *op, const char *verb, bool with_tar)
{
	char name[16];
	char *words[] = { word_step, name, word_new, word_ask, word_tar };
	int status = 0, saying = (int)b->say;
	snprintf(name, sizeof(name), "%s", verb);
	b->say = SAY_NOTHING;
	int code = step(b, words, with_tar ? 5 : 4, &status);
	b->say = saying;
	if (code || !status)
		return code;
	struct fault f = { "" };
	char said[512];
	size_t n = b->n_tail < sizeof(said) - 1 ? b->n_tail : sizeof(said) - 1;
	memcpy(said, b->tail, n);
	said[n] = '\0';
	const char *text = strncmp(said, "error: ", 7) ? said : said + 7;
	df_refuse(&b->file, op->line, &f, "%.*s", (int)strcspn(text, "\n"), text);
	return say_refused(b, &f, "mend the instruction; steps before it are kept, and the next build goes on from there");
}

int guest_folder(struct build *b, const struct df_op *op)
{
	struct buf ask;
	buf_init(&ask, 65536);
	field(&ask, "dest", op->dest);
	int code = send_ask(b, &ask);
	return code ? code : own_step(b, op, "folder", false);
}

static int place(struct build *b, const struct df_op *op, int fd, const char *dest, bool single, bool owners)
{
	char mode[16];
	struct buf ask;
	int code = send_file(b, fd, TAR);
	if (code)
		return code;
	buf_init(&ask, 65536);
	field(&ask, "dest", dest);
	if (op->chown)
		field(&ask, "chown", op->chown);
	if (op->chmod >= 0) {
		snprintf(mode, sizeof(mode), "%d", op->chmod);
		field(&ask, "chmod", mode);
	}
	if (single)
		field(&ask, "single", "");
	if (owners)
		field(&ask, "owners", "");
	code = send_ask(b, &ask);
	return code ? code : own_step(b, op, "copy", true);
}

int guest_place(struct build *b, const struct df_op *op, int tar_fd, bool single)
{
	return place(b, op, tar_fd, op->dest, single, true);
}

int guest_copy(struct build *b, const struct df_op *op, const struct picks *p)
{
	struct fault f = { "" };
	size_t archives = 0;
	int code = 0;
	AUTO_FD fd = build_temp();
	int err = fd < 0 ? fault_errno(&f, fd, "room in $TMPDIR") : 0;
	for (size_t i = 0; i < p->n; i++)
		archives += p->p[i].archive;
	if (!err && archives < p->n) {
		err = picks_write(p, b, fd, &f);
		if (!err)
			code = place(b, op, fd, op->dest, p->single, false);
	} else if (!err && !p->n) { /* an empty folder */
		err = picks_write(p, b, fd, &f);
		if (!err)
			code = place(b, op, fd, op->dest, false, false);
	}
	for (size_t i = 0; i < p->n && !err && !code; i++) {
		AUTO_FD from = p->p[i].archive ? pick_open(b, p->p[i].from) : -1;
		if (p->p[i].archive)
			code = from < 0 ? say_refused(b, (fault_errno(&f, from, p->p[i].from), &f), "build again") : place(b, op, from, op->dest, false, true);
	}
	return err ? say_refused(b, &f, err == -EAGAIN ? "" : "make room there (TMPDIR)") : code;
}

int guest_pack(struct build *b, const char *path, int *fd, bool *single)
{
	const char *const argv[] = { STEP, "pack", "/new", path, TAR, NULL };
	const struct copy_ask how = { .mode = "binary", .quiet = true, .code = EXIT_FAIL };
	char dir[TEMP_MAX], file[TEMP_MAX + 8];
	const char *top = getenv("TMPDIR"), *out;
	struct answer an;
	*fd = -1;
	int code = image_exec(&b->r, b->vm, argv, &an, &out, "cannot take the files of the stage", "check the path after --from");
	if (code)
		return code;
	*single = strncmp(out, "file", 4) == 0;
	answer_done(&an);
	if ((size_t)snprintf(dir, sizeof(dir), "%s/mica-build-XXXXXX", top && *top ? top : "/tmp") >= sizeof(dir) || !mkdtemp(dir))
		return out_error(EXIT_FAIL, strerror(errno), "make room there (TMPDIR)", "cannot keep the files of a stage");
	snprintf(file, sizeof(file), "%s/tar", dir);
	code = copy_out(&b->r, b->vm, TAR, file, &how);
	if (!code)
		*fd = open(file, O_RDONLY | O_CLOEXEC);
	unlink(file);
	rmdir(dir);
	return !code && *fd < 0 ? out_error(EXIT_FAIL, strerror(errno), "make room there (TMPDIR)", "cannot keep the files of a stage") : code;
}

/* ---- images ---- */

static int post_image(struct build *b, const struct buf *body, struct answer *an, const char *doing)
{
	struct remote r = steady(b);
	return vm_ask(&r, "POST", b->vm, "/image", body, an, doing);
}

static void put_image(struct buf *body, const char *const *names, const char *report, bool go_on)
{
	struct json_out o;
	buf_init(body, 1u << 20);
	json_out_init(&o, body);
	json_obj(&o, NULL);
	json_arr(&o, "names");
	for (; *names; names++)
		json_put_str(&o, NULL, *names);
	json_end(&o);
	json_put_str(&o, "report", report);
	if (go_on)
		json_put_bool(&o, "go_on", true);
	json_end(&o);
}

int guest_checkpoint(struct build *b, const char *name)
{
	const char *const names[] = { name, NULL };
	struct answer an;
	struct buf body;
	int code = script(b, PUT_AWAY, "cannot put the step away");
	if (code)
		return code;
	put_image(&body, names, "{\"format\":\"build\"}", true);
	code = post_image(b, &body, &an, "cannot keep the step");
	buf_done(&body);
	if (code)
		return code;
	answer_done(&an);
	return script(b, mount_new, "cannot mount the new disk");
}

int guest_keep(struct build *b, const char *const *names, const struct df_config *c, const char *key, struct answer *an)
{
	const char *const argv[] = { "/bin/sh", "-c", "set -e; mkdir -p /new/etc; /usr/lib/mica/unpack --disk --adopt /new; " PUT_AWAY, NULL };
	bool systemd = false;
	struct buf body, report;
	struct answer done;
	struct json j;
	const char *out;
	int code = c ? image_exec(&b->r, b->vm, argv, &done, &out, "cannot make a guest of the image", "'mica image import' says the same of a root file system")
		     : script(b, PUT_AWAY, "cannot put the stage away");
	if (code)
		return code;
	if (c && json_parse(&j, out, strlen(out), 10000, NULL) == 0) {
		json_get_bool(json_root(&j), "systemd", &systemd);
		json_done(&j);
	}
	if (c) {
		answer_done(&done);
		cache_report(&report, c, key, systemd);
	} else {
		buf_init(&report, 256);
		buf_adds(&report, "{\"format\":\"build\"}");
	}
	if (report.failed) {
		code = out_error(EXIT_FAIL, "labels, variables and commands together have room for 48 KiB", "make them shorter", "the image remembers too much");
	} else {
		put_image(&body, names, buf_cstr(&report), false);
		code = post_image(b, &body, an, "cannot store the image");
		buf_done(&body);
		if (!code)
			b->vm[0] = '\0'; /* it went with that */
	}
	buf_done(&report);
	return code;
}
