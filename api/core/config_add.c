/* One group more, from the API: the file's checks over the daemon's groups and the new one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/config_int.h"

/* What a check sees: copies, so that nothing of the daemon's changes. */
struct bench {
	struct config config;
	struct keys_config keys;
	struct host_group *groups; /* owned; the new one last */
	struct keys_group *group_keys; /* owned; the same order */
};

static int bench_init(struct bench *b, const struct config *c, const struct yaml_doc *d, const struct host_group *old, const struct keys_group *k)
{
	size_t n = 0;

	b->groups = calloc(c->n_groups + 1, sizeof(*b->groups));
	b->group_keys = calloc(c->n_groups + 1, sizeof(*b->group_keys));
	if (!b->groups || !b->group_keys)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_groups; i++) {
		if (&c->groups[i] == old)
			continue;
		b->groups[n] = c->groups[i];
		b->group_keys[n++] = *c->groups[i].keys;
	}
	b->group_keys[n] = *k;
	b->groups[n].keys = k;
	b->groups[n].image.fd = b->groups[n].kernel.fd = b->groups[n].initrd.fd = -1;
	b->keys = *c->keys;
	b->keys.host_groups = (struct yaml_maps){ b->group_keys, n + 1, 1 };
	b->config = (struct config){ .doc = *d, .keys = &b->keys, .groups = b->groups, .n_groups = n + 1 };
	return 0;
}

static void bench_done(struct bench *b)
{
	free(b->groups);
	free(b->group_keys);
}

static int check_name_free(const struct bench *b, const struct host_group *old, const struct keys_group *k, struct fault *f)
{
	const char *name = k->name.line ? k->name.v : "";

	if (old)
		return strcmp(old->name, name) == 0 ? 0 : fault_set(f, -EINVAL, "the name of a host group cannot be changed: create another group");
	for (size_t i = 0; i + 1 < b->config.n_groups; i++)
		if (strcmp(b->groups[i].name, name) == 0)
			return fault_set(f, -EEXIST, "there is a host group '%s' already", name);
	return b->config.n_groups > GROUPS_MAX ? fault_set(f, -ENOSPC, "this daemon has %u host groups already: delete one", GROUPS_MAX) : 0;
}

static int check(struct bench *b, const struct config *c, const struct host_group *old, const struct keys_group *k, struct fault *f)
{
	struct checking x = { &b->config, &b->keys, &c->host, f, true };
	int r = check_name_free(b, old, k, f);

	if (!r)
		r = config_check_group(&x, k, &b->groups[b->config.n_groups - 1]);
	if (!r)
		r = config_check_total(&x, k->count.line);
	if (!r && (config_check_overlaps(&x) || config_check_ports(&x)))
		r = -EEXIST;
	return r;
}

int config_check_added(const struct config *c, struct yaml_doc *d, const struct host_group *old, struct host_group *out, struct config_notes *notes,
		       struct fault *f)
{
	struct keys_group *k = yaml_doc_alloc(d, sizeof(*k));
	struct bench b = { .groups = NULL };
	struct host_group *g;
	int r = k ? yaml_read(d, d->root, config_group_keys, k, f) : -ENOMEM;

	if (!r)
		r = bench_init(&b, c, d, old, k);
	if (!r) {
		r = check(&b, c, old, k, f);
		*d = b.config.doc; /* it grew */
		g = &b.groups[b.config.n_groups - 1];
		g->by_api = true;
		g->line = 0;
		g->doc = *d;
		g->doc.file = NULL;
		if (r)
			host_group_done(g);
		else
			*out = *g;
		notes->n = r ? 0 : b.config.n_notes;
		memcpy(notes->text, b.config.notes, sizeof(notes->text));
	} else {
		yaml_doc_done(d);
	}
	memset(d, 0, sizeof(*d));
	bench_done(&b);
	return r == -ENOMEM ? fault_errno(f, r, "host group") : r;
}

struct host_group *config_add(struct config *c, const struct host_group *g_taken)
{
	struct host_group *g = &c->groups[c->n_groups++];

	*g = *g_taken;
	return g;
}

void config_take_out(struct config *c, size_t i)
{
	host_group_done(&c->groups[i]);
	c->n_groups--;
	memmove(&c->groups[i], &c->groups[i + 1], (c->n_groups - i) * sizeof(c->groups[0]));
	memset(&c->groups[c->n_groups], 0, sizeof(c->groups[0]));
}

void host_group_done(struct host_group *g)
{
	fd_close(&g->image.fd);
	fd_close(&g->kernel.fd);
	fd_close(&g->initrd.fd);
	for (unsigned i = 0; i < g->n_disks; i++)
		fd_close(&g->disks[i].file.fd);
	policy_done(&g->policy);
	policy_done(&g->said);
	if (g->by_api)
		yaml_doc_done(&g->doc);
}
