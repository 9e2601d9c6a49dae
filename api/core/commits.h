/*
 * Commits: commits/<id>/ in the state folder, each the disk of a stopped VM as it was (disk.img, never written again), that VM's record, and its meta
 * file (lines of key=value, the first "mica-commit=1", the last "end=1"). A commit is whole or not there: its folder is called .<id> until all of it is
 * on the host's disk. It shares no file with its source, which may run on or go; children lie over it (struct record's `parent`), so it stays while there
 * are any. Nothing of it changes once it is made. Made by a helper child (vm_commit.c); nothing here blocks but reading small files at start.
 */
#ifndef API_CORE_COMMITS_H
#define API_CORE_COMMITS_H

#include "api/core/record.h"

#define COMMIT_ID_MAX (RECORD_PARENT_BYTES - 1u) /* "cmt-", the source's name with x for '-', "-" and 16 digits */
#define COMMITS_MAX 4096u
#define COMMIT_META_MAX (96u << 10)
#define LABELS_MAX 64u
#define LABEL_KEY_MAX 128u
#define LABEL_VALUE_MAX 256u

struct core;
struct vm;
struct commit {
	struct commit *next;
	char id[RECORD_PARENT_BYTES];
	struct record source;          /* as it was; by name and created_ns it is known again */
	uint64_t created_ns, bytes;    /* size of the disk */
	uint64_t source_mtime_ns;      /* of its disk.img: later, the source has run since */
	char *tags[TAGS_MAX];          /* owned */
	unsigned n_tags;
	struct { char *key, *value; } labels[LABELS_MAX]; /* owned */
	unsigned n_labels;
	char *cache_key;               /* owned; NULL: none */
};
struct commits {
	int dir_fd;            /* owned: commits/; -1 */
	struct commit *first;  /* newest first */
	unsigned count;
};

struct commit *commit_new(const char *source); /* with an id of its own; NULL */
void commit_free(struct commit *k);
int commit_add_tag(struct commit *k, const char *tag);                       /* 0 (also when it is there), -EINVAL, -ENOSPC, -ENOMEM */
int commit_add_label(struct commit *k, const char *key, const char *value);  /* 0, -EINVAL, -EEXIST, -ENOSPC, -ENOMEM */
bool commit_has_tag(const struct commit *k, const char *tag);
bool commit_same_words(const struct commit *a, const struct commit *b);      /* tags and labels in any order, cache key */

/* Its meta file: 0 or -EFBIG. The opposite for k->id, into an otherwise zeroed k: 0, -EINVAL (damaged), -ENOMEM …; changes text. */
int commit_meta_format(const struct commit *k, struct buf *out);
int commit_meta_parse(struct commit *k, char *text);

int commits_open(struct core *c, struct fault *f); /* before the drop */
void commits_load(struct core *c);                 /* what is left of an interrupted commit goes; what is damaged is told and left alone */
struct commit *commits_find(const struct commits *s, const char *id);
struct commit *commits_with_key(const struct commits *s, const char *cache_key);
struct commit *commits_of(const struct commits *s, const struct vm *source);
int commits_disk(const struct commits *s, const char *id); /* its disk, read-only; fd or -errno */
uint64_t commits_stored(const struct commits *s, const char *id); /* bytes that its disk takes on this host; 0: not known */
void commits_add(struct commits *s, struct commit *k_taken);

/* Of a commit that is being made: folder .<id> and its empty disk.img, open for writing. fd or -errno. */
int commits_begin(const struct commits *s, const char *id);
/* Makes it whole, in a helper child: disk_fd, record and meta are on the host's disk, then it gets its name. 0 or -errno. */
int commits_finish(const struct commits *s, const struct commit *k, int disk_fd);
int commits_abandon(const struct commits *s, const char *id); /* 0 also when it is not there */
/* Out of the store, and freed; its folder gets a name with a dot (*gone), for commits_erase() in a helper child. 0 or -errno. */
int commits_take_out(struct commits *s, struct commit *k, char gone[RECORD_PARENT_BYTES + 1]);
int commits_erase(const struct commits *s, const char *gone);

#endif
