/* The join string. */
#include "cli/context.h"
#include "lib/base/sha256.h"
#include "lib/json/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERSION "v1:"
#define CHECK_BYTES 6u

int join_make(const struct context *c, struct buf *out)
{
	struct buf b;
	struct json_out o;
	uint8_t digest[SHA256_BYTES];
	buf_init(&b, JOIN_MAX / 2);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_str(&o, "url", c->url);
	json_put_str(&o, "fingerprint", c->fingerprint);
	json_put_str(&o, "token", c->token);
	json_end(&o);
	sha256(buf_data(&b), buf_len(&b), digest);
	buf_add(&b, digest, CHECK_BYTES);
	buf_adds(out, JOIN_PREFIX VERSION);
	uint8_t *room = b.failed ? NULL : buf_room(out, BASE64_LEN(buf_len(&b)) + 1);
	if (room)
		buf_grew(out, base64url_encode(buf_data(&b), buf_len(&b), (char *)room));
	int err = room ? 0 : -E2BIG;
	if (b.mem)
		explicit_bzero(b.mem, b.cap);
	buf_done(&b);
	return err;
}

/* Standard base64 with its padding, without blanks. Length, or -E2BIG. */
static ssize_t plain_base64(const char *text, char out[JOIN_MAX])
{
	size_t n = 0;
	for (; *text; text++) {
		if (*text == ' ' || *text == '\n' || *text == '\r' || *text == '\t')
			continue;
		if (n >= JOIN_MAX - 4)
			return -E2BIG;
		out[n++] = *text == '-' ? '+' : *text == '_' ? '/' : *text;
	}
	while (n % 4)
		out[n++] = '=';
	return (ssize_t)n;
}

static int member(const struct json_val *v, const char *key, char *dst, size_t cap)
{
	const char *s = NULL;
	if (json_get_str(v, key, &s) || strlen(s) >= cap || strpbrk(s, "\r\n"))
		return -EINVAL;
	strcpy(dst, s);
	return 0;
}

static int read_object(const void *p, size_t n, struct context *c, struct fault *f)
{
	struct json j;
	if (json_parse(&j, p, n, 100, NULL))
		return fault_set(f, -EINVAL, "what it carries is no JSON");
	const struct json_val *v = json_root(&j);
	int err = member(v, "url", c->url, sizeof(c->url)) || member(v, "token", c->token, sizeof(c->token)) ||
		  member(v, "fingerprint", c->fingerprint, sizeof(c->fingerprint)) || !c->url[0] ? fault_set(f, -EINVAL,
			"it does not carry an address, a fingerprint and a token") : 0;
	json_done(&j);
	return err;
}

int join_read(const char *text, struct context *c, struct fault *f)
{
	char plain[JOIN_MAX];
	uint8_t raw[JOIN_MAX], digest[SHA256_BYTES];
	*c = (struct context){ 0 };
	text += strspn(text, " \t\r\n");
	if (strncmp(text, JOIN_PREFIX, strlen(JOIN_PREFIX)))
		return fault_set(f, -EINVAL, "a join string begins with " JOIN_PREFIX);
	text += strlen(JOIN_PREFIX);
	if (strncmp(text, VERSION, strlen(VERSION)))
		return fault_set(f, -EINVAL, "it was made by a version of mica that this one does not know, or is cut");
	ssize_t n = plain_base64(text + strlen(VERSION), plain);
	n = n < 0 ? n : base64_decode(plain, (size_t)n, raw);
	if (n > (ssize_t)CHECK_BYTES)
		sha256(raw, (size_t)n - CHECK_BYTES, digest);
	if (n <= (ssize_t)CHECK_BYTES || memcmp(digest, raw + n - CHECK_BYTES, CHECK_BYTES))
		return fault_set(f, -EINVAL, "it is cut, or a character is wrong: its checksum does not fit");
	int err = read_object(raw, (size_t)n - CHECK_BYTES, c, f);
	explicit_bzero(raw, sizeof(raw));
	explicit_bzero(plain, sizeof(plain));
	return err;
}
