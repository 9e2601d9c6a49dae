#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/addr.h"
#include "api/core/vm.h"

void registry_init(struct registry *g)
{
	memset(g, 0, sizeof(*g));
}

void registry_sweep(struct registry *g)
{
	while (g->graves) {
		struct vm *vm = g->graves;

		g->graves = vm->next;
		vm_free(vm);
	}
}

void registry_done(struct registry *g)
{
	while (g->first)
		registry_bury(g, g->first);
	registry_sweep(g);
	free(g->marks);
	g->marks = NULL;
	g->n_marks = 0;
}

struct vm *registry_find(const struct registry *g, const char *name)
{
	struct vm *vm = g->first;

	while (vm && strcmp(vm->r.name, name) != 0)
		vm = vm->next;
	return vm;
}

static bool slot_used(const struct registry *g, unsigned slot)
{
	return g->slot_used[slot / 8] & 1u << (slot % 8);
}

int registry_add(struct registry *g, struct vm *vm)
{
	struct vm **at = &g->first;
	int err;

	if (vm->r.slot >= SLOTS || g->count == VM_COUNT_MAX)
		return -ENOSPC;
	if (slot_used(g, vm->r.slot) || registry_find(g, vm->r.name))
		return -EEXIST;
	err = registry_mark(g, vm->r.group, vm->r.name);
	if (err)
		return err;
	while (*at && (*at)->r.created_ns <= vm->r.created_ns)
		at = &(*at)->next;
	vm->next = *at;
	*at = vm;
	g->slot_used[vm->r.slot / 8] |= (uint8_t)(1u << (vm->r.slot % 8));
	g->count++;
	return 0;
}

void registry_bury(struct registry *g, struct vm *vm)
{
	struct vm **at = &g->first;

	while (*at && *at != vm)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = vm->next;
	g->slot_used[vm->r.slot / 8] &= (uint8_t)~(1u << (vm->r.slot % 8));
	g->count--;
	vm->next = g->graves;
	g->graves = vm;
}

int registry_slot(const struct registry *g)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (!slot_used(g, i))
			return (int)i;
	return -ENOSPC;
}

bool registry_addr_taken(const struct registry *g, uint32_t a)
{
	struct cidr c;

	for (const struct vm *vm = g->first; vm; vm = vm->next)
		if (vm->r.ip[0] && !cidr_parse(vm->r.ip, 99, &c) && c.addr == a)
			return true;
	return false;
}

/* n of "<group>-<n>", 0 when the name is none of the group's. */
static unsigned number_of(const char *group, const char *name)
{
	size_t n = strlen(group);
	uint64_t v;

	if (strncmp(name, group, n) != 0 || name[n] != '-' || name[n + 1] == '0' || parse_u64(name + n + 1, 999999999, &v))
		return 0;
	return (unsigned)v;
}

static struct name_mark *mark_of(struct registry *g, const char *group)
{
	struct name_mark *m;

	for (size_t i = 0; i < g->n_marks; i++)
		if (strcmp(g->marks[i].group, group) == 0)
			return &g->marks[i];
	m = realloc(g->marks, (g->n_marks + 1) * sizeof(*m));
	if (!m)
		return NULL;
	g->marks = m;
	m += g->n_marks++;
	memset(m, 0, sizeof(*m));
	memcpy(m->group, group, strnlen(group, VM_NAME_MAX));
	return m;
}

int registry_mark(struct registry *g, const char *group, const char *name)
{
	struct name_mark *m = mark_of(g, group);
	unsigned n = number_of(group, name);

	if (!m)
		return -ENOMEM;
	if (n > m->high)
		m->high = n;
	return 0;
}

int registry_next_number(struct registry *g, const char *group, bool up, unsigned *out)
{
	struct name_mark *m = mark_of(g, group);
	unsigned n = 1;

	if (!m)
		return -ENOMEM;
	if (up) {
		*out = m->high + 1;
		return 0;
	}
	for (const struct vm *vm = g->first; vm;) { /* at most count rounds of count steps */
		if (number_of(group, vm->r.name) == n) {
			n++;
			vm = g->first;
		} else {
			vm = vm->next;
		}
	}
	*out = n;
	return 0;
}

unsigned registry_protected(const struct registry *g, const char *group)
{
	unsigned n = 0;

	for (const struct vm *vm = g->first; vm; vm = vm->next)
		n += vm->r.protected_ && !vm->remove && strcmp(vm->r.group, group) == 0;
	return n;
}
