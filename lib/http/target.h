/*
 * lib/http: request targets: path segments and query parameters, decoded exactly once. Room card: http.h.
 * The path is cut at its slashes before it is decoded, so that %2F never makes a segment. A "?" that comes out
 * of decoding the last segment splits it, and what follows is query: the Go SDK sends
 * "/hostgroup/demo/nodes%3Ftag=owner%253Dalex".
 */
#ifndef LIB_HTTP_TARGET_H
#define LIB_HTTP_TARGET_H

#include "lib/http/http.h"

#define HTTP_SEGMENTS_MAX 16u
#define HTTP_PARAMS_MAX 4096u /* query parameters */

struct http_target {
	char *mem;                          /* owned */
	unsigned n_segments;                /* "/" has none; "/a/" has two, the second empty */
	const char *segments[HTTP_SEGMENTS_MAX]; /* decoded, NUL-terminated, in mem */
	const char *params;                 /* "key\0value\0key\0value\0", decoded, in mem */
	unsigned n_params;
};

/* Takes origin-form ("/x?y") and absolute-form ("http://h/x"). 0; -EINVAL bad escape, NUL, or form; -E2BIG too
 * long or too many parts; -ENOMEM. On failure nothing is left to free. */
int http_target_parse(struct http_target *t, const char *p, size_t n);
void http_target_done(struct http_target *t); /* safe on a zeroed struct */
/* First value of a parameter; NULL when absent, "" when it has none. */
const char *http_target_param(const struct http_target *t, const char *key);
/* Walks all parameters in order: start with *index = 0 and *pos = 0. false at the end. */
struct http_param {
	const char *key, *value;
};
bool http_target_next(const struct http_target *t, unsigned *index, size_t *pos, struct http_param *out);

/* Decodes %XX (and '+' as a blank when plus is set) into dst (n bytes are always enough). Bytes written or -EINVAL. */
ssize_t http_unescape(const char *p, size_t n, bool plus, char *dst);
/* Appends s with everything but unreserved characters as %XX: fits a path segment and a query value alike. */
void http_escape(struct buf *b, const char *s);
/* Appends "?key=value" or "&key=value" (escaped); *first says which and is cleared. value NULL: nothing. */
void http_add_param(struct buf *b, bool *first, const char *key, const char *value);

#endif
