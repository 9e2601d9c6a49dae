/*
 * The secrets of this daemon: files in <state>/secrets/ (0700), one per name (0600) with its metadata beside it in `.<name>.meta`.
 * Each file is replaced whole and is on the disk before a change is acknowledged. Metadata is kept in memory, sorted by name;
 * the bytes are read when a guest is to have them. The metadata's reader is strict: a secret that it refuses is left alone and told.
 * One thread; stands on lib/base alone.
 */
#ifndef API_CORE_SECRETS_H
#define API_CORE_SECRETS_H

#include "lib/base/buf.h"

#define SECRET_NAME_MAX 64u
#define SECRET_BYTES_MAX 32768u /* one field of an agent frame */
#define SECRETS_MAX 256u
#define SECRET_PERM_MAX 0777u

struct secret {
	char name[SECRET_NAME_MAX + 1];
	uint32_t size;         /* bytes */
	unsigned perm;         /* of the file in a guest: low 9 mode bits */
	uint32_t uid, gid;     /* its owner there */
	uint64_t modified_ns;  /* real time */
	uint64_t change;       /* counts up with every change of any secret since core began; not on disk */
};
struct secrets {
	int dir_fd;            /* owned; -1: not open */
	struct secret *list;   /* owned; by name */
	unsigned n;
	uint64_t changes;      /* the last `change` that was given */
};

/* [A-Za-z0-9._-], at most SECRET_NAME_MAX, not beginning with a dot. */
bool secret_name_is_valid(const char *s);
/* Makes and opens the folder. f says what failed. */
int secrets_open(struct secrets *s, int state_fd, struct fault *f);
/* Reads what is there, and removes what a fall left half done. note() hears of what is left alone. 0 or -errno. */
int secrets_load(struct secrets *s, void (*note)(void *arg, const char *text), void *arg);
void secrets_done(struct secrets *s); /* safe on a zeroed struct whose dir_fd is -1 */
const struct secret *secrets_find(const struct secrets *s, const char *name);
/* Adds or replaces want->name; data NULL: the bytes stay (then it must exist). size, modified_ns and change are set here. *out is valid
 * until the next change. -EINVAL (name, permissions, owner), -EFBIG, -ENOSPC when there are SECRETS_MAX, -ENOENT, or of the disk. */
int secrets_set(struct secrets *s, const struct secret *want, const void *data, size_t n, const struct secret **out);
int secrets_remove(struct secrets *s, const char *name); /* -ENOENT */
/* Its bytes, malloc'ed; the caller wipes and frees them. */
int secrets_read(const struct secrets *s, const struct secret *e, char **out, size_t *n);

/* Text of the metadata file and the opposite (for tests and fuzzing, too). */
int secret_meta_format(const struct secret *e, struct buf *out);
int secret_meta_parse(struct secret *e, const char *text, size_t n); /* perm, uid, gid, modified_ns; -EINVAL */

#endif
