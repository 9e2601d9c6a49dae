/* What a VM may reach, or those of a host group: shown, changed while they run, explained. */
#include <errno.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds
#define LATE_MS 15000u /* netd and gate answer in a few ms */
#define LATE_GROUP_MS 60000u /* for each VM of a group */

static bool flag_set(const struct wire_msg *m, uint16_t tag)
{
	uint64_t v = 0;

	wire_get_u64(m, tag, &v);
	return v != 0;
}

void put_rules(struct json_out *o, const struct wire_msg *m)
{
	bool allow = flag_set(m, C_T_NET_SET_ALLOW), drop = flag_set(m, C_T_NET_SET_DROP);

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
}

static void policy_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_rules);
}

static void late(struct req *r)
{
	reply_error(r, 503, "the daemon's network processes did not answer in time");
}

static struct buf *begin_named(struct req *r, uint16_t type, uint64_t late_ms, uint16_t tag, const char *name)
{
	struct buf *b;

	r->deadline_ms = now_mono_ms() + late_ms;
	r->on_deadline = late;
	b = ask_begin(r, type);
	wire_str(b, tag, name);
	return b;
}

static struct buf *begin(struct req *r, uint16_t type, const char *vm)
{
	return begin_named(r, type, LATE_MS, C_T_VM, vm);
}

void h_policy(struct req *r)
{
	const char *vm = vm_name(r);

	if (!vm)
		return;
	begin(r, C_POLICY, vm);
	ask_send(r, policy_answer);
}

/* {allow: […], drop: […]}: a list that is absent or null stays; reset: true gives both back first. b: the request, begun. */
static void send_change(struct req *r, struct buf *b, ask_fn *answer)
{
	struct json j = { 0 };
	bool reset = false;
	int allow, drop;

	if (!body_json(r, &j))
		return;
	allow = body_put_strings(b, json_root(&j), "allow", C_T_NET_ALLOW);
	drop = body_put_strings(b, json_root(&j), "drop", C_T_NET_DROP);
	if (allow < 0 || drop < 0 || json_get_bool(json_root(&j), "reset", &reset) == -EINVAL) {
		reply_error(r, 400, "give 'allow' and 'drop' as lists of strings, or 'reset': true");
	} else if (!allow && !drop && !reset) {
		reply_error(r, 400, "nothing to change: give 'allow', 'drop' or 'reset'");
	} else {
		if (reset)
			wire_u64(b, C_T_NET_RESET, 1);
		if (allow)
			wire_u64(b, C_T_NET_SET_ALLOW, 1);
		if (drop)
			wire_u64(b, C_T_NET_SET_DROP, 1);
		ask_send(r, answer);
	}
	json_done(&j);
}

void h_policy_change(struct req *r)
{
	const char *vm = vm_name(r);

	if (vm)
		send_change(r, begin(r, C_POLICY, vm), policy_answer);
}

/* ---- of a host group ---- */

static void put_group_rules(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "name", m, C_T_NAME);
	put_field_str(o, "mode", m, C_T_NET_MODE);
	put_field_str(o, "source", m, C_T_SOURCE);
	put_field_list(o, "allow", m, C_T_GROUP_ALLOW);
	put_field_list(o, "drop", m, C_T_GROUP_DROP);
}

static void group_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_group_rules);
}

static struct buf *begin_group(struct req *r, const char *group)
{
	return begin_named(r, C_GROUP_POLICY, LATE_GROUP_MS, C_T_GROUP, group);
}

void h_group_policy(struct req *r)
{
	const char *group = group_name(r);

	if (!group)
		return;
	begin_group(r, group);
	ask_send(r, group_answer);
}

void h_group_policy_change(struct req *r)
{
	const char *group = group_name(r);

	if (group)
		send_change(r, begin_group(r, group), group_answer);
}

/* ---- explain ---- */

static void put_verdict(struct json_out *o, const struct wire_msg *m)
{
	json_put_str(o, "verdict", flag_set(m, C_T_ALLOWED) ? "allowed" : "denied");
	put_field_str(o, "rule", m, C_T_RULE);
	put_field_str(o, "entry", m, C_T_RULE_TEXT);
}

static const char *proto_text(uint64_t proto)
{
	return proto == 6 ? "tcp" : proto == 17 ? "udp" : proto == 1 ? "icmp" : proto == 58 ? "icmp6" : "any";
}

static void put_explained(struct json_out *o, const struct wire_msg *m)
{
	struct wire_iter it;
	struct wire_field f;
	struct wire_msg addr;
	uint64_t proto = 0;

	put_field_str(o, "host", m, C_T_NAME);
	put_field_u64(o, "port", m, C_T_PORT);
	wire_get_u64(m, C_T_PROTO, &proto);
	json_put_str(o, "proto", proto_text(proto));
	put_verdict(o, m);
	if (flag_set(m, C_T_NET_LOCKED))
		json_put_bool(o, "locked", true);
	json_arr(o, "addresses");
	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f)) { /* as many as the frame holds */
		if (f.tag != C_T_ADDR || wire_sub(&f, &addr))
			continue;
		json_obj(o, NULL);
		put_field_str(o, "address", &addr, C_T_IP);
		put_verdict(o, &addr);
		put_field_u64(o, "open_s", &addr, C_T_OPEN_S);
		json_end(o);
	}
	json_end(o);
}

static void explain_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_explained);
}

void h_explain(struct req *r)
{
	const char *vm = vm_name(r), *target = NULL;
	struct json j = { 0 };

	if (!vm || !body_json(r, &j))
		return;
	if (json_get_str(json_root(&j), "target", &target) || !*target) {
		reply_error(r, 400, "'target' is needed: a URL, address, address:port or host name");
	} else {
		wire_str(begin(r, C_EXPLAIN, vm), C_T_TEXT, target);
		ask_send(r, explain_answer);
	}
	json_done(&j);
}
