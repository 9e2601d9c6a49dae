/* A self-signed server certificate: X.509 v3 (RFC 5280) with subjectAltName, ecdsa-with-SHA256 on P-256 (RFC 5758, RFC 5480). */
#include "lib/tls/tls.h"

#include <arpa/inet.h>
#include <bearssl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/tls/der.h"

enum { CERT_MAX = 8192, YEARS_10_S = 315360000, PUBLIC_KEY_BYTES = 65 };

void der_put(struct buf *b, uint8_t tag, const void *p, size_t n)
{
	uint8_t head[4] = {tag};
	size_t k = 1;
	if (n >= 256) {
		head[k++] = 0x82;
		head[k++] = (uint8_t)(n >> 8);
	} else if (n >= 128) {
		head[k++] = 0x81;
	}
	head[k++] = (uint8_t)n;
	buf_add(b, head, k);
	buf_add(b, p, n);
}

size_t der_open(struct buf *b, uint8_t tag)
{
	size_t mark = buf_len(b);
	buf_add(b, &tag, 1);
	return mark;
}

void der_close(struct buf *b, size_t mark)
{
	if (b->failed)
		return;
	size_t n = buf_len(b) - mark - 1;
	uint8_t head[3];
	size_t k = n >= 256 ? 3 : n >= 128 ? 2 : 1;
	if (!buf_room(b, k))
		return;
	if (k == 3)
		head[0] = 0x82, head[1] = (uint8_t)(n >> 8);
	else if (k == 2)
		head[0] = 0x81;
	head[k - 1] = (uint8_t)n;
	uint8_t *at = buf_data(b) + mark + 1;
	memmove(at + k, at, n);
	memcpy(at, head, k);
	buf_grew(b, k);
}

static const uint8_t oid_ecdsa_sha256[] = {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02};
static const uint8_t oid_ec_key[] = {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01}, oid_p256[] = {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03}, oid_san[] = {0x55, 0x1D, 0x11}, oid_basic[] = {0x55, 0x1D, 0x13};
static const uint8_t oid_key_usage[] = {0x55, 0x1D, 0x0F}, oid_ext_usage[] = {0x55, 0x1D, 0x25};
static const uint8_t oid_server_auth[] = {0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01};

static void algorithm(struct buf *b)
{
	size_t s = der_open(b, DER_SEQ);
	der_put(b, DER_OID, oid_ecdsa_sha256, sizeof oid_ecdsa_sha256);
	der_close(b, s);
}

static void common_name(struct buf *b, const char *name)
{
	size_t all = der_open(b, DER_SEQ), set = der_open(b, DER_SET), pair = der_open(b, DER_SEQ);
	der_put(b, DER_OID, oid_common_name, sizeof oid_common_name);
	der_put(b, DER_UTF8, name, strlen(name));
	der_close(b, pair);
	der_close(b, set);
	der_close(b, all);
}

/* Up to 2049 as UTCTime, later as GeneralizedTime: RFC 5280 §4.1.2.5 leaves no choice. */
static void validity_time(struct buf *b, uint64_t s)
{
	char text[32];
	struct tm tm;
	time_t t = (time_t)s;
	gmtime_r(&t, &tm);
	size_t n = strftime(text, sizeof text, "%Y%m%d%H%M%SZ", &tm);
	if (tm.tm_year < 150)
		der_put(b, DER_UTC_TIME, text + 2, n - 2); /* without the century */
	else
		der_put(b, DER_TIME, text, n);
}

static void extension(struct buf *b, const uint8_t *oid, size_t oid_n, bool critical, const void *value, size_t n)
{
	static const uint8_t yes = 0xFF;
	size_t s = der_open(b, DER_SEQ);
	der_put(b, DER_OID, oid, oid_n);
	if (critical)
		der_put(b, 0x01, &yes, 1);
	der_put(b, DER_OCTETS, value, n);
	der_close(b, s);
}

static void alt_names(struct buf *b, const char *const *names, unsigned n)
{
	size_t ext = der_open(b, DER_SEQ);
	der_put(b, DER_OID, oid_san, sizeof oid_san);
	size_t octets = der_open(b, DER_OCTETS), list = der_open(b, DER_SEQ);
	for (unsigned i = 0; i < n; i++) {
		uint8_t ip[16];
		if (inet_pton(AF_INET, names[i], ip) == 1)
			der_put(b, 0x87, ip, 4); /* [7] iPAddress */
		else if (inet_pton(AF_INET6, names[i], ip) == 1)
			der_put(b, 0x87, ip, 16);
		else
			der_put(b, 0x82, names[i], strlen(names[i])); /* [2] dNSName */
	}
	der_close(b, list);
	der_close(b, octets);
	der_close(b, ext);
}

static void to_be_signed(struct buf *b, const char *const *names, unsigned n, uint64_t now_s, const uint8_t *public_key, const uint8_t serial[16])
{
	static const uint8_t v3[] = {0x02, 0x01, 0x02}, no_ca[] = {0x30, 0x00}, signing[] = {0x03, 0x02, 0x07, 0x80};
	uint8_t usage[2 + 2 + sizeof oid_server_auth] = {DER_SEQ, 2 + sizeof oid_server_auth, DER_OID, sizeof oid_server_auth};
	memcpy(usage + 4, oid_server_auth, sizeof oid_server_auth);
	size_t all = der_open(b, DER_SEQ);
	der_put(b, 0xA0, v3, sizeof v3);
	der_put(b, DER_INT, serial, 16);
	algorithm(b);
	common_name(b, "mica");
	size_t validity = der_open(b, DER_SEQ);
	validity_time(b, now_s > 86400 ? now_s - 86400 : 0); /* a client's clock may be a little behind */
	validity_time(b, now_s + YEARS_10_S);
	der_close(b, validity);
	common_name(b, "mica");
	size_t key = der_open(b, DER_SEQ), alg = der_open(b, DER_SEQ);
	der_put(b, DER_OID, oid_ec_key, sizeof oid_ec_key);
	der_put(b, DER_OID, oid_p256, sizeof oid_p256);
	der_close(b, alg);
	uint8_t bits[1 + PUBLIC_KEY_BYTES] = {0};
	memcpy(bits + 1, public_key, PUBLIC_KEY_BYTES);
	der_put(b, DER_BITS, bits, sizeof bits);
	der_close(b, key);
	size_t exts = der_open(b, 0xA3), list = der_open(b, DER_SEQ);
	extension(b, oid_basic, sizeof oid_basic, true, no_ca, sizeof no_ca);
	extension(b, oid_key_usage, sizeof oid_key_usage, true, signing, sizeof signing);
	extension(b, oid_ext_usage, sizeof oid_ext_usage, false, usage, sizeof usage);
	alt_names(b, names, n);
	der_close(b, list);
	der_close(b, exts);
	der_close(b, all);
}

static int sign(struct buf *cert, struct buf *tbs, const br_ec_private_key *key)
{
	uint8_t hash[32], signature[1 + 80] = {0};
	br_sha256_context h;
	br_sha256_init(&h);
	br_sha256_update(&h, buf_data(tbs), buf_len(tbs));
	br_sha256_out(&h, hash);
	size_t n = br_ecdsa_sign_asn1_get_default()(br_ec_get_default(), &br_sha256_vtable, hash, key, signature + 1);
	if (n == 0)
		return -EIO;
	size_t all = der_open(cert, DER_SEQ);
	buf_add(cert, buf_data(tbs), buf_len(tbs));
	algorithm(cert);
	der_put(cert, DER_BITS, signature, n + 1);
	der_close(cert, all);
	return 0;
}

static int add_pem(struct buf *out, const char *banner, const void *der, size_t n)
{
	size_t len = br_pem_encode(NULL, der, n, banner, 0);
	uint8_t *to = buf_room(out, len + 1);
	if (!to)
		return -ENOMEM;
	br_pem_encode(to, der, n, banner, 0);
	buf_grew(out, len);
	return 0;
}

int tls_identity_make(const char *const *names, unsigned n_names, uint64_t now_s, struct buf *cert_pem, struct buf *key_pem, struct fault *f)
{
	br_hmac_drbg_context rng;
	br_ec_private_key key;
	br_ec_public_key pub;
	uint8_t seed[48], serial[16], secret[BR_EC_KBUF_PRIV_MAX_SIZE], point[BR_EC_KBUF_PUB_MAX_SIZE], key_der[160];
	struct buf tbs, cert;
	if (n_names == 0 || n_names > TLS_SANS_MAX)
		return fault_set(f, -EINVAL, "a certificate takes 1 to %u names", TLS_SANS_MAX);
	for (unsigned i = 0; i < n_names; i++)
		if (strnlen(names[i], 254) > 253 || !names[i][0])
			return fault_set(f, -EINVAL, "a name of a certificate has 1 to 253 characters");
	if (random_fill(seed, sizeof seed) || random_fill(serial, sizeof serial))
		return fault_set(f, -EIO, "the host gives no random numbers");
	serial[0] = (uint8_t)((serial[0] & 0x3F) | 0x40); /* positive, and 16 bytes whatever comes */
	br_hmac_drbg_init(&rng, &br_sha256_vtable, seed, sizeof seed);
	size_t key_n = 0;
	if (br_ec_keygen(&rng.vtable, br_ec_get_default(), &key, secret, BR_EC_secp256r1) && br_ec_compute_pub(br_ec_get_default(), &pub, point, &key) == PUBLIC_KEY_BYTES)
		key_n = br_encode_ec_raw_der(NULL, &key, &pub);
	if (key_n == 0 || key_n > sizeof key_der)
		return fault_set(f, -EIO, "cannot make a key");
	br_encode_ec_raw_der(key_der, &key, &pub);
	buf_init(&tbs, CERT_MAX);
	buf_init(&cert, CERT_MAX);
	to_be_signed(&tbs, names, n_names, now_s, point, serial);
	int err = tbs.failed ? -ENOMEM : sign(&cert, &tbs, &key);
	if (!err && cert.failed)
		err = -ENOMEM;
	if (!err)
		err = add_pem(cert_pem, "CERTIFICATE", buf_data(&cert), buf_len(&cert));
	if (!err)
		err = add_pem(key_pem, "EC PRIVATE KEY", key_der, key_n);
	buf_done(&tbs);
	buf_done(&cert);
	explicit_bzero(secret, sizeof secret);
	explicit_bzero(key_der, sizeof key_der);
	explicit_bzero(seed, sizeof seed);
	explicit_bzero(&rng, sizeof rng);
	return err ? fault_errno(f, err, "cannot make a certificate") : 0;
}
