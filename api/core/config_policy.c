/* What an isolated group's VMs may reach, and what holds when their record cannot be written. */
#include <string.h>

#include "api/core/config_int.h"

static int take_list(struct checking *x, const struct yaml_strs *from, enum policy_list list, struct host_group *g)
{
	for (size_t i = 0; i < from->n; i++) {
		struct fault f = { "" };

		if (policy_add(&g->policy, list, from->v[i].v, &f))
			return REFUSE(x, from->v[i].line, "group '%s': network.%s: %s", g->name, list == POLICY_ALLOW ? "allow" : "drop", f.text);
	}
	return 0;
}

int config_check_policy(struct checking *x, const struct keys_network *k, struct host_group *g)
{
	int r = take_list(x, &k->allow, POLICY_ALLOW, g);

	if (!r)
		r = take_list(x, &k->drop, POLICY_DROP, g);
	if (r || !k->audit.line)
		return r;
	g->audit_required = strcmp(k->audit.v, "required") == 0;
	if (!g->audit_required && strcmp(k->audit.v, "best-effort") != 0)
		return REFUSE(x, k->audit.line, "group '%s': network.audit is 'best-effort' or 'required' (then a VM whose record cannot be written gets no new "
			      "connections), not '%.40s'", g->name, k->audit.v);
	return 0;
}
