#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/copy.h"
#include "cli/files.h"
#include "cli/out.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct opt opts[] = {
	{ "flag", 'f', OPT_FLAG, NULL, "" }, { "text", 't', OPT_TEXT, "T", "" }, { "list", 'l', OPT_LIST, "L", "" }, { "num", 'n', OPT_NUMBER, "N", "" },
	{ "time", 0, OPT_DURATION, "T", "" }, { "size", 0, OPT_SIZE, "S", "" }, { 0 },
};
static const struct cmd plain = { .name = "x", .opts = opts, .max_pos = -1, .command_at = -1 };
static const struct cmd one = { .name = "x", .opts = opts, .min_pos = 1, .max_pos = 1, .command_at = -1 };
static const struct cmd passes = { .name = "x", .opts = opts, .min_pos = 2, .max_pos = -1, .command_at = 1, .flags = CMD_REMOTE };

static struct args a;

/* words: blanks between */
static int parse(const struct cmd *c, const char *words)
{
	static char text[256], *argv[32];
	int n = 0;
	args_done(&a);
	snprintf(text, sizeof(text), "%s", words);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
		argv[n++] = w;
	return args_parse(&a, c, n, argv);
}

static void options(void)
{
	unsigned i = 0;
	ok(!parse(&plain, "a -f --text=x --list 1 -l2 -n 3 --time 1m30s --size=2K b --list=4"), "every kind");
	ok(a.n_pos == 2 && !strcmp(a.pos[1], "b"), "positionals between");
	ok(arg_flag(&a, "flag", false) && !strcmp(arg_text(&a, "text"), "x") && arg_u64(&a, "num", 0) == 3, "values");
	ok(arg_u64(&a, "time", 0) == 90000 && arg_u64(&a, "size", 0) == 2048 && arg_u64(&a, "none", 7) == 7, "units");
	ok(!strcmp(arg_next(&a, "list", &i), "1") && !strcmp(arg_next(&a, "list", &i), "2") && !strcmp(arg_next(&a, "list", &i), "4")
		&& !arg_next(&a, "list", &i), "lists in order");
	ok(!parse(&plain, "--flag=false --no-flag") && !arg_flag(&a, "flag", true), "a flag can be false");
	ok(!parse(&plain, "-- --flag -x") && a.n_pos == 2 && !arg_flag(&a, "flag", false), "after -- nothing is an option");
	ok(!parse(&plain, "-") && a.n_pos == 1, "a dash alone is an argument");
	ok(!parse(&passes, "vm --text T cmd --flag -- -x") && a.n_pos == 5 && !strcmp(a.pos[2], "--flag") && !strcmp(a.pos[3], "--"),
		"what follows the command is its own");
	ok(!parse(&passes, "vm --url u -- cmd --url v") && !strcmp(arg_text(&a, "url"), "u") && a.n_pos == 4, "connection options");
	ok(!parse(&one, "--help") && a.want_help, "--help needs no arguments");
	static const char *const bad[] = { "--nope", "-z", "--num x", "--num -1", "--time 5", "--size x", "--flag=maybe", "--text", "-t",
		"--num 99999999999999999999", "--no-text" };
	for (size_t k = 0; k < ARRAY_LEN(bad); k++)
		ok(parse(&plain, bad[k]) == EXIT_USAGE, "refused: %s", bad[k]);
	ok(parse(&one, "") == EXIT_USAGE && parse(&one, "a b") == EXIT_USAGE && parse(&passes, "vm") == EXIT_USAGE, "too few, too many");
	ok(parse(&plain, "--url u") == EXIT_USAGE, "--url is no option of a local command");
	args_done(&a);
}

static bool says(uint64_t v, const char *want)
{
	char w[WORDS_MAX];
	return !strcmp(words_bytes(v, w), want);
}

static bool age(uint64_t v, const char *want)
{
	char w[WORDS_MAX];
	return !strcmp(words_age(v, w), want);
}

static void words(void)
{
	char clean[16];
	ok(says(0, "0B") && says(1023, "1023B") && says(1024, "1KiB") && says(1536, "1.5KiB") && says(4ull << 30, "4GiB") && says(UINT64_MAX, "15.9EiB"), "sizes");
	ok(age(5, "5s") && age(190, "3m10s") && age(7500, "2h5m") && age(356400, "4d3h"), "ages");
	uint64_t today = rfc3339_age_s("2026-01-01T00:00:00Z");
	ok(today > 86400 && rfc3339_age_s("2026-01-01T01:00:00.123+01:00") == today && rfc3339_age_s("never") == 0, "times");
	out_clean(clean, sizeof(clean), "a\033[31mb\n");
	ok(!strcmp(clean, "a?[31mb?"), "no control characters reach the terminal");
}

static void frames(void)
{
	struct buf scratch;
	struct json json = { 0 };
	struct exec_frame f;
	buf_init(&scratch, 65536);
#define FRAME(s) exec_frame_read((s), sizeof(s) - 1, &json, &scratch, &f)
	ok(!FRAME("{\"type\":\"stdout\",\"encoding\":\"base64\",\"stdout\":\"AAEC\",\"exit_code\":0}") && f.type == FRAME_STDOUT && f.n == 3
		&& !memcmp(f.data, "\0\1\2", 3), "base64");
	ok(!FRAME("{\"stdout\":\"x\",\"exit_code\":0}") && f.type == FRAME_STDOUT && f.n == 1, "untyped text");
	ok(!FRAME("{\"type\":\"stderr\",\"stderr\":\"e\"}") && f.type == FRAME_STDERR, "stderr");
	ok(!FRAME("{\"type\":\"exit\",\"exit_code\":300}") && f.type == FRAME_EXIT && f.exit_code == 255, "an exit code that cannot be");
	ok(!FRAME("{\"error\":\"gone\",\"exit_code\":1}") && f.type == FRAME_ERROR && !strcmp(f.error, "gone"), "error");
	ok(!FRAME("{\"type\":\"started\"}") && f.type == FRAME_STARTED && !FRAME("{}") && f.type == FRAME_OTHER, "started, unknown");
	ok(FRAME("[1]") == -EPROTO && FRAME("{") == -EPROTO && FRAME("{\"stdout\":\"!\",\"encoding\":\"base64\"}") == -EPROTO, "refused");
	buf_done(&scratch);
	json_done(&json);
}

static void paths(void)
{
	char base[256], folder[64], mem[256];
	const char *name;
	bool contents;
	copy_base("a/b/c//", base, &contents);
	ok(!strcmp(base, "c") && !contents, "last component");
	copy_base("a/.", base, &contents);
	ok(!*base && contents, "what is inside");
	ok(!split_path("/x", folder, sizeof(folder), &name, mem) && !strcmp(folder, "/") && !strcmp(name, "x"), "in the root");
	ok(!split_path("x//", folder, sizeof(folder), &name, mem) && !strcmp(folder, ".") && !strcmp(name, "x"), "here");
	ok(!split_path("a/b//c", folder, sizeof(folder), &name, mem) && !strcmp(folder, "a/b") && !strcmp(name, "c"), "deeper");
	ok(split_path("/", folder, sizeof(folder), &name, mem) == -EINVAL && split_path("", folder, sizeof(folder), &name, mem) == -EINVAL, "no name");
	char top[] = "/tmp/mica-files.XXXXXX", deep[64];
	if (!mkdtemp(top))
		return;
	snprintf(deep, sizeof(deep), "%s/a/b/c", top);
	ok(!make_folders(deep, 0755) && !make_folders(deep, 0755), "folders");
	snprintf(deep, sizeof(deep), "%s/a/link", top);
	ok(!symlink("/etc", deep) && !remove_tree(AT_FDCWD, top) && access(top, F_OK) && !access("/etc/passwd", F_OK), "a tree goes, what a link points at stays");
	ok(!remove_tree(AT_FDCWD, top), "what is not there is gone");
}

int main(void)
{
	int out = dup(2), null = open("/dev/null", O_WRONLY);
	dup2(null, 2); /* the refusals' texts */
	options();
	dup2(out, 2);
	words();
	frames();
	paths();
	return tap_done();
}
