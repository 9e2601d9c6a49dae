/* lib/tls: how a client decides to trust a server: a BearSSL X.509 engine that accepts one certificate by its SHA-256, whatever
 * else it says (no names, no dates: the fingerprint was compared by a person or came in a join string). Room card: tls.h. */
#ifndef LIB_TLS_PIN_H
#define LIB_TLS_PIN_H

#include <bearssl.h>
#include "lib/tls/tls.h"

struct tls_pin {
	const br_x509_class *vtable; /* first: BearSSL's idea of inheritance */
	uint8_t want[TLS_FINGERPRINT_BYTES];
	unsigned index;              /* of the certificate being read; only the first counts */
	bool matches;
	br_sha256_context hash;
	br_x509_decoder_context decoder;
};

void tls_pin_init(struct tls_pin *p, const uint8_t fingerprint[TLS_FINGERPRINT_BYTES]);

#endif
