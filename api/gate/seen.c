/* Which name led to an address: for the record and for `policy learn`. A hint for people; nothing is decided by it. */
#include <stdlib.h>
#include <string.h>

#include "api/gate/gate.h"

#define WAYS 4u

static unsigned place_of(uint8_t family, const uint8_t *addr)
{
	unsigned h = 2166136261u;

	for (unsigned i = 0; i < (family == 6 ? 16u : 4u); i++)
		h = (h ^ addr[i]) * 16777619u;
	return h;
}

static bool is_for(const struct seen *s, uint8_t family, const uint8_t *addr)
{
	return s->family == family && !memcmp(s->addr, addr, family == 6 ? 16 : 4);
}

void seen_put(struct vm *vm, const struct dns_addr *a, const char *name, uint64_t now_ms)
{
	struct seen *s = NULL;
	char *copy;

	if (!vm->seen && !(vm->seen = calloc(SEEN_PLACES, sizeof(*vm->seen))))
		return;
	for (unsigned i = 0; i < WAYS; i++) {
		struct seen *x = &vm->seen[(place_of(a->family, a->addr) + i) % SEEN_PLACES];

		if (!x->family || is_for(x, a->family, a->addr)) {
			s = x;
			break;
		}
		if (!s || x->at_ms < s->at_ms)
			s = x;
	}
	copy = s->name && strcmp(s->name, name) == 0 ? s->name : strdup(name);
	if (!copy)
		return;
	if (copy != s->name)
		free(s->name);
	*s = (struct seen){ .family = a->family, .at_ms = now_ms, .name = copy };
	memcpy(s->addr, a->addr, 16);
}

const char *seen_name(const struct vm *vm, uint8_t family, const uint8_t *addr)
{
	for (unsigned i = 0; vm->seen && i < WAYS; i++) {
		const struct seen *s = &vm->seen[(place_of(family, addr) + i) % SEEN_PLACES];

		if (s->family && is_for(s, family, addr))
			return s->name;
	}
	return NULL;
}

void seen_free(struct vm *vm)
{
	for (unsigned i = 0; vm->seen && i < SEEN_PLACES; i++)
		free(vm->seen[i].name);
	free(vm->seen);
	vm->seen = NULL;
}
