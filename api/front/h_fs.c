/* Single file-system operations in the guest. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define TREE_MS 600000u /* removing or listing what may be a large tree */

static void late(struct req *r)
{
	reply_error(r, 503, "the agent did not answer in time");
}

static void lost(struct req *r)
{
	reply_error(r, 502, "the agent was lost before it answered");
}

static void put_entry(struct json_out *o, const struct wire_msg *m)
{
	uint64_t perm = 0, mtime = 0;
	char mode[8];

	wire_get_u64(m, A_T_PERM, &perm);
	wire_get_u64(m, A_T_TIME_NS, &mtime);
	snprintf(mode, sizeof(mode), "%04o", (unsigned)(perm & 07777));
	put_field_str(o, "name", m, A_T_NAME);
	put_field_str(o, "type", m, A_T_SOURCE_TYPE);
	put_field_u64(o, "size", m, A_T_SIZE);
	put_time(o, "mtime", mtime);
	json_put_str(o, "mode", mode);
}

/* One frame with the answer: OK becomes an empty 200, an entry its object. */
static void single_frame(struct req *r, const struct wire_msg *m)
{
	struct json_out o;
	struct buf b;

	if (m->type == WIRE_ERR) {
		reply_refusal(r, m);
		return;
	}
	buf_init(&b, 65536);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	if (m->type == A_FS_ENTRY)
		put_entry(&o, m);
	json_end(&o);
	reply_json(r, 200, &b);
	buf_done(&b);
}

static void list_frame(struct req *r, const struct wire_msg *m)
{
	struct json_out o;

	if (m->type == WIRE_ERR) {
		reply_refusal(r, m);
	} else if (m->type == A_FS_ENTRY) {
		if (buf_len(&r->gather) > 1)
			buf_adds(&r->gather, ",");
		json_out_init(&o, &r->gather);
		json_obj(&o, NULL);
		put_entry(&o, m);
		json_end(&o);
	} else if (m->type == WIRE_OK) {
		buf_adds(&r->gather, "]");
		reply_json(r, 200, &r->gather);
	}
}

static const struct agent_ops single_ops = { single_frame, lost, NULL };
static const struct agent_ops list_ops = { list_frame, lost, NULL };

/* Operations whose whole input stands in the query. */
static void query_op(struct req *r, uint16_t type)
{
	struct buf *b = stream_begin(r, type);

	wire_str(b, A_T_PATH, param(r, "path"));
	if (!param_put_u32(r, b, "uid", A_T_UID))
		return;
	if (type == A_FS_REMOVE && param_is_true(r, "recursive"))
		wire_u64(b, A_T_RECURSIVE, 1);
	stream_send(r);
}

static void readdir_opened(struct req *r)
{
	query_op(r, A_FS_READDIR);
}

static void stat_opened(struct req *r)
{
	query_op(r, A_FS_STAT);
}

static void remove_opened(struct req *r)
{
	query_op(r, A_FS_REMOVE);
}

static void open_op(struct req *r, unsigned limit_ms, const struct agent_ops *ops, void (*opened)(struct req *r))
{
	const char *vm = vm_name(r);

	if (!vm)
		return;
	r->deadline_ms = now_mono_ms() + limit_ms;
	r->on_deadline = late;
	stream_open(r, vm, true, ops, opened);
}

static void open_query_op(struct req *r, unsigned limit_ms, const struct agent_ops *ops, void (*opened)(struct req *r))
{
	if (param(r, "path"))
		open_op(r, limit_ms, ops, opened);
	else
		reply_error(r, 400, "path is needed");
}

void h_readdir(struct req *r)
{
	list_begin(r);
	open_query_op(r, TREE_MS, &list_ops, readdir_opened);
}

void h_stat(struct req *r)
{
	open_query_op(r, AGENT_ANSWER_MS, &single_ops, stat_opened);
}

void h_remove(struct req *r)
{
	open_query_op(r, TREE_MS, &single_ops, remove_opened);
}

/* ---- mkdir: the input is JSON ---- */

struct mkdir_args {
	struct json j;
};

static void mkdir_done(void *state)
{
	struct mkdir_args *a = state;

	json_done(&a->j);
	free(a);
}

static void mkdir_opened(struct req *r)
{
	const struct json_val *root = json_root(&((struct mkdir_args *)r->state)->j);
	struct buf *b = stream_begin(r, A_FS_MKDIR);
	const char *path = NULL, *mode = NULL;
	bool recursive = false;

	json_get_str(root, "path", &path);
	json_get_str(root, "mode", &mode);
	json_get_bool(root, "recursive", &recursive);
	wire_str(b, A_T_PATH, path);
	if (!param_put_u32(r, b, "uid", A_T_UID) || !param_put_u32(r, b, "gid", A_T_GID) || !param_put_perm(r, b, mode, A_T_PERM))
		return;
	if (recursive)
		wire_u64(b, A_T_RECURSIVE, 1);
	stream_send(r);
}

void h_mkdir(struct req *r)
{
	struct mkdir_args *a = calloc(1, sizeof(*a));
	const char *path = NULL, *mode = NULL;
	const struct json_val *root;
	bool recursive;

	if (!a) {
		reply_error(r, 503, "out of memory");
		return;
	}
	r->state = a;
	r->state_done = mkdir_done;
	if (!body_json(r, &a->j))
		return;
	root = json_root(&a->j);
	if (json_get_str(root, "path", &path) || !*path)
		reply_error(r, 400, "path is needed");
	else if (json_get_str(root, "mode", &mode) == -EINVAL || json_get_bool(root, "recursive", &recursive) == -EINVAL)
		reply_error(r, 400, "mode must be a string such as 0755, recursive true or false");
	else
		open_op(r, AGENT_ANSWER_MS, &single_ops, mkdir_opened);
}
