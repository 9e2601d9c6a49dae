#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is honoured after our own names. Called as `slicer` the program needs nothing more. */
static const char *const env_prefixes[] = { "MICA_", "SLICER_" };
const char *const compat_token_files[] = { "/var/lib/mica/auth/token", "/var/lib/slicer/auth/token", NULL };
const char *const compat_configs[] = { "mica.yaml", "slicer.yaml", NULL };

const char *compat_env(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(env_prefixes); i++) {
		char full[64];
		snprintf(full, sizeof(full), "%s%s", env_prefixes[i], name);
		const char *v = getenv(full);
		if (v && *v)
			return v;
	}
	return NULL;
}

int compat_env_any(const char *const *names, const char **values, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(env_prefixes); i++) {
		int found = 0;
		for (size_t k = 0; k < n; k++) {
			char full[64];
			snprintf(full, sizeof(full), "%s%s", env_prefixes[i], names[k]);
			values[k] = getenv(full);
			if (values[k] && !*values[k])
				values[k] = NULL;
			found += values[k] != NULL;
		}
		if (found)
			return found;
	}
	return 0;
}

int state_folder(char *dst, size_t cap)
{
	const char *given = compat_env("STATE"), *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n;
	if (given && *given)
		n = snprintf(dst, cap, "%s", given);
	else if (geteuid() == 0)
		n = snprintf(dst, cap, "/var/lib/mica");
	else if (xdg && *xdg == '/')
		n = snprintf(dst, cap, "%s/mica", xdg);
	else if (home && *home == '/')
		n = snprintf(dst, cap, "%s/.local/state/mica", home);
	else
		return -ENOENT;
	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}
