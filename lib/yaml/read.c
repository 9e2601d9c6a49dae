/* Tree into struct, by a table of keys. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/yaml/yaml.h"

#define ITEMS_MAX_DEFAULT 64u

struct reader {
	struct yaml_doc *d;
	struct fault *f;
};

static const char *kind_name(enum yaml_kind k)
{
	return k == YAML_SCALAR ? "a single value" : k == YAML_SEQ ? "a list" : "a map";
}

static int want_kind(const struct reader *r, const struct yaml_node *n, const char *name, enum yaml_kind k)
{
	if (n->kind == k)
		return 0;
	return yaml_fault(r->d, n->line, r->f, "'%s' must be %s, not %s", name, kind_name(k), kind_name(n->kind));
}

static int unknown_key(const struct reader *r, const struct yaml_node *n, const struct yaml_key *keys)
{
	const struct yaml_key *k, *best = NULL;
	unsigned best_distance = 0;
	char known[400] = "";
	size_t used = 0;

	for (k = keys; k->name; k++) {
		unsigned distance = edit_distance(n->key, k->name);

		if (!best || distance < best_distance) {
			best = k;
			best_distance = distance;
		}
		if (used < sizeof(known))
			used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", k->name);
	}
	if (best && best_distance <= 2 + strlen(best->name) / 4)
		return yaml_fault(r->d, n->line, r->f, "unknown key '%.60s', did you mean '%s'?", n->key, best->name);
	return yaml_fault(r->d, n->line, r->f, "unknown key '%.60s'; known here: %s", n->key, known);
}

static int read_flag(const struct reader *r, const struct yaml_node *n, const char *name, struct yaml_flag *out)
{
	static const struct { const char *word; bool v; } words[] = {
		{ "true", true }, { "false", false }, { "yes", true }, { "no", false }, { "on", true }, { "off", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(n->text, words[i].word) == 0) {
			*out = (struct yaml_flag){ words[i].v, n->line };
			return 0;
		}
	return yaml_fault(r->d, n->line, r->f, "'%s' must be true or false, not '%.60s'", name, n->text);
}

static int read_num(const struct reader *r, const struct yaml_node *n, const struct yaml_key *k, struct yaml_num *out)
{
	uint64_t max = k->max ? k->max : INT64_MAX;
	int err = k->type == Y_SIZE ? parse_size(n->text, &out->v) : parse_u64(n->text, max, &out->v);

	out->line = n->line;
	if (!err)
		return 0;
	if (k->type == Y_SIZE)
		return yaml_fault(r->d, n->line, r->f, "'%s' must be a size as 512M or 25G, not '%.60s'", k->name, n->text);
	return yaml_fault(r->d, n->line, r->f, "'%s' must be a whole number from 0 to %llu, not '%.60s'", k->name,
			  (unsigned long long)max, n->text);
}

static int count_items(const struct reader *r, const struct yaml_node *n, const struct yaml_key *k, size_t *out)
{
	uint64_t max = k->max ? k->max : ITEMS_MAX_DEFAULT;
	const struct yaml_node *c;

	*out = 0;
	for (c = n->first; c; c = c->next)
		++*out;
	if (*out > max)
		return yaml_fault(r->d, n->line, r->f, "'%s' has %zu items; at most %llu are possible", k->name, *out,
				  (unsigned long long)max);
	return 0;
}

static int read_strs(const struct reader *r, const struct yaml_node *n, const struct yaml_key *k, struct yaml_strs *out)
{
	const struct yaml_node *c;
	size_t count;
	int err = count_items(r, n, k, &count);

	if (err)
		return err;
	out->v = yaml_doc_alloc(r->d, (count + 1) * sizeof(*out->v));
	if (!out->v)
		return -ENOMEM;
	out->line = n->line;
	for (c = n->first; c; c = c->next) {
		if (c->kind != YAML_SCALAR)
			return yaml_fault(r->d, c->line, r->f, "'%s' must be a list of single values", k->name);
		out->v[out->n++] = (struct yaml_str){ c->text, c->line };
	}
	return 0;
}

static int read_maps(const struct reader *r, const struct yaml_node *n, const struct yaml_key *k, struct yaml_maps *out)
{
	const struct yaml_node *c;
	size_t count;
	char *at;
	int err = count_items(r, n, k, &count);

	if (err)
		return err;
	at = yaml_doc_alloc(r->d, (count + 1) * k->item_bytes);
	if (!at)
		return -ENOMEM;
	out->v = at;
	out->line = n->line;
	for (c = n->first; c; c = c->next, at += k->item_bytes) {
		err = want_kind(r, c, k->name, YAML_MAPPING);
		if (!err)
			err = yaml_read(r->d, c, k->sub, at, r->f);
		if (err)
			return err;
		out->n++;
	}
	return 0;
}

static enum yaml_kind kind_of_type(enum yaml_type t)
{
	switch (t) {
	case Y_STRS: case Y_MAPS: return YAML_SEQ;
	case Y_MAP: return YAML_MAPPING;
	default: return YAML_SCALAR;
	}
}

static int read_value(const struct reader *r, const struct yaml_node *n, const struct yaml_key *k, char *dst)
{
	void *at = dst + k->at;
	int err = 0;

	if (k->type == Y_NODE) {
		*(const struct yaml_node **)at = n;
		return 0;
	}
	err = want_kind(r, n, k->name, kind_of_type(k->type));
	if (err)
		return err;
	switch (k->type) {
	case Y_STR:
		*(struct yaml_str *)at = (struct yaml_str){ n->text, n->line };
		return 0;
	case Y_NUM:
	case Y_SIZE:
		return read_num(r, n, k, at);
	case Y_FLAG:
		return read_flag(r, n, k->name, at);
	case Y_STRS:
		return read_strs(r, n, k, at);
	case Y_MAPS:
		return read_maps(r, n, k, at);
	case Y_MAP:
		return yaml_read(r->d, n, k->sub, at, r->f);
	default:
		return -EINVAL;
	}
}

int yaml_read(struct yaml_doc *d, const struct yaml_node *map, const struct yaml_key *keys, void *dst, struct fault *f)
{
	const struct reader r = { d, f };
	const struct yaml_node *n;

	*(unsigned *)dst = map->line;
	for (n = map->first; n; n = n->next) {
		const struct yaml_key *k = keys;
		int err;

		while (k->name && strcmp(k->name, n->key) != 0)
			k++;
		if (!k->name)
			return unknown_key(&r, n, keys);
		err = yaml_is_null(n) ? 0 : read_value(&r, n, k, dst);
		if (err)
			return err;
	}
	return 0;
}
