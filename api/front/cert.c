/* The certificate of the TLS listeners: core sends it, or has it made here, where TLS is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define CERT_PEM_MAX 40000u /* with the key it fits into one frame */
#define KEY_PEM_MAX 16000u

struct pair {
	struct buf cert, key;
};

static void pair_done(struct pair *p)
{
	if (p->key.mem)
		explicit_bzero(p->key.mem, p->key.cap);
	buf_done(&p->cert);
	buf_done(&p->key);
}

void cert_drop(struct cert *c)
{
	if (!c || --c->users)
		return;
	tls_identity_free(c->id);
	free(c);
}

/* Connections that stand keep theirs. */
static int use(struct front *f, const struct pair *p, struct fault *fault)
{
	struct cert *c = calloc(1, sizeof(*c));
	int err = c ? 0 : fault_set(fault, -ENOMEM, "out of memory");

	if (!err)
		err = tls_identity_load(&c->id, (const char *)buf_data(&p->cert), buf_len(&p->cert), (const char *)buf_data(&p->key),
					buf_len(&p->key), fault);
	if (err) {
		free(c);
		return err;
	}
	c->users = 1;
	cert_drop(f->cert);
	f->cert = c;
	return 0;
}

static int make(struct pair *p, const struct wire_msg *m, struct fault *fault)
{
	char mem[TLS_SANS_MAX][256];
	const char *names[TLS_SANS_MAX];
	struct wire_iter it;
	struct wire_field field;
	unsigned n = 0;
	uint64_t now_s = 0;

	wire_get_u64(m, C_T_NOW_S, &now_s);
	wire_iter_init(&it, m->p, m->n);
	while (n < TLS_SANS_MAX && wire_next(&it, &field))
		if (field.tag == C_T_NAME && field.n && field.n < sizeof(mem[0])) {
			memcpy(mem[n], field.p, field.n);
			mem[n][field.n] = 0;
			names[n] = mem[n];
			n++;
		}
	return tls_identity_make(names, n, now_s, &p->cert, &p->key, fault);
}

static int given(struct pair *p, const struct wire_field *cert, const struct wire_msg *m, struct fault *fault)
{
	struct wire_field key;

	if (!wire_get(m, C_T_KEY, &key))
		return fault_set(fault, -EINVAL, "a certificate came without its key");
	buf_add(&p->cert, cert->p, cert->n);
	buf_add(&p->key, key.p, key.n);
	return p->cert.failed || p->key.failed ? fault_set(fault, -EFBIG, "the certificates or the key are too large") : 0;
}

static void answer(struct front *f, uint32_t id, const struct pair *made, int err, const struct fault *fault)
{
	uint8_t fp[TLS_FINGERPRINT_BYTES];
	struct buf *b = &f->frame;

	buf_clear(b);
	f->frame_mark = wire_begin(b, err ? WIRE_ERR : WIRE_OK, id);
	if (err) {
		wire_u64(b, WIRE_T_ERRNO, (uint64_t)-err);
		wire_str(b, WIRE_T_TEXT, fault->text);
	} else {
		tls_identity_fingerprint(f->cert->id, fp);
		wire_bytes(b, C_T_FINGERPRINT, fp, sizeof(fp));
	}
	if (made && !err) {
		wire_bytes(b, C_T_CERT, buf_data(&made->cert), buf_len(&made->cert));
		wire_bytes(b, C_T_KEY, buf_data(&made->key), buf_len(&made->key));
	}
	if (wire_end(b, f->frame_mark) == 0 && chan_send(&f->core, b, NULL, 0) == 0)
		ev_mod(f->loop, &f->core_io, chan_want(&f->core));
	if (b->mem)
		explicit_bzero(b->mem, b->cap);
}

void cert_frame(struct front *f, const struct wire_msg *m)
{
	struct fault fault = { "" };
	struct wire_field cert;
	struct pair p;
	bool has = wire_get(m, C_T_CERT, &cert);
	int err;

	buf_init(&p.cert, CERT_PEM_MAX);
	buf_init(&p.key, KEY_PEM_MAX);
	err = has ? given(&p, &cert, m, &fault) : make(&p, m, &fault);
	if (!err)
		err = use(f, &p, &fault);
	answer(f, m->id, has ? NULL : &p, err, &fault);
	pair_done(&p);
}
