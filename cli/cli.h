/*
 * cli: the `mica` program: a table of commands, an HTTP client, and the supervisor that starts the other programs
 * (`up`, `run`, `doctor`). Commands talk to a daemon over its API only, never to core or a VM directly; `run` starts a
 * private daemon and speaks the same API to it. A verb is cmd_<verb>.c and a row in cmds.c. Functions here may print and
 * say so; handlers return the exit code. One thread. Uses lib/{base,json,http,arc,wire}; nothing includes cli.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "lib/base/base.h"

enum { EXIT_OK = 0, EXIT_FAIL = 1, EXIT_USAGE = 2, EXIT_OURS = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* ---- options ---- */

enum opt_kind { OPT_FLAG = 1, OPT_TEXT, OPT_LIST, OPT_NUMBER, OPT_DURATION, OPT_SIZE };
struct opt {
	const char *name;  /* without dashes */
	char letter;       /* 0: none */
	uint8_t kind;      /* enum opt_kind; values are checked while parsing */
	const char *value; /* what help calls the value; NULL for flags */
	const char *help;
};

struct args;
enum { CMD_REMOTE = 1, /* takes the connection options */ CMD_HIDDEN = 2 };
struct cmd {
	const char *group;    /* "vm", or NULL for a top-level verb */
	const char *name;
	const char *aliases;  /* more names in the group, blanks between; NULL */
	const char *shortcut; /* names it also has at the top level; NULL */
	const char *synopsis; /* positional part for help */
	const char *summary;
	const struct opt *opts; /* ends with a row without name; may be NULL */
	const char *examples; /* lines */
	int min_pos, max_pos; /* positional arguments; max -1: any number */
	int command_at;       /* that many positionals, then the rest is a command line to pass on; -1: none */
	unsigned flags;
	int (*run)(struct args *a);
};
extern const struct cmd *const cmds[]; /* ends with NULL; the one list of verbs (cmds.c) */

/* A group is one word ("vm") or two ("vm bg"). Those that have other spellings or words for help stand here; ends with a row without name. */
struct group {
	const char *name;
	const char *also;    /* other spellings, commas between: "v bg,bg"; NULL */
	const char *summary; /* NULL */
};
extern const struct group groups[];
/* What people may ask for and this version does not serve: said so, instead of "unknown command". Ends with a row without names. */
struct absent {
	const char *group;   /* or NULL */
	const char *names;   /* blanks between */
	const char *why, *fix;
};
extern const struct absent absents[];

/* The group argv begins with, and how many words name it; the longest counts. NULL: none. */
const char *group_find(int argc, char **argv, int *n_words);
const struct group *group_row(const char *name); /* NULL: has none */
/* Calls fn for every spelling of a group, its name first. */
void group_spellings(const char *name, void (*fn)(const char *spelling, int len, void *arg), void *arg);
/* Is *at the first command of its group? */
bool group_first(const struct cmd *const *at);
const struct cmd *cmd_find(const char *group, const char *word);
const struct absent *absent_find(const char *group, const char *word);
bool word_listed(const char *list, const char *word); /* "a b c" */

#define ARGS_MAX 512
struct args {
	const struct cmd *cmd;
	char **pos;    /* owned; positional arguments, NULL at the end */
	int n_pos;
	struct {
		const struct opt *opt;
		const char *value;
	} given[ARGS_MAX];
	unsigned n_given;
	bool want_help;
};

extern const struct opt remote_opts[]; /* --url --socket --context --token --token-file --fingerprint --ca-file */

/* Splits argv (after the verb). 0, or EXIT_USAGE after saying what is wrong. */
int args_parse(struct args *a, const struct cmd *cmd, int argc, char **argv);
/* How many words of argv (before the verb) are connection options and their values. */
int args_leading(int argc, char **argv);
void args_done(struct args *a);
const char *arg_text(const struct args *a, const char *name); /* last value or NULL */
bool arg_flag(const struct args *a, const char *name, bool otherwise);
uint64_t arg_u64(const struct args *a, const char *name, uint64_t otherwise); /* NUMBER; DURATION in ms; SIZE in bytes */
/* Values of a list option one by one: start with *i = 0; NULL at the end. */
const char *arg_next(const struct args *a, const char *name, unsigned *i);

void help_all(void);
void help_group(const char *group);
void help_cmd(const struct cmd *c);
void help_tree(void);
void help_absent(const struct absent *a);

/* ---- names kept for people who come from slicer (compat.c): the whole of that in one table ---- */

const char *compat_env(const char *name);    /* "URL" → $MICA_URL, then $SLICER_URL; NULL or "" count as unset */
/* The same for names that say one thing in different ways: of the first prefix under which any is set. How many; values[k] NULL: not set there. */
int compat_env_any(const char *const *names, const char **values, size_t n);
extern const char *const compat_token_files[]; /* beside the state folder's; ends with NULL */
extern const char *const compat_configs[];     /* `up` without FILE; ends with NULL */
/* cmd_up.c: FILE, or one of compat_configs in this folder. 0, or EXIT_FAIL after saying so. */
int config_find(const struct args *a, char *dst, size_t cap);
/* The daemon's folder for this user: $MICA_STATE, /var/lib/mica, or ${XDG_STATE_HOME:-~/.local/state}/mica. 0 or -ENAMETOOLONG/-ENOENT. */
int state_folder(char *dst, size_t cap);

extern const struct cmd cmd_support_bundle, cmd_new, cmd_up, cmd_run, cmd_doctor, cmd_ps, cmd_info, cmd_version, cmd_vm_launch, cmd_vm_list, cmd_vm_group,
	cmd_vm_describe, cmd_vm_exec, cmd_vm_shell, cmd_vm_cp, cmd_vm_ready, cmd_vm_health, cmd_vm_logs, cmd_vm_pause, cmd_vm_resume,
	cmd_vm_shutdown, cmd_vm_relaunch, cmd_vm_commit, cmd_vm_fork, cmd_vm_delete, cmd_vm_tag, cmd_vm_route, cmd_vm_forward, cmd_vm_top, cmd_bench, cmd_service_generate, cmd_completion, cmd_man,
	cmd_token_create, cmd_token_list, cmd_token_revoke, cmd_net_cut, cmd_net_heal, cmd_net_delay, cmd_net_loss, cmd_net_limit, cmd_net_stats, cmd_net_log, cmd_policy_show, cmd_policy_set, cmd_policy_explain, cmd_policy_learn,
	cmd_group_list, cmd_group_create, cmd_group_update, cmd_group_delete, cmd_config_check, cmd_config_show,
	cmd_secret_create, cmd_secret_list, cmd_secret_update, cmd_secret_remove, cmd_image_import, cmd_image_build, cmd_image_prune, cmd_image_list, cmd_image_inspect, cmd_image_export, cmd_image_tag,
	cmd_image_remove, cmd_disk_list, cmd_disk_df, cmd_disk_grow, cmd_disk_export, cmd_disk_sparsify, cmd_disk_import, cmd_activate, cmd_eula, cmd_context_add, cmd_context_use, cmd_context_list,
	cmd_context_show, cmd_context_remove, cmd_join, cmd_vm_suspend, cmd_vm_restore, cmd_auto, cmd_bg_exec, cmd_bg_list, cmd_bg_info, cmd_bg_logs,
	cmd_bg_kill, cmd_bg_wait, cmd_bg_remove, cmd_fs_ls, cmd_fs_stat, cmd_fs_mkdir, cmd_fs_rm, cmd_fs_watch;

#endif
