/*
 * Exclude patterns of a copy. One rule: a pattern without '/' is matched against each entry's own
 * name, one with '/' against the whole path relative to the copied folder (a leading '/' only anchors);
 * `*` and `?` stay inside a component, `**` crosses, `[a-z]` and `[!a-z]` are sets, `\` quotes. A trailing '/'
 * matches folders only. What is beneath an excluded folder is excluded. Work is bounded by pattern × name length.
 */
#ifndef LIB_ARC_GLOB_H
#define LIB_ARC_GLOB_H

#include "lib/base/base.h"

#define GLOB_PATTERN_MAX 1024u /* longer patterns match nothing; see glob_is_valid */

struct glob_list {
	const char *const *patterns; /* borrowed */
	size_t n;
};
bool glob_is_valid(const char *pattern); /* not empty, not too long */
bool glob_match(const char *pattern, const char *text);
/* path: relative, clean. Asks for the entry itself only: a walker that drops folders drops what is beneath them; use
 * glob_excludes_deep() for paths that come in any order (also asks for every parent). list NULL: false. */
bool glob_excludes(const struct glob_list *list, const char *path, bool is_dir);
bool glob_excludes_deep(const struct glob_list *list, const char *path, bool is_dir);

#endif
