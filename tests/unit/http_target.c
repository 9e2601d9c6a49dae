/* lib/http targets: refusals first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "lib/http/target.h"
#include "tests/unit/induce.h"
#include "tests/unit/tap.h"

static struct http_target t;

static int parse(const char *s)
{
	http_target_done(&t);
	return http_target_parse(&t, s, strlen(s));
}

static bool seg(unsigned i, const char *want)
{
	return i < t.n_segments && strcmp(t.segments[i], want) == 0;
}

static bool param(const char *key, const char *want)
{
	const char *v = http_target_param(&t, key);

	return want ? v && strcmp(v, want) == 0 : v == NULL;
}

static void test_refused(void)
{
	char *big = malloc(HTTP_TARGET_MAX + 2);

	ok(parse("") == -EINVAL, "refused: empty");
	ok(parse("*") == -EINVAL, "refused: *");
	ok(parse("vm/a") == -EINVAL, "refused: no slash");
	ok(parse("http://host") == -EINVAL, "refused: absolute form without a path");
	ok(parse("ftp://host/x") == -EINVAL, "refused: another scheme");
	ok(parse("/a#b") == -EINVAL, "refused: fragment");
	ok(parse("/%") == -EINVAL && parse("/%4") == -EINVAL && parse("/%4g") == -EINVAL, "refused: broken escapes in the path");
	ok(parse("/?a=%zz") == -EINVAL && parse("/?%=1") == -EINVAL, "refused: broken escapes in the query");
	ok(parse("/a%00b") == -EINVAL && parse("/?a=%00") == -EINVAL, "refused: NUL");
	ok(parse("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17") == -E2BIG, "refused: 17 segments");
	http_target_done(&t);
	induce(INDUCE_malloc, 0, ENOMEM);
	ok(http_target_parse(&t, "/a", 2) == -ENOMEM && induced() && !t.mem, "refused: no memory");
	if (!big)
		return;
	memset(big, '/', HTTP_TARGET_MAX + 1);
	ok(http_target_parse(&t, big, HTTP_TARGET_MAX + 1) == -E2BIG, "refused: too long");
	memset(big, '&', HTTP_TARGET_MAX);
	memcpy(big, "/?", 2);
	for (unsigned i = 0; i < HTTP_PARAMS_MAX + 1; i++)
		big[2 + 2 * i] = 'a';
	ok(http_target_parse(&t, big, HTTP_TARGET_MAX) == -E2BIG, "refused: 4097 parameters");
	free(big);
}

static void test_paths(void)
{
	ok(parse("/") == 0 && t.n_segments == 0, "the root has no segment");
	ok(parse("/vm/a%2Fb/exec") == 0 && t.n_segments == 3 && seg(1, "a/b"), "an escaped slash stays inside its segment");
	ok(parse("/nodes/") == 0 && t.n_segments == 2 && seg(1, ""), "a slash at the end is a segment");
	ok(parse("//x") == 0 && t.n_segments == 2 && seg(0, "") && seg(1, "x"), "empty first segment");
	ok(parse("http://h:80/vm/x?y=z") == 0 && seg(0, "vm") && seg(1, "x") && param("y", "z"), "absolute form");
	ok(parse("https://h/vm") == 0 && seg(0, "vm") && parse("HTTP://h/") == 0 && t.n_segments == 0, "other absolute forms");
	ok(parse("/a+b") == 0 && seg(0, "a+b"), "a plus in the path is a plus");
	ok(parse("/a/%2e%2e/b") == 0 && t.n_segments == 3 && seg(1, ".."), "dots are only a name");
}

static void test_queries(void)
{
	struct http_param p;
	unsigned index = 0, n = 0;
	size_t pos = 0;
	char seen[64] = "";

	ok(parse("/vm/demo-1/exec?args=-c&args=echo+hi%3B+echo+no+%3E%262%3B+exit+3&cmd=%2Fbin%2Fsh&gid=0") == 0 &&
	   param("args", "-c") && param("cmd", "/bin/sh") && param("gid", "0") && param("uid", NULL), "exec query");
	while (http_target_next(&t, &index, &pos, &p)) {
		n++;
		if (strcmp(p.key, "args") == 0)
			snprintf(seen, sizeof(seen), "%s", p.value);
	}
	ok(n == 4 && strcmp(seen, "echo hi; echo no >&2; exit 3") == 0, "repeated parameters in order, decoded once");
	ok(parse("/x?a&b=&=c&&d=e=f") == 0 && t.n_params == 4 && param("a", "") && param("b", "") && param("", "c") && param("d", "e=f"),
	   "odd but lawful parameters");
	ok(parse("/hostgroup/demo/nodes%3Ftag=owner%253Dalex") == 0 && t.n_segments == 3 && seg(2, "nodes") && param("tag", "owner=alex"),
	   "the escaped question mark of the Go SDK");
	ok(parse("/hostgroup/demo/nodes%3Ftag=a%2526b?x=1") == 0 && param("tag", "a&b") && param("x", "1"), "and a query after it");
	ok(parse("/a%3Fb/c") == 0 && seg(0, "a?b") && t.n_params == 0, "only in the last segment");
}

static void test_writing(void)
{
	struct buf b;
	bool first = true;

	buf_init(&b, 200);
	http_add_param(&b, &first, "cmd", "/bin/sh");
	http_add_param(&b, &first, "none", NULL);
	http_add_param(&b, &first, "args", "a b&c%\xc3\xa4~_:[{Z9");
	ok(strcmp(buf_cstr(&b), "?cmd=%2Fbin%2Fsh&args=a%20b%26c%25%C3%A4~_%3A%5B%7BZ9") == 0, "written query");
	buf_done(&b);
}

int main(void)
{
	test_refused();
	test_paths();
	test_queries();
	test_writing();
	http_target_done(&t);
	return tap_done();
}
