/* cli/copy: files and folders into and out of a VM (contract §1.9). Used by vm cp and run. Room card: cli.h. */
#ifndef CLI_COPY_H
#define CLI_COPY_H

#include "cli/remote.h"

struct copy_ask {
	const char *mode;            /* "tar", "binary", or NULL: by what the source is */
	bool recursive;              /* folders are allowed */
	const char *permissions;     /* octal, into the VM only; NULL: the file's own */
	const char *uid, *gid;       /* decimal, into the VM only; NULL: the image's user */
	const char *const *excludes; /* globs, see lib/arc/glob.h */
	size_t n_excludes;
	bool quiet;                  /* no progress bar */
	int code;                    /* what failures return */
};
/* 0, or ask->code (130 when cancelled) after saying why. vm: see vm_ask. Nothing half-done stays on the receiving side under the final name. */
int copy_in(const struct remote *r, char vm[VM_NAME_MAX], const char *local, const char *path, const struct copy_ask *ask);
int copy_out(const struct remote *r, char vm[VM_NAME_MAX], const char *path, const char *local, const struct copy_ask *ask);

/* Last component: "c" of "a/b/c/"; "" for "/", ".", "..". contents: the path names what is inside ("/.", ".", ".."). */
void copy_base(const char *path, char out[256], bool *contents);

#endif
