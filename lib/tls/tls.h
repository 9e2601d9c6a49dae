/*
 * lib/tls: TLS 1.2 with AEAD suites only, by BearSSL, as a transformation between byte queues: no sockets and no
 * waiting. identity.c holds a certificate and its key, makes them (cert.c writes the DER) and loads an
 * operator's; tls.c runs a connection; pin.c accepts a server by the SHA-256 fingerprint of its certificate or by a
 * list of authorities. front uses the server half, cli the client half. Stands on lib/base and BearSSL. Any
 * thread, one connection in one thread at a time.
 */
#ifndef LIB_TLS_TLS_H
#define LIB_TLS_TLS_H

#include "lib/base/buf.h"

#define TLS_FINGERPRINT_BYTES 32u
#define TLS_FINGERPRINT_TEXT 96u /* "AB:CD:…" with its NUL */
#define TLS_SANS_MAX 16u
#define TLS_SESSIONS_MAX 512u
#define TLS_RECORD_MAX 16709u    /* most a record takes on the wire (RFC 5246 §6.2.3 and BearSSL's limit) */

/* ---- who a server is ---- */

struct tls_identity; /* certificate chain and private key */

/* Makes a P-256 key and a self-signed certificate good for 10 years, from now_s (seconds since 1970), for these names
 * (DNS names or IPv4 and IPv6 addresses in text, 1 to TLS_SANS_MAX). PEM of both is appended. 0 or -errno. */
int tls_identity_make(const char *const *names, unsigned n_names, uint64_t now_s, struct buf *cert_pem, struct buf *key_pem, struct fault *f);
/* An operator's PEM files: a chain, server first (at most 8), and its EC or RSA key, PKCS#1, SEC 1 or PKCS#8. */
int tls_identity_load(struct tls_identity **out, const char *cert_pem, size_t cert_len, const char *key_pem, size_t key_len, struct fault *f);
void tls_identity_free(struct tls_identity *id); /* clears the key; no connection may still use it */
/* SHA-256 of the server certificate's DER. */
void tls_identity_fingerprint(const struct tls_identity *id, uint8_t out[TLS_FINGERPRINT_BYTES]);

/* The same of the first certificate in a PEM text. 0, or -EINVAL when there is none. */
int tls_fingerprint_of_pem(const char *pem, size_t n, uint8_t out[TLS_FINGERPRINT_BYTES]);

void tls_fingerprint_text(const uint8_t fp[TLS_FINGERPRINT_BYTES], char out[TLS_FINGERPRINT_TEXT]);
/* With or without colons, any case, an optional "sha256:" before it. 0 or -EINVAL. */
int tls_fingerprint_parse(const char *s, uint8_t out[TLS_FINGERPRINT_BYTES]);

/* ---- a connection ---- */

struct tls; /* about 38 KiB, 32 of them buffers for a whole record each way, which need memory only while something is in them: tls_rest() */

/* id is borrowed and must outlive the connection. Clients that come back may resume: TLS_SESSIONS_MAX sessions are remembered with the identity,
 * the least recently used goes first. */
int tls_server_new(struct tls **out, const struct tls_identity *id);
/* server_name is sent (SNI) and, with ca_pem, checked against the certificate; it may be NULL with a fingerprint. Exactly one of
 * fingerprint and ca_pem says whom to trust. */
int tls_client_new(struct tls **out, const char *server_name, const uint8_t *fingerprint, const char *ca_pem, size_t ca_len, struct fault *f);
void tls_free(struct tls *t); /* NULL is fine */
/*
 * Moves what can be moved: eats net_in, adds to app_in (as far as its max allows), eats app_out, adds to net_out (likewise).
 * Call again after any of them changed. 0 goes on; 1 the peer ended the stream properly (app_in is complete); -EPROTO with f
 * set: broken, send what is in net_out (an alert) and close.
 */
int tls_pump(struct tls *t, struct buf *net_in, struct buf *app_in, struct buf *app_out, struct buf *net_out, struct fault *f);
/* Says that no more will be sent (close_notify); pump afterwards. */
void tls_finish(struct tls *t);
bool tls_is_up(const struct tls *t); /* the handshake is done */
/* Gives the memory of the buffers back while nothing is in them; for a connection that is quiet, with its app_out empty. madvise. */
void tls_rest(struct tls *t);

#endif
