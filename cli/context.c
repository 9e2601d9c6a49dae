/* The files of contexts. */
#include "cli/context.h"
#include "cli/files.h"
#include "lib/json/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1u << 20)
#define CURRENT ".current"
#define NAMES_MAX 1000u

void context_done(struct context *c)
{
	explicit_bzero(c->token, sizeof(c->token));
	free(c->ca);
	c->ca = NULL;
}

bool context_name_valid(const char *name)
{
	size_t n = strlen(name);
	return n && n <= CONTEXT_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static int folder_path(char *dst, size_t cap)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n;
	if (xdg && *xdg == '/')
		n = snprintf(dst, cap, "%s/mica/contexts", xdg);
	else if (home && *home == '/')
		n = snprintf(dst, cap, "%s/.config/mica/contexts", home);
	else
		return -ENOENT;
	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

static int open_folder(bool make)
{
	char path[PATH_MAX];
	int err = folder_path(path, sizeof(path));
	if (!err && make)
		err = make_folders(path, 0700);
	if (err)
		return err;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	if (make && fchmod(fd, 0700)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* A member that must fit its place; absent is "". */
static int take(const struct json_val *v, const char *key, char *dst, size_t cap)
{
	const char *s = "";
	if (json_get_str(v, key, &s) == -EINVAL || strlen(s) >= cap || strpbrk(s, "\r\n"))
		return -EINVAL;
	strcpy(dst, s);
	return 0;
}

static int take_ca(const struct json_val *v, struct context *c)
{
	const char *ca = NULL;
	if (json_get_str(v, "ca", &ca))
		return json_get(v, "ca") ? -EINVAL : 0;
	c->ca = strdup(ca);
	c->ca_len = strlen(ca);
	return c->ca ? 0 : -ENOMEM;
}

int context_read(const char *name, struct context *c, struct fault *f)
{
	char *text;
	size_t n;
	struct json j;
	*c = (struct context){ 0 };
	AUTO_FD dir = open_folder(false);
	int err = dir < 0 ? dir : !context_name_valid(name) ? -ENOENT : read_file_at(dir, name, FILE_MAX, &text, &n);
	if (err)
		return err == -ENOENT ? err : fault_errno(f, err, name);
	err = json_parse(&j, text, n, 100, f);
	explicit_bzero(text, n);
	free(text);
	if (err)
		return fault_wrap(f, err, "the file of context '%s'", name);
	const struct json_val *v = json_root(&j);
	if (v->kind != JSON_OBJECT || take(v, "url", c->url, sizeof(c->url)) || !c->url[0] || take(v, "token", c->token, sizeof(c->token)) ||
	    take(v, "fingerprint", c->fingerprint, sizeof(c->fingerprint)) || take_ca(v, c))
		err = fault_set(f, -EINVAL, "the file of context '%s' has no url, or something that is none of ours", name);
	json_done(&j);
	if (err)
		context_done(c);
	return err;
}

int context_write(const char *name, const struct context *c, bool replace, struct fault *f)
{
	struct buf b;
	struct json_out o;
	AUTO_FD dir = open_folder(true);
	if (dir < 0)
		return fault_errno(f, dir, "the folder of contexts");
	if (!replace && !faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW))
		return fault_set(f, -EEXIST, "there is one of that name");
	buf_init(&b, FILE_MAX);
	json_out_init(&o, &b);
	json_obj(&o, NULL);
	json_put_str(&o, "url", c->url);
	if (c->fingerprint[0])
		json_put_str(&o, "fingerprint", c->fingerprint);
	if (c->ca)
		json_put_strn(&o, "ca", c->ca, c->ca_len);
	if (c->token[0])
		json_put_str(&o, "token", c->token);
	json_end(&o);
	buf_adds(&b, "\n");
	int err = b.failed ? -EFBIG : write_file_atomic(dir, name, buf_data(&b), buf_len(&b), 0600);
	if (b.mem)
		explicit_bzero(b.mem, b.cap);
	buf_done(&b);
	return err ? fault_errno(f, err, name) : 0;
}

int context_current(char name[CONTEXT_NAME_MAX + 1])
{
	char *text;
	size_t n;
	AUTO_FD dir = open_folder(false);
	int err = dir < 0 ? dir : read_file_at(dir, CURRENT, 256, &text, &n);
	if (err)
		return err;
	text[strcspn(text, "\r\n")] = 0;
	err = context_name_valid(text) ? 0 : -EINVAL;
	if (!err)
		strcpy(name, text);
	free(text);
	return err;
}

int context_use(const char *name, struct fault *f)
{
	char line[CONTEXT_NAME_MAX + 2];
	AUTO_FD dir = open_folder(name != NULL);
	int err = dir < 0 ? dir : 0;
	if (!err && name) {
		snprintf(line, sizeof(line), "%s\n", name);
		err = write_file_atomic(dir, CURRENT, line, strlen(line), 0600);
	} else if (!err && unlinkat(dir, CURRENT, 0) && errno != ENOENT) {
		err = -errno;
	}
	return err && (name || err != -ENOENT) ? fault_errno(f, err, "the current context") : 0;
}

int context_remove(const char *name, struct fault *f)
{
	char current[CONTEXT_NAME_MAX + 1];
	AUTO_FD dir = open_folder(false);
	int err = dir < 0 ? dir : !context_name_valid(name) ? -ENOENT : unlinkat(dir, name, 0) ? -errno : 0;
	if (err)
		return err == -ENOENT ? err : fault_errno(f, err, name);
	return !context_current(current) && !strcmp(current, name) ? context_use(NULL, f) : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int context_list(char ***names, size_t *n)
{
	*names = NULL;
	*n = 0;
	int fd = open_folder(false);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d) {
		int err = fd < 0 ? fd : -errno;
		fd_close(&fd);
		return err == -ENOENT ? 0 : err;
	}
	char **list = malloc(NAMES_MAX * (sizeof(*list) + CONTEXT_NAME_MAX + 1)), *at = list ? (char *)(list + NAMES_MAX) : NULL;
	struct dirent *e;
	while (list && *n < NAMES_MAX && (e = readdir(d)))
		if (context_name_valid(e->d_name)) {
			strcpy(at, e->d_name);
			list[(*n)++] = at;
			at += strlen(at) + 1;
		}
	closedir(d);
	if (!list)
		return -ENOMEM;
	qsort(list, *n, sizeof(*list), by_name);
	*names = list;
	return 0;
}
