#include "lib/arc/dest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool dest_name_is_valid(const char *name)
{
	size_t n = strlen(name);
	return n > 0 && n <= 255 && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int put(char out[DEST_PATH_MAX], const char *path, const char *name, struct fault *f)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	int len = snprintf(out, DEST_PATH_MAX, "%.*s%s%s", (int)n, path, name && path[n - 1] != '/' ? "/" : "", name ? name : "");
	if (len < 0 || (size_t)len >= DEST_PATH_MAX)
		return fault_set(f, -ENAMETOOLONG, "the destination path is too long");
	return 0;
}

static int need_name(const struct dest_ask *a, struct fault *f)
{
	if (!a->source_name || !dest_name_is_valid(a->source_name))
		return fault_set(f, -EINVAL, "source_name must be one plain file name");
	return 0;
}

static int decide_dir(const struct dest_ask *a, char out[DEST_PATH_MAX], struct fault *f)
{
	if (a->there == DEST_FILE)
		return fault_set(f, -ENOTDIR, "%s is not a folder, so a folder cannot be copied to it", a->path);
	bool into = a->v1 && a->there == DEST_DIR && !a->contents && a->source_name && a->source_name[0];
	if (into && need_name(a, f) < 0)
		return -EINVAL;
	return put(out, a->path, into ? a->source_name : NULL, f);
}

int dest_decide(const struct dest_ask *a, char out[DEST_PATH_MAX], struct fault *f)
{
	size_t n = strlen(a->path);
	if (n == 0)
		return fault_set(f, -EINVAL, "the destination path is empty");
	if (n >= DEST_PATH_MAX)
		return fault_set(f, -ENAMETOOLONG, "the destination path is too long");
	if (a->is_dir)
		return decide_dir(a, out, f);
	if (a->there == DEST_DIR) {
		if (!a->v1)
			return fault_set(f, -EISDIR, "%s is a folder: name the file to write", a->path);
		return need_name(a, f) < 0 ? -EINVAL : put(out, a->path, a->source_name, f);
	}
	if (a->path[n - 1] == '/')
		return a->there == DEST_FILE ? fault_set(f, -ENOTDIR, "%s is not a folder", a->path)
					     : fault_set(f, -ENOENT, "%s: no such folder (leave out the last '/' to make a file of that name)", a->path);
	return put(out, a->path, NULL, f);
}
