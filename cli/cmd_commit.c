/* vm commit, vm fork: a stopped VM's disk kept, and VMs that start from it. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <stdio.h>
#include <string.h>

static const struct opt commit_opts[] = {
	{ "tag", 0, OPT_LIST, "TAG", "tag of the commit; list: only those with it" },
	{ "label", 0, OPT_LIST, "K=V", "label of the commit" },
	{ "cache-key", 0, OPT_TEXT, "KEY", "what it was made from: one commit may have it; list: only that one" },
	{ "source", 0, OPT_TEXT, "VM", "list: only those of this VM" },
	{ "quiet", 'q', OPT_FLAG, NULL, "print ids alone" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};
static const struct opt fork_opts[] = {
	{ "wait", 0, OPT_FLAG, NULL, "until its agent answers and it is another machine than its source" },
	{ "timeout", 0, OPT_DURATION, "TIME", "for waiting (default 5m); when it is over the fork is removed" },
	{ "allow", 0, OPT_LIST, "RULE", "isolated, bridge: what it may reach, instead of its source's list" },
	{ "no-allow", 0, OPT_FLAG, NULL, "the same: an empty list" },
	{ "drop", 0, OPT_LIST, "RULE", "isolated, bridge: what it may not reach, instead of its source's list" },
	{ "fixup", 0, OPT_LIST, "NAME", "only these of hostname, machine-id, ssh-host-keys (default: all)" },
	{ "no-fixups", 0, OPT_FLAG, NULL, "none: it takes itself for its source" },
	{ "rm", 0, OPT_FLAG, NULL, "ephemeral: gone with its end" },
	{ "cpu", 0, OPT_NUMBER, "N", "processors (default: its source's)" },
	{ "ram-mb", 0, OPT_NUMBER, "N", "memory in MiB (default: its source's)" },
	{ "tag", 0, OPT_LIST, "TAG", "tag, beside its source's" },
	{ "replace-tags", 0, OPT_FLAG, NULL, "without its source's tags" },
	{ "secret", 0, OPT_LIST, "NAME", "secret it may have, instead of its source's" },
	{ "no-secrets", 0, OPT_FLAG, NULL, "it may have none" },
	{ "name", 'n', OPT_TEXT, "NAME", "friendly name (kept as the tag name=NAME)" },
	{ "quiet", 'q', OPT_FLAG, NULL, "print its hostname alone" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static void row(const char *label, const char *value)
{
	char clean[512];
	out_clean(clean, sizeof(clean), value);
	printf("  %-11s %s\n", label, clean);
}

static void put_list(struct json_out *o, const char *key, const struct args *a, const char *opt)
{
	const char *v;
	unsigned i = 0;
	json_arr(o, key);
	while ((v = arg_next(a, opt, &i)))
		json_put_str(o, NULL, v);
	json_end(o);
}

/* The answer of one request as JSON, its one word, or what print() makes of it. */
static int show(const struct args *a, struct answer *an, const char *key, void (*print)(const struct json_val *v))
{
	const char *word = NULL;
	if (!an->json.v || json_get_str(json_root(&an->json), key, &word))
		return answer_odd(an);
	if (arg_flag(a, "quiet", false))
		puts(word);
	else if (!answer_as_json(a, an))
		print(json_root(&an->json));
	answer_done(an);
	return 0;
}

static int given_twice(const char *list, const char *none)
{
	return out_error(EXIT_USAGE, "one of them is enough", "", "--%s and --%s exclude each other", list, none);
}

/* ---- commit ---- */

static int put_labels(struct json_out *o, const struct args *a)
{
	const char *v;
	unsigned i = 0;
	char key[256];
	json_obj(o, "labels");
	while ((v = arg_next(a, "label", &i))) {
		const char *eq = strchr(v, '=');
		if (!eq || eq == v || (size_t)(eq - v) >= sizeof(key))
			return out_error(EXIT_USAGE, "a label is KEY=VALUE", "", "--label=%s", v);
		snprintf(key, sizeof(key), "%.*s", (int)(eq - v), v);
		json_put_str(o, key, eq + 1);
	}
	json_end(o);
	return 0;
}

static void print_commit(const struct json_val *v)
{
	printf("VM committed\n");
	row("Hostname:", json_text(v, "hostname", "-"));
	row("Commit:", json_text(v, "commit_id", "-"));
	if (json_get(v, "cache_key"))
		row("Cache key:", json_text(v, "cache_key", "-"));
}

static int make(struct args *a)
{
	struct remote r;
	struct answer an;
	struct json_out o;
	struct buf body;
	char vm[VM_NAME_MAX];
	buf_init(&body, 1u << 20);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	put_list(&o, "tags", a, "tag");
	int code = put_labels(&o, a);
	if (arg_text(a, "cache-key"))
		json_put_str(&o, "cache_key", arg_text(a, "cache-key"));
	json_end(&o);
	if (!code)
		code = vm_ask_first(a, &r, "POST", "/commit", &body, vm, &an, "commit");
	buf_done(&body);
	return code ? code : show(a, &an, "commit_id", print_commit);
}

static void print_deleted(const struct json_val *v)
{
	char clean[256];
	out_clean(clean, sizeof(clean), json_text(v, "commit_id", "-"));
	printf("%s deleted\n", clean);
}

/* "/vm/commits/<id><tail>"; the caller ends *an when 0 is returned. */
static int ask(const struct remote *r, const char *method, const char *id, const char *tail, const struct buf *body, struct answer *an, const char *doing)
{
	struct buf target;
	buf_init(&target, 4096);
	buf_adds(&target, "/vm/commits");
	if (id) {
		buf_adds(&target, "/");
		http_escape(&target, id);
	}
	buf_adds(&target, tail);
	int code = remote_ask(r, method, buf_cstr(&target), body, an);
	buf_done(&target);
	if (code || an->status < 300)
		return code;
	code = remote_refused(r, EXIT_FAIL, an->status, &an->text, doing);
	answer_done(an);
	return code;
}

static int drop(const struct args *a)
{
	struct remote r;
	struct answer an;
	int code = remote_init(&r, a);
	if (!code)
		code = ask(&r, "DELETE", a->pos[1], "", NULL, &an, "cannot delete the commit");
	return code ? code : show(a, &an, "commit_id", print_deleted);
}

static int print_list(const struct answer *an)
{
	static const char *const titles[] = { "COMMIT", "SOURCE", "GROUP", "AGE", "CACHE KEY", "TAGS" };
	struct table t;
	char w[WORDS_MAX], text[512], clean[512];
	table_init(&t, ARRAY_LEN(titles), titles);
	const struct json_val *root = an->json.v ? json_root(&an->json) : NULL;
	for (const struct json_val *v = json_first(root); v; v = json_next(root, v)) {
		const struct json_val *tags = json_get(v, "tags");
		size_t n = 0;
		text[0] = 0;
		for (const struct json_val *tag = json_first(tags); tag && n < sizeof(text); tag = json_next(tags, tag))
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? "," : "", json_str(tag) ? json_str(tag) : "?");
		table_cell(&t, "%s", json_text(v, "commit_id", "-"));
		table_cell(&t, "%s", json_text(v, "source_hostname", "-"));
		table_cell(&t, "%s", json_text(v, "source_host_group", "-"));
		table_cell(&t, "%s", words_age(rfc3339_age_s(json_text(v, "created_at", "")), w));
		out_clean(clean, sizeof(clean), json_text(v, "cache_key", "-"));
		table_cell(&t, "%s", clean);
		out_clean(clean, sizeof(clean), text[0] ? text : "-");
		table_cell(&t, "%s", clean);
	}
	return table_print(&t, stdout) ? EXIT_FAIL : 0;
}

static int list(const struct args *a)
{
	static const char *const rows[][2] = { { "tag", "tag" }, { "cache-key", "cache_key" }, { "source", "source" } };
	struct remote r;
	struct answer an;
	struct buf tail;
	bool first = true;
	int code = remote_init(&r, a);
	if (code)
		return code;
	buf_init(&tail, 4096);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		http_add_param(&tail, &first, rows[i][1], arg_text(a, rows[i][0]));
	code = ask(&r, "GET", NULL, buf_cstr(&tail), NULL, &an, "cannot list commits");
	buf_done(&tail);
	if (code)
		return code;
	if (arg_flag(a, "quiet", false)) {
		const struct json_val *root = an.json.v ? json_root(&an.json) : NULL;
		for (const struct json_val *v = json_first(root); v; v = json_next(root, v))
			puts(json_text(v, "commit_id", "-"));
	} else if (!answer_as_json(a, &an)) {
		code = print_list(&an);
	}
	answer_done(&an);
	return code;
}

static int run_commit(struct args *a)
{
	bool lists = strcmp(a->pos[0], "list") == 0 || strcmp(a->pos[0], "ls") == 0;
	bool deletes = strcmp(a->pos[0], "delete") == 0 || strcmp(a->pos[0], "rm") == 0;
	if (a->n_pos != 1 + deletes)
		return out_error(EXIT_USAGE, deletes ? "an id is missing" : "there is one argument too many", "mica vm commit --help shows examples", "vm commit");
	return lists ? list(a) : deletes ? drop(a) : make(a);
}

/* ---- fork ---- */

static int put_rules(struct json_out *o, const struct args *a)
{
	bool none = arg_flag(a, "no-allow", false);
	if (none && arg_text(a, "allow"))
		return given_twice("allow", "no-allow");
	if (!none && !arg_text(a, "allow") && !arg_text(a, "drop"))
		return 0;
	json_obj(o, "network");
	if (none || arg_text(a, "allow"))
		put_list(o, "allow", a, "allow");
	if (arg_text(a, "drop"))
		put_list(o, "drop", a, "drop");
	json_end(o);
	return 0;
}

static void put_tags(struct json_out *o, const struct args *a)
{
	const char *v, *name = arg_text(a, "name");
	char tag[VM_NAME_MAX + 8];
	unsigned i = 0;
	json_arr(o, "tags");
	if (name) {
		snprintf(tag, sizeof(tag), "name=%s", name);
		json_put_str(o, NULL, tag);
	}
	while ((v = arg_next(a, "tag", &i)))
		json_put_str(o, NULL, v);
	json_end(o);
	if (arg_flag(a, "replace-tags", false))
		json_put_str(o, "tag_mode", "replace");
}

/* A list, or --no-…: an empty one; neither: its source's. */
static int put_choice(struct json_out *o, const struct args *a, const char *key, const char *opt, const char *no)
{
	bool none = arg_flag(a, no, false);
	if (none && arg_text(a, opt))
		return given_twice(opt, no);
	if (none || arg_text(a, opt))
		put_list(o, key, a, opt);
	return 0;
}

static int fork_body(struct buf *b, const struct args *a)
{
	struct json_out o;
	uint64_t ram = 0;
	if (arg_text(a, "name") && !name_is_valid(arg_text(a, "name"), 63))
		return out_error(EXIT_USAGE, "a friendly name is a DNS label: small letters, digits and '-', at most 63", "", "--name=%s", arg_text(a, "name"));
	json_out_init(&o, b);
	json_obj(&o, NULL);
	if (arg_text(a, "ram-mb"))
		json_put_u64(&o, "ram_bytes", mul_overflows_u64(arg_u64(a, "ram-mb", 0), UINT64_C(1) << 20, &ram) || ram > INT64_MAX ? INT64_MAX : ram);
	if (arg_text(a, "cpu"))
		json_put_u64(&o, "vcpu", arg_u64(a, "cpu", 0));
	json_put_bool(&o, "persistent", !arg_flag(a, "rm", false));
	put_tags(&o, a);
	int code = put_rules(&o, a);
	if (!code)
		code = put_choice(&o, a, "fixups", "fixup", "no-fixups");
	if (!code)
		code = put_choice(&o, a, "secrets", "secret", "no-secrets");
	json_end(&o);
	return code;
}

static void print_fork(const struct json_val *v)
{
	bool persistent = true;
	json_get_bool(v, "persistent", &persistent);
	printf("VM forked\n");
	row("Hostname:", json_text(v, "hostname", "-"));
	row("Source:", json_text(v, "source_hostname", "-"));
	row("Commit:", json_text(v, "commit_id", "-"));
	row("Status:", json_text(v, "child_status", "-"));
	row("Persistent:", persistent ? "true" : "false");
}

static int run_fork(struct args *a)
{
	struct remote r;
	struct answer an;
	struct buf body, tail;
	bool first = true;
	int code = remote_init(&r, a);
	if (code)
		return code;
	buf_init(&body, 1u << 20);
	buf_init(&tail, 4096);
	buf_adds(&tail, "/fork");
	http_add_param(&tail, &first, "wait", arg_flag(a, "wait", false) ? "agent" : NULL);
	http_add_param(&tail, &first, "timeout", arg_text(a, "timeout"));
	code = fork_body(&body, a);
	if (!code)
		code = ask(&r, "POST", a->pos[0], buf_cstr(&tail), &body, &an, "cannot fork the commit");
	buf_done(&tail);
	buf_done(&body);
	return code ? code : show(a, &an, "hostname", print_fork);
}

const struct cmd cmd_vm_commit = { .group = "vm", .name = "commit", .synopsis = "VM | list | delete ID",
	.summary = "Keep a stopped VM's disk, so that others can start from it", .opts = commit_opts,
	.examples = "mica vm shutdown vm-1 && mica vm commit vm-1 --cache-key deps-v3\nmica vm commit list --tag golden\n"
		    "mica vm commit delete cmt-vmx1-0123456789abcdef",
	.min_pos = 1, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_commit };
const struct cmd cmd_vm_fork = { .group = "vm", .name = "fork", .synopsis = "COMMIT", .summary = "Start a VM from a commit", .opts = fork_opts,
	.examples = "mica vm fork cmt-vmx1-0123456789abcdef --wait\nmica vm fork $(mica vm commit vm-1 --quiet) --rm --name try-1 --json",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_fork };
