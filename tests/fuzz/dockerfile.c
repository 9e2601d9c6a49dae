/* A Dockerfile, and the same bytes as .dockerignore: read, planned, keyed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/dockerfile/dockerfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int base(void *arg, const char *name, struct df_config *into, char id[64], struct fault *f)
{
	(void)arg, (void)f;
	if (strlen(name) > 8)
		return -ENOENT;
	snprintf(id, 64, "%s", name);
	return df_list_adds(&into->env, "PATH=/bin");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct df_list args = { 0 };
	struct df_ask ask = { .args = &args, .image = base };
	struct df_ignore g;
	struct df_file d;
	struct df_plan p;
	struct fault f = { "" };
	char key[DF_KEY_MAX], path[64];
	int err;

	if (size > 65536)
		return 0;
	df_list_adds(&args, "A=b");
	err = df_read(&d, "Dockerfile", (const char *)data, size, &f);
	if (err && !f.text[0])
		abort(); /* a refusal says why */
	if (!err) {
		err = df_plan(&p, &d, &ask, &f);
		if (err && !f.text[0])
			abort();
		for (unsigned i = 0; !err && i < p.n; i++) {
			df_key_begin(p.stage[i].base_id, "", key);
			for (unsigned k = 0; k < p.stage[i].n; k++)
				df_key_next(&p.stage[i].op[k], "", key);
		}
		df_plan_done(&p);
	}
	df_file_done(&d);
	err = df_ignore_read(&g, (const char *)data, size, &f);
	snprintf(path, sizeof(path), "a/%.*s/b", (int)(size < 20 ? size : 20), (const char *)data);
	if (!err)
		(void)df_ignored(&g, path);
	df_ignore_done(&g);
	df_list_done(&args);
	return 0;
}
