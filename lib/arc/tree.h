/*
 * Trees out to tar and back. tar_source: pulls the tar bytes of a folder's content (entries relative to the
 * folder itself: /etc gives "passwd"). tar_sink: makes files and folders beneath a folder from tar bytes.
 * Neither follows a symbolic link below its root; symlinks and special files are left out of a tar (counted), and refused
 * in one. Both do blocking file i/o. The caller owns root_fd and keeps it open.
 */
#ifndef LIB_ARC_TREE_H
#define LIB_ARC_TREE_H

#include "lib/arc/glob.h"
#include "lib/arc/tar.h"

#define TREE_DEPTH_MAX 128u /* folders within folders; deeper: -ELOOP */

struct tar_source;
/* excludes may be NULL (borrowed, like root_fd). 0 or -ENOMEM. */
int tar_source_new(struct tar_source **out, int root_fd, const struct glob_list *excludes);
void tar_source_free(struct tar_source *s); /* NULL is fine */
/* Up to n bytes of the archive (n ≥ 1). Bytes; 0 at the end (also of the end marker); -errno with a sentence that names the file:
 * unreadable, or shorter than its header said by the time it was read. */
ssize_t tar_source_read(struct tar_source *s, void *dst, size_t n, struct fault *f);
struct tar_source_stats {
	uint64_t files, dirs, skipped, data_bytes; /* so far; data_bytes without headers */
};
struct tar_source_stats tar_source_stats(const struct tar_source *s);
/* Walks without reading: what a source would give. For progress bars and unpacked sizes. 0 or -errno. */
int tar_source_measure(int root_fd, const struct glob_list *excludes, struct tar_source_stats *out, struct fault *f);

struct tar_sink;
/* Files are written beside their place under a temporary name and renamed; a broken archive loses nothing of what was there. Mode: setuid, setgid
 * and sticky are dropped, any x of a file becomes 0111; mtime is kept. Missing parents are made 0755. A symlink on the way is refused (-ELOOP), one in
 * the place of a file is replaced. Owner: whoever runs this. excludes may be NULL. */
int tar_sink_new(struct tar_sink **out, int root_fd, const struct glob_list *excludes);
int tar_sink_feed(struct tar_sink *s, const void *p, size_t n, struct fault *f); /* 0 or -errno; after an error only free */
int tar_sink_finish(struct tar_sink *s, struct fault *f); /* end of bytes: checks completeness, sets folders' modes and times */
void tar_sink_free(struct tar_sink *s);                   /* removes a temporary file that is not complete; NULL is fine */
struct tar_sink_stats {
	uint64_t files, dirs, excluded, data_bytes;
};
struct tar_sink_stats tar_sink_stats(const struct tar_sink *s);

/* One file under a temporary name in a folder, renamed into place when complete. Zero-initialise fd to -1 by tree_file_init. */
struct tree_file {
	int fd;         /* owned; -1 when none is open */
	int dir_fd;     /* borrowed */
	char temp[40];  /* name in dir_fd */
};
void tree_file_init(struct tree_file *t);
int tree_file_open(struct tree_file *t, int dir_fd);
/* mode: low 9 bits; times: NULL = now. Replaces `name` (never follows it; -EISDIR when it is a folder). */
int tree_file_commit(struct tree_file *t, const char *name, mode_t mode, const struct timespec *mtime);
void tree_file_drop(struct tree_file *t); /* removes the temporary file if there is one */
/* The mode a copied file gets: 0777 bits of mode, any x → 0111. */
static inline mode_t tree_file_mode(uint32_t mode)
{
	return (mode & 0111) ? ((mode & 0777) | 0111) : (mode & 0777);
}

#endif
