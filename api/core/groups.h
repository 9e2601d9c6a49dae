/*
 * Host groups that the API made: each a file groups/<name>.yaml in the state folder, with the keys as they were given, written before a change
 * is acknowledged and read again at start. The daemon's own file wins: what clashes with it is left out, told, and kept. All groups stand in
 * config.groups, those of the API last; deleting one moves the others, and what borrowed a pointer to them follows here.
 */
#ifndef API_CORE_GROUPS_H
#define API_CORE_GROUPS_H

#include "api/core/config.h"
#include "lib/wire/core.h"

struct core;
/* Before the drop: the folder. */
int groups_open(struct core *c, struct fault *f);
/* Once, before bridges are asked for. What cannot be used is a NOTE. */
void groups_load(struct core *c);

/* Makes the file hold g's keys. 0 or -errno. */
int groups_save(const struct core *c, const struct host_group *g);
int groups_unlink(const struct core *c, const char *name);
/* Is there a file of that name, of a group that is left out? */
bool groups_left_out(const struct core *c, const char *name);
/* The same name, or a pointer to nothing any more: index i leaves config.groups. */
void groups_take_out(struct core *c, size_t i);
struct host_group *groups_find(struct core *c, const char *name); /* NULL: none */
/* The state before is given back, descriptors and all; VMs keep their pointers. */
struct host_group groups_replace(struct host_group *g, const struct host_group *by_taken);
/* VMs whose group was missing find it again. */
void groups_reclaim(struct core *c, const struct host_group *g);

/* group_rules.c: allow and drop of a group, changed while it has VMs. */
void group_rules_load(struct core *c); /* once, when all groups are there: what the API gave groups of the file */
/* Of a group of the file: others hold from now on and after every start, or its own again. 0 or -errno. */
int group_rules_set(struct core *c, struct host_group *g, const struct policy *p);
int group_rules_reset(struct core *c, struct host_group *g);
/* Its rules changed: VMs without both lists of their own are judged by them; done(arg, f) once all are (f->text "" when all is well). 0 or -ENOMEM. */
int group_rules_spread(struct core *c, const struct host_group *g, void (*done)(void *arg, const struct fault *f), void *arg);

/* group_tree.c: every C_T_ENTRY of m as a mapping, d->root. d needs no init; -EINVAL, -ENOMEM (then d is empty). */
int group_tree(struct yaml_doc *d, const struct wire_msg *m, struct fault *f);
bool group_tree_same(const struct yaml_node *a, const struct yaml_node *b); /* in keys, values and order; either may be NULL */

#endif
