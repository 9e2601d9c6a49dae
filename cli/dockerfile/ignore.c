#include "cli/dockerfile/dockerfile.h"
#include "lib/arc/glob.h"

#include <errno.h>
#include <string.h>

/* "./a//b/" and "/a/b" are "a/b". Empty when nothing is left, or when it leads out of the folder. */
static void clean(const char *s, size_t n, char out[GLOB_PATTERN_MAX])
{
	char from[GLOB_PATTERN_MAX], whole[GLOB_PATTERN_MAX + 1];
	out[0] = '\0';
	if (n >= sizeof(from))
		return;
	memcpy(from, s, n);
	from[n] = '\0';
	if (df_path("/", from, whole, sizeof(whole)) == 0)
		memcpy(out, whole + 1, strlen(whole)); /* with its NUL: whole has a '/' more */
}

static int add_line(struct df_ignore *g, const char *s, size_t n, unsigned line, struct fault *f)
{
	char path[GLOB_PATTERN_MAX], both[GLOB_PATTERN_MAX + 1];
	bool back;
	int err;
	while (n && strchr(" \t\r", s[n - 1]))
		n--;
	while (n && strchr(" \t", *s))
		s++, n--;
	back = n && *s == '!';
	if (back)
		s++, n--;
	while (back && n && strchr(" \t", *s))
		s++, n--;
	if (!n)
		return back ? fault_set(f, -EINVAL, ".dockerignore:%u: '!' alone brings nothing back", line) : 0;
	if (n >= GLOB_PATTERN_MAX)
		return fault_set(f, -EINVAL, ".dockerignore:%u: a pattern has at most %u bytes", line, GLOB_PATTERN_MAX - 1);
	clean(s, n, path);
	if (!path[0])
		return 0;
	both[0] = '!';
	memcpy(both + 1, path, strlen(path) + 1);
	g->brings_back |= back;
	err = df_list_adds(&g->patterns, back ? both : path);
	return err ? fault_set(f, err, ".dockerignore:%u: at most %u patterns", line, DF_LIST_MAX) : 0;
}

int df_ignore_read(struct df_ignore *g, const char *text, size_t n, struct fault *f)
{
	unsigned line = 1;
	int err = 0;
	*g = (struct df_ignore){ 0 };
	if (n > DF_BYTES_MAX || memchr(text, 0, n))
		return fault_set(f, -EINVAL, ".dockerignore: %s", n > DF_BYTES_MAX ? "more than 1 MiB" : "has a zero byte: this is no text");
	if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3, n -= 3;
	for (; n && !err; line++) {
		const char *nl = memchr(text, '\n', n);
		size_t len = nl ? (size_t)(nl - text) : n;
		if (!len || *text != '#')
			err = add_line(g, text, len, line, f);
		text += len + (nl != NULL);
		n -= len + (nl != NULL);
	}
	return err;
}

static bool matches(const char *pattern, const char *path)
{
	char above[4096];
	size_t n = strlen(path);
	if (glob_match(pattern, path))
		return true;
	if (n >= sizeof(above))
		return false;
	for (size_t i = 1; i < n; i++) {
		if (path[i] != '/')
			continue;
		memcpy(above, path, i);
		above[i] = '\0';
		if (glob_match(pattern, above))
			return true;
	}
	return false;
}

bool df_ignored(const struct df_ignore *g, const char *path)
{
	for (unsigned i = g->patterns.n; i-- > 0;) { /* the last that matches has the last word */
		const char *p = g->patterns.s[i];
		if (matches(p + (*p == '!'), path))
			return *p != '!';
	}
	return false;
}

void df_ignore_done(struct df_ignore *g)
{
	df_list_done(&g->patterns);
}
