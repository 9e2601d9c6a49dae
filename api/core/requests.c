/* What front may ask: a table (type, needs a VM, act). Credentials are checked here again, before anything else. */
#include "api/core/requests.h"

#include <string.h>

struct row {
	uint16_t type;
	bool names_vm;      /* VM must be there and known: 400, 404 */
	bool while_stopping; /* also answered when the daemon ends */
	void (*act)(struct ask *a);
};

static const struct row rows[] = {
	{ C_INFO, false, true, ask_info },
	{ C_AUTH, false, true, ask_auth },
	{ C_GROUPS, false, true, ask_groups },
	{ C_NODES, false, true, ask_nodes },
	{ C_CREATE, false, false, ask_create },
	{ C_DELETE, true, false, ask_delete },
	{ C_DESCRIBE, true, true, ask_describe },
	{ C_LOGS, true, true, ask_logs },
	{ C_SHUTDOWN, true, false, ask_shutdown },
	{ C_CONNECT, true, true, ask_connect },
	{ C_PAUSE, true, false, ask_pause },
	{ C_RESUME, true, false, ask_resume },
	{ C_RELAUNCH, true, false, ask_relaunch },
	{ C_TAGS, true, true, ask_tags },
	{ C_DAEMON_SHUTDOWN, false, true, ask_daemon_shutdown },
	{ C_READY, true, true, ask_ready },
	{ C_SECRET_LIST, false, true, ask_secret_list },
	{ C_SECRET_PUT, false, false, ask_secret_put },
	{ C_SECRET_PATCH, false, false, ask_secret_patch },
	{ C_SECRET_DELETE, false, false, ask_secret_delete },
	{ C_METRICS, false, true, ask_metrics },
};

static bool allowed(const struct core *c, const struct wire_msg *m)
{
	struct wire_field f;
	uint64_t listener;

	if (c->ephemeral) /* the other end is our own parent */
		return true;
	if (wire_get_u64(m, C_T_LISTENER, &listener) && listener < c->n_listeners && !c->listeners[listener].auth_needed)
		return true;
	return wire_get(m, C_T_AUTH, &f) && f.n == SHA256_BYTES && equal_consttime(f.p, c->token_hash, SHA256_BYTES);
}

static bool find_vm(struct ask *a)
{
	int err = wire_get_str(a->m, C_T_VM, a->name, sizeof(a->name));

	a->vm = err || !name_is_valid(a->name, VM_NAME_MAX) ? NULL : registry_find(&a->core->reg, a->name);
	if (a->vm && a->vm->remove)
		a->vm = NULL;
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
	else if (!allowed(a.core, m))
		reply_err(a.core, a.id, 401, "a valid token is needed: it stands in the daemon's state folder, file auth/token");
	else if (a.core->phase == CORE_STARTING)
		reply_err(a.core, a.id, 503, "the daemon is starting: try again");
	else if (a.core->phase == CORE_STOPPING && !r->while_stopping)
		reply_err(a.core, a.id, 503, "the daemon is stopping");
	else if (!r->names_vm || find_vm(&a))
		r->act(&a);
}
