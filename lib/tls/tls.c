#include "lib/tls/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/tls/identity.h"
#include "lib/tls/pin.h"

enum { ANCHORS_MAX = 16, PAGE_BYTES = 4096, RECORD_HEAD_BYTES = 5 };

struct anchors {
	br_x509_trust_anchor list[ANCHORS_MAX]; /* their bytes are owned */
	unsigned n;
};

/* Whom a client trusts. */
struct trust {
	union {
		struct tls_pin pin;
		br_x509_minimal_context minimal;
	} by;
	struct anchors anchors;
	bool pinned;
};

struct tls {
	br_ssl_engine_context *engine; /* of the half in use */
	union {
		br_ssl_server_context server;
		br_ssl_client_context client;
	} side;
	struct trust *trust; /* owned; NULL in a server */
	uint8_t records[BR_SSL_BUFSIZE_BIDI]; /* whole pages of it go back to the kernel in tls_rest() */
};

/* AEAD and forward secrecy only. With AES instructions AES-GCM comes first: several times as fast; without them ChaCha20, which is quick
 * and even in time. */
static const uint16_t suites_plain[] = {
	BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}, suites_aes[] = {
	BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
};

_Static_assert(sizeof suites_plain == sizeof suites_aes, "the same suites");

static bool has_aes(void)
{
	return br_aes_x86ni_ctr_get_vtable() && br_ghash_pclmul_get();
}

static int set_up(struct tls *t)
{
	uint8_t seed[32];
	br_ssl_engine_context *e = t->engine;
	br_ssl_engine_set_versions(e, BR_TLS12, BR_TLS12);
	br_ssl_engine_set_suites(e, has_aes() ? suites_aes : suites_plain, ARRAY_LEN(suites_plain));
	br_ssl_engine_set_hash(e, br_sha256_ID, &br_sha256_vtable);
	br_ssl_engine_set_hash(e, br_sha384_ID, &br_sha384_vtable);
	br_ssl_engine_set_hash(e, br_sha512_ID, &br_sha512_vtable);
	br_ssl_engine_set_prf_sha256(e, &br_tls12_sha256_prf);
	br_ssl_engine_set_prf_sha384(e, &br_tls12_sha384_prf);
	br_ssl_engine_set_default_aes_gcm(e);
	br_ssl_engine_set_default_chapol(e);
	br_ssl_engine_set_default_ec(e);
	br_ssl_engine_set_default_ecdsa(e);
	br_ssl_engine_set_default_rsavrfy(e);
	br_ssl_engine_set_buffer(e, t->records, sizeof t->records, 1);
	if (random_fill(seed, sizeof seed))
		return -EIO;
	br_ssl_engine_inject_entropy(e, seed, sizeof seed);
	explicit_bzero(seed, sizeof seed);
	return 0;
}

int tls_server_new(struct tls **out, const struct tls_identity *id)
{
	struct tls *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	br_ssl_server_context *s = &t->side.server;
	br_ssl_server_zero(s);
	t->engine = &s->eng;
	int err = set_up(t);
	if (id->is_rsa)
		br_ssl_server_set_single_rsa(s, id->chain, id->n, &id->key.rsa, BR_KEYTYPE_SIGN, 0, br_rsa_pkcs1_sign_get_default());
	else
		br_ssl_server_set_single_ec(s, id->chain, id->n, &id->key.ec, BR_KEYTYPE_SIGN, id->issuer_key_type, br_ec_get_default(),
					    br_ecdsa_sign_asn1_get_default());
	br_ssl_server_set_cache(s, &id->sessions->cache.vtable);
	br_ssl_engine_add_flags(&s->eng, BR_OPT_ENFORCE_SERVER_PREFERENCES | BR_OPT_NO_RENEGOTIATION);
	if (!err && !br_ssl_server_reset(s))
		err = -EIO;
	if (err) {
		tls_free(t);
		return err;
	}
	*out = t;
	return 0;
}

/* ---- the client's authorities ---- */

struct dn_sink {
	uint8_t *p;
	size_t n, cap;
};

static void take_dn(void *arg, const void *p, size_t n)
{
	struct dn_sink *s = arg;
	if (n > s->cap - s->n)
		n = s->cap - s->n;
	memcpy(s->p + s->n, p, n);
	s->n += n;
}

static uint8_t *copy_of(const uint8_t *p, size_t n)
{
	uint8_t *c = malloc(n ? n : 1);
	if (c)
		memcpy(c, p, n);
	return c;
}

static int take_anchor(void *arg, const char *banner, const uint8_t *der, size_t len)
{
	struct anchors *a = arg;
	br_x509_decoder_context d;
	if (strcmp(banner, "CERTIFICATE") != 0)
		return 0;
	if (a->n == ANCHORS_MAX)
		return -E2BIG;
	struct dn_sink dn = {.p = malloc(len ? len : 1), .cap = len};
	if (!dn.p)
		return -ENOMEM;
	br_x509_decoder_init(&d, take_dn, &dn);
	br_x509_decoder_push(&d, der, len);
	const br_x509_pkey *pk = br_x509_decoder_get_pkey(&d);
	br_x509_trust_anchor *ta = &a->list[a->n];
	*ta = (br_x509_trust_anchor){.dn = {dn.p, dn.n}, .flags = br_x509_decoder_isCA(&d) ? BR_X509_TA_CA : 0};
	a->n++; /* from here on freed with the others */
	if (!pk)
		return -EINVAL;
	ta->pkey = *pk;
	if (pk->key_type == BR_KEYTYPE_EC) {
		ta->pkey.key.ec.q = copy_of(pk->key.ec.q, pk->key.ec.qlen);
		return ta->pkey.key.ec.q ? 0 : -ENOMEM;
	}
	ta->pkey.key.rsa.n = copy_of(pk->key.rsa.n, pk->key.rsa.nlen);
	ta->pkey.key.rsa.e = copy_of(pk->key.rsa.e, pk->key.rsa.elen);
	return ta->pkey.key.rsa.n && ta->pkey.key.rsa.e ? 0 : -ENOMEM;
}

static void anchors_free(struct anchors *a)
{
	for (unsigned i = 0; i < a->n; i++) {
		free(a->list[i].dn.data);
		if (a->list[i].pkey.key_type == BR_KEYTYPE_EC) {
			free(a->list[i].pkey.key.ec.q);
		} else if (a->list[i].pkey.key_type == BR_KEYTYPE_RSA) {
			free(a->list[i].pkey.key.rsa.n);
			free(a->list[i].pkey.key.rsa.e);
		}
	}
}

static int trust_authorities(struct tls *t, const char *pem, size_t n, struct fault *f)
{
	struct trust *w = t->trust;
	int err = tls_pem_each(pem, n, take_anchor, &w->anchors);
	if (err || w->anchors.n == 0)
		return fault_set(f, err ? err : -EINVAL, "the file of authorities is not PEM with 1 to %u certificates", ANCHORS_MAX);
	br_x509_minimal_init_full(&w->by.minimal, w->anchors.list, w->anchors.n);
	br_ssl_engine_set_x509(t->engine, &w->by.minimal.vtable);
	return 0;
}

int tls_client_new(struct tls **out, const char *server_name, const uint8_t *fingerprint, const char *ca_pem, size_t ca_len, struct fault *f)
{
	struct tls *t = calloc(1, sizeof *t);
	if (t)
		t->trust = calloc(1, sizeof *t->trust);
	if (!t || !t->trust) {
		free(t);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	br_ssl_client_zero(&t->side.client);
	t->engine = &t->side.client.eng;
	int err = set_up(t);
	if (err)
		fault_errno(f, err, "the host gives no random numbers");
	if (!err && fingerprint) {
		t->trust->pinned = true;
		tls_pin_init(&t->trust->by.pin, fingerprint);
		br_ssl_engine_set_x509(t->engine, &t->trust->by.pin.vtable);
	} else if (!err) {
		err = trust_authorities(t, ca_pem, ca_len, f);
	}
	if (!err && !br_ssl_client_reset(&t->side.client, server_name, 0))
		err = fault_set(f, -EINVAL, "the server's name is not valid for TLS");
	if (err) {
		tls_free(t);
		return err;
	}
	*out = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->trust)
		anchors_free(&t->trust->anchors);
	free(t->trust);
	explicit_bzero(t, sizeof *t);
	free(t);
}

/* ---- moving bytes ---- */

static size_t room(const struct buf *b)
{
	return b->max > buf_len(b) ? b->max - buf_len(b) : 0;
}

typedef unsigned char *take_fn(const br_ssl_engine_context *e, size_t *n);
typedef void ack_fn(br_ssl_engine_context *e, size_t n);

/* Out of the engine, into b. Bytes moved; 0 when the engine has nothing or b is full. */
static size_t drain(struct tls *t, struct buf *b, take_fn *take, ack_fn *ack)
{
	size_t n;
	const uint8_t *p = take(t->engine, &n);
	if (!p)
		return 0;
	if (n > room(b))
		n = room(b);
	if (n == 0 || buf_add(b, p, n))
		return 0;
	ack(t->engine, n);
	return n;
}

static size_t feed(struct tls *t, struct buf *b, take_fn *take, ack_fn *ack)
{
	size_t n;
	uint8_t *p = take(t->engine, &n);
	if (!p || buf_len(b) == 0)
		return 0;
	if (n > buf_len(b))
		n = buf_len(b);
	memcpy(p, buf_data(b), n);
	buf_eat(b, n);
	ack(t->engine, n);
	return n;
}

static int explain(struct tls *t, int code, struct fault *f)
{
	static const struct { int code; const char *text; } known[] = {
		{BR_ERR_BAD_VERSION, "the peer speaks no TLS"}, {BR_ERR_UNSUPPORTED_VERSION, "the peer does not speak TLS 1.2"},
		{BR_ERR_BAD_CIPHER_SUITE, "no cipher suite in common"}, {BR_ERR_BAD_MAC, "a record was damaged on its way"},
		{BR_ERR_X509_EXPIRED, "the server's certificate is not valid today (see the clocks of both machines) [E_CERT_EXPIRED]"},
		{BR_ERR_X509_BAD_SERVER_NAME, "the server's certificate is for another name"},
	};
	if (code == BR_ERR_X509_NOT_TRUSTED)
		return fault_set(f, -EPROTO, t->trust && t->trust->pinned ? "the server's certificate has another fingerprint than the one given [E_CERT_PIN]" :
				 "the server's certificate is signed by nobody in the file of authorities");
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (known[i].code == code)
			return fault_set(f, -EPROTO, "TLS: %s", known[i].text);
	if (code >= BR_ERR_RECV_FATAL_ALERT && code < BR_ERR_RECV_FATAL_ALERT + 256)
		return fault_set(f, -EPROTO, "TLS: the peer refused (alert %d)", code - BR_ERR_RECV_FATAL_ALERT);
	return fault_set(f, -EPROTO, "TLS error %d", code);
}

int tls_pump(struct tls *t, struct buf *net_in, struct buf *app_in, struct buf *app_out, struct buf *net_out, struct fault *f)
{
	/* Every turn moves at least a byte between bounded queues, so this ends. */
	for (bool moved = true; moved;) {
		moved = false;
		moved |= drain(t, net_out, br_ssl_engine_sendrec_buf, br_ssl_engine_sendrec_ack) > 0;
		moved |= drain(t, app_in, br_ssl_engine_recvapp_buf, br_ssl_engine_recvapp_ack) > 0;
		moved |= feed(t, net_in, br_ssl_engine_recvrec_buf, br_ssl_engine_recvrec_ack) > 0;
		if (feed(t, app_out, br_ssl_engine_sendapp_buf, br_ssl_engine_sendapp_ack) > 0) {
			moved = true;
			if (buf_len(app_out) == 0)
				br_ssl_engine_flush(t->engine, 0);
		}
	}
	if (!(br_ssl_engine_current_state(t->engine) & BR_SSL_CLOSED))
		return 0;
	int code = br_ssl_engine_last_error(t->engine);
	return code == BR_ERR_OK ? 1 : explain(t, code, f);
}

void tls_finish(struct tls *t)
{
	br_ssl_engine_close(t->engine);
}

/* Between records the engine keeps nothing in its buffers: the next one is written from their beginning. */
void tls_rest(struct tls *t)
{
	uintptr_t from = ((uintptr_t)t->records + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
	uintptr_t to = ((uintptr_t)t->records + sizeof t->records) & ~(uintptr_t)(PAGE_BYTES - 1);
	size_t in, n;
	if (!tls_is_up(t) || br_ssl_engine_recvrec_buf(t->engine, &in) != t->records || in != RECORD_HEAD_BYTES ||
	    br_ssl_engine_recvapp_buf(t->engine, &n) || br_ssl_engine_sendrec_buf(t->engine, &n))
		return;
	(void)madvise(t->records + (from - (uintptr_t)t->records), to - from, MADV_DONTNEED);
}

bool tls_is_up(const struct tls *t)
{
	return br_ssl_engine_current_state(t->engine) & BR_SSL_SENDAPP;
}
