/* Any text through the reader; what it accepts is walked, written again, and must read back the same. */
#include "lib/json/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(struct json_out *o, const char *key, const struct json_val *v)
{
	switch (v->kind) {
	case JSON_NULL:
		json_put_null(o, key);
		break;
	case JSON_BOOL:
		json_put_bool(o, key, v->b);
		break;
	case JSON_INT:
		json_put_i64(o, key, v->i);
		break;
	case JSON_REAL:
		json_put_real(o, key, v->d);
		break;
	case JSON_STRING:
		json_put_strn(o, key, v->s, v->len);
		break;
	default:
		if (v->kind == JSON_OBJECT)
			json_obj(o, key);
		else
			json_arr(o, key);
		for (const struct json_val *c = json_first(v); c; c = json_next(v, c))
			write_again(o, c->key, c);
		json_end(o);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json j, again;
	struct fault f;
	if (json_parse(&j, data, size, 4096, &f))
		return 0;
	struct buf b;
	struct json_out o;
	buf_init(&b, size * 8 + 1024);
	json_out_init(&o, &b);
	write_again(&o, NULL, json_root(&j));
	if (!b.failed && (json_parse(&again, buf_data(&b), buf_len(&b), 4096, &f) || again.n != j.n))
		abort();
	if (!b.failed)
		json_done(&again);
	const char *s;
	int64_t i;
	json_get_str(json_root(&j), "a", &s);
	json_get_i64(json_root(&j), "a", &i);
	buf_done(&b);
	json_done(&j);
	return 0;
}
