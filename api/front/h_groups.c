/* Host groups: list, create, change, delete. A body's keys travel as they are; core checks them like those of its own file. */
#include <stdio.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds
#define DEPTH_MAX 4u

/* ---- answers ---- */

static void put_group(struct json_out *o, const struct wire_msg *m)
{
	uint64_t gpus = 0;

	wire_get_u64(m, C_T_GPU_COUNT, &gpus);
	put_field_str(o, "name", m, C_T_NAME);
	put_field_u64(o, "count", m, C_T_COUNT);
	put_field_u64(o, "ram_bytes", m, C_T_RAM_BYTES);
	put_field_u64(o, "cpus", m, C_T_CPUS);
	put_field_str(o, "arch", m, C_T_ARCH);
	json_put_u64(o, "gpu_count", gpus);
	/* ours */
	put_field_str(o, "source", m, C_T_SOURCE);
	put_field_u64(o, "keeps", m, C_T_KEEPS);
	put_field_bool(o, "persistent", m, C_T_PERSISTENT);
	put_field_u64(o, "storage_size", m, C_T_SIZE);
	put_field_str(o, "image", m, C_T_IMAGE);
	put_field_str(o, "kernel", m, C_T_KERNEL);
	json_obj(o, "network");
	put_field_str(o, "mode", m, C_T_NET_MODE);
	put_field_str(o, "bridge", m, C_T_BRIDGE);
	put_field_str(o, "gateway", m, C_T_GATEWAY);
	json_end(o);
}

static void put_group_notes(struct json_out *o, const struct wire_msg *m)
{
	put_group(o, m);
	put_field_list(o, "notes", m, C_T_NOTE);
}

static void put_message(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "message", m, C_T_TEXT);
}

static void groups_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	list_answer(r, m, put_group);
}

static void created(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 201, m, put_group_notes);
}

static void changed(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_group_notes);
}

static void deleted(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_message);
}

/* ---- a body as keys ---- */

static const char *put_entries(struct buf *b, const struct json_val *map, unsigned depth, const char **key);

/* A number, truth value, null or text, as lib/yaml would have read it. NULL, or what is wrong. */
static const char *put_scalar(struct buf *b, const struct json_val *v)
{
	char number[40];

	switch ((enum json_kind)v->kind) {
	case JSON_STRING:
		if (!json_str(v))
			return "holds a NUL character";
		wire_str(b, C_T_VALUE, json_str(v));
		return NULL;
	case JSON_INT:
		snprintf(number, sizeof(number), "%lld", (long long)v->i);
		break;
	case JSON_REAL:
		snprintf(number, sizeof(number), "%.17g", v->d);
		break;
	case JSON_BOOL:
		snprintf(number, sizeof(number), "%s", v->b ? "true" : "false");
		break;
	default:
		number[0] = '\0'; /* null */
	}
	wire_str(b, C_T_VALUE, number);
	wire_u64(b, C_T_PLAIN, 1);
	return NULL;
}

/* Of texts, or of mappings. */
static const char *put_list(struct buf *b, const struct json_val *list, unsigned depth, const char **key)
{
	size_t mark = wire_open(b, C_T_LIST), item;
	const char *wrong = NULL;

	for (const struct json_val *v = json_first(list); v && !wrong; v = json_next(list, v)) {
		if (v->kind == JSON_OBJECT) {
			item = wire_open(b, C_T_MAP);
			wrong = put_entries(b, v, depth + 1, key);
			wire_close(b, item);
		} else if (json_str(v)) {
			wire_str(b, C_T_VALUE, json_str(v));
		} else {
			wrong = "must be a list of strings or objects";
		}
	}
	wire_close(b, mark);
	return wrong;
}

static const char *put_value(struct buf *b, const struct json_val *v, unsigned depth, const char **key)
{
	const char *wrong;
	size_t mark;

	if (v->kind == JSON_ARRAY)
		return put_list(b, v, depth, key);
	if (v->kind != JSON_OBJECT)
		return put_scalar(b, v);
	mark = wire_open(b, C_T_MAP);
	wrong = put_entries(b, v, depth + 1, key);
	wire_close(b, mark);
	return wrong;
}

/* *key: at what it failed. */
static const char *put_entries(struct buf *b, const struct json_val *map, unsigned depth, const char **key)
{
	for (const struct json_val *v = json_first(map); v; v = json_next(map, v)) {
		size_t mark = wire_open(b, C_T_ENTRY);
		const char *wrong;

		*key = v->key;
		if (depth > DEPTH_MAX)
			return "stands too deep";
		if (strlen(v->key) != v->key_len)
			return "is no key";
		wire_str(b, C_T_NAME, v->key);
		wrong = put_value(b, v, depth, key);
		if (wrong)
			return wrong;
		wire_close(b, mark);
	}
	return NULL;
}

/* The body's keys into the request. false: answered. */
static bool put_keys(struct req *r, struct buf *b)
{
	const char *wrong, *key = "";
	struct json j = { 0 };

	if (!body_json(r, &j))
		return false;
	wrong = put_entries(b, json_root(&j), 1, &key);
	if (wrong)
		reply_error(r, 400, "'%.60s' %s", key, wrong);
	else if (b->failed)
		reply_error(r, 413, "the request is too large: its texts together must stay below 60 KiB");
	json_done(&j);
	return !wrong && !b->failed;
}

/* ---- handlers ---- */

void h_groups(struct req *r)
{
	list_begin(r);
	ask_begin(r, C_GROUPS);
	ask_send(r, groups_answer);
}

void h_group_create(struct req *r)
{
	if (put_keys(r, ask_begin(r, C_GROUP_CREATE)))
		ask_send(r, created);
}

void h_group_change(struct req *r)
{
	const char *group = group_name(r);
	struct buf *b;

	if (!group)
		return;
	b = ask_begin(r, C_GROUP_CHANGE);
	wire_str(b, C_T_GROUP, group);
	if (put_keys(r, b))
		ask_send(r, changed);
}

void h_group_delete(struct req *r)
{
	const char *group = group_name(r);

	if (!group)
		return;
	wire_str(ask_begin(r, C_GROUP_DELETE), C_T_GROUP, group);
	ask_send(r, deleted);
}
