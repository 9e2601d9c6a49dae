/* lib/tls: what a loaded identity looks like inside the room. Room card: tls.h. */
#ifndef LIB_TLS_IDENTITY_H
#define LIB_TLS_IDENTITY_H

#include <bearssl.h>
#include "lib/tls/tls.h"

#define TLS_CHAIN_MAX 8u

/* What servers of an identity remember of their clients: 100 bytes each, touched as they are used. */
struct tls_sessions {
	br_ssl_session_cache_lru cache;
	uint8_t store[TLS_SESSIONS_MAX * 100];
};

struct tls_identity {
	br_x509_certificate chain[TLS_CHAIN_MAX]; /* data is owned */
	unsigned n;
	bool is_rsa;
	union {
		br_rsa_private_key rsa;
		br_ec_private_key ec;
	} key;                                    /* points into `keys` */
	br_skey_decoder_context keys;
	struct tls_sessions *sessions;            /* owned; written by connections: one thread */
	unsigned issuer_key_type;                 /* BR_KEYTYPE_* of who signed the server certificate */
};

/* Calls fn for each PEM object of the text with its banner and DER; stops at the first nonzero answer and returns it. -EINVAL:
 * not PEM. -E2BIG: an object over 64 KiB. */
int tls_pem_each(const char *pem, size_t n, int (*fn)(void *arg, const char *banner, const uint8_t *der, size_t len), void *arg);
void tls_sha256(const void *p, size_t n, uint8_t out[32]);

#endif
