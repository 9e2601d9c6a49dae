/* A VM's effective policy: its record's lists where it has its own, else its host group's. Kept in vm->policy; changed by policy_set() alone. */
#ifndef API_CORE_POLICY_H
#define API_CORE_POLICY_H

#include "api/core/vm.h"

/* The lists of a request (tags C_T_NET_SET_ALLOW …): which are given, and their entries as text, one a line. */
struct policy_lists {
	char *text[2]; /* owned, by enum policy_list; NULL: not given */
};
/* 0, or -EINVAL (an entry is no good), -ENOMEM with f. */
int policy_lists_take(struct policy_lists *l, const struct wire_msg *m, struct fault *f);
void policy_lists_done(struct policy_lists *l);
/* May a VM of that group have them? 0, -EINVAL with why they would not hold, -ENOMEM. */
int policy_lists_fit(const struct policy_lists *l, const struct host_group *g, struct fault *f);

bool policy_is_changed(const struct wire_msg *m); /* does that request change rules? */
/* Entries as such a text. 0, -EINVAL, -ENOMEM. */
int policy_add_lines(struct policy *p, enum policy_list list, const char *text, struct fault *f);
bool policy_same(const struct policy *a, const struct policy *b);

/* Works vm->policy out. A record that cannot be read as a policy denies everything, and is told. */
void policy_load(struct vm *vm);
/* Writes the lists that are given (reset: takes both of the VM's own away) into the record and works the policy out. 0 or -errno of writing. */
int policy_set(struct vm *vm, const struct policy_lists *l, bool reset);

/* Fields for front: NET_MODE NET_SET_ALLOW NET_ALLOW* NET_SET_DROP NET_DROP* GROUP_ALLOW* GROUP_DROP*. */
void policy_put(struct buf *b, const struct vm *vm);
/* Fields for netd: DEFAULT RULE*; everything is denied while vm->net_locked. */
void policy_put_rules(struct buf *b, const struct vm *vm);
/* Fields for gate: ALLOW* DROP*. */
void policy_put_entries(struct buf *b, const struct vm *vm);
/* What counts as builtin:lan beside the constants: networks of this daemon's groups. out has GROUPS_MAX places; their number. */
size_t policy_own(const struct core *c, struct policy_net *out);

#endif
