/*
 * cli/context: daemons by name: address, whom to trust, token; one file each in ${XDG_CONFIG_HOME:-~/.config}/mica/contexts (0700; files
 * 0600, replaced whole), and the join string that carries one from the daemon's host in a paste. Room card: cli.h.
 */
#ifndef CLI_CONTEXT_H
#define CLI_CONTEXT_H

#include "lib/base/buf.h"
#include "lib/tls/tls.h"

#define CONTEXT_NAME_MAX 64u
#define CONTEXT_LOCAL "local" /* the name of having none: this machine's daemon */

struct context {
	char url[300];                          /* http://, https://, or a socket's path */
	char token[4096];                       /* "": none */
	char fingerprint[TLS_FINGERPRINT_TEXT]; /* "": none */
	char *ca;                               /* owned PEM; NULL */
	size_t ca_len;
};
void context_done(struct context *c); /* clears the token */

bool context_name_valid(const char *name); /* letters, digits, '.', '_', '-'; no dot first */
/* 0; -ENOENT: none of that name; other -errno with f. */
int context_read(const char *name, struct context *c, struct fault *f);
int context_write(const char *name, const struct context *c, bool replace, struct fault *f); /* -EEXIST */
int context_remove(const char *name, struct fault *f);  /* also when it is the current one, which is then none */
/* The current one's name. 0; -ENOENT: none; -errno. */
int context_current(char name[CONTEXT_NAME_MAX + 1]);
int context_use(const char *name, struct fault *f); /* NULL: none */
/* Names in order into *names (owned, one block with its strings: free()), how many into *n. 0, also without a folder; -errno. */
int context_list(char ***names, size_t *n);

/* "mica-join:v1:" and base64url of a small JSON object with the first bytes of its SHA-256 behind it. Without ca. */
#define JOIN_PREFIX "mica-join:"
#define JOIN_MAX 8192u
int join_make(const struct context *c, struct buf *out);
/* Blanks and line breaks anywhere are passed over. 0; -EINVAL with f: cut, mistyped, or of another version. */
int join_read(const char *text, struct context *c, struct fault *f);

#endif
