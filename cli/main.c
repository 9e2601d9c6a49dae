#include "cli/cli.h"
#include "cli/out.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int unknown_cmd(const char *group, const char *word)
{
	const struct cmd *best = NULL;
	unsigned distance = 4;
	char fix[128];
	for (const struct cmd *const *c = cmds; *c; c++) {
		unsigned d = edit_distance(word, (*c)->name);
		if ((!group || ((*c)->group && !strcmp((*c)->group, group))) && d < distance) {
			distance = d;
			best = *c;
		}
	}
	if (best)
		snprintf(fix, sizeof(fix), "did you mean 'mica %s%s%s'?", best->group ? best->group : "", best->group ? " " : "", best->name);
	else
		snprintf(fix, sizeof(fix), "'mica%s%s --help' lists the commands", group ? " " : "", group ? group : "");
	return out_error(EXIT_USAGE, "no command has this name", fix, "unknown command '%s%s%s'", group ? group : "", group ? " " : "", word);
}

static bool is_help(const char *s)
{
	return !strcmp(s, "--help") || !strcmp(s, "-h") || !strcmp(s, "help");
}

static int no_cmd(const char *group, int argc, char **argv)
{
	const struct absent *none = absent_find(group, argv[0]);
	if (!none)
		return unknown_cmd(group, argv[0]);
	for (int i = 1; i < argc; i++)
		if (is_help(argv[i])) {
			help_absent(none);
			return EXIT_OK;
		}
	return out_error(EXIT_FAIL, none->why, none->fix, "mica does not serve '%s%s%s'", group ? group : "", group ? " " : "", argv[0]);
}

/* mica help [[GROUP] VERB] */
static int help_about(int argc, char **argv)
{
	int at;
	const char *group = group_find(argc, argv, &at);
	const struct cmd *c = argc > at ? cmd_find(group, argv[at]) : NULL;
	const struct absent *none = argc > at && !c ? absent_find(group, argv[at]) : NULL;
	if (none) {
		help_absent(none);
		return EXIT_OK;
	}
	if (argc > at && !c)
		return unknown_cmd(group, argv[at]);
	if (c)
		help_cmd(c);
	else if (group)
		help_group(group);
	else
		help_all();
	return EXIT_OK;
}

/* argv starts with the verb; the n_before words stood before it (connection options) and count as standing behind it, as do the n_between between
 * group and verb. */
static int run_cmd(const struct cmd *c, char **before, int n_before, int n_between, int argc, char **argv)
{
	static struct args a; /* large; there is one command per process */
	if (n_before + n_between && !(c->flags & CMD_REMOTE))
		return out_error(EXIT_USAGE, "the command asks no daemon", "leave it out", "%s before '%s'", n_before ? before[0] : argv[-n_between], c->name);
	char **all = calloc((size_t)(n_before + n_between + argc), sizeof(*all));
	if (!all)
		return out_error(EXIT_FAIL, strerror(ENOMEM), "free some memory", "cannot read the arguments");
	memcpy(all, before, (size_t)n_before * sizeof(*all));
	memcpy(all + n_before, argv - n_between, (size_t)n_between * sizeof(*all));
	memcpy(all + n_before + n_between, argv + 1, (size_t)(argc - 1) * sizeof(*all));
	int code = args_parse(&a, c, n_before + n_between + argc - 1, all);
	if (!code && a.want_help)
		help_cmd(c);
	else if (!code)
		code = c->run(&a);
	args_done(&a);
	free(all);
	/* 2 could be the answer of the command that is passed on. */
	return code == EXIT_USAGE && c->command_at >= 0 ? EXIT_OURS : code;
}

static int dispatch(int argc, char **argv)
{
	static char version[] = "version";
	char **before = argv;
	int n_before = args_leading(argc, argv);
	argc -= n_before, argv += n_before;
	int n_group;
	const char *group = group_find(argc, argv, &n_group);
	argc -= n_group, argv += n_group;
	int n_between = group ? args_leading(argc, argv) : 0;
	argc -= n_between, argv += n_between;
	if (!argc || is_help(argv[0])) {
		int code = group ? help_about(n_group, argv - n_between - n_group) : help_about(argc ? argc - 1 : 0, argv + 1);
		return argc ? code : EXIT_USAGE;
	}
	if (!group && !strcmp(argv[0], "--tree")) {
		help_tree();
		return EXIT_OK;
	}
	if (!group && !strcmp(argv[0], "--version"))
		argv[0] = version;
	const struct cmd *c = cmd_find(group, argv[0]);
	if (!c)
		return no_cmd(group, argc, argv);
	return run_cmd(c, before, n_before, n_between, argc, argv);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a closed connection or pipe is an errno, handled where it happens */
	int code = dispatch(argc - 1, argv + 1);
	if (fflush(stdout) && !code)
		code = out_error(EXIT_FAIL, "the output could not be written", "check the disk or the reading end of the pipe", "output is incomplete");
	return code;
}
