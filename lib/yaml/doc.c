/* Events of libyaml into a bounded tree. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "lib/yaml/yaml.h"

struct yaml_block {
	struct yaml_block *next;
	max_align_t mem[];
};

void *yaml_doc_alloc(struct yaml_doc *d, size_t n)
{
	struct yaml_block *b;

	if (n > SIZE_MAX - sizeof(*b))
		return NULL;
	b = calloc(1, sizeof(*b) + n);
	if (!b)
		return NULL;
	b->next = d->blocks;
	d->blocks = b;
	return b->mem;
}

char *yaml_doc_strdup(struct yaml_doc *d, const char *s)
{
	size_t n = strlen(s);
	char *p = yaml_doc_alloc(d, n + 1);

	if (p)
		memcpy(p, s, n);
	return p;
}

void yaml_doc_done(struct yaml_doc *d)
{
	while (d->blocks) {
		struct yaml_block *next = d->blocks->next;

		free(d->blocks);
		d->blocks = next;
	}
	memset(d, 0, sizeof(*d));
}

int yaml_fault(const struct yaml_doc *d, unsigned line, struct fault *f, const char *fmt, ...)
{
	char text[900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!d->file)
		return fault_set(f, -EINVAL, "%s", text);
	if (line)
		return fault_set(f, -EINVAL, "%s:%u: %s", d->file, line, text);
	return fault_set(f, -EINVAL, "%s: %s", d->file, text);
}

/* One open collection while the tree grows. */
struct level {
	struct yaml_node *node;
	struct yaml_node *last; /* newest child */
	const char *key;        /* mapping: key that waits for its value */
	unsigned key_line;
};

struct builder {
	struct yaml_doc *d;
	struct fault *f;
	struct level levels[YAML_DEPTH_MAX];
	unsigned depth;
	unsigned documents;
	bool done;
};

static int key_take(struct builder *b, struct level *l, const char *text, unsigned line)
{
	const struct yaml_node *c;

	for (c = l->node->first; c; c = c->next) /* at most YAML_NODES_MAX */
		if (strcmp(c->key, text) == 0)
			return yaml_fault(b->d, line, b->f, "key '%.60s' is given twice (first on line %u): remove one", text,
					  c->line);
	l->key = text;
	l->key_line = line;
	return 0;
}

static int node_add(struct builder *b, enum yaml_kind kind, unsigned line, struct yaml_node **out)
{
	struct yaml_node *n;
	struct level *l = b->depth ? &b->levels[b->depth - 1] : NULL;

	if (l && l->node->kind == YAML_MAPPING && !l->key)
		return yaml_fault(b->d, line, b->f, "a key must be a plain word");
	if (++b->d->nodes > YAML_NODES_MAX)
		return yaml_fault(b->d, line, b->f, "too many values (at most %u)", YAML_NODES_MAX);
	n = yaml_doc_alloc(b->d, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->kind = kind;
	n->line = line;
	if (!l) {
		b->d->root = n;
	} else {
		n->key = l->key;
		if (l->key)
			n->line = kind == YAML_SCALAR ? line : l->key_line;
		l->key = NULL;
		if (l->last)
			l->last->next = n;
		else
			l->node->first = n;
		l->last = n;
	}
	*out = n;
	return 0;
}

static int open_level(struct builder *b, enum yaml_kind kind, const yaml_event_t *e)
{
	const yaml_char_t *anchor = kind == YAML_SEQ ? e->data.sequence_start.anchor : e->data.mapping_start.anchor;
	const yaml_char_t *tag = kind == YAML_SEQ ? e->data.sequence_start.tag : e->data.mapping_start.tag;
	unsigned line = (unsigned)e->start_mark.line + 1;
	struct yaml_node *n;
	int r;

	if (anchor || tag)
		return yaml_fault(b->d, line, b->f, "anchors (&) and tags (!) are not supported: write the value out");
	if (b->depth == YAML_DEPTH_MAX)
		return yaml_fault(b->d, line, b->f, "nested too deeply (at most %u levels)", YAML_DEPTH_MAX);
	r = node_add(b, kind, line, &n);
	if (r)
		return r;
	b->levels[b->depth++] = (struct level){ .node = n };
	return 0;
}

static int scalar(struct builder *b, const yaml_event_t *e)
{
	struct level *l = b->depth ? &b->levels[b->depth - 1] : NULL;
	const char *value = (const char *)e->data.scalar.value;
	unsigned line = (unsigned)e->start_mark.line + 1;
	struct yaml_node *n;
	char *text;
	int r;

	if (e->data.scalar.anchor || e->data.scalar.tag)
		return yaml_fault(b->d, line, b->f, "anchors (&) and tags (!) are not supported: write the value out");
	if (strlen(value) != e->data.scalar.length)
		return yaml_fault(b->d, line, b->f, "a value holds a NUL byte");
	text = yaml_doc_strdup(b->d, value);
	if (!text)
		return -ENOMEM;
	if (l && l->node->kind == YAML_MAPPING && !l->key)
		return key_take(b, l, text, line);
	r = node_add(b, YAML_SCALAR, line, &n);
	if (r)
		return r;
	n->text = text;
	n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	return 0;
}

static int event(struct builder *b, const yaml_event_t *e)
{
	unsigned line = (unsigned)e->start_mark.line + 1;

	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (b->documents++)
			return yaml_fault(b->d, line, b->f, "a second document starts here: only one is read, remove the '---'");
		return 0;
	case YAML_ALIAS_EVENT:
		return yaml_fault(b->d, line, b->f, "aliases (*) are not supported: write the value out");
	case YAML_SCALAR_EVENT:
		return scalar(b, e);
	case YAML_SEQUENCE_START_EVENT:
		return open_level(b, YAML_SEQ, e);
	case YAML_MAPPING_START_EVENT:
		return open_level(b, YAML_MAPPING, e);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		return 0;
	case YAML_STREAM_END_EVENT:
		b->done = true;
		return 0;
	default:
		return 0;
	}
}

static int parser_fault(const yaml_parser_t *p, struct builder *b)
{
	unsigned line = (unsigned)p->problem_mark.line + 1;
	const char *what = p->problem ? p->problem : "cannot be read";

	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (p->error == YAML_READER_ERROR)
		return yaml_fault(b->d, 0, b->f, "not UTF-8 text at byte %zu (%s): save the file as UTF-8", p->problem_offset, what);
	if (p->context)
		return yaml_fault(b->d, line, b->f, "not valid YAML: %s, %s (line %zu)", what, p->context,
				  p->context_mark.line + 1);
	return yaml_fault(b->d, line, b->f, "not valid YAML: %s", what);
}

int yaml_doc_parse(struct yaml_doc *d, const char *file, const void *text, size_t n, struct fault *f)
{
	struct builder b = { .d = d, .f = f };
	yaml_parser_t p;
	yaml_event_t e;
	int r = 0;

	*d = (struct yaml_doc){ .file = file };
	if (n > YAML_TEXT_MAX)
		return fault_set(f, -EFBIG, "%s: larger than %u KiB", file, YAML_TEXT_MAX >> 10);
	if (!yaml_parser_initialize(&p))
		return -ENOMEM;
	yaml_parser_set_input_string(&p, text, n);
	while (!r && !b.done) { /* every event eats input, or ends the stream */
		if (!yaml_parser_parse(&p, &e)) {
			r = parser_fault(&p, &b);
			break;
		}
		r = event(&b, &e);
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&p);
	if (r)
		yaml_doc_done(d);
	return r;
}
