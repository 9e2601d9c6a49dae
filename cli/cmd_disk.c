/* disk list, df, grow, export, sparsify, import: root disks of VMs; image export. A raw disk image is looked at inside a builder VM only, as archives are. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/image.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOLE_BYTES 4096u
#define NAME_BYTES 256u /* of a VM or an image */
_Static_assert(VM_NAME_MAX <= NAME_BYTES, "a VM's name has room");

static const struct opt json_opts[] = { { "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" }, { 0 } };
static const struct opt export_opts[] = {
	{ "output", 'f', OPT_TEXT, "FILE|-", "where to (default: its name and .img); sparse when it is a file" },
	{ "quiet", 'q', OPT_FLAG, NULL, "no progress" },
	{ 0 },
};
static const struct opt import_opts[] = {
	{ "name", 'n', OPT_LIST, "NAME[:TAG]", "what the image is called (default: the file's name)" },
	{ "size", 0, OPT_SIZE, "SIZE", "of the image's disk (default: the file's own); its file system grows to it" },
	{ "ram-mb", 0, OPT_NUMBER, "N", "memory of the builder in MiB (default 512)" },
	{ "quiet", 'q', OPT_FLAG, NULL, "no progress" },
	{ "json", 0, OPT_FLAG, NULL, "print the new image as JSON" },
	{ 0 },
};

/* ---- list, df ---- */

static int ask(struct args *a, const char *target, struct answer *an, const char *doing)
{
	struct remote r;
	int code = remote_init(&r, a);
	if (!code)
		code = remote_ask(&r, "GET", target, NULL, an);
	if (code || an->status < 300)
		return code;
	code = remote_refused(&r, EXIT_FAIL, an->status, &an->text, doing);
	answer_done(an);
	return code;
}

static int run_list(struct args *a)
{
	static const char *const titles[] = { "VM", "STATUS", "SIZE", "OWN", "SHARED", "IMAGE", "ERROR" };
	static const char *const bytes[] = { "size_bytes", "own_bytes", "shared_bytes" };
	struct answer an;
	struct table t;
	char w[WORDS_MAX];
	int code = ask(a, "/disks", &an, "cannot list disks");
	if (code)
		return code;
	if (!answer_as_json(a, &an)) {
		table_init(&t, ARRAY_LEN(titles), titles);
		const struct json_val *root = an.json.v ? json_root(&an.json) : NULL;
		for (const struct json_val *v = json_first(root); v; v = json_next(root, v)) {
			table_cell(&t, "%s", json_text(v, "hostname", "-"));
			table_cell(&t, "%s", json_text(v, "status", "-"));
			for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
				table_cell(&t, "%s", words_bytes((uint64_t)json_int(v, bytes[i]), w));
			table_cell(&t, "%s", json_text(v, "image", "-"));
			table_cell(&t, "%s", json_text(v, "error", "-"));
		}
		code = table_print(&t, stdout) ? EXIT_FAIL : 0;
	}
	answer_done(&an);
	return code;
}

static int run_df(struct args *a)
{
	static const struct { const char *key, *what; } rows[] = {
		{ "total_bytes", "size of the state folder's file system" }, { "free_bytes", "free" }, { "vms_bytes", "in disks of VMs, their own" },
		{ "images_bytes", "in images and commits" }, { "promised_bytes", "that VMs may still write" },
	};
	struct answer an;
	char w[WORDS_MAX];
	int code = ask(a, "/disks/usage", &an, "cannot see what is free");
	if (code)
		return code;
	const struct json_val *v = an.json.v ? json_root(&an.json) : NULL;
	for (size_t i = 0; !answer_as_json(a, &an) && i < ARRAY_LEN(rows); i++)
		printf("%9s  %s\n", words_bytes((uint64_t)json_int(v, rows[i].key), w), rows[i].what);
	if (!arg_flag(a, "json", false) && json_int(v, "promised_bytes") > json_int(v, "free_bytes"))
		printf("VMs may write more than is free: a guest whose write finds no room gets an I/O error\n");
	answer_done(&an);
	return 0;
}

/* ---- grow ---- */

static int run_grow(struct args *a)
{
	struct remote r;
	struct answer an;
	struct buf body;
	struct json_out o;
	char vm[VM_NAME_MAX], w[WORDS_MAX], text[300];
	uint64_t bytes;
	if (parse_size(a->pos[1], &bytes) || !bytes) {
		out_clean(text, sizeof(text), a->pos[1]);
		return out_error(EXIT_USAGE, NULL, "write the whole new size, as 20G", "'%s' is no size", text);
	}
	buf_init(&body, 256);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_put_u64(&o, "size", bytes);
	json_end(&o);
	int code = vm_ask_first(a, &r, "POST", "/disk/grow", &body, vm, &an, "grow the disk of");
	buf_done(&body);
	if (code)
		return code;
	const struct json_val *v = an.json.v ? json_root(&an.json) : NULL;
	out_clean(text, sizeof(text), json_text(v, "message", ""));
	if (!answer_as_json(a, &an))
		printf("%s: %s; %s\n", vm, words_bytes((uint64_t)json_int(v, "size_bytes"), w), text);
	answer_done(&an);
	return 0;
}

/* ---- export ---- */

struct sink {
	const char *to; /* borrowed: a path, or "-" */
	int fd;
	bool sparse;   /* a regular file: zeros are left out */
	uint64_t at;
	struct progress bar;
};

static bool all_zero(const uint8_t *p, size_t n)
{
	return n && p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* Up to the next block's end at a time, so that whole blocks of zeros can stay holes. */
static int put(struct sink *s, const uint8_t *p, size_t n, int cancel_fd)
{
	while (n) {
		size_t part = s->sparse ? HOLE_BYTES - (size_t)(s->at % HOLE_BYTES) : n;
		int err = 0;
		if (part > n)
			part = n;
		if (!s->sparse)
			err = write_wait(s->fd, p, part, cancel_fd);
		else if (!all_zero(p, part))
			err = pwrite_full(s->fd, p, part, s->at);
		if (err)
			return err;
		progress_add(&s->bar, part);
		s->at += part;
		p += part;
		n -= part;
	}
	return 0;
}

static int fetch(struct call *c, struct sink *s, bool quiet, struct fault *f)
{
	char text[32] = "";
	const uint8_t *p;
	uint64_t want = 0;
	size_t n;
	int got, err;
	if (http_head_copy(&c->head, "X-Disk-Size", text, sizeof(text)) || parse_u64(text, INT64_MAX, &want))
		return fault_set(f, -EPROTO, "the answer does not say how large the disk is");
	progress_init(&s->bar, "disk", want, quiet);
	while ((got = call_wait_piece(c, &p, &n, f)) == 1) {
		err = n > want - s->at ? fault_set(f, -EPROTO, "more came than the disk has") : put(s, p, n, c->r->cancel_fd);
		if (err)
			return f->text[0] ? err : fault_errno(f, err, "writing");
	}
	progress_done(&s->bar);
	if (got != 2)
		return got;
	if (s->at != want)
		return fault_set(f, -EPROTO, "less came than the disk has");
	return s->sparse && ftruncate(s->fd, (off_t)want) ? fault_errno(f, -errno, "writing") : 0;
}

static void export_target(struct buf *target, const char *name, bool image)
{
	buf_init(target, HTTP_TARGET_MAX);
	if (image) {
		buf_adds(target, "/images/");
		http_escape(target, name);
		buf_adds(target, "/export");
	} else {
		vm_target(target, name, "/disk/export");
	}
}

/* The file or pipe that the bytes go to: only when they come, so that a refusal leaves a file as it was. 0, or the code of an error that was said. */
static int open_sink(struct sink *s)
{
	struct stat st;
	if (!strcmp(s->to, "-"))
		return 0;
	s->fd = open(s->to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (s->fd < 0)
		return out_error(EXIT_FAIL, strerror(errno), "check the path", "cannot write %s", s->to);
	s->sparse = !fstat(s->fd, &st) && S_ISREG(st.st_mode);
	return 0;
}

/* 0 done, -ENOENT nothing of that name and nothing was said (unless last), else -errno; *code: a refusal was said. */
static int one_export(const struct remote *r, struct call *c, struct buf *target, struct sink *s, const struct args *a, bool last, int *code, struct fault *f)
{
	struct buf text;
	int err = buf_cstr(target) ? call_open(c, r, "GET", buf_cstr(target), CALL_NO_BODY, 0, NULL, f) : -E2BIG;
	if (err)
		return err;
	err = call_wait_head(c, f);
	if (!err && c->head.status == 404 && !last) {
		err = -ENOENT;
	} else if (!err && c->head.status >= 300) {
		buf_init(&text, 65536);
		call_body(c, &text, f);
		*code = remote_refused(r, EXIT_FAIL, c->head.status, &text, "cannot export the disk");
		buf_done(&text);
	} else if (!err && !(*code = open_sink(s))) {
		err = fetch(c, s, arg_flag(a, "quiet", false) || s->fd == STDOUT_FILENO, f);
	}
	call_done(c);
	return err;
}

static int export_one(const struct args *a, struct remote *r, char *name, bool image, struct call *c)
{
	struct fault f = { "" };
	char own[NAME_BYTES + 8];
	struct sink s = { .to = arg_text(a, "output"), .fd = STDOUT_FILENO };
	struct buf target;
	int code = 0, err;
	snprintf(own, sizeof(own), "%s.img", name);
	for (char *p = own; image && *p; p++)
		*p = *p == '/' || *p == ':' || *p == '@' ? '-' : *p;
	if (!s.to)
		s.to = own;
	export_target(&target, name, image);
	err = one_export(r, c, &target, &s, a, image, &code, &f);
	buf_done(&target);
	if (err == -ENOENT && !f.text[0]) {
		remote_friendly(r, name, name);
		export_target(&target, name, image);
		err = one_export(r, c, &target, &s, a, true, &code, &f);
		buf_done(&target);
	}
	if (s.fd != STDOUT_FILENO && close(s.fd) && !err)
		err = fault_errno(&f, -errno, "writing");
	if ((err || code) && s.sparse)
		unlink(s.to);
	return code ? code : err ? remote_broken(r, EXIT_FAIL, err, &f, "cannot export the disk") : 0;
}

static int export_named(struct args *a, char *name, bool image)
{
	struct remote r;
	struct call *c = calloc(1, sizeof(*c));
	int code = c ? remote_init(&r, a) : out_error(EXIT_FAIL, strerror(ENOMEM), "free some memory", "cannot export the disk");
	if (!code)
		code = export_one(a, &r, name, image, c);
	free(c);
	return code;
}

static int run_export(struct args *a)
{
	char vm[VM_NAME_MAX];
	int code = vm_name_take(vm, a->pos[0]);
	return code ? code : export_named(a, vm, false);
}

static int run_image_export(struct args *a)
{
	char name[NAME_BYTES];
	if (strlen(a->pos[0]) >= sizeof(name))
		return out_error(EXIT_USAGE, "an image's name is shorter", "see 'mica image list'", "no image is called '%.40s…'", a->pos[0]);
	strcpy(name, a->pos[0]);
	return export_named(a, name, true);
}

/* ---- sparsify ---- */

/* In a running VM the file system knows what is free. */
static int trim(const struct remote *r, char vm[VM_NAME_MAX])
{
	static const char *const argv[] = { "fstrim", "-v", "/", NULL };
	struct answer an;
	const char *out;
	char said[200];
	int code = image_exec(r, vm, argv, &an, &out, "cannot trim the file system of the VM",
		"the VM's image needs the program fstrim; else shut the VM down first");
	if (code)
		return code;
	out_clean(said, sizeof(said), out);
	said[strcspn(said, "?\n")] = '\0';
	printf("%s: %s\n", vm, said[0] ? said : "what is free was given back");
	answer_done(&an);
	return 0;
}

static int run_sparsify(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX], w[WORDS_MAX];
	int code = vm_name_take(vm, a->pos[0]);
	if (!code)
		code = remote_init(&r, a);
	if (!code)
		code = vm_ask(&r, "GET", vm, "", NULL, &an, "cannot see the VM");
	if (code)
		return code;
	bool running = !strcmp(json_text(an.json.v ? json_root(&an.json) : NULL, "status", ""), "Running");
	answer_done(&an);
	if (running)
		return trim(&r, vm);
	code = vm_ask(&r, "POST", vm, "/disk/sparsify", NULL, &an, "cannot sparsify the disk");
	if (code)
		return code;
	if (!answer_as_json(a, &an))
		printf("%s: %s given back\n", vm, words_bytes((uint64_t)json_int(an.json.v ? json_root(&an.json) : NULL, "freed_bytes"), w));
	answer_done(&an);
	return 0;
}

/* ---- import ---- */

static int run_import(struct args *a)
{
	return image_import(a, true);
}

const struct cmd cmd_disk_list = {
	.group = "disk", .name = "list", .aliases = "ls l", .synopsis = "", .summary = "root disks: size, bytes of their own, bytes shared with images",
	.opts = json_opts, .examples = "mica disk list", .max_pos = 0, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_list,
};
const struct cmd cmd_disk_df = {
	.group = "disk", .name = "df", .synopsis = "", .summary = "what the state folder has free, and what VMs may still write",
	.opts = json_opts, .examples = "mica disk df", .max_pos = 0, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_df,
};
const struct cmd cmd_disk_grow = {
	.group = "disk", .name = "grow", .synopsis = "VM SIZE", .summary = "make a VM's disk larger, while it runs with its file system",
	.opts = json_opts, .examples = "mica disk grow vm-1 40G", .min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_grow,
};
const struct cmd cmd_disk_export = {
	.group = "disk", .name = "export", .synopsis = "VM", .summary = "a stopped VM's disk as one raw image",
	.opts = export_opts, .examples = "mica disk export vm-1 -f vm-1.img\nmica disk export vm-1 -f - | zstd > vm-1.img.zst",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_export,
};
const struct cmd cmd_image_export = {
	.group = "image", .name = "export", .synopsis = "IMAGE", .summary = "an image as one raw disk, as 'mica image import' takes it",
	.opts = export_opts, .examples = "mica image export web:1 -f web.img\nmica image export web:1 -f - | zstd > web.img.zst",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_image_export,
};
const struct cmd cmd_disk_sparsify = {
	.group = "disk", .name = "sparsify", .synopsis = "VM", .summary = "give what a VM's disk does not need back to the host",
	.opts = json_opts, .examples = "mica disk sparsify vm-1", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_sparsify,
};
const struct cmd cmd_disk_import = {
	.group = "disk", .name = "import", .synopsis = "FILE|-", .summary = "make an image of a raw ext4 disk",
	.opts = import_opts, .examples = "mica disk import debian.img --name debian:12\nzstdcat vm-1.img.zst | mica disk import - --name vm:1", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_import,
};
