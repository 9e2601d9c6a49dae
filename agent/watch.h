/*
 * A watch on files and folders (A_FS_WATCH), in a child of its own that runs as the asking user. watch_ask.c decodes the request and filters by
 * it (pure), watch_tree.c keeps the inotify watches of a tree that changes, watch.c says what happened. A host that
 * reads slowly holds up this child alone; what the kernel then drops is said as an overflow.
 */
#ifndef AGENT_WATCH_H
#define AGENT_WATCH_H

#include "agent/agent.h"
#include "lib/arc/glob.h"

#define WATCH_NODES_MAX 8192u   /* folders and files watched at once */
#define WATCH_DEPTH_MAX 128u
#define WATCH_PENDING_MAX 4096u /* events held back by debounce */

enum watch_kind { WATCH_CREATE = 1, WATCH_WRITE = 2, WATCH_REMOVE = 4, WATCH_RENAME = 8, WATCH_CHMOD = 16, WATCH_ALL = 31, WATCH_OVERFLOW = 32 };
const char *watch_kind_name(unsigned kind); /* exactly one bit */

/* ---- the request (watch_ask.c) ---- */

struct watch_ask {
	char **paths;              /* owned; as asked, "~" not resolved */
	char **pattern_mem;        /* owned */
	struct glob_list patterns; /* n 0: everything */
	size_t n_paths;
	unsigned kinds;
	bool recursive;
	uint64_t debounce_ms, timeout_ms, max_events; /* 0: none */
};
/* 0 or -errno with a sentence; watch_ask_done() either way. */
int watch_ask_read(struct watch_ask *a, const struct wire_msg *m, struct fault *f);
void watch_ask_done(struct watch_ask *a);
/* Is an event of that kind at that path asked for? */
bool watch_wants(const struct watch_ask *a, unsigned kind, const char *path);

/* ---- what is watched (watch_tree.c) ---- */

struct watch_node {
	struct watch_node *next; /* same bucket */
	int wd;
	bool root;         /* named in the request: its own end and changes are news; others' stand in their parent's watch */
	const char *only;  /* the file of that name alone (watched by its folder, so that replacing it is seen); NULL: all */
	char path[];       /* the folder as asked; with `only`: the file as asked */
};
struct watch_tree {
	int fd;            /* inotify, owned */
	uint32_t mask;
	bool recursive;
	unsigned n;
	struct watch_node *table[1024];
	struct buf found;  /* paths said to be new by a scan, NUL after each, whose own event may still come */
	void (*on_new)(void *arg, const char *path, bool is_dir); /* met in a folder that is new itself */
	void *arg;
};
int watch_tree_init(struct watch_tree *t, unsigned kinds, bool recursive);
/* A file or folder of the request. -ENOENT, -E2BIG (too many), -errno with a sentence. */
int watch_tree_root(struct watch_tree *t, const char *path, struct fault *f);
/* A folder that appeared: it and what is below. is_new: what stands in it is said by on_new. 0, -E2BIG, -ENOSPC: not all of it is watched. */
int watch_tree_grow(struct watch_tree *t, const char *path, bool is_new);
void watch_tree_shrink(struct watch_tree *t, const char *path); /* it and what is below moved away */
void watch_tree_gone(struct watch_tree *t, int wd);             /* the kernel dropped it */
/* The node that speaks for this event, with the path to name; NULL: nobody asked for it. */
const struct watch_node *watch_tree_find(const struct watch_tree *t, int wd, const char *name, char path[PATH_MAX]);
/* True once for each path that a scan has said before its own event came. */
bool watch_tree_said(struct watch_tree *t, const char *path);

#endif
