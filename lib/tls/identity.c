#include "lib/tls/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DER_MAX = 65536 };

struct pem_sink {
	struct buf der;
};

static void collect(void *arg, const void *p, size_t n)
{
	buf_add(&((struct pem_sink *)arg)->der, p, n);
}

int tls_pem_each(const char *pem, size_t n, int (*fn)(void *arg, const char *banner, const uint8_t *der, size_t len), void *arg)
{
	br_pem_decoder_context d;
	struct pem_sink sink;
	int err = 0;
	bool open = false;
	buf_init(&sink.der, DER_MAX);
	br_pem_decoder_init(&d);
	while (n && !err) {
		size_t used = br_pem_decoder_push(&d, pem, n);
		pem += used;
		n -= used;
		switch (br_pem_decoder_event(&d)) {
		case BR_PEM_BEGIN_OBJ:
			buf_clear(&sink.der);
			br_pem_decoder_setdest(&d, collect, &sink);
			open = true;
			break;
		case BR_PEM_END_OBJ:
			err = sink.der.failed ? -E2BIG : fn(arg, br_pem_decoder_name(&d), buf_data(&sink.der), buf_len(&sink.der));
			open = false;
			break;
		case BR_PEM_ERROR:
			err = -EINVAL;
			break;
		default:
			break;
		}
	}
	if (sink.der.mem)
		explicit_bzero(sink.der.mem, sink.der.cap);
	buf_done(&sink.der);
	return err ? err : open ? -EINVAL : 0;
}

void tls_sha256(const void *p, size_t n, uint8_t out[32])
{
	br_sha256_context h;
	br_sha256_init(&h);
	br_sha256_update(&h, p, n);
	br_sha256_out(&h, out);
}

static int take_certificate(void *arg, const char *banner, const uint8_t *der, size_t len)
{
	struct tls_identity *id = arg;
	if (strcmp(banner, "CERTIFICATE") != 0 && strcmp(banner, "X509 CERTIFICATE") != 0)
		return 0;
	if (id->n == TLS_CHAIN_MAX)
		return -E2BIG;
	uint8_t *copy = malloc(len ? len : 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, der, len);
	id->chain[id->n++] = (br_x509_certificate){.data = copy, .data_len = len};
	return 0;
}

static int hash_first(void *arg, const char *banner, const uint8_t *der, size_t len)
{
	if (strcmp(banner, "CERTIFICATE") != 0 && strcmp(banner, "X509 CERTIFICATE") != 0)
		return 0;
	tls_sha256(der, len, arg);
	return 1;
}

int tls_fingerprint_of_pem(const char *pem, size_t n, uint8_t out[TLS_FINGERPRINT_BYTES])
{
	return tls_pem_each(pem, n, hash_first, out) == 1 ? 0 : -EINVAL;
}

static int take_key(void *arg, const char *banner, const uint8_t *der, size_t len)
{
	struct tls_identity *id = arg;
	size_t n = strlen(banner);
	if (n < 11 || strcmp(banner + n - 11, "PRIVATE KEY") != 0)
		return 0;
	br_skey_decoder_init(&id->keys);
	br_skey_decoder_push(&id->keys, der, len);
	if (br_skey_decoder_last_error(&id->keys))
		return -EKEYREJECTED;
	return 1;
}

/* The certificate's own key must be the one given, or every handshake would fail with a riddle. */
static int check_match(struct tls_identity *id, struct fault *f)
{
	br_x509_decoder_context d;
	br_x509_decoder_init(&d, NULL, NULL);
	br_x509_decoder_push(&d, id->chain[0].data, id->chain[0].data_len);
	const br_x509_pkey *pk = br_x509_decoder_get_pkey(&d);
	if (!pk)
		return fault_set(f, -EINVAL, "the first certificate cannot be read [E_CERT_BAD]");
	id->issuer_key_type = (unsigned)br_x509_decoder_get_signer_key_type(&d);
	if (!id->is_rsa && pk->key_type == BR_KEYTYPE_EC) {
		uint8_t point[BR_EC_KBUF_PUB_MAX_SIZE];
		br_ec_public_key pub;
		if (br_ec_compute_pub(br_ec_get_default(), &pub, point, &id->key.ec) == pk->key.ec.qlen && memcmp(point, pk->key.ec.q, pk->key.ec.qlen) == 0)
			return 0;
	} else if (id->is_rsa && pk->key_type == BR_KEYTYPE_RSA) {
		uint8_t modulus[1024];
		size_t n = br_rsa_compute_modulus_get_default()(NULL, &id->key.rsa);
		if (n && n <= sizeof modulus && br_rsa_compute_modulus_get_default()(modulus, &id->key.rsa) == pk->key.rsa.nlen &&
		    memcmp(modulus, pk->key.rsa.n, pk->key.rsa.nlen) == 0)
			return 0;
	}
	return fault_set(f, -EINVAL, "the private key does not belong to the first certificate [E_CERT_KEY]");
}

static int load(struct tls_identity *id, const char *cert_pem, size_t cert_len, const char *key_pem, size_t key_len, struct fault *f)
{
	int err = tls_pem_each(cert_pem, cert_len, take_certificate, id);
	if (err || id->n == 0)
		return fault_set(f, err ? err : -EINVAL, "the certificate file is not PEM with 1 to %u certificates [E_CERT_BAD]", TLS_CHAIN_MAX);
	err = tls_pem_each(key_pem, key_len, take_key, id);
	if (err != 1)
		return fault_set(f, err ? err : -EINVAL, "the key file holds no private key that can be read (PEM, not encrypted, EC or RSA) [E_CERT_BAD]");
	switch (br_skey_decoder_key_type(&id->keys)) {
	case BR_KEYTYPE_EC:
		id->key.ec = *br_skey_decoder_get_ec(&id->keys);
		break;
	case BR_KEYTYPE_RSA:
		id->is_rsa = true;
		id->key.rsa = *br_skey_decoder_get_rsa(&id->keys);
		break;
	default:
		return fault_set(f, -EINVAL, "the private key is neither EC nor RSA [E_CERT_BAD]");
	}
	return check_match(id, f);
}

int tls_identity_load(struct tls_identity **out, const char *cert_pem, size_t cert_len, const char *key_pem, size_t key_len, struct fault *f)
{
	struct tls_identity *id = calloc(1, sizeof *id);
	if (id)
		id->sessions = malloc(sizeof *id->sessions);
	int err = id && id->sessions ? load(id, cert_pem, cert_len, key_pem, key_len, f) : fault_set(f, -ENOMEM, "out of memory");
	if (err) {
		tls_identity_free(id);
		return err;
	}
	br_ssl_session_cache_lru_init(&id->sessions->cache, id->sessions->store, sizeof id->sessions->store);
	*out = id;
	return 0;
}

void tls_identity_free(struct tls_identity *id)
{
	if (!id)
		return;
	for (unsigned i = 0; i < id->n; i++)
		free(id->chain[i].data);
	if (id->sessions)
		explicit_bzero(id->sessions, sizeof *id->sessions); /* master secrets */
	free(id->sessions);
	explicit_bzero(id, sizeof *id);
	free(id);
}

void tls_identity_fingerprint(const struct tls_identity *id, uint8_t out[TLS_FINGERPRINT_BYTES])
{
	tls_sha256(id->chain[0].data, id->chain[0].data_len, out);
}

void tls_fingerprint_text(const uint8_t fp[TLS_FINGERPRINT_BYTES], char out[TLS_FINGERPRINT_TEXT])
{
	static const char digits[] = "0123456789ABCDEF";
	char *o = out;
	for (unsigned i = 0; i < TLS_FINGERPRINT_BYTES; i++) {
		*o++ = digits[fp[i] >> 4];
		*o++ = digits[fp[i] & 15];
		*o++ = ':';
	}
	o[-1] = '\0';
}

int tls_fingerprint_parse(const char *s, uint8_t out[TLS_FINGERPRINT_BYTES])
{
	char hex[2 * TLS_FINGERPRINT_BYTES + 1];
	size_t n = 0;
	if (strncasecmp(s, "sha256:", 7) == 0)
		s += 7;
	for (; *s; s++) {
		if (*s == ':')
			continue;
		if (n == sizeof hex - 1)
			return -EINVAL;
		hex[n++] = *s;
	}
	hex[n] = '\0';
	return n == sizeof hex - 1 ? hex_decode(hex, out, TLS_FINGERPRINT_BYTES) : -EINVAL;
}
