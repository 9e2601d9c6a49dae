/*
 * What images and commits have in common on the disk: a folder <id>/ with disk.img and more, called .<id> until it is whole. Knows no meta files.
 */
#ifndef API_CORE_STORE_H
#define API_CORE_STORE_H

#include "lib/base/base.h"

#define STORE_DISK "disk.img"

int store_folder(int dir_fd, const char *name);          /* fd or -errno */
int store_disk(int dir_fd, const char *id);              /* its disk, read-only; fd or -errno */
uint64_t store_taken_bytes(int dir_fd, const char *id);  /* that its disk takes on this host; 0: not known */
/* Makes the folder `unfinished` (a name with a dot) and its empty disk. fd, open for writing, or -errno. */
int store_begin(int dir_fd, const char *unfinished);

#endif
