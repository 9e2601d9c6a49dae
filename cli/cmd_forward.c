/* vm forward. */
#include "cli/cli.h"
#include "cli/forward.h"
#include "cli/out.h"

#include <stdlib.h>

static const struct opt forward_opts[] = {
	{ "listen", 'L', OPT_LIST, "SPEC", "what to forward; also as an argument" },
	{ 0 },
};

#define FORMS "forms: HOST:PORT, LPORT:HOST:PORT, LHOST:LPORT:HOST:PORT, LHOST:LPORT:/SOCKET, LPORT:/SOCKET, /LSOCKET:/SOCKET"

static int take_spec(struct forward_spec *s, const char *text)
{
	struct fault f = { "" };
	return forward_spec_parse(s, text, &f) ? out_error(EXIT_USAGE, f.text, FORMS, "'%s' says not what to forward", text) : 0;
}

static int run_forward(struct args *a)
{
	static struct forward_spec specs[ARGS_MAX];
	struct remote r;
	struct answer an;
	char vm[VM_NAME_MAX];
	const char *text;
	unsigned i = 0, n = 0;
	int code = vm_name_take(vm, a->pos[0]);
	while (!code && (text = arg_next(a, "listen", &i)))
		code = take_spec(&specs[n++], text);
	for (int p = 1; p < a->n_pos && !code; p++)
		code = n == ARGS_MAX ? out_error(EXIT_USAGE, "there is room for that many", "use fewer", "more than %d specs", ARGS_MAX)
			: take_spec(&specs[n++], a->pos[p]);
	if (!code && !n)
		code = out_error(EXIT_USAGE, "no -L, and no argument after the VM", "mica vm forward vm-1 -L 8080:127.0.0.1:80", "what is to be forwarded?");
	if (!code)
		code = remote_init(&r, a);
	if (!code) /* also turns a friendly name into the hostname */
		code = vm_ask(&r, "GET", vm, "", NULL, &an, "cannot forward");
	if (code)
		return code;
	answer_done(&an);
	return forward_run(&r, vm, specs, n);
}

const struct cmd cmd_vm_forward = { .group = "vm", .name = "forward", .aliases = "fwd port-forward", .synopsis = "VM [-L] SPEC…",
	.summary = "Listen here, connect inside the VM, until Ctrl-C", .opts = forward_opts,
	.examples = "mica vm forward vm-1 -L 127.0.0.1:8080                       the same port on both sides\n"
		    "mica vm forward vm-1 -L 9001:127.0.0.1:9000                  127.0.0.1:9001 here\n"
		    "mica vm forward vm-1 -L 0:127.0.0.1:9000                     a free port, printed\n"
		    "mica vm forward vm-1 -L 0.0.0.0:9000:127.0.0.1:9000          from other machines, too\n"
		    "mica vm forward vm-1 -L 127.0.0.1:9000:/run/docker.sock      a socket in the guest\n"
		    "mica vm forward vm-1 -L 9000:/run/docker.sock                the same, on 0.0.0.0\n"
		    "mica vm forward vm-1 -L ./docker.sock:/run/docker.sock       a socket on both sides\n"
		    "a client that closes its sending half still gets the answer, unless nothing at all moves for a minute",
	.min_pos = 1, .max_pos = -1, .command_at = -1, .flags = CMD_REMOTE, .run = run_forward };
