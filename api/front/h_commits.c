/* Commits, and VMs forked from them. */
#include <errno.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds
#define ID_BYTES_MAX 88u

static void put_labels(struct json_out *o, const struct wire_msg *m)
{
	struct wire_iter it;
	struct wire_field f, value;
	struct wire_msg label;
	char key[256];

	json_obj(o, "labels");
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f))
		if (f.tag == C_T_LABEL && !wire_sub(&f, &label) && !wire_get_str(&label, C_T_NAME, key, sizeof(key)) && wire_get(&label, C_T_VALUE, &value))
			json_put_strn(o, key, value.p, value.n);
	json_end(o);
}

static void put_words(struct json_out *o, const struct wire_msg *m)
{
	json_put_str(o, "mode", "disk");
	put_field_list(o, "tags", m, C_T_TAG);
	put_labels(o, m);
	put_field_str(o, "cache_key", m, C_T_CACHE_KEY);
}

static void put_commit(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "hostname", m, C_T_VM);
	put_field_str(o, "commit_id", m, C_T_COMMIT);
	json_put_str(o, "status", "committed");
	json_put_str(o, "parent_status", "stopped");
	put_words(o, m);
}

static void put_info(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "commit_id", m, C_T_COMMIT);
	put_field_str(o, "source_hostname", m, C_T_VM);
	put_field_str(o, "source_host_group", m, C_T_GROUP);
	put_time_field(o, "created_at", m, C_T_CREATED_NS);
	put_words(o, m);
}

static void put_deleted(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "commit_id", m, C_T_COMMIT);
	json_put_str(o, "status", "deleted");
}

/* "Running" → "running". */
static void put_lower(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag)
{
	char text[16];

	if (wire_get_str(m, tag, text, sizeof(text)))
		return;
	for (char *p = text; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
	json_put_str(o, key, text);
}

static void put_fork(struct json_out *o, const struct wire_msg *m)
{
	uint64_t up = 0;

	wire_get_u64(m, C_T_UP, &up);
	put_field_str(o, "hostname", m, C_T_VM);
	put_field_str(o, "source_hostname", m, C_T_SOURCE_VM);
	put_field_str(o, "commit_id", m, C_T_COMMIT);
	json_put_str(o, "status", "forked");
	put_lower(o, "parent_status", m, C_T_SOURCE_STATUS);
	json_put_str(o, "child_status", up ? "running" : "starting");
	json_put_str(o, "mode", "disk");
	put_field_bool(o, "persistent", m, C_T_PERSISTENT);
}

static void committed(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_commit);
}

static void listed(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	list_answer(r, m, put_info);
}

static void forked(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_fork);
}

static void deleted(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_deleted);
}

/* ---- commit ---- */

/* Of {"k": "v", …}. false: it is something else. */
static bool take_labels(struct buf *b, const struct json_val *root)
{
	const struct json_val *labels = json_get(root, "labels");

	if (!labels || labels->kind == JSON_NULL)
		return true;
	if (labels->kind != JSON_OBJECT)
		return false;
	for (const struct json_val *v = json_first(labels); v; v = json_next(labels, v)) {
		size_t mark;

		if (!json_str(v))
			return false;
		mark = wire_open(b, C_T_LABEL);
		wire_str(b, C_T_NAME, v->key);
		wire_str(b, C_T_VALUE, json_str(v));
		wire_close(b, mark);
	}
	return true;
}

void h_commit(struct req *r)
{
	const char *vm = vm_name(r), *key = NULL;
	struct json j;
	struct buf *b;

	if (!vm || !body_json(r, &j))
		return;
	b = ask_begin(r, C_COMMIT);
	wire_str(b, C_T_VM, vm);
	if (body_put_strings(b, json_root(&j), "tags", C_T_TAG) < 0) {
		reply_error(r, 400, "'tags' must be a list of strings");
	} else if (!take_labels(b, json_root(&j))) {
		reply_error(r, 400, "'labels' must be an object of strings");
	} else if (json_get_str(json_root(&j), "cache_key", &key) == -EINVAL) {
		reply_error(r, 400, "'cache_key' must be a string");
	} else {
		if (key && *key)
			wire_str(b, C_T_CACHE_KEY, key);
		ask_send(r, committed);
	}
	json_done(&j);
}

void h_commits(struct req *r)
{
	static const struct { const char *key; uint16_t tag; } rows[] = {
		{ "tag", C_T_TAG }, { "cache_key", C_T_CACHE_KEY }, { "source", C_T_SOURCE_VM }, { "mode", C_T_MODE } };
	struct buf *b;

	list_begin(r);
	b = ask_begin(r, C_COMMIT_LIST);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (param(r, rows[i].key))
			wire_str(b, rows[i].tag, param(r, rows[i].key));
	ask_send(r, listed);
}

/* NULL: answered. */
static const char *commit_id(struct req *r)
{
	const char *id = r->vars[0];

	if (*id && strlen(id) < ID_BYTES_MAX && !strpbrk(id, "/\\") && !strstr(id, ".."))
		return id;
	reply_error(r, 404, "no commit has that id");
	return NULL;
}

void h_commit_delete(struct req *r)
{
	const char *id = commit_id(r);

	if (!id)
		return;
	wire_str(ask_begin(r, C_COMMIT_DELETE), C_T_COMMIT, id);
	ask_send(r, deleted);
}

/* ---- fork ---- */

static const char *put_choices(struct buf *b, const struct json_val *root)
{
	const char *mode = "append";
	bool persistent = true;
	int secrets, fixups;

	if (json_get_str(root, "tag_mode", &mode) == -EINVAL || (strcmp(mode, "append") != 0 && strcmp(mode, "replace") != 0))
		return "tag_mode";
	if (strcmp(mode, "replace") == 0)
		wire_u64(b, C_T_REPLACE_ALL, 1);
	if (body_put_strings(b, root, "tags", C_T_TAG) < 0)
		return "tags";
	if (json_get_bool(root, "persistent", &persistent) == -EINVAL)
		return "persistent";
	wire_u64(b, C_T_PERSISTENT, persistent);
	secrets = body_put_strings(b, root, "secrets", C_T_SECRET);
	if (secrets < 0)
		return "secrets";
	if (secrets)
		wire_u64(b, C_T_SECRETS_SET, 1);
	fixups = body_put_strings(b, root, "fixups", C_T_FIXUP);
	if (fixups < 0)
		return "fixups";
	if (fixups)
		wire_u64(b, C_T_FIXUPS_SET, 1);
	return NULL;
}

static const char *put_wishes(struct buf *b, const struct json_val *root)
{
	const char *bad = create_put_count(b, root, "ram_bytes", C_T_RAM_BYTES);

	if (!bad)
		bad = create_put_count(b, root, "vcpu", C_T_CPUS);
	if (!bad)
		bad = put_choices(b, root);
	return bad ? bad : create_put_network(b, root);
}

void h_fork(struct req *r)
{
	const char *id = commit_id(r), *wait = param(r, "wait"), *timeout = param(r, "timeout"), *bad;
	struct json j;
	struct buf *b;
	uint64_t ms;

	if (!id || !body_json(r, &j))
		return;
	b = ask_begin(r, C_FORK);
	wire_str(b, C_T_COMMIT, id);
	bad = put_wishes(b, json_root(&j));
	if (bad) {
		reply_error(r, 400, "'%s' has the wrong type or value", bad);
	} else if (wait && strcmp(wait, "agent") != 0 && strcmp(wait, "none") != 0) {
		reply_error(r, 400, "wait must be agent or none");
	} else if (timeout && parse_duration_ms(timeout, &ms)) {
		reply_error(r, 400, "timeout must be a duration such as 45s or 2m");
	} else {
		wire_str(b, C_T_WAIT, wait);
		if (timeout)
			wire_u64(b, C_T_TIMEOUT_MS, ms);
		ask_send(r, forked);
	}
	json_done(&j);
}
