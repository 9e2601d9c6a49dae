/* context: daemons by name; and join, which prints what another machine needs to reach this one's. */
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct opt add_opts[] = {
	{ "url", 0, OPT_TEXT, "URL", "https://HOST:PORT, http://HOST:PORT or a socket path, instead of a join string" },
	{ "fingerprint", 0, OPT_TEXT, "SHA256", "https: of the daemon's certificate, as it prints it" },
	{ "ca-file", 0, OPT_TEXT, "PATH", "https: authorities to trust instead; copied" },
	{ "token", 0, OPT_TEXT, "TOKEN", "bearer token (others can see it in the list of processes)" },
	{ "token-file", 0, OPT_TEXT, "PATH", "file that holds the token; copied (-: standard input)" },
	{ "use", 0, OPT_FLAG, NULL, "make it the current one at once" },
	{ "force", 0, OPT_FLAG, NULL, "replace one of the same name" },
	{ 0 },
};

static const struct opt json_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print JSON (never a token)" },
	{ 0 },
};
static const struct opt list_opts[] = {
	{ "json", 0, OPT_FLAG, NULL, "print JSON (never a token)" },
	{ "quiet", 'q', OPT_FLAG, NULL, "names only" },
	{ 0 },
};

static int check_name(const char *name)
{
	char shown[100];
	out_clean(shown, sizeof(shown), name);
	if (!strcmp(name, CONTEXT_LOCAL))
		return out_error(EXIT_USAGE, "that is the name of this machine's own daemon", "choose another name", "'%s' is always there", shown);
	return context_name_valid(name) ? 0 : out_error(EXIT_USAGE,
		"it has letters, digits, '.', '_' and '-', at most 64 of them, and begins with none of '.-'",
		"mica context add office …", "'%s' is no name for a context", shown);
}

static int no_context(int err, const struct fault *f, const char *doing, const char *name)
{
	return out_error(EXIT_FAIL, err == -ENOENT ? "there is no context of that name" : f->text, err == -ENOENT ? "'mica context list' shows them"
		: "check ~/.config/mica/contexts and its permissions", "cannot %s '%s'", doing, name);
}

/* Standard input or a file, its last line breaks cut. */
static int read_small(const char *path, char *dst, size_t cap, const char *what)
{
	bool in = !strcmp(path, "-");
	AUTO_FD fd = in ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : read_full(fd, dst, cap);
	if (n >= (ssize_t)cap || (n >= 0 && memchr(dst, 0, (size_t)n)))
		n = -EFBIG;
	if (n < 0)
		return out_error(EXIT_FAIL, n == -EFBIG ? "it is too long to be one" : strerror((int)-n), "check the path and its permissions",
			"cannot read %s from %s", what, in ? "standard input" : path);
	while (n && (dst[n - 1] == '\n' || dst[n - 1] == '\r' || dst[n - 1] == ' '))
		n--;
	dst[n] = 0;
	return 0;
}

static int take_token(const struct args *a, struct context *c)
{
	const char *token = arg_text(a, "token"), *file = arg_text(a, "token-file");
	if (token && file)
		return out_error(EXIT_USAGE, "each is a token", "give one of them", "--token and --token-file");
	if (file)
		return read_small(file, c->token, sizeof(c->token), "a token");
	if (token && (strlen(token) >= sizeof(c->token) || strpbrk(token, "\r\n")))
		return out_error(EXIT_USAGE, "it is too long, or holds a line break", "", "the token cannot be used");
	if (token)
		strcpy(c->token, token);
	return 0;
}

static int take_trust(const struct args *a, struct context *c)
{
	const char *fingerprint = arg_text(a, "fingerprint"), *ca = arg_text(a, "ca-file");
	uint8_t digest[TLS_FINGERPRINT_BYTES];
	if (fingerprint && ca)
		return out_error(EXIT_USAGE, "each says whom to trust", "give one of them", "--fingerprint and --ca-file");
	if (fingerprint) {
		if (tls_fingerprint_parse(fingerprint, digest))
			return out_error(EXIT_USAGE, "it is a SHA-256: 32 pairs of hex digits, with or without colons", "copy it from what 'mica up' prints",
				"the fingerprint cannot be used");
		tls_fingerprint_text(digest, c->fingerprint);
	}
	if (!ca)
		return 0;
	c->fingerprint[0] = 0; /* also a join string's */
	int err = read_file_at(AT_FDCWD, ca, 512u << 10, &c->ca, &c->ca_len);
	return err ? out_error(EXIT_FAIL, strerror(-err), "check --ca-file", "cannot read the authorities in %s", ca) : 0;
}

/* The address, given or joined, is one we can use, and says whom to trust exactly where that is needed. */
static int check_address(const struct context *c)
{
	struct remote r = { .is_unix = false };
	int code = remote_at(&r, c->url);
	bool trusts = c->fingerprint[0] || c->ca;
	if (!code && r.tls && !trusts)
		code = out_error(EXIT_USAGE, "nothing says which certificate is the right one",
			"add --fingerprint with what 'mica up' prints there, or --ca-file",
			"cannot trust %s", c->url);
	if (!code && !r.tls && trusts)
		code = out_error(EXIT_USAGE, "only https:// has a certificate to check", "--url https://HOST:PORT",
			"a fingerprint or authority does not fit %s", c->url);
	bool here = r.is_unix || !strncmp(r.host, "127.", 4) || !strcmp(r.host, "localhost") || !strcmp(r.host, "::1");
	if (!code && !r.tls && !here && c->token[0])
		out_note("mica: the token will go to %s in the clear; HTTPS there ('mica up --tls') keeps it secret", c->url);
	if (!code && (r.is_unix && c->url[0] != '/' && c->url[0] != '~'))
		code = out_error(EXIT_USAGE, "it would mean another file in every folder", "give the whole path", "'%s' is a relative path", c->url);
	return code;
}

static int take_join(const char *text, struct context *c)
{
	static char given[JOIN_MAX];
	struct fault f = { "" };
	uint8_t digest[TLS_FINGERPRINT_BYTES];
	if (!strcmp(text, "-")) {
		int code = read_small("-", given, sizeof(given), "a join string");
		if (code)
			return code;
		text = given;
	}
	if (join_read(text, c, &f))
		return out_error(EXIT_USAGE, f.text, "copy all of what 'mica join' prints there, in quotes", "the join string cannot be used");
	return c->fingerprint[0] && tls_fingerprint_parse(c->fingerprint, digest) ? out_error(EXIT_USAGE, "its fingerprint is none",
		"copy what 'mica join' prints there", "the join string cannot be used") : 0;
}

static int gather(const struct args *a, struct context *c)
{
	const char *url = arg_text(a, "url");
	if (!url == (a->n_pos < 2))
		return out_error(EXIT_USAGE, url ? "--url and a join string both name a daemon" : "neither a join string nor --url is given",
			"mica context add NAME 'mica-join:v1:…' (printed by 'mica join' on the daemon's host), or mica context add NAME --url URL",
				"where is the daemon?");
	int code = url ? 0 : take_join(a->pos[1], c);
	if (url && strlen(url) >= sizeof(c->url))
		code = out_error(EXIT_USAGE, "a URL here has at most 299 bytes", "use a shorter one", "the URL is too long");
	else if (url)
		strcpy(c->url, url);
	if (!code)
		code = take_trust(a, c);
	if (!code)
		code = take_token(a, c);
	return code ? code : check_address(c);
}

static int run_add(struct args *a)
{
	static struct context c;
	struct fault f = { "" };
	int code = check_name(a->pos[0]);
	if (!code)
		code = gather(a, &c);
	int err = code ? 0 : context_write(a->pos[0], &c, arg_flag(a, "force", false), &f);
	if (err)
		code = out_error(EXIT_FAIL, f.text,
			err == -EEXIST ? "--force replaces it; 'mica context show' tells what it is" : "check ~/.config/mica and its permissions",
			"cannot add the context '%s'", a->pos[0]);
	if (!code && arg_flag(a, "use", false) && context_use(a->pos[0], &f))
		code = no_context(-EIO, &f, "use", a->pos[0]);
	if (!code)
		printf("%s added: %s%s\n", a->pos[0], c.url, arg_flag(a, "use", false) ? ", now the current one" : "");
	context_done(&c);
	return code;
}

static int run_use(struct args *a)
{
	struct fault f = { "" };
	struct context c = { 0 };
	const char *name = a->pos[0];
	bool local = !strcmp(name, CONTEXT_LOCAL);
	char shown[100];
	out_clean(shown, sizeof(shown), name);
	int err = local ? 0 : context_read(name, &c, &f);
	context_done(&c);
	if (!err)
		err = context_use(local ? NULL : name, &f);
	if (err)
		return no_context(err, &f, "use", shown);
	printf("%s is the current context\n", shown);
	return 0;
}

static int run_remove(struct args *a)
{
	int code = 0;
	for (int i = 0; i < a->n_pos; i++) {
		struct fault f = { "" };
		char shown[100];
		out_clean(shown, sizeof(shown), a->pos[i]);
		int err = context_remove(a->pos[i], &f);
		if (err)
			code = no_context(err, &f, "remove", shown);
		else
			printf("%s removed\n", shown);
	}
	return code;
}

/* ---- list, show ---- */

static const char *trust_of(const struct context *c)
{
	return c->fingerprint[0] ? "fingerprint" : c->ca ? "ca" : "-";
}

static void put_one(struct json_out *o, const char *name, const struct context *c, bool current)
{
	json_obj(o, NULL);
	json_put_str(o, "name", name);
	json_put_bool(o, "current", current);
	json_put_str(o, "url", c->url);
	if (c->fingerprint[0])
		json_put_str(o, "fingerprint", c->fingerprint);
	json_put_bool(o, "ca", c->ca != NULL);
	json_put_bool(o, "token", c->token[0] != 0);
	json_end(o);
}

struct listing {
	bool json, quiet;
	struct table t;
	struct json_out o;
	const char *current;
};

static void list_one(struct listing *l, const char *name, const struct context *c)
{
	bool current = !strcmp(name, l->current);
	char url[sizeof(c->url)];
	out_clean(url, sizeof(url), c->url);
	if (l->json) {
		put_one(&l->o, name, c, current);
	} else if (l->quiet) {
		puts(name);
	} else {
		table_cell(&l->t, "%s", current ? "*" : "");
		table_cell(&l->t, "%s", name);
		table_cell(&l->t, "%s", url);
		table_cell(&l->t, "%s", trust_of(c));
		table_cell(&l->t, "%s", c->token[0] ? "yes" : "-");
	}
}

static int run_list(struct args *a)
{
	static const char *const titles[] = { "", "NAME", "URL", "TRUST", "TOKEN" };
	struct listing l = { .json = arg_flag(a, "json", false), .quiet = arg_flag(a, "quiet", false) };
	struct context c = { .url = "this machine's daemon" };
	char current[CONTEXT_NAME_MAX + 1] = CONTEXT_LOCAL, **names;
	struct fault f = { "" };
	struct buf b;
	size_t n;
	if (context_current(current))
		strcpy(current, CONTEXT_LOCAL);
	l.current = current;
	int err = context_list(&names, &n), code = 0;
	if (err)
		return out_error(EXIT_FAIL, strerror(-err), "check ~/.config/mica/contexts and its permissions", "cannot list the contexts");
	buf_init(&b, 1u << 20);
	json_out_init(&l.o, &b);
	json_arr(&l.o, NULL);
	if (!l.json && !l.quiet)
		table_init(&l.t, ARRAY_LEN(titles), titles);
	list_one(&l, CONTEXT_LOCAL, &c);
	for (size_t i = 0; i < n; i++) {
		err = context_read(names[i], &c, &f);
		if (err)
			code = no_context(err, &f, "read", names[i]);
		else
			list_one(&l, names[i], &c);
		context_done(&c);
	}
	json_end(&l.o);
	if (l.json)
		printf("%s\n", buf_cstr(&b));
	else if (!l.quiet)
		table_print(&l.t, stdout);
	buf_done(&b);
	free(names);
	return code;
}

static int run_show(struct args *a)
{
	struct context c;
	struct fault f = { "" };
	char current[CONTEXT_NAME_MAX + 1] = "", shown[100], url[sizeof(c.url)], print[TLS_FINGERPRINT_TEXT];
	bool have = !context_current(current);
	const char *name = a->n_pos ? a->pos[0] : have ? current : CONTEXT_LOCAL;
	out_clean(shown, sizeof(shown), name);
	if (!strcmp(name, CONTEXT_LOCAL)) {
		c = (struct context){ .url = "this machine's daemon" };
	} else {
		int err = context_read(name, &c, &f);
		if (err)
			return no_context(err, &f, "show", shown);
	}
	if (arg_flag(a, "json", false)) {
		struct buf b;
		struct json_out o;
		buf_init(&b, 65536);
		json_out_init(&o, &b);
		put_one(&o, name, &c, have ? !strcmp(name, current) : !strcmp(name, CONTEXT_LOCAL));
		printf("%s\n", buf_cstr(&b));
		buf_done(&b);
	} else {
		out_clean(url, sizeof(url), c.url);
		out_clean(print, sizeof(print), c.fingerprint);
		printf("Name:         %s\nURL:          %s\nFingerprint:  %s\nAuthorities:  %s\nToken:        %s\n", shown, url,
			print[0] ? print : "-", c.ca ? "yes" : "-",
		       c.token[0] ? "yes" : "-");
	}
	context_done(&c);
	return 0;
}

const struct cmd cmd_context_add = { .group = "context", .name = "add", .synopsis = "NAME JOIN|--url URL", .opts = add_opts,
	.summary = "Keep the address, fingerprint and token of a daemon under a name",
	.examples = "mica context add office 'mica-join:v1:…' --use          (printed by 'mica join' on that host)\n"
		    "ssh host sudo mica join | mica context add office -\n"
		    "mica context add lab --url https://lab:8080 --fingerprint AB:CD:… --token-file ./token",
	.min_pos = 1, .max_pos = 2, .command_at = -1, .run = run_add };
const struct cmd cmd_context_use = { .group = "context", .name = "use", .synopsis = "NAME|local",
	.summary = "Make a context the one that commands talk to; local: this machine's daemon again",
	.examples = "mica context use office\nmica context use local", .min_pos = 1, .max_pos = 1, .command_at = -1, .run = run_use };
const struct cmd cmd_context_list = { .group = "context", .name = "list", .aliases = "ls", .summary = "List the contexts; * marks the current one",
	.opts = list_opts,
	.examples = "mica context list\nmica context list --json", .command_at = -1, .run = run_list };
const struct cmd cmd_context_show = { .group = "context", .name = "show", .synopsis = "[NAME]",
	.summary = "Show a context (default: the current one)", .opts = json_opts,
	.examples = "mica context show\nmica context show office --json", .max_pos = 1, .command_at = -1, .run = run_show };
const struct cmd cmd_context_remove = { .group = "context", .name = "remove", .aliases = "rm delete", .synopsis = "NAME…",
	.summary = "Forget contexts and their tokens",
	.examples = "mica context remove office", .min_pos = 1, .max_pos = -1, .command_at = -1, .run = run_remove };
