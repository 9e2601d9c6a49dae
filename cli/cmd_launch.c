/* vm launch. */
#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/net.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_FILE_MAX (1u << 20)

static const struct opt launch_opts[] = {
	{ "cpus", 0, OPT_NUMBER, "N", "processors (default and maximum: the group's)" },
	{ "ram-gb", 0, OPT_NUMBER, "N", "memory in GiB" },
	{ "ram-mb", 0, OPT_NUMBER, "N", "memory in MiB" },
	{ "ram-bytes", 0, OPT_NUMBER, "N", "memory in bytes" },
	{ "gpus", 0, OPT_NUMBER, "N", "GPUs" },
	{ "name", 'n', OPT_TEXT, "NAME", "friendly name (kept as the tag name=NAME)" },
	{ "tag", 0, OPT_LIST, "TAG", "tag, by custom key=value" },
	{ "userdata", 0, OPT_TEXT, "TEXT", "script for the first boot: its text, or a file's path" },
	{ "userdata-file", 0, OPT_TEXT, "PATH", "script for the first boot" },
	{ "ssh-key", 0, OPT_LIST, "KEY", "public key: its text, or a file's path" },
	{ "import-user", 0, OPT_TEXT, "USER", "GitHub user: told to the daemon, which ignores it (no network): use --ssh-key" },
	{ "secret", 0, OPT_LIST, "NAME", "secret this VM may have" },
	{ "secrets", 0, OPT_LIST, "A,B", "the same, several at once" },
	{ "ip", 0, OPT_TEXT, "ADDRESS", "address to have" },
	{ "image", 0, OPT_TEXT, "IMAGE", "stored image instead of the host group's" },
	{ "net-limit", 0, OPT_TEXT, "RATE", "of its network card, each way: 10mbit, 512kbit or 5MiB a second" },
	{ "net-pps", 0, OPT_TEXT, "N", "packets a second, each way" },
	{ "allow", 0, OPT_LIST, "ENTRY", "what it may reach, instead of the host group's list (see 'mica policy set'); 'none' for an empty one" },
	{ "drop", 0, OPT_LIST, "ENTRY", "what it may not" },
	{ "publish", 'p', OPT_LIST, "SPEC", "port of this host that leads into it, without token: [ADDRESS:]PORT:GUEST-PORT, or :/SOCKET" },
	{ "persistent", 0, OPT_FLAG, NULL, "keep the disk after a shutdown (default; --persistent=false: gone with the VM)" },
	{ "wait", 0, OPT_FLAG, NULL, "until the agent answers" },
	{ "wait-userdata", 0, OPT_FLAG, NULL, "until userdata has run" },
	{ "timeout", 0, OPT_DURATION, "TIME", "for waiting (default 5m); when it is over the VM is removed" },
	{ "shell", 0, OPT_FLAG, NULL, "open a shell in it" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

/* Text given directly, or the content of the file it names. NULL after saying why. Caller frees. */
static char *text_or_file(const char *given, bool must_be_file, const char *what)
{
	char *text;
	size_t n;
	int err = read_file_at(AT_FDCWD, given, SMALL_FILE_MAX, &text, &n);
	if (!err && strlen(text) == n)
		return text;
	if (!err) {
		free(text);
		out_error(EXIT_FAIL, "it holds a NUL byte", "give a text file", "cannot read %s from %s", what, given);
		return NULL;
	}
	bool no_file = err == -ENOENT || err == -ENOTDIR || err == -ENAMETOOLONG; /* then it is the text itself */
	if (!must_be_file && no_file)
		return strdup(given);
	out_error(EXIT_FAIL, strerror(-err), err == -EFBIG ? "at most 1 MiB is possible: copy larger files in afterwards" : "check the path",
		  "cannot read %s from %s", what, given);
	return NULL;
}

static int put_userdata(struct json_out *o, const struct args *a)
{
	const char *file = arg_text(a, "userdata-file"), *inline_text = arg_text(a, "userdata");
	if (!file && !inline_text)
		return 0;
	char *text = text_or_file(file ? file : inline_text, file != NULL, "userdata");
	if (!text)
		return EXIT_FAIL;
	json_put_str(o, "userdata", text);
	free(text);
	return 0;
}

static int put_keys(struct json_out *o, const struct args *a)
{
	const char *key;
	unsigned i = 0;
	if (!arg_text(a, "ssh-key"))
		return 0;
	json_arr(o, "ssh_keys");
	while ((key = arg_next(a, "ssh-key", &i))) {
		char *text = text_or_file(key, false, "an SSH key");
		if (!text)
			return EXIT_FAIL;
		text[strcspn(text, "\r\n")] = 0;
		json_put_str(o, NULL, text);
		free(text);
	}
	json_end(o);
	return 0;
}

static void put_lists(struct json_out *o, const struct args *a)
{
	const char *v, *name = arg_text(a, "name");
	unsigned i = 0;
	if (name || arg_text(a, "tag")) {
		char tag[VM_NAME_MAX + 8];
		json_arr(o, "tags");
		if (name) {
			snprintf(tag, sizeof(tag), "name=%s", name);
			json_put_str(o, NULL, tag);
		}
		while ((v = arg_next(a, "tag", &i)))
			json_put_str(o, NULL, v);
		json_end(o);
	}
	if (!arg_text(a, "secret") && !arg_text(a, "secrets"))
		return;
	json_arr(o, "secrets");
	for (i = 0; (v = arg_next(a, "secret", &i));)
		json_put_str(o, NULL, v);
	for (i = 0; (v = arg_next(a, "secrets", &i));)
		for (size_t n; *v; v += n + (v[n] == ','))
			if ((n = strcspn(v, ",")))
				json_put_strn(o, NULL, v, n);
	json_end(o);
}

static void put_ports(struct json_out *o, const struct args *a)
{
	const char *v;
	unsigned i = 0;
	if (!arg_text(a, "publish"))
		return;
	json_arr(o, "publish");
	while ((v = arg_next(a, "publish", &i)))
		json_put_str(o, NULL, v);
	json_end(o);
}

/* A list of network rules, when it is given; "none" is an empty one. */
static void put_entries(const struct args *a, struct json_out *o, const char *name)
{
	unsigned i = 0;
	const char *entry = arg_next(a, name, &i);
	if (!entry)
		return;
	json_arr(o, name);
	for (; entry; entry = arg_next(a, name, &i))
		if (strcmp(entry, "none"))
			json_put_str(o, NULL, entry);
	json_end(o);
}

static int put_network(struct json_out *o, const struct args *a)
{
	static const struct { const char *opt, *key; bool (*parse)(const char *text, uint64_t *out); } rows[] = {
		{ "net-limit", "bytes_per_s", net_rate_bytes_s }, { "net-pps", "packets_per_s", net_count } };
	if (!arg_text(a, "net-limit") && !arg_text(a, "net-pps") && !arg_text(a, "allow") && !arg_text(a, "drop"))
		return 0;
	json_obj(o, "network");
	put_entries(a, o, "allow");
	put_entries(a, o, "drop");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *text = arg_text(a, rows[i].opt);
		uint64_t v;
		if (!text)
			continue;
		if (!rows[i].parse(text, &v))
			return out_error(EXIT_USAGE, "a rate is 10mbit, 512kbit or 5MiB (a second), a number of packets 5000 or 10k", "", "--%s=%s", rows[i].opt, text);
		json_put_u64(o, rows[i].key, v);
	}
	json_end(o);
	return 0;
}

static int launch_body(struct buf *b, const struct args *a)
{
	struct json_out o;
	const char *name = arg_text(a, "name");
	uint64_t ram = arg_u64(a, "ram-bytes", 0);
	if (name && !name_is_valid(name, 63))
		return out_error(EXIT_USAGE, "a friendly name is a DNS label: small letters, digits and '-', at most 63", "", "--name=%s", name);
	if (arg_text(a, "ram-mb") && mul_overflows_u64(arg_u64(a, "ram-mb", 0), UINT64_C(1) << 20, &ram))
		ram = INT64_MAX;
	if (arg_text(a, "ram-gb") && mul_overflows_u64(arg_u64(a, "ram-gb", 0), UINT64_C(1) << 30, &ram))
		ram = INT64_MAX;
	json_out_init(&o, b);
	json_obj(&o, NULL);
	if (ram)
		json_put_u64(&o, "ram_bytes", ram > INT64_MAX ? INT64_MAX : ram);
	if (arg_text(a, "cpus"))
		json_put_u64(&o, "cpus", arg_u64(a, "cpus", 0));
	if (arg_text(a, "gpus"))
		json_put_u64(&o, "gpu_count", arg_u64(a, "gpus", 0));
	json_put_bool(&o, "persistent", arg_flag(a, "persistent", true));
	if (arg_text(a, "import-user"))
		json_put_str(&o, "import_user", arg_text(a, "import-user"));
	if (arg_text(a, "ip"))
		json_put_str(&o, "ip", arg_text(a, "ip"));
	if (arg_text(a, "image"))
		json_put_str(&o, "image", arg_text(a, "image"));
	put_ports(&o, a);
	int code = put_network(&o, a);
	if (!code)
		code = put_userdata(&o, a);
	if (!code)
		code = put_keys(&o, a);
	put_lists(&o, a);
	json_end(&o);
	return code ? code : b->failed ? out_error(EXIT_USAGE, "it is too long", "use a shorter userdata script, or copy files in afterwards",
		"the request cannot be made") : 0;
}

static void created_row(const char *label, const char *value)
{
	char clean[512];
	out_clean(clean, sizeof(clean), value);
	printf("  %-11s %s\n", label, clean);
}

/* v: the create answer; more: the VM described, for what a create answer need not carry. */
static void print_created(const struct json_val *v, const struct json_val *more, bool persistent)
{
	const char *hostname = "-", *group = "-", *ip = "-", *created = "-";
	char specs[100], ram[WORDS_MAX];
	int64_t cpus = 0, bytes = 0;
	json_get_str(v, "hostname", &hostname);
	json_get_str(v, "hostgroup", &group);
	json_get_str(v, "ip", &ip);
	json_get_str(v, "created_at", &created);
	json_get_bool(v, "persistent", &persistent);
	json_get_i64(more, "cpus", &cpus);
	json_get_i64(more, "ram_bytes", &bytes);
	snprintf(specs, sizeof(specs), "%lld vCPU, %s RAM", (long long)cpus, words_bytes((uint64_t)bytes, ram));
	printf("VM created\n");
	created_row("Hostname:", hostname);
	created_row("Group:", group);
	created_row("IP:", ip);
	if (cpus && bytes)
		created_row("Specs:", specs);
	for (const struct json_val *p = json_first(json_get(v, "publish")); p; p = json_next(json_get(v, "publish"), p))
		created_row("Published:", json_str(p) ? json_str(p) : "?");
	created_row("Persistent:", persistent ? "true" : "false");
	created_row("Created:", created);
}

static void print_launched(const struct remote *r, const struct args *a, const struct answer *an)
{
	const struct json_val *v = json_root(&an->json);
	const char *hostname = "";
	struct answer more = { 0 };
	struct buf target;
	for (const struct json_val *note = json_first(json_get(v, "notes")); note; note = json_next(json_get(v, "notes"), note)) {
		char clean[512];
		out_clean(clean, sizeof(clean), json_str(note) ? json_str(note) : "?");
		out_note("note: %s", clean);
	}
	if (arg_flag(a, "json", false)) {
		fwrite(buf_data(&an->text), 1, buf_len(&an->text), stdout);
		if (buf_len(&an->text) && buf_data(&an->text)[buf_len(&an->text) - 1] != '\n')
			putchar('\n');
		return;
	}
	buf_init(&target, 4096);
	json_get_str(v, "hostname", &hostname);
	vm_target(&target, hostname, "");
	if (json_get(v, "cpus") || !buf_cstr(&target) || remote_ask(r, "GET", buf_cstr(&target), NULL, &more))
		more = (struct answer){ 0 };
	print_created(v, more.json.v ? json_root(&more.json) : v, arg_flag(a, "persistent", true));
	answer_done(&more);
	buf_done(&target);
}

static int run_launch(struct args *a)
{
	struct remote r;
	struct buf body, target;
	struct answer an;
	char group[VM_NAME_MAX], vm[VM_NAME_MAX] = "";
	bool first = true, agent = arg_flag(a, "wait", false) || arg_flag(a, "shell", false), userdata = arg_flag(a, "wait-userdata", false);
	const char *hostname = NULL;
	int code = remote_init(&r, a);
	if (!code)
		code = a->n_pos ? vm_name_take(group, a->pos[0]) : group_only(&r, group);
	if (code)
		return code;
	buf_init(&body, 4u << 20);
	buf_init(&target, 4096);
	code = launch_body(&body, a);
	buf_adds(&target, "/hostgroup/");
	http_escape(&target, group);
	buf_adds(&target, "/nodes");
	http_add_param(&target, &first, "wait", userdata ? "userdata" : agent ? "agent" : NULL);
	http_add_param(&target, &first, "timeout", arg_text(a, "timeout"));
	if (!code)
		code = remote_ask(&r, "POST", buf_cstr(&target), &body, &an);
	buf_done(&target);
	buf_done(&body);
	if (code)
		return code;
	if (an.status >= 300)
		code = remote_refused(&r, EXIT_FAIL, an.status, &an.text, "cannot launch a VM");
	else if (json_get_str(json_root(&an.json), "hostname", &hostname))
		code = out_error(EXIT_FAIL, "the answer has no hostname", "'mica info' shows the daemon's version", "cannot read the answer");
	else
		print_launched(&r, a, &an);
	if (!code)
		code = vm_name_take(vm, hostname);
	answer_done(&an);
	if (code || !arg_flag(a, "shell", false))
		return code;
	fflush(stdout);
	return shell_run(&r, vm, &(struct shell_ask){ 0 });
}

const struct cmd cmd_vm_launch = { .group = "vm", .name = "launch", .aliases = "add create", .synopsis = "[GROUP]",
	.summary = "Make a VM in a host group and start it", .opts = launch_opts,
	.examples = "mica vm launch --wait\nmica vm launch sbox --cpus 1 --ram-mb 512 --tag job=7 --persistent=false\n"
		    "mica vm launch --json --wait --timeout 30s | jq -r .hostname",
	.max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_launch };
