/* Copies: bytes of a request body to the agent, or from the agent to a response body. Nothing is kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

struct cp {
	const char *agent_mode; /* "binary" "tar" "recursive" */
	bool v1, in;
	bool done_sending;      /* in: the body was sent whole */
};

static const struct {
	const char *name, *agent_mode;
	bool v1, in;
} modes[] = {
	{ "binary", "binary", false, true },
	{ "tar", "tar", false, true },
	{ "cp-v1-binary", "binary", true, true },
	{ "cp-v1-tar", "tar", true, true },
	{ "cp-v1-recursive", "recursive", true, false },
};

/* false: answered. */
static bool cp_begin(struct req *r, bool in)
{
	const char *mode = param(r, "mode");
	struct cp *cp = calloc(1, sizeof(*cp));

	if (!cp) {
		reply_error(r, 503, "out of memory");
		return false;
	}
	r->state = cp;
	r->state_done = free;
	cp->in = in;
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (strcmp(mode ? mode : "binary", modes[i].name) != 0 || (in && !modes[i].in))
			continue;
		cp->agent_mode = modes[i].agent_mode;
		cp->v1 = modes[i].v1;
	}
	if (!cp->agent_mode)
		reply_error(r, 400, "invalid mode: %.64s", mode);
	else if (!param(r, "path"))
		reply_error(r, 400, "path is needed");
	return !r->ended;
}

/* ---- into the guest ---- */

static void in_piece(struct req *r, uint8_t *p, size_t n)
{
	stream_send_data(r, A_DATA, p, n);
}

static void in_end(struct req *r)
{
	struct cp *cp = r->state;

	cp->done_sending = true;
	stream_begin(r, A_DATA_EOF);
	stream_send(r);
}

static void in_reply(struct req *r, const struct wire_msg *m)
{
	struct json_out o;
	struct buf b;

	buf_init(&b, 256);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	put_field_u64(&o, "size", m, A_T_SIZE);
	json_end(&o);
	reply_json(r, 200, &b);
	buf_done(&b);
}

/* First OK: the agent is ready for the body. Second: everything is in its place. */
static void in_frame(struct req *r, const struct wire_msg *m)
{
	struct cp *cp = r->state;

	if (m->type == WIRE_ERR)
		reply_refusal(r, m);
	else if (m->type != WIRE_OK)
		return;
	else if (cp->done_sending)
		in_reply(r, m);
	else if (!r->on_body)
		req_read_body(r, in_piece, in_end);
}

static void lost(struct req *r)
{
	if (r->replied)
		conn_break(r->conn); /* without the last chunk: the client sees a broken copy */
	else
		reply_error(r, 502, "the agent was lost before the copy was complete");
}

static const struct agent_ops in_ops = { in_frame, lost, NULL };

static void in_opened(struct req *r)
{
	struct cp *cp = r->state;
	struct buf *b = stream_begin(r, A_CP_IN);
	uint64_t size;
	char unpacked[24];

	wire_str(b, A_T_PATH, param(r, "path"));
	wire_str(b, A_T_MODE, cp->agent_mode);
	if (!param_put_u32(r, b, "uid", A_T_UID) || !param_put_u32(r, b, "gid", A_T_GID) ||
	    !param_put_perm(r, b, param(r, "permissions"), A_T_PERM) || !param_put_all(r, b, "exclude", A_T_EXCLUDE, AGENT_ARGS_MAX))
		return;
	if (http_head_copy(&r->head, "X-Slicer-Unpacked-Size", unpacked, sizeof(unpacked)) == 0 &&
	    parse_u64(unpacked, INT64_MAX, &size) == 0)
		wire_u64(b, A_T_SIZE, size);
	else if (r->head.body == HTTP_BODY_LENGTH && strcmp(cp->agent_mode, "binary") == 0)
		wire_u64(b, A_T_SIZE, r->head.body_bytes);
	if (cp->v1) {
		wire_u64(b, A_T_V1, 1);
		param_put_str(r, b, "source_name", A_T_SOURCE_NAME);
		param_put_str(r, b, "source_type", A_T_SOURCE_TYPE);
		if (param_is_true(r, "copy_contents"))
			wire_u64(b, A_T_CONTENTS, 1);
	}
	stream_send(r);
}

void h_cp_in(struct req *r)
{
	const char *vm = vm_name(r);

	if (vm && cp_begin(r, true))
		stream_open(r, vm, false, &in_ops, in_opened);
}

/* ---- out of the guest ---- */

static void v1_fields(struct req *r, const struct wire_msg *m, const char *type)
{
	struct wire_field name = { 0 };
	char encoded[BASE64_LEN(1024) + 1] = "";

	wire_get(m, A_T_SOURCE_NAME, &name);
	if (name.p && name.n <= 1024)
		base64url_encode(name.p, name.n, encoded);
	reply_field(r, "X-Slicer-Source-Type", type);
	reply_field(r, "X-Slicer-Source-Name-Base64", encoded);
}

static void out_meta(struct req *r, const struct wire_msg *m)
{
	const struct cp *cp = r->state;
	char type[16] = "file", text[24];
	uint64_t perm, size;
	bool file;

	wire_get_str(m, A_T_SOURCE_TYPE, type, sizeof(type));
	file = strcmp(type, "file") == 0;
	/* a tar of one file is still a tar; "recursive" sends what the source is */
	reply_begin(r, 200, strcmp(cp->agent_mode, "binary") == 0 || (strcmp(cp->agent_mode, "recursive") == 0 && file) ?
		    "application/octet-stream" : "application/x-tar");
	if (file && wire_get_u64(m, A_T_PERM, &perm)) {
		snprintf(text, sizeof(text), "%04o", (unsigned)(perm & 07777));
		reply_field(r, "X-Slicer-File-Mode", text);
	}
	if (file && wire_get_u64(m, A_T_SIZE, &size)) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
		reply_field(r, "X-Slicer-Unpacked-Size", text);
	}
	if (cp->v1)
		v1_fields(r, m, file ? "file" : "directory");
	reply_stream(r);
}

static void out_frame(struct req *r, const struct wire_msg *m)
{
	struct wire_field f;

	if (m->type == A_CP_META && !r->replied)
		out_meta(r, m);
	else if (m->type == A_DATA && r->replied && wire_get(m, A_T_DATA, &f))
		reply_data(r, f.p, f.n);
	else if (m->type == A_DATA_EOF && r->replied)
		req_end(r);
	else if (m->type == WIRE_ERR && r->replied)
		conn_break(r->conn);
	else if (m->type == WIRE_ERR)
		reply_refusal(r, m);
}

static const struct agent_ops out_ops = { out_frame, lost, NULL };

static void out_opened(struct req *r)
{
	struct cp *cp = r->state;
	struct buf *b = stream_begin(r, A_CP_OUT);

	wire_str(b, A_T_PATH, param(r, "path"));
	wire_str(b, A_T_MODE, cp->agent_mode);
	if (!param_put_u32(r, b, "uid", A_T_UID) || !param_put_all(r, b, "exclude", A_T_EXCLUDE, AGENT_ARGS_MAX))
		return;
	if (cp->v1)
		wire_u64(b, A_T_V1, 1);
	stream_send(r);
}

void h_cp_out(struct req *r)
{
	const char *vm = vm_name(r);

	if (vm && cp_begin(r, false))
		stream_open(r, vm, false, &out_ops, out_opened);
}
