#include "lib/json/json.h"
#include "tests/unit/induce.h"
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
		"Infinity", "// x\n1", "[1}", "{\"a\":1]", "\v1", "\"\\ud83d\\ue000\"", "\"\\ud83d\\u\"", "[\"a\" \"b\"]", "1e400", "0.", "-a", "[1,", "\"\\u0-00\"", "\"\\u0:00\"", "\"\\", "\"\\ud83dxxxxxx\"",
		"\"\\ud83d\\nxxxx\"", "\"\\ud83d\\u12g4\"", "nulx", "{\"a\"", "{1", "{\"\\x\":1}",
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
	ok(json_parse(&j, "\"\\\0\"", 4, 4, &f) == -EINVAL, "an escaped NUL byte");
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
	ok(!parse(&j, "[\"\\u20ac\\uE000\\uaBcD\\u007f\",1E-2,1e+2,1.25e-1]", &f) && !strcmp(json_str(json_first(json_root(&j))), "\u20ac\xee\x80\x80\xea\xaf\x8d\x7f"),
	   "escapes of every length, exponents with signs: %s", f.text);
	json_done(&j);
	ok(!parse(&j, "-0", &f) && json_root(&j)->i == 0, "-0");
	json_done(&j);
}

static void looking(void)
{
	struct json j;
	struct fault f;
	const char *s = "x";
	int64_t i = 7;
	double d = 7;
	bool b = true;
	ok(!parse(&j, "\t\r\n{\"s\":\"a\",\"low\":-1e300,\"high\":1e300,\"half\":0.5,\"i\":3,\"b\":false,\"z\":null}\r\n\t ", &f), "blanks of all kinds: %s", f.text);
	const struct json_val *r = json_root(&j);
	ok(json_get_i64(r, "low", &i) == -EINVAL && json_get_i64(r, "high", &i) == -EINVAL && json_get_i64(r, "half", &i) == -EINVAL &&
	   json_get_i64(r, "s", &i) == -EINVAL && json_get_i64(r, "none", &i) == -ENOENT && i == 7, "no integers");
	ok(json_get_real(r, "s", &d) == -EINVAL && json_get_real(r, "z", &d) == -ENOENT && d > 6, "no reals");
	ok(!json_get_real(r, "i", &d) && fabs(d - 3) < 1e-9, "an integer is a real");
	ok(json_get_bool(r, "i", &b) == -EINVAL && json_get_bool(r, "none", &b) == -ENOENT && b && !json_get_bool(r, "b", &b) && !b, "bools");
	ok(!json_first(json_get(r, "i")) && !json_get(json_get(r, "i"), "x") && !json_str(json_get(r, "i")) && !json_str(NULL), "a number has no children and no text");
	ok(json_get_str(json_get(r, "s"), "s", &s) == -ENOENT, "a string has no members");
	json_done(&j);
}

/* Every allocation on the way of one text fails once. */
static void no_memory(void)
{
	static const char text[] = "[{},1,2.5,\"s\",true,null,[],{\"a\":1},1,2,3,4,5,6,7,8,9,[],\"q\",false,{},-1,1e9,0,0,0,0,0,0,0,0,0,0,0]";
	static const char *const each[] = { "[", "1", "\"s\"", "true", "{" };
	struct json j;
	struct fault f;
	for (unsigned n = 0; n < 9; n++) {
		induce(n ? INDUCE_realloc : INDUCE_malloc, n ? n - 1 : 0, ENOMEM);
		int err = parse(&j, text, &f);
		bool hit = induced();
		ok(hit ? err == -ENOMEM && !j.v && !j.text && f.text[0] : err == 0, "allocation %u: %s", n, hit ? f.text : "all there");
		json_done(&j);
		if (!hit)
			break;
	}
	for (size_t i = 0; i < ARRAY_LEN(each); i++) {
		induce(INDUCE_realloc, 0, ENOMEM);
		ok(parse(&j, each[i], &f) == -ENOMEM && induced() && !j.v, "no memory for %s", each[i]);
	}
	ok(json_parse(&j, text, (64u << 20) + 1, 10, &f) == -E2BIG, "a text beyond 64 MiB is not even looked at: %s", f.text);
}

static void writing_odd(void)
{
	struct buf b;
	struct json_out o;
	buf_init(&b, 65536);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_i64(&o, NULL, 1);
	json_put_strn(&o, "u", "\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9\xf0\x9f\0", 12);
	json_put_real(&o, "third", 1.0 / 3);
	json_put_real(&o, "inf", HUGE_VAL);
	json_end(&o);
	ok(!strcmp(buf_cstr(&b), "{\"\":1,\"u\":\"\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\\u0000\",\"third\":0.33333333333333331,\"inf\":null}"),
	   "a member without a name, long and cut characters, all digits: %s", buf_cstr(&b));
	buf_done(&b);
	buf_init(&b, 8);
	json_out_init(&o, &b);
	json_put_base64(&o, NULL, "0123456789", 10);
	ok(b.failed, "no room for base64 fails the buffer");
	buf_done(&b);
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
	writing_odd();
	looking();
	no_memory();
	return tap_done();
}
