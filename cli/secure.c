/* https: whom to trust, the handshake, and a call's bytes through TLS. */
#include "cli/out.h"
#include "cli/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDSHAKE_MS 20000
#define NET_MAX (256u << 10)
#define CERT_FILE_MAX (1u << 20)

/* ---- trust ---- */

static int take_ca(struct remote *r, const char *path)
{
	int err = read_file_at(AT_FDCWD, path, CERT_FILE_MAX, &r->ca, &r->ca_len);
	return err ? out_error(EXIT_FAIL, strerror(-err), "check --ca-file (MICA_CA_FILE)", "cannot read the authorities in %s", path) : 0;
}

static int take_fingerprint(struct remote *r, const char *text)
{
	r->pinned = true;
	return tls_fingerprint_parse(text, r->fingerprint) ? out_error(EXIT_USAGE, "it is a SHA-256: 32 pairs of hex digits, with or without colons",
		"copy it from what 'mica up' prints: --fingerprint AB:CD:… (MICA_FINGERPRINT)", "the fingerprint cannot be used") : 0;
}

/* The file beside this user's daemon, or the system's. */
static bool take_local(struct remote *r)
{
	char folder[512], path[600], *text;
	size_t n;
	if (state_folder(folder, sizeof(folder)))
		return false;
	snprintf(path, sizeof(path), "%s/tls/cert.pem", folder);
	int err = read_file_at(AT_FDCWD, path, CERT_FILE_MAX, &text, &n);
	if (err)
		err = read_file_at(AT_FDCWD, "/var/lib/mica/tls/cert.pem", CERT_FILE_MAX, &text, &n);
	if (err)
		return false;
	r->pinned = !tls_fingerprint_of_pem(text, n, r->fingerprint);
	free(text);
	return r->pinned;
}

/* What the context says; false: nothing. */
static bool take_context(struct remote *r, struct context *c, int *code)
{
	if (!c || (!c->fingerprint[0] && !c->ca))
		return false;
	*code = c->ca ? 0 : take_fingerprint(r, c->fingerprint);
	r->ca = c->ca; /* ours now */
	r->ca_len = c->ca_len;
	c->ca = NULL;
	return true;
}

static bool take_variables(struct remote *r, int *code)
{
	static const char *const names[] = { "FINGERPRINT", "CA_FILE" };
	const char *v[2];
	if (!compat_env_any(names, v, 2))
		return false;
	*code = v[0] ? take_fingerprint(r, v[0]) : take_ca(r, v[1]);
	return true;
}

int remote_trust(struct remote *r, const struct args *a, struct context *c, enum place place, bool is_loopback)
{
	const char *fingerprint = arg_text(a, "fingerprint"), *ca = arg_text(a, "ca-file");
	int code;
	if (!r->tls)
		return fingerprint || ca ? out_error(EXIT_USAGE, "only https:// has a certificate to check", "give --url https://HOST:PORT with it",
			"--%s does not fit %s", fingerprint ? "fingerprint" : "ca-file", r->where) : 0;
	if (fingerprint && ca)
		return out_error(EXIT_USAGE, "each says whom to trust", "give one of them", "--fingerprint and --ca-file");
	if (fingerprint || ca)
		return fingerprint ? take_fingerprint(r, fingerprint) : take_ca(r, ca);
	if (place == PLACE_OPTION && take_context(r, c, &code))
		return code;
	if (take_variables(r, &code) || take_context(r, c, &code))
		return code;
	if (is_loopback && take_local(r))
		return 0;
	return out_error(EXIT_USAGE, "nothing says which certificate is the right one",
		"give --fingerprint (MICA_FINGERPRINT) with what 'mica up' prints there, or --ca-file (MICA_CA_FILE)", "cannot trust %s", r->where);
}

/* ---- bytes ---- */

static int pump(struct call *c, struct fault *f)
{
	int how = tls_pump(c->tls, &c->net_in, &c->in, &c->out, &c->net_out, f);
	if (how == 1)
		c->eof = true;
	return how < 0 ? how : 0;
}

/* The queue towards the socket is bounded: what it takes makes room for more. When it is empty after a pump, TLS holds nothing back. */
int secure_flush(struct call *c)
{
	int err = pump(c, NULL);
	while (!err && buf_len(&c->net_out)) {
		err = buf_write_fd(&c->net_out, c->fd);
		if (!err)
			err = pump(c, NULL);
	}
	if (c->eof) /* it takes nothing more */
		buf_clear(&c->out);
	return err;
}

int secure_fill(struct call *c, size_t n)
{
	ssize_t got = buf_read_fd(&c->net_in, c->fd, n);
	if (got == -EAGAIN || got == -EINTR)
		return 0;
	if (got < 0 && got != -ECONNRESET)
		return (int)got;
	int err = pump(c, NULL);
	if (got <= 0 && !c->eof)
		c->eof = c->eof_cut = true;
	return err;
}

static int wait_peer(struct call *c, uint64_t end_ms)
{
	struct pollfd p[2] = {
		{ .fd = c->fd, .events = (short)(POLLIN | (buf_len(&c->net_out) ? POLLOUT : 0)) },
		{ .fd = c->r->cancel_fd, .events = POLLIN },
	};
	uint64_t now = now_mono_ms();
	int n = now < end_ms ? poll(p, 2, (int)(end_ms - now)) : 0;
	if (n == 0)
		return -ETIMEDOUT;
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[1].revents)
		return -ECANCELED;
	ssize_t got = p[0].revents & (POLLIN | POLLHUP | POLLERR) ? buf_read_fd(&c->net_in, c->fd, 16384) : -EAGAIN;
	if (got == 0)
		return -ECONNRESET;
	return got < 0 && got != -EAGAIN ? (int)got : 0;
}

static int handshake(struct call *c, struct fault *f)
{
	uint64_t end_ms = now_mono_ms() + HANDSHAKE_MS;
	for (;;) {
		int err = pump(c, f), broken = err;
		if (buf_len(&c->net_out))
			err = buf_write_fd(&c->net_out, c->fd);
		if (broken || c->eof)
			return broken ? -EKEYREJECTED : fault_set(f, -EKEYREJECTED, "the server ended TLS at once");
		if (tls_is_up(c->tls) && !buf_len(&c->net_out))
			return 0;
		if (!err || err == -EAGAIN)
			err = wait_peer(c, end_ms);
		if (err)
			return fault_errno(f, err, "TLS");
	}
}

int secure_open(struct call *c, struct fault *f)
{
	const struct remote *r = c->r;
	buf_init(&c->net_in, NET_MAX);
	buf_init(&c->net_out, NET_MAX);
	int err = tls_client_new(&c->tls, r->host, r->pinned ? r->fingerprint : NULL, r->ca, r->ca_len, f);
	return err ? err : handshake(c, f);
}
