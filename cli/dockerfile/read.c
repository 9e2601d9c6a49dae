/* Lines to instructions: continuations, comments, directives, heredocs of RUN, flags, JSON arrays. */
#include "cli/dockerfile/dockerfile.h"
#include "lib/json/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEREDOCS_MAX 16u

struct reader {
	struct df_file *d;
	const char *p, *end;
	unsigned line;     /* of what line_next() gave last */
	struct buf text;   /* of the instruction that is read */
	struct fault *f;
};

int df_refuse(const struct df_file *d, unsigned line, struct fault *f, const char *fmt, ...)
{
	char text[900];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return fault_set(f, -EINVAL, "%s:%u: %s", d->name, line, text);
}

/* What a keyword is, may have as flags, and what is said of flags that this builder has not. */
static const struct keyword {
	const char *name;
	enum df_kind kind;
	bool json, needs_json;
	const char *flags;         /* blanks between */
	const char *other, *instead;
} keywords[] = {
	{ "FROM", DF_FROM, false, false, "platform", NULL, NULL },
	{ "RUN", DF_RUN, true, false, "network", "mount security device", "leave it out: COPY what the command needs, and remove in the same RUN what must not stay" },
	{ "COPY", DF_COPY, true, false, "from chown chmod link", "parents exclude", "name the files one by one, or leave them out by .dockerignore" },
	{ "ADD", DF_ADD, true, false, "chown chmod link", "checksum keep-git-dir unpack exclude", "download or unpack it first, and COPY it" },
	{ "ENV", DF_ENV, false, false, "", NULL, NULL },
	{ "WORKDIR", DF_WORKDIR, false, false, "", NULL, NULL },
	{ "USER", DF_USER, false, false, "", NULL, NULL },
	{ "ARG", DF_ARG, false, false, "", NULL, NULL },
	{ "LABEL", DF_LABEL, false, false, "", NULL, NULL },
	{ "MAINTAINER", DF_LABEL, false, false, "", NULL, NULL },
	{ "EXPOSE", DF_EXPOSE, false, false, "", NULL, NULL },
	{ "VOLUME", DF_VOLUME, true, false, "", NULL, NULL },
	{ "STOPSIGNAL", DF_STOPSIGNAL, false, false, "", NULL, NULL },
	{ "HEALTHCHECK", DF_HEALTHCHECK, false, false, "interval timeout start-period start-interval retries", NULL, NULL },
	{ "ENTRYPOINT", DF_ENTRYPOINT, true, false, "", NULL, NULL },
	{ "CMD", DF_CMD, true, false, "", NULL, NULL },
	{ "SHELL", DF_SHELL, true, true, "", NULL, NULL },
};

static bool listed(const char *list, const char *word, size_t n)
{
	for (const char *p = list; p && *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");
		if (len == n && memcmp(p, word, n) == 0)
			return true;
		p += len;
	}
	return false;
}

/* ---- lines ---- */

static bool line_next(struct reader *r, const char **s, size_t *n)
{
	const char *nl;
	if (r->p == r->end)
		return false;
	nl = memchr(r->p, '\n', (size_t)(r->end - r->p));
	*s = r->p;
	*n = nl ? (size_t)(nl - r->p) : (size_t)(r->end - r->p);
	r->p += *n + (nl != NULL);
	r->line++;
	if (*n && (*s)[*n - 1] == '\r')
		(*n)--;
	return true;
}

static void trim_left(const char **s, size_t *n)
{
	while (*n && (**s == ' ' || **s == '\t'))
		(*s)++, (*n)--;
}

/* "# name=value" before anything else; Docker knows syntax, escape and check. 1: it was one, 0: no, or -errno. */
static int directive(struct reader *r, const char *s, size_t n)
{
	size_t name, at;
	trim_left(&s, &n);
	if (!n || *s != '#')
		return 0;
	s++, n--;
	trim_left(&s, &n);
	for (name = 0; name < n && ((s[name] | 32) >= 'a' && (s[name] | 32) <= 'z'); name++)
		;
	for (at = name; at < n && (s[at] == ' ' || s[at] == '\t'); at++)
		;
	if (!name || at == n || s[at] != '=')
		return 0;
	if (name != 6 || strncasecmp(s, "escape", 6) != 0)
		return (name == 6 && strncasecmp(s, "syntax", 6) == 0) || (name == 5 && strncasecmp(s, "check", 5) == 0);
	s += at + 1, n -= at + 1;
	trim_left(&s, &n);
	while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
		n--;
	if (n != 1 || (*s != '\\' && *s != '`'))
		return df_refuse(r->d, r->line, r->f, "the escape character is \\ or `, as in: # escape=`");
	r->d->escape = *s;
	return 1;
}

/* One instruction's lines into r->text, as one. 1, 0 at the end of the file, or -errno; *line where it begins. */
static int logical(struct reader *r, unsigned *line, bool *directives)
{
	const char *s, *c;
	size_t n, len;
	bool begun = false, goes_on;
	buf_clear(&r->text);
	do {
		if (!line_next(r, &s, &n))
			return begun && buf_len(&r->text);
		c = s, len = n;
		trim_left(&c, &len);
		goes_on = true;
		if (!len)
			continue;
		if (*c == '#') {
			int got = *directives && !begun ? directive(r, s, n) : 0;
			if (got < 0)
				return got;
			*directives &= got;
			continue;
		}
		*directives = false;
		if (!begun) {
			*line = r->line;
			s = c, n = len;
			begun = true;
		}
		for (len = n; len && (s[len - 1] == ' ' || s[len - 1] == '\t'); len--)
			;
		goes_on = len && s[len - 1] == r->d->escape;
		buf_add(&r->text, s, goes_on ? len - 1 : n);
	} while (goes_on);
	return 1;
}

/* ---- heredocs ---- */

struct heredoc {
	char word[64];
	bool dash; /* <<-: tabs before lines go */
};

/* "<<EOF" at p, outside quotes: how many bytes it has; 0: none. */
static size_t heredoc_at(const char *p, struct heredoc *h)
{
	const char *s = p + 2;
	char quote = 0;
	size_t n;
	if (p[0] != '<' || p[1] != '<')
		return 0;
	h->dash = *s == '-';
	s += h->dash;
	if (*s == '\'' || *s == '"')
		quote = *s++;
	for (n = 0; df_name_is_valid(s, n + 1) && n + 1 < sizeof(h->word); n++)
		h->word[n] = s[n];
	h->word[n] = '\0';
	if (!n || (quote && s[n] != quote))
		return 0;
	return (size_t)(s + n + (quote != 0) - p);
}

static int heredocs_find(const char *text, char escape, struct heredoc *h, unsigned *n)
{
	char quote = 0;
	*n = 0;
	for (const char *p = text; *p; p++) {
		size_t len = quote || p[0] != '<' ? 0 : heredoc_at(p, &h[*n]);
		if (*p == escape && quote != '\'' && p[1])
			p++;
		else if (quote)
			quote = *p == quote ? 0 : quote;
		else if (*p == '\'' || *p == '"')
			quote = *p;
		else if (p[0] == '<' && p[1] == '<' && p[2] == '<')
			p += 2;
		else if (len) {
			p += len - 1;
			if (++*n == HEREDOCS_MAX)
				return -E2BIG;
		}
	}
	return 0;
}

/* Raw lines up to the one that is its word, into out; with_end: that one, too. */
static int heredoc_body(struct reader *r, const struct heredoc *h, unsigned from, bool with_end, struct buf *out)
{
	const char *s;
	size_t n;
	while (line_next(r, &s, &n)) {
		while (h->dash && n && *s == '\t')
			s++, n--;
		if (n == strlen(h->word) && memcmp(s, h->word, n) == 0) {
			if (with_end) {
				buf_add(out, s, n);
				buf_add(out, "\n", 1);
			}
			return 0;
		}
		buf_add(out, s, n);
		buf_add(out, "\n", 1);
	}
	return df_refuse(r->d, from, r->f, "'<<%s' without a line '%s' that ends it", h->word, h->word);
}

/* RUN <<EOF: its lines are the script. Else the shell itself reads "cmd <<EOF" and the lines behind. */
static int take_heredocs(struct reader *r, struct df_step *s)
{
	struct heredoc h[HEREDOCS_MAX];
	struct buf b;
	unsigned n;
	int err = heredocs_find(s->rest, r->d->escape, h, &n);
	bool alone;
	if (err)
		return df_refuse(r->d, s->line, r->f, "at most %u heredocs in one instruction", HEREDOCS_MAX - 1);
	if (!n)
		return 0;
	if (s->kind != DF_RUN)
		return df_refuse(r->d, s->line, r->f, "a heredoc makes no file here: write it into the folder and COPY it");
	alone = n == 1 && heredoc_at(s->rest, &h[0]) == strlen(s->rest);
	buf_init(&b, DF_VALUE_MAX);
	if (!alone) {
		buf_adds(&b, s->rest);
		buf_adds(&b, "\n");
	}
	for (unsigned i = 0; i < n && !err; i++)
		err = heredoc_body(r, &h[i], s->line, !alone, &b);
	if (!err && alone && buf_len(&b) > 2 && memcmp(buf_data(&b), "#!", 2) == 0)
		err = df_refuse(r->d, s->line, r->f, "a heredoc runs in the shell: for another interpreter write RUN %s <<%s", "python3", h[0].word);
	if (!err) {
		char *whole = buf_cstr(&b) ? strdup(buf_cstr(&b)) : NULL;
		if (whole) {
			free(s->rest);
			s->rest = whole;
		} else {
			err = df_refuse(r->d, s->line, r->f, "an instruction has at most %u bytes", DF_VALUE_MAX);
		}
	}
	buf_done(&b);
	return err;
}

/* ---- instructions ---- */

static int take_flags(struct reader *r, const struct keyword *k, struct df_step *s, const char **rest)
{
	const char *p = *rest;
	int err = 0;
	while (!err && p[0] == '-' && p[1] == '-' && p[2] && k->flags[0]) {
		size_t n = strcspn(p, " \t"), name = strcspn(p, " \t=") - 2;
		if (k->other && listed(k->other, p + 2, name))
			return df_refuse(r->d, s->line, r->f, "%s --%.*s is not supported: %s", k->name, (int)name, p + 2, k->instead);
		if (!listed(k->flags, p + 2, name))
			return df_refuse(r->d, s->line, r->f, "%s has no flag --%.*s", k->name, (int)(name > 60 ? 60 : name), p + 2);
		err = df_list_add(&s->flags, p, n);
		p += n;
		p += strspn(p, " \t");
	}
	*rest = p;
	return err;
}

static int take_json(struct reader *r, const struct keyword *k, struct df_step *s)
{
	struct json j;
	int err = 0;
	if (s->rest[0] == '[' && json_parse(&j, s->rest, strlen(s->rest), DF_LIST_MAX, NULL) == 0) {
		const struct json_val *root = json_root(&j);
		s->json = true;
		for (const struct json_val *v = json_first(root); v && !err; v = json_next(root, v))
			err = json_str(v) ? df_list_adds(&s->words, json_str(v)) : -EINVAL;
		json_done(&j);
		if (err)
			return df_refuse(r->d, s->line, r->f, "%s [...] is a list of strings", k->name);
	}
	if (k->needs_json && !s->words.n)
		return df_refuse(r->d, s->line, r->f, "%s needs a JSON list: %s [\"/bin/sh\", \"-c\"]", k->name, k->name);
	return 0;
}

static int unknown(struct reader *r, unsigned line, const char *word, size_t n)
{
	const char *near = NULL;
	char given[24];
	unsigned best = 3;
	snprintf(given, sizeof(given), "%.*s", (int)(n > 20 ? 20 : n), word);
	for (size_t i = 0; given[i]; i++) {
		if (given[i] >= 'a' && given[i] <= 'z')
			given[i] = (char)(given[i] - 32);
		else if ((unsigned char)given[i] < 0x20 || given[i] == 0x7f)
			given[i] = '?';
	}
	if (strcmp(given, "ONBUILD") == 0)
		return df_refuse(r->d, line, r->f, "ONBUILD is not supported: write the instruction into the Dockerfile that builds on this image");
	for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
		unsigned d = edit_distance(given, keywords[i].name);
		if (d < best) {
			best = d;
			near = keywords[i].name;
		}
	}
	return df_refuse(r->d, line, r->f, "'%s' is no instruction%s%s%s", given, near ? ": is " : "", near ? near : "", near ? " meant?" : "");
}

static int add_step(struct reader *r, unsigned line)
{
	const char *text = buf_cstr(&r->text), *rest;
	const struct keyword *k = NULL;
	struct df_step *s;
	size_t n = strcspn(text, " \t"), end;
	int err;
	for (size_t i = 0; i < ARRAY_LEN(keywords) && !k; i++)
		if (strlen(keywords[i].name) == n && strncasecmp(keywords[i].name, text, n) == 0)
			k = &keywords[i];
	if (!k)
		return unknown(r, line, text, n);
	if (r->d->n == DF_STEPS_MAX)
		return df_refuse(r->d, line, r->f, "more than %u instructions", DF_STEPS_MAX);
	if (!r->d->step && !(r->d->step = calloc(DF_STEPS_MAX, sizeof(*s))))
		return fault_set(r->f, -ENOMEM, "out of memory");
	s = &r->d->step[r->d->n++];
	s->kind = k->kind;
	s->line = line;
	rest = text + n + strspn(text + n, " \t");
	s->text = strdup(text);
	err = take_flags(r, k, s, &rest);
	for (end = strlen(rest); end && strchr(" \t", rest[end - 1]); end--)
		;
	s->rest = strndup(rest, end);
	if (!err && (!s->text || !s->rest))
		err = fault_set(r->f, -ENOMEM, "out of memory");
	if (!err && strcmp(k->name, "MAINTAINER") == 0) {
		struct buf b;
		buf_init(&b, DF_VALUE_MAX);
		buf_printf(&b, "maintainer %s", s->rest);
		free(s->rest);
		s->rest = buf_cstr(&b) ? strdup(buf_cstr(&b)) : NULL;
		buf_done(&b);
		return s->rest ? 0 : fault_set(r->f, -ENOMEM, "out of memory");
	}
	if (!err && !s->rest[0])
		err = df_refuse(r->d, line, r->f, "%s needs something behind it", k->name);
	if (!err && k->json)
		err = take_json(r, k, s);
	if (!err && !s->json && (s->kind == DF_RUN || s->kind == DF_COPY || s->kind == DF_ADD))
		err = take_heredocs(r, s);
	if (err == -ENOMEM && !r->f->text[0])
		fault_set(r->f, err, "out of memory");
	return err;
}

const char *df_flag(const struct df_step *s, const char *name)
{
	size_t n = strlen(name);
	for (unsigned i = s->flags.n; i-- > 0;) {
		const char *at = s->flags.s[i] + 2;
		if (strncmp(at, name, n) == 0 && (at[n] == '=' || !at[n]))
			return at[n] ? at + n + 1 : "";
	}
	return NULL;
}

int df_read(struct df_file *d, const char *name, const char *text, size_t n, struct fault *f)
{
	struct fault own = { "" };
	struct reader r = { .d = d, .f = f ? f : &own };
	bool directives = true;
	unsigned line = 0;
	int err = 0, got = 0;
	*d = (struct df_file){ .escape = '\\' };
	snprintf(d->name, sizeof(d->name), "%s", name);
	if (n > DF_BYTES_MAX)
		return fault_set(f, -EFBIG, "%s: more than 1 MiB: this is no Dockerfile", d->name);
	if (memchr(text, 0, n))
		return fault_set(f, -EINVAL, "%s: has a zero byte: this is no Dockerfile", d->name);
	if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3, n -= 3;
	r.p = text;
	r.end = text + n;
	buf_init(&r.text, DF_VALUE_MAX);
	while (!err && (got = logical(&r, &line, &directives)) > 0)
		err = buf_cstr(&r.text) ? add_step(&r, line) : df_refuse(d, line, r.f, "an instruction has at most %u bytes", DF_VALUE_MAX);
	buf_done(&r.text);
	if (!err && got < 0)
		err = got;
	if (!err && !d->n)
		err = fault_set(r.f, -EINVAL, "%s: no instruction: a Dockerfile begins with FROM", d->name);
	return err;
}

void df_file_done(struct df_file *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		free(d->step[i].text);
		free(d->step[i].rest);
		df_list_done(&d->step[i].flags);
		df_list_done(&d->step[i].words);
	}
	free(d->step);
	*d = (struct df_file){ 0 };
}
