/* File changes in the guest as server-sent events. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define HEARTBEAT_MS 15000u

/* A comment line keeps proxies and clients awake; a client that does not read gets none on top. */
static void heartbeat(struct req *r)
{
	if (r->replied && !conn_out_full(r->conn))
		reply_data(r, ":\n\n", 3);
	r->deadline_ms = now_mono_ms() + HEARTBEAT_MS;
	r->on_deadline = heartbeat;
}

static void late(struct req *r)
{
	reply_error(r, 503, "the agent did not answer in time");
}

static void send_event(struct req *r, const struct wire_msg *m)
{
	struct buf *b = &r->conn->front->line;
	struct json_out o;
	uint64_t id = 0, ns = now_real_ns();

	wire_get_u64(m, A_T_FRAME_ID, &id);
	wire_get_u64(m, A_T_TIME_NS, &ns);
	buf_clear(b);
	buf_printf(b, "id: %llu\nevent: watch\ndata: ", (unsigned long long)id);
	json_out_init(&o, b);
	json_obj(&o, NULL);
	json_put_u64(&o, "id", id);
	put_field_str(&o, "type", m, A_T_EVENT);
	put_field_str(&o, "path", m, A_T_PATH);
	put_time(&o, "timestamp", ns);
	put_field_u64(&o, "size", m, A_T_SIZE);
	put_field_bool(&o, "isDir", m, A_T_IS_DIR);
	put_field_str(&o, "message", m, WIRE_T_TEXT);
	json_end(&o);
	buf_adds(b, "\n\n");
	if (b->failed)
		conn_break(r->conn);
	else
		reply_data(r, buf_data(b), buf_len(b));
}

/* First OK: it watches. Second: it ended, by itself. */
static void watch_frame(struct req *r, const struct wire_msg *m)
{
	if (m->type == WIRE_ERR && !r->replied) {
		reply_refusal(r, m);
	} else if (m->type == WIRE_ERR) {
		conn_break(r->conn);
	} else if (m->type == WIRE_OK && !r->replied) {
		reply_begin(r, 200, "text/event-stream");
		reply_field(r, "Cache-Control", "no-cache");
		reply_stream(r);
		heartbeat(r);
	} else if (m->type == WIRE_OK) {
		req_end(r);
	} else if (m->type == A_FS_EVENT && r->replied) {
		send_event(r, m);
	}
}

static void lost(struct req *r)
{
	if (r->replied)
		conn_break(r->conn);
	else
		reply_error(r, 502, "the agent was lost before it answered");
}

static const struct agent_ops watch_ops = { watch_frame, lost, NULL };

static void watch_opened(struct req *r)
{
	struct buf *b = stream_begin(r, A_FS_WATCH);

	if (!param_put_all(r, b, "paths", A_T_PATH, AGENT_ARGS_MAX) || !param_put_all(r, b, "patterns", A_T_PATTERN, AGENT_ARGS_MAX) ||
	    !param_put_all(r, b, "events", A_T_EVENT, AGENT_ARGS_MAX) || !param_put_ms(r, b, "debounce", A_T_DEBOUNCE_MS) ||
	    !param_put_ms(r, b, "timeout", A_T_TIMEOUT_MS) || !param_put_u64(r, b, "max_events", A_T_MAX_EVENTS, UINT32_MAX) ||
	    !param_put_u32(r, b, "uid", A_T_UID))
		return;
	if (param_is_true(r, "recursive"))
		wire_u64(b, A_T_RECURSIVE, 1);
	if (param_is_true(r, "one_shot"))
		wire_u64(b, A_T_ONE_SHOT, 1);
	r->deadline_ms = now_mono_ms() + AGENT_ANSWER_MS;
	r->on_deadline = late;
	stream_send(r);
}

void h_watch(struct req *r)
{
	const char *vm = vm_name(r);
	char last_id[32];
	uint64_t id;
	int err;

	if (!vm)
		return;
	r->with_client = true;
	err = http_head_copy(&r->head, "Last-Event-ID", last_id, sizeof(last_id));
	if (!param(r, "paths"))
		reply_error(r, 400, "paths is needed");
	else if (err != -ENOENT && (err || parse_u64(last_id, UINT64_MAX, &id)))
		reply_error(r, 400, "Last-Event-ID must be a number");
	else
		stream_open(r, vm, true, &watch_ops, watch_opened);
}
