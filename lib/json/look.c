#include "lib/json/json.h"

#include <errno.h>
#include <string.h>

const struct json_val *json_first(const struct json_val *v)
{
	return v && (v->kind == JSON_ARRAY || v->kind == JSON_OBJECT) && v->count ? v + 1 : NULL;
}

const struct json_val *json_next(const struct json_val *parent, const struct json_val *child)
{
	const struct json_val *n = child + child->span;
	return n < parent + parent->span ? n : NULL;
}

const struct json_val *json_get(const struct json_val *v, const char *key)
{
	if (!v || v->kind != JSON_OBJECT)
		return NULL;
	const struct json_val *found = NULL;
	size_t len = strlen(key);
	for (const struct json_val *c = json_first(v); c; c = json_next(v, c))
		if (c->key_len == len && !memcmp(c->key, key, len))
			found = c;
	return found;
}

static int look(const struct json_val *v, const char *key, const struct json_val **out)
{
	*out = json_get(v, key);
	return *out && (*out)->kind != JSON_NULL ? 0 : -ENOENT;
}

const char *json_str(const struct json_val *v)
{
	return v && v->kind == JSON_STRING && !memchr(v->s, 0, v->len) ? v->s : NULL;
}

int json_get_str(const struct json_val *v, const char *key, const char **out)
{
	const struct json_val *c;
	int err = look(v, key, &c);
	if (err)
		return err;
	const char *s = json_str(c);
	if (!s)
		return -EINVAL;
	*out = s;
	return 0;
}

int json_get_i64(const struct json_val *v, const char *key, int64_t *out)
{
	const struct json_val *c;
	int err = look(v, key, &c);
	if (err)
		return err;
	if (c->kind == JSON_INT) {
		*out = c->i;
		return 0;
	}
	/* Within ±2^53 a double holds every integer exactly. */
	if (c->kind != JSON_REAL || !(c->d >= -9007199254740992.0 && c->d <= 9007199254740992.0) || c->d != (double)(int64_t)c->d)
		return -EINVAL;
	*out = (int64_t)c->d;
	return 0;
}

int json_get_real(const struct json_val *v, const char *key, double *out)
{
	const struct json_val *c;
	int err = look(v, key, &c);
	if (err)
		return err;
	if (c->kind != JSON_INT && c->kind != JSON_REAL)
		return -EINVAL;
	*out = c->kind == JSON_INT ? (double)c->i : c->d;
	return 0;
}

int json_get_bool(const struct json_val *v, const char *key, bool *out)
{
	const struct json_val *c;
	int err = look(v, key, &c);
	if (err)
		return err;
	if (c->kind != JSON_BOOL)
		return -EINVAL;
	*out = c->b;
	return 0;
}
