/* JSON of the objects that several answers share. */
#include <string.h>
#include "api/front/front.h"

void put_time(struct json_out *o, const char *key, uint64_t real_ns)
{
	char text[RFC3339_MAX];

	rfc3339_format(real_ns, text);
	json_put_str(o, key, text);
}

void put_time_field(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag)
{
	uint64_t ns;

	if (wire_get_u64(m, tag, &ns) && ns)
		put_time(o, key, ns);
}

void put_field_str(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag)
{
	struct wire_field f;

	if (wire_get(m, tag, &f))
		json_put_strn(o, key, f.p, f.n);
}

void put_field_u64(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag)
{
	uint64_t v;

	if (wire_get_u64(m, tag, &v))
		json_put_u64(o, key, v);
}

void put_field_bool(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag)
{
	uint64_t v = 0;

	wire_get_u64(m, tag, &v);
	json_put_bool(o, key, v != 0);
}

void put_field_list(struct json_out *o, const char *key, const struct wire_msg *m, uint16_t tag)
{
	struct wire_iter it;
	struct wire_field f;

	json_arr(o, key);
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f))
		if (f.tag == tag)
			json_put_strn(o, NULL, f.p, f.n);
	json_end(o);
}

void put_ip_bare(struct json_out *o, const char *key, const struct wire_msg *m)
{
	struct wire_field f;
	const void *slash;

	if (!wire_get(m, C_T_IP, &f)) {
		json_put_str(o, key, "");
		return;
	}
	slash = memchr(f.p, '/', f.n);
	json_put_strn(o, key, f.p, slash ? (size_t)((const uint8_t *)slash - f.p) : f.n);
}

void put_publish(struct json_out *o, const struct wire_msg *m)
{
	struct wire_field f;

	if (wire_get(m, C_T_PUBLISH, &f))
		put_field_list(o, "publish", m, C_T_PUBLISH);
	if (wire_get(m, C_T_PUB_FAULT, &f))
		put_field_list(o, "publish_faults", m, C_T_PUB_FAULT);
}

void put_node(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "hostname", m, C_T_VM);
	put_field_str(o, "hostgroup", m, C_T_GROUP);
	put_ip_bare(o, "ip", m);
	put_field_u64(o, "ram_bytes", m, C_T_RAM_BYTES);
	put_field_u64(o, "cpus", m, C_T_CPUS);
	put_time_field(o, "created_at", m, C_T_CREATED_NS);
	put_time_field(o, "last_agent_call", m, C_T_LAST_CALL_NS);
	put_field_str(o, "arch", m, C_T_ARCH);
	put_field_list(o, "tags", m, C_T_TAG);
	put_field_str(o, "status", m, C_T_STATUS);
	put_field_bool(o, "persistent", m, C_T_PERSISTENT);
	put_publish(o, m);
	put_field_str(o, "fault", m, C_T_FAULT);
}

static void list_late(struct req *r)
{
	reply_error(r, 503, "the daemon did not answer in time");
}

void list_begin(struct req *r)
{
	r->deadline_ms = now_mono_ms() + AGENT_ANSWER_MS; /* handlers that ask an agent set their own */
	r->on_deadline = list_late;
	buf_done(&r->gather);
	buf_init(&r->gather, OUT_BYTES_MAX);
	buf_adds(&r->gather, "[");
}

void reply_object(struct req *r, int status, const struct wire_msg *m, put_fn *put)
{
	struct json_out o;
	struct buf b;

	if (m->type != WIRE_OK) {
		reply_refusal(r, m);
		return;
	}
	buf_init(&b, OUT_BYTES_MAX);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	put(&o, m);
	json_end(&o);
	reply_json(r, status, &b);
	buf_done(&b);
}

void list_answer(struct req *r, const struct wire_msg *m, put_fn *put)
{
	struct json_out o;

	if (m->type == WIRE_OK) {
		buf_adds(&r->gather, "]");
		reply_json(r, 200, &r->gather);
		return;
	}
	if (m->type != C_ITEM) {
		reply_refusal(r, m);
		return;
	}
	if (buf_len(&r->gather) > 1)
		buf_adds(&r->gather, ",");
	json_out_init(&o, &r->gather);
	json_obj(&o, NULL);
	put(&o, m);
	json_end(&o);
}
