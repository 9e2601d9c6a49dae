#include "agent/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	unsigned kind;
} kinds[] = {{"create", WATCH_CREATE}, {"write", WATCH_WRITE}, {"remove", WATCH_REMOVE}, {"rename", WATCH_RENAME},
	     {"chmod", WATCH_CHMOD}, {"all", WATCH_ALL}, {"overflow", WATCH_OVERFLOW}};

const char *watch_kind_name(unsigned kind)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].kind == kind)
			return kinds[i].name;
	return "";
}

static int read_kinds(struct watch_ask *a, const struct wire_msg *m, struct fault *f)
{
	char **names;
	size_t n;
	int rc = request_list(m, A_T_EVENT, &names, &n);
	if (rc < 0)
		return fault_set(f, rc, "the events cannot be read");
	a->kinds = n ? 0 : WATCH_ALL;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		size_t k = 0;
		while (k < ARRAY_LEN(kinds) && strcmp(kinds[k].name, names[i]) != 0)
			k++;
		if (k == ARRAY_LEN(kinds))
			rc = fault_set(f, -EINVAL, "event '%.50s' is none of create write remove rename chmod all", names[i]);
		else
			a->kinds |= kinds[k].kind;
	}
	free(names);
	return rc;
}

int watch_ask_read(struct watch_ask *a, const struct wire_msg *m, struct fault *f)
{
	uint64_t v;
	memset(a, 0, sizeof *a);
	int rc = request_list(m, A_T_PATH, &a->paths, &a->n_paths);
	if (rc < 0 || a->n_paths == 0)
		return fault_set(f, rc < 0 ? rc : -EINVAL, rc < 0 ? "the paths cannot be read" : "no path to watch is given");
	rc = request_list(m, A_T_PATTERN, &a->pattern_mem, &a->patterns.n);
	if (rc < 0)
		return fault_set(f, rc, "the patterns cannot be read");
	a->patterns.patterns = (const char *const *)a->pattern_mem;
	for (size_t i = 0; i < a->patterns.n; i++)
		if (!glob_is_valid(a->pattern_mem[i]))
			return fault_set(f, -EINVAL, "a pattern is empty or longer than %u bytes", GLOB_PATTERN_MAX);
	a->recursive = wire_get_u64(m, A_T_RECURSIVE, &v) && v == 1;
	(void)wire_get_u64(m, A_T_DEBOUNCE_MS, &a->debounce_ms);
	(void)wire_get_u64(m, A_T_TIMEOUT_MS, &a->timeout_ms);
	(void)wire_get_u64(m, A_T_MAX_EVENTS, &a->max_events);
	if (wire_get_u64(m, A_T_ONE_SHOT, &v) && v == 1)
		a->max_events = 1;
	if (a->debounce_ms > 3600u * 1000)
		return fault_set(f, -EINVAL, "debounce is at most 1h");
	return read_kinds(a, m, f);
}

void watch_ask_done(struct watch_ask *a)
{
	free(a->paths);
	free(a->pattern_mem);
}

bool watch_wants(const struct watch_ask *a, unsigned kind, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	if (kind == WATCH_OVERFLOW)
		return true;
	if (!(a->kinds & kind))
		return false;
	for (size_t i = 0; i < a->patterns.n; i++)
		if (glob_match(a->patterns.patterns[i], path) || glob_match(a->patterns.patterns[i], base))
			return true;
	return a->patterns.n == 0;
}
