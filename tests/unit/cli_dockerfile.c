/* Dockerfiles: what is refused, with which line; what words, variables, stages and instructions come to; keys of cached steps; .dockerignore. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/dockerfile/dockerfile.h"
#include "tests/unit/tap.h"

struct made {
	struct df_file d;
	struct df_plan p;
	struct df_list args;
	struct fault f;
	int err;
};

static int base(void *arg, const char *name, struct df_config *into, char id[64], struct fault *f)
{
	(void)arg, (void)f;
	if (strcmp(name, "min") != 0 && strcmp(name, "debian:12") != 0)
		return -ENOENT;
	snprintf(id, 64, "id-of-%s", name);
	into->user = strdup("web");
	into->workdir = strdup("/srv");
	df_list_adds(&into->env, "PATH=/bin");
	df_list_adds(&into->env, "LANG=C");
	df_list_adds(&into->cmd, "old");
	df_list_adds(&into->labels, "a=1");
	return 0;
}

static struct made *make(const char *text, const char *const *args, const char *target)
{
	struct made *m = calloc(1, sizeof(*m));
	struct df_ask ask = { .args = &m->args, .target = target, .image = base };
	for (; args && *args; args++)
		df_list_adds(&m->args, *args);
	m->err = df_read(&m->d, "Dockerfile", text, strlen(text), &m->f);
	if (!m->err)
		m->err = df_plan(&m->p, &m->d, &ask, &m->f);
	return m;
}

static void done(struct made *m)
{
	df_plan_done(&m->p);
	df_file_done(&m->d);
	df_list_done(&m->args);
	free(m);
}

static const struct df_stage *last(const struct made *m)
{
	return &m->p.stage[m->p.target];
}

static const char *join(const struct df_list *l)
{
	static char text[4096];
	size_t n = 0;
	text[0] = '\0';
	for (unsigned i = 0; i < l->n && n < sizeof(text) - 200; i++)
		n += (size_t)snprintf(text + n, 200, "%s%s", i ? "|" : "", l->s[i]);
	return text;
}

static void refusals(void)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
		{ "", "begins with FROM" },
		{ "# only a comment\n", "begins with FROM" },
		{ "RUN true\n", "Dockerfile:1: a Dockerfile begins with FROM" },
		{ "ARG a=1\n", "there is no FROM" },
		{ "FROM\n", "Dockerfile:1: FROM needs" },
		{ "FROM min AS\n", "FROM IMAGE AS NAME" },
		{ "FROM min as 1x\n", "a letter first" },
		{ "FROM nothing:1\n", "Dockerfile:1: FROM 'nothing:1': the store has no such image" },
		{ "FROM --platform=linux/arm64 min\n", "linux/amd64 only" },
		{ "FROM ${none}\n", "names no image" },
		{ "FROM min\n\nFORM x\n", "Dockerfile:3: 'FORM' is no instruction: is FROM meant?" },
		{ "FROM min\nONBUILD RUN x\n", "Dockerfile:2: ONBUILD is not supported: write" },
		{ "FROM min\nRUN --mount=type=cache,target=/x make\n", "Dockerfile:2: RUN --mount is not supported: leave it out" },
		{ "FROM min\nRUN --nothing x\n", "has no flag --nothing" },
		{ "FROM min\nRUN --network=host x\n", "Dockerfile:2: RUN --network=host" },
		{ "FROM min\nRUN []\n", "names no program" },
		{ "FROM min\nRUN [1]\n", "a list of strings" },
		{ "FROM min\nRUN <<EOF\nx\n", "without a line 'EOF'" },
		{ "FROM min\nRUN <<EOF\n#!/usr/bin/python3\nEOF\n", "for another interpreter" },
		{ "FROM min\nCOPY <<EOF /x\nx\nEOF\n", "Dockerfile:2: a heredoc makes no file here: write it" },
		{ "FROM min\nCOPY a\n", "needs a source and a destination" },
		{ "FROM min\nCOPY a b c\n", "end 'c' with a '/'" },
		{ "FROM min\nCOPY ../a b\n", "leads out of the folder" },
		{ "FROM min\nCOPY a/../../b c\n", "leads out of the folder" },
		{ "FROM min\nCOPY --parents a b\n", "COPY --parents is not supported: name the files" },
		{ "FROM min\nCOPY --chmod=u+x a b\n", "octal digits" },
		{ "FROM min\nCOPY --chmod=77777 a b\n", "octal digits" },
		{ "FROM min\nCOPY --chown=:x a b\n", "--chown=USER" },
		{ "FROM min\nCOPY --from= a b\n", "names a stage" },
		{ "FROM min\nCOPY --from=min a* b\n", "no wildcards" },
		{ "FROM min\n\n# c\nADD \\\n https://h/x /x\n", "Dockerfile:4: ADD of a URL is not supported: download it" },
		{ "FROM min\nENV U=http://h\nADD $U/x /x\n", "Dockerfile:3: ADD of a URL" },
		{ "FROM min\nADD --checksum=x a b\n", "ADD --checksum is not supported: download" },
		{ "FROM min\nENV a\n", "NAME=VALUE" },
		{ "FROM min\nENV a=b c\n", "NAME=VALUE" },
		{ "FROM min\nENV a=\"b\n", "a quote is not closed" },
		{ "FROM min\nENV a=${b\n", "without its '}'" },
		{ "FROM min\nENV a=${b#c}\n", "of such forms" },
		{ "FROM min\nENV a=\"${b:?is needed}\"\n", "b: is needed" },
		{ "FROM min\nENV a=${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-${b:-x}}}}}}}}}}}}}}}}}}\n", "deep" },
		{ "FROM min\nARG a-b\n", "ARG NAME" },
		{ "FROM min\nEXPOSE 70000\n", "a port is" },
		{ "FROM min\nEXPOSE 90-80\n", "a port is" },
		{ "FROM min\nSHELL /bin/sh -c\n", "needs a JSON list" },
		{ "FROM min\nHEALTHCHECK curl\n", "HEALTHCHECK NONE" },
		{ "FROM min\nUSER $none\n", "USER is empty" },
		{ "FROM min\nWORKDIR ''\n", "WORKDIR is empty" },
		{ "# escape=x\nFROM min\n", "Dockerfile:1: the escape character" },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct made *m = make(rows[i].text, NULL, NULL);
		ok(m->err && strstr(m->f.text, rows[i].said), "refused: %.*s (%s)", (int)strcspn(rows[i].text, "\n"), rows[i].text, m->f.text);
		done(m);
	}
	struct df_file d;
	struct fault f = { "" };
	ok(df_read(&d, "x", "FROM min\0", 9, &f) == -EINVAL && strstr(f.text, "zero byte"), "a zero byte");
	df_file_done(&d);
	ok(df_read(&d, "x", "", DF_BYTES_MAX + 1, &f) == -EFBIG, "more than is read");
	df_file_done(&d);
	struct made *m = make("FROM min AS a\n", NULL, "b");
	ok(m->err == -ENOENT && strstr(m->f.text, "no stage is called 'b'"), "an unknown target");
	done(m);
}

static void expand(const char *word, const char *wanted, char escape)
{
	char *env[] = { (char[]){ "a=1" }, (char[]){ "empty=" }, (char[]){ "two=x y" } };
	struct df_list l = { env, 3, 3 };
	struct df_scope scope = { .first = &l, .escape = escape };
	struct fault f = { "" };
	struct buf b;
	buf_init(&b, 1000);
	int err = df_expand(word, &scope, &b, &f);
	ok(!err && strcmp(buf_cstr(&b), wanted) == 0, "%s is %s: %s%s", word, wanted, err ? "" : buf_cstr(&b), f.text);
	buf_done(&b);
}

static void expansions(void)
{
	expand("$a${a}b", "11b", '\\');
	expand("$none-$ $1x", "-$ x", '\\');
	expand("${none:-x}${empty:-y}${empty-z}${a:-w}", "xy1", '\\');
	expand("${none:+x}${empty:+y}${empty+z}${a:+w}", "zw", '\\');
	expand("${none:-${a}/$two}", "1/x y", '\\');
	expand("${none:-\"}\"}", "}", '\\');
	expand("'$a' \"$a 'b'\" \\$a", "$a 1 'b' $a", '\\');
	expand("\"\\$a \\\" \\n\" a\\b", "$a \" \\n ab", '\\');
	expand("`$a C:\\x", "$a C:\\x", '`');
	expand("${a:?needed}${a?x}", "11", '\\');
}

static void paths(void)
{
	static const char *const rows[][3] = { { "/", "a", "/a" }, { "/a", "b/./c/", "/a/b/c" }, { "/a", "/b", "/b" }, { "/a/b", "../c", "/a/c" }, { "/a", "../../..", "/" },
		{ "/", ".", "/" }, { "/a", "", "/a" }, { "/", "//x//y", "/x/y" } };
	char out[32];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ok(df_path(rows[i][0], rows[i][1], out, sizeof(out)) == 0 && strcmp(out, rows[i][2]) == 0, "%s from %s is %s", rows[i][1], rows[i][0], out);
	ok(df_path("/", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", out, sizeof(out)) == -ENAMETOOLONG, "too long");
}

static void instructions(void)
{
	struct made *m = make("\xef\xbb\xbf# syntax=docker/dockerfile:1\r\n"
			      "FROM min\r\n"
			      "# a comment\n"
			      "run a \\\n  # within\n\n   && b   \n"
			      "RUN [\"x\", \"$PATH\"]\n"
			      "ENV A=1 B=\"two words\" C=$A\n"
			      "ENV D the rest of $B\n"
			      "USER ${A}:7\n"
			      "WORKDIR app\n"
			      "WORKDIR ../$A\n"
			      "RUN c\n"
			      "SHELL [\"/bin/ash\", \"-ec\"]\n"
			      "RUN --network=none <<EOF\n\techo $A # not a comment\nsecond\nEOF\n"
			      "RUN cat <<-'X' > /f; echo \"<<no\"\n\tbody\n\tX\n"
			      "CMD d $A\n"
			      "LABEL b=2 \"c d\"='e f'\n"
			      "MAINTAINER me <me@x>\n"
			      "EXPOSE 80 53/udp 80/tcp\n"
			      "VOLUME [\"/a b\"]\n"
			      "STOPSIGNAL SIGTERM\n"
			      "HEALTHCHECK --interval=5s CMD curl -f x\n"
			      "ENTRYPOINT [\"/e\"]\n",
			      NULL, NULL);
	const struct df_stage *s = last(m);
	const struct df_config *c = &s->config;
	ok(!m->err && m->p.n == 1 && s->base == DF_IMAGE && strcmp(s->base_id, "id-of-min") == 0 && s->n == 7, "a whole file: %s (%u steps)", m->f.text, s->n);
	if (m->err || s->n != 7) {
		done(m);
		return;
	}
	ok(strcmp(join(&s->op[0].argv), "/bin/sh|-c|a    && b") == 0 && s->op[0].line == 4, "RUN over lines: '%s' line %u", join(&s->op[0].argv), s->op[0].line);
	ok(strcmp(join(&s->op[0].env), "PATH=/bin|LANG=C") == 0 && strcmp(s->op[0].user, "web") == 0 && strcmp(s->op[0].workdir, "/srv") == 0,
	   "begins as its base says: %s %s %s", join(&s->op[0].env), s->op[0].user, s->op[0].workdir);
	ok(strcmp(join(&s->op[1].argv), "x|$PATH") == 0, "RUN [] is taken as it is");
	ok(s->op[2].kind == DF_WORKDIR && strcmp(s->op[2].dest, "/srv/app") == 0 && strcmp(s->op[3].dest, "/srv/1") == 0, "WORKDIR goes on from the last");
	ok(strcmp(join(&s->op[4].env), "PATH=/bin|LANG=C|A=1|B=two words|C=|D=the rest of two words") == 0, "ENV: %s", join(&s->op[4].env));
	ok(strcmp(s->op[4].user, "1:7") == 0 && strcmp(s->op[4].workdir, "/srv/1") == 0, "USER, WORKDIR");
	ok(strcmp(join(&s->op[5].argv), "/bin/ash|-ec|\techo $A # not a comment\nsecond\n") == 0 && s->op[5].no_network, "RUN <<EOF in another SHELL");
	ok(strcmp(s->op[6].argv.s[2], "cat <<-'X' > /f; echo \"<<no\"\nbody\nX\n") == 0, "a heredoc of the shell's own");
	ok(strcmp(join(&c->cmd), "/bin/ash|-ec|d $A") == 0 && strcmp(join(&c->entrypoint), "/e") == 0, "CMD and ENTRYPOINT: %s", join(&c->cmd));
	ok(strcmp(join(&c->labels), "a=1|b=2|c d=e f|maintainer=me <me@x>") == 0, "LABEL: %s", join(&c->labels));
	ok(strcmp(join(&c->exposed), "80/tcp|53/udp") == 0, "EXPOSE: %s", join(&c->exposed));
	ok(strcmp(join(&c->volumes), "/a b") == 0 && strcmp(c->stop_signal, "SIGTERM") == 0 && strcmp(c->healthcheck, "--interval=5s CMD curl -f x") == 0, "VOLUME, STOPSIGNAL, HEALTHCHECK");
	done(m);

	m = make("FROM min\nENTRYPOINT e\n", NULL, NULL);
	ok(!m->err && last(m)->config.cmd.n == 0, "ENTRYPOINT takes its base's CMD away");
	done(m);
	m = make("# escape=`\nFROM min\nRUN a `\n b\\\n", NULL, NULL);
	ok(!m->err && strcmp(last(m)->op[0].argv.s[2], "a  b\\") == 0, "another escape character: %s", m->f.text);
	done(m);
	m = make("FROM scratch\nCMD ['x']\nRUN x", NULL, NULL);
	ok(!m->err && strcmp(join(&last(m)->config.cmd), "/bin/sh|-c|['x']") == 0, "what is no JSON is a shell's");
	ok(!m->err && strncmp(last(m)->op[0].env.s[0], "PATH=/usr/local/sbin:", 21) == 0 && !strcmp(last(m)->op[0].workdir, "/"), "scratch begins with a PATH, in /");
	done(m);
}

static void copies(void)
{
	struct made *m = make("FROM min AS one\nFROM debian:12\nWORKDIR /w\n"
			      "COPY --chown=web:7 --chmod=0750 --link a ./b \"c d\" /x/\n"
			      "COPY . .\nADD [\"e f\", \"g\"]\nCOPY --from=one /y z\nCOPY --from=0 y /\nCOPY --from=min /y /\n",
			      NULL, NULL);
	const struct df_stage *s = last(m);
	ok(!m->err && s->n == 7, "copies: %s", m->f.text);
	if (m->err || s->n != 7) {
		done(m);
		return;
	}
	ok(strcmp(join(&s->op[1].sources), "a|b|c d") == 0 && strcmp(s->op[1].dest, "/x/") == 0, "sources %s to %s", join(&s->op[1].sources), s->op[1].dest);
	ok(strcmp(s->op[1].chown, "web:7") == 0 && s->op[1].chmod == 0750, "owner and mode");
	ok(strcmp(join(&s->op[2].sources), ".") == 0 && strcmp(s->op[2].dest, "/w/") == 0, "'.' to '.'");
	ok(s->op[3].kind == DF_ADD && strcmp(s->op[3].sources.s[0], "e f") == 0 && strcmp(s->op[3].dest, "/w/g") == 0, "as JSON");
	ok(s->op[4].from_stage == 0 && strcmp(s->op[4].sources.s[0], "y") == 0 && strcmp(s->op[4].dest, "/w/z") == 0, "from a stage");
	ok(s->op[5].from_stage == 0 && strcmp(s->op[5].dest, "/") == 0 && s->op[6].from_stage < 0 && strcmp(s->op[6].from_image, "min") == 0, "by number, from an image");
	ok(m->p.stage[0].needed, "which is needed");
	done(m);
}

static void arguments(void)
{
	static const char *const given[] = { "V=9", "http_proxy=p", "unknown=1", NULL };
	const char *text = "ARG BASE=min\nARG V\nFROM ${BASE} AS a\nARG X=1\nRUN a\nFROM nothing AS unneeded\nADD http://x y\nFROM a AS c\nARG V=2\nARG BASE\nARG TARGETARCH\nENV X=3\n"
			   "ARG X=4\nRUN $V\nLABEL v=$V-$BASE-$TARGETARCH-$X\n";
	struct made *m = make(text, given, NULL);
	const struct df_stage *s = last(m);
	ok(!m->err && m->p.n == 3 && m->p.stage[0].needed && !m->p.stage[1].needed, "stages that are not needed are not looked at: %s", m->f.text);
	ok(!m->err && strcmp(join(&s->config.labels), "a=1|v=9-min-amd64-3") == 0, "ARG, ENV before it: %s", join(&s->config.labels));
	ok(!m->err && strcmp(join(&s->op[0].env), "V=9|BASE=min|TARGETARCH=amd64|X=3|PATH=/bin|LANG=C") == 0, "RUN sees both: %s", m->err ? "" : join(&s->op[0].env));
	ok(!m->err && strcmp(join(&s->op[0].unkeyed), "http_proxy=p") == 0 && strcmp(join(&m->p.unused), "unknown") == 0, "a proxy; what no ARG wants is told");
	done(m);
	m = make(text, given, "A");
	ok(!m->err && m->p.target == 0 && !m->p.stage[2].needed, "another target");
	done(m);
}

static void key_of(const char *text, const char *content, char out[DF_KEY_MAX])
{
	struct made *m = make(text, NULL, NULL);
	df_key_begin(last(m)->base_id, "size", out);
	for (unsigned i = 0; i < last(m)->n; i++)
		df_key_next(&last(m)->op[i], content, out);
	done(m);
}

static void keys(void)
{
	static const char *const same[] = { "FROM min\nRUN a\n", "# c\nFROM min\nLABEL x=y\nRUN \\\n a\nCMD b\n", "FROM min\nEXPOSE 80\nrun   a\n" };
	static const char *const others[] = { "FROM min\nRUN b\n", "FROM debian:12\nRUN a\n", "FROM min\nENV x=y\nRUN a\n", "FROM min\nUSER x\nRUN a\n", "FROM min\nRUN a\nRUN a\n",
		"FROM min\nWORKDIR /x\nRUN a\n", "FROM min\nARG x=1\nRUN a\n", "FROM min\nRUN --network=none a\n", "FROM min\nRUN [\"/bin/sh\", \"-c\", \"a\", \"\"]\n" };
	static const char *const copied[] = { "FROM min\nCOPY a b\n", "FROM min\nCOPY a c\n", "FROM min\nCOPY --chown=1 a b\n", "FROM min\nCOPY --chmod=1 a b\n", "FROM min\nADD a b\n",
		"FROM min\nCOPY a a b/\n" };
	char first[DF_KEY_MAX], k[DF_KEY_MAX], seen[16][DF_KEY_MAX];
	key_of(same[0], "", first);
	ok(strlen(first) == 64, "a key: %s", first);
	for (size_t i = 1; i < ARRAY_LEN(same); i++) {
		key_of(same[i], "", k);
		ok(strcmp(k, first) == 0, "the same key %zu", i);
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		key_of(others[i], "", k);
		ok(strcmp(k, first) != 0, "another key: %zu", i);
	}
	for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
		bool fresh = true;
		key_of(copied[i], "digest", seen[i]);
		for (size_t n = 0; n < i; n++)
			fresh &= strcmp(seen[n], seen[i]) != 0;
		ok(fresh, "COPY's key %zu", i);
	}
	key_of(copied[0], "other", k);
	ok(strcmp(k, seen[0]) != 0, "other content, another key");
	df_key_begin("id", "other size", k);
	df_key_begin("id", "size", first);
	ok(strcmp(k, first) != 0, "other circumstances, another key");
	struct df_config a = { 0 }, b = { 0 };
	char ka[DF_KEY_MAX], kb[DF_KEY_MAX];
	df_list_adds(&a.cmd, "x");
	df_list_adds(&b.entrypoint, "x");
	df_key_image(&a, first, ka);
	df_key_image(&b, first, kb);
	ok(strcmp(ka, kb) != 0, "what an image remembers is in its own key");
	df_config_done(&a);
	df_config_done(&b);
}

static void ignores(void)
{
	static const struct {
		const char *rules, *path;
		bool ignored;
	} rows[] = {
		{ "", "a", false }, { "a", "a", true }, { "a", "b/a", false }, { "a", "a/b/c", true }, { "/a/", "a/b", true }, { "*.o", "x.o", true }, { "*.o", "d/x.o", false },
		{ "**/*.o", "d/e/x.o", true }, { "**/*.o", "x.o", true }, { "*/*.o", "d/x.o", true }, { "d/**", "d/x/y", true }, { "d/**", "d", false }, { "# a\na", "a", true },
		{ "*\n!a", "a", false }, { "*\n!a", "b", true }, { "*\n!d/keep", "d/keep", false }, { "*\n!d/keep", "d/other", true }, { "!a\na", "a", true },
		{ "d\n!d/e\nd/e/f", "d/e/f", true }, { "d\n!d/e\nd/e/f", "d/e/g", false }, { "  a  \r\n", "a", true }, { "./a", "a", true }, { "../a", "a", true },
		{ "a?[0-9]", "ab7", true }, { "a?[0-9]", "a/7", false }, { "**", "x/y", true }, { ".", "x", false }, { "\xef\xbb\xbf" "a", "a", true },
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct df_ignore g;
		struct fault f = { "" };
		int err = df_ignore_read(&g, rows[i].rules, strlen(rows[i].rules), &f);
		ok(!err && df_ignored(&g, rows[i].path) == rows[i].ignored, "rules %zu: %s is %s%s", i, rows[i].path, rows[i].ignored ? "ignored" : "kept", f.text);
		df_ignore_done(&g);
	}
	struct df_ignore g;
	struct fault f = { "" };
	ok(df_ignore_read(&g, "a\n!\n", 4, &f) == -EINVAL && strstr(f.text, ".dockerignore:2"), "'!' alone: %s", f.text);
	df_ignore_done(&g);
	ok(df_ignore_read(&g, "a\0b", 3, &f) == -EINVAL, "no text");
	df_ignore_done(&g);
}

int main(void)
{
	refusals();
	expansions();
	paths();
	instructions();
	copies();
	arguments();
	keys();
	ignores();
	return tap_done();
}
