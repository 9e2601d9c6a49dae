/* The keys of a host group from front's frame into a tree, as if lib/yaml had read them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/groups.h"

#define DEPTH_MAX 4u
#define KEY_MAX 64u

struct growing {
	struct yaml_doc *d;
	struct fault *f;
};

static int bad(const struct growing *t, const char *key, const char *what)
{
	return fault_set(t->f, -EINVAL, "'%.60s' %s", key ? key : "an entry of a list", what);
}

/* One text field as a scalar. */
static int add_value(const struct growing *t, struct yaml_node *parent, const char *key, const struct wire_field *value, bool plain)
{
	char *text = utf8_is_valid(value->p, value->n) ? wire_field_dup(value) : NULL;
	struct yaml_node *n = text ? yaml_scalar(t->d, parent->kind == YAML_MAPPING ? key : NULL, text, plain) : NULL;

	free(text);
	if (!text)
		return bad(t, key, "holds bytes that are no text");
	if (!n)
		return bad(t, key, "is one value too many");
	yaml_append(parent, n);
	return 0;
}

static int add_entry(const struct growing *t, struct yaml_node *map, const struct wire_msg *entry, unsigned depth);

static int add_branch(const struct growing *t, struct yaml_node *parent, const char *key, const struct wire_field *field, unsigned depth)
{
	bool is_map = field->tag == C_T_MAP;
	struct yaml_node *n = yaml_branch(t->d, key, is_map ? YAML_MAPPING : YAML_SEQ);
	struct wire_msg inside, entry;
	struct wire_iter it;
	struct wire_field fd;
	int err = 0;

	if (!n || wire_sub(field, &inside))
		return bad(t, key, "is too much");
	yaml_append(parent, n);
	wire_iter_init(&it, inside.p, inside.n);
	while (!err && wire_next(&it, &fd)) { /* as many as the frame holds */
		if (!is_map && fd.tag == C_T_VALUE)
			err = add_value(t, n, key, &fd, false);
		else if (!is_map && fd.tag == C_T_MAP)
			err = add_branch(t, n, NULL, &fd, depth); /* its entries are one deeper */
		else if (is_map && fd.tag == C_T_ENTRY && !wire_sub(&fd, &entry))
			err = add_entry(t, n, &entry, depth + 1);
	}
	return err;
}

static int add_entry(const struct growing *t, struct yaml_node *map, const struct wire_msg *entry, unsigned depth)
{
	struct wire_field fd;
	char key[KEY_MAX + 1];
	uint64_t plain = 0;

	if (wire_get_str(entry, C_T_NAME, key, sizeof(key)) || !utf8_is_valid(key, strlen(key)))
		return fault_set(t->f, -EINVAL, "a key is no word of at most %u bytes", KEY_MAX);
	if (depth > DEPTH_MAX)
		return bad(t, key, "stands too deep");
	if (yaml_child(map, key))
		return bad(t, key, "is given twice");
	wire_get_u64(entry, C_T_PLAIN, &plain);
	if (wire_get(entry, C_T_VALUE, &fd))
		return add_value(t, map, key, &fd, plain != 0);
	if (wire_get(entry, C_T_LIST, &fd) || wire_get(entry, C_T_MAP, &fd))
		return add_branch(t, map, key, &fd, depth);
	return bad(t, key, "has no value");
}

int group_tree(struct yaml_doc *d, const struct wire_msg *m, struct fault *f)
{
	const struct growing t = { d, f };
	struct wire_msg entry;
	struct wire_iter it;
	struct wire_field fd;
	int err = 0;

	*d = (struct yaml_doc){ .file = NULL };
	d->root = yaml_branch(d, NULL, YAML_MAPPING);
	if (!d->root)
		return fault_errno(f, -ENOMEM, "host group");
	wire_iter_init(&it, m->p, m->n);
	while (!err && wire_next(&it, &fd)) /* as many as the frame holds */
		if (fd.tag == C_T_ENTRY && !wire_sub(&fd, &entry))
			err = add_entry(&t, d->root, &entry, 1);
	if (err)
		yaml_doc_done(d);
	return err;
}

bool group_tree_same(const struct yaml_node *a, const struct yaml_node *b)
{
	if (!a || !b || a->kind != b->kind || (a->key && b->key && strcmp(a->key, b->key) != 0))
		return a == b;
	if (a->kind == YAML_SCALAR)
		return strcmp(a->text, b->text) == 0;
	a = a->first;
	b = b->first;
	while (a && b && group_tree_same(a, b)) { /* recursion: both are at most YAML_DEPTH_MAX deep */
		a = a->next;
		b = b->next;
	}
	return a == b; /* both ended */
}
