/* Secrets: bytes go in as base64 and never come out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds
#define DATA_MAX 32768u /* core's own limit: what is longer need not travel */
#define NAME_MAX_BYTES 64u

static void put_secret(struct json_out *o, const struct wire_msg *m)
{
	uint64_t perm = 0;
	char octal[8];

	wire_get_u64(m, C_T_PERM, &perm);
	octal[0] = '0';
	for (unsigned i = 0; i < 3; i++)
		octal[1 + i] = (char)('0' + (perm >> (6 - 3 * i) & 7));
	octal[4] = '\0';
	put_field_str(o, "name", m, C_T_NAME);
	put_field_u64(o, "size", m, C_T_SIZE);
	json_put_str(o, "permissions", octal);
	put_field_u64(o, "uid", m, C_T_UID);
	put_field_u64(o, "gid", m, C_T_GID);
	put_time_field(o, "modified_at", m, C_T_MODIFIED_NS);
	put_time_field(o, "mod_time", m, C_T_MODIFIED_NS); /* the contract has both names */
}

static void list_answered(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	list_answer(r, m, put_secret);
}

static void created(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 201, m, put_secret);
}

static void patched(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_secret);
}

static void put_message(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "message", m, C_T_TEXT);
}

static void deleted(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_message);
}

/* ---- what a client sent; each false: answered ---- */

static bool too_large(struct req *r)
{
	reply_error(r, 413, "a secret holds at most %u bytes", DATA_MAX);
	return false;
}

static bool bad(struct req *r, const char *key, const char *what)
{
	reply_error(r, 400, "'%s' must be %s", key, what);
	return false;
}

static bool put_data(struct req *r, struct buf *b, const struct json_val *root, bool needed)
{
	const char *text = NULL;
	int err = json_get_str(root, "data", &text);
	uint8_t *bytes;
	ssize_t n;

	if (err == -EINVAL || (err && needed))
		return bad(r, "data", "a string of base64");
	if (err || (!*text && !needed)) /* an empty one changes nothing: SDKs send it always */
		return true;
	if (strlen(text) > BASE64_LEN(DATA_MAX))
		return too_large(r);
	bytes = malloc(strlen(text) + 1);
	if (!bytes) {
		reply_error(r, 503, "out of memory; try again");
		return false;
	}
	n = base64_decode(text, strlen(text), bytes);
	if (n >= 0) {
		if ((size_t)n <= DATA_MAX)
			wire_bytes(b, C_T_DATA, bytes, (size_t)n);
		explicit_bzero(bytes, (size_t)n);
	}
	free(bytes);
	if (n < 0)
		return bad(r, "data", "base64 with padding, without line breaks");
	return (size_t)n <= DATA_MAX || too_large(r);
}

static bool put_id(struct req *r, struct buf *b, const struct json_val *root, const char *key, uint16_t tag)
{
	int64_t v = 0;
	int err = json_get_i64(root, key, &v);

	if (err == -EINVAL || v < 0 || v > UINT32_MAX)
		return bad(r, key, "a number from 0 to 4294967294");
	if (!err && v != UINT32_MAX) /* the SDKs' "no user chosen" */
		wire_u64(b, tag, (uint64_t)v);
	return true;
}

static bool put_fields(struct req *r, struct buf *b, const struct json_val *root, bool all)
{
	const char *perm = NULL;

	if (json_get_str(root, "permissions", &perm) == -EINVAL)
		return bad(r, "permissions", "octal digits in a string, such as \"0600\"");
	return param_put_perm(r, b, perm, C_T_PERM) && put_id(r, b, root, "uid", C_T_UID) && put_id(r, b, root, "gid", C_T_GID) &&
	       put_data(r, b, root, all);
}

/* ---- handlers ---- */

void h_secrets(struct req *r)
{
	list_begin(r);
	ask_begin(r, C_SECRET_LIST);
	ask_send(r, list_answered);
}

void h_secret_create(struct req *r)
{
	const char *name = NULL;
	struct json j = { 0 };
	struct buf *b;

	if (!body_json(r, &j))
		return;
	b = ask_begin(r, C_SECRET_PUT);
	if (json_get_str(json_root(&j), "name", &name)) {
		bad(r, "name", "a string");
	} else {
		wire_str(b, C_T_NAME, name);
		if (put_fields(r, b, json_root(&j), true))
			ask_send(r, created);
	}
	json_done(&j);
}

/* The name in the path; NULL: answered. Core looks closer. */
static const char *secret_name(struct req *r)
{
	if (strlen(r->vars[0]) <= NAME_MAX_BYTES)
		return r->vars[0];
	reply_error(r, 404, "no secret has that name");
	return NULL;
}

void h_secret_patch(struct req *r)
{
	const char *name = secret_name(r);
	struct json j = { 0 };
	struct buf *b;

	if (!name || !body_json(r, &j))
		return;
	b = ask_begin(r, C_SECRET_PATCH);
	wire_str(b, C_T_NAME, name);
	if (put_fields(r, b, json_root(&j), false))
		ask_send(r, patched);
	json_done(&j);
}

void h_secret_delete(struct req *r)
{
	const char *name = secret_name(r);

	if (!name)
		return;
	wire_str(ask_begin(r, C_SECRET_DELETE), C_T_NAME, name);
	ask_send(r, deleted);
}
