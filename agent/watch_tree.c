#include "agent/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOUND_MAX_BYTES (256u << 10)

int watch_tree_init(struct watch_tree *t, unsigned kinds, bool recursive)
{
	static const uint32_t masks[] = {IN_CREATE | IN_MOVED_TO, IN_MODIFY, IN_DELETE | IN_DELETE_SELF, IN_MOVED_FROM | IN_MOVE_SELF, IN_ATTRIB};
	memset(t, 0, sizeof *t);
	t->recursive = recursive;
	t->mask = IN_EXCL_UNLINK;
	for (unsigned i = 0; i < ARRAY_LEN(masks); i++)
		if (kinds & 1u << i)
			t->mask |= masks[i];
	t->mask |= IN_DELETE_SELF | IN_MOVE_SELF; /* the end of what was named ends the watch */
	if (recursive)
		t->mask |= IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM; /* the tree itself has to be kept up with */
	buf_init(&t->found, FOUND_MAX_BYTES);
	t->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	return t->fd < 0 ? -errno : 0;
}

static struct watch_node **bucket(struct watch_tree *t, int wd)
{
	return &t->table[(unsigned)wd % ARRAY_LEN(t->table)];
}

static int put_node(struct watch_tree *t, int wd, const char *path, const char *only, bool root)
{
	size_t n = strlen(path) + 1, k = only ? strlen(only) + 1 : 0;
	for (struct watch_node *o = *bucket(t, wd); o; o = o->next)
		if (o->wd == wd && strcmp(o->path, path) == 0 && !o->only == !only)
			return 0; /* watched already: the kernel gave the same number */
	if (t->n >= WATCH_NODES_MAX)
		return -E2BIG;
	struct watch_node *x = malloc(sizeof *x + n + k);
	if (!x)
		return -ENOMEM;
	memcpy(x->path, path, n);
	if (only)
		memcpy(x->path + n, only, k);
	x->only = only ? x->path + n : NULL;
	x->wd = wd;
	x->root = root;
	x->next = *bucket(t, wd);
	*bucket(t, wd) = x;
	t->n++;
	return 0;
}

static int add(struct watch_tree *t, const char *path, uint32_t how)
{
	int wd = t->n < WATCH_NODES_MAX ? inotify_add_watch(t->fd, path, t->mask | how) : -1;
	return wd >= 0 ? wd : t->n >= WATCH_NODES_MAX ? -E2BIG : -errno;
}

static int deepen(struct watch_tree *t, const char *path, bool is_new, unsigned depth);

/* What stands in a folder: folders are watched; in a new one everything is news, for its own event may have been before the watch. */
static int scan(struct watch_tree *t, const char *path, bool is_new, unsigned depth)
{
	char below[PATH_MAX];
	int rc = 0;
	DIR *d = opendir(path);
	for (struct dirent *e; d && rc == 0 && (e = readdir(d));) {
		struct stat st;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN && !is_new))
			continue;
		int n = snprintf(below, sizeof below, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", e->d_name);
		if (n < 0 || n >= PATH_MAX || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* gone since, or beyond what a path can be */
		if (is_new) {
			(void)buf_add(&t->found, below, (size_t)n + 1);
			t->on_new(t->arg, below, S_ISDIR(st.st_mode));
		}
		if (S_ISDIR(st.st_mode))
			rc = deepen(t, below, is_new, depth + 1);
	}
	if (d)
		closedir(d);
	return rc;
}

static int deepen(struct watch_tree *t, const char *path, bool is_new, unsigned depth)
{
	if (depth > WATCH_DEPTH_MAX)
		return -E2BIG;
	int wd = add(t, path, IN_ONLYDIR | IN_DONT_FOLLOW);
	if (wd < 0)
		return wd == -E2BIG || wd == -ENOSPC || wd == -ENOMEM ? wd : 0; /* gone since, no folder, or not ours to look into */
	int rc = put_node(t, wd, path, NULL, false);
	return rc < 0 ? rc : scan(t, path, is_new, depth);
}

int watch_tree_grow(struct watch_tree *t, const char *path, bool is_new)
{
	return deepen(t, path, is_new, 0);
}

static int say_limit(int rc, struct fault *f)
{
	if (rc == -E2BIG)
		return fault_set(f, rc, "more than %u folders, or deeper than %u, are below what is to be watched: name less", WATCH_NODES_MAX, WATCH_DEPTH_MAX);
	return fault_set(f, rc, "the guest's kernel allows no more watches (fs.inotify.max_user_watches)");
}

int watch_tree_root(struct watch_tree *t, const char *path, struct fault *f)
{
	char real[PATH_MAX], dir[PATH_MAX];
	const char *leaf = NULL;
	struct stat st;
	int wd, rc;
	if (stat(path, &st) < 0 || !realpath(path, real))
		return errno == ENOENT ? fault_set(f, -ENOENT, "%.300s: no such file or directory", path) : fault_errno(f, -errno, path);
	if (S_ISDIR(st.st_mode)) {
		wd = add(t, path, IN_ONLYDIR);
	} else {
		path_split(real, dir, &leaf);
		wd = add(t, dir, IN_ONLYDIR);
	}
	rc = wd < 0 ? wd : put_node(t, wd, path, leaf, true);
	if (rc == 0 && t->recursive && !leaf)
		rc = scan(t, path, false, 0);
	if (rc == -E2BIG || rc == -ENOSPC)
		return say_limit(rc, f);
	return rc < 0 ? fault_errno(f, rc, path) : 0;
}

static void drop(struct watch_tree *t, struct watch_node **at)
{
	struct watch_node *x = *at;
	*at = x->next;
	t->n--;
	free(x);
}

void watch_tree_shrink(struct watch_tree *t, const char *path)
{
	size_t n = strlen(path);
	for (size_t i = 0; i < ARRAY_LEN(t->table); i++) {
		for (struct watch_node **at = &t->table[i]; *at;) {
			struct watch_node *x = *at;
			if (x->root || strncmp(x->path, path, n) != 0 || (x->path[n] && x->path[n] != '/')) {
				at = &x->next;
				continue;
			}
			(void)inotify_rm_watch(t->fd, x->wd);
			drop(t, at);
		}
	}
}

void watch_tree_gone(struct watch_tree *t, int wd)
{
	for (struct watch_node **at = bucket(t, wd); *at;) {
		if ((*at)->wd == wd)
			drop(t, at);
		else
			at = &(*at)->next;
	}
}

const struct watch_node *watch_tree_find(const struct watch_tree *t, int wd, const char *name, char path[PATH_MAX])
{
	const struct watch_node *x = t->table[(unsigned)wd % ARRAY_LEN(t->table)];
	while (x && (x->wd != wd || (x->only ? strcmp(x->only, name) != 0 : !name[0] && !x->root)))
		x = x->next;
	if (!x)
		return NULL;
	bool join = !x->only && name[0];
	size_t n = strlen(x->path);
	int len = snprintf(path, PATH_MAX, "%s%s%s", x->path, join && x->path[n - 1] != '/' ? "/" : "", join ? name : "");
	return len < 0 || len >= PATH_MAX ? NULL : x;
}

bool watch_tree_said(struct watch_tree *t, const char *path)
{
	size_t n = strlen(path) + 1, left = buf_len(&t->found);
	for (uint8_t *p = buf_data(&t->found); left; ) {
		size_t k = strlen((const char *)p) + 1;
		if (k == n && memcmp(p, path, n) == 0) {
			memset(p, 1, k - 1); /* no path any more: it matches nothing */
			return true;
		}
		p += k;
		left -= k;
	}
	return false;
}
