/* What front may ask: a table (type, needs a VM, act, needs a scope). Credentials are checked here, before anything else. */
#include "api/core/auth.h"

#include <string.h>

#define SCOPE_SAID 128u /* the request says what it is for: FOR */
#define SCOPE_NONE 256u /* asked by front for whoever reaches a published port */

struct row {
	uint16_t type;
	bool names_vm;      /* VM must be there and known: 400, 404 */
	bool while_stopping; /* also answered when the daemon ends */
	void (*act)(struct ask *a);
	unsigned scope;      /* enum scope; 0 is SCOPE_ADMIN */
};

static const struct row rows[] = {
	{ C_INFO, false, true, ask_info, SCOPE_READ },
	{ C_AUTH, false, true, ask_auth, SCOPE_SAID },
	{ C_GROUPS, false, true, ask_groups, SCOPE_READ },
	{ C_GROUP_CREATE, false, false, ask_group_create, SCOPE_ADMIN },
	{ C_GROUP_CHANGE, false, false, ask_group_change, SCOPE_ADMIN },
	{ C_GROUP_DELETE, false, false, ask_group_delete, SCOPE_ADMIN },
	{ C_GROUP_POLICY, false, false, ask_group_policy, SCOPE_READ }, /* SCOPE_NET, changes SCOPE_ADMIN, there */
	{ C_NODES, false, true, ask_nodes, SCOPE_READ },
	{ C_CREATE, false, false, ask_create, SCOPE_VM },
	{ C_DELETE, true, false, ask_delete, SCOPE_VM },
	{ C_DESCRIBE, true, true, ask_describe, SCOPE_READ },
	{ C_LOGS, true, true, ask_logs, SCOPE_READ },
	{ C_SHUTDOWN, true, false, ask_shutdown, SCOPE_VM },
	{ C_CONNECT, true, true, ask_connect, SCOPE_SAID },
	{ C_PAUSE, true, false, ask_pause, SCOPE_VM },
	{ C_RESUME, true, false, ask_resume, SCOPE_VM },
	{ C_RELAUNCH, true, false, ask_relaunch, SCOPE_VM },
	{ C_NET, true, false, ask_net, SCOPE_NET },
	{ C_POLICY, true, false, ask_policy, SCOPE_READ }, /* SCOPE_NET, changes SCOPE_VM, there */
	{ C_EXPLAIN, true, true, ask_explain, SCOPE_NET },
	{ C_NET_LOG, true, true, ask_net_log, SCOPE_NET },
	{ C_TAGS, true, true, ask_tags, SCOPE_READ }, /* changes: SCOPE_VM, there */
	{ C_DAEMON_SHUTDOWN, false, true, ask_daemon_shutdown, SCOPE_ADMIN },
	{ C_READY, true, true, ask_ready, SCOPE_READ },
	{ C_SECRET_LIST, false, true, ask_secret_list, SCOPE_ADMIN },
	{ C_SECRET_PUT, false, false, ask_secret_put, SCOPE_ADMIN },
	{ C_SECRET_PATCH, false, false, ask_secret_patch, SCOPE_ADMIN },
	{ C_SECRET_DELETE, false, false, ask_secret_delete, SCOPE_ADMIN },
	{ C_PUB_CONNECT, false, true, ask_pub_connect, SCOPE_NONE },
	{ C_TOKEN_LIST, false, true, ask_token_list, SCOPE_ADMIN },
	{ C_TOKEN_CREATE, false, true, ask_token_create, SCOPE_ADMIN },
	{ C_TOKEN_REVOKE, false, true, ask_token_revoke, SCOPE_ADMIN },
	{ C_DISK_LIST, false, true, ask_disk_list, SCOPE_READ },
	{ C_DISK_DF, false, true, ask_disk_df, SCOPE_READ },
	{ C_DISK_GROW, true, false, ask_disk_grow, SCOPE_VM },
	{ C_DISK_EXPORT, true, false, ask_disk_export, SCOPE_FILES },
	{ C_DISK_SPARSIFY, true, false, ask_disk_sparsify, SCOPE_VM },
	{ C_IMAGE_LIST, false, true, ask_image_list, SCOPE_READ },
	{ C_IMAGE_GET, false, true, ask_image_get, SCOPE_READ },
	{ C_IMAGE_EXPORT, false, false, ask_image_export, SCOPE_FILES },
	{ C_IMAGE_NAME, false, false, ask_image_name, SCOPE_ADMIN },
	{ C_IMAGE_DELETE, false, false, ask_image_delete, SCOPE_ADMIN },
	{ C_IMAGE_KEEP, true, false, ask_image_keep, SCOPE_ADMIN },
	{ C_BUILDER, false, false, ask_builder, SCOPE_ADMIN },
	{ C_COMMIT, true, false, ask_commit, SCOPE_VM },
	{ C_COMMIT_LIST, false, true, ask_commit_list, SCOPE_READ },
	{ C_FORK, false, false, ask_fork, SCOPE_VM },
	{ C_COMMIT_DELETE, false, false, ask_commit_delete, SCOPE_VM },
	{ C_METRICS, false, true, ask_metrics, SCOPE_READ },
};

static unsigned scope_of(const struct row *r, const struct wire_msg *m)
{
	bool any = r->type == C_AUTH; /* which may be for nothing but the token itself */
	struct wire_field f;
	uint64_t v = 0;

	if (r->scope != SCOPE_SAID)
		return r->scope ? r->scope : SCOPE_ADMIN;
	if (!wire_get(m, C_T_FOR, &f))
		return any ? SCOPE_ANY : SCOPE_ADMIN;
	wire_get_u64(m, C_T_FOR, &v);
	return v && v <= (any ? SCOPE_ANY : SCOPE_ADMIN) && !(v & (v - 1)) ? (unsigned)v : SCOPE_ADMIN;
}

static bool find_vm(struct ask *a)
{
	int err = wire_get_str(a->m, C_T_VM, a->name, sizeof(a->name));

	a->vm = err || !name_is_valid(a->name, VM_NAME_MAX) ? NULL : registry_find(&a->core->reg, a->name);
	if (a->vm && (a->vm->remove || !token_sees(a->token, a->vm->r.group)))
		a->vm = NULL; /* one that the token may not see is not there */
	if (a->vm)
		return true;
	if (err || !name_is_valid(a->name, VM_NAME_MAX))
		reply_err(a->core, a->id, 404, "no VM of that name: 'mica vm list' shows all");
	else
		reply_err(a->core, a->id, 404, "no VM named '%s': 'mica vm list' shows all", a->name);
	return false;
}

void core_on_request(struct peer *front, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct ask a = { .core = front->arg, .m = m, .id = m->id };
	const struct row *r = rows;

	(void)fds; (void)n_fds;
	while (r < rows + ARRAY_LEN(rows) && r->type != m->type)
		r++;
	if (r == rows + ARRAY_LEN(rows))
		reply_err(a.core, a.id, 400, "unknown request %u", m->type);
	else if (r->scope != SCOPE_NONE && !auth_admits(&a, scope_of(r, m)))
		return;
	else if (a.core->phase == CORE_STARTING)
		reply_err(a.core, a.id, 503, "the daemon is starting: try again");
	else if (a.core->phase == CORE_STOPPING && !r->while_stopping)
		reply_err(a.core, a.id, 503, "the daemon is stopping");
	else if (!r->names_vm || find_vm(&a))
		r->act(&a);
}
