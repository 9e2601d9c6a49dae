/* VMs as core knows them: info, lists, create, delete, describe, tags. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds
#define BG_ANSWER_MS 2000u /* describe does without the background commands then */

void h_healthz(struct req *r)
{
	reply_text(r, 200, "OK");
}

void h_not_yet(struct req *r)
{
	reply_error(r, 501, "this version of the daemon does not offer that yet");
}

/* ---- info ---- */

static void put_info(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "version", m, C_T_VERSION);
	put_field_str(o, "git_commit", m, C_T_GIT_COMMIT);
	json_put_str(o, "platform", "linux");
	put_field_str(o, "arch", m, C_T_ARCH);
}

static void info_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_info);
}

void h_info(struct req *r)
{
	ask_begin(r, C_INFO);
	ask_send(r, info_answer);
}

/* ---- lists of VMs ---- */

static void nodes_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	list_answer(r, m, put_node);
}

static void ask_nodes(struct req *r, const char *group)
{
	const char *tag = param(r, "tag"), *prefix = param(r, "tag_prefix");
	struct buf *b;

	if (tag && prefix) {
		reply_error(r, 400, "tag and tag_prefix cannot be used together");
		return;
	}
	list_begin(r);
	b = ask_begin(r, C_NODES);
	wire_str(b, C_T_GROUP, group);
	wire_str(b, C_T_TAG, tag);
	wire_str(b, C_T_TAG_PREFIX, prefix);
	ask_send(r, nodes_answer);
}

void h_nodes(struct req *r)
{
	ask_nodes(r, NULL);
}

void h_group_nodes(struct req *r)
{
	const char *group = group_name(r);

	if (group)
		ask_nodes(r, group);
}

/* ---- delete ---- */

static void put_deleted(struct json_out *o, const struct wire_msg *m)
{
	uint64_t removed = 0;

	wire_get_u64(m, C_T_DISK_REMOVED, &removed);
	put_field_str(o, "message", m, C_T_TEXT);
	json_put_str(o, "disk_removed", removed ? "true" : "false"); /* a string, in the contract */
	json_put_str(o, "error", "");
}

static void delete_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_deleted);
}

void h_delete(struct req *r)
{
	const char *group = group_name(r);
	struct buf *b;

	if (!group)
		return;
	if (!name_is_valid(r->vars[1], 63)) {
		reply_error(r, 404, "no VM has that name");
		return;
	}
	b = ask_begin(r, C_DELETE);
	wire_str(b, C_T_GROUP, group);
	wire_str(b, C_T_VM, r->vars[1]);
	ask_send(r, delete_answer);
}

/* ---- describe ---- */

static void put_network(struct json_out *o, const struct wire_msg *m)
{
	struct wire_field f;

	json_obj(o, "network");
	put_rules(o, m);
	put_field_u64(o, "bytes_per_s", m, C_T_NET_BYTES_S);
	put_field_u64(o, "packets_per_s", m, C_T_NET_PACKETS_S);
	if (wire_get(m, C_T_NET_CUT, &f)) { /* there is some */
		json_obj(o, "chaos");
		put_chaos(o, m);
		json_end(o);
	}
	json_end(o);
}

/* Besides the root disk, when there are any. */
static void put_disks(struct json_out *o, const struct wire_msg *m)
{
	struct wire_iter it;
	struct wire_field f;
	struct wire_msg disk;
	uint64_t read_only;
	bool any = false;

	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f)) {
		if (f.tag != C_T_DISK || wire_sub(&f, &disk))
			continue;
		if (!any)
			json_arr(o, "disks");
		any = true;
		read_only = 0;
		wire_get_u64(&disk, C_T_PLAIN, &read_only);
		json_obj(o, NULL);
		put_field_str(o, "device", &disk, C_T_NAME);
		put_field_u64(o, "size_bytes", &disk, C_T_SIZE);
		json_put_bool(o, "read_only", read_only);
		put_field_str(o, "file", &disk, C_T_TEXT);
		json_end(o);
	}
	if (any)
		json_end(o);
}

static void put_description(struct json_out *o, const struct wire_msg *m)
{
	uint64_t open = 0;

	wire_get_u64(m, C_T_OPEN_CONNS, &open);
	put_node(o, m);
	put_field_str(o, "storage", m, C_T_STORAGE);
	put_field_str(o, "disk_error", m, C_T_DISK_ERROR);
	put_field_str(o, "image", m, C_T_IMAGE);
	put_field_str(o, "commit_id", m, C_T_COMMITTED);
	put_field_str(o, "parent_commit_id", m, C_T_COMMIT);
	put_network(o, m);
	put_disks(o, m);
	json_put_u64(o, "open_agent_connections", open);
}

/* The object so far stands in r->gather; a VM that runs is asked for its background commands, and what it does not tell is left out. */
struct describing {
	struct json_out out, before; /* before: without bg_execs */
	size_t mark;                 /* of r->gather, then */
};

static void describe_end(struct req *r, bool told)
{
	struct describing *d = r->state;

	if (told) {
		json_end(&d->out);
	} else {
		r->gather.tail = r->gather.head + d->mark;
		d->out = d->before;
	}
	json_end(&d->out);
	reply_json(r, 200, &r->gather);
}

static void describe_without(struct req *r)
{
	describe_end(r, false);
}

static void bg_frame(struct req *r, const struct wire_msg *m)
{
	struct describing *d = r->state;
	uint64_t running = 0;

	if (m->type != A_BG_IS) {
		describe_end(r, m->type == WIRE_OK);
		return;
	}
	wire_get_u64(m, A_T_RUNNING, &running);
	json_obj(&d->out, NULL);
	put_field_str(&d->out, "exec_id", m, A_T_EXEC_ID);
	put_field_str(&d->out, "command", m, A_T_CMD);
	put_field_u64(&d->out, "pid", m, A_T_PID);
	json_put_str(&d->out, "state", running ? "running" : "exited");
	put_time_field(&d->out, "started_at", m, A_T_TIME_NS);
	put_field_u64(&d->out, "exit_code", m, A_T_CODE);
	json_end(&d->out);
}

static const struct agent_ops bg_ops = { bg_frame, describe_without, NULL };

static void bg_opened(struct req *r)
{
	stream_begin(r, A_BG_LIST);
	stream_send(r);
}

static void bg_connected(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	if (m->type == WIRE_OK)
		stream_adopt(r, fds, n_fds);
	else
		describe_without(r);
}

static void describe_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	char status[16] = "";
	struct describing *d;

	IGNORE_FDS;
	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	d = r->state = calloc(1, sizeof(*d));
	r->state_done = free;
	if (!d) {
		reply_error(r, 503, "out of memory; try again");
		return;
	}
	buf_done(&r->gather);
	buf_init(&r->gather, OUT_BYTES_MAX);
	json_out_init(&d->out, &r->gather);
	json_obj(&d->out, NULL);
	put_description(&d->out, m);
	d->before = d->out;
	d->mark = buf_len(&r->gather);
	json_arr(&d->out, "bg_execs");
	if (wire_get_str(m, C_T_STATUS, status, sizeof(status)) || strcmp(status, "Running") != 0) {
		describe_without(r);
		return;
	}
	r->deadline_ms = now_mono_ms() + BG_ANSWER_MS;
	r->on_deadline = describe_without;
	stream_open_with(r, r->vars[0], true, &bg_ops, bg_opened, bg_connected);
}

static void describe_late(struct req *r)
{
	reply_error(r, 503, "the VM's process did not answer in time");
}

void h_describe(struct req *r)
{
	const char *vm = vm_name(r);

	if (!vm)
		return;
	r->deadline_ms = now_mono_ms() + AGENT_ANSWER_MS; /* core asks the VM's process, which may hang */
	r->on_deadline = describe_late;
	wire_str(ask_begin(r, C_DESCRIBE), C_T_VM, vm);
	ask_send(r, describe_answer);
}

/* ---- tags ---- */

static void tags_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct json_out o;
	struct buf b;

	IGNORE_FDS;
	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	buf_init(&b, OUT_BYTES_MAX);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_str(&o, "hostname", r->vars[0]);
	put_field_list(&o, "tags", m, C_T_TAG);
	json_end(&o);
	reply_json(r, 200, &b);
	buf_done(&b);
}

void h_tags_get(struct req *r)
{
	const char *vm = vm_name(r);

	if (!vm)
		return;
	wire_str(ask_begin(r, C_TAGS), C_T_VM, vm);
	ask_send(r, tags_answer);
}

void h_tags_patch(struct req *r)
{
	const char *vm = vm_name(r), *name = NULL;
	struct json j = { 0 };
	struct buf *b;
	int add, del, replace, named;

	if (!vm || !body_json(r, &j))
		return;
	b = ask_begin(r, C_TAGS);
	wire_str(b, C_T_VM, vm);
	add = body_put_strings(b, json_root(&j), "add", C_T_ADD);
	del = body_put_strings(b, json_root(&j), "remove", C_T_REMOVE);
	replace = body_put_strings(b, json_root(&j), "replace", C_T_REPLACE);
	named = json_get_str(json_root(&j), "name", &name);
	if (replace > 0)
		wire_u64(b, C_T_REPLACE_ALL, 1);
	if (named == 0)
		wire_str(b, C_T_TAG_NAME, name);
	if (add < 0 || del < 0 || replace < 0 || named == -EINVAL)
		reply_error(r, 400, "add, remove and replace must be lists of strings, name a string");
	else if (replace > 0 && (add > 0 || del > 0))
		reply_error(r, 400, "replace cannot be used with add or remove");
	else
		ask_send(r, tags_answer);
	json_done(&j);
}
