/* Trees made by hand, and one over another. */
#include <string.h>
#include <strings.h>

#include "lib/yaml/yaml.h"

static struct yaml_node *node_new(struct yaml_doc *d, const char *key, enum yaml_kind kind)
{
	struct yaml_node *n = d->nodes < YAML_NODES_MAX ? yaml_doc_alloc(d, sizeof(*n)) : NULL;

	if (!n)
		return NULL;
	d->nodes++;
	n->kind = kind;
	n->line = 1;
	n->key = key ? yaml_doc_strdup(d, key) : NULL;
	return key && !n->key ? NULL : n;
}

struct yaml_node *yaml_scalar(struct yaml_doc *d, const char *key, const char *text, bool plain)
{
	struct yaml_node *n = node_new(d, key, YAML_SCALAR);

	if (!n)
		return NULL;
	n->plain = plain;
	n->text = yaml_doc_strdup(d, text);
	return n->text ? n : NULL;
}

struct yaml_node *yaml_branch(struct yaml_doc *d, const char *key, enum yaml_kind kind)
{
	return node_new(d, key, kind);
}

void yaml_append(struct yaml_node *parent, struct yaml_node *child)
{
	struct yaml_node **at = &parent->first;

	while (*at)
		at = &(*at)->next;
	*at = child;
}

struct yaml_node *yaml_child(const struct yaml_node *map, const char *key)
{
	struct yaml_node *n = map && map->kind == YAML_MAPPING ? map->first : NULL;

	while (n && strcmp(n->key, key) != 0)
		n = n->next;
	return n;
}

bool yaml_is_null(const struct yaml_node *n)
{
	return n->kind == YAML_SCALAR && n->plain && (!n->text[0] || strcmp(n->text, "~") == 0 || strcasecmp(n->text, "null") == 0);
}

static struct yaml_node *copy(struct yaml_doc *d, const struct yaml_node *n)
{
	struct yaml_node *c = n->kind == YAML_SCALAR ? yaml_scalar(d, n->key, n->text, n->plain) : yaml_branch(d, n->key, n->kind);

	for (const struct yaml_node *child = n->first; c && child; child = child->next) { /* recursion: at most YAML_DEPTH_MAX */
		struct yaml_node *twin = copy(d, child);

		if (!twin)
			return NULL;
		yaml_append(c, twin);
	}
	return c;
}

/* What becomes of one child of base. *out NULL: it is removed. false: out of memory. */
static bool merge_child(struct yaml_doc *d, const struct yaml_node *old, const struct yaml_node *over, struct yaml_node **out)
{
	*out = NULL;
	if (over && yaml_is_null(over))
		return true;
	*out = over && over->kind == YAML_MAPPING && old && old->kind == YAML_MAPPING ? yaml_merged(d, old, over) : copy(d, over ? over : old);
	return *out;
}

struct yaml_node *yaml_merged(struct yaml_doc *d, const struct yaml_node *base, const struct yaml_node *patch)
{
	struct yaml_node *m = yaml_branch(d, base->key, YAML_MAPPING), *n;

	if (!m)
		return NULL;
	for (const struct yaml_node *c = base->first; c; c = c->next) {
		if (!merge_child(d, c, yaml_child(patch, c->key), &n))
			return NULL;
		yaml_append(m, n);
	}
	for (const struct yaml_node *c = patch->first; c; c = c->next) {
		if (yaml_child(base, c->key))
			continue;
		if (!merge_child(d, NULL, c, &n))
			return NULL;
		yaml_append(m, n);
	}
	return m;
}
