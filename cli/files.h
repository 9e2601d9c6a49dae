/* cli/files: folders of our own making. Room card: cli.h. */
#ifndef CLI_FILES_H
#define CLI_FILES_H

#include "lib/base/base.h"

/* Removes a file or a whole folder without following links, at most 256 levels deep. 0, also when it is not there; -errno. */
int remove_tree(int dirfd, const char *name);
/* "a/b/c" → "a/b" and "c"; "c" → "." and "c"; "/c" → "/" and "c". Trailing slashes are ignored. -EINVAL when there is no name. */
int split_path(const char *path, char *folder, size_t cap, const char **name, char *name_mem);
/* mkdir -p. 0 or -errno. */
int make_folders(const char *path, mode_t mode);

#endif
