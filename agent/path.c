#include "agent/agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

bool path_has_dotdot(const char *p)
{
	while (*p) {
		size_t n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return true;
		p += n + (p[n] == '/');
	}
	return false;
}

int path_resolve(const char *path, const struct who *w, char out[PATH_MAX], struct fault *f)
{
	int n;
	if (!*path)
		return fault_set(f, -EINVAL, "the path is empty");
	if (path[0] == '~' && path[1] && path[1] != '/')
		return fault_set(f, -EINVAL, "%.100s: only ~ and ~/… are known, not other users' homes", path);
	if (path[0] == '~')
		n = snprintf(out, PATH_MAX, "%s%s", w->home, path + 1);
	else if (path[0] == '/')
		n = snprintf(out, PATH_MAX, "%s", path);
	else
		n = snprintf(out, PATH_MAX, "%s/%s", w->home, path);
	if (n < 0 || n >= PATH_MAX)
		return fault_set(f, -ENAMETOOLONG, "the path is longer than %d bytes", PATH_MAX - 1);
	return 0;
}

int path_make(const char *dir)
{
	char part[PATH_MAX];
	size_t n = strlen(dir);
	if (n >= sizeof part)
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= n; i++) {
		if (dir[i] != '/' && dir[i] != '\0')
			continue;
		memcpy(part, dir, i);
		part[i] = '\0';
		/* What is there already may also refuse for other reasons (a read-only root): the last step decides. */
		if (mkdir(part, 0755) < 0 && errno != EEXIST && dir[i] == '\0')
			return -errno;
	}
	struct stat st;
	if (stat(dir, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

void path_split(const char *path, char dir[PATH_MAX], const char **leaf)
{
	const char *slash = strrchr(path, '/');
	if (!slash) {
		strcpy(dir, ".");
		*leaf = path;
		return;
	}
	size_t n = slash == path ? 1 : (size_t)(slash - path);
	memcpy(dir, path, n); /* the caller's path fits PATH_MAX */
	dir[n] = '\0';
	*leaf = slash + 1;
}
