/*
 * What images and commits have in common on the disk: a folder <id>/ with disk.img, a meta file (lines of key=value) and more, called .<id> until it is whole.
 */
#ifndef API_CORE_STORE_H
#define API_CORE_STORE_H

#include "lib/base/base.h"

#define STORE_DISK "disk.img"
#define STORE_META_END "end=1\n"

int store_folder(int dir_fd, const char *name);          /* fd or -errno */
int store_disk(int dir_fd, const char *id);              /* its disk, read-only; fd or -errno */
uint64_t store_taken_bytes(int dir_fd, const char *id);  /* that its disk takes on this host; 0: not known */
/* Makes the folder `unfinished` (a name with a dot) and its empty disk. fd, open for writing, or -errno. */
int store_begin(int dir_fd, const char *unfinished);
/* The lines between head and STORE_META_END, in order: line() may change value. Changes text. 0, -EINVAL, or what line() said. */
int store_meta_parse(char *text, const char *head, int (*line)(void *arg, const char *key, char *value), void *arg);

#endif
