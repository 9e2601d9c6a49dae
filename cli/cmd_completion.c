/* completion: scripts for shells, made from the table of commands. VM names come from the daemon when asked for. */
#include "cli/cli.h"
#include "cli/out.h"

#include <stdio.h>
#include <string.h>

static bool takes_vm_path(const struct cmd *c) /* VM:path */
{
	return c->synopsis && !strncmp(c->synopsis, "SRC", 3) && c->group;
}

static bool takes_vm(const struct cmd *c)
{
	return c->synopsis && strstr(c->synopsis, "VM") && !takes_vm_path(c);
}

static bool takes_context(const struct cmd *c)
{
	return c->group && !strcmp(c->group, "context") && c->synopsis && strcmp(c->name, "add");
}

static bool takes_group(const struct cmd *c)
{
	return c->synopsis && strstr(c->synopsis, "GROUP") && strcmp(c->name, "create");
}

static bool takes_exec(const struct cmd *c) /* VM ID */
{
	return c->synopsis && !strncmp(c->synopsis, "VM ID", 5);
}

/* "list|add|remove" when the first argument is one of those words: its length, else 0. */
static int choices(const struct cmd *c)
{
	size_t n = c->synopsis ? strspn(c->synopsis, "abcdefghijklmnopqrstuvwxyz|") : 0;
	return n && memchr(c->synopsis, '|', n) && (c->synopsis[n] == ' ' || !c->synopsis[n]) ? (int)n : 0;
}

static void put_choices(const struct cmd *c)
{
	for (int i = 0, n = choices(c); i < n; i++)
		putchar(c->synopsis[i] == '|' ? ' ' : c->synopsis[i]);
}

/* What an argument of the command is, for the script. */
static const char *what(const struct cmd *c)
{
	return takes_exec(c) ? "exec" : takes_vm(c) ? "vm" : takes_vm_path(c) ? "path" : takes_context(c) ? "context" : takes_group(c) ? "group" : "";
}

/* Calls fn for every name the command has in its group (group != NULL), or at the top. */
static void each_name(const struct cmd *c, bool top, void (*fn)(const struct cmd *c, const char *name, int len))
{
	const char *lists[] = { top == !c->group ? c->name : NULL, top == !c->group ? c->aliases : NULL, top ? c->shortcut : NULL };
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		for (const char *p = lists[i]; p && *p; p += strspn(p, " ")) {
			int n = (int)strcspn(p, " ");
			fn(c, p, n);
			p += n;
		}
}

/* "--url|--socket": what takes a value before the command, too. */
static void remote_names(const char *between)
{
	for (const struct opt *o = remote_opts; o->name; o++)
		printf("%s--%s", o == remote_opts ? "" : between, o->name);
}

/* ---- bash, and zsh by its bashcompinit ---- */

static void bash_opts(const struct opt *o, bool only_values)
{
	for (; o && o->name; o++) {
		if (only_values && o->kind == OPT_FLAG)
			continue;
		printf("--%s ", o->name);
		if (only_values && o->letter)
			printf("-%c ", o->letter);
	}
}

struct named {
	const struct cmd *cmd;
	const char *name;
	int len;
};

static void pattern_of_spelling(const char *spelling, int len, void *arg)
{
	const struct named *n = arg;
	printf("'%.*s %.*s'|", len, spelling, n->len, n->name);
}

static void pattern_in_group(const struct cmd *c, const char *name, int len)
{
	struct named n = { c, name, len };
	group_spellings(c->group, pattern_of_spelling, &n);
}

static void pattern_at_top(const struct cmd *c, const char *name, int len)
{
	(void)c;
	printf("'%.*s'|", len, name);
}

static void word(const struct cmd *c, const char *name, int len)
{
	(void)c;
	printf("%.*s ", len, name);
}

static void quoted_spelling(const char *spelling, int len, void *arg)
{
	(void)arg;
	printf("'%.*s'|", len, spelling);
}

/* A word one may begin with; one letter alone is known by those who use it. */
static void first_word(const char *spelling, int len, void *arg)
{
	(void)arg;
	if (len > 1 && !memchr(spelling, ' ', (size_t)len))
		printf("%.*s ", len, spelling);
}

/* "bg" for "vm bg" inside "vm", under any spelling; "" when it is none of its. */
struct inner {
	const char *group;
	size_t n;
};
static void inner_word(const char *spelling, int len, void *arg)
{
	const struct inner *in = arg;
	if ((size_t)len > in->n + 1 && !memcmp(spelling, in->group, in->n) && spelling[in->n] == ' ')
		printf("%.*s ", len - (int)in->n - 1, spelling + in->n + 1);
}

static void group_words(const char *group)
{
	struct inner in = { group, strlen(group) };
	for (const struct cmd *const *c = cmds; *c; c++) {
		if ((*c)->group && !strcmp((*c)->group, group) && !((*c)->flags & CMD_HIDDEN))
			printf("%s ", (*c)->name);
		if (group_first(c))
			group_spellings((*c)->group, inner_word, &in);
	}
}

static void bash_tables(void)
{
	printf("\tcase \"$key\" in\n\t'') words='");
	for (const struct cmd *const *c = cmds; *c; c++) {
		if (group_first(c))
			group_spellings((*c)->group, first_word, NULL);
		if (!((*c)->flags & CMD_HIDDEN))
			each_name(*c, true, word);
	}
	printf("help --tree --version' ;;\n");
	for (const struct cmd *const *c = cmds; *c; c++)
		if (group_first(c)) {
			printf("\t");
			group_spellings((*c)->group, quoted_spelling, NULL);
			printf("'-') words='");
			group_words((*c)->group);
			printf("' ;;\n");
		}
	for (const struct cmd *const *c = cmds; *c; c++) {
		printf("\t");
		if ((*c)->group)
			each_name(*c, false, pattern_in_group);
		each_name(*c, true, pattern_at_top);
		printf("'-') opts='");
		bash_opts((*c)->opts, false);
		bash_opts((*c)->flags & CMD_REMOTE ? remote_opts : NULL, false);
		printf("--help' values='");
		bash_opts((*c)->opts, true);
		bash_opts((*c)->flags & CMD_REMOTE ? remote_opts : NULL, true);
		printf("' what='%s' max=%d first='", what(*c), (*c)->command_at);
		put_choices(*c);
		printf("' ;;\n");
	}
	printf("\tesac\n");
}

/* $key: the command so far, "vm exec" or "run"; $after: how many arguments stand behind it. */
static void bash(void)
{
	printf("# mica completion bash: source it, or put it into /usr/share/bash-completion/completions/mica\n"
	       "_mica()\n{\n"
	       "\tlocal cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" key='' words='' opts='' values='' what='' first='' vm='' max=-1 after=0 i w\n"
	       "\tlocal -a where=()\n"
	       "\tCOMPREPLY=()\n"
	       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "\t\tw=\"${COMP_WORDS[i]}\"\n"
	       "\t\tcase \"$w\" in\n\t\t");
	remote_names("|");
	printf(") where+=(\"$w\" \"${COMP_WORDS[i+1]}\"); ((i++)) ;;\n"
	       "\t\t-*) ;;\n"
	       "\t\t*)\n"
	       "\t\t\tcase \"$key\" in\n"
	       "\t\t\t'') key=\"$w\" ;;\n\t\t\t");
	for (const struct cmd *const *c = cmds; *c; c++)
		if (group_first(c))
			group_spellings((*c)->group, quoted_spelling, NULL);
	printf("'-') key=\"$key $w\" ;;\n"
	       "\t\t\t*) ((after++)); [[ -n $vm ]] || vm=\"$w\" ;;\n"
	       "\t\t\tesac ;;\n"
	       "\t\tesac\n"
	       "\tdone\n");
	bash_tables();
	printf("\tif [[ $prev == --context ]]; then what=context opts=''\n"
	       "\telif [[ \" $values \" == *\" $prev \"* ]]; then return; fi\n"
	       "\tif ((max >= 0 && after > max)); then return; fi\n"
	       "\tif [[ -n $words ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	       "\telif [[ $cur == -* ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$opts\" -- \"$cur\"))\n"
	       "\telif [[ -n $first && $after == 0 ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$first\" -- \"$cur\"))\n"
	       "\telif [[ $what == exec && $after != 0 ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" \"${where[@]}\" vm bg list \"$vm\" -q 2>/dev/null)\" -- \"$cur\"))\n"
	       "\telif [[ $what == vm || $what == exec ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" \"${where[@]}\" vm list -q 2>/dev/null)\" -- \"$cur\"))\n"
	       "\telif [[ $what == group ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" \"${where[@]}\" group list -q 2>/dev/null)\" -- \"$cur\"))\n"
	       "\telif [[ $what == context ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" context list -q 2>/dev/null)\" -- \"$cur\"))\n"
	       "\telif [[ $what == path && $cur != *[:/]* ]]; then\n"
	       "\t\tCOMPREPLY=($(compgen -S : -W \"$(\"${COMP_WORDS[0]}\" \"${where[@]}\" vm list -q 2>/dev/null)\" -- \"$cur\") $(compgen -f -- \"$cur\"))\n"
	       "\t\tcompopt -o nospace 2>/dev/null\n"
	       "\tfi\n"
	       "}\n"
	       "complete -o default -F _mica mica slicer\n");
}

static void zsh(void)
{
	printf("# mica completion zsh: source it from .zshrc, after compinit\n"
	       "autoload -U +X bashcompinit && bashcompinit\n"
	       "compopt() { : }\n");
	bash();
}

/* ---- fish ---- */

/* Inside single quotes. */
static void fish_text(const char *s)
{
	for (; *s; s++)
		printf("%s%c", *s == '\'' || *s == '\\' ? "\\" : "", *s);
}

static void fish_group(const char *spelling, int len, void *arg)
{
	const struct group *g = group_row(arg);
	const char *last = memrchr(spelling, ' ', (size_t)len);
	int before = last ? (int)(last - spelling) : 0, from = last ? before + 1 : 0;
	if (len == 1)
		return;
	printf("complete -c mica -f -n '__mica_at%s%.*s' -a %.*s -d '", before ? " " : "", before, spelling, len - from, spelling + from);
	fish_text(g && g->summary ? g->summary : "commands of this group");
	printf("'\n");
}

static void fish_word(const char *at, const char *name, int len, const char *summary)
{
	printf("complete -c mica -f -n '__mica_at%s%s' -a %.*s -d '", *at ? " " : "", at, len, name);
	fish_text(summary);
	printf("'\n");
}

static void fish_at_top(const struct cmd *c, const char *name, int len)
{
	fish_word("", name, len, c->summary);
}

static void fish_opts(const char *where, const struct opt *o)
{
	for (; o && o->name; o++) {
		printf("complete -c mica -n '__mica_in %s' -l %s", where, o->name);
		if (o->letter)
			printf(" -s %c", o->letter);
		printf("%s -d '", o->kind == OPT_FLAG ? "" : " -r");
		fish_text(o->help);
		printf("'\n");
	}
}

static void fish_place(const struct cmd *c, const char *where)
{
	fish_opts(where, c->opts);
	fish_opts(where, c->flags & CMD_REMOTE ? remote_opts : NULL);
	if (choices(c)) {
		printf("complete -c mica -f -n '__mica_at %s' -a '", where);
		put_choices(c);
		printf("'\n");
	}
	if (takes_exec(c))
		printf("complete -c mica -f -n '__mica_in %s' -a '(__mica_execs)'\n", where);
	else if (takes_vm(c))
		printf("complete -c mica -f -n '__mica_in %s' -a '(__mica_vms)'\n", where);
	else if (takes_vm_path(c))
		printf("complete -c mica -n '__mica_in %s' -a '(__mica_vms):'\n", where);
	else if (takes_context(c))
		printf("complete -c mica -f -n '__mica_in %s' -a '(mica context list -q)'\n", where);
	else if (takes_group(c))
		printf("complete -c mica -f -n '__mica_in %s' -a '(mica group list -q 2>/dev/null)'\n", where);
}

static void fish_spelling(const char *spelling, int len, void *arg)
{
	const struct named *n = arg;
	char where[100], at[60];
	snprintf(at, sizeof(at), "%.*s", len, spelling);
	snprintf(where, sizeof(where), "%s %.*s", at, n->len, n->name);
	if (n->name == n->cmd->name)
		fish_word(at, n->name, n->len, n->cmd->summary);
	fish_place(n->cmd, where);
}

static void fish_in_group(const struct cmd *c, const char *name, int len)
{
	struct named n = { c, name, len };
	group_spellings(c->group, fish_spelling, &n);
}

static void fish_top(const struct cmd *c, const char *name, int len)
{
	char where[60];
	snprintf(where, sizeof(where), "%.*s", len, name);
	fish_place(c, where);
}

static void fish(void)
{
	printf("# mica completion fish: put it into ~/.config/fish/completions/mica.fish\n"
	       "function __mica_words\n"
	       "\tset -l skip 0\n"
	       "\tfor w in (commandline -opc)[2..-1]\n"
	       "\t\tif test $skip = 1\n\t\t\tset skip 0\n"
	       "\t\telse if contains -- $w ");
	remote_names(" ");
	printf("\n\t\t\tset skip 1\n"
	       "\t\telse if not string match -q -- '-*' $w\n\t\t\techo $w\n"
	       "\t\tend\n\tend\nend\n"
	       "function __mica_at\n\ttest \"$(__mica_words)\" = \"$(string join \\n $argv)\"\nend\n"
	       "function __mica_in\n\tset -l words (__mica_words)\n\tset -l n (count $argv)\n"
	       "\ttest (count $words) -ge $n; and test \"$words[1..$n]\" = \"$argv\"\nend\n"
	       "function __mica_vms\n\tmica vm list -q 2>/dev/null\nend\n"
	       "function __mica_execs\n\tset -l words (__mica_words)\n"
	       "\twhile contains -- $words[1] vm v bg; set -e words[1]; end\n"
	       "\tif test (count $words) -lt 2; __mica_vms; else; mica vm bg list $words[2] -q 2>/dev/null; end\nend\n"
	       "complete -c slicer -w mica\n"
	       "complete -c mica -l context -x -a '(mica context list -q)'\n");
	for (const struct cmd *const *c = cmds; *c; c++) {
		if ((*c)->flags & CMD_HIDDEN)
			continue;
		if (group_first(c)) {
			char name[60];
			snprintf(name, sizeof(name), "%s", (*c)->group);
			group_spellings((*c)->group, fish_group, name);
		}
		each_name(*c, true, fish_at_top);
		if ((*c)->group)
			each_name(*c, false, fish_in_group);
		each_name(*c, true, fish_top);
	}
}

static int run_completion(struct args *a)
{
	const char *shell = a->pos[0];
	if (!strcmp(shell, "bash"))
		bash();
	else if (!strcmp(shell, "zsh"))
		zsh();
	else if (!strcmp(shell, "fish"))
		fish();
	else
		return out_error(EXIT_USAGE, "there are scripts for bash, zsh and fish", "mica completion bash", "no completion for '%s'", shell);
	return 0;
}

const struct cmd cmd_completion = { .name = "completion", .synopsis = "bash|zsh|fish",
	.summary = "Print a script that completes commands, options and VM names",
	.examples = "source <(mica completion bash)\nsource <(mica completion zsh)\nmica completion fish > ~/.config/fish/completions/mica.fish",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .run = run_completion };
