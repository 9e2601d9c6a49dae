/*
 * All VMs core knows, by name and slot. A VM that goes is buried: unlinked at once, freed when the loop comes round, so that
 * callbacks which still hold it stay safe.
 */
#ifndef API_CORE_REGISTRY_H
#define API_CORE_REGISTRY_H

#include "api/core/record.h"

#define SLOTS 4096u /* of jail's 65536: more VMs than VM_COUNT_MAX never exist */

struct vm;
struct core;
struct registry {
	struct vm *first;            /* by creation, oldest first */
	struct vm *graves;           /* to be freed by registry_sweep */
	unsigned count;
	uint8_t slot_used[SLOTS / 8];
	struct name_mark { char group[VM_NAME_MAX + 1]; unsigned high; } *marks; /* owned: highest number given per group */
	size_t n_marks;
};

void registry_init(struct registry *g);
void registry_done(struct registry *g); /* frees every VM's memory; processes and files stay */
struct vm *registry_find(const struct registry *g, const char *name); /* NULL: unknown */
/* Takes vm (its name and slot must be free). 0, -EEXIST, -ENOSPC. */
int registry_add(struct registry *g, struct vm *vm);
void registry_bury(struct registry *g, struct vm *vm);
void registry_sweep(struct registry *g);
/* Lowest free slot or -ENOSPC. */
int registry_slot(const struct registry *g);
bool registry_addr_taken(const struct registry *g, uint32_t a);
/* The next number for a VM of this group: above every one ever seen here when `up`, else the lowest that no VM has. */
int registry_next_number(struct registry *g, const char *group, bool up, unsigned *out);
/* Remembers that this number was given. Names that are not "<group>-<n>" are ignored. */
int registry_mark(struct registry *g, const char *group, const char *name);
/* Number of VMs of the group that count keeps. */
unsigned registry_protected(const struct registry *g, const char *group);

#endif
