/* Flows that began and did not end yet: so that their end has the rule and the time of their beginning. Open addressing, never more than half full. */
#include <stdlib.h>
#include <string.h>

#include "api/gate/gate.h"

#define PLACES_FIRST 64u
#define PLACES_MAX 32768u

static size_t home(const struct flows *f, const struct nf_tuple *t)
{
	const uint8_t *p = (const uint8_t *)t;
	uint64_t h = 14695981039346656037ull;

	for (size_t i = 0; i < sizeof(*t); i++) /* tuples are zeroed first: their padding is equal */
		h = (h ^ p[i]) * 1099511628211ull;
	return (size_t)(h >> 20) & (f->places - 1);
}

static struct flow *find(const struct flows *f, const struct nf_tuple *t)
{
	size_t at = home(f, t);

	while (f->at[at].start_ns && memcmp(&f->at[at].t, t, sizeof(*t)) != 0)
		at = (at + 1) & (f->places - 1);
	return &f->at[at];
}

static bool grow(struct flows *f)
{
	struct flows more = { .n = f->n, .places = f->places ? f->places * 2 : PLACES_FIRST };

	if (more.places > PLACES_MAX || !(more.at = calloc(more.places, sizeof(*more.at))))
		return false;
	for (size_t i = 0; i < f->places; i++)
		if (f->at[i].start_ns)
			*find(&more, &f->at[i].t) = f->at[i];
	free(f->at);
	*f = more;
	return true;
}

struct flow *flows_put(struct flows *f, const struct nf_tuple *t)
{
	struct flow *at;

	if (f->n * 2 >= f->places && !grow(f))
		return NULL;
	at = find(f, t);
	if (!at->start_ns) {
		f->n++;
		at->t = *t;
	}
	at->start_ns = now_real_ns();
	return at;
}

/* What stands behind the hole is put in its place again. */
static void close_hole(struct flows *f, struct flow *hole)
{
	size_t at = (size_t)(hole - f->at);

	for (size_t i = 1; i < f->places; i++) {
		struct flow *x = &f->at[(at + i) & (f->places - 1)], moved = *x;

		if (!x->start_ns)
			return;
		x->start_ns = 0;
		*find(f, &moved.t) = moved;
	}
}

bool flows_take(struct flows *f, const struct nf_tuple *t, struct flow *out)
{
	struct flow *at = f->places ? find(f, t) : NULL;

	if (!at || !at->start_ns)
		return false;
	*out = *at;
	at->start_ns = 0;
	f->n--;
	close_hole(f, at);
	return true;
}

void flows_free(struct flows *f)
{
	free(f->at);
	*f = (struct flows){ 0 };
}
