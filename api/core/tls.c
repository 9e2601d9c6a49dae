/*
 * The certificate of the TCP listener. core reads and keeps the files, front knows what is in them: an operator's by path, or ours in
 * tls/ of the state folder, which front makes at the first start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/core.h"
#include "lib/wire/core.h"

#define CERT_PEM_MAX 40000u /* both in one frame */
#define KEY_PEM_MAX 16000u
#define FINGERPRINT_BYTES 32u

static void forget(struct core_tls *t)
{
	if (t->key)
		explicit_bzero(t->key, t->key_len);
	free(t->cert);
	free(t->key);
	t->cert = t->key = NULL;
}

static int read_operators(struct core *c, struct fault *f)
{
	struct core_tls *t = &c->tls;
	int err = read_file_at(AT_FDCWD, c->config.tls_cert, CERT_PEM_MAX, &t->cert, &t->cert_len);

	if (err)
		return fault_set(f, err, "api.tls.cert_file '%s': %s [E_CERT_READ]", c->config.tls_cert, strerror(-err));
	err = read_file_at(AT_FDCWD, c->config.tls_key, KEY_PEM_MAX, &t->key, &t->key_len);
	return err ? fault_set(f, err, "api.tls.key_file '%s': %s [E_CERT_READ]", c->config.tls_key, strerror(-err)) : 0;
}

/* The key is written first: a certificate without one was not left by us. */
static int read_ours(struct core *c, struct fault *f)
{
	struct core_tls *t = &c->tls;
	int err;

	if (mkdirat(c->state_fd, "tls", 0755) && errno != EEXIST)
		return fault_errno(f, -errno, "tls in the state folder");
	t->dir_fd = openat(c->state_fd, "tls", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (t->dir_fd < 0 || fchmod(t->dir_fd, 0755)) /* the state folder around it says who may come in */
		return fault_errno(f, -errno, "tls in the state folder");
	err = read_file_at(t->dir_fd, "cert.pem", CERT_PEM_MAX, &t->cert, &t->cert_len);
	if (err == -ENOENT)
		return 0;
	if (!err)
		err = read_file_at(t->dir_fd, "key.pem", KEY_PEM_MAX, &t->key, &t->key_len);
	return err ? fault_set(f, err, "tls/cert.pem and tls/key.pem in the state folder: %s; remove both to have new ones made [E_CERT_READ]", strerror(-err)) : 0;
}

int core_tls_read(struct core *c, struct fault *f)
{
	int err = c->config.tls_cert ? read_operators(c, f) : read_ours(c, f);

	c->tls.wanted = !err;
	return err;
}

static int keep(struct core *c, const struct wire_msg *m, struct fault *f)
{
	struct wire_field cert, key;
	int err;

	if (!wire_get(m, C_T_CERT, &cert) || !wire_get(m, C_T_KEY, &key))
		return fault_set(f, -EPROTO, "front made no certificate");
	err = write_file_atomic(c->tls.dir_fd, "key.pem", key.p, key.n, 0600);
	if (!err)
		err = write_file_atomic(c->tls.dir_fd, "cert.pem", cert.p, cert.n, 0644);
	if (!err && fchmodat(c->tls.dir_fd, "cert.pem", 0644, 0)) /* not a secret, and the umask took others' right to read */
		err = -errno;
	return err ? fault_errno(f, err, "tls in the state folder") : 0;
}

static void say_fingerprint(struct core *c, const struct wire_msg *m)
{
	char text[3 * FINGERPRINT_BYTES + 1] = "";
	struct wire_field fp;

	if (!wire_get(m, C_T_FINGERPRINT, &fp) || fp.n != FINGERPRINT_BYTES)
		return;
	for (unsigned i = 0; i < FINGERPRINT_BYTES; i++)
		snprintf(text + 3 * i, 4, "%02X:", fp.p[i]);
	text[3 * FINGERPRINT_BYTES - 1] = 0;
	core_say(c, "TLS", "%s", text);
}

static void on_front_has_it(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct core *c = arg;
	struct fault f = { "" };
	bool made = !c->tls.cert;
	int err = peer_result(m, "front", &f, NULL);

	(void)fds; (void)n_fds;
	forget(&c->tls);
	if (!m) /* core ends with it */
		return;
	if (!err && made)
		err = keep(c, m, &f);
	if (err) {
		core_say(c, "FATAL", "%s: %s", c->config.tls_cert ? "api.tls.cert_file and key_file" : "the certificate in tls of the state folder", f.text);
		c->exit_code = 1;
		ev_stop(c->loop);
		return;
	}
	say_fingerprint(c, m);
	c->tls.ready = true;
	core_serve(c);
}

/* Whom the certificate is for: clients that go by names, not by the fingerprint. */
static void put_names(struct core *c, struct buf *b)
{
	char host[254] = "";

	wire_str(b, C_T_NAME, "localhost");
	wire_str(b, C_T_NAME, "127.0.0.1");
	wire_str(b, C_T_NAME, "::1");
	if (c->config.bind_addr && strcmp(c->config.bind_host, "127.0.0.1") != 0)
		wire_str(b, C_T_NAME, c->config.bind_host);
	if (gethostname(host, sizeof(host) - 1) == 0 && host[0] && strcmp(host, "localhost") != 0)
		wire_str(b, C_T_NAME, host);
}

static void on_changed(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct core *c = arg;
	struct fault f = { "" };

	(void)fds; (void)n_fds;
	if (peer_result(m, "front", &f, NULL))
		core_say(c, "NOTE", "the API keeps its certificate: %s", f.text);
	else
		say_fingerprint(c, m);
}

void core_tls_change(struct core *c, const struct wire_msg *m)
{
	struct wire_field cert, key;
	struct buf *b;

	if (!c->tls.ready || !wire_get(m, C_T_CERT, &cert) || !wire_get(m, C_T_KEY, &key))
		return;
	b = peer_begin(&c->front, C_TLS);
	wire_bytes(b, C_T_CERT, cert.p, cert.n);
	wire_bytes(b, C_T_KEY, key.p, key.n);
	if (peer_call(&c->front, NULL, 0, on_changed, c))
		core_say(c, "NOTE", "the API keeps its certificate: it and the key must stay below 60 KB");
}

void core_tls_start(struct core *c)
{
	struct core_tls *t = &c->tls;
	struct buf *b = peer_begin(&c->front, C_TLS);
	int err;

	if (c->config.tls_cert) { /* the supervisor reads them again when it is told to */
		core_say(c, "CERTFILE", "%s", c->config.tls_cert);
		core_say(c, "KEYFILE", "%s", c->config.tls_key);
	}
	if (t->cert) {
		wire_bytes(b, C_T_CERT, t->cert, t->cert_len);
		wire_bytes(b, C_T_KEY, t->key, t->key_len);
	} else {
		put_names(c, b);
		wire_u64(b, C_T_NOW_S, now_real_ns() / 1000000000u);
	}
	err = peer_call(&c->front, NULL, 0, on_front_has_it, c);
	if (err) {
		core_say(c, "FATAL", "front takes no certificate: %s", strerror(-err));
		c->exit_code = 1;
		ev_stop(c->loop);
	}
}
