/* The verbs that start, stop and remove VMs. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/out.h"

#include <stdio.h>
#include <string.h>

static const struct opt json_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static int done(const struct args *a, struct answer *an, const char *vm, const char *what)
{
	if (!answer_as_json(a, an))
		printf("%s %s\n", vm, what);
	answer_done(an);
	return 0;
}

static int run_pause(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, "POST", "/pause", NULL, vm, &an, "pause");
	return code ? code : done(a, &an, vm, "paused");
}

static int run_resume(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, "POST", "/resume", NULL, vm, &an, "resume");
	return code ? code : done(a, &an, vm, "resumed");
}

static const struct opt shutdown_opts[] = {
	{ "reboot", 0, OPT_FLAG, NULL, "ask the guest to reboot instead of powering off (it stops all the same)" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static int run_shutdown(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, "POST", arg_flag(a, "reboot", false) ? "/shutdown?action=reboot" : "/shutdown?action=shutdown", NULL, vm, &an,
		"shut down");
	return code ? code : done(a, &an, vm, "stopped");
}

static int run_suspend(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, "POST", "/suspend", NULL, vm, &an, "suspend");
	return code ? code : done(a, &an, vm, "suspended");
}

static const struct opt restore_opts[] = {
	{ "wait", 0, OPT_TEXT, "WHAT", "agent: until the agent answers (default: not)" },
	{ "timeout", 0, OPT_DURATION, "TIME", "for waiting" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};

static int run_restore(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX], tail[128];
	const char *wait = arg_text(a, "wait"), *timeout = arg_text(a, "timeout");
	if (wait && strcmp(wait, "agent"))
		return out_error(EXIT_USAGE, "there is only the agent to wait for", "--wait agent", "--wait=%s", wait);
	if (timeout && strlen(timeout) > 40)
		return out_error(EXIT_USAGE, "it is too long", "--timeout 30s", "--timeout=%.40s…", timeout);
	snprintf(tail, sizeof(tail), "/restore%s%s%s", wait ? "?wait=agent" : "", timeout ? wait ? "&timeout=" : "?timeout=" : "", timeout ? timeout : "");
	int code = vm_ask_first(a, &r, "POST", tail, NULL, vm, &an, "restore");
	return code ? code : done(a, &an, vm, "restored");
}

static int run_relaunch(struct args *a)
{
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	int code = vm_ask_first(a, &r, "POST", "/relaunch", NULL, vm, &an, "relaunch");
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
		return answer_odd(&an);
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
const struct cmd cmd_vm_suspend = { .group = "vm", .name = "suspend", .synopsis = "VM",
	.summary = "Write the VM's memory to disk and end its process (where the daemon can)", .opts = json_opts,
	.examples = "mica vm suspend vm-1 && mica vm restore vm-1 --wait agent", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE,
		.run = run_suspend };
const struct cmd cmd_vm_restore = { .group = "vm", .name = "restore", .synopsis = "VM", .summary = "Let a suspended VM go on (where the daemon can)",
	.opts = restore_opts, .examples = "mica vm restore vm-1 --wait agent", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE,
		.run = run_restore };
const struct cmd cmd_vm_relaunch = { .group = "vm", .name = "relaunch", .aliases = "start", .shortcut = "relaunch", .synopsis = "VM",
	.summary = "Start a stopped persistent VM again", .opts = json_opts,
	.examples = "mica vm relaunch vm-1", .min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_relaunch };
const struct cmd cmd_vm_delete = { .group = "vm", .name = "delete", .aliases = "rm remove", .synopsis = "VM…",
	.summary = "Remove VMs and their disks", .opts = json_opts,
	.examples = "mica vm delete vm-1\nmica vm delete job-1 job-2", .min_pos = 1, .max_pos = -1, .command_at = -1, .flags = CMD_REMOTE, .run = run_delete };
