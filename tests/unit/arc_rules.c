/* lib/arc/glob.h and lib/arc/dest.h */
#include "lib/arc/dest.h"
#include "lib/arc/glob.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/tap.h"

static void test_match(void)
{
	static const struct {
		const char *pattern, *text;
		bool want;
	} t[] = {
		{"", "", true}, {"a", "", false}, {"", "a", false}, {"a", "a", true}, {"a", "b", false}, {"*", "", true}, {"*", "abc", true},
		{"*", "a/b", false}, {"*.log", "x.log", true}, {"*.log", "x.logs", false}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false},
		{"?", "a", true}, {"?", "/", false}, {"?", "", false}, {"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[!a-c]x", "dx", true},
		{"[]]", "]", true}, {"[a", "[a", true}, {"\\*", "*", true}, {"\\*", "a", false}, {"**", "a/b/c", true}, {"a/**", "a/b/c", true},
		{"a/**", "a", false}, {"**/x", "x", true}, {"**/x", "a/b/x", true}, {"**/x", "a/bx", false}, {"a/**/z", "a/z", true},
		{"a/**/z", "a/b/c/z", true}, {"a/**/z", "ab/z", false}, {"**/*.o", "a/b.c/d.o", true}, {"**/a*b/**", "x/aqb/y", true},
		{"**.o", "a/b.o", true}, {"*/b", "a/b", true}, {"*/b", "a/c/b", false}, {"[/]", "/", false}, {"a[", "a[", true},
		{"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
	};
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		ok(glob_match(t[i].pattern, t[i].text) == t[i].want, "'%s' %s '%s'", t[i].pattern, t[i].want ? "matches" : "does not match", t[i].text);
}

static bool excludes(const char *pattern, const char *path, bool is_dir)
{
	const char *const one[] = {pattern};
	struct glob_list l = {one, 1};
	return glob_excludes(&l, path, is_dir);
}

static bool deep(const char *pattern, const char *path)
{
	const char *const one[] = {pattern};
	struct glob_list l = {one, 1};
	return glob_excludes_deep(&l, path, false);
}

static void test_excludes(void)
{
	ok(excludes("node_modules", "a/b/node_modules", true), "a plain name counts everywhere");
	ok(!excludes("a/b", "x/a/b", false), "a pattern with a slash counts from the top");
	ok(excludes("/a", "a", false) && !excludes("/a", "b/a", false), "a leading slash only anchors");
	ok(excludes("build/", "x/build", true) && !excludes("build/", "x/build", false), "a trailing slash means folders");
	ok(!excludes("", "a", false), "an empty pattern excludes nothing");
	ok(deep("node_modules", "a/node_modules/b/c") && !deep("c/", "a/b/c"), "beneath an excluded folder everything is excluded");
	ok(!glob_excludes(NULL, "a", false) && !glob_excludes_deep(NULL, "a", false), "no list, nothing excluded");
	char longest[GLOB_PATTERN_MAX + 8];
	memset(longest, '*', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	ok(!excludes(longest, "a", false) && !glob_is_valid(longest), "a pattern too long matches nothing");
}

static void expect(const struct dest_ask *ask, int rc_want, const char *want, const char *what)
{
	char out[DEST_PATH_MAX] = "";
	struct fault f = {.text = ""};
	int rc = dest_decide(ask, out, &f);
	ok(rc == rc_want && (rc < 0 ? f.text[0] != '\0' : strcmp(out, want) == 0), "%s → %s", what, rc < 0 ? f.text : out);
}

static void test_dest(void)
{
#define FILE_V1(p, t, n) (&(struct dest_ask){.path = p, .there = t, .v1 = true, .source_name = n})
#define DIR_V1(p, t, n, c) (&(struct dest_ask){.path = p, .there = t, .v1 = true, .source_name = n, .is_dir = true, .contents = c})
	expect(FILE_V1("", DEST_MISSING, "s"), -EINVAL, "", "empty path");
	expect(FILE_V1("/x/", DEST_MISSING, "s"), -ENOENT, "", "v1 file to a missing folder");
	expect(FILE_V1("/x/", DEST_FILE, "s"), -ENOTDIR, "", "v1 file to a file with a slash");
	expect(FILE_V1("/x", DEST_DIR, "../s"), -EINVAL, "", "v1 file with a path for a name");
	expect(FILE_V1("/x", DEST_DIR, ".."), -EINVAL, "", "v1 file named ..");
	expect(FILE_V1("/x", DEST_DIR, ""), -EINVAL, "", "v1 file without a name");
	expect(DIR_V1("/x", DEST_FILE, "s", false), -ENOTDIR, "", "v1 folder to a file");
	expect(DIR_V1("/x", DEST_DIR, "a/b", false), -EINVAL, "", "v1 folder with a path for a name");
	expect(&(struct dest_ask){.path = "/x", .there = DEST_DIR}, -EISDIR, "", "legacy file to a folder");
	expect(&(struct dest_ask){.path = "/x", .there = DEST_FILE, .is_dir = true}, -ENOTDIR, "", "legacy folder to a file");
	expect(FILE_V1("/x", DEST_MISSING, "s"), 0, "/x", "v1 file to a missing name");
	expect(FILE_V1("/x", DEST_FILE, "s"), 0, "/x", "v1 file to a file");
	expect(FILE_V1("/x", DEST_DIR, "s"), 0, "/x/s", "v1 file to a folder");
	expect(FILE_V1("/x//", DEST_DIR, "s"), 0, "/x/s", "v1 file to a folder with slashes");
	expect(FILE_V1("/", DEST_DIR, "s"), 0, "/s", "v1 file to the root");
	expect(DIR_V1("/x", DEST_DIR, "s", false), 0, "/x/s", "v1 folder to a folder");
	expect(DIR_V1("/x", DEST_DIR, "s", true), 0, "/x", "v1 contents to a folder");
	expect(DIR_V1("/x", DEST_DIR, "", false), 0, "/x", "v1 root to a folder");
	expect(DIR_V1("/x/", DEST_MISSING, "s", false), 0, "/x", "v1 folder to a missing name");
	expect(&(struct dest_ask){.path = "/x", .there = DEST_MISSING}, 0, "/x", "legacy file");
	expect(&(struct dest_ask){.path = "/x", .there = DEST_DIR, .is_dir = true}, 0, "/x", "legacy folder");
}

int main(void)
{
	test_match();
	test_excludes();
	test_dest();
	return tap_done();
}
