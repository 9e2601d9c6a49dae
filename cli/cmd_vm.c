/* The verbs on VMs that are one request and one answer. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/net.h"
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
	table_cell(t, "%s", json_text(v, "hostname", "?"));
	table_cell(t, "%s", json_text(v, "ip", "-"));
	table_cell(t, "%s", words_bytes((uint64_t)json_int(v, "ram_bytes"), ram));
	table_cell(t, "%lld", (long long)json_int(v, "cpus"));
	table_cell(t, "%s", json_text(v, "status", "-"));
	table_cell(t, "%s", words_age(rfc3339_age_s(json_text(v, "created_at", "")), age));
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
	} else if (!answer_as_json(a, &an)) {
		struct table tab;
		if (!list || (list->kind != JSON_ARRAY && list->kind != JSON_NULL))
			return answer_odd(&an);
		bool quiet = arg_flag(a, "quiet", false);
		if (!quiet)
			table_init(&tab, ARRAY_LEN(titles), titles);
		for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
			if (quiet)
				line_of(json_text(v, "hostname", "?"));
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
	} else if (!answer_as_json(a, &an)) {
		char ram[WORDS_MAX];
		table_init(&t, ARRAY_LEN(titles), titles);
		for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
			table_cell(&t, "%s", json_text(v, "name", "?"));
			table_cell(&t, "%lld", (long long)json_int(v, "count"));
			table_cell(&t, "%s", words_bytes((uint64_t)json_int(v, "ram_bytes"), ram));
			table_cell(&t, "%lld", (long long)json_int(v, "cpus"));
			table_cell(&t, "%s", json_text(v, "arch", "-"));
		}
		table_print(&t, stdout);
	}
	answer_done(&an);
	return code;
}

const struct cmd cmd_vm_group = { .group = "vm", .name = "group", .aliases = "groups",
	.summary = "List the host groups ('mica group' does more)", .opts = json_opts,
	.examples = "mica vm group\nmica vm group --json", .command_at = -1, .flags = CMD_REMOTE, .run = run_group };

/* ---- describe ---- */

static void line(const char *label, const char *value)
{
	char clean[600];
	out_clean(clean, sizeof(clean), value);
	printf("%-14s %s\n", label, clean);
}

/* One line each. */
static void lines_of(const char *label, const struct json_val *list)
{
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v))
		line(label, json_str(v) ? json_str(v) : "?");
}

/* Besides the root disk. */
static void disks_of(const struct json_val *list)
{
	char size[WORDS_MAX], text[600];
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
		bool read_only = false;
		const char *file = json_text(v, "file", "");
		json_get_bool(v, "read_only", &read_only);
		snprintf(text, sizeof(text), "%s %s%s%s%.400s", json_text(v, "device", "?"), words_bytes((uint64_t)json_int(v, "size_bytes"), size),
			read_only ? ", read-only" : "", *file ? ", " : "", file);
		line("Disk:", text);
	}
}

static void describe(const struct json_val *v)
{
	char ram[WORDS_MAX], specs[80], tags[400], n[32], chaos[300];
	const char *friendly = NULL;
	bool persistent = false;
	join_tags(json_get(v, "tags"), tags, sizeof(tags), &friendly);
	json_get_bool(v, "persistent", &persistent);
	snprintf(specs, sizeof(specs), "%lld vCPU, %s RAM", (long long)json_int(v, "cpus"), words_bytes((uint64_t)json_int(v, "ram_bytes"), ram));
	line("Hostname:", json_text(v, "hostname", "?"));
	if (friendly)
		line("Name:", friendly);
	line("Group:", json_text(v, "hostgroup", "-"));
	line("Status:", json_text(v, "status", "-"));
	line("IP:", json_text(v, "ip", "-"));
	line("Specs:", specs);
	line("Persistent:", persistent ? "true" : "false");
	line("Created:", json_text(v, "created_at", "-"));
	line("Last call:", json_text(v, "last_agent_call", "never"));
	line("Image:", json_text(v, "image", "-"));
	line("Storage:", json_text(v, "storage", "-"));
	disks_of(json_get(v, "disks"));
	if (json_get(v, "disk_error"))
		line("Disk error:", json_text(v, "disk_error", "-"));
	line("Network:", json_text(json_get(v, "network"), "mode", "-"));
	net_chaos_words(json_get(json_get(v, "network"), "chaos"), chaos, sizeof(chaos));
	if (chaos[0])
		printf("%-14s %s\n", "Chaos:", chaos);
	lines_of("Published:", json_get(v, "publish"));
	lines_of("Waits:", json_get(v, "publish_faults"));
	snprintf(n, sizeof(n), "%lld", (long long)json_int(v, "open_agent_connections"));
	line("Open calls:", n);
	line("Tags:", tags[0] ? tags : "-");
	const char *fault = NULL;
	if (!json_get_str(v, "fault", &fault) && *fault)
		line("Ended by:", fault);
}

static int run_describe(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, "GET", "", NULL, vm, &an, "describe");
	if (code)
		return code;
	if (!answer_as_json(a, &an)) {
		if (!json_root(&an.json))
			return answer_odd(&an);
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
	int code = vm_ask_first(a, &r, "GET", "/health", NULL, vm, &an, "ask the agent of");
	if (code)
		return code;
	const struct json_val *v = json_root(&an.json);
	if (!answer_as_json(a, &an)) {
		bool ran = false;
		struct table t;
		json_get_bool(v, "userdata_ran", &ran);
		table_init(&t, ARRAY_LEN(titles), titles);
		table_cell(&t, "%s", json_text(v, "hostname", vm));
		table_cell(&t, "%s", words_age((uint64_t)json_int(v, "agent_uptime") / 1000000000u, age));
		table_cell(&t, "%s", words_age((uint64_t)json_int(v, "system_uptime") / 1000000000u, age));
		table_cell(&t, "%s", json_text(v, "agent_version", "-"));
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
	int code = vm_ask_first(a, &r, "GET", tail, NULL, vm, &an, "read the console of");
	if (code)
		return code;
	if (!answer_as_json(a, &an)) {
		const struct json_val *c = json_get(json_root(&an.json), "content");
		if (!c || c->kind != JSON_STRING)
			return answer_odd(&an);
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
