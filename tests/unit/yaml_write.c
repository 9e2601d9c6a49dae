/* Trees as text: what is written is read as the same tree again; and one tree over another. */
#include <stdlib.h>
#include <string.h>

#include "lib/yaml/yaml.h"
#include "tests/unit/tap.h"

static bool same(const struct yaml_node *a, const struct yaml_node *b)
{
	if (!a || !b)
		return a == b;
	if (a->kind != b->kind || !a->key != !b->key || (a->key && strcmp(a->key, b->key) != 0))
		return false;
	if (a->kind == YAML_SCALAR)
		return strcmp(a->text, b->text) == 0 && yaml_is_null(a) == yaml_is_null(b);
	a = a->first;
	b = b->first;
	while (a && b && same(a, b)) {
		a = a->next;
		b = b->next;
	}
	return !a && !b;
}

static void there_and_back(const char *text)
{
	struct yaml_doc d, e;
	struct fault f = { "" };
	struct buf b;
	int r;

	buf_init(&b, 1 << 20);
	ok(yaml_doc_parse(&d, "a", text, strlen(text), &f) == 0, "reads: %s", f.text);
	yaml_write(&b, d.root);
	r = yaml_doc_parse(&e, "b", buf_data(&b), buf_len(&b), &f);
	ok(r == 0 && same(d.root, e.root), "and back: %s%.*s", f.text, (int)strcspn(text, "\n"), text);
	if (!r)
		yaml_doc_done(&e);
	yaml_doc_done(&d);
	buf_done(&b);
}

static const char *const texts[] = {
	"a: 1\nb: two\nc: [1, 'x y', \"\", ~, null, 'null']\nd: {}\ne: []\n",
	"a:\nb: ''\nc: '~'\nd: ~\n",
	"list:\n- name: x\n  deep:\n    deeper: [a, [b, c], {k: v, l: [1]}]\n- plain\n- []\n- - - x\n",
	"s: |\n  #!/bin/sh\n  echo hi\n\n  exit\n",
	"s: |-\n  one\n  two\n",
	"s: |+\n  one\n\n\n",
	"l:\n- |\n  x\n   y\n- z\n",
	"s: \"\\n starts with a break\"\n",
	"s: \" a\\n b\"\n",
	"s: \"tab\\t and \\x01 and \\\" and \\\\ and \\r\\n\"\n",
	"s: \"\\u0085\\u0080\\u2028 \\uFEFF \\uFFFE \xc3\xa4\"\n",
	"s: a \\ b\n",
	"'odd: key': 'va: lue'\n'': x\n'#': '#'\n",
	"dash: '- a'\nneg: -1\nhost: 10.0.0.1/24\n",
	"s: two words\n  and folded\n\n  and broken\n",
};

static void test_merge(void)
{
	static const char base[] = "a: 1\nb: {x: 1, y: 2}\nc: [1]\nd: 4\n", patch[] = "a: 2\nb: {y: ~, z: 3}\nc: [5, 6]\nd: ~\ne: {f: ~, g: 1}\n",
		want[] = "a: 2\nb: {x: 1, z: 3}\nc: [5, 6]\ne: {f: ~, g: 1}\n";
	struct yaml_doc b, p, w, d = { .file = NULL };
	struct fault f = { "" };
	struct yaml_node *m;

	if (yaml_doc_parse(&b, "b", base, strlen(base), &f) || yaml_doc_parse(&p, "p", patch, strlen(patch), &f) ||
	    yaml_doc_parse(&w, "w", want, strlen(want), &f)) {
		ok(false, "merge: %s", f.text);
		return;
	}
	m = yaml_merged(&d, b.root, p.root);
	ok(same(m, w.root), "a tree over another");
	yaml_doc_done(&b);
	yaml_doc_done(&p);
	ok(same(m, w.root) && yaml_child(m, "b") && !yaml_child(m, "d") && !yaml_child(yaml_child(m, "a"), "x"), "holds copies");
	yaml_doc_done(&w);
	yaml_doc_done(&d);
}

static void test_made(void)
{
	struct yaml_doc d = { .file = NULL };
	struct fault f = { "" };
	struct yaml_node *m = yaml_branch(&d, NULL, YAML_MAPPING), *n;
	unsigned made = 0;

	yaml_append(m, yaml_scalar(&d, "k", "v", false));
	yaml_append(m, yaml_scalar(&d, "empty", "", true));
	ok(yaml_child(m, "k") && yaml_is_null(yaml_child(m, "empty")) && !yaml_child(m, "x"), "made by hand");
	ok(yaml_fault(&d, 1, &f, "what %d", 7) == -22 && strcmp(f.text, "what 7") == 0, "without a file a fault names no place: %s", f.text);
	while ((n = yaml_scalar(&d, NULL, "x", true)) && made < 2 * YAML_NODES_MAX)
		made++;
	ok(made == YAML_NODES_MAX - 3, "bounded: %u", made);
	yaml_doc_done(&d);
}

int main(void)
{
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		there_and_back(texts[i]);
	test_merge();
	test_made();
	return tap_done();
}
