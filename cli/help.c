#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void rows(const struct opt *o)
{
	for (; o && o->name; o++) {
		char left[64];
		snprintf(left, sizeof(left), "%s%c%s --%s%s%s", o->letter ? "-" : " ", o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name,
			 o->value ? " " : "", o->value ? o->value : "");
		printf("  %-30s %s%s\n", left, o->help, o->kind == OPT_LIST ? " (repeatable)" : "");
	}
}

static void example_lines(const char *text)
{
	while (text && *text) {
		size_t n = strcspn(text, "\n");
		printf("  %.*s\n", (int)n, text);
		text += n + (text[n] == '\n');
	}
}

void help_cmd(const struct cmd *c)
{
	printf("%s\n\nUsage: mica %s%s%s [options]%s%s\n", c->summary, c->group ? c->group : "", c->group ? " " : "", c->name, c->synopsis ? " " : "",
	       c->synopsis ? c->synopsis : "");
	if (c->aliases)
		printf("Also:  mica %s%s{%s}\n", c->group ? c->group : "", c->group ? " " : "", c->aliases);
	if (c->shortcut)
		printf("Short: mica {%s}\n", c->shortcut);
	if (c->opts && c->opts->name) {
		printf("\nOptions:\n");
		rows(c->opts);
	}
	if (c->flags & CMD_REMOTE) {
		printf("\nWhich daemon (these options, else the environment, else the current context, else the state folder's\n"
		       "socket or http://127.0.0.1:8080):\n");
		rows(remote_opts);
	}
	printf("\nExamples:\n");
	example_lines(c->examples);
}

static void list(const char *group)
{
	for (const struct cmd *const *c = cmds; *c; c++) {
		if (((*c)->flags & CMD_HIDDEN) || (group ? !(*c)->group || strcmp((*c)->group, group) : !!(*c)->group))
			continue;
		printf("  %-10s %s\n", (*c)->name, (*c)->summary);
	}
}

/* Groups inside a group: "bg COMMAND". */
static void list_inner(const char *group)
{
	size_t n = strlen(group);
	for (const struct cmd *const *c = cmds; *c; c++) {
		const char *inner = (*c)->group;
		if (!group_first(c) || strncmp(inner, group, n) || inner[n] != ' ')
			continue;
		const struct group *g = group_row(inner);
		printf("  %-10s %s; a group of its own\n", inner + n + 1, g && g->summary ? g->summary : "More");
	}
}

static void print_also(const char *spelling, int len, void *arg)
{
	const char *name = arg;
	if ((size_t)len != strlen(name) || memcmp(spelling, name, (size_t)len))
		printf(" (also mica %.*s)", len, spelling);
}

void help_group(const char *group)
{
	const struct group *g = group_row(group);
	if (g && g->summary)
		printf("%s\n\n", g->summary);
	printf("Usage: mica %s COMMAND [options]\n", group);
	if (g && g->also)
		printf("Also:  mica {%s} COMMAND\n", g->also);
	printf("\nCommands:\n");
	list(group);
	list_inner(group);
	printf("\n'mica %s COMMAND --help' tells more, with examples.\n", group);
}

void help_absent(const struct absent *a)
{
	printf("Usage: mica %s%s%s\n\nNot served by this version: %s.\n", a->group ? a->group : "", a->group ? " " : "", a->names, a->why);
	if (a->fix)
		printf("Instead: %s.\n", a->fix);
}

void help_all(void)
{
	printf("mica: microVMs on one host: a daemon, an API, and a command line, in one file\n\n"
	       "Usage: mica COMMAND [options]\n\nCommands:\n");
	list(NULL);
	for (const struct cmd *const *c = cmds; *c; c++) {
		const char *group = (*c)->group;
		if (!group_first(c))
			continue;
		printf("\nmica %s COMMAND", group);
		char name[64];
		snprintf(name, sizeof(name), "%s", group);
		group_spellings(group, print_also, name);
		printf(":\n");
		list(group);
	}
	printf("\nWhich daemon: an option (--url, --socket, --context), else the environment (MICA_URL, MICA_SOCKET, MICA_CONTEXT; then SLICER_…),\n"
	       "else the current context ('mica context use'), else this machine's.\n"
	       "Shortcuts: ls = vm list; exec, shell, cp, logs, top, relaunch = vm …\n"
	       "'mica COMMAND --help' tells more, with examples. 'mica --tree' lists every option.\n\n"
	       "Examples:\n"
	       "  mica run -- uname -a                 one command in a fresh VM, then nothing is left\n"
	       "  mica new vm > mica.yaml && mica up   a daemon with one VM\n"
	       "  mica vm exec vm-1 -- uptime\n");
}

static void tree_opts(const struct opt *o)
{
	for (; o && o->name; o++)
		printf(" --%s%s%s", o->name, o->value ? "=" : "", o->value ? o->value : "");
}

void help_tree(void)
{
	for (const struct cmd *const *c = cmds; *c; c++) {
		if ((*c)->flags & CMD_HIDDEN)
			continue;
		printf("mica %s%s%s%s%s", (*c)->group ? (*c)->group : "", (*c)->group ? " " : "", (*c)->name, (*c)->synopsis ? " " : "",
		       (*c)->synopsis ? (*c)->synopsis : "");
		tree_opts((*c)->opts);
		if ((*c)->flags & CMD_REMOTE)
			tree_opts(remote_opts);
		printf("\n");
	}
}
