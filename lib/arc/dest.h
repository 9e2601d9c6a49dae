/*
 * Where a copy goes: the cp-like rules ("cp-v1") and the older ones, as pure decisions, so that
 * guest (upload) and command line (download) decide alike. No file is touched here.
 */
#ifndef LIB_ARC_DEST_H
#define LIB_ARC_DEST_H

#include "lib/base/base.h"

#define DEST_PATH_MAX 4096u

enum dest_there { DEST_MISSING, DEST_FILE, DEST_DIR }; /* what stands at path now, symlinks followed */

struct dest_ask {
	const char *path;        /* as given by the user, after "~" */
	enum dest_there there;
	bool is_dir;             /* the source is a folder */
	bool v1;                 /* cp-v1; else legacy: path is the file, or the folder that receives the content */
	bool contents;           /* source ended in "/." */
	const char *source_name; /* v1; one component. May be "" or NULL with contents, or for a root */
};
/* Writes the file to make, or the folder to fill (make it when missing). 0; -EINVAL, -EISDIR, -ENOTDIR, -ENOENT, -ENAMETOOLONG with a
 * sentence. */
int dest_decide(const struct dest_ask *ask, char out[DEST_PATH_MAX], struct fault *f);
/* One component: not empty, no '/', not "." or "..", at most 255 bytes. */
bool dest_name_is_valid(const char *name);

#endif
