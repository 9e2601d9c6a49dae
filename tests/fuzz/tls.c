/* TLS: bytes of a client that never learnt it, and PEM files that are none: certificate, key, fingerprint. First byte: which of them. */
#include "lib/tls/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tls_identity *server(void)
{
	static struct tls_identity *id;
	static const char *const names[] = { "localhost" };
	struct buf cert, key;

	if (id)
		return id;
	buf_init(&cert, 1 << 16);
	buf_init(&key, 1 << 16);
	if (tls_identity_make(names, 1, 1700000000, &cert, &key, NULL) ||
	    tls_identity_load(&id, (char *)buf_data(&cert), buf_len(&cert), (char *)buf_data(&key), buf_len(&key), NULL))
		abort();
	buf_done(&cert);
	buf_done(&key);
	return id;
}

/* In pieces of what the first byte of each says. */
static void speak(struct tls *t, const uint8_t *data, size_t size)
{
	struct buf in, app, out, net;
	struct fault f = { "" };
	int err = 0;

	buf_init(&in, 1 << 16);
	buf_init(&app, 1 << 16);
	buf_init(&out, 1 << 16);
	buf_init(&net, 1 << 20);
	for (size_t at = 0; at < size && !err;) {
		size_t n = data[at++];

		n = n < size - at ? n : size - at;
		buf_add(&in, data + at, n);
		at += n;
		err = tls_pump(t, &in, &app, &out, &net, &f);
		buf_clear(&net);
		if (tls_is_up(t))
			abort(); /* nobody guesses a handshake */
	}
	buf_done(&in);
	buf_done(&app);
	buf_done(&out);
	buf_done(&net);
	tls_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t pinned[TLS_FINGERPRINT_BYTES] = { 1 };
	struct tls_identity *id = NULL;
	struct tls *t = NULL;
	uint8_t fp[TLS_FINGERPRINT_BYTES];
	struct fault f = { "" };
	char text[128];

	if (!size)
		return 0;
	switch (data[0] & 3) {
	case 0:
		if (tls_server_new(&t, server()) == 0)
			speak(t, data + 1, size - 1);
		break;
	case 1:
		if (tls_client_new(&t, "localhost", pinned, NULL, 0, &f) == 0)
			speak(t, data + 1, size - 1);
		break;
	case 2: { /* both files from the input, one after the other */
		size_t half = (size - 1) / 2;

		if (tls_identity_load(&id, (const char *)data + 1, half, (const char *)data + 1 + half, size - 1 - half, &f) == 0)
			tls_identity_free(id);
		break;
	}
	default:
		(void)tls_fingerprint_of_pem((const char *)data + 1, size - 1, fp);
		snprintf(text, sizeof(text), "%.*s", (int)(size - 1 < sizeof(text) ? size - 1 : sizeof(text) - 1), (const char *)data + 1);
		(void)tls_fingerprint_parse(text, fp);
		if (tls_client_new(&t, "localhost", NULL, (const char *)data + 1, size - 1, &f) == 0)
			tls_free(t);
		break;
	}
	return 0;
}
