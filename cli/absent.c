/* The contract's verbs (§3) that this version does not serve, each with its reason; and two that need nothing. */
#include "cli/cli.h"

#include <stdio.h>

#define ONE_FILE "everything mica needs is in this one file"
#define BY_HAND "'mica vm launch --wait', then 'mica vm cp -r' and 'mica vm shell' do the same by hand"

const struct absent absents[] = {
	{ NULL, "update", "it never fetches anything from the network", "put the new file in the place of this one and start 'mica up' again: VMs live on" },
	{ NULL, "install", "it never fetches anything from the network", ONE_FILE },
	{ "image", "wipe pull", "it never fetches anything from the network", "'mica image import' takes archives, 'mica image remove' removes" },
	{ "disk", "archive transfer", "exports are raw images", "'mica disk export VM -f - | zstd > FILE' packs one, a pipe through ssh carries it" },
	{ "disk", "update-kernel", "kernels are not on disks", "the kernel is mica's own, or kernel_file of the host group" },
	{ NULL, "pci", "it cannot hand devices of the host to a VM yet", NULL },
	{ NULL, "ca", "it cannot issue certificates yet; the API's own is made by 'mica up --tls'", "'openssl req -x509' makes others" },
	{ NULL, "proxy", "it has no egress proxy yet", "isolated networks have allow and drop lists: 'mica new --net isolated --drop … --allow …'" },
	{ NULL, "amp claude codex copilot opencode pi workspace", "it cannot set up coding agents yet", BY_HAND },
	{ NULL, "worktree wt", "it cannot carry git work trees yet",
		"'git bundle create - HEAD | mica vm exec VM -- sh -c \"cat > repo.bundle\"' carries a repository" },
	{ NULL, "env", "it cannot keep project environments yet", BY_HAND },
	{ NULL, "wg", "nothing public tells what it should do", NULL },
	{ 0 },
};

static int run_activate(struct args *a)
{
	(void)a;
	printf("mica needs no licence key: there is nothing to activate\n");
	return 0;
}

static int run_eula(struct args *a)
{
	(void)a;
	printf("mica is free software under the MIT License: there is nothing to accept\n");
	return 0;
}

static const struct opt activate_opts[] = {
	{ "license-file", 0, OPT_TEXT, "PATH", "not needed, and not read" },
	{ 0 },
};

const struct cmd cmd_activate = { .name = "activate", .synopsis = "[KEY]", .summary = "Nothing: mica needs no licence key", .opts = activate_opts,
	.examples = "mica activate", .max_pos = 1, .command_at = -1, .flags = CMD_HIDDEN, .run = run_activate };
const struct cmd cmd_eula = { .name = "eula", .synopsis = "[accept]", .summary = "Say under which licence mica is", .examples = "mica eula",
	.max_pos = 1, .command_at = -1, .flags = CMD_HIDDEN, .run = run_eula };
