/*
 * lib/yaml: one YAML document into a tree of nodes that know their line, and from there
 * into a caller's struct by a table of keys. A thin layer over libyaml (events only).
 * Bounded: document, depth, nodes. Refused, with the line: anchors, aliases, tags, a second document, doubled keys,
 * unknown keys (the nearest known one is named), wrong types. Trees may also be made by hand, merged and written. Stands on lib/base alone; core only.
 * Everything read lives until yaml_doc_done(). Not shared between threads.
 */
#ifndef LIB_YAML_YAML_H
#define LIB_YAML_YAML_H

#include "lib/base/buf.h"

#define YAML_TEXT_MAX (256u << 10) /* most bytes of a document */
#define YAML_NODES_MAX 8192u
#define YAML_DEPTH_MAX 12u

enum yaml_kind { YAML_SCALAR, YAML_SEQ, YAML_MAPPING };

struct yaml_node {
	enum yaml_kind kind;
	unsigned line;                  /* from 1 */
	const char *key;                /* inside a mapping: its key, else NULL */
	const char *text;               /* scalar: NUL-terminated, no NUL inside */
	bool plain;                     /* scalar without quotes */
	struct yaml_node *first, *next; /* children; the next sibling */
};

struct yaml_block;
struct yaml_doc {
	const char *file;          /* borrowed; for messages; NULL: they name no place (no file was read) */
	struct yaml_node *root;    /* NULL: the document is empty */
	struct yaml_block *blocks; /* owned: all memory of the document */
	unsigned nodes;
};

/* Reads text[n]. d needs no init; after an error it is as after yaml_doc_done().
 * 0, -EINVAL (f says file:line: what), -EFBIG, -ENOMEM. */
int yaml_doc_parse(struct yaml_doc *d, const char *file, const void *text, size_t n, struct fault *f);
void yaml_doc_done(struct yaml_doc *d); /* safe on a zeroed struct */
/* Zeroed memory that lives as long as the document. NULL when out of memory. */
void *yaml_doc_alloc(struct yaml_doc *d, size_t n);
char *yaml_doc_strdup(struct yaml_doc *d, const char *s);
/* f = "file:line: …" (line 0: "file: …"; without file: "…"). Returns -EINVAL. */
int yaml_fault(const struct yaml_doc *d, unsigned line, struct fault *f, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- trees that are made or changed by hand (tree.c), and written (write.c) ---- */

/* A node of its own, on line 1. key (copied; NULL in lists) and text (copied) belong to d then. plain: as if without quotes, so that "" is null.
 * NULL: out of memory, or more than YAML_NODES_MAX. */
struct yaml_node *yaml_scalar(struct yaml_doc *d, const char *key, const char *text, bool plain);
struct yaml_node *yaml_branch(struct yaml_doc *d, const char *key, enum yaml_kind kind); /* an empty list or mapping */
void yaml_append(struct yaml_node *parent, struct yaml_node *child); /* child NULL: nothing */
struct yaml_node *yaml_child(const struct yaml_node *map, const char *key); /* NULL: none, or map is no mapping */
bool yaml_is_null(const struct yaml_node *n);
/* patch over base as RFC 7396 does it for JSON: null removes, mappings go into each other, all else replaces. Returns a new mapping in d that
 * holds copies. Both trees are at most YAML_DEPTH_MAX deep. NULL as above. */
struct yaml_node *yaml_merged(struct yaml_doc *d, const struct yaml_node *base, const struct yaml_node *patch);
/* Block style; what yaml_doc_parse() makes of it is the same tree. Appends; look at out->failed once. */
void yaml_write(struct buf *out, const struct yaml_node *root);

/* ---- what keys are read into; line 0 = the key was not given ---- */

struct yaml_str { const char *v; unsigned line; };                 /* Y_STR */
struct yaml_num { uint64_t v; unsigned line; };                    /* Y_NUM, Y_SIZE (bytes) */
struct yaml_flag { bool v; unsigned line; };                       /* Y_FLAG */
struct yaml_strs { struct yaml_str *v; size_t n; unsigned line; }; /* Y_STRS: list of strings */
struct yaml_maps { void *v; size_t n; unsigned line; };            /* Y_MAPS: list of maps, item_bytes each */

enum yaml_type {
	Y_STR, Y_NUM, Y_SIZE, Y_FLAG, Y_STRS, Y_MAPS,
	Y_MAP,  /* a struct inside; it and the items of Y_MAPS start with `unsigned line` */
	Y_NODE, /* const struct yaml_node *: the caller looks itself */
};

struct yaml_key {
	const char *name;
	enum yaml_type type;
	size_t at;                  /* offset in the struct */
	uint64_t max;               /* Y_NUM: largest value (0: no limit); Y_STRS, Y_MAPS: most items (0: 64) */
	const struct yaml_key *sub; /* Y_MAP, Y_MAPS */
	size_t item_bytes;          /* Y_MAPS */
};

/* Reads mapping `map` into zeroed dst by `keys` (ends with name NULL). dst starts with `unsigned line`.
 * A key whose value is empty or null counts as not given. 0, -EINVAL, -ENOMEM. */
int yaml_read(struct yaml_doc *d, const struct yaml_node *map, const struct yaml_key *keys, void *dst, struct fault *f);

#endif
