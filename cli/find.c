/* Commands and groups by the words that name them. */
#include "cli/cli.h"

#include <string.h>

bool word_listed(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; p && *p;) {
		size_t len = strcspn(p, " ");
		if (len == n && !memcmp(p, word, n))
			return true;
		p += len + strspn(p + len, " ");
	}
	return false;
}

const struct cmd *cmd_find(const char *group, const char *word)
{
	for (const struct cmd *const *c = cmds; *c; c++) {
		bool same = group ? (*c)->group && !strcmp((*c)->group, group) : !(*c)->group;
		if (same && (!strcmp((*c)->name, word) || word_listed((*c)->aliases, word)))
			return *c;
		if (!group && word_listed((*c)->shortcut, word))
			return *c;
	}
	return NULL;
}

const struct absent *absent_find(const char *group, const char *word)
{
	for (const struct absent *a = absents; a->names; a++)
		if ((group ? a->group && !strcmp(a->group, group) : !a->group) && word_listed(a->names, word))
			return a;
	return NULL;
}

const struct group *group_row(const char *name)
{
	for (const struct group *g = groups; g->name; g++)
		if (!strcmp(g->name, name))
			return g;
	return NULL;
}

bool group_first(const struct cmd *const *at)
{
	if (!(*at)->group)
		return false;
	for (const struct cmd *const *c = cmds; c != at; c++)
		if ((*c)->group && !strcmp((*c)->group, (*at)->group))
			return false;
	return true;
}

void group_spellings(const char *name, void (*fn)(const char *spelling, int len, void *arg), void *arg)
{
	const struct group *g = group_row(name);
	fn(name, (int)strlen(name), arg);
	for (const char *p = g ? g->also : NULL; p && *p;) {
		size_t n = strcspn(p, ",");
		fn(p, (int)n, arg);
		p += n + (p[n] == ',');
	}
}

struct match {
	int argc;
	char **argv;
	int best; /* words of the longest spelling that fits */
};

static void try_spelling(const char *spelling, int len, void *arg)
{
	struct match *m = arg;
	int words = 0;
	for (const char *p = spelling, *end = spelling + len; p < end; words++) {
		size_t n = strcspn(p, " ,");
		if (words == m->argc || strlen(m->argv[words]) != n || memcmp(m->argv[words], p, n))
			return;
		p += n + (p + n < end);
	}
	if (words > m->best)
		m->best = words;
}

const char *group_find(int argc, char **argv, int *n_words)
{
	const char *found = NULL;
	*n_words = 0;
	for (const struct cmd *const *c = cmds; *c; c++) {
		struct match m = { argc, argv, *n_words };
		if (!group_first(c))
			continue;
		group_spellings((*c)->group, try_spelling, &m);
		if (m.best > *n_words) {
			*n_words = m.best;
			found = (*c)->group;
		}
	}
	return found;
}
