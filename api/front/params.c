/* Reading what a client sent: query parameters and JSON bodies. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define JSON_VALUES_MAX 65536u

const char *param(const struct req *r, const char *key)
{
	const char *v = http_target_param(&r->target, key);

	return v && *v ? v : NULL;
}

bool param_is_true(const struct req *r, const char *key)
{
	const char *v = param(r, key);

	return v && (strcmp(v, "true") == 0 || strcmp(v, "1") == 0);
}

void param_outputs(const struct req *r, bool wants[2])
{
	static const char *const key[2] = { "stdout", "stderr" };

	for (unsigned i = 0; i < 2; i++)
		wants[i] = param(r, key[i]) ? param_is_true(r, key[i]) : !param_is_true(r, key[!i]);
}

bool param_put_u64(struct req *r, struct buf *b, const char *key, uint16_t tag, uint64_t max)
{
	const char *v = param(r, key);
	uint64_t n;

	if (!v)
		return true;
	if (parse_u64(v, max, &n)) {
		reply_error(r, 400, "%s must be a decimal number, at most %llu", key, (unsigned long long)max);
		return false;
	}
	wire_u64(b, tag, n);
	return true;
}

bool param_put_ms(struct req *r, struct buf *b, const char *key, uint16_t tag)
{
	const char *v = param(r, key);
	uint64_t ms;

	if (!v)
		return true;
	if (parse_duration_ms(v, &ms)) {
		reply_error(r, 400, "%s must be a duration such as 200ms or 5m", key);
		return false;
	}
	wire_u64(b, tag, ms);
	return true;
}

bool param_put_u32(struct req *r, struct buf *b, const char *key, uint16_t tag)
{
	const char *v = param(r, key);
	uint64_t n;

	if (!v)
		return true;
	if (parse_u64(v, UINT32_MAX, &n)) {
		reply_error(r, 400, "%s must be a decimal number below 4294967296", key);
		return false;
	}
	if (n != UINT32_MAX) /* the SDKs' "no user chosen" */
		wire_u64(b, tag, n);
	return true;
}

bool param_put_perm(struct req *r, struct buf *b, const char *text, uint16_t tag)
{
	unsigned mode = 0;
	size_t n = text ? strlen(text) : 0;

	if (n == 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '7' || n > 6) {
			reply_error(r, 400, "permissions must be octal digits such as 0644");
			return false;
		}
		mode = mode * 8 + (unsigned)(text[i] - '0');
	}
	if (mode > 07777) {
		reply_error(r, 400, "permissions must be at most 7777");
		return false;
	}
	wire_u64(b, tag, mode);
	return true;
}

void param_put_str(const struct req *r, struct buf *b, const char *key, uint16_t tag)
{
	wire_str(b, tag, param(r, key));
}

bool param_put_all(struct req *r, struct buf *b, const char *key, uint16_t tag, unsigned max)
{
	struct http_param p;
	unsigned index = 0, n = 0;
	size_t pos = 0;

	while (http_target_next(&r->target, &index, &pos, &p)) {
		if (strcmp(p.key, key) != 0)
			continue;
		if (++n > max) {
			reply_error(r, 400, "more than %u values of '%s'", max, key);
			return false;
		}
		wire_str(b, tag, p.value);
	}
	return true;
}

const char *vm_name(struct req *r)
{
	if (name_is_valid(r->vars[0], 63))
		return r->vars[0];
	reply_error(r, 404, "no VM has that name");
	return NULL;
}

bool body_json(struct req *r, struct json *j)
{
	static const char empty[] = "{}";
	struct fault fault = { "" };
	size_t n = buf_len(&r->gather);
	int err = json_parse(j, n ? (const void *)buf_data(&r->gather) : empty, n ? n : 2, JSON_VALUES_MAX, &fault);

	if (err) {
		r->conn->front->rejects.n[REJECT_JSON]++;
		reply_error(r, err == -ENOMEM ? 503 : 400, "the body is no JSON: %s", fault.text);
		return false;
	}
	if (json_root(j)->kind != JSON_OBJECT && json_root(j)->kind != JSON_NULL) {
		r->conn->front->rejects.n[REJECT_JSON]++;
		reply_error(r, 400, "the body must be a JSON object");
		json_done(j);
		return false;
	}
	buf_done(&r->gather);
	buf_init(&r->gather, OUT_BYTES_MAX);
	return true;
}

int body_put_strings(struct buf *b, const struct json_val *root, const char *key, uint16_t tag)
{
	const struct json_val *list = json_get(root, key);

	if (!list || list->kind == JSON_NULL)
		return 0;
	if (list->kind != JSON_ARRAY)
		return -1;
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v)) {
		if (!json_str(v))
			return -1;
		wire_str(b, tag, json_str(v));
	}
	return 1;
}

const char *group_name(struct req *r)
{
	if (name_is_valid(r->vars[0], 63))
		return r->vars[0];
	reply_error(r, 404, "no host group has that name");
	return NULL;
}
