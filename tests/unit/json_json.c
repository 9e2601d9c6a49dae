#include "lib/json/json.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int parse(struct json *j, const char *s, struct fault *f)
{
	*f = (struct fault){ 0 };
	return json_parse(j, s, strlen(s), 1000, f);
}

static void refusals(void)
{
	static const char *const bad[] = {
		"", " ", "{", "[", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}", "01", "-", "+1", "1.", ".5", "1e", "1e+",
		"nul", "truee", "tru", "\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\t\"",
		"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "[1 2]", "{\"a\" 1}", "1 2", "[1]]", "}", "]", "\xef\xbb\xbf{}", "1e999", "NaN",
		"Infinity", "// x\n1", "[1}", "{\"a\":1]", "\v1",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct json j;
		struct fault f;
		int err = parse(&j, bad[i], &f);
		ok(err == -EINVAL && f.text[0] && !j.v, "refused (%s)", f.text);
		json_done(&j);
	}
	char deep[200];
	struct json j;
	struct fault f;
	memset(deep, '[', 100);
	memset(deep + 100, ']', 100);
	ok(json_parse(&j, deep, 200, 1000, &f) == -E2BIG, "100 levels are too deep: %s", f.text);
	ok(json_parse(&j, deep + 36, 128, 1000, &f) == 0, "64 levels are not");
	json_done(&j);
	ok(json_parse(&j, "[1,2,3]", 7, 3, &f) == -E2BIG, "too many values");
	ok(json_parse(&j, "[1,2,3]", 7, 4, &f) == 0, "just enough values");
	json_done(&j);
	ok(json_parse(&j, "\"a\0b\"", 5, 4, &f) == -EINVAL, "NUL byte in the text");
	static char digits[400];
	memset(digits, '9', sizeof(digits) - 1);
	ok(parse(&j, digits, &f) == -EINVAL, "400 digits");
}

static void reading(void)
{
	struct json j;
	struct fault f;
	const char *s = "x";
	int64_t i = 7;
	double d = 0;
	bool b = false;
	ok(!parse(&j, " {\"a\":[1,-2,{\"x\":null}],\"s\":\"q\\\"\\u00e9\\ud83d\\ude00\\n\",\"n\":9223372036854775807,\"m\":-9223372036854775808,"
		"\"big\":9223372036854775808,\"r\":2.5e1,\"t\":true,\"z\":null,\"e\":{},\"nul\":\"a\\u0000b\",\"dup\":1,\"dup\":2} ", &f), "an object: %s", f.text);
	const struct json_val *r = json_root(&j), *a = json_get(r, "a");
	ok(r->kind == JSON_OBJECT && r->count == 12 && r->span == j.n, "root");
	ok(a && a->kind == JSON_ARRAY && a->count == 3 && a->span == 5, "array");
	const struct json_val *c = json_first(a);
	ok(c->i == 1 && json_next(a, c)->i == -2, "elements");
	c = json_next(a, json_next(a, c));
	ok(c->kind == JSON_OBJECT && json_get(c, "x")->kind == JSON_NULL && !json_next(a, c), "the last element");
	ok(!json_get_str(r, "s", &s) && !strcmp(s, "q\"\xc3\xa9\xf0\x9f\x98\x80\n"), "escapes");
	ok(!json_get_i64(r, "n", &i) && i == INT64_MAX, "largest");
	ok(!json_get_i64(r, "m", &i) && i == INT64_MIN, "smallest");
	ok(json_get_i64(r, "big", &i) == -EINVAL && json_get(r, "big")->kind == JSON_REAL, "beyond int64");
	ok(!json_get_i64(r, "r", &i) && i == 25, "25 written as a real");
	ok(!json_get_real(r, "r", &d) && fabs(d - 25) < 1e-9, "real");
	ok(!json_get_bool(r, "t", &b) && b, "bool");
	ok(json_get_str(r, "z", &s) == -ENOENT && json_get_str(r, "none", &s) == -ENOENT, "null and absent");
	ok(json_get_str(r, "n", &s) == -EINVAL, "another kind");
	ok(json_get_str(r, "nul", &s) == -EINVAL && json_get(r, "nul")->len == 3, "a string with NUL is no C string");
	ok(!json_get_i64(r, "dup", &i) && i == 2, "the last of two members counts");
	ok(!json_first(json_get(r, "e")) && !json_first(NULL) && !json_get(NULL, "a"), "nothing inside");
	json_done(&j);
	ok(!parse(&j, "\"\"", &f) && json_root(&j)->len == 0, "empty string");
	json_done(&j);
	ok(!parse(&j, "-0", &f) && json_root(&j)->i == 0, "-0");
	json_done(&j);
}

static void writing(void)
{
	struct buf b;
	struct json_out o;
	buf_init(&b, 65536);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_strn(&o, "s", "a\"\\\n\x01\x7f\xff\xc3\xa9\xe2\x82", 11);
	json_arr(&o, "l");
	json_put_i64(&o, NULL, -5);
	json_put_u64(&o, NULL, UINT64_MAX);
	json_obj(&o, NULL);
	json_end(&o);
	json_arr(&o, NULL);
	json_end(&o);
	json_put_real(&o, NULL, 0.1);
	json_put_real(&o, NULL, NAN);
	json_end(&o);
	json_put_bool(&o, "t", true);
	json_put_str(&o, "none", NULL);
	json_put_base64(&o, "b", "\0\1\2", 3);
	json_end(&o);
	const char *want = "{\"s\":\"a\\\"\\\\\\n\\u0001\\u007f\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\","
		"\"l\":[-5,18446744073709551615,{},[],0.1,null],\"t\":true,\"none\":null,\"b\":\"AAEC\"}";
	ok(!strcmp(buf_cstr(&b), want), "written: %s", buf_cstr(&b));
	struct json j;
	struct fault f;
	ok(!json_parse(&j, buf_data(&b), buf_len(&b), 100, &f), "reads back");
	json_done(&j);
	buf_clear(&b);
	json_out_init(&o, &b);
	for (int i = 0; i < 100; i++)
		json_arr(&o, NULL);
	ok(b.failed, "too deep fails the buffer");
	buf_clear(&b);
	json_out_init(&o, &b);
	json_end(&o);
	ok(b.failed, "an end too many fails the buffer");
	buf_done(&b);
}

static void again(void)
{
	struct json j = { 0 };
	struct fault f;
	ok(!json_parse_next(&j, "{\"a\":\"long enough\"}", 19, 10, &f) && json_root(&j)->count == 1, "a first text");
	const char *text = j.text;
	ok(!json_parse_next(&j, "[\"b\"]", 5, 10, &f) && j.text == text && j.n == 2 && !strcmp(json_str(json_first(json_root(&j))), "b"), "the next one in the same memory");
	ok(!json_parse_next(&j, "[\"a text that is longer than before\"]", 37, 10, &f) && j.n == 2, "a longer one");
	ok(json_parse_next(&j, "[", 1, 10, &f) == -EINVAL && !j.v && !j.text, "a broken one leaves nothing");
	ok(!json_parse_next(&j, "1", 1, 10, &f), "and does not end it");
	json_done(&j);
}

int main(void)
{
	again();
	refusals();
	reading();
	writing();
	return tap_done();
}
