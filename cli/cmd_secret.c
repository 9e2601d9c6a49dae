/* secret create, list, update, remove: what guests find in /run/slicer/secrets. Values go to the daemon and never come back. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET_BYTES_MAX 32768u
#define SECRET_NAME_MAX 64u

#define VALUE_OPTS \
	{ "from-file", 0, OPT_TEXT, "FILE", "the value is this file's content (-: standard input)" }, \
	{ "from-literal", 0, OPT_TEXT, "TEXT", "the value itself (others can see it in the list of processes)" }, \
	{ "value", 0, OPT_TEXT, "TEXT", "the same" }, \
	{ "name", 'n', OPT_TEXT, "NAME", "instead of NAME as an argument" }, \
	{ "permissions", 0, OPT_TEXT, "OCTAL", "of the file in the guest (0600 when it is new)" }, \
	{ "uid", 0, OPT_NUMBER, "UID", "its owner there (0 when it is new)" }, \
	{ "gid", 0, OPT_NUMBER, "GID", "its group there (0 when it is new)" }, \
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" }

static const struct opt value_opts[] = { VALUE_OPTS, { 0 } };

struct value {
	char bytes[SECRET_BYTES_MAX + 1]; /* one more than it may hold */
	size_t n;
	bool given;
};

/* ---- what was given ---- */

static int take_name(const struct args *a, const char **name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	char shown[80];
	*name = a->n_pos ? a->pos[0] : arg_text(a, "name");
	if (!*name || (a->n_pos && arg_text(a, "name")))
		return out_error(EXIT_USAGE, "a secret needs one name", "mica secret create NAME --from-file FILE", *name ? "two names are given" : "no name is given");
	size_t n = strlen(*name);
	if (n && n <= SECRET_NAME_MAX && strspn(*name, good) == n && (*name)[0] != '.')
		return 0;
	out_clean(shown, sizeof(shown), *name);
	return out_error(EXIT_USAGE, "a name holds letters, digits, '.', '_' and '-', at most 64 of them, and begins with no dot", "choose another name",
		"'%s' is no name for a secret", shown);
}

static int too_long(void)
{
	return out_error(EXIT_FAIL, "a secret holds at most 32768 bytes", "give a shorter one", "the value is too long");
}

static int read_value(struct value *v, const char *file)
{
	bool in = !strcmp(file, "-");
	AUTO_FD fd = in ? dup(STDIN_FILENO) : open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : read_full(fd, v->bytes, sizeof(v->bytes));
	if (n < 0)
		return out_error(EXIT_FAIL, strerror((int)-n), "check the path and its permissions", "cannot read %s", in ? "standard input" : file);
	if (n > (ssize_t)SECRET_BYTES_MAX)
		return too_long();
	v->n = (size_t)n;
	v->given = true;
	return 0;
}

/* from_stdin: what is read when no option says where the value is. */
static int take_value(const struct args *a, struct value *v, bool from_stdin)
{
	const char *file = arg_text(a, "from-file"), *literal = arg_text(a, "from-literal"), *value = arg_text(a, "value");
	if (!!file + !!literal + !!value > 1)
		return out_error(EXIT_USAGE, "--from-file, --from-literal and --value say the same", "leave all but one out", "more than one value is given");
	if (value)
		literal = value;
	if (!file && !literal && !from_stdin)
		return 0;
	if (!literal && !file && isatty(STDIN_FILENO))
		return out_error(EXIT_USAGE, "no value is given", "use --from-file FILE, or a pipe: printf s3cret | mica secret create NAME", "there is nothing to keep");
	if (!literal)
		return read_value(v, file ? file : "-");
	v->n = strlen(literal);
	if (v->n > SECRET_BYTES_MAX)
		return too_long();
	memcpy(v->bytes, literal, v->n);
	v->given = true;
	return 0;
}

static void put_body(struct buf *body, const struct args *a, const char *name, const struct value *v)
{
	struct json_out o;
	json_out_init(&o, body);
	json_obj(&o, NULL);
	if (name)
		json_put_str(&o, "name", name);
	if (v->given)
		json_put_base64(&o, "data", v->bytes, v->n);
	if (arg_text(a, "permissions"))
		json_put_str(&o, "permissions", arg_text(a, "permissions"));
	if (arg_text(a, "uid"))
		json_put_u64(&o, "uid", arg_u64(a, "uid", 0));
	if (arg_text(a, "gid"))
		json_put_u64(&o, "gid", arg_u64(a, "gid", 0));
	json_end(&o);
}

/* ---- asking ---- */

static int refused(const struct remote *r, const struct answer *an, const char *doing)
{
	static const struct fix fixes[] = {
		{ 404, "'mica secret list' shows what there is" },
		{ 409, "'mica secret update' changes it, 'mica secret remove' makes room" },
		{ 413, "give a shorter one" },
		{ 507, "remove a secret, or make room on the host's disk" },
	};
	return answer_refused(r, an, fixes, ARRAY_LEN(fixes), doing);
}

/* One request about one secret (name NULL: about all); the caller ends *an when 0 is returned. */
static int ask(const struct remote *r, const char *method, const char *name, const struct buf *body, struct answer *an, const char *verb)
{
	char doing[SECRET_NAME_MAX + 64];
	struct buf target;
	buf_init(&target, 4096);
	buf_adds(&target, "/secrets");
	if (name) {
		buf_adds(&target, "/");
		http_escape(&target, name);
	}
	int code = remote_ask(r, method, buf_cstr(&target), body, an);
	buf_done(&target);
	if (code || an->status < 300)
		return code;
	snprintf(doing, sizeof(doing), "cannot %s", verb);
	code = refused(r, an, doing);
	answer_done(an);
	return code;
}

static int send_value(const struct args *a, const struct remote *r, const char *name, const struct value *v, bool is_new)
{
	struct buf body;
	struct answer an;
	char verb[SECRET_NAME_MAX + 32];
	buf_init(&body, 1u << 17);
	put_body(&body, a, is_new ? name : NULL, v);
	snprintf(verb, sizeof(verb), "%s secret '%s'", is_new ? "create" : "update", name);
	int code = ask(r, is_new ? "POST" : "PATCH", is_new ? NULL : name, &body, &an, verb);
	explicit_bzero(body.mem, body.cap);
	buf_done(&body);
	if (code)
		return code;
	if (arg_flag(a, "json", false))
		printf("%s\n", buf_cstr(&an.text));
	else
		printf("%s %s\n", name, is_new ? "created" : "updated");
	answer_done(&an);
	return 0;
}

static int change(struct args *a, bool is_new)
{
	static struct value v; /* large; there is one command per process */
	struct remote r;
	const char *name;
	bool metadata = arg_text(a, "permissions") || arg_text(a, "uid") || arg_text(a, "gid");
	int code = take_name(a, &name);
	if (!code)
		code = take_value(a, &v, is_new || !metadata);
	if (!code && !is_new && v.given && !v.n)
		code = out_error(EXIT_USAGE, "an update with nothing keeps the old value", "remove the secret and create it again to empty it", "the new value is empty");
	if (!code)
		code = remote_init(&r, a);
	if (!code)
		code = send_value(a, &r, name, &v, is_new);
	explicit_bzero(&v, sizeof(v));
	return code;
}

static int run_create(struct args *a)
{
	return change(a, true);
}

static int run_update(struct args *a)
{
	return change(a, false);
}

const struct cmd cmd_secret_create = { .group = "secret", .name = "create", .aliases = "add", .synopsis = "NAME",
	.summary = "Keep a secret; VMs find it in /run/slicer/secrets/NAME", .opts = value_opts,
	.examples = "mica secret create api-key --from-file ./key --permissions 0400 --uid 1000 --gid 1000\nprintf s3cret | mica secret create db-password",
	.min_pos = 0, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_create };

const struct cmd cmd_secret_update = { .group = "secret", .name = "update", .synopsis = "NAME",
	.summary = "Change a secret, also in VMs that run", .opts = value_opts,
	.examples = "mica secret update api-key --from-file ./key\nmica secret update api-key --permissions 0440", .min_pos = 0, .max_pos = 1,
	.command_at = -1, .flags = CMD_REMOTE, .run = run_update };

/* ---- list ---- */

static const struct opt list_opts[] = {
	{ "verbose", 'v', OPT_FLAG, NULL, "also permissions and owner in the guest" },
	{ "quiet", 'q', OPT_FLAG, NULL, "names only" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static const char *text_of(const struct json_val *v, const char *key, const char *otherwise)
{
	json_get_str(v, key, &otherwise);
	return otherwise;
}

static long long int_of(const struct json_val *v, const char *key)
{
	int64_t n = 0;
	json_get_i64(v, key, &n);
	return n;
}

static void print_names(const struct json_val *list)
{
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
		char clean[200];
		out_clean(clean, sizeof(clean), text_of(v, "name", "?"));
		puts(clean);
	}
}

static void print_list(const struct json_val *list, bool verbose)
{
	static const char *const titles[] = { "NAME", "SIZE", "MODIFIED", "PERMISSIONS", "UID", "GID" };
	struct table t;
	table_init(&t, verbose ? 6 : 3, titles);
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
		char size[WORDS_MAX], age[WORDS_MAX];
		table_cell(&t, "%s", text_of(v, "name", "?"));
		table_cell(&t, "%s", words_bytes((uint64_t)int_of(v, "size"), size));
		table_cell(&t, "%s", words_age(rfc3339_age_s(text_of(v, "modified_at", "")), age));
		if (!verbose)
			continue;
		table_cell(&t, "%s", text_of(v, "permissions", "-"));
		table_cell(&t, "%lld", int_of(v, "uid"));
		table_cell(&t, "%lld", int_of(v, "gid"));
	}
	table_print(&t, stdout);
}

static int run_list(struct args *a)
{
	struct remote r;
	struct answer an;
	int code = remote_init(&r, a);
	if (!code)
		code = ask(&r, "GET", NULL, NULL, &an, "list the secrets");
	if (code)
		return code;
	if (arg_flag(a, "json", false))
		printf("%s\n", buf_cstr(&an.text));
	else if (arg_flag(a, "quiet", false))
		print_names(json_root(&an.json));
	else
		print_list(json_root(&an.json), arg_flag(a, "verbose", false));
	answer_done(&an);
	return 0;
}

const struct cmd cmd_secret_list = { .group = "secret", .name = "list", .aliases = "ls l", .summary = "List the secrets, without their values",
	.opts = list_opts, .examples = "mica secret list\nmica secret list -v\nmica secret list --json", .command_at = -1, .flags = CMD_REMOTE,
	.run = run_list };

/* ---- remove ---- */

static const struct opt remove_opts[] = { { 0 } };

static int run_remove(struct args *a)
{
	struct remote r;
	struct answer an;
	int code = remote_init(&r, a), worst = code;
	for (int i = 0; !code && i < a->n_pos; i++) {
		char verb[SECRET_NAME_MAX + 32], shown[SECRET_NAME_MAX + 1];
		out_clean(shown, sizeof(shown), a->pos[i]);
		snprintf(verb, sizeof(verb), "remove secret '%s'", shown);
		if (!a->pos[i][0]) {
			worst = out_error(EXIT_USAGE, "a name is empty", "'mica secret list' shows the names", "cannot remove a secret");
		} else if (ask(&r, "DELETE", a->pos[i], NULL, &an, verb)) {
			worst = EXIT_FAIL;
		} else {
			printf("%s removed\n", shown);
			answer_done(&an);
		}
	}
	return worst;
}

const struct cmd cmd_secret_remove = { .group = "secret", .name = "remove", .aliases = "rm delete", .synopsis = "NAME…",
	.summary = "Remove secrets, also from VMs that run", .opts = remove_opts,
	.examples = "mica secret remove api-key\nmica secret rm api-key db-password", .min_pos = 1, .max_pos = -1, .command_at = -1,
	.flags = CMD_REMOTE, .run = run_remove };
