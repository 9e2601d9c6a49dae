/* Published ports as people write them: what they mean, which ones clash, lists of them. */
#include <errno.h>
#include <string.h>

#include "api/core/publish_spec.h"
#include "tests/unit/tap.h"

static void test_parse(void)
{
	static const struct { const char *text, *full, *to; uint16_t port; } good[] = {
		{ "8080:80", "127.0.0.1:8080:80", "127.0.0.1:80", 8080 },
		{ "0.0.0.0:8080:80", "0.0.0.0:8080:80", "127.0.0.1:80", 8080 },
		{ "[::1]:5432:5432", "[::1]:5432:5432", "127.0.0.1:5432", 5432 },
		{ "[0:0::0]:1:65535", "[::]:1:65535", "127.0.0.1:65535", 1 },
		{ "9000:10.0.0.1:80", "127.0.0.1:9000:10.0.0.1:80", "10.0.0.1:80", 9000 },
		{ "9000:[fe80::1]:80", "127.0.0.1:9000:[fe80::1]:80", "[fe80::1]:80", 9000 },
		{ "9000:/run/x:1.sock", "127.0.0.1:9000:/run/x:1.sock", "unix:/run/x:1.sock", 9000 },
		{ "127.0.0.2:9000:unix:/run/x.sock", "127.0.0.2:9000:/run/x.sock", "unix:/run/x.sock", 9000 },
		{ "08080:080", "127.0.0.1:8080:80", "127.0.0.1:80", 8080 },
	};
	static const char *const bad[] = { "", ":", "80", "80:", ":80", "::80", "1.2.3.4:80", "1.2.3:80:80", "1.2.3.4.5:80:80", "[::1]", "[::1]:80", "[::1", "[:80:80",
					   "[]:80:80", "65536:80", "80:65536", "0:1", "1:0", "-1:80", "+1:80", " 1:80", "1:80 ", "1:80:80", "1:x.sock", "1:./x",
					   "1:/a\x01", "1:/\xff", "a.b:1:2", "1:unix:x", "1:unix:", "/run/a:80", "./a:80", "[::1%lo]:80:80", "1:1.2.3.4:0" };
	struct publish_spec s;
	struct fault f;
	char path[200];

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ok(publish_parse(good[i].text, &s, &f) == 0 && strcmp(s.text, good[i].full) == 0 && strcmp(s.to, good[i].to) == 0 && s.port == good[i].port,
		   "'%s' is %s to %s", good[i].text, s.text, s.to);
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ok(publish_parse(good[i].full, &s, NULL) == 0 && strcmp(s.text, good[i].full) == 0, "and reads back: %s", good[i].full);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		f.text[0] = 0;
		ok(publish_parse(bad[i], &s, &f) == -EINVAL && strstr(f.text, "publish"), "none: '%s'", bad[i]);
	}
	memset(path, 'x', sizeof(path));
	memcpy(path, "1:/", 3);
	path[2 + 107] = 0;
	ok(publish_parse(path, &s, &f) == 0, "the longest path");
	path[2 + 107] = 'x';
	path[2 + 108] = 0;
	ok(publish_parse(path, &s, &f) == -EINVAL, "one byte longer");
}

static bool clash(const char *a, const char *b)
{
	struct publish_spec x, y;

	return !publish_parse(a, &x, NULL) && !publish_parse(b, &y, NULL) && publish_clash(&x, &y) && publish_clash(&y, &x);
}

static void test_clash(void)
{
	ok(clash("80:1", "80:2"), "one port");
	ok(!clash("80:1", "81:1"), "two ports");
	ok(!clash("127.0.0.2:80:1", "80:1"), "two addresses");
	ok(clash("0.0.0.0:80:1", "80:1") && clash("0.0.0.0:80:1", "0.0.0.0:80:1"), "all addresses and one of them");
	ok(!clash("[::]:80:1", "0.0.0.0:80:1") && !clash("[::1]:80:1", "80:1"), "the families are apart");
	ok(clash("[::]:80:1", "[::1]:80:1") && !clash("[::2]:80:1", "[::1]:80:1"), "IPv6 as IPv4");
}

static void test_lists(void)
{
	struct publish_spec s;
	struct fault f = { "" };
	struct buf b;
	const char *at;
	char text[20];
	int n = 0;

	buf_init(&b, PUBLISH_LINES_MAX);
	for (unsigned i = 0; i < PUBLISH_MAX; i++) {
		text[0] = 0;
		at = text;
		text[0] = (char)('1' + i / 10);
		text[1] = (char)('0' + i % 10);
		strcpy(text + 2, ":80");
		n += publish_add(&b, at, &f) == 0;
	}
	ok(n == (int)PUBLISH_MAX, "a full list");
	ok(publish_add(&b, "100:80", &f) == -EINVAL && strstr(f.text, "at most"), "and no more");
	n = 0;
	for (at = buf_cstr(&b); publish_next(&at, &s) > 0; n++)
		;
	ok(n == (int)PUBLISH_MAX && !*at, "all come back");
	buf_clear(&b);
	ok(publish_add(&b, "80:80", &f) == 0 && publish_add(&b, "0.0.0.0:80:81", &f) == -EINVAL && strstr(f.text, "takes that port"), "one port once");
	ok(strcmp(buf_cstr(&b), "127.0.0.1:80:80") == 0, "what was refused is not in it");
	buf_done(&b);
	at = "1:2\nbad\n3:4";
	ok(publish_next(&at, &s) == 1 && publish_next(&at, &s) == -EINVAL && publish_next(&at, &s) == 1 && s.port == 3 && publish_next(&at, &s) == 0,
	   "a damaged line is told and passed");
}

int main(void)
{
	test_parse();
	test_clash();
	test_lists();
	return tap_done();
}
