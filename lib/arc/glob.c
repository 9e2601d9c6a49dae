#include "lib/arc/glob.h"

#include <string.h>

bool glob_is_valid(const char *pattern)
{
	return pattern[0] && strlen(pattern) < GLOB_PATTERN_MAX;
}

/* A set "[a-z]" at p (past the bracket): *end gets one past its ']', or NULL when it never ends. */
static bool set_has(const char *p, unsigned char c, const char **end)
{
	bool negated = *p == '!' || *p == '^', hit = false;
	if (negated)
		p++;
	for (bool first = true; *p && (first || *p != ']'); first = false) {
		unsigned char lo = (unsigned char)*p++, hi = lo;
		if (p[0] == '-' && p[1] && p[1] != ']') {
			hi = (unsigned char)p[1];
			p += 2;
		}
		hit |= lo <= c && c <= hi;
	}
	*end = *p == ']' ? p + 1 : NULL;
	return hit != negated;
}

/* One pattern element against one character (not '*'): the next element, or NULL. */
static const char *one(const char *p, const char *t)
{
	const char *end;
	if (*t == '\0')
		return NULL;
	if (*p == '?')
		return *t == '/' ? NULL : p + 1;
	if (*p == '[') {
		bool hit = set_has(p + 1, (unsigned char)*t, &end);
		if (end)
			return hit && *t != '/' ? end : NULL;
	}
	if (*p == '\\' && p[1])
		p++;
	return *p == *t ? p + 1 : NULL;
}

/* Two places to come back to: the last '*' (not past a '/') and the last '**' (past anything); a later star of a kind makes
 * an earlier one of that kind needless, so that the work stays below pattern × text steps for each kind. */
bool glob_match(const char *p, const char *t)
{
	const char *star_p = NULL, *star_t = NULL, *deep_p = NULL, *deep_t = NULL;
	for (;;) {
		if (p[0] == '*' && p[1] == '*') {
			while (*p == '*')
				p++;
			if (*p == '/' ) { /* "**" with its slash also stands for no folder at all */
				deep_p = p + 1;
				deep_t = t;
				star_p = NULL;
				p++;
				continue;
			}
			deep_p = p;
			deep_t = t;
			star_p = NULL;
			continue;
		}
		if (*p == '*') {
			star_p = ++p;
			star_t = t;
			continue;
		}
		if (*p == '\0' && *t == '\0')
			return true;
		const char *next = *p ? one(p, t) : NULL;
		if (next) {
			p = next;
			t++;
		} else if (star_p && *star_t && *star_t != '/') {
			p = star_p;
			t = ++star_t;
		} else if (deep_p && *deep_t) {
			star_p = NULL;
			deep_t++;
			if (deep_p[-1] == '/') /* only where a component begins */
				while (deep_t[0] && deep_t[-1] != '/')
					deep_t++;
			p = deep_p;
			t = deep_t;
		} else {
			return false;
		}
	}
}

static bool excludes_one(const char *pattern, const char *path, bool is_dir)
{
	char own[GLOB_PATTERN_MAX];
	size_t n = strlen(pattern);
	if (!glob_is_valid(pattern))
		return false;
	if (pattern[n - 1] == '/') {
		if (!is_dir)
			return false;
		memcpy(own, pattern, n - 1);
		own[n - 1] = '\0';
		pattern = own;
	}
	if (!strchr(pattern, '/')) {
		const char *base = strrchr(path, '/');
		return glob_match(pattern, base ? base + 1 : path);
	}
	return glob_match(pattern[0] == '/' ? pattern + 1 : pattern, path);
}

bool glob_excludes(const struct glob_list *list, const char *path, bool is_dir)
{
	for (size_t i = 0; list && i < list->n; i++)
		if (excludes_one(list->patterns[i], path, is_dir))
			return true;
	return false;
}

bool glob_excludes_deep(const struct glob_list *list, const char *path, bool is_dir)
{
	char parent[4096];
	size_t n = strlen(path);
	if (!list || list->n == 0)
		return false;
	if (n >= sizeof parent)
		return true; /* no such path can be made anyway */
	for (size_t i = 1; i < n; i++) {
		if (path[i] != '/')
			continue;
		memcpy(parent, path, i);
		parent[i] = '\0';
		if (glob_excludes(list, parent, true))
			return true;
	}
	return glob_excludes(list, path, is_dir);
}
