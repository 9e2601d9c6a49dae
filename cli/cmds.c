#include "cli/cli.h"

/* Every verb there is. Order is the order of --help. */
const struct cmd *const cmds[] = {
	&cmd_run, &cmd_new, &cmd_up, &cmd_auto, &cmd_join, &cmd_doctor, &cmd_ps, &cmd_bench, &cmd_info, &cmd_version, &cmd_completion, &cmd_man,
	&cmd_vm_launch, &cmd_vm_list, &cmd_vm_group, &cmd_vm_describe, &cmd_vm_exec, &cmd_vm_shell, &cmd_vm_cp, &cmd_vm_forward, &cmd_vm_ready, &cmd_vm_health,
	&cmd_vm_logs, &cmd_vm_top, &cmd_vm_pause, &cmd_vm_resume, &cmd_vm_suspend, &cmd_vm_restore, &cmd_vm_shutdown, &cmd_vm_relaunch, &cmd_vm_commit, &cmd_vm_fork, &cmd_vm_delete, &cmd_vm_tag, &cmd_vm_route,
	&cmd_bg_exec, &cmd_bg_list, &cmd_bg_info, &cmd_bg_logs, &cmd_bg_kill, &cmd_bg_wait, &cmd_bg_remove,
	&cmd_net_cut, &cmd_net_heal, &cmd_net_delay, &cmd_net_loss, &cmd_net_limit, &cmd_net_stats, &cmd_net_log,
	&cmd_policy_show, &cmd_policy_set, &cmd_policy_explain, &cmd_policy_learn,
	&cmd_fs_ls, &cmd_fs_stat, &cmd_fs_mkdir, &cmd_fs_rm, &cmd_fs_watch,
	&cmd_group_list, &cmd_group_create, &cmd_group_update, &cmd_group_delete, &cmd_config_check, &cmd_config_show,
	&cmd_image_import, &cmd_image_build, &cmd_image_list, &cmd_image_inspect, &cmd_image_export, &cmd_image_tag, &cmd_image_remove, &cmd_image_prune,
	&cmd_disk_list, &cmd_disk_df, &cmd_disk_grow, &cmd_disk_export, &cmd_disk_sparsify, &cmd_disk_import,
	&cmd_secret_create, &cmd_secret_list, &cmd_secret_update, &cmd_secret_remove,
	&cmd_token_create, &cmd_token_list, &cmd_token_revoke,
	&cmd_context_add, &cmd_context_use, &cmd_context_list, &cmd_context_show, &cmd_context_remove,
	&cmd_service_generate, &cmd_support_bundle, &cmd_activate, &cmd_eula,
	NULL,
};

const struct group groups[] = {
	{ "vm", "v", NULL },
	{ "group", "hostgroup", "Host groups of a running daemon" },
	{ "config", NULL, "The daemon's file" },
	{ "vm bg", "v bg,bg", "Commands that go on in a VM without us" },
	{ "vm net", "v net", "What happens to a VM's packets" },
	{ "policy", NULL, "What isolated VMs may reach" },
	{ "disk", "disks", "Disks of VMs" },
	{ "image", "images", "Root file systems for VMs" },
	{ "fs", "vm fs,v fs", NULL },
	{ 0 },
};
