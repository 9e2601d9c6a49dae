/* Disks: what they take, growing, export as one raw image, giving zeros back. */
#include <stdio.h>
#include <stdlib.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds

static void put_disk(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "hostname", m, C_T_VM);
	put_field_str(o, "hostgroup", m, C_T_GROUP);
	put_field_str(o, "status", m, C_T_STATUS);
	put_field_u64(o, "size_bytes", m, C_T_SIZE);
	put_field_u64(o, "own_bytes", m, C_T_STORED_BYTES);
	put_field_u64(o, "shared_bytes", m, C_T_SHARED_BYTES);
	put_field_str(o, "image", m, C_T_IMAGE);
	put_field_str(o, "error", m, C_T_DISK_ERROR);
}

static void put_df(struct json_out *o, const struct wire_msg *m)
{
	put_field_u64(o, "total_bytes", m, C_T_TOTAL_BYTES);
	put_field_u64(o, "free_bytes", m, C_T_FREE_BYTES);
	put_field_u64(o, "vms_bytes", m, C_T_STORED_BYTES);
	put_field_u64(o, "images_bytes", m, C_T_SHARED_BYTES);
	put_field_u64(o, "promised_bytes", m, C_T_PROMISED_BYTES);
}

static void put_grown(struct json_out *o, const struct wire_msg *m)
{
	put_field_u64(o, "size_bytes", m, C_T_SIZE);
	put_field_str(o, "message", m, C_T_TEXT);
}

static void put_sparse(struct json_out *o, const struct wire_msg *m)
{
	put_field_u64(o, "own_bytes", m, C_T_STORED_BYTES);
	put_field_u64(o, "freed_bytes", m, C_T_FREED_BYTES);
}

static void list_answered(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	list_answer(r, m, put_disk);
}

static void df_answered(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_df);
}

static void grown(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_grown);
}

static void sparsified(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_sparse);
}

void h_disks(struct req *r)
{
	list_begin(r);
	ask_begin(r, C_DISK_LIST);
	ask_send(r, list_answered);
}

void h_disk_usage(struct req *r)
{
	ask_begin(r, C_DISK_DF);
	ask_send(r, df_answered);
}

void h_disk_sparsify(struct req *r)
{
	const char *vm = vm_name(r);

	if (!vm)
		return;
	wire_str(ask_begin(r, C_DISK_SPARSIFY), C_T_VM, vm);
	ask_send(r, sparsified);
}

void h_disk_grow(struct req *r)
{
	const char *vm = vm_name(r), *text;
	uint64_t bytes = 0;
	struct json j;
	struct buf *b;
	int64_t n;

	if (!vm || !body_json(r, &j))
		return;
	if (!json_get_i64(json_root(&j), "size", &n) && n > 0)
		bytes = (uint64_t)n;
	else if (!json_get_str(json_root(&j), "size", &text) && parse_size(text, &bytes))
		bytes = 0;
	json_done(&j);
	if (!bytes) {
		reply_error(r, 400, "'size' must be the new size of the disk: bytes, or \"20G\"");
		return;
	}
	b = ask_begin(r, C_DISK_GROW);
	wire_str(b, C_T_VM, vm);
	wire_u64(b, C_T_SIZE, bytes);
	ask_send(r, grown);
}

/* ---- export: bytes out of core's pipe, as fast as the client takes them ---- */

struct export {
	uint64_t left;
};

static void export_bytes(struct req *r, const uint8_t *p, size_t n)
{
	struct export *e = r->state;

	if (n > e->left) {
		conn_break(r->conn);
		return;
	}
	e->left -= n;
	reply_data(r, p, n);
}

static void export_end(struct req *r)
{
	struct export *e = r->state;

	if (e->left)
		conn_break(r->conn); /* what came is no whole disk, and must not look like one */
	else
		req_end(r);
}

static const struct agent_ops export_ops = { .lost = export_end, .raw = export_bytes };

static void export_begin(struct req *r)
{
	struct export *e = r->state;
	char size[24];

	snprintf(size, sizeof(size), "%llu", (unsigned long long)e->left);
	reply_begin(r, 200, "application/octet-stream");
	reply_field(r, "X-Disk-Size", size);
	reply_stream(r);
	r->agent.raw = true;
}

static void export_answered(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct export *e = r->state;

	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	wire_get_u64(m, C_T_SIZE, &e->left);
	stream_close(r);
	r->agent.ops = &export_ops;
	r->agent.opened = export_begin;
	stream_adopt(r, fds, n_fds);
}

static void ask_export(struct req *r, uint16_t type, uint16_t tag, const char *name)
{
	r->state = calloc(1, sizeof(struct export));
	r->state_done = free;
	if (!r->state) {
		reply_error(r, 503, "out of memory; try again");
		return;
	}
	r->with_client = true;
	wire_str(ask_begin(r, type), tag, name);
	ask_send(r, export_answered);
}

void h_disk_export(struct req *r)
{
	const char *vm = vm_name(r);

	if (vm)
		ask_export(r, C_DISK_EXPORT, C_T_VM, vm);
}

void h_image_export(struct req *r)
{
	if (image_name_fits(r, r->vars[0]))
		ask_export(r, C_IMAGE_EXPORT, C_T_NAME, r->vars[0]);
}
