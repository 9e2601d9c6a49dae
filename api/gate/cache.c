/* A VM's own small cache of answers. Its own: what another VM asked must not be told apart by how fast an answer comes. */
#include <stdlib.h>
#include <string.h>

#include "api/gate/gate.h"

static unsigned place_of(const struct dns_query *q)
{
	unsigned h = 2166136261u;

	for (const char *s = q->name; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return (h ^ q->type) * 16777619u;
}

/* Four places may hold it. */
static struct cached *place(const struct vm *vm, const struct dns_query *q, unsigned i)
{
	return &vm->cache[(place_of(q) + i) % CACHE_PLACES];
}

static bool is_for(const struct cached *c, const struct dns_query *q)
{
	return c->name && c->type == q->type && c->dnssec_ok == q->dnssec_ok && c->checking_disabled == !!(q->flags & DNS_CD) && strcmp(c->name, q->name) == 0;
}

static void drop(struct cached *c)
{
	free(c->name);
	free(c->msg);
	*c = (struct cached){ 0 };
}

void cache_put(struct vm *vm, const struct dns_query *q, const uint8_t *msg, size_t n, uint32_t ttl_s, uint64_t now_ms)
{
	struct cached *c = NULL;

	if (n > CACHE_MESSAGE_MAX || (!vm->cache && !(vm->cache = calloc(CACHE_PLACES, sizeof(*vm->cache)))))
		return;
	for (unsigned i = 0; i < 4; i++) { /* its own place, an empty one, else the one that ends first */
		struct cached *x = place(vm, q, i);

		if (is_for(x, q) || !x->name) {
			c = x;
			break;
		}
		if (!c || x->until_ms < c->until_ms)
			c = x;
	}
	drop(c);
	c->name = strdup(q->name);
	c->msg = malloc(n);
	if (!c->name || !c->msg) {
		drop(c);
		return;
	}
	memcpy(c->msg, msg, n);
	c->n = n;
	c->type = q->type;
	c->dnssec_ok = q->dnssec_ok;
	c->checking_disabled = q->flags & DNS_CD;
	c->at_ms = now_ms;
	c->until_ms = now_ms + ttl_s * 1000ull;
}

size_t cache_get(struct vm *vm, const struct dns_query *q, uint8_t *out, uint64_t now_ms)
{
	for (unsigned i = 0; vm->cache && i < 4; i++) {
		struct cached *c = place(vm, q, i);

		if (!is_for(c, q))
			continue;
		if (now_ms >= c->until_ms) {
			drop(c);
			return 0;
		}
		memcpy(out, c->msg, c->n);
		dns_age(out, c->n, (uint32_t)((now_ms - c->at_ms) / 1000), TTL_CAP_S);
		return c->n;
	}
	return 0;
}

void cache_free(struct vm *vm)
{
	for (unsigned i = 0; vm->cache && i < CACHE_PLACES; i++)
		drop(&vm->cache[i]);
	free(vm->cache);
	vm->cache = NULL;
}
