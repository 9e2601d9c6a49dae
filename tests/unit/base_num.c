#include <errno.h>
#include <string.h>
#include "lib/base/base.h"
#include "tests/unit/tap.h"

static void numbers(void)
{
	uint64_t v = 7;
	ok(parse_u64("", 9, &v) == -EINVAL && parse_u64("-1", 9, &v) == -EINVAL && parse_u64("1 ", 9, &v) == -EINVAL, "u64 refuses blanks, signs, nothing");
	ok(parse_u64("18446744073709551616", UINT64_MAX, &v) == -ERANGE && parse_u64("10", 9, &v) == -ERANGE, "u64 refuses too large");
	ok(v == 7, "a refused number leaves the place alone");
	ok(parse_u64("18446744073709551615", UINT64_MAX, &v) == 0 && v == UINT64_MAX, "u64 takes the largest");
	ok(parse_size("25G", &v) == 0 && v == 25ull << 30, "25G");
	ok(parse_size("700", &v) == 0 && v == 700, "700");
	ok(parse_size("G", &v) == -EINVAL && parse_size("1Q", &v) == -EINVAL && parse_size("99999999999T", &v) == -ERANGE, "bad sizes");
	ok(parse_duration_ms("2m0s", &v) == 0 && v == 120000, "2m0s");
	ok(parse_duration_ms("1.5h", &v) == 0 && v == 5400000, "1.5h");
	ok(parse_duration_ms("500ms", &v) == 0 && v == 500 && parse_duration_ms("1m30s", &v) == 0 && v == 90000, "500ms, 1m30s");
	ok(parse_duration_ms("5", &v) == -EINVAL && parse_duration_ms("", &v) == -EINVAL && parse_duration_ms("s", &v) == -EINVAL &&
	   parse_duration_ms("9999999999999h", &v) == -ERANGE, "bad durations");
	ok(edit_distance("vcpu", "vpcu") == 2 && edit_distance("ram_gb", "ram_gb") == 0 && edit_distance("", "abc") == 3, "edit distance");
}

static void encodings(void)
{
	char s[64];
	uint8_t b[64];
	ok(base64_encode("\0\1\2", 3, s) == 4 && strcmp(s, "AAEC") == 0, "base64 three bytes");
	ok(base64_encode("hi\n\377", 4, s) == 8 && strcmp(s, "aGkK/w==") == 0, "base64 pads");
	ok(base64url_encode("\373\377hostname", 10, s) == 14 && strcmp(s, "-_9ob3N0bmFtZQ") == 0, "base64url has no padding");
	ok(base64_decode("aGkK/w==", 8, b) == 4 && memcmp(b, "hi\n\377", 4) == 0, "base64 decodes");
	ok(base64_decode("aGk", 3, b) < 0 && base64_decode("aG=k", 4, b) < 0 && base64_decode("aGl=", 4, b) < 0 && base64_decode("a!Gk", 4, b) < 0,
	   "base64 refuses length, inner padding, stray bits, strange bytes");
	static uint8_t raw[3001], back[3003];
	static char text[BASE64_LEN(3001) + 1];
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (uint8_t)(i * 7);
	size_t n = base64_encode(raw, sizeof(raw), text);
	ok(base64_decode(text, n, back) == (ssize_t)sizeof(raw) && memcmp(raw, back, sizeof(raw)) == 0, "base64 of a long text");
	text[1000] = '=';
	ok(base64_decode(text, n, back) < 0, "base64 refuses padding inside a long text");
	text[1000] = '\xff';
	ok(base64_decode(text, n, back) < 0, "base64 refuses a strange byte in a long text");
	hex_encode("\1\253", 2, s);
	ok(strcmp(s, "01ab") == 0 && hex_decode("01AB", b, 2) == 0 && b[1] == 0xab, "hex");
	ok(hex_decode("01a", b, 2) < 0 && hex_decode("01abc", b, 2) < 0, "hex refuses wrong lengths");
	ok(equal_consttime("abc", "abc", 3) && !equal_consttime("abc", "abd", 3), "constant-time compare");
}

static void texts(void)
{
	ok(utf8_is_valid("0123456789abcdef\xc3\xa9 0123456789", 29) && !utf8_is_valid("0123456789\xff" "012345", 17) && !utf8_is_valid("0123456\xc3", 8), "UTF-8 among long ASCII");
	ok(name_is_valid("sbox-1", 63) && !name_is_valid("-a", 63) && !name_is_valid("a-", 63) && !name_is_valid("A", 63) && !name_is_valid("", 63) &&
	   !name_is_valid("../x", 63) && !name_is_valid("abcd", 3), "names");
	ok(utf8_is_valid("a\xc3\xa9\xf0\x9f\x98\x80", 7), "UTF-8");
	ok(!utf8_is_valid("\xc0\x80", 2) && !utf8_is_valid("\xed\xa0\x80", 3) && !utf8_is_valid("\xf4\x90\x80\x80", 4) && !utf8_is_valid("\xe2\x82", 2),
	   "UTF-8 refuses overlong, surrogate, too large, cut");
	char t[RFC3339_MAX];
	rfc3339_format(1000000000123456789ull, t);
	ok(strcmp(t, "2001-09-09T01:46:40.123456789Z") == 0, "RFC 3339: %s", t);
	struct fault f = {""};
	ok(fault_set(&f, -EINVAL, "size %d is odd", 7) == -EINVAL && fault_wrap(&f, -EINVAL, "disk '%s'", "root") == -EINVAL &&
	   strcmp(f.text, "disk 'root': size 7 is odd") == 0, "a fault grows while it unwinds");
}

static void test_rfc3339(void)
{
	static const struct { const char *text; uint64_t ns; } good[] = {
		{ "1970-01-01T00:00:00Z", 0 }, { "2001-09-09T01:46:40.123456789Z", 1000000000123456789ull }, { "2001-09-09t01:46:40.5z", 1000000000500000000ull },
		{ "2001-09-09 03:46:40+02:00", 1000000000000000000ull }, { "2001-09-08T20:16:40-05:30", 1000000000000000000ull },
		{ "2024-02-29T00:00:00Z", 1709164800000000000ull }, { "2000-02-29T00:00:00Z", 951782400000000000ull }, { "2016-12-31T23:59:60Z", 1483228800000000000ull },
	};
	static const char *const bad[] = {
		"", "2001", "2001-09-09", "2001-09-09T01:46:40", "2001-9-9T01:46:40Z", "2001-09-09T01:46Z", "2001-13-09T01:46:40Z", "2001-00-09T01:46:40Z",
		"2001-09-31T01:46:40Z", "2001-09-00T01:46:40Z", "2023-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2001-09-09T24:00:00Z", "2001-09-09T01:60:40Z",
		"2001-09-09T01:46:61Z", "2001-09-09T01:46:40.Z", "2001-09-09T01:46:40.1234567890Z", "2001-09-09T01:46:40Zx", "2001-09-09T01:46:40+2:00",
		"2001-09-09T01:46:40+0200", "2001-09-09T01:46:40+24:00", "2001-09-09T01:46:40+", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00+01:00",
		"9999-01-01T00:00:00Z", "-001-09-09T01:46:40Z", " 2001-09-09T01:46:40Z", "2001-09-09T01:46:40 Z",
	};
	uint64_t ns;

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ok(rfc3339_parse(good[i].text, &ns) == 0 && ns == good[i].ns, "time %s", good[i].text);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ok(rfc3339_parse(bad[i], &ns) < 0, "no time: '%s'", bad[i]);
}

int main(void)
{
	test_rfc3339();
	numbers();
	encodings();
	texts();
	return tap_done();
}
