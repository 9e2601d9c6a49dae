#include "lib/tls/pin.h"

#include <string.h>

static struct tls_pin *self(const br_x509_class **ctx)
{
	return (struct tls_pin *)(void *)ctx;
}

static void start_chain(const br_x509_class **ctx, const char *name)
{
	(void)name;
	self(ctx)->index = 0;
	self(ctx)->matches = false;
}

static void start_cert(const br_x509_class **ctx, uint32_t length)
{
	(void)length;
	if (self(ctx)->index == 0) {
		br_sha256_init(&self(ctx)->hash);
		br_x509_decoder_init(&self(ctx)->decoder, NULL, NULL);
	}
}

static void append(const br_x509_class **ctx, const unsigned char *p, size_t n)
{
	if (self(ctx)->index == 0) {
		br_sha256_update(&self(ctx)->hash, p, n);
		br_x509_decoder_push(&self(ctx)->decoder, p, n);
	}
}

static void end_cert(const br_x509_class **ctx)
{
	uint8_t got[TLS_FINGERPRINT_BYTES];
	if (self(ctx)->index++ == 0) {
		br_sha256_out(&self(ctx)->hash, got);
		self(ctx)->matches = equal_consttime(got, self(ctx)->want, sizeof got);
	}
}

static unsigned end_chain(const br_x509_class **ctx)
{
	struct tls_pin *p = self(ctx);
	if (p->index == 0)
		return BR_ERR_X509_EMPTY_CHAIN;
	if (!p->matches)
		return BR_ERR_X509_NOT_TRUSTED;
	return br_x509_decoder_get_pkey(&p->decoder) ? 0 : BR_ERR_X509_UNSUPPORTED;
}

static const br_x509_pkey *get_pkey(const br_x509_class *const *ctx, unsigned *usages)
{
	struct tls_pin *p = (struct tls_pin *)(uintptr_t)ctx;
	if (usages)
		*usages = BR_KEYTYPE_KEYX | BR_KEYTYPE_SIGN;
	return br_x509_decoder_get_pkey(&p->decoder);
}

static const br_x509_class pin_class = {sizeof(struct tls_pin), start_chain, start_cert, append, end_cert, end_chain, get_pkey};

void tls_pin_init(struct tls_pin *p, const uint8_t fingerprint[TLS_FINGERPRINT_BYTES])
{
	memset(p, 0, sizeof *p);
	p->vtable = &pin_class;
	memcpy(p->want, fingerprint, TLS_FINGERPRINT_BYTES);
}
