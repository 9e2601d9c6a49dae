/* fs: single operations on files in a VM (contract §1.10). */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/out.h"

#include <stdio.h>
#include <string.h>

static const struct opt look_opts[] = {
	{ "uid", 0, OPT_NUMBER, "N", "user to look as (default: root)" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};
static const struct opt mkdir_opts[] = {
	{ "recursive", 'p', OPT_FLAG, NULL, "also the folders above; no error when it is there" },
	{ "mode", 'm', OPT_TEXT, "OCTAL", "its mode (default 0755)" },
	{ 0 },
};
static const struct opt rm_opts[] = {
	{ "recursive", 'r', OPT_FLAG, NULL, "a folder and all in it" },
	{ "uid", 0, OPT_NUMBER, "N", "user to do it as (default: root)" },
	{ 0 },
};

/* <op>?path=…[&uid=…]… about pos[1] of pos[0]. */
static int ask_path(struct args *a, const char *method, const char *op, bool recursive, struct answer *an, const char *doing)
{
	struct remote r;
	struct buf tail;
	char vm[VM_NAME_MAX], what[200], shown[100];
	bool first = true;
	out_clean(shown, sizeof(shown), a->pos[1]);
	snprintf(what, sizeof(what), "%s %s in", doing, shown);
	buf_init(&tail, HTTP_TARGET_MAX);
	buf_adds(&tail, op);
	http_add_param(&tail, &first, "path", a->pos[1]);
	http_add_param(&tail, &first, "uid", arg_text(a, "uid"));
	http_add_param(&tail, &first, "recursive", recursive ? "true" : NULL);
	int code = buf_cstr(&tail) ? vm_ask_first(a, &r, method, buf_cstr(&tail), NULL, vm, an, what)
		: out_error(EXIT_USAGE, "a path has at most 4096 bytes", "", "the path is too long");
	buf_done(&tail);
	return code;
}

static void add_row(struct table *t, const struct json_val *v)
{
	char size[WORDS_MAX];
	table_cell(t, "%s", json_text(v, "type", "?"));
	table_cell(t, "%s", json_text(v, "mode", "-"));
	table_cell(t, "%s", words_bytes((uint64_t)json_int(v, "size"), size));
	table_cell(t, "%s", json_text(v, "mtime", "-"));
	table_cell(t, "%s", json_text(v, "name", "?"));
}

static int look(struct args *a, const char *op, enum json_kind kind, const char *doing)
{
	static const char *const titles[] = { "TYPE", "MODE", "SIZE", "MODIFIED", "NAME" };
	struct answer an;
	struct table t;
	int code = ask_path(a, "GET", op, false, &an, doing);
	if (code)
		return code;
	const struct json_val *v = json_root(&an.json);
	if (!v || v->kind != kind)
		return answer_odd(&an);
	if (!answer_as_json(a, &an)) {
		table_init(&t, ARRAY_LEN(titles), titles);
		if (kind == JSON_OBJECT)
			add_row(&t, v);
		else
			for (const struct json_val *e = json_first(v); e; e = json_next(v, e))
				add_row(&t, e);
		table_print(&t, stdout);
	}
	answer_done(&an);
	return 0;
}

static int run_ls(struct args *a)
{
	return look(a, "/fs/readdir", JSON_ARRAY, "list");
}

static int run_stat(struct args *a)
{
	return look(a, "/fs/stat", JSON_OBJECT, "look at");
}

static int run_mkdir(struct args *a)
{
	struct remote r;
	struct answer an;
	struct buf body;
	struct json_out o;
	char vm[VM_NAME_MAX], what[200], shown[100];
	const char *mode = arg_text(a, "mode");
	if (mode && (!*mode || strlen(mode) > 4 || mode[strspn(mode, "01234567")]))
		return out_error(EXIT_USAGE, "it is no octal file mode", "--mode 0755", "--mode=%s", mode);
	buf_init(&body, 1u << 20);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_put_str(&o, "path", a->pos[1]);
	json_put_bool(&o, "recursive", arg_flag(a, "recursive", false));
	if (mode)
		json_put_str(&o, "mode", mode);
	json_end(&o);
	out_clean(shown, sizeof(shown), a->pos[1]);
	snprintf(what, sizeof(what), "make the folder %s in", shown);
	int code = vm_ask_first(a, &r, "POST", "/fs/mkdir", &body, vm, &an, what);
	buf_done(&body);
	if (!code)
		answer_done(&an);
	return code;
}

static int run_rm(struct args *a)
{
	struct answer an;
	int code = ask_path(a, "DELETE", "/fs/remove", arg_flag(a, "recursive", false), &an, "remove");
	if (!code)
		answer_done(&an);
	return code;
}

const struct cmd cmd_fs_ls = { .group = "fs", .name = "ls", .aliases = "list readdir", .synopsis = "VM PATH", .summary = "List a folder in a VM",
	.opts = look_opts,
	.examples = "mica fs ls vm-1 /etc\nmica fs ls vm-1 '~' --json", .min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_ls };
const struct cmd cmd_fs_stat = { .group = "fs", .name = "stat", .synopsis = "VM PATH", .summary = "Show what a path in a VM is", .opts = look_opts,
	.examples = "mica fs stat vm-1 /etc/hostname --json", .min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_stat };
const struct cmd cmd_fs_mkdir = { .group = "fs", .name = "mkdir", .synopsis = "VM PATH", .summary = "Make a folder in a VM", .opts = mkdir_opts,
	.examples = "mica fs mkdir vm-1 /srv/a/b -p --mode 0750", .min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_mkdir };
const struct cmd cmd_fs_rm = { .group = "fs", .name = "rm", .aliases = "remove", .synopsis = "VM PATH", .summary = "Remove a file or folder in a VM",
	.opts = rm_opts,
	.examples = "mica fs rm vm-1 /tmp/x\nmica fs rm vm-1 /srv/a -r", .min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_rm };
