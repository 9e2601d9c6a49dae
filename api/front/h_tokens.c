/* Named tokens. The answer to a creation is the one place where a token's text is seen. */
#include <errno.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds
#define NAME_MAX_BYTES 64u

/* {"max_vms": {"limit": 4, "used": 1}}: those that it has. */
static void put_quotas(struct json_out *o, const struct wire_msg *m)
{
	struct wire_iter it;
	struct wire_field fd;
	struct wire_msg inside;
	char key[16];

	json_obj(o, "quota");
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &fd)) { /* as many as the frame holds */
		if (fd.tag != C_T_QUOTA || wire_sub(&fd, &inside) || wire_get_str(&inside, C_T_NAME, key, sizeof(key)))
			continue;
		json_obj(o, key);
		put_field_u64(o, "limit", &inside, C_T_COUNT);
		put_field_u64(o, "used", &inside, C_T_SIZE);
		json_end(o);
	}
	json_end(o);
}

static void put_token(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "name", m, C_T_NAME);
	put_field_list(o, "scopes", m, C_T_SCOPE);
	put_field_list(o, "groups", m, C_T_GROUP);
	put_quotas(o, m);
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

/* Numbers, and for what is measured in bytes sizes such as "8G" too. false: answered. */
static bool put_limits(struct req *r, struct buf *b, const struct json_val *root)
{
	static const struct { const char *key; bool bytes; } keys[] = { { "max_vms", false }, { "max_vcpus", false }, { "max_ram", true }, { "max_disk", true } };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const char *text = NULL;
		uint64_t v = 0;
		int64_t n = 0;
		int err = json_get_i64(root, keys[i].key, &n);

		if (err == -ENOENT)
			continue;
		v = n > 0 ? (uint64_t)n : 0;
		if (err && keys[i].bytes && !json_get_str(root, keys[i].key, &text))
			err = parse_size(text, &v);
		if (err || !v) {
			reply_error(r, 400, "'%s' must be more than 0%s: leave it out for no limit", keys[i].key, keys[i].bytes ? ", a number of bytes or a size such as \"8G\"" : "");
			return false;
		}
		size_t mark = wire_open(b, C_T_QUOTA);
		wire_str(b, C_T_NAME, keys[i].key);
		wire_u64(b, C_T_COUNT, v);
		wire_close(b, mark);
	}
	return true;
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
		if (put_limits(r, b, json_root(&j)) && put_end(r, b, json_root(&j)))
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
