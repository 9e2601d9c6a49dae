/* vm exec, vm shell: the options; the work is in exec.c and shell.c. */
#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/out.h"

#include <unistd.h>

static const struct opt exec_opts[] = {
	{ "uid", 0, OPT_NUMBER, "N", "user to run as (default: the image's user, 1000; 0: root)" },
	{ "gid", 0, OPT_NUMBER, "N", "group to run as" },
	{ "cwd", 0, OPT_TEXT, "PATH", "folder to run in (default: the user's home)" },
	{ "env", 'e', OPT_LIST, "K=V", "environment variable; K alone takes our value" },
	{ "shell", 0, OPT_TEXT, "PATH", "shell that runs it (default /bin/bash; \"\": none)" },
	{ "stdin", 0, OPT_FLAG, NULL, "pass our standard input (default: unless it is a terminal; --stdin=false: never)" },
	{ 0 },
};

static int run_exec(struct args *a)
{
	struct remote r;
	char vm[VM_NAME_MAX];
	const char *shell = arg_text(a, "shell");
	int code = vm_name_take(vm, a->pos[0]);
	if (!code)
		code = remote_init(&r, a);
	if (code)
		return code;
	struct exec_ask ask = {
		.words = a->pos + 1, .n_words = a->n_pos - 1, .shell = shell ? shell : "/bin/bash", .cwd = arg_text(a, "cwd"), .uid = arg_text(a, "uid"),
		.gid = arg_text(a, "gid"), .env = a, .with_stdin = arg_flag(a, "stdin", !isatty(0)),
	};
	return exec_run(&r, vm, &ask);
}

const struct cmd cmd_vm_exec = { .group = "vm", .name = "exec", .shortcut = "exec", .synopsis = "VM -- COMMAND [ARG…]",
	.summary = "Run a command in a VM; streams and exit code pass through",
	.opts = exec_opts,
	.examples = "mica vm exec vm-1 -- uname -a\nmica vm exec vm-1 --uid 0 --cwd /etc -- ls -l\n"
		    "mica vm exec vm-1 -- 'ps aux | grep -c sshd'      (one word: a script for the shell)\n"
		    "tar c . | mica vm exec vm-1 --shell \"\" -- tar x -C /tmp\nexit code: the command's; 126 not executable, 127 not found, 125 mica could not run it",
	.min_pos = 2, .max_pos = -1, .command_at = 1, .flags = CMD_REMOTE, .run = run_exec };

static const struct opt shell_opts[] = {
	{ "uid", 0, OPT_NUMBER, "N", "user (default: the image's user; 0: root)" },
	{ "gid", 0, OPT_NUMBER, "N", "group" },
	{ "cwd", 0, OPT_TEXT, "PATH", "folder to start in" },
	{ "shell", 0, OPT_TEXT, "PATH", "shell to start (default: the image's)" },
	{ "bootstrap", 0, OPT_TEXT, "COMMAND", "line to type first" },
	{ 0 },
};

static int run_shell(struct args *a)
{
	struct remote r;
	char vm[VM_NAME_MAX];
	int code = remote_init(&r, a);
	if (!code)
		code = a->n_pos ? vm_name_take(vm, a->pos[0]) : vm_only(&r, vm);
	if (code)
		return code;
	struct shell_ask ask = { .uid = arg_text(a, "uid"), .gid = arg_text(a, "gid"), .cwd = arg_text(a, "cwd"), .shell = arg_text(a, "shell"),
		.bootstrap = arg_text(a, "bootstrap") };
	return shell_run(&r, vm, &ask);
}

const struct cmd cmd_vm_shell = { .group = "vm", .name = "shell", .aliases = "sh", .shortcut = "shell", .synopsis = "[VM]",
	.summary = "Open a terminal in a VM (Ctrl+] detaches)", .opts = shell_opts,
	.examples = "mica vm shell\nmica vm shell vm-1 --uid 0\nmica shell vm-1 --cwd /srv --bootstrap 'git status'", .max_pos = 1,
		.command_at = -1, .flags = CMD_REMOTE, .run = run_shell };
