/* vm cp: which side is the VM's, and the options. */
#include "cli/cli.h"
#include "cli/copy.h"
#include "cli/out.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define EXCLUDES_MAX 256

static const struct opt cp_opts[] = {
	{ "recursive", 'r', OPT_FLAG, NULL, "copy folders" },
	{ "mode", 0, OPT_TEXT, "MODE", "binary (one file) or tar (a folder); default: by what the source is" },
	{ "permissions", 0, OPT_TEXT, "OCTAL", "mode of the file in the VM (default: as here)" },
	{ "uid", 0, OPT_NUMBER, "N", "owner in the VM (default: the image's user; 0: root)" },
	{ "gid", 0, OPT_NUMBER, "N", "group in the VM" },
	{ "exclude", 0, OPT_LIST, "GLOB", "leave out what matches; folders here also honour .slicerignore" },
	{ "quiet", 'q', OPT_FLAG, NULL, "no progress bar" },
	{ 0 },
};

/* "vm-1:/path" → the colon. A name before it, no slash before it: "./a:b" is a local file. */
static const char *vm_colon(const char *s)
{
	const char *colon = strchr(s, ':'), *slash = strchr(s, '/');
	return colon && colon != s && (!slash || slash > colon) ? colon : NULL;
}

static int take_vm(const char *s, const char *colon, char vm[VM_NAME_MAX])
{
	char name[VM_NAME_MAX];
	size_t n = (size_t)(colon - s);
	if (n >= sizeof(name))
		n = sizeof(name) - 1;
	memcpy(name, s, n);
	name[n] = 0;
	return vm_name_take(vm, name);
}

static int check_values(const struct args *a)
{
	const char *mode = arg_text(a, "mode"), *perm = arg_text(a, "permissions");
	if (mode && strcmp(mode, "tar") && strcmp(mode, "binary"))
		return out_error(EXIT_USAGE, "there are two modes", "--mode tar or --mode binary", "unknown mode '%s'", mode);
	if (perm && (!*perm || strlen(perm) > 4 || perm[strspn(perm, "01234567")]))
		return out_error(EXIT_USAGE, "it is no octal file mode", "--permissions 0644", "--permissions=%s", perm);
	return 0;
}

static int run_cp(struct args *a)
{
	struct remote r;
	const char *excludes[EXCLUDES_MAX], *e;
	char vm[VM_NAME_MAX];
	unsigned i = 0;
	size_t n = 0;
	const char *from = vm_colon(a->pos[0]), *to = vm_colon(a->pos[1]);
	if (!from == !to)
		return out_error(EXIT_USAGE, from ? "both sides name a VM" : "neither side names a VM",
			"mica vm cp FILE VM:PATH, or mica vm cp VM:PATH FILE", "cannot copy %s to %s", a->pos[0], a->pos[1]);
	int code = check_values(a);
	if (!code)
		code = take_vm(a->pos[from ? 0 : 1], from ? from : to, vm);
	if (!code)
		code = remote_init(&r, a);
	if (code)
		return code;
	while ((e = arg_next(a, "exclude", &i))) {
		if (n == EXCLUDES_MAX)
			return out_error(EXIT_USAGE, "at most 256 --exclude are possible", "list the patterns in .slicerignore", "cannot copy %s", a->pos[0]);
		excludes[n++] = e;
	}
	struct copy_ask ask = { .mode = arg_text(a, "mode"), .recursive = arg_flag(a, "recursive", false), .permissions = arg_text(a,
		"permissions"), .uid = arg_text(a, "uid"),
				.gid = arg_text(a, "gid"), .excludes = excludes, .n_excludes = n, .quiet = arg_flag(a, "quiet", false), .code = EXIT_FAIL };
	sigset_t old;
	r.cancel_fd = cancel_signals(&old); /* Ctrl-C removes what is half done */
	return from ? copy_out(&r, vm, from + 1, a->pos[1], &ask) : copy_in(&r, vm, a->pos[0], to + 1, &ask);
}

const struct cmd cmd_vm_cp = { .group = "vm", .name = "cp", .shortcut = "cp", .synopsis = "SRC DST   (one of them VM:PATH)",
	.summary = "Copy files and folders into or out of a VM",
	.opts = cp_opts,
	.examples = "mica vm cp ./app vm-1:/usr/local/bin/ --uid 0 --permissions 0755\nmica vm cp -r ./project vm-1:work --exclude node_modules\n"
		    "mica vm cp -r vm-1:work/dist ./out\nmica vm cp vm-1:/etc/hostname -            (to standard output)",
	.min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_cp };
