/* Requests about secrets. Their bytes go to the disk and to guests; no answer holds them. */
#include <errno.h>
#include <string.h>

#include "api/core/requests.h"

static void secret_put(struct buf *b, const struct secret *e)
{
	wire_str(b, C_T_NAME, e->name);
	wire_u64(b, C_T_SIZE, e->size);
	wire_u64(b, C_T_PERM, e->perm);
	wire_u64(b, C_T_UID, e->uid);
	wire_u64(b, C_T_GID, e->gid);
	wire_u64(b, C_T_MODIFIED_NS, e->modified_ns);
}

void ask_secret_list(struct ask *a)
{
	const struct secrets *s = &a->core->secrets;

	for (unsigned i = 0; i < s->n; i++) {
		secret_put(peer_begin_reply(&a->core->front, C_ITEM, a->id), &s->list[i]);
		peer_send(&a->core->front, NULL, 0);
	}
	reply_ok(a->core, a->id, NULL);
}

/* The name of the request; "" when it cannot be one. */
static const char *take_name(const struct ask *a, char name[SECRET_NAME_MAX + 1])
{
	if (wire_get_str(a->m, C_T_NAME, name, SECRET_NAME_MAX + 1) || !secret_name_is_valid(name))
		name[0] = 0;
	return name;
}

/* -1: what is there is no number, or too large. */
static int take_number(const struct ask *a, uint16_t tag, uint64_t max, uint64_t *v)
{
	struct wire_field f;

	if (!wire_get(a->m, tag, &f))
		return 0;
	return wire_field_u64(&f, v) && *v <= max ? 0 : -1;
}

static int take_owner(const struct ask *a, struct secret *e)
{
	uint64_t perm = e->perm, uid = e->uid, gid = e->gid;

	if (take_number(a, C_T_PERM, SECRET_PERM_MAX, &perm) || take_number(a, C_T_UID, UINT32_MAX - 1, &uid) ||
	    take_number(a, C_T_GID, UINT32_MAX - 1, &gid))
		return -EINVAL;
	e->perm = (unsigned)perm;
	e->uid = (uint32_t)uid;
	e->gid = (uint32_t)gid;
	return 0;
}

static void refuse(struct ask *a, const char *name, int err)
{
	if (err == -EINVAL)
		reply_err(a->core, a->id, 400, "'permissions' are octal, at most %o; 'uid' and 'gid' are below 4294967295", SECRET_PERM_MAX);
	else if (err == -EFBIG)
		reply_err(a->core, a->id, 413, "a secret holds at most %u bytes", SECRET_BYTES_MAX);
	else if (err == -ENOSPC && a->core->secrets.n == SECRETS_MAX)
		reply_err(a->core, a->id, 507, "there are %u secrets already: remove one", SECRETS_MAX);
	else
		reply_err(a->core, a->id, err == -ENOSPC || err == -EDQUOT ? 507 : 500, "secret '%s' could not be written: %s", name, strerror(-err));
}

static void set(struct ask *a, struct secret *e, const struct wire_field *data)
{
	const struct secret *now;
	int err = take_owner(a, e);

	if (!err)
		err = secrets_set(&a->core->secrets, e, data ? data->p : NULL, data ? data->n : 0, &now);
	if (err) {
		refuse(a, e->name, err);
		return;
	}
	secret_put(peer_begin_reply(&a->core->front, WIRE_OK, a->id), now);
	peer_send(&a->core->front, NULL, 0);
	for (struct vm *vm = a->core->reg.first; vm; vm = vm->next)
		vm_sync_secrets(vm);
}

void ask_secret_put(struct ask *a)
{
	struct secret e = { .perm = 0600 };
	struct wire_field data;

	take_name(a, e.name);
	if (!e.name[0])
		reply_err(a->core, a->id, 400, "a secret's name holds A-Z, a-z, 0-9, '.', '_' and '-', at most %u of them, and begins with no dot", SECRET_NAME_MAX);
	else if (!wire_get(a->m, C_T_DATA, &data))
		reply_err(a->core, a->id, 400, "'data' is needed");
	else if (secrets_find(&a->core->secrets, e.name))
		reply_err(a->core, a->id, 409, "there is a secret '%s' already: update it, or remove it first [E_NAME_TAKEN]", e.name);
	else
		set(a, &e, &data);
}

/* The secret that is named; NULL: answered. */
static const struct secret *find(struct ask *a)
{
	char name[SECRET_NAME_MAX + 1];
	const struct secret *e = secrets_find(&a->core->secrets, take_name(a, name));

	if (!e)
		reply_err(a->core, a->id, 404, "no secret is named '%s': 'mica secret list' shows all", name[0] ? name : "?");
	return e;
}

void ask_secret_patch(struct ask *a)
{
	const struct secret *old = find(a);
	struct wire_field data;
	struct secret e;

	if (!old)
		return;
	e = *old;
	set(a, &e, wire_get(a->m, C_T_DATA, &data) && data.n ? &data : NULL);
}

void ask_secret_delete(struct ask *a)
{
	const struct secret *e = find(a);
	char name[SECRET_NAME_MAX + 1];
	int err;

	if (!e)
		return;
	memcpy(name, e->name, sizeof(name));
	err = secrets_remove(&a->core->secrets, name);
	if (err)
		reply_err(a->core, a->id, 500, "secret '%s' could not be removed: %s", name, strerror(-err));
	else
		reply_ok(a->core, a->id, "removed, also from guests that run");
	for (struct vm *vm = a->core->reg.first; vm && !err; vm = vm->next)
		vm_secret_gone(vm, name);
}
