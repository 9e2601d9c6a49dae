/* Which daemon, and which token (contract §3.1). */
#include "cli/remote.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define URL_HELP "give http://HOST:PORT, https://HOST:PORT, or the path of a unix socket"

int remote_init_socket(struct remote *r, const char *path)
{
	*r = (struct remote){ .is_unix = true, .cancel_fd = -1 };
	if (strlen(path) >= sizeof(r->path))
		return -ENAMETOOLONG;
	strcpy(r->path, path);
	strcpy(r->host_header, "unix");
	snprintf(r->where, sizeof(r->where), "the socket %s", path);
	const char *ua = compat_env("USER_AGENT");
	snprintf(r->agent, sizeof(r->agent), "%s", ua ? ua : "mica/" MICA_VERSION);
	return 0;
}

/* "~/x" and plain paths. */
static int use_socket(struct remote *r, const char *path)
{
	char full[512];
	const char *home = getenv("HOME");
	snprintf(full, sizeof(full), "%s%s", path[0] == '~' && path[1] == '/' && home ? home : "", path[0] == '~' && path[1] == '/' && home ? path + 1 : path);
	if (remote_init_socket(r, full))
		return out_error(EXIT_USAGE, "a unix socket's path has at most 107 bytes", "use a shorter path, or a link to it", "%s is too long", full);
	return 0;
}

static bool looks_like_path(const char *u)
{
	size_t n = strlen(u);
	return u[0] == '/' || !strncmp(u, "./", 2) || !strncmp(u, "../", 3) || !strncmp(u, "~/", 2) || (n > 5 && !strcmp(u + n - 5, ".sock"));
}

static int use_url(struct remote *r, const char *u)
{
	if (!strncmp(u, "unix://", 7))
		return use_socket(r, u + 7);
	if (looks_like_path(u))
		return use_socket(r, u);
	bool tls = !strncmp(u, "https://", 8);
	const char *p = tls ? u + 8 : !strncmp(u, "http://", 7) ? u + 7 : u;
	size_t n = strcspn(p, "/?#");
	const char *colon = NULL;
	if (p[0] == '[') {
		const char *close = memchr(p, ']', n);
		colon = close && close[1] == ':' ? close + 1 : NULL;
		if (!close)
			return out_error(EXIT_USAGE, "no ']' after the address", URL_HELP, "bad URL %s", u);
	} else {
		colon = memchr(p, ':', n);
	}
	size_t host = colon ? (size_t)(colon - p) : n, port = colon ? n - host - 1 : 0;
	if (!host || host >= sizeof(r->host) || port >= sizeof(r->port) || (colon && !port) || strpbrk(u, " \t\r\n@"))
		return out_error(EXIT_USAGE, "it has no host, or a port that is no number", URL_HELP, "bad URL %s", u);
	*r = (struct remote){ .cancel_fd = -1, .tls = tls };
	memcpy(r->host, p, host);
	if (colon)
		memcpy(r->port, colon + 1, port);
	else
		strcpy(r->port, tls ? "443" : "80");
	uint64_t number;
	if (parse_u64(r->port, 65535, &number) || !number)
		return out_error(EXIT_USAGE, "the port is no number from 1 to 65535", URL_HELP, "bad URL %s", u);
	snprintf(r->host_header, sizeof(r->host_header), "%s%s%s", r->host, colon ? ":" : "", colon ? r->port : "");
	snprintf(r->where, sizeof(r->where), "http%s://%s:%s", tls ? "s" : "", r->host, r->port);
	if (r->host[0] == '[') { /* getaddrinfo wants it bare */
		memmove(r->host, r->host + 1, host);
		r->host[host - 2] = 0;
	}
	const char *ua = compat_env("USER_AGENT");
	snprintf(r->agent, sizeof(r->agent), "%s", ua ? ua : "mica/" MICA_VERSION);
	return 0;
}

static bool is_loopback(const struct remote *r)
{
	return !strcmp(r->host, "localhost") || !strncmp(r->host, "127.", 4) || !strcmp(r->host, "::1");
}

static int token_from(struct remote *r, const char *path)
{
	char *text;
	size_t n;
	int err = read_file_at(AT_FDCWD, path, sizeof(r->token) - 1, &text, &n);
	if (err)
		return err;
	while (n && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
		n--;
	memcpy(r->token, text, n);
	r->token[n] = 0;
	free(text);
	return 0;
}

static int take_token(struct remote *r, const struct args *a, const struct context *c, enum place place)
{
	static const char *const names[] = { "TOKEN", "TOKEN_FILE" };
	const char *v[2] = { arg_text(a, "token"), arg_text(a, "token-file") }, *own = c && c->token[0] ? c->token : NULL;
	if (!v[0] && !v[1] && own && place == PLACE_OPTION)
		v[0] = own;
	if (!v[0] && !v[1] && !compat_env_any(names, v, 2))
		v[0] = own;
	const char *token = v[0], *file = token ? NULL : v[1];
	if (token) {
		if (strlen(token) >= sizeof(r->token) || strpbrk(token, "\r\n"))
			return out_error(EXIT_USAGE, "it is too long, or holds a line break", "", "the token cannot be used");
		strcpy(r->token, token);
		return 0;
	}
	if (file) {
		int err = token_from(r, file);
		return err ? out_error(EXIT_FAIL, strerror(-err), "check --token-file (MICA_TOKEN_FILE); 'sudo -E' keeps the environment",
			"cannot read the token file %s [E_TOKEN_READ]", file) : 0;
	}
	/* A token found by itself goes to this machine only. */
	if (r->is_unix || !is_loopback(r))
		return 0;
	char folder[512], path[600];
	if (!state_folder(folder, sizeof(folder))) {
		snprintf(path, sizeof(path), "%s/auth/token", folder);
		if (!token_from(r, path))
			return 0;
	}
	for (const char *const *t = compat_token_files; *t; t++)
		if (!token_from(r, *t))
			return 0;
	return 0;
}

/* The socket of the daemon of this user, then of the system's, when it can be opened. */
static bool default_socket(char *dst, size_t cap)
{
	char folder[512];
	if (!state_folder(folder, sizeof(folder))) {
		snprintf(dst, cap, "%s/api.sock", folder);
		if (!access(dst, R_OK | W_OK))
			return true;
	}
	snprintf(dst, cap, "/var/lib/mica/api.sock");
	return !access(dst, R_OK | W_OK);
}

/* What names a daemon, and where that was said. */
struct named {
	const char *url, *socket, *context;
	enum place place;
	char current[CONTEXT_NAME_MAX + 1]; /* what context may point to */
};

static int find_named(struct named *n, const struct args *a)
{
	static const char *const names[] = { "SOCKET", "URL", "CONTEXT" };
	const char *v[3];
	*n = (struct named){ .url = arg_text(a, "url"), .socket = arg_text(a, "socket"), .context = arg_text(a, "context"), .place = PLACE_OPTION };
	if (!n->url)
		n->url = arg_text(a, "api");
	if (!!n->url + !!n->socket + !!n->context > 1)
		return out_error(EXIT_USAGE, "both name a daemon", "give one of them", "--%s and --%s", n->url ? "url" : "socket",
			n->context ? "context" : "socket");
	if (n->url || n->socket || n->context)
		return 0;
	n->place = PLACE_ENVIRONMENT;
	if (compat_env_any(names, v, 3)) { /* the more exact one first */
		n->socket = v[0];
		n->url = v[0] ? NULL : v[1];
		n->context = v[0] || v[1] ? NULL : v[2];
		return 0;
	}
	int err = context_current(n->current);
	n->place = PLACE_CURRENT;
	n->context = err ? NULL : n->current;
	if (err == -ENOENT)
		n->place = PLACE_DEFAULT;
	return !err || err == -ENOENT ? 0 : out_error(EXIT_FAIL, strerror(-err), "'mica context use NAME', or 'mica context use local'",
		"cannot read which context is the current one");
}

/* Forgets a name that means this machine; reads any other's file. */
static int read_named(struct named *n, struct context *c)
{
	struct fault f = { "" };
	if (n->context && !strcmp(n->context, CONTEXT_LOCAL))
		n->context = NULL;
	if (!n->context)
		return 0;
	char shown[100];
	out_clean(shown, sizeof(shown), n->context);
	int err = context_read(n->context, c, &f);
	return err ? out_error(err == -ENOENT ? EXIT_USAGE : EXIT_FAIL, err == -ENOENT ? "there is no context of that name" : f.text,
		"'mica context list' shows them, 'mica context add' makes one", "cannot use the context '%s'", shown) : 0;
}

int remote_at(struct remote *r, const char *url)
{
	return use_url(r, url);
}

int remote_init(struct remote *r, const struct args *a)
{
	struct named n;
	struct context c = { 0 };
	char found[600];
	int err = find_named(&n, a);
	if (!err)
		err = read_named(&n, &c);
	if (err)
		return err;
	const char *url = n.context ? c.url : n.url, *socket = n.socket;
	if (!url && !socket && default_socket(found, sizeof(found)))
		socket = found;
	err = socket ? use_socket(r, socket) : use_url(r, url ? url : "http://127.0.0.1:8080");
	if (!err && n.context) {
		size_t at = strlen(r->where);
		snprintf(r->where + at, sizeof(r->where) - at, " (context %s)", n.context);
	}
	if (!err)
		err = remote_trust(r, a, n.context ? &c : NULL, n.place, is_loopback(r));
	if (!err)
		err = take_token(r, a, n.context ? &c : NULL, n.place);
	context_done(&c);
	return err;
}
