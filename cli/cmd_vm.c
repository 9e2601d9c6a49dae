/* The verbs on VMs that are one request and one answer. */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct opt json_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

/* The answer's text and a line break, when --json was given. */
static bool print_json(const struct args *a, const struct answer *an)
{
	if (!arg_flag(a, "json", false))
		return false;
	size_t n = buf_len(&an->text);
	fwrite(buf_data(&an->text), 1, n, stdout);
	if (!n || buf_data(&an->text)[n - 1] != '\n')
		putchar('\n');
	return true;
}

static const char *text_of(const struct json_val *v, const char *key, const char *otherwise)
{
	json_get_str(v, key, &otherwise);
	return otherwise;
}

static int64_t int_of(const struct json_val *v, const char *key)
{
	int64_t n = 0;
	json_get_i64(v, key, &n);
	return n;
}

static int odd_answer(struct answer *an)
{
	answer_done(an);
	return out_error(EXIT_FAIL, "the daemon answered with something else than expected", "is this mica's API? 'mica info' shows the version",
		"cannot read the answer");
}

/* "a b c" of a list of strings; friendly names apart. */
static void join_tags(const struct json_val *list, char *dst, size_t cap, const char **friendly)
{
	size_t at = 0;
	dst[0] = 0;
	for (const struct json_val *t = json_first(list); t; t = json_next(list, t)) {
		const char *s = json_str(t);
		if (!s)
			continue;
		if (friendly && !strncmp(s, "name=", 5)) {
			*friendly = s + 5;
			continue;
		}
		int n = snprintf(dst + at, cap - at, "%s%s", at ? "," : "", s);
		at += n > 0 && (size_t)n < cap - at ? (size_t)n : 0;
	}
}

/* ---- list ---- */

static const struct opt list_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ "quiet", 'q', OPT_FLAG, NULL, "names only" },
	{ "group", 0, OPT_TEXT, "GROUP", "only this host group" },
	{ "tag", 0, OPT_TEXT, "TAG", "only VMs with exactly this tag" },
	{ "tag-prefix", 0, OPT_TEXT, "PREFIX", "only VMs with a tag that starts so" },
	{ 0 },
};

static void list_row(struct table *t, const struct json_val *v)
{
	char ram[WORDS_MAX], age[WORDS_MAX], tags[400];
	const char *friendly = "-";
	join_tags(json_get(v, "tags"), tags, sizeof(tags), &friendly);
	table_cell(t, "%s", text_of(v, "hostname", "?"));
	table_cell(t, "%s", text_of(v, "ip", "-"));
	table_cell(t, "%s", words_bytes((uint64_t)int_of(v, "ram_bytes"), ram));
	table_cell(t, "%lld", (long long)int_of(v, "cpus"));
	table_cell(t, "%s", text_of(v, "status", "-"));
	table_cell(t, "%s", words_age(rfc3339_age_s(text_of(v, "created_at", "")), age));
	table_cell(t, "%s", friendly);
	table_cell(t, "%s", tags[0] ? tags : "-");
}

static void line_of(const char *text)
{
	char clean[VM_NAME_MAX];
	out_clean(clean, sizeof(clean), text);
	puts(clean);
}

static int run_list(struct args *a)
{
	static const char *const titles[] = { "HOSTNAME", "IP", "RAM", "CPUS", "STATUS", "CREATED", "NAME", "TAGS" };
	struct remote r;
	struct answer an;
	struct buf target;
	bool first = true;
	int code = remote_init(&r, a);
	if (code)
		return code;
	buf_init(&target, HTTP_TARGET_MAX);
	if (arg_text(a, "group")) {
		buf_adds(&target, "/hostgroup/");
		http_escape(&target, arg_text(a, "group"));
	}
	buf_adds(&target, "/nodes");
	http_add_param(&target, &first, "tag", arg_text(a, "tag"));
	http_add_param(&target, &first, "tag_prefix", arg_text(a, "tag-prefix"));
	const char *t = buf_cstr(&target);
	code = t ? remote_ask(&r, "GET", t, NULL, &an) : out_error(EXIT_USAGE, "a request line has its limits", "use a shorter one", "the filter is too long");
	buf_done(&target);
	if (code)
		return code;
	const struct json_val *list = json_root(&an.json);
	if (an.status != 200) {
		code = remote_refused(&r, EXIT_FAIL, an.status, &an.text, "cannot list the VMs");
	} else if (!print_json(a, &an)) {
		struct table tab;
		if (!list || (list->kind != JSON_ARRAY && list->kind != JSON_NULL))
			return odd_answer(&an);
		bool quiet = arg_flag(a, "quiet", false);
		if (!quiet)
			table_init(&tab, ARRAY_LEN(titles), titles);
		for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
			if (quiet)
				line_of(text_of(v, "hostname", "?"));
			else
				list_row(&tab, v);
		}
		if (!quiet)
			table_print(&tab, stdout);
	}
	answer_done(&an);
	return code;
}

const struct cmd cmd_vm_list = { .group = "vm", .name = "list", .aliases = "ls l", .shortcut = "ls list", .summary = "List the VMs", .opts = list_opts,
	.examples = "mica vm list\nmica vm list --json\nmica ls --tag job=7", .command_at = -1, .flags = CMD_REMOTE, .run = run_list };

/* ---- group ---- */

static int run_group(struct args *a)
{
	static const char *const titles[] = { "NAME", "COUNT", "RAM", "CPUS", "ARCH" };
	struct remote r;
	struct answer an;
	struct table t;
	int code = remote_init(&r, a);
	if (!code)
		code = remote_ask(&r, "GET", "/hostgroup", NULL, &an);
	if (code)
		return code;
	const struct json_val *list = json_root(&an.json);
	if (an.status != 200) {
		code = remote_refused(&r, EXIT_FAIL, an.status, &an.text, "cannot list the host groups");
	} else if (!print_json(a, &an)) {
		char ram[WORDS_MAX];
		table_init(&t, ARRAY_LEN(titles), titles);
		for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
			table_cell(&t, "%s", text_of(v, "name", "?"));
			table_cell(&t, "%lld", (long long)int_of(v, "count"));
			table_cell(&t, "%s", words_bytes((uint64_t)int_of(v, "ram_bytes"), ram));
			table_cell(&t, "%lld", (long long)int_of(v, "cpus"));
			table_cell(&t, "%s", text_of(v, "arch", "-"));
		}
		table_print(&t, stdout);
	}
	answer_done(&an);
	return code;
}

const struct cmd cmd_vm_group = { .group = "vm", .name = "group", .aliases = "groups",
	.summary = "List the host groups of the daemon's config", .opts = json_opts,
	.examples = "mica vm group\nmica vm group --json", .command_at = -1, .flags = CMD_REMOTE, .run = run_group };

/* ---- describe ---- */

static void line(const char *label, const char *value)
{
	char clean[600];
	out_clean(clean, sizeof(clean), value);
	printf("%-14s %s\n", label, clean);
}

static void describe(const struct json_val *v)
{
	char ram[WORDS_MAX], specs[80], tags[400], n[32];
	const char *friendly = NULL;
	bool persistent = false;
	join_tags(json_get(v, "tags"), tags, sizeof(tags), &friendly);
	json_get_bool(v, "persistent", &persistent);
	snprintf(specs, sizeof(specs), "%lld vCPU, %s RAM", (long long)int_of(v, "cpus"), words_bytes((uint64_t)int_of(v, "ram_bytes"), ram));
	line("Hostname:", text_of(v, "hostname", "?"));
	if (friendly)
		line("Name:", friendly);
	line("Group:", text_of(v, "hostgroup", "-"));
	line("Status:", text_of(v, "status", "-"));
	line("IP:", text_of(v, "ip", "-"));
	line("Specs:", specs);
	line("Persistent:", persistent ? "true" : "false");
	line("Created:", text_of(v, "created_at", "-"));
	line("Last call:", text_of(v, "last_agent_call", "never"));
	line("Image:", text_of(v, "image", "-"));
	line("Storage:", text_of(v, "storage", "-"));
	line("Network:", text_of(json_get(v, "network"), "mode", "-"));
	snprintf(n, sizeof(n), "%lld", (long long)int_of(v, "open_agent_connections"));
	line("Open calls:", n);
	line("Tags:", tags[0] ? tags : "-");
	const char *fault = NULL;
	if (!json_get_str(v, "fault", &fault) && *fault)
		line("Ended by:", fault);
}

/* VM is pos[0]; the whole of most verbs. tail, method, doing as in vm_ask. */
static int ask_one(struct args *a, struct remote *r, const char *method, const char *tail, const struct buf *body, char vm[VM_NAME_MAX], struct answer *an,
		   const char *verb)
{
	char doing[VM_NAME_MAX + 64];
	int code = vm_name_take(vm, a->pos[0]);
	if (!code)
		code = remote_init(r, a);
	if (code)
		return code;
	snprintf(doing, sizeof(doing), "cannot %s %s", verb, vm);
	return vm_ask(r, method, vm, tail, body, an, doing);
}

static int run_describe(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = ask_one(a, &r, "GET", "", NULL, vm, &an, "describe");
	if (code)
		return code;
	if (!print_json(a, &an)) {
		if (!json_root(&an.json))
			return odd_answer(&an);
		describe(json_root(&an.json));
	}
	answer_done(&an);
	return 0;
}

const struct cmd cmd_vm_describe = { .group = "vm", .name = "describe", .aliases = "inspect", .synopsis = "VM",
	.summary = "Show one VM in full", .opts = json_opts,
	.examples = "mica vm describe vm-1\nmica vm describe vm-1 --json", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_describe };

/* ---- health ---- */

static int run_health(struct args *a)
{
	static const char *const titles[] = { "HOSTNAME", "AGENT UPTIME", "SYSTEM UPTIME", "AGENT VERSION", "USERDATA RAN" };
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX], age[WORDS_MAX];
	int code = ask_one(a, &r, "GET", "/health", NULL, vm, &an, "ask the agent of");
	if (code)
		return code;
	const struct json_val *v = json_root(&an.json);
	if (!print_json(a, &an)) {
		bool ran = false;
		struct table t;
		json_get_bool(v, "userdata_ran", &ran);
		table_init(&t, ARRAY_LEN(titles), titles);
		table_cell(&t, "%s", text_of(v, "hostname", vm));
		table_cell(&t, "%s", words_age((uint64_t)int_of(v, "agent_uptime") / 1000000000u, age));
		table_cell(&t, "%s", words_age((uint64_t)int_of(v, "system_uptime") / 1000000000u, age));
		table_cell(&t, "%s", text_of(v, "agent_version", "-"));
		table_cell(&t, "%s", ran ? "true" : "false");
		table_print(&t, stdout);
	}
	answer_done(&an);
	return 0;
}

const struct cmd cmd_vm_health = { .group = "vm", .name = "health", .synopsis = "VM", .summary = "Ask the agent in the VM how it is", .opts = json_opts,
	.examples = "mica vm health vm-1\nmica vm health vm-1 --json", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_health };

/* ---- logs ---- */

static const struct opt logs_opts[] = {
	{ "lines", 'n', OPT_NUMBER, "N", "how many of the last lines (default 20; 0: all)" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static int run_logs(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX], tail[64];
	snprintf(tail, sizeof(tail), "/logs?lines=%llu", (unsigned long long)arg_u64(a, "lines", 20));
	int code = ask_one(a, &r, "GET", tail, NULL, vm, &an, "read the console of");
	if (code)
		return code;
	if (!print_json(a, &an)) {
		const struct json_val *c = json_get(json_root(&an.json), "content");
		if (!c || c->kind != JSON_STRING)
			return odd_answer(&an);
		fwrite(c->s, 1, c->len, stdout);
		if (c->len && c->s[c->len - 1] != '\n')
			putchar('\n');
	}
	answer_done(&an);
	return 0;
}

const struct cmd cmd_vm_logs = { .group = "vm", .name = "logs", .shortcut = "logs", .synopsis = "VM",
	.summary = "Show the end of the VM's serial console", .opts = logs_opts,
	.examples = "mica vm logs vm-1\nmica logs vm-1 --lines 0", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_logs };

/* ---- pause, resume, shutdown, relaunch, delete ---- */

static int done(const struct args *a, struct answer *an, const char *vm, const char *what)
{
	if (!print_json(a, an))
		printf("%s %s\n", vm, what);
	answer_done(an);
	return 0;
}

static int run_pause(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = ask_one(a, &r, "POST", "/pause", NULL, vm, &an, "pause");
	return code ? code : done(a, &an, vm, "paused");
}

static int run_resume(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = ask_one(a, &r, "POST", "/resume", NULL, vm, &an, "resume");
	return code ? code : done(a, &an, vm, "resumed");
}

static const struct opt shutdown_opts[] = {
	{ "reboot", 0, OPT_FLAG, NULL, "ask the guest to reboot instead of powering off (it stops all the same)" },
	{ 0 },
};

static int run_shutdown(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = ask_one(a, &r, "POST", arg_flag(a, "reboot", false) ? "/shutdown?action=reboot" : "/shutdown?action=shutdown", NULL, vm, &an, "shut down");
	return code ? code : done(a, &an, vm, "stopped");
}

static int run_relaunch(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = ask_one(a, &r, "POST", "/relaunch", NULL, vm, &an, "relaunch");
	return code ? code : done(a, &an, vm, "relaunched");
}

/* DELETE wants the group: found by describing the VM, which also resolves a friendly name. */
static int delete_one(const struct remote *r, struct args *a, const char *given)
{
	struct answer an;
	struct buf target;
	char vm[VM_NAME_MAX], doing[VM_NAME_MAX + 32];
	const char *group = NULL, *hostname = NULL, *error = "";
	int code = vm_name_take(vm, given);
	if (code)
		return code;
	snprintf(doing, sizeof(doing), "cannot delete %s", vm);
	code = vm_ask(r, "GET", vm, "", NULL, &an, doing);
	if (code)
		return code;
	if (json_get_str(json_root(&an.json), "hostgroup", &group) || json_get_str(json_root(&an.json), "hostname", &hostname))
		return odd_answer(&an);
	buf_init(&target, 4096);
	buf_adds(&target, "/hostgroup/");
	http_escape(&target, group);
	buf_adds(&target, "/nodes/");
	http_escape(&target, hostname);
	answer_done(&an);
	code = buf_cstr(&target) ? remote_ask(r, "DELETE", buf_cstr(&target), NULL, &an) : EXIT_FAIL;
	buf_done(&target);
	if (code)
		return code;
	json_get_str(json_root(&an.json), "error", &error);
	if (an.status >= 300 || *error) {
		code = remote_refused(r, EXIT_FAIL, an.status, &an.text, doing);
		answer_done(&an);
		return code;
	}
	return done(a, &an, vm, "deleted");
}

static int run_delete(struct args *a)
{
	struct remote r;
	int code = remote_init(&r, a), one;
	for (int i = 0; i < a->n_pos && (!code || code == EXIT_FAIL); i++)
		if ((one = delete_one(&r, a, a->pos[i])))
			code = one;
	return code;
}

const struct cmd cmd_vm_pause = { .group = "vm", .name = "pause", .synopsis = "VM", .summary = "Freeze the VM's processors",
	.opts = json_opts, .examples = "mica vm pause vm-1",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_pause };
const struct cmd cmd_vm_resume = { .group = "vm", .name = "resume", .synopsis = "VM", .summary = "Let a paused VM go on",
	.opts = json_opts, .examples = "mica vm resume vm-1",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_resume };
const struct cmd cmd_vm_shutdown = { .group = "vm", .name = "shutdown", .aliases = "stop", .synopsis = "VM",
	.summary = "Stop the VM; a persistent one keeps its disk", .opts = shutdown_opts,
	.examples = "mica vm shutdown vm-1\nmica vm shutdown vm-1 && mica vm relaunch vm-1", .min_pos = 1, .max_pos = 1, .command_at = -1,
		.flags = CMD_REMOTE, .run = run_shutdown };
const struct cmd cmd_vm_relaunch = { .group = "vm", .name = "relaunch", .aliases = "start", .shortcut = "relaunch", .synopsis = "VM",
	.summary = "Start a stopped persistent VM again", .opts = json_opts,
	.examples = "mica vm relaunch vm-1", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_relaunch };
const struct cmd cmd_vm_delete = { .group = "vm", .name = "delete", .aliases = "rm remove", .synopsis = "VM…",
	.summary = "Remove VMs and their disks", .opts = json_opts,
	.examples = "mica vm delete vm-1\nmica vm delete job-1 job-2", .min_pos = 1, .max_pos = -1, .command_at = -1, .flags = CMD_REMOTE, .run = run_delete };
