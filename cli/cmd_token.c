/* token create, list, revoke: named tokens of the API. A token's text is seen once, when it is made. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX 64u
#define BODY_BYTES_MAX 65536u

static int refused(const struct remote *r, const struct answer *an, const char *doing)
{
	static const struct fix fixes[] = {
		{ 400, "'mica token create --help' shows what is allowed" },
		{ 404, "'mica token list' shows what there is" },
		{ 409, "'mica token list' shows what there is" },
		{ 507, "revoke a token, or make room on the host's disk" },
	};
	return answer_refused(r, an, fixes, ARRAY_LEN(fixes), doing);
}

/* name NULL: all of them. The caller ends *an when 0 is returned. */
static int ask(const struct remote *r, const char *method, const char *name, const struct buf *body, struct answer *an, const char *doing)
{
	struct buf target;
	buf_init(&target, 4096);
	buf_adds(&target, "/tokens");
	if (name) {
		buf_adds(&target, "/");
		http_escape(&target, name);
	}
	int code = remote_ask(r, method, buf_cstr(&target), body, an);
	buf_done(&target);
	if (code || an->status < 300)
		return code;
	code = refused(r, an, doing);
	answer_done(an);
	return code;
}

static const char *text_of(const struct json_val *v, const char *key, const char *otherwise)
{
	json_get_str(v, key, &otherwise);
	return otherwise;
}

/* ---- create ---- */

static const struct opt create_opts[] = {
	{ "scope", 's', OPT_LIST, "SCOPES", "what it may do: read,vm,exec,files,net,admin (each brings read, admin brings all)" },
	{ "group", 'g', OPT_LIST, "GROUPS", "it sees VMs of these host groups alone" },
	{ "max-vms", 0, OPT_NUMBER, "N", "at most that many VMs made by it, stopped ones too" },
	{ "max-vcpus", 0, OPT_NUMBER, "N", "at most that many processors of these VMs together" },
	{ "max-ram", 0, OPT_SIZE, "SIZE", "the same of memory, as 8G" },
	{ "max-disk", 0, OPT_SIZE, "SIZE", "the same of disks' sizes" },
	{ "expires", 0, OPT_TEXT, "WHEN", "its end: 24h, 90m, or a time such as 2026-12-31T00:00:00Z (without: none)" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

/* Every part of every value of a list option. */
static void put_list(struct json_out *o, const struct args *a, const char *option, const char *key)
{
	unsigned i = 0;
	json_arr(o, key);
	for (const char *v; (v = arg_next(a, option, &i));)
		for (;;) {
			size_t n = strcspn(v, ",");
			json_put_strn(o, NULL, v, n);
			if (!v[n])
				break;
			v += n + 1;
		}
	json_end(o);
}

static void put_body(struct buf *body, const struct args *a)
{
	struct json_out o;
	json_out_init(&o, body);
	json_obj(&o, NULL);
	json_put_str(&o, "name", a->pos[0]);
	put_list(&o, a, "scope", "scopes");
	put_list(&o, a, "group", "groups");
	if (arg_text(a, "max-vms"))
		json_put_u64(&o, "max_vms", arg_u64(a, "max-vms", 0));
	if (arg_text(a, "max-vcpus"))
		json_put_u64(&o, "max_vcpus", arg_u64(a, "max-vcpus", 0));
	if (arg_text(a, "max-ram"))
		json_put_str(&o, "max_ram", arg_text(a, "max-ram"));
	if (arg_text(a, "max-disk"))
		json_put_str(&o, "max_disk", arg_text(a, "max-disk"));
	if (arg_text(a, "expires"))
		json_put_str(&o, "expires", arg_text(a, "expires"));
	json_end(&o);
}

/* The text alone on stdout, so that $(…) takes it; what there is to know on stderr. */
static int print_made(struct answer *an)
{
	const struct json_val *v = json_root(&an->json);
	const char *token = text_of(v, "token", "");
	char clean[200], end[RFC3339_MAX];
	if (!*token)
		return out_error(EXIT_FAIL, "its answer holds no token", "'mica info' shows the daemon's version", "the daemon made no token");
	out_clean(clean, sizeof(clean), token);
	out_clean(end, sizeof(end), text_of(v, "expires_at", ""));
	puts(clean);
	out_note("this token is not shown again; %s%s", *end ? "it is good until " : "it is good until it is revoked", end);
	explicit_bzero(clean, sizeof(clean));
	return 0;
}

static int run_create(struct args *a)
{
	struct remote r;
	struct answer an;
	struct buf body;
	char shown[NAME_BYTES_MAX + 1], doing[NAME_BYTES_MAX + 40];
	if (!arg_text(a, "scope"))
		return out_error(EXIT_USAGE, "no scope is given", "mica token create NAME --scope read,exec", "a token needs to be told what it may do");
	int code = remote_init(&r, a);
	if (code)
		return code;
	out_clean(shown, sizeof(shown), a->pos[0]);
	snprintf(doing, sizeof(doing), "cannot create token '%s'", shown);
	buf_init(&body, BODY_BYTES_MAX);
	put_body(&body, a);
	code = body.failed ? out_error(EXIT_USAGE, "the arguments are too long", "use shorter ones", "%s", doing) : ask(&r, "POST", NULL, &body, &an, doing);
	buf_done(&body);
	if (code)
		return code;
	if (arg_flag(a, "json", false))
		printf("%s\n", buf_cstr(&an.text));
	else
		code = print_made(&an);
	explicit_bzero(an.text.mem, an.text.cap);
	answer_done(&an);
	return code;
}

const struct cmd cmd_token_create = { .group = "token", .name = "create", .aliases = "add", .synopsis = "NAME",
	.summary = "Make a token for the API that may do some things only, and print it once", .opts = create_opts,
	.examples = "mica token create ci --scope exec,files --group sbox --expires 24h > ci.token\nmica token create dashboard --scope read\n"
		    "mica token create team-a --scope vm,exec,files --group sbox --max-vms 4 --max-ram 8G --max-vcpus 8\n"
		    "mica vm exec sbox-1 --url https://HOST:8080 --fingerprint AB:CD:… --token-file ci.token -- make test",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_create };

/* ---- list ---- */

static const struct opt list_opts[] = {
	{ "quiet", 'q', OPT_FLAG, NULL, "names only" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

/* "read,exec"; otherwise when the list is empty. */
static void join(const struct json_val *list, const char *otherwise, char *out, size_t cap)
{
	size_t n = 0;
	out[0] = 0;
	for (const struct json_val *v = list ? json_first(list) : NULL; v; v = json_next(list, v))
		if (n < cap)
			n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? "," : "", json_str(v) ? json_str(v) : "?");
	if (!out[0])
		snprintf(out, cap, "%s", otherwise);
}

static bool is_over(const struct json_val *v)
{
	bool over = false;
	json_get_bool(v, "expired", &over);
	return over;
}

/* "VMs 1/4, RAM 1GiB/8GiB"; "-" without. */
static void quota_words(const struct json_val *v, char *out, size_t cap)
{
	static const struct { const char *key, *name; bool bytes; } rows[] = { { "max_vms", "VMs", false }, { "max_vcpus", "vCPUs", false }, { "max_ram", "RAM", true }, { "max_disk", "disk", true } };
	size_t n = 0;
	snprintf(out, cap, "-");
	for (size_t i = 0; i < ARRAY_LEN(rows) && n < cap; i++) {
		const struct json_val *q = json_get(json_get(v, "quota"), rows[i].key);
		char a[WORDS_MAX], b[WORDS_MAX];
		int64_t limit = 0, used = 0;
		if (!q || json_get_i64(q, "limit", &limit) || limit <= 0)
			continue;
		json_get_i64(q, "used", &used);
		if (used < 0)
			used = 0;
		if (rows[i].bytes)
			n += (size_t)snprintf(out + n, cap - n, "%s%s %s/%s", n ? ", " : "", rows[i].name, words_bytes((uint64_t)used, a), words_bytes((uint64_t)limit, b));
		else
			n += (size_t)snprintf(out + n, cap - n, "%s%s %lld/%lld", n ? ", " : "", rows[i].name, (long long)used, (long long)limit);
	}
}

static void print_row(struct table *t, const struct json_val *v)
{
	char text[512], clean[512], age[WORDS_MAX];
	const char *end = text_of(v, "expires_at", ""), *used = text_of(v, "last_used_at", "");
	out_clean(clean, sizeof(clean), text_of(v, "name", "?"));
	table_cell(t, "%s", clean);
	join(json_get(v, "scopes"), "-", text, sizeof(text));
	out_clean(clean, sizeof(clean), text);
	table_cell(t, "%s", clean);
	join(json_get(v, "groups"), "all", text, sizeof(text));
	out_clean(clean, sizeof(clean), text);
	table_cell(t, "%s", clean);
	table_cell(t, "%s", words_age(rfc3339_age_s(text_of(v, "created_at", "")), age));
	out_clean(clean, sizeof(clean), end);
	if (is_over(v))
		table_cell(t, "expired");
	else
		table_cell(t, "%.19s%s", *end ? clean : "never", *end ? "Z" : "");
	table_cell(t, "%s", *used ? words_age(rfc3339_age_s(used), age) : "-");
	quota_words(v, text, sizeof(text));
	table_cell(t, "%s", text);
}

static void print_list(const struct json_val *list, bool quiet)
{
	static const char *const titles[] = { "NAME", "SCOPES", "GROUPS", "AGE", "EXPIRES", "USED", "QUOTA" };
	struct table t;
	table_init(&t, ARRAY_LEN(titles), titles);
	for (const struct json_val *v = list ? json_first(list) : NULL; v; v = json_next(list, v)) {
		char clean[200];
		if (quiet) {
			out_clean(clean, sizeof(clean), text_of(v, "name", "?"));
			puts(clean);
		} else {
			print_row(&t, v);
		}
	}
	if (!quiet)
		table_print(&t, stdout);
}

static int run_list(struct args *a)
{
	struct remote r;
	struct answer an;
	int code = remote_init(&r, a);
	if (!code)
		code = ask(&r, "GET", NULL, NULL, &an, "cannot list the tokens");
	if (code)
		return code;
	if (arg_flag(a, "json", false))
		printf("%s\n", buf_cstr(&an.text));
	else
		print_list(json_root(&an.json), arg_flag(a, "quiet", false));
	answer_done(&an);
	return 0;
}

const struct cmd cmd_token_list = { .group = "token", .name = "list", .aliases = "ls l", .summary = "List the named tokens: what they may do, and until when",
	.opts = list_opts, .examples = "mica token list\nmica token list --json", .command_at = -1, .flags = CMD_REMOTE, .run = run_list };

/* ---- revoke ---- */

static const struct opt revoke_opts[] = { { 0 } };

static int run_revoke(struct args *a)
{
	struct remote r;
	struct answer an;
	int code = remote_init(&r, a), worst = code;
	for (int i = 0; !code && i < a->n_pos; i++) {
		char doing[NAME_BYTES_MAX + 40], shown[NAME_BYTES_MAX + 1];
		out_clean(shown, sizeof(shown), a->pos[i]);
		snprintf(doing, sizeof(doing), "cannot revoke token '%s'", shown);
		if (!a->pos[i][0]) {
			worst = out_error(EXIT_USAGE, "a name is empty", "'mica token list' shows the names", "cannot revoke a token");
		} else if (ask(&r, "DELETE", a->pos[i], NULL, &an, doing)) {
			worst = EXIT_FAIL;
		} else {
			printf("%s revoked\n", shown);
			answer_done(&an);
		}
	}
	return worst;
}

const struct cmd cmd_token_revoke = { .group = "token", .name = "revoke", .aliases = "remove rm delete", .synopsis = "NAME…",
	.summary = "Revoke tokens: refused from now on, and what they have under way ends at once", .opts = revoke_opts,
	.examples = "mica token revoke ci\nmica token revoke ci dashboard", .min_pos = 1, .max_pos = -1, .command_at = -1, .flags = CMD_REMOTE,
	.run = run_revoke };
