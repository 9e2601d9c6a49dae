/* Images, and builders: VMs whose second disk becomes one. */
#include <errno.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds
#define NAME_BYTES_MAX 256u
#define REPORT_BYTES_MAX (48u << 10)
#define REPORT_VALUES_MAX 4096u

static void put_image(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "id", m, C_T_IMAGE);
	put_field_list(o, "names", m, C_T_NAME);
	put_field_u64(o, "size_bytes", m, C_T_SIZE);
	put_field_u64(o, "stored_bytes", m, C_T_STORED_BYTES);
	put_time_field(o, "created_at", m, C_T_CREATED_NS);
	put_field_u64(o, "vms", m, C_T_USERS);
}

/* ---- the report of rootfs/unpack: out of a guest, so only what is of the right kind is handed on ---- */

static void put_texts(struct json_out *o, const struct json_val *root, const char *key)
{
	const struct json_val *list = json_get(root, key);

	json_arr(o, key);
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v))
		if (json_str(v))
			json_put_str(o, NULL, json_str(v));
	json_end(o);
}

static void put_report(struct json_out *o, const struct json_val *root)
{
	static const char *const texts[] = { "format", "digest", "architecture", "workdir", "user", "stop_signal", "healthcheck", "build" };
	static const char *const lists[] = { "entrypoint", "cmd", "env", "exposed", "volumes", "shell" };
	static const char *const numbers[] = { "layers", "entries", "bytes" };
	const struct json_val *labels = json_get(root, "labels");
	bool systemd = false;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const char *s = "";

		json_get_str(root, texts[i], &s);
		json_put_str(o, texts[i], s);
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		put_texts(o, root, lists[i]);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int64_t n = 0;

		json_get_i64(root, numbers[i], &n);
		json_put_i64(o, numbers[i], n);
	}
	json_get_bool(root, "systemd", &systemd);
	json_put_bool(o, "systemd", systemd);
	json_obj(o, "labels");
	for (const struct json_val *v = json_first(labels); v && labels->kind == JSON_OBJECT; v = json_next(labels, v))
		if (json_str(v))
			json_put_str(o, v->key, json_str(v));
	json_end(o);
}

static void put_whole(struct json_out *o, const struct wire_msg *m)
{
	struct wire_field f;
	struct json j;

	put_image(o, m);
	json_obj(o, "report");
	if (wire_get(m, C_T_TEXT, &f) && f.n && json_parse(&j, f.p, f.n, REPORT_VALUES_MAX, NULL) == 0) {
		put_report(o, json_root(&j));
		json_done(&j);
	}
	json_end(o);
}

static void put_message(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "message", m, C_T_TEXT);
}

/* ---- store ---- */

static void list_answered(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	list_answer(r, m, put_image);
}

static void answered(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_whole);
}

static void deleted(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_message);
}

void h_images(struct req *r)
{
	list_begin(r);
	ask_begin(r, C_IMAGE_LIST);
	ask_send(r, list_answered);
}

bool image_name_fits(struct req *r, const char *name)
{
	if (*name && strlen(name) < NAME_BYTES_MAX)
		return true;
	reply_error(r, 404, "no image has that name");
	return false;
}

void h_image(struct req *r)
{
	if (!image_name_fits(r, r->vars[0]))
		return;
	wire_str(ask_begin(r, C_IMAGE_GET), C_T_NAME, r->vars[0]);
	ask_send(r, answered);
}

void h_image_delete(struct req *r)
{
	if (!image_name_fits(r, r->vars[0]))
		return;
	wire_str(ask_begin(r, C_IMAGE_DELETE), C_T_NAME, r->vars[0]);
	ask_send(r, deleted);
}

void h_image_name(struct req *r)
{
	const char *add = "";
	struct buf *b;
	struct json j;

	if (!image_name_fits(r, r->vars[0]) || !body_json(r, &j))
		return;
	if (json_get_str(json_root(&j), "add", &add) || strlen(add) >= NAME_BYTES_MAX) {
		reply_error(r, 400, "'add' must be the name to add, as \"web:1\"");
	} else {
		b = ask_begin(r, C_IMAGE_NAME);
		wire_str(b, C_T_NAME, r->vars[0]);
		wire_str(b, C_T_ADD, add);
		ask_send(r, answered);
	}
	json_done(&j);
}

/* ---- builders ---- */

static void made(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 201, m, put_node);
}

/* A number of bytes, or "10G". 0, -ENOENT, -EINVAL. */
static int get_size(const struct json_val *root, const char *key, uint64_t *out)
{
	const char *text;
	int64_t n;
	int err = json_get_i64(root, key, &n);

	if (err == -ENOENT)
		return err;
	if (!err) {
		*out = (uint64_t)n;
		return n > 0 ? 0 : -EINVAL;
	}
	return json_get_str(root, key, &text) || parse_size(text, out) ? -EINVAL : 0;
}

static bool put_size(struct req *r, struct buf *b, const struct json_val *root, const char *key, uint16_t tag)
{
	uint64_t v;
	int err = get_size(root, key, &v);

	if (err == -EINVAL) {
		reply_error(r, 400, "'%s' must be a number, or a size as \"10G\"", key);
		return false;
	}
	if (!err)
		wire_u64(b, tag, v);
	return true;
}

void h_builder(struct req *r)
{
	const char *from = NULL, *network = NULL;
	struct json j;
	struct buf *b;

	if (!body_json(r, &j))
		return;
	b = ask_begin(r, C_BUILDER);
	if (json_get_str(json_root(&j), "from", &from) == -EINVAL || (from && strlen(from) >= NAME_BYTES_MAX))
		reply_error(r, 400, "'from' must be the name of an image");
	else if (json_get_str(json_root(&j), "network", &network) == -EINVAL || (network && strlen(network) >= NAME_BYTES_MAX))
		reply_error(r, 400, "'network' must be the name of a host group");
	else if (put_size(r, b, json_root(&j), "size", C_T_SIZE) && put_size(r, b, json_root(&j), "ram_bytes", C_T_RAM_BYTES) &&
		 put_size(r, b, json_root(&j), "cpus", C_T_CPUS) && put_size(r, b, json_root(&j), "scratch_bytes", C_T_SCRATCH_BYTES)) {
		wire_str(b, C_T_NAME, from);
		wire_str(b, C_T_GROUP, network);
		ask_send(r, made);
	}
	json_done(&j);
}

static void kept(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 201, m, put_image);
}

void h_image_keep(struct req *r)
{
	const char *vm = vm_name(r), *report = "";
	bool go_on = false;
	struct json j;
	struct buf *b;

	if (!vm || !body_json(r, &j))
		return;
	b = ask_begin(r, C_IMAGE_KEEP);
	wire_str(b, C_T_VM, vm);
	if (body_put_strings(b, json_root(&j), "names", C_T_NAME) < 0)
		reply_error(r, 400, "'names' must be a list of names, as [\"web:1\"]");
	else if (json_get_str(json_root(&j), "report", &report) == -EINVAL || strlen(report) > REPORT_BYTES_MAX)
		reply_error(r, 400, "'report' must be a string of at most %u bytes: the line that unpack printed", REPORT_BYTES_MAX);
	else if (json_get_bool(json_root(&j), "go_on", &go_on) == -EINVAL)
		reply_error(r, 400, "'go_on' is true or false");
	else {
		wire_str(b, C_T_TEXT, report);
		if (go_on)
			wire_u64(b, C_T_GO_ON, 1);
		ask_send(r, kept);
	}
	json_done(&j);
}
