/* api: where the daemon listens and who may ask. */
#include <string.h>

#include "api/core/config_int.h"

#define PORT_DEFAULT 8080u
#define TOKEN_MIN 16u
#define TOKEN_MAX 512u

static bool is_socket_path(const char *s)
{
	size_t n = strlen(s);

	return strchr(s, '/') || (n > 5 && strcmp(s + n - 5, ".sock") == 0);
}

static int check_token(struct checking *x)
{
	const struct yaml_str *t = &x->k->api.auth.token;

	if (!t->line)
		return 0;
	if (strlen(t->v) < TOKEN_MIN || strlen(t->v) > TOKEN_MAX)
		return REFUSE(x, t->line, "api.auth.token must have %u to %u characters: remove it to have one made", TOKEN_MIN, TOKEN_MAX);
	for (const char *p = t->v; *p; p++)
		if (*p <= ' ' || *p > '~')
			return REFUSE(x, t->line, "api.auth.token may hold printable ASCII without blanks only");
	x->c->token = t->v;
	return 0;
}

/* A name for what is missing before strangers may reach the API. */
static int check_exposed(struct checking *x, const char *host, unsigned line)
{
	if (x->c->bind_addr >> 24 == 127)
		return 0;
	if (!x->c->tcp_auth)
		return REFUSE(x, x->k->api.auth.enabled.line, "api.auth.enabled: false on %s would let anybody on the network run commands: enable it, or "
			      "bind 127.0.0.1", host);
	if (!x->c->tls)
		return REFUSE(x, line, "the API on %s would be plain HTTP, and the token could be read on the way: add 'tls: {enabled: true}' to api, start "
			      "with 'mica up --tls', or bind 127.0.0.1", host);
	return 0;
}

static int check_tls(struct checking *x)
{
	const struct keys_tls *k = &x->k->api.tls;
	struct config *c = x->c;

	if (k->cert_file.line && !k->key_file.line)
		return REFUSE(x, k->cert_file.line, "api.tls.cert_file needs api.tls.key_file beside it");
	if (k->key_file.line && !k->cert_file.line)
		return REFUSE(x, k->key_file.line, "api.tls.key_file needs api.tls.cert_file beside it");
	c->tls = k->enabled.line ? k->enabled.v || x->host->tls : k->cert_file.line || x->host->tls;
	if (k->cert_file.line) {
		c->tls_cert = k->cert_file.v;
		c->tls_key = k->key_file.v;
	}
	return 0;
}

static int check_tcp(struct checking *x, const char *host, unsigned line)
{
	const struct keys_api *k = &x->k->api;
	struct config *c = x->c;
	int r = check_tls(x);

	if (r)
		return r;
	if (strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	if (addr_parse(host, &c->bind_addr))
		return REFUSE(x, line, "api.bind_address '%.100s' must be an IPv4 address or the path of a socket", host);
	c->bind_host = host;
	c->port = (uint16_t)(k->port.line ? k->port.v : PORT_DEFAULT);
	c->tcp_auth = k->auth.enabled.line ? k->auth.enabled.v : true;
	if (!c->port)
		return REFUSE(x, k->port.line, "api.port 0 is no port: use 1 to 65535, or a socket path as api.bind_address");
	return check_exposed(x, host, line);
}

int config_check_api(struct checking *x)
{
	const struct keys_api *k = &x->k->api;
	const char *bind = k->bind_address.line ? k->bind_address.v : "127.0.0.1";
	unsigned line = k->bind_address.line;
	int r = check_token(x);

	if (r)
		return r;
	x->c->api_line = line;
	x->c->port_line = k->port.line;
	x->c->socket_auth = k->auth.enabled.line && k->auth.enabled.v;
	if (is_socket_path(bind)) {
		x->c->socket = bind;
		if (k->socket.line && strcmp(k->socket.v, bind) != 0)
			return REFUSE(x, k->socket.line, "api.socket and api.bind_address name two sockets: remove one");
		if (k->port.line)
			config_note(x, k->port.line, "api.port is not used: api.bind_address is a socket");
		if (k->tls.line)
			config_note(x, k->tls.line, "api.tls is not used: api.bind_address is a socket");
		return 0;
	}
	if (k->socket.line)
		x->c->socket = k->socket.v;
	return check_tcp(x, bind, line);
}
