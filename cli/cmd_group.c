/* group list, create, update, delete: host groups of a running daemon. The daemon judges the values; here they only become keys. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCRIPT_MAX 60000u /* of userdata, as the daemon takes it */
#define GROUP_NAME_MAX 40u

/* How an option becomes a key: NULL in `in` is the top, else the mapping of that name. */
enum shape { SHAPE_NUMBER, SHAPE_FLAG, SHAPE_TEXT, SHAPE_LIST, SHAPE_DISKS };
static const struct key { const char *option, *key; enum shape shape; bool network; } keys[] = {
	{ "count", "count", SHAPE_NUMBER, false },
	{ "cpu", "vcpu", SHAPE_NUMBER, false },
	{ "ram-gb", "ram_gb", SHAPE_NUMBER, false },
	{ "ram-mb", "ram_mb", SHAPE_NUMBER, false },
	{ "ram-bytes", "ram_bytes", SHAPE_NUMBER, false },
	{ "storage-size", "storage_size", SHAPE_TEXT, false },
	{ "cpu-weight", "cpu_weight", SHAPE_NUMBER, false },
	{ "max-vms", "max_vms", SHAPE_NUMBER, false },
	{ "max-vcpus", "max_vcpus", SHAPE_NUMBER, false },
	{ "max-ram", "max_ram", SHAPE_TEXT, false },
	{ "max-disk", "max_disk", SHAPE_TEXT, false },
	{ "disk", "disks", SHAPE_DISKS, false },
	{ "disk-bytes-per-s", "disk_bytes_per_s", SHAPE_TEXT, false },
	{ "disk-iops", "disk_iops", SHAPE_NUMBER, false },
	{ "persistent", "persistent", SHAPE_FLAG, false },
	{ "userdata", "userdata", SHAPE_TEXT, false },
	{ "dns", "dns_servers", SHAPE_LIST, false },
	{ "publish", "publish", SHAPE_LIST, false },
	{ "image", "image", SHAPE_TEXT, false },
	{ "kernel", "kernel", SHAPE_TEXT, false },
	{ "kernel-file", "kernel_file", SHAPE_TEXT, false },
	{ "initrd-file", "initrd_file", SHAPE_TEXT, false },
	{ "net", "mode", SHAPE_TEXT, true },
	{ "bridge", "bridge", SHAPE_TEXT, true },
	{ "cidr", "gateway", SHAPE_TEXT, true },
	{ "tap-prefix", "tap_prefix", SHAPE_TEXT, true },
	{ "range", "range", SHAPE_TEXT, true },
	{ "isolated-range", "range", SHAPE_TEXT, true },
	{ "address", "addresses", SHAPE_LIST, true },
	{ "parent", "parent", SHAPE_TEXT, true },
	{ "allow", "allow", SHAPE_LIST, true },
	{ "drop", "drop", SHAPE_LIST, true },
};

#define KEY_OPTS \
	{ "count", 0, OPT_NUMBER, "N", "VMs that the daemon makes, protects and restarts (default 0)" }, \
	{ "cpu", 0, OPT_NUMBER, "N", "processors of a VM, also the most one may ask for (default 2)" }, \
	{ "ram-gb", 0, OPT_NUMBER, "N", "memory of a VM in GiB, also the most (default 4)" }, \
	{ "ram-mb", 0, OPT_NUMBER, "N", "the same in MiB" }, \
	{ "ram-bytes", 0, OPT_NUMBER, "N", "the same in bytes" }, \
	{ "storage-size", 0, OPT_SIZE, "SIZE", "root disk (default 10G, sparse)" }, \
	{ "cpu-weight", 0, OPT_NUMBER, "N", "share of the CPU when it is scarce: 1 to 10000 (default 100, as other processes)" }, \
	{ "max-vms", 0, OPT_NUMBER, "N", "at most that many VMs in it" }, \
	{ "max-vcpus", 0, OPT_NUMBER, "N", "at most that many processors of all its VMs together" }, \
	{ "max-ram", 0, OPT_SIZE, "SIZE", "the same of memory, as 16G" }, \
	{ "max-disk", 0, OPT_SIZE, "SIZE", "the same of disks' sizes" }, \
	{ "disk", 0, OPT_LIST, "SIZE|FILE[:ro]", "one more disk: a new one for each VM, or a raw file that a group of the daemon's file uses" }, \
	{ "disk-bytes-per-s", 0, OPT_SIZE, "SIZE", "most that each disk of a VM reads and writes together" }, \
	{ "disk-iops", 0, OPT_NUMBER, "N", "the same in requests" }, \
	{ "persistent", 0, OPT_FLAG, NULL, "VMs of its count keep their disk" }, \
	{ "userdata", 0, OPT_TEXT, "TEXT", "script for the first boot" }, \
	{ "userdata-file", 0, OPT_TEXT, "PATH", "file with that script" }, \
	{ "dns", 0, OPT_LIST, "ADDRESS", "name server" }, \
	{ "publish", 0, OPT_LIST, "SPEC", "with --count 1: port of the daemon's host that leads into the VM: [ADDRESS:]PORT:GUEST-PORT" }, \
	{ "image", 0, OPT_TEXT, "IMAGE", "min (default), an imported one, or one that a group of the daemon's file uses" }, \
	{ "kernel", 0, OPT_TEXT, "NAME", "min (default) or full, for systemd, Docker, K3s (in builds that carry it)" }, \
	{ "kernel-file", 0, OPT_TEXT, "PATH", "one that a group of the daemon's file uses" }, \
	{ "initrd-file", 0, OPT_TEXT, "PATH", "the same for an initrd" }, \
	{ "net", 0, OPT_TEXT, "MODE", "network mode: bridge (default), isolated, macvtap, none" }, \
	{ "bridge", 0, OPT_TEXT, "NAME", "name of the bridge (default brvm0)" }, \
	{ "cidr", 0, OPT_TEXT, "CIDR", "the host's address and network (default 192.168.137.1/24); macvtap: the LAN's router" }, \
	{ "tap-prefix", 0, OPT_TEXT, "PREFIX", "names of the taps (default vmtap)" }, \
	{ "range", 0, OPT_TEXT, "A-B", "addresses to give to VMs" }, \
	{ "isolated-range", 0, OPT_TEXT, "CIDR", "isolated: where its /30 networks come from" }, \
	{ "address", 0, OPT_LIST, "ADDRESS", "pinned address" }, \
	{ "parent", 0, OPT_TEXT, "NIC", "macvtap: the host's interface on the LAN (default: of its default route)" }, \
	{ "allow", 0, OPT_LIST, "CIDR", "isolated, bridge: destination that is allowed" }, \
	{ "drop", 0, OPT_LIST, "CIDR", "isolated, bridge: destination that is dropped" }, \
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" }

static const struct opt create_opts[] = { KEY_OPTS, { 0 } };
static const struct opt update_opts[] = {
	KEY_OPTS,
	{ "unset", 0, OPT_LIST, "KEY", "back to the default: a key of the YAML, as ram_mb or network.range" },
	{ 0 },
};

/* ---- what was given, as JSON ---- */

/* "10G", or "/srv/set.img:ro". */
static void put_disk(struct json_out *o, const char *v)
{
	uint64_t bytes;
	size_t n = strlen(v);
	bool ro = n > 3 && !strcmp(v + n - 3, ":ro");
	json_obj(o, NULL);
	if (!parse_size(v, &bytes))
		json_put_u64(o, "size", bytes);
	else
		json_put_strn(o, "file", v, ro ? n - 3 : n);
	if (ro)
		json_put_bool(o, "read_only", true);
	json_end(o);
}

static void put_value(struct json_out *o, const struct args *a, const struct key *k)
{
	const char *v;
	unsigned i = 0;
	if (k->shape == SHAPE_NUMBER)
		json_put_u64(o, k->key, arg_u64(a, k->option, 0));
	else if (k->shape == SHAPE_FLAG)
		json_put_bool(o, k->key, arg_flag(a, k->option, false));
	else if (k->shape == SHAPE_TEXT)
		json_put_str(o, k->key, arg_text(a, k->option));
	if (k->shape != SHAPE_LIST && k->shape != SHAPE_DISKS)
		return;
	json_arr(o, k->key);
	while ((v = arg_next(a, k->option, &i)))
		if (*v && k->shape == SHAPE_DISKS)
			put_disk(o, v);
		else if (*v)
			json_put_str(o, NULL, v);
	json_end(o);
}

static void put_unset(struct json_out *o, const struct args *a, bool network)
{
	static const char in[] = "network.";
	const char *v;
	unsigned i = 0;
	while ((v = arg_next(a, "unset", &i)))
		if (!strncmp(v, in, strlen(in)) == network)
			json_put_null(o, network ? v + strlen(in) : v);
}

static void put_keys(struct json_out *o, const struct args *a, bool network)
{
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (keys[i].network == network && arg_text(a, keys[i].option))
			put_value(o, a, &keys[i]);
	put_unset(o, a, network);
}

static bool any_network(const struct args *a)
{
	const char *v;
	unsigned n = 0;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (keys[i].network && arg_text(a, keys[i].option))
			return true;
	while ((v = arg_next(a, "unset", &n)))
		if (!strncmp(v, "network.", 8))
			return true;
	return false;
}

/* 0, or EXIT_* after saying why. */
static int put_script(struct json_out *o, const struct args *a)
{
	const char *path = arg_text(a, "userdata-file");
	char *text;
	size_t n;
	if (!path)
		return 0;
	if (arg_text(a, "userdata"))
		return out_error(EXIT_USAGE, "both say the same", "leave one out", "--userdata and --userdata-file are given");
	int err = read_file_at(AT_FDCWD, path, SCRIPT_MAX, &text, &n);
	if (err)
		return out_error(EXIT_FAIL, err == -EFBIG ? "it is longer than 60000 bytes" : strerror(-err), "check the path", "cannot read %s", path);
	bool good = strlen(text) == n && utf8_is_valid(text, n);
	if (good)
		json_put_strn(o, "userdata", text, n);
	free(text);
	return good ? 0 : out_error(EXIT_FAIL, "it is no text", "give a script", "cannot use %s", path);
}

static int put_body(struct buf *body, const struct args *a, const char *name)
{
	struct json_out o;
	json_out_init(&o, body);
	json_obj(&o, NULL);
	if (name)
		json_put_str(&o, "name", name);
	put_keys(&o, a, false);
	int code = put_script(&o, a);
	if (any_network(a)) {
		json_obj(&o, "network");
		put_keys(&o, a, true);
		json_end(&o);
	}
	json_end(&o);
	return code;
}

/* ---- asking ---- */

static int refused(const struct remote *r, const struct answer *an, const char *doing)
{
	static const struct fix fixes[] = {
		{ 400, "change the value; 'mica group create --help' shows what there is" },
		{ 404, "'mica group list' shows what there is" },
		{ 409, "'mica group list' shows the groups, 'mica vm list' their VMs" },
		{ 507, "delete a host group, or make room on the host's disk" },
	};
	return answer_refused(r, an, fixes, ARRAY_LEN(fixes), doing);
}

static int take_name(const char *given)
{
	char shown[80];
	if (name_is_valid(given, GROUP_NAME_MAX))
		return 0;
	out_clean(shown, sizeof(shown), given);
	return out_error(EXIT_USAGE, "a host group has small letters, digits and '-', at most 40", "choose another name", "'%s' is no name for a host group",
		shown);
}

/* name NULL: /hostgroup itself. The caller ends *an when 0 is returned. */
static int ask(const struct remote *r, const char *method, const char *name, const struct buf *body, struct answer *an, const char *doing)
{
	char target[32 + GROUP_NAME_MAX];
	snprintf(target, sizeof(target), "/hostgroup%s%s", name ? "/" : "", name ? name : "");
	int code = remote_ask(r, method, target, body, an);
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

static long long int_of(const struct json_val *v, const char *key)
{
	int64_t n = 0;
	json_get_i64(v, key, &n);
	return n;
}

static void say_notes(const struct json_val *root)
{
	const struct json_val *list = json_get(root, "notes");
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
		char clean[700];
		out_clean(clean, sizeof(clean), json_str(v) ? json_str(v) : "?");
		out_note("note: %s", clean);
	}
}

static int send_keys(const struct args *a, bool is_new)
{
	char doing[GROUP_NAME_MAX + 40];
	struct remote r;
	struct answer an;
	struct buf body;
	int code = take_name(a->pos[0]);
	if (code)
		return code;
	buf_init(&body, 1u << 20);
	code = put_body(&body, a, is_new ? a->pos[0] : NULL);
	if (!code && !is_new && buf_len(&body) == 2)
		code = out_error(EXIT_USAGE, "no option says what", "mica group update NAME --cpu 4", "there is nothing to change");
	if (!code)
		code = remote_init(&r, a);
	snprintf(doing, sizeof(doing), "cannot %s host group '%s'", is_new ? "create" : "change", a->pos[0]);
	if (!code)
		code = ask(&r, is_new ? "POST" : "PATCH", is_new ? NULL : a->pos[0], &body, &an, doing);
	buf_done(&body);
	if (code)
		return code;
	if (arg_flag(a, "json", false))
		printf("%s\n", buf_cstr(&an.text));
	else
		printf("%s %s\n", a->pos[0], is_new ? "created" : "changed");
	say_notes(json_root(&an.json));
	answer_done(&an);
	return 0;
}

static int run_create(struct args *a)
{
	return send_keys(a, true);
}

static int run_update(struct args *a)
{
	return send_keys(a, false);
}

const struct cmd cmd_group_create = { .group = "group", .name = "create", .aliases = "add", .synopsis = "GROUP",
	.summary = "Make a host group in a running daemon; it is kept over restarts", .opts = create_opts,
	.examples = "mica group create ci --cpu 4 --ram-gb 8 --net none\n"
		    "mica group create web --count 2 --bridge brweb --cidr 10.20.0.1/24 --userdata-file setup.sh",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_create };

const struct cmd cmd_group_update = { .group = "group", .name = "update", .aliases = "set", .synopsis = "GROUP",
	.summary = "Change a host group that was made so; VMs that are there keep what they have", .opts = update_opts,
	.examples = "mica group update ci --cpu 8\nmica group update web --count 0\nmica group update web --unset userdata --unset network.range",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_update };

/* ---- list ---- */

static const struct opt list_opts[] = {
	{ "quiet", 'q', OPT_FLAG, NULL, "names only" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static void print_list(const struct json_val *list, bool quiet)
{
	static const char *const titles[] = { "NAME", "SOURCE", "VMS", "CPUS", "RAM", "DISK", "NETWORK", "IMAGE" };
	char words[WORDS_MAX], clean[200];
	struct table t;
	table_init(&t, ARRAY_LEN(titles), titles);
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
		const struct json_val *net = json_get(v, "network");
		if (quiet) {
			out_clean(clean, sizeof(clean), text_of(v, "name", "?"));
			puts(clean);
			continue;
		}
		table_cell(&t, "%s", text_of(v, "name", "?"));
		table_cell(&t, "%s", text_of(v, "source", "-"));
		table_cell(&t, "%lld", int_of(v, "count"));
		table_cell(&t, "%lld", int_of(v, "cpus"));
		table_cell(&t, "%s", words_bytes((uint64_t)int_of(v, "ram_bytes"), words));
		table_cell(&t, "%s", words_bytes((uint64_t)int_of(v, "storage_size"), words));
		table_cell(&t, "%s%s%s", text_of(net, "mode", "-"), json_get(net, "gateway") ? " " : "", text_of(net, "gateway", ""));
		table_cell(&t, "%s", text_of(v, "image", "-"));
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
		code = ask(&r, "GET", NULL, NULL, &an, "cannot list the host groups");
	if (code)
		return code;
	if (arg_flag(a, "json", false))
		printf("%s\n", buf_cstr(&an.text));
	else
		print_list(json_root(&an.json), arg_flag(a, "quiet", false));
	answer_done(&an);
	return 0;
}

const struct cmd cmd_group_list = { .group = "group", .name = "list", .aliases = "ls l", .summary = "List the host groups, of the daemon's file and by the API",
	.opts = list_opts, .examples = "mica group list\nmica group list -q\nmica group list --json", .command_at = -1, .flags = CMD_REMOTE, .run = run_list };

/* ---- delete ---- */

static const struct opt delete_opts[] = { { 0 } };

static int run_delete(struct args *a)
{
	struct remote r;
	struct answer an;
	int worst = 0;
	for (int i = 0; !worst && i < a->n_pos; i++)
		worst = take_name(a->pos[i]);
	if (!worst)
		worst = remote_init(&r, a);
	if (worst)
		return worst;
	for (int i = 0; i < a->n_pos; i++) {
		char doing[GROUP_NAME_MAX + 40];
		snprintf(doing, sizeof(doing), "cannot delete host group '%s'", a->pos[i]);
		if (ask(&r, "DELETE", a->pos[i], NULL, &an, doing)) {
			worst = EXIT_FAIL;
		} else {
			printf("%s deleted\n", a->pos[i]);
			answer_done(&an);
		}
	}
	return worst;
}

const struct cmd cmd_group_delete = { .group = "group", .name = "delete", .aliases = "rm remove", .synopsis = "GROUP…",
	.summary = "Delete host groups that have no VMs and were not declared in the daemon's file", .opts = delete_opts,
	.examples = "mica group delete ci", .min_pos = 1, .max_pos = -1, .command_at = -1, .flags = CMD_REMOTE, .run = run_delete };
