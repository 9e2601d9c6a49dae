/* agent/: requests decoded, paths resolved. */
#include "agent/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/tap.h"

static struct who ubuntu = {.uid = 1000, .gid = 1000, .name = "ubuntu", .home = "/home/ubuntu", .shell = "/bin/bash"};
static struct fault why;
static struct buf b;
static size_t mark;

static void begin(uint16_t type)
{
	buf_done(&b);
	buf_init(&b, FRAME_MAX);
	mark = wire_begin(&b, type, 0);
}

static int parse(struct command *c)
{
	struct wire_msg m;
	size_t used;
	wire_end(&b, mark);
	why.text[0] = '\0';
	if (wire_parse(buf_data(&b), buf_len(&b), &m, &used) < 0)
		return -EPROTO;
	return command_parse(c, &m, &ubuntu, &why);
}

static const char *env_of(const struct command *c, const char *name)
{
	size_t n = strlen(name);
	for (char **e = c->envp; *e; e++)
		if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
			return *e + n + 1;
	return NULL;
}

static void refuse(int want, const char *what)
{
	struct command c;
	int rc = parse(&c);
	ok(rc == want && why.text[0], "%s: %s", what, why.text);
	command_done(&c);
}

static void test_refusals(void)
{
	begin(A_EXEC);
	refuse(-EINVAL, "no command");
	begin(A_EXEC);
	wire_bytes(&b, A_T_CMD, "a\0b", 3);
	refuse(-EINVAL, "NUL in the command");
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, "x");
	wire_bytes(&b, A_T_ARG, "a\0b", 3);
	refuse(-EINVAL, "NUL in an argument");
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, "x");
	wire_str(&b, A_T_ENV, "PATH");
	refuse(-EINVAL, "a variable without =");
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, "x");
	wire_str(&b, A_T_ENV, "=v");
	refuse(-EINVAL, "a variable without a name");
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, "x");
	for (unsigned i = 0; i <= AGENT_ARGS_MAX; i++)
		wire_str(&b, A_T_ARG, "");
	refuse(-E2BIG, "too many arguments");
	static const char *const cwds[] = {"..", "../x", "/a/../b", "/a/..", "~/.."};
	for (size_t i = 0; i < ARRAY_LEN(cwds); i++) {
		begin(A_EXEC);
		wire_str(&b, A_T_CMD, "x");
		wire_str(&b, A_T_CWD, cwds[i]);
		refuse(-EINVAL, cwds[i]);
	}
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, "x");
	wire_str(&b, A_T_CWD, "~root/x");
	refuse(-EINVAL, "another user's home");
}

static void test_command(void)
{
	struct command c;
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, "ls");
	wire_str(&b, A_T_ARG, "-l");
	wire_str(&b, A_T_ARG, "");
	wire_str(&b, A_T_ENV, "HOME=/x");
	wire_str(&b, A_T_ENV, "NEW=1=2");
	wire_str(&b, A_T_ENV, "PATH=/only");
	ok(parse(&c) == 0, "a plain command");
	ok(!strcmp(c.path, "ls") && !strcmp(c.argv[0], "ls") && !strcmp(c.argv[1], "-l") && !strcmp(c.argv[2], "") && !c.argv[3], "its arguments");
	ok(!strcmp(env_of(&c, "HOME"), "/x") && !strcmp(env_of(&c, "NEW"), "1=2") && !strcmp(env_of(&c, "USER"), "ubuntu"), "its environment");
	ok(!strcmp(c.search, "/only"), "its own PATH is searched");
	ok(!strcmp(c.cwd, "/home/ubuntu") && !c.cwd_given, "home is where it starts");
	command_done(&c);
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, "echo $X;");
	wire_str(&b, A_T_ARG, "it's");
	wire_str(&b, A_T_ARG, "");
	wire_str(&b, A_T_SHELL, "/bin/ash");
	ok(parse(&c) == 0 && !strcmp(c.argv[0], "/bin/ash") && !strcmp(c.argv[1], "-lc") && !strcmp(c.argv[2], "echo $X; 'it'\\''s' ''") && !c.argv[3],
	   "with a shell: %s", c.argv[2]);
	command_done(&c);
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, "x");
	wire_str(&b, A_T_SHELL, "");
	ok(parse(&c) == 0 && !strcmp(c.argv[0], "/bin/bash"), "an empty shell is the user's own");
	command_done(&c);
	char quotes[15000];
	memset(quotes, '\'', sizeof quotes - 1);
	quotes[sizeof quotes - 1] = '\0';
	begin(A_EXEC);
	wire_str(&b, A_T_CMD, quotes);
	wire_str(&b, A_T_ARG, quotes);
	wire_str(&b, A_T_ARG, quotes);
	wire_str(&b, A_T_SHELL, "/bin/sh");
	ok(parse(&c) == 0 && strlen(c.argv[2]) == 14999u * 9 + 6, "quoting at its longest");
	command_done(&c);
	begin(A_SHELL);
	ok(parse(&c) == 0 && !strcmp(c.path, "/bin/bash") && !strcmp(c.argv[0], "-bash") && !c.argv[1] && env_of(&c, "TERM"), "a login shell");
	command_done(&c);
}

static void test_paths(void)
{
	char out[PATH_MAX], dir[PATH_MAX], longest[PATH_MAX + 10];
	const char *leaf;
	ok(path_resolve("", &ubuntu, out, &why) == -EINVAL, "an empty path");
	ok(path_resolve("~x", &ubuntu, out, &why) == -EINVAL, "~x");
	memset(longest, 'a', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	ok(path_resolve(longest, &ubuntu, out, &why) == -ENAMETOOLONG, "a path too long");
	ok(path_resolve("~", &ubuntu, out, &why) == 0 && !strcmp(out, "/home/ubuntu"), "~");
	ok(path_resolve("~/a", &ubuntu, out, &why) == 0 && !strcmp(out, "/home/ubuntu/a"), "~/a");
	ok(path_resolve("a", &ubuntu, out, &why) == 0 && !strcmp(out, "/home/ubuntu/a"), "a relative path starts at home");
	ok(path_resolve("/a", &ubuntu, out, &why) == 0 && !strcmp(out, "/a"), "an absolute one at the root");
	ok(path_has_dotdot("a/../b") && path_has_dotdot("..") && !path_has_dotdot("a..b/...") && !path_has_dotdot(""), "dot-dot is seen");
	path_split("/a/b", dir, &leaf);
	ok(!strcmp(dir, "/a") && !strcmp(leaf, "b"), "split");
	path_split("/a", dir, &leaf);
	ok(!strcmp(dir, "/") && !strcmp(leaf, "a"), "split at the root");
}

int main(void)
{
	test_refusals();
	test_command();
	test_paths();
	buf_done(&b);
	return tap_done();
}
