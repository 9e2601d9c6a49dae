#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "lib/tls/tls.h"
#include "tests/unit/tap.h"

struct pair {
	struct tls *c, *s;
	struct buf c_in, c_app, c_out, s_in, s_app, s_out; /* c_in: what the client reads from the net, … */
	struct fault cf, sf;
	int cr, sr;
};

static struct buf cert, key;

static void pair_init(struct pair *p, size_t small)
{
	*p = (struct pair){0};
	buf_init(&p->c_in, 1 << 16);
	buf_init(&p->s_in, 1 << 16);
	buf_init(&p->c_app, small);
	buf_init(&p->s_app, small);
	buf_init(&p->c_out, 1 << 20);
	buf_init(&p->s_out, 1 << 20);
}

static void pair_done(struct pair *p)
{
	tls_free(p->c);
	tls_free(p->s);
	struct buf *all[] = {&p->c_in, &p->c_app, &p->c_out, &p->s_in, &p->s_app, &p->s_out};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		buf_done(all[i]);
}

/* Both sides until nothing changes: what one puts out is what the other takes in. */
static void run(struct pair *p)
{
	for (int i = 0; i < 50; i++) {
		if (p->cr == 0)
			p->cr = tls_pump(p->c, &p->c_in, &p->c_app, &p->c_out, &p->s_in, &p->cf);
		if (p->sr == 0)
			p->sr = tls_pump(p->s, &p->s_in, &p->s_app, &p->s_out, &p->c_in, &p->sf);
	}
}

static struct tls_identity *identity(void)
{
	struct tls_identity *id = NULL;
	struct fault f = {""};
	if (tls_identity_load(&id, (char *)buf_data(&cert), buf_len(&cert), (char *)buf_data(&key), buf_len(&key), &f))
		printf("# %s\n", f.text);
	return id;
}

static void good(const struct tls_identity *id)
{
	struct pair p;
	uint8_t fp[32];
	char text[TLS_FINGERPRINT_TEXT];
	tls_identity_fingerprint(id, fp);
	tls_fingerprint_text(fp, text);
	uint8_t back[32];
	ok(tls_fingerprint_parse(text, back) == 0 && memcmp(fp, back, 32) == 0 && tls_fingerprint_parse(text + 3, back) == -EINVAL, "a fingerprint as text: %s", text);
	pair_init(&p, 1000);
	ok(tls_server_new(&p.s, id) == 0 && tls_client_new(&p.c, NULL, fp, NULL, 0, &p.cf) == 0, "both sides");
	run(&p);
	ok(p.cr == 0 && p.sr == 0 && tls_is_up(p.c) && tls_is_up(p.s), "the handshake holds with the right fingerprint %s%s", p.cf.text, p.sf.text);
	static char sent[300000];
	for (size_t i = 0; i < sizeof sent; i++)
		sent[i] = (char)(i * 31 % 251);
	buf_add(&p.c_out, sent, sizeof sent);
	size_t got = 0;
	bool same = true;
	for (int i = 0; i < 2000 && got < sizeof sent; i++) {
		run(&p);
		same = same && buf_len(&p.s_app) <= 1000 && memcmp(buf_data(&p.s_app), sent + got, buf_len(&p.s_app)) == 0;
		got += buf_len(&p.s_app);
		buf_eat(&p.s_app, buf_len(&p.s_app));
	}
	ok(same && got == sizeof sent, "300 000 bytes through a reader that takes 1000 at a time (%zu)", got);
	/* In the middle of a record nothing is given away; between records everything is. */
	buf_clear(&p.s_app);
	buf_add(&p.c_out, sent, 500);
	tls_pump(p.c, &p.c_in, &p.c_app, &p.c_out, &p.s_in, &p.cf);
	struct buf part;
	buf_init(&part, 100);
	buf_add(&part, buf_data(&p.s_in), 100);
	buf_eat(&p.s_in, 100);
	tls_pump(p.s, &part, &p.s_app, &p.s_out, &p.c_in, &p.sf);
	buf_done(&part);
	tls_rest(p.s);
	run(&p);
	ok(p.sr == 0 && buf_len(&p.s_app) == 500 && memcmp(buf_data(&p.s_app), sent, 500) == 0, "a rest in the middle of a record loses nothing %s", p.sf.text);
	buf_clear(&p.s_app);
	tls_rest(p.s);
	tls_rest(p.c);
	buf_add(&p.c_out, sent, 900);
	buf_add(&p.s_out, sent, 900);
	run(&p);
	ok(p.cr == 0 && p.sr == 0 && buf_len(&p.s_app) == 900 && buf_len(&p.c_app) == 900 && memcmp(buf_data(&p.s_app), buf_data(&p.c_app), 900) == 0,
	   "and between records neither");
	tls_finish(p.s);
	run(&p);
	ok(p.cr == 1 && p.sr == 1, "an orderly end is told from a broken one");
	pair_done(&p);
}

static void refusals(const struct tls_identity *id)
{
	struct pair p;
	uint8_t fp[32];
	tls_identity_fingerprint(id, fp);
	fp[31] ^= 1;
	pair_init(&p, 1000);
	ok(tls_server_new(&p.s, id) == 0 && tls_client_new(&p.c, "host", fp, NULL, 0, &p.cf) == 0, "a wrong fingerprint …");
	run(&p);
	ok(p.cr == -EPROTO && !tls_is_up(p.c) && strstr(p.cf.text, "fingerprint"), "… ends the handshake: %s", p.cf.text);
	pair_done(&p);

	pair_init(&p, 1000);
	ok(tls_server_new(&p.s, id) == 0, "a server that gets plain HTTP");
	buf_adds(&p.s_in, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	p.sr = tls_pump(p.s, &p.s_in, &p.s_app, &p.s_out, &p.c_in, &p.sf);
	ok(p.sr == -EPROTO, "refuses: %s", p.sf.text);
	pair_done(&p);

	struct tls_identity *other = NULL;
	struct fault f = {""};
	struct buf cert2, key2;
	const char *names[] = {"x"};
	buf_init(&cert2, 1 << 16);
	buf_init(&key2, 1 << 16);
	tls_identity_make(names, 1, 1700000000, &cert2, &key2, &f);
	ok(tls_identity_load(&other, (char *)buf_data(&cert2), buf_len(&cert2), (char *)buf_data(&key), buf_len(&key), &f) == -EINVAL, "a foreign key: %s", f.text);
	ok(tls_identity_load(&other, "junk", 4, (char *)buf_data(&key), buf_len(&key), &f) == -EINVAL, "no certificate: %s", f.text);
	ok(tls_identity_load(&other, (char *)buf_data(&cert), buf_len(&cert), (char *)buf_data(&cert), buf_len(&cert), &f) < 0, "no key: %s", f.text);
	ok(tls_identity_make(names, 0, 0, &cert2, &key2, &f) == -EINVAL, "no name: %s", f.text);
	buf_done(&cert2);
	buf_done(&key2);
}

static void authorities(const struct tls_identity *id)
{
	struct pair p;
	pair_init(&p, 1000);
	ok(tls_server_new(&p.s, id) == 0 && tls_client_new(&p.c, "box.example", NULL, (char *)buf_data(&cert), buf_len(&cert), &p.cf) == 0, "trust by file");
	run(&p);
	ok(p.cr == 0 && tls_is_up(p.c), "holds for a name of the certificate %s", p.cf.text);
	pair_done(&p);
	pair_init(&p, 1000);
	tls_server_new(&p.s, id);
	tls_client_new(&p.c, "other.example", NULL, (char *)buf_data(&cert), buf_len(&cert), &p.cf);
	run(&p);
	ok(p.cr == -EPROTO, "not for another: %s", p.cf.text);
	pair_done(&p);
}

int main(int argc, char *argv[])
{
	struct fault f = {""};
	const char *names[] = {"box.example", "127.0.0.1", "::1"};
	buf_init(&cert, 1 << 16);
	buf_init(&key, 1 << 16);
	ok(tls_identity_make(names, 3, (uint64_t)time(NULL), &cert, &key, &f) == 0, "a key and a certificate %s", f.text);
	(void)argv;
	if (argc > 1) { /* for a look with other tools */
		fwrite(buf_data(&cert), 1, buf_len(&cert), stdout);
		fwrite(buf_data(&key), 1, buf_len(&key), stdout);
		return 0;
	}
	struct tls_identity *id = identity();
	ok(id != NULL, "and they load");
	if (id) {
		good(id);
		refusals(id);
		authorities(id);
	}
	tls_identity_free(id);
	buf_done(&cert);
	buf_done(&key);
	return tap_done();
}
