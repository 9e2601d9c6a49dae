/* join: what another machine needs to reach this one's daemon, as one word to paste. */
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/out.h"
#include "cli/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct opt join_opts[] = {
	{ "host", 0, OPT_TEXT, "NAME", "name or address others reach this machine by (default: where the API listens, or this machine's name)" },
	{ "port", 0, OPT_NUMBER, "N", "port they reach it at (default: the API's)" },
	{ "token", 0, OPT_TEXT, "TOKEN", "token to hand over, such as one of 'mica token create' (default: the daemon's own)" },
	{ "token-file", 0, OPT_TEXT, "PATH", "file with that token" },
	{ "state", 0, OPT_TEXT, "DIR", "the daemon's folder (MICA_STATE; default as 'mica up')" },
	{ 0 },
};

/* The value of the line that begins with key, in place; NULL: none. */
static char *line_of(char *text, const char *key)
{
	size_t n = strlen(key);
	for (char *p = text; p && *p; p = strchr(p, '\n'), p += p ? 1 : 0)
		if (!strncmp(p, key, n)) {
			p[strcspn(p, "\n")] = 0;
			return p + n;
		}
	return NULL;
}

struct where {
	char host[256];
	uint64_t port;
};

/* "…/api.sock https://0.0.0.0:8080 …": the first HTTPS address. */
static int take_https(const char *addresses, struct where *w)
{
	const char *p = strstr(addresses, "https://");
	if (!p)
		return -ENOENT;
	p += strlen("https://");
	char text[300];
	size_t n = strcspn(p, " ");
	if (n >= sizeof(text))
		return -EINVAL;
	memcpy(text, p, n);
	text[n] = 0;
	char *colon = strrchr(text, ':');
	if (!colon || parse_u64(colon + 1, 65535, &w->port))
		return -EINVAL;
	*colon = 0;
	bool bracketed = text[0] == '[';
	text[strcspn(text, "]")] = 0;
	snprintf(w->host, sizeof(w->host), "%s", text + bracketed);
	return 0;
}

static int choose_host(struct where *w, const char *given)
{
	bool loopback = !strncmp(w->host, "127.", 4) || !strcmp(w->host, "::1") || !strcmp(w->host, "localhost");
	bool any = !w->host[0] || !strcmp(w->host, "0.0.0.0") || !strcmp(w->host, "::");
	if (given && (!*given || strlen(given) >= sizeof(w->host) - 2 || strpbrk(given, " /@?#\t\r\n")))
		return out_error(EXIT_USAGE, "it is no name or address", "--host mica.example.com", "--host=%s", given);
	if (given)
		strcpy(w->host, given);
	else if (loopback)
		return out_error(EXIT_FAIL, "its API listens on this machine alone",
			"set api.bind_address to an address others reach (0.0.0.0: all), or give --host "
			"when something carries connections here", "nobody else can join %s:%llu", w->host, (unsigned long long)w->port);
	else if (any && gethostname(w->host, sizeof(w->host) - 1))
		return out_error(EXIT_FAIL, strerror(errno), "give --host", "this machine has no name");
	return 0;
}

static int read_state(const char *folder, char **text)
{
	char path[PATH_MAX + 16];
	size_t n;
	snprintf(path, sizeof(path), "%s/%s", folder, STACK_LISTEN_FILE);
	int err = read_file_at(AT_FDCWD, path, 65536, text, &n);
	return err ? out_error(EXIT_FAIL, err == -ENOENT ? "no daemon runs with that folder" : strerror(-err),
		err == -EACCES ? "use sudo" : "start it with 'mica up --tls', or give --state", "cannot read %s", path) : 0;
}

static int take_token(const struct args *a, const char *folder, struct context *c)
{
	const char *token = arg_text(a, "token"), *file = arg_text(a, "token-file");
	char path[PATH_MAX + 16], *text;
	size_t n;
	if (token && file)
		return out_error(EXIT_USAGE, "each is a token", "give one of them", "--token and --token-file");
	snprintf(path, sizeof(path), "%s/auth/token", folder);
	int err = token ? 0 : read_file_at(AT_FDCWD, file ? file : path, sizeof(c->token) - 1, &text, &n);
	if (err == -ENOENT && !file)
		return 0; /* a fixed token of the config, or none */
	if (err)
		return out_error(EXIT_FAIL, strerror(-err), "use sudo, or give --token-file", "cannot read the token in %s", file ? file : path);
	snprintf(c->token, sizeof(c->token), "%s", token ? token : text);
	c->token[strcspn(c->token, "\r\n")] = 0;
	if (!token) {
		explicit_bzero(text, n);
		free(text);
	}
	return 0;
}

static int fill(const struct args *a, struct context *c)
{
	char folder[PATH_MAX], *text = NULL;
	struct where w = { "", 0 };
	const char *given = arg_text(a, "state");
	int code = given ? (strlen(given) < sizeof(folder) ? 0 : EXIT_USAGE) : state_folder(folder, sizeof(folder)) ? EXIT_FAIL : 0;
	if (code)
		return out_error(code, "no HOME, or a path that is too long", "give --state", "which daemon's folder?");
	if (given)
		strcpy(folder, given);
	code = read_state(folder, &text);
	if (code)
		return code;
	const char *print = line_of(text, "TLS ");
	snprintf(c->fingerprint, sizeof(c->fingerprint), "%s", print ? print : "");
	const char *addresses = line_of(text, "API ");
	if (!print || !addresses || take_https(addresses, &w))
		code = out_error(EXIT_FAIL, "its API has no HTTPS", "start it with 'mica up --tls', or set api.tls in its config",
			"a token must not go over the network in the clear");
	free(text);
	if (!code)
		code = choose_host(&w, arg_text(a, "host"));
	w.port = arg_u64(a, "port", w.port);
	if (!code && (!w.port || w.port > 65535))
		code = out_error(EXIT_USAGE, "a port is a number from 1 to 65535", "--port 8080", "--port=%llu", (unsigned long long)w.port);
	bool six = strchr(w.host, ':') && w.host[0] != '[';
	snprintf(c->url, sizeof(c->url), "https://%s%s%s:%llu", six ? "[" : "", w.host, six ? "]" : "", (unsigned long long)w.port);
	return code ? code : take_token(a, folder, c);
}

static int run_join(struct args *a)
{
	static struct context c;
	struct buf b;
	int code = fill(a, &c);
	if (code)
		return code;
	buf_init(&b, JOIN_MAX);
	code = join_make(&c, &b) || !buf_cstr(&b) ? out_error(EXIT_FAIL, "the token is too long", "use a shorter one",
		"there is no room for it in a join string") : 0;
	if (!code) {
		printf("%s\n", buf_cstr(&b));
		fflush(stdout);
		out_note("for %s%s. There: mica context add NAME 'mica-join:…' --use. It carries %s: pass it on as you would a password.", c.url,
			 arg_text(a, "host") ? "" : " (another name: --host)", c.token[0] ? "the token" : "no token (none is in the daemon's folder)");
		explicit_bzero(b.mem, b.cap);
	}
	buf_done(&b);
	context_done(&c);
	return code;
}

const struct cmd cmd_join = { .name = "join", .summary = "Print address, fingerprint and token of this machine's daemon as one word for 'mica context add'",
	.opts = join_opts, .examples = "sudo mica join --host mica.example.com\nssh host sudo mica join | mica context add office - --use",
	.command_at = -1, .run = run_join };
