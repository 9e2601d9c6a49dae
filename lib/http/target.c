/* Targets: cut, decode once, hand out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "lib/http/target.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

ssize_t http_unescape(const char *p, size_t n, bool plus, char *dst)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		char c = p[i];

		if (c == '%') {
			int hi = i + 2 < n ? hex_value(p[i + 1]) : -1;
			int lo = i + 2 < n ? hex_value(p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return -EINVAL;
			c = (char)(hi * 16 + lo);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		dst[out++] = c;
	}
	return (ssize_t)out;
}

/* Decodes into *at and terminates; a NUL among the decoded bytes would cut the string short, so it is refused. */
static int put_decoded(const char *p, size_t n, bool plus, char **at)
{
	ssize_t len = http_unescape(p, n, plus, *at);

	if (len < 0 || memchr(*at, '\0', (size_t)len))
		return -EINVAL;
	(*at)[len] = '\0';
	*at += len + 1;
	return 0;
}

static int parse_query(struct http_target *t, const char *p, size_t n, char **at)
{
	size_t from = 0;

	while (from < n) {
		const char *amp = memchr(p + from, '&', n - from);
		size_t end = amp ? (size_t)(amp - p) : n;
		const char *eq = memchr(p + from, '=', end - from);
		size_t key_end = eq ? (size_t)(eq - p) : end;
		int err = 0;

		if (end > from) {
			if (t->n_params == HTTP_PARAMS_MAX)
				return -E2BIG;
			err = put_decoded(p + from, key_end - from, true, at);
			if (!err)
				err = put_decoded(eq ? eq + 1 : p + end, eq ? end - key_end - 1 : 0, true, at);
			t->n_params++;
		}
		if (err)
			return err;
		from = end + 1;
	}
	return 0;
}

static int parse_path(struct http_target *t, const char *p, size_t n, char **at)
{
	size_t from = 1; /* p[0] is the slash */

	while (from <= n && n > 1) {
		const char *slash = from < n ? memchr(p + from, '/', n - from) : NULL;
		size_t end = slash ? (size_t)(slash - p) : n;
		int err;

		if (t->n_segments == HTTP_SEGMENTS_MAX)
			return -E2BIG;
		t->segments[t->n_segments++] = *at;
		err = put_decoded(p + from, end - from, false, at);
		if (err)
			return err;
		from = end + 1;
	}
	return 0;
}

/* A '?' that decoding brought out of the last segment: "nodes?tag=owner%3Dalex" → "nodes" and its query. */
static int split_quirk(struct http_target *t, char **at)
{
	char *last = t->n_segments ? t->mem + (t->segments[t->n_segments - 1] - t->mem) : NULL;
	char *mark = last ? strchr(last, '?') : NULL;

	if (!mark)
		return 0;
	*mark = '\0';
	return parse_query(t, mark + 1, strlen(mark + 1), at);
}

/* Skips "http://authority" of the absolute form. */
static int to_origin_form(const char **p, size_t *n)
{
	const char *s = *p;
	size_t skip = 0;

	if (*n && s[0] == '/')
		return 0;
	if (*n > 7 && strncasecmp(s, "http://", 7) == 0)
		skip = 7;
	else if (*n > 8 && strncasecmp(s, "https://", 8) == 0)
		skip = 8;
	else
		return -EINVAL;
	while (skip < *n && s[skip] != '/')
		skip++;
	if (skip == *n)
		return -EINVAL;
	*p += skip;
	*n -= skip;
	return 0;
}

static int parse_into(struct http_target *t, const char *p, size_t n)
{
	const char *mark = memchr(p, '?', n);
	size_t path_n = mark ? (size_t)(mark - p) : n;
	char *at = t->mem;
	int err = parse_path(t, p, path_n, &at);

	if (err)
		return err;
	t->params = at;
	err = split_quirk(t, &at);
	return err || !mark ? err : parse_query(t, mark + 1, n - path_n - 1, &at);
}

int http_target_parse(struct http_target *t, const char *p, size_t n)
{
	int err;

	memset(t, 0, sizeof(*t));
	if (n > HTTP_TARGET_MAX)
		return -E2BIG;
	if (memchr(p, '#', n) || to_origin_form(&p, &n))
		return -EINVAL;
	/* each part is no longer than its source plus one NUL; "a&b" without "=" needs one more each; the quirk writes its
	 * query a second time */
	t->mem = malloc(3 * n + 16);
	if (!t->mem)
		return -ENOMEM;
	err = parse_into(t, p, n);
	if (err)
		http_target_done(t);
	return err;
}

void http_target_done(struct http_target *t)
{
	free(t->mem);
	memset(t, 0, sizeof(*t));
}

bool http_target_next(const struct http_target *t, unsigned *index, size_t *pos, struct http_param *out)
{
	if (*index >= t->n_params)
		return false;
	out->key = t->params + *pos;
	out->value = out->key + strlen(out->key) + 1;
	*pos += strlen(out->key) + strlen(out->value) + 2;
	(*index)++;
	return true;
}

const char *http_target_param(const struct http_target *t, const char *key)
{
	struct http_param param;
	unsigned index = 0;
	size_t pos = 0;

	while (http_target_next(t, &index, &pos, &param))
		if (strcmp(param.key, key) == 0)
			return param.value;
	return NULL;
}

void http_escape(struct buf *b, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("-._~", c);

		if (plain)
			buf_add(b, s, 1);
		else
			buf_printf(b, "%%%02X", c);
	}
}

void http_add_param(struct buf *b, bool *first, const char *key, const char *value)
{
	if (!value)
		return;
	buf_adds(b, *first ? "?" : "&");
	*first = false;
	http_escape(b, key);
	buf_adds(b, "=");
	http_escape(b, value);
}
