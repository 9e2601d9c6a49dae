/* Making VMs: create, and relaunch of a stopped one. */
#include <errno.h>
#include <string.h>
#include "api/front/front.h"

#define IGNORE_FDS (void)fds, (void)n_fds

static void put_created(struct json_out *o, const struct wire_msg *m)
{
	put_field_str(o, "hostname", m, C_T_VM);
	put_field_str(o, "hostgroup", m, C_T_GROUP);
	put_field_str(o, "ip", m, C_T_IP); /* with its prefix length */
	put_time_field(o, "created_at", m, C_T_CREATED_NS);
	put_field_str(o, "arch", m, C_T_ARCH);
	put_field_bool(o, "persistent", m, C_T_PERSISTENT);
	put_field_list(o, "tags", m, C_T_TAG);
	put_publish(o, m);
}

/* Ours: what of the request was not done. */
static void put_created_note(struct json_out *o, const struct wire_msg *m)
{
	put_created(o, m);
	json_arr(o, "notes");
	json_put_str(o, NULL, "import_user is ignored: this daemon fetches nothing from the network; send the keys as ssh_keys");
	json_end(o);
}

static void create_noted(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 201, m, put_created_note);
}

/* Keys of a GitHub user, by the contract's name or that of its docs. */
static bool wants_import(const struct json_val *root)
{
	const char *user = NULL;

	json_get_str(root, "github_user", &user);
	json_get_str(root, "import_user", &user);
	return user && *user;
}

static void create_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 201, m, put_created);
}

static void relaunch_answer(struct req *r, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	IGNORE_FDS;
	reply_object(r, 200, m, put_created);
}

/* wait= and timeout= of create and relaunch. NULL, or what is wrong with them. */
static const char *put_wait(struct req *r, struct buf *b)
{
	const char *wait = param(r, "wait"), *timeout = param(r, "timeout");
	uint64_t ms;

	if (wait && strcmp(wait, "none") == 0)
		wait = NULL;
	if (wait && strcmp(wait, "agent") != 0 && strcmp(wait, "userdata") != 0)
		return "wait must be agent or userdata";
	if (timeout && parse_duration_ms(timeout, &ms))
		return "timeout must be a duration such as 90s or 2m30s";
	wire_str(b, C_T_WAIT, wait);
	if (timeout)
		wire_u64(b, C_T_TIMEOUT_MS, ms);
	return NULL;
}

const char *create_put_count(struct buf *b, const struct json_val *root, const char *key, uint16_t tag)
{
	int64_t v = 0;
	int err = json_get_i64(root, key, &v);

	if (err == -EINVAL || v < 0)
		return key;
	if (err == 0 && v > 0)
		wire_u64(b, tag, (uint64_t)v);
	return NULL;
}

static const char *put_text(struct buf *b, const struct json_val *root, const char *key, uint16_t tag)
{
	const char *s = NULL;

	if (json_get_str(root, key, &s) == -EINVAL)
		return key;
	if (s && *s)
		wire_str(b, tag, s);
	return NULL;
}

/* network: {allow, drop, bytes_per_s, packets_per_s}: an absent key inherits, an empty list clears. */
const char *create_put_network(struct buf *b, const struct json_val *root)
{
	const struct json_val *net = json_get(root, "network");
	int allow, drop;

	if (!net || net->kind == JSON_NULL)
		return NULL;
	allow = body_put_strings(b, net, "allow", C_T_NET_ALLOW);
	drop = body_put_strings(b, net, "drop", C_T_NET_DROP);
	if (net->kind != JSON_OBJECT || allow < 0 || drop < 0 || create_put_count(b, net, "bytes_per_s", C_T_NET_BYTES_S) ||
	    create_put_count(b, net, "packets_per_s", C_T_NET_PACKETS_S))
		return "network";
	if (allow)
		wire_u64(b, C_T_NET_SET_ALLOW, 1);
	if (drop)
		wire_u64(b, C_T_NET_SET_DROP, 1);
	return NULL;
}

/* Writes the create fields. NULL, or the name of the member that is wrong. */
static const char *put_create(struct buf *b, const struct json_val *root)
{
	bool persistent = false;
	int secrets;
	const char *bad = create_put_count(b, root, "ram_bytes", C_T_RAM_BYTES);

	if (!bad)
		bad = create_put_count(b, root, "cpus", C_T_CPUS);
	if (!bad)
		bad = create_put_count(b, root, "gpu_count", C_T_GPU_COUNT);
	if (!bad && json_get_bool(root, "persistent", &persistent) == -EINVAL)
		bad = "persistent";
	if (persistent)
		wire_u64(b, C_T_PERSISTENT, 1);
	if (!bad && body_put_strings(b, root, "tags", C_T_TAG) < 0)
		bad = "tags";
	if (!bad && body_put_strings(b, root, "publish", C_T_PUBLISH) < 0)
		bad = "publish";
	if (!bad && body_put_strings(b, root, "ssh_keys", C_T_SSH_KEY) < 0)
		bad = "ssh_keys";
	secrets = bad ? 0 : body_put_strings(b, root, "secrets", C_T_SECRET);
	if (secrets < 0)
		bad = "secrets";
	if (secrets > 0) /* an empty list is not the same as none */
		wire_u64(b, C_T_SECRETS_SET, 1);
	if (!bad)
		bad = put_text(b, root, "userdata", C_T_USERDATA);
	if (!bad)
		bad = put_text(b, root, "ip", C_T_IP);
	if (!bad)
		bad = put_text(b, root, "image", C_T_IMAGE);
	return bad ? bad : create_put_network(b, root);
}

void h_create(struct req *r)
{
	const char *group = group_name(r), *bad, *disk = NULL, *wrong;
	struct json j = { 0 };
	struct buf *b;

	if (!group || !body_json(r, &j))
		return;
	b = ask_begin(r, C_CREATE);
	wire_str(b, C_T_GROUP, group);
	bad = put_create(b, json_root(&j));
	wrong = put_wait(r, b);
	json_get_str(json_root(&j), "disk_image", &disk);
	if (bad)
		reply_error(r, 400, "'%s' has the wrong type or value", bad);
	else if (wrong)
		reply_error(r, 400, "%s", wrong);
	else if (disk && *disk)
		reply_error(r, 400, "disk_image cannot be chosen: the disk is always made for the VM");
	else
		ask_send(r, wants_import(json_root(&j)) ? create_noted : create_answer);
	json_done(&j);
}

void h_relaunch(struct req *r)
{
	const char *vm = vm_name(r), *wrong;
	struct buf *b;

	if (!vm)
		return;
	b = ask_begin(r, C_RELAUNCH);
	wire_str(b, C_T_VM, vm);
	wrong = put_wait(r, b);
	if (wrong)
		reply_error(r, 400, "%s", wrong);
	else
		ask_send(r, relaunch_answer);
}
