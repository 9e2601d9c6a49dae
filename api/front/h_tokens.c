/* Named tokens. The answer to a creation is the one place where a token's text is seen. */
#include <errno.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds
#define NAME_MAX_BYTES 64u

static void put_token(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "name", m, C_T_NAME);
	put_field_list(o, "scopes", m, C_T_SCOPE);
	put_field_list(o, "groups", m, C_T_GROUP);
	put_time_field(o, "created_at", m, C_T_CREATED_NS);
	put_time_field(o, "expires_at", m, C_T_EXPIRES_NS);
	put_time_field(o, "last_used_at", m, C_T_LAST_USED_NS);
	put_field_bool(o, "expired", m, C_T_EXPIRED);
	put_field_str(o, "token", m, C_T_TOKEN); /* of a creation */
}

static void put_message(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "message", m, C_T_TEXT);
}

static void listed(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	list_answer(r, m, put_token);
}

static void created(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 201, m, put_token);
}

static void revoked(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_message);
}

void h_tokens(struct req *r)
{
	list_begin(r);
	ask_begin(r, C_TOKEN_LIST);
	ask_send(r, listed);
}

/* "24h" from now, or a time; absent or empty: it does not end. false: answered. */
static bool put_end(struct req *r, struct buf *b, const struct json_val *root)
{
	const char *text = NULL;
	uint64_t v = 0;
	int err = json_get_str(root, "expires", &text);

	if (err == -ENOENT || (!err && !*text))
		return true;
	if (!err && parse_duration_ms(text, &v) == 0)
		wire_u64(b, C_T_LIFE_MS, v);
	else if (!err && rfc3339_parse(text, &v) == 0)
		wire_u64(b, C_T_EXPIRES_NS, v);
	else
		reply_error(r, 400, "'expires' must be a duration such as 24h, or a time such as 2026-12-31T00:00:00Z");
	return !r->ended;
}

void h_token_create(struct req *r)
{
	const char *name = NULL;
	struct json j = { 0 };
	struct buf *b;

	if (!body_json(r, &j))
		return;
	b = ask_begin(r, C_TOKEN_CREATE);
	if (json_get_str(json_root(&j), "name", &name)) {
		reply_error(r, 400, "'name' must be a string");
	} else if (body_put_strings(b, json_root(&j), "scopes", C_T_SCOPE) < 0 || body_put_strings(b, json_root(&j), "groups", C_T_GROUP) < 0) {
		reply_error(r, 400, "'scopes' and 'groups' must be lists of strings");
	} else {
		wire_str(b, C_T_NAME, name);
		if (put_end(r, b, json_root(&j)))
			ask_send(r, created);
	}
	json_done(&j);
}

void h_token_revoke(struct req *r)
{
	if (strlen(r->vars[0]) > NAME_MAX_BYTES) {
		reply_error(r, 404, "no token has that name");
		return;
	}
	wire_str(ask_begin(r, C_TOKEN_REVOKE), C_T_NAME, r->vars[0]);
	ask_send(r, revoked);
}
