/* run: one command in one disposable VM. */
#include "cli/cli.h"
#include "cli/copy.h"
#include "cli/exec.h"
#include "cli/out.h"
#include "cli/private.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPIES_MAX 64

static const struct opt run_opts[] = {
	{ "cpus", 0, OPT_NUMBER, "N", "processors (default 1)" },
	{ "ram-mb", 0, OPT_NUMBER, "N", "memory in MiB (default 512)" },
	{ "disk", 0, OPT_SIZE, "SIZE", "root disk (default 10G, sparse)" },
	{ "kernel", 0, OPT_TEXT, "NAME", "min (default), or full in builds that carry it" },
	{ "cp", 0, OPT_LIST, "SRC:DST", "copy SRC from here to DST in the VM first" },
	{ "out", 0, OPT_LIST, "SRC:DST", "copy SRC out of the VM to DST afterwards, whatever the exit code" },
	{ "env", 'e', OPT_LIST, "K=V", "environment variable; K alone takes our value" },
	{ "cwd", 0, OPT_TEXT, "PATH", "folder to run in (default: the user's home)" },
	{ "uid", 0, OPT_NUMBER, "N", "user to run as (default: the image's user, 1000; 0: root)" },
	{ "gid", 0, OPT_NUMBER, "N", "group to run as" },
	{ "net", 0, OPT_FLAG, NULL, "with a network (needs root); without: none at all" },
	{ "stdin", 0, OPT_FLAG, NULL, "pass our standard input (default: unless it is a terminal)" },
	{ "timeout", 0, OPT_DURATION, "TIME", "for the VM to come up (default 60s; 5m on the emulated route)" },
	{ "kvm", 0, OPT_TEXT, "PATH", "KVM device (default /dev/kvm)" },
	{ "quiet", 'q', OPT_FLAG, NULL, "no progress bars" },
	{ 0 },
};

struct copy_pair {
	char from[4096];
	const char *to;
};

/* "SRC:DST", cut at the last colon that has a path behind it. */
static int cut_pair(const char *text, const char *option, struct copy_pair *out)
{
	const char *colon = strrchr(text, ':');
	if (!colon || colon == text || !colon[1] || (size_t)(colon - text) >= sizeof(out->from))
		return out_error(EXIT_OURS, "it is not SRC:DST", !strcmp(option, "cp") ? "--cp ./project:work" : "--out work/dist:./dist", "--%s=%s", option, text);
	memcpy(out->from, text, (size_t)(colon - text));
	out->from[colon - text] = 0;
	out->to = colon + 1;
	return 0;
}

static int take_pairs(const struct args *a, const char *option, struct copy_pair *pairs, int *n)
{
	const char *v;
	unsigned i = 0;
	for (*n = 0; (v = arg_next(a, option, &i)); ++*n) {
		if (*n == COPIES_MAX)
			return out_error(EXIT_OURS, "there is room for that many", "copy a folder instead", "more than %d --%s", COPIES_MAX, option);
		int code = cut_pair(v, option, &pairs[*n]);
		if (code)
			return code;
	}
	return 0;
}

/* What can be refused before a VM is made. */
static int check(const struct args *a, const struct copy_pair *in, int n_in)
{
	for (int i = 0; i < n_in; i++)
		if (access(in[i].from, R_OK))
			return out_error(EXIT_OURS, strerror(errno), "check the path before the colon of --cp", "cannot copy %s", in[i].from);
	if (arg_flag(a, "net", false) && geteuid() != 0)
		return out_error(EXIT_OURS, "making a bridge and a tap takes root", "run it with sudo, or leave --net out", "--net is not possible");
	uint64_t cpus = arg_u64(a, "cpus", 1), ram = arg_u64(a, "ram-mb", 512);
	if (cpus < 1 || cpus > 8)
		return out_error(EXIT_OURS, "a VM has 1 to 8 processors", "--cpus 2", "--cpus=%llu", (unsigned long long)cpus);
	uint64_t host_mb = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
	char cause[96];
	snprintf(cause, sizeof(cause), "a VM has from 64 MiB to what this machine has, %llu MiB", (unsigned long long)host_mb);
	if (ram < 64 || ram > host_mb)
		return out_error(EXIT_OURS, cause, "--ram-mb 512", "--ram-mb=%llu", (unsigned long long)ram);
	return 0;
}

/* Ctrl-C, and not a command that ends with the same code. */
static bool cancelled(const struct private_vm *p)
{
	struct pollfd poll_fd = { .fd = p->cancel_fd, .events = POLLIN };
	return poll(&poll_fd, 1, 0) > 0;
}

static int work(struct private_vm *p, struct args *a, const struct copy_pair *in, int n_in, const struct copy_pair *out, int n_out)
{
	struct copy_ask how = { .recursive = true, .uid = arg_text(a, "uid"), .gid = arg_text(a, "gid"), .quiet = arg_flag(a, "quiet", false), .code = EXIT_OURS };
	int code = 0;
	for (int i = 0; i < n_in && !code; i++)
		code = copy_in(&p->remote, p->vm, in[i].from, in[i].to, &how);
	if (code)
		return code;
	struct exec_ask ask = { .words = a->pos, .n_words = a->n_pos, .shell = "", .cwd = arg_text(a, "cwd"), .uid = arg_text(a, "uid"),
		.gid = arg_text(a, "gid"), .env = a,
				.with_stdin = arg_flag(a, "stdin", !isatty(0)) };
	code = exec_run(&p->remote, p->vm, &ask);
	if (cancelled(p))
		return code;
	for (int i = 0; i < n_out; i++) {
		int one = copy_out(&p->remote, p->vm, out[i].from, out[i].to, &how);
		code = code ? code : one; /* the command's own failure says more */
	}
	return code;
}

static int run(struct args *a)
{
	static struct copy_pair in[COPIES_MAX], out[COPIES_MAX];
	static struct private_vm p;
	int n_in, n_out;
	int code = take_pairs(a, "cp", in, &n_in);
	if (!code)
		code = take_pairs(a, "out", out, &n_out);
	if (!code)
		code = check(a, in, n_in);
	if (code)
		return code;
	struct private_ask ask = { .cpus = arg_u64(a, "cpus", 1), .ram_mb = arg_u64(a, "ram-mb", 512), .disk_bytes = arg_u64(a, "disk", 0),
		.net = arg_flag(a, "net", false), .kernel = arg_text(a, "kernel"),
				   .kvm = arg_text(a, "kvm") ? arg_text(a, "kvm") : "/dev/kvm", .timeout_ms = arg_u64(a, "timeout", 0) };
	code = private_start(&p, &ask);
	if (!code)
		code = work(&p, a, in, n_in, out, n_out);
	private_stop(&p);
	return code;
}

const struct cmd cmd_run = { .name = "run", .synopsis = "[--] COMMAND [ARG…]",
	.summary = "Run one command in a fresh VM, with no daemon; nothing is left afterwards", .opts = run_opts,
	.examples = "mica run -- uname -a\nmica run --cpus 2 --ram-mb 1024 --cp ./project:work --out work/dist:./dist -- sh -c 'cd work && make dist'\n"
		    "echo 'print(6*7)' | mica run -- python3 -\nexit code: the command's; 126 not executable, 127 not found, 125 mica could not run it",
	.min_pos = 1, .max_pos = -1, .command_at = 0, .run = run };
