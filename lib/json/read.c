#include "lib/json/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (64u << 20)

/* One pass over the text. Strings are decoded into j->text, which is as large as the input: every string
 * has two quotes there, so its decoded bytes and a NUL always fit. */
struct reader {
	const uint8_t *p, *end, *start;
	struct json *j;
	char *text;         /* next free byte of j->text */
	unsigned max_values;
	uint32_t open[JSON_DEPTH_MAX]; /* indices of the containers we are inside */
	unsigned depth;
	const char *key;    /* name for the next value */
	uint32_t key_len;
	struct fault *f;
};

static int bad(struct reader *r, const char *what)
{
	return fault_set(r->f, -EINVAL, "JSON: %s at byte %zu", what, (size_t)(r->p - r->start));
}

static void skip_blanks(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
		r->p++;
}

static struct json_val *push(struct reader *r, enum json_kind kind)
{
	struct json *j = r->j;
	if (j->n == j->cap) {
		uint32_t cap = j->cap ? j->cap * 2 : 16; /* a value takes a byte of text at least: TEXT_MAX keeps this far from wrapping */
		struct json_val *v = realloc(j->v, cap * sizeof(*v));
		if (!v)
			return NULL;
		j->v = v;
		j->cap = cap;
	}
	if (r->depth)
		j->v[r->open[r->depth - 1]].count++;
	struct json_val *v = &j->v[j->n++];
	*v = (struct json_val){ .kind = (uint8_t)kind, .span = 1, .key = r->key, .key_len = r->key_len };
	r->key = NULL;
	r->key_len = 0;
	return v;
}

static int read_hex4(struct reader *r, uint32_t *out)
{
	if (r->end - r->p < 4)
		return bad(r, "text ends inside an escape");
	uint32_t v = 0;
	for (int i = 0; i < 4; i++, r->p++) {
		unsigned c = *r->p, low = c | 0x20;
		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if (low >= 'a' && low <= 'f')
			v = v << 4 | (low - 'a' + 10);
		else
			return bad(r, "bad \\u escape");
	}
	*out = v;
	return 0;
}

static char *put_utf8(char *t, uint32_t c)
{
	if (c < 0x80) {
		*t++ = (char)c;
	} else if (c < 0x800) {
		*t++ = (char)(0xc0 | c >> 6);
		*t++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*t++ = (char)(0xe0 | c >> 12);
		*t++ = (char)(0x80 | (c >> 6 & 0x3f));
		*t++ = (char)(0x80 | (c & 0x3f));
	} else {
		*t++ = (char)(0xf0 | c >> 18);
		*t++ = (char)(0x80 | (c >> 12 & 0x3f));
		*t++ = (char)(0x80 | (c >> 6 & 0x3f));
		*t++ = (char)(0x80 | (c & 0x3f));
	}
	return t;
}

/* After the backslash. A \u escape is 6 bytes of text for at most 3 of UTF-8 (12 for 4): it always fits. */
static int read_escape(struct reader *r)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	if (r->p == r->end)
		return bad(r, "text ends inside a string");
	uint8_t c = *r->p++;
	const char *at = c ? strchr(from, c) : NULL;
	if (at) {
		*r->text++ = to[at - from];
		return 0;
	}
	if (c != 'u')
		return bad(r, "unknown escape");
	uint32_t hi, lo;
	int err = read_hex4(r, &hi);
	if (err)
		return err;
	if (hi >= 0xd800 && hi < 0xe000) {
		if (hi >= 0xdc00 || r->end - r->p < 6 || r->p[0] != '\\' || r->p[1] != 'u')
			return bad(r, "half of a surrogate pair");
		r->p += 2;
		err = read_hex4(r, &lo);
		if (err)
			return err;
		if (lo < 0xdc00 || lo >= 0xe000)
			return bad(r, "half of a surrogate pair");
		hi = 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
	}
	r->text = put_utf8(r->text, hi);
	return 0;
}

/* At the opening quote. */
static int read_string(struct reader *r, const char **out, uint32_t *len)
{
	char *from = r->text;
	r->p++;
	for (;;) {
		const uint8_t *run = r->p;
		while (r->p < r->end && *r->p != '"' && *r->p != '\\' && *r->p >= 0x20)
			r->p++;
		memcpy(r->text, run, (size_t)(r->p - run));
		r->text += r->p - run;
		if (r->p == r->end)
			return bad(r, "text ends inside a string");
		if (*r->p == '"')
			break;
		if (*r->p < 0x20)
			return bad(r, "control byte in a string");
		r->p++;
		int err = read_escape(r);
		if (err)
			return err;
	}
	r->p++;
	*out = from;
	*len = (uint32_t)(r->text - from);
	*r->text++ = 0;
	return 0;
}

static bool is_digit(const struct reader *r)
{
	return r->p < r->end && *r->p >= '0' && *r->p <= '9';
}

/* Digits while they fit; *fits turns false when the integer is beyond int64. */
static int64_t read_integer(struct reader *r, bool negative, bool *fits)
{
	int64_t v = 0;
	for (; is_digit(r); r->p++) {
		int d = *r->p - '0';
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, negative ? -d : d, &v))
			*fits = false;
	}
	return v;
}

static int read_number(struct reader *r)
{
	const uint8_t *from = r->p;
	bool negative = *r->p == '-', whole = true, fits = true;
	r->p += negative;
	if (!is_digit(r))
		return bad(r, "not a value");
	if (*r->p == '0' && r->end - r->p > 1 && r->p[1] >= '0' && r->p[1] <= '9')
		return bad(r, "number with a leading zero");
	int64_t i = read_integer(r, negative, &fits);
	if (r->p < r->end && *r->p == '.') {
		whole = false;
		r->p++;
		if (!is_digit(r))
			return bad(r, "no digit after the point");
		while (is_digit(r))
			r->p++;
	}
	if (r->p < r->end && (*r->p | 0x20) == 'e') {
		whole = false;
		r->p++;
		if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
			r->p++;
		if (!is_digit(r))
			return bad(r, "no digit in the exponent");
		while (is_digit(r))
			r->p++;
	}
	size_t len = (size_t)(r->p - from);
	char copy[128];
	if (!(whole && fits) && len >= sizeof(copy))
		return bad(r, "number with too many digits");
	struct json_val *v = push(r, whole && fits ? JSON_INT : JSON_REAL);
	if (!v)
		return -ENOMEM;
	if (v->kind == JSON_INT) {
		v->i = i;
		return 0;
	}
	memcpy(copy, from, len);
	copy[len] = 0;
	v->d = strtod(copy, NULL); /* the locale is always "C": no program of ours calls setlocale */
	return isfinite(v->d) ? 0 : bad(r, "number out of range");
}

static int read_word(struct reader *r, const char *word, enum json_kind kind, bool b)
{
	size_t n = strlen(word);
	if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n))
		return bad(r, "not a value");
	r->p += n;
	struct json_val *v = push(r, kind);
	if (!v)
		return -ENOMEM;
	if (kind == JSON_BOOL)
		v->b = b;
	return 0;
}

static int open_container(struct reader *r)
{
	if (r->depth == JSON_DEPTH_MAX)
		return fault_set(r->f, -E2BIG, "JSON: more than %u levels deep", JSON_DEPTH_MAX);
	struct json_val *v = push(r, *r->p == '{' ? JSON_OBJECT : JSON_ARRAY);
	if (!v)
		return -ENOMEM;
	r->open[r->depth++] = (uint32_t)(v - r->j->v);
	r->p++;
	return 0;
}

static int read_value(struct reader *r)
{
	if (r->j->n >= r->max_values)
		return fault_set(r->f, -E2BIG, "JSON: more than %u values", r->max_values);
	if (r->p == r->end)
		return bad(r, "text ends where a value should stand");
	switch (*r->p) {
	case '{':
	case '[':
		return open_container(r);
	case '"': {
		const char *s;
		uint32_t len;
		int err = read_string(r, &s, &len);
		if (err)
			return err;
		struct json_val *v = push(r, JSON_STRING);
		if (!v)
			return -ENOMEM;
		v->s = s;
		v->len = len;
		return 0;
	}
	case 't':
		return read_word(r, "true", JSON_BOOL, true);
	case 'f':
		return read_word(r, "false", JSON_BOOL, false);
	case 'n':
		return read_word(r, "null", JSON_NULL, false);
	default:
		return read_number(r);
	}
}

static int read_key(struct reader *r)
{
	if (r->p == r->end || *r->p != '"')
		return bad(r, "a member name should stand here");
	int err = read_string(r, &r->key, &r->key_len);
	if (err)
		return err;
	skip_blanks(r);
	if (r->p == r->end || *r->p != ':')
		return bad(r, "no ':' after a member name");
	r->p++;
	skip_blanks(r);
	return 0;
}

/* After a value: closes what ends here. *more: another element follows in r->open[depth - 1]. */
static int after_value(struct reader *r, bool opened, bool *more)
{
	*more = false;
	while (r->depth) {
		struct json_val *c = &r->j->v[r->open[r->depth - 1]];
		uint8_t close = c->kind == JSON_OBJECT ? '}' : ']';
		skip_blanks(r);
		if (r->p == r->end)
			return bad(r, "text ends inside an array or object");
		if (*r->p == close) {
			r->p++;
			c->span = (uint32_t)(r->j->n - r->open[r->depth - 1]);
			r->depth--;
			opened = false;
			continue;
		}
		*more = true;
		if (opened) /* its first element */
			return 0;
		if (*r->p != ',')
			return bad(r, "neither ',' nor the end of the array or object");
		r->p++;
		skip_blanks(r);
		return 0;
	}
	return 0;
}

static int read_text(struct reader *r)
{
	bool more = true;
	skip_blanks(r);
	/* Every round eats at least one byte, so it ends after at most n rounds. */
	while (more) {
		int err = 0;
		if (r->depth && r->j->v[r->open[r->depth - 1]].kind == JSON_OBJECT)
			err = read_key(r);
		unsigned depth = r->depth;
		if (!err)
			err = read_value(r);
		if (!err)
			err = after_value(r, r->depth > depth, &more);
		if (err)
			return err;
	}
	skip_blanks(r);
	return r->p == r->end ? 0 : bad(r, "something after the end of the value");
}

/* Room for n bytes and one more, that of an earlier text if it is large enough. */
static int text_room(struct json *j, size_t n)
{
	if (j->text && j->text_cap > n)
		return 0;
	free(j->text);
	j->text = malloc(n + 1);
	j->text_cap = j->text ? n + 1 : 0;
	return j->text ? 0 : -ENOMEM;
}

int json_parse_next(struct json *j, const void *p, size_t n, unsigned max_values, struct fault *f)
{
	int err = 0;
	j->n = 0;
	if (n > TEXT_MAX)
		err = fault_set(f, -E2BIG, "JSON: longer than %u bytes", TEXT_MAX);
	else if (n && !utf8_is_valid(p, n))
		err = fault_set(f, -EINVAL, "JSON: not UTF-8");
	if (!err)
		err = text_room(j, n);
	struct reader r = { .p = p, .start = p, .end = n ? (const uint8_t *)p + n : p, .j = j, .text = j->text, .max_values = max_values, .f = f };
	if (!err)
		err = read_text(&r);
	if (err == -ENOMEM)
		fault_errno(f, err, "JSON");
	if (err)
		json_done(j);
	return err;
}

int json_parse(struct json *j, const void *p, size_t n, unsigned max_values, struct fault *f)
{
	*j = (struct json){ 0 };
	return json_parse_next(j, p, n, max_values, f);
}

void json_done(struct json *j)
{
	free(j->v);
	free(j->text);
	*j = (struct json){ 0 };
}
