/* VMs as core knows them: info, lists, create, delete, describe, tags. */
#include <errno.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds

void h_healthz(struct req *r)
{
	reply_text(r, 200, "OK");
}

void h_not_yet(struct req *r)
{
	reply_error(r, 501, "this version of the daemon does not offer that yet");
}

void h_no_such(struct req *r)
{
	reply_error(r, 404, "this version of the daemon keeps none of these");
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

static bool flag_set(const struct wire_msg *m, uint16_t tag)
{
	uint64_t v = 0;

	wire_get_u64(m, tag, &v);
	return v != 0;
}

static void put_network(struct json_out *o, const struct wire_msg *m)
{
	bool allow = flag_set(m, C_T_NET_SET_ALLOW), drop = flag_set(m, C_T_NET_SET_DROP);
	struct wire_field f;

	json_obj(o, "network");
	put_field_str(o, "mode", m, C_T_NET_MODE);
	json_put_str(o, "policy_source", allow || drop ? "vm" : "host_group");
	json_obj(o, "host_group");
	put_field_list(o, "allow", m, C_T_GROUP_ALLOW);
	put_field_list(o, "drop", m, C_T_GROUP_DROP);
	json_end(o);
	if (allow || drop) {
		json_obj(o, "override");
		if (allow)
			put_field_list(o, "allow", m, C_T_NET_ALLOW);
		if (drop)
			put_field_list(o, "drop", m, C_T_NET_DROP);
		json_end(o);
	}
	json_obj(o, "effective");
	put_field_list(o, "allow", m, allow ? C_T_NET_ALLOW : C_T_GROUP_ALLOW);
	put_field_list(o, "drop", m, drop ? C_T_NET_DROP : C_T_GROUP_DROP);
	json_end(o);
	if (wire_get(m, C_T_NET_CUT, &f)) { /* there is some */
		json_obj(o, "chaos");
		put_chaos(o, m);
		json_end(o);
	}
	json_end(o);
}

static void put_description(struct json_out *o, const struct wire_msg *m)
{
	uint64_t open = 0;

	wire_get_u64(m, C_T_OPEN_CONNS, &open);
	put_node(o, m);
	put_field_str(o, "storage", m, C_T_STORAGE);
	put_field_str(o, "image", m, C_T_IMAGE);
	put_network(o, m);
	json_put_u64(o, "open_agent_connections", open);
}

static void describe_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_description);
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
