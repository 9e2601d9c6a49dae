/* Quotes and variables, as Docker's own reader takes them. */
#include "cli/dockerfile/dockerfile.h"

#include <errno.h>
#include <string.h>

#define DEPTH_MAX 16u /* of ${a:-${b:-…}} */

bool df_name_is_valid(const char *s, size_t n)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	if (!n || !strchr(first, s[0]) || !s[0])
		return false;
	for (size_t i = 1; i < n; i++)
		if (!s[i] || (!strchr(first, s[i]) && !strchr("0123456789", s[i])))
			return false;
	return true;
}

int df_split(const char *text, char escape, struct df_list *out)
{
	while (*text) {
		const char *from;
		char quote = 0;
		int err;
		while (*text == ' ' || *text == '\t')
			text++;
		if (!*text)
			return 0;
		for (from = text; *text && (quote || (*text != ' ' && *text != '\t')); text++) {
			if (*text == escape && quote != '\'' && text[1])
				text++;
			else if (quote && *text == quote)
				quote = 0;
			else if (!quote && (*text == '\'' || *text == '"'))
				quote = *text;
		}
		if (quote)
			return -EINVAL;
		err = df_list_add(out, from, (size_t)(text - from));
		if (err)
			return err;
	}
	return 0;
}

struct expanding {
	const struct df_scope *scope;
	struct buf *out;
	struct fault *f;
	unsigned depth;
};
/* One of these characters (or the end) stops it; *p stands there then. */
static int run(struct expanding *x, const char **p, const char *stops);

static const char *value_of(const struct expanding *x, const char *name, size_t n)
{
	const char *v = x->scope->first ? df_list_get(x->scope->first, name, n) : NULL;
	return v || !x->scope->second ? v : df_list_get(x->scope->second, name, n);
}

/* The word behind "${name:-": its text is wanted, or only passed over. Ends behind '}'. */
static int braced_word(struct expanding *x, const char **p, bool wanted)
{
	struct buf aside, *real = x->out;
	int err;
	if (x->depth >= DEPTH_MAX)
		return fault_set(x->f, -EINVAL, "variables within variables, more than %u deep", DEPTH_MAX);
	buf_init(&aside, DF_VALUE_MAX);
	if (!wanted)
		x->out = &aside;
	x->depth++;
	err = run(x, p, "}");
	x->depth--;
	x->out = real;
	buf_done(&aside);
	if (err)
		return err;
	if (**p != '}')
		return fault_set(x->f, -EINVAL, "'${' without its '}'");
	(*p)++;
	return 0;
}

static int complain(struct expanding *x, const char **p, const char *name, size_t n)
{
	struct expanding own = *x;
	struct buf said;
	int err;
	buf_init(&said, 4096);
	own.out = &said;
	err = braced_word(&own, p, true);
	if (!err)
		err = fault_set(x->f, -EINVAL, "%.*s: %s", (int)(n > 200 ? 200 : n), name, buf_len(&said) && buf_cstr(&said) ? buf_cstr(&said) : "is not set");
	buf_done(&said);
	return err;
}

/* Behind "${". */
static int braced(struct expanding *x, const char **p)
{
	const char *name = *p, *v;
	size_t n = strcspn(name, "}:-+?#%/!@^, \t");
	bool colon, there;
	char how;
	if (!df_name_is_valid(name, n))
		return fault_set(x->f, -EINVAL, "'${%.40s' names no variable", name);
	*p += n;
	v = value_of(x, name, n);
	if (**p == '}') {
		(*p)++;
		return v ? buf_adds(x->out, v) : 0;
	}
	colon = **p == ':';
	*p += colon;
	how = **p;
	if (!how)
		return fault_set(x->f, -EINVAL, "'${' without its '}'");
	if (!strchr("-+?", how))
		return fault_set(x->f, -EINVAL, "'${%.*s…': of such forms there are ${x}, ${x:-y}, ${x:+y} and ${x:?y}", (int)(n > 40 ? 40 : n), name);
	(*p)++;
	there = v && (*v || !colon);
	if (how == '+')
		return braced_word(x, p, there);
	if (how == '?' && !there)
		return complain(x, p, name, n);
	if (there)
		buf_adds(x->out, v);
	return braced_word(x, p, how == '-' && !there);
}

/* At '$'. */
static int variable(struct expanding *x, const char **p)
{
	size_t n = 0;
	const char *name = ++*p, *v;
	if (*name == '{') {
		(*p)++;
		return braced(x, p);
	}
	if (*name >= '0' && *name <= '9') { /* $1: of a script, which this is not */
		(*p)++;
		return 0;
	}
	while (df_name_is_valid(name, n + 1))
		n++;
	*p += n;
	if (!n)
		return buf_adds(x->out, "$");
	v = value_of(x, name, n);
	return v ? buf_adds(x->out, v) : 0;
}

static int double_quoted(struct expanding *x, const char **p)
{
	(*p)++;
	while (**p && **p != '"') {
		int err = 0;
		if (**p == '$') {
			err = variable(x, p);
		} else {
			if (**p == x->scope->escape && (*p)[1] && ((*p)[1] == '"' || (*p)[1] == '$' || (*p)[1] == x->scope->escape))
				(*p)++;
			err = buf_add(x->out, (*p)++, 1);
		}
		if (err)
			return err;
	}
	if (!**p)
		return fault_set(x->f, -EINVAL, "a '\"' is not closed");
	(*p)++;
	return 0;
}

static int single_quoted(struct expanding *x, const char **p)
{
	const char *end = strchr(*p + 1, '\'');
	int err;
	if (!end)
		return fault_set(x->f, -EINVAL, "a ' is not closed");
	err = buf_add(x->out, *p + 1, (size_t)(end - *p) - 1);
	*p = end + 1;
	return err;
}

static int run(struct expanding *x, const char **p, const char *stops)
{
	int err = 0;
	while (**p && !strchr(stops, **p) && !err) {
		if (**p == '\'') {
			err = single_quoted(x, p);
		} else if (**p == '"') {
			err = double_quoted(x, p);
		} else if (**p == '$') {
			err = variable(x, p);
		} else {
			if (**p == x->scope->escape && (*p)[1])
				(*p)++;
			err = buf_add(x->out, (*p)++, 1);
		}
	}
	return err;
}

int df_expand(const char *word, const struct df_scope *scope, struct buf *out, struct fault *f)
{
	struct expanding x = { .scope = scope, .out = out, .f = f };
	int err = run(&x, &word, "");
	if (err && !(f && f->text[0]))
		fault_set(f, err, "a value has at most %u bytes", DF_VALUE_MAX);
	return err;
}

int df_path(const char *base, const char *path, char *out, size_t cap)
{
	const char *parts[2] = { path[0] == '/' ? "" : base, path };
	size_t n = 0;
	for (size_t k = 0; k < 2; k++) {
		for (const char *p = parts[k]; *p;) {
			size_t len = strcspn(p, "/");
			if (len == 2 && p[0] == '.' && p[1] == '.') {
				while (n && out[--n] != '/')
					;
			} else if (len && !(len == 1 && *p == '.')) {
				if (n + len + 2 > cap)
					return -ENAMETOOLONG;
				out[n++] = '/';
				memcpy(out + n, p, len);
				n += len;
			}
			p += len + (p[len] == '/');
		}
	}
	if (!n)
		out[n++] = '/';
	out[n] = '\0';
	return 0;
}
