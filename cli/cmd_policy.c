/* policy show, set, explain, learn: what a VM may reach, and those of a host group. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/learn.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GROUP_NAME_MAX 40u
#define LEARN_BYTES_MAX (4u << 20)

static const struct opt json_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

/* ---- show and set ---- */

static void print_list(const struct json_val *list, const char *name)
{
	unsigned i = 0;
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v), i++) {
		char entry[300];
		out_clean(entry, sizeof(entry), json_str(v) ? json_str(v) : "?");
		printf("%s[%u]  %s\n", name, i, entry);
	}
}

static void print_default(const struct json_val *v, const struct json_val *allow, const struct json_val *drop)
{
	bool bridge = !strcmp(json_text(v, "mode", ""), "bridge");
	if (bridge && !json_first(allow) && !json_first(drop)) {
		puts("default   allow: nothing is denied or recorded on this bridge");
		return;
	}
	bool only_allow = json_first(allow) && !json_first(drop);
	printf("default   %s; private networks, other VMs, the host and link-local addresses are denied unless an entry names them\n", only_allow ? "deny" : "allow");
	if (bridge)
		puts("          VMs of one bridge see each other in any case");
}

static void print_policy(const struct json_val *v)
{
	const struct json_val *e = json_get(v, "effective"), *allow = json_get(e, "allow"), *drop = json_get(e, "drop");
	printf("%s\n", strcmp(json_text(v, "policy_source", ""), "vm") ? "rules of the host group" : "rules of its own");
	print_list(allow, "allow");
	print_list(drop, "drop");
	print_default(v, allow, drop);
}

static void print_group(const struct json_val *v)
{
	const struct json_val *allow = json_get(v, "allow"), *drop = json_get(v, "drop");
	printf("%s\n", strcmp(json_text(v, "source", ""), "api") ? "rules of the daemon's file" : "rules given by the API");
	print_list(allow, "allow");
	print_list(drop, "drop");
	print_default(v, allow, drop);
}

/* GET or PUT of a host group's rules. */
static int ask_group(struct args *a, const char *method, const struct buf *body, const char *doing)
{
	const char *group = arg_text(a, "group");
	char target[GROUP_NAME_MAX + 40], what[GROUP_NAME_MAX + 80], shown[80];
	struct remote r;
	struct answer an;
	out_clean(shown, sizeof(shown), group);
	if (!name_is_valid(group, GROUP_NAME_MAX))
		return out_error(EXIT_USAGE, "a host group has small letters, digits and '-', at most 40", "'mica group list' shows all",
			"'%s' is no name of a host group", shown);
	int code = remote_init(&r, a);
	if (code)
		return code;
	snprintf(target, sizeof(target), "/hostgroup/%s/net/policy", group);
	snprintf(what, sizeof(what), "cannot %s host group '%s'", doing, group);
	code = remote_ask(&r, method, target, body, &an);
	if (!code && an.status >= 300) {
		static const struct fix fixes[] = { { 404, "'mica group list' shows what there is" } };
		code = answer_refused(&r, &an, fixes, ARRAY_LEN(fixes), what);
		answer_done(&an);
	}
	if (code)
		return code;
	if (!answer_as_json(a, &an))
		print_group(json_root(&an.json));
	answer_done(&an);
	return 0;
}

/* Either is named, a VM or --group. 0, or EXIT_USAGE after saying so. */
static int take_either(const struct args *a)
{
	if ((a->n_pos != 0) != (arg_text(a, "group") != NULL))
		return 0;
	return out_error(EXIT_USAGE, a->n_pos ? "a VM and --group are given" : "neither a VM nor --group is given", "mica policy show VM, or mica policy show --group GROUP",
		"whose rules is not clear");
}

static int ask_policy(struct args *a, const char *method, const struct buf *body, const char *doing)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, method, "/net/policy", body, vm, &an, doing);
	if (code)
		return code;
	if (!answer_as_json(a, &an))
		print_policy(json_root(&an.json));
	answer_done(&an);
	return 0;
}

static int run_show(struct args *a)
{
	int code = take_either(a);
	if (code)
		return code;
	if (arg_text(a, "group"))
		return ask_group(a, "GET", NULL, "read the network rules of");
	return ask_policy(a, "GET", NULL, "read the network rules of");
}

/* The list as it is given; "none" is an empty one. false: not given. */
static bool put_list(struct args *a, struct json_out *o, const char *name)
{
	unsigned i = 0;
	const char *entry = arg_next(a, name, &i);
	if (!entry)
		return false;
	json_arr(o, name);
	for (; entry; entry = arg_next(a, name, &i))
		if (strcmp(entry, "none"))
			json_put_str(o, NULL, entry);
	json_end(o);
	return true;
}

static int run_set(struct args *a)
{
	bool reset = arg_flag(a, "reset", false);
	struct json_out o;
	struct buf body;
	int code = take_either(a);
	if (code)
		return code;
	buf_init(&body, 1u << 16);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	if (reset)
		json_put_bool(&o, "reset", true);
	bool allow = put_list(a, &o, "allow"), drop = put_list(a, &o, "drop");
	json_end(&o);
	static const char doing[] = "change the network rules of";
	code = allow || drop || reset ? (arg_text(a, "group") ? ask_group(a, "PUT", &body, doing) : ask_policy(a, "PUT", &body, doing))
		: out_error(EXIT_USAGE, "no rule is given", "mica policy set VM --allow example.com:443, or --reset for those of the host group",
			"there is nothing to change");
	buf_done(&body);
	return code;
}

/* ---- explain ---- */

static void put_rule(const struct json_val *v)
{
	char rule[40], entry[300];
	out_clean(rule, sizeof(rule), json_text(v, "rule", "?"));
	out_clean(entry, sizeof(entry), json_text(v, "entry", ""));
	printf("%s by %s: %s", !strcmp(json_text(v, "verdict", ""), "allowed") ? "allowed" : "denied", rule, entry);
}

static void print_explained(const struct json_val *v)
{
	const struct json_val *list = json_get(v, "addresses");
	put_rule(v);
	puts("");
	if (json_get(v, "locked"))
		puts("but nothing new is allowed now: its network record cannot be written, and network.audit is 'required'");
	for (const struct json_val *x = json_first(list); x; x = json_next(list, x)) {
		char addr[64];
		out_clean(addr, sizeof(addr), json_text(x, "address", "?"));
		printf("  %s  ", addr);
		put_rule(x);
		if (json_get(x, "open_s"))
			printf(", open for %lld s more", (long long)json_int(x, "open_s"));
		puts("");
	}
}

static int run_explain(struct args *a)
{
	struct remote r;
	struct answer an;
	struct json_out o;
	struct buf body;
	char vm[VM_NAME_MAX];
	buf_init(&body, 1u << 16);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_put_str(&o, "target", a->pos[1]);
	json_end(&o);
	int code = vm_ask_first(a, &r, "POST", "/net/explain", &body, vm, &an, "explain the network rules of");
	buf_done(&body);
	if (code)
		return code;
	if (!answer_as_json(a, &an))
		print_explained(json_root(&an.json));
	answer_done(&an);
	return 0;
}

/* ---- learn ---- */

static int on_line(struct lines *l, const char *p, size_t n)
{
	learn_line(l->arg, p, n);
	return 0;
}

static int write_out(const char *path, const struct buf *b)
{
	if (!path)
		return write_full(1, buf_data(b), buf_len(b)) ? EXIT_FAIL : 0;
	AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int err = fd < 0 ? -errno : write_full(fd, buf_data(b), buf_len(b));
	return err ? out_error(EXIT_FAIL, strerror(-err), "give another file: --out FILE", "cannot write %s", path) : 0;
}

static int run_learn(struct args *a)
{
	struct learning learning = { 0 };
	struct remote r;
	char vm[VM_NAME_MAX], shown[VM_NAME_MAX], doing[VM_NAME_MAX + 64];
	struct lines l = { .line = on_line, .arg = &learning, .fail = EXIT_FAIL, .doing = doing };
	struct buf out;
	int code = vm_name_take(vm, a->pos[0]);
	if (!code)
		code = remote_init(&r, a);
	if (code)
		return code;
	snprintf(doing, sizeof(doing), "cannot read the network record of %s", vm);
	code = lines_read(&r, vm, "/net/log", &l);
	buf_init(&out, LEARN_BYTES_MAX);
	if (code == LINES_END) {
		learn_finish(&learning);
		out_clean(shown, sizeof(shown), vm);
		code = learn_yaml(&learning, shown, &out) ? out_error(EXIT_FAIL, NULL, NULL, "out of memory") : write_out(arg_text(a, "out"), &out);
	}
	buf_done(&out);
	learn_done(&learning);
	return code;
}

#define POLICY_CMD(...) { .group = "policy", .command_at = -1, .flags = CMD_REMOTE, __VA_ARGS__ }

#define GROUP_OPT { "group", 0, OPT_TEXT, "GROUP", "the rules of that host group, which hold for its VMs without lists of their own" }

static const struct opt show_opts[] = {
	GROUP_OPT,
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};
const struct cmd cmd_policy_show = POLICY_CMD(.name = "show", .synopsis = "[VM]", .summary = "Show what a VM, or the VMs of a host group, may reach", .opts = show_opts,
	.examples = "mica policy show sbox-1\nmica policy show --group sbox", .min_pos = 0, .max_pos = 1, .run = run_show);

static const struct opt set_opts[] = {
	{ "allow", 0, OPT_LIST, "ENTRY", "address, network, address:port, host, host:port, *.suffix; 'none' for an empty list; again for more" },
	{ "drop", 0, OPT_LIST, "ENTRY", "the same; a host without port" },
	{ "reset", 0, OPT_FLAG, NULL, "back to the host group's rules (first); of a group: to those of the daemon's file" },
	GROUP_OPT,
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};
const struct cmd cmd_policy_set = POLICY_CMD(.name = "set", .synopsis = "[VM]",
	.summary = "Give a VM, or a host group, other rules while it runs: a list that is given replaces that list",
	.opts = set_opts, .examples = "mica policy set sbox-1 --allow example.com:443 --allow '*.debian.org'\n"
	"mica policy set sbox-1 --allow none --drop 0.0.0.0/0\nmica policy set sbox-1 --reset\nmica policy set --group sbox --drop 203.0.113.0/24",
	.min_pos = 0, .max_pos = 1, .run = run_set);

const struct cmd cmd_policy_explain = POLICY_CMD(.name = "explain", .synopsis = "VM TARGET",
	.summary = "Tell which rule decides about a URL, address, address:port or host name",
	.opts = json_opts, .examples = "mica policy explain sbox-1 https://example.com/\nmica policy explain sbox-1 10.0.0.5:22\n"
	"mica policy explain sbox-1 udp://9.9.9.9:53", .min_pos = 2, .max_pos = 2, .run = run_explain);

static const struct opt learn_opts[] = {
	{ "out", 'o', OPT_TEXT, "FILE", "write there (default: standard output)" },
	{ 0 },
};
const struct cmd cmd_policy_learn = POLICY_CMD(.name = "learn", .synopsis = "VM",
	.summary = "Write rules that allow what a VM tried, from its network record", .opts = learn_opts,
	.examples = "mica policy learn sbox-1 --out rules.yaml", .min_pos = 1, .max_pos = 1, .run = run_learn);
