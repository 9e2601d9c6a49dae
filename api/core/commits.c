#include "api/core/commits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/store.h"
#include "api/core/vm.h"

#define META "meta"

static int meta_write(const struct commit *k, int dir_fd)
{
	struct buf b;
	int err;

	buf_init(&b, COMMIT_META_MAX);
	err = commit_meta_format(k, &b);
	if (!err)
		err = write_file_atomic(dir_fd, META, buf_data(&b), buf_len(&b), 0600);
	buf_done(&b);
	return err;
}

/* ---- the folder ---- */

static bool is_id(const char *s)
{
	size_t n = strlen(s);

	return strncmp(s, "cmt-", 4) == 0 && n > 4 + 17 && n <= COMMIT_ID_MAX && s[n - 17] == '-' && strspn(s + n - 16, "0123456789abcdef") == 16 &&
	       4 + strspn(s + 4, "abcdefghijklmnopqrstuvwxyz0123456789") == n - 17;
}

int commits_open(struct core *c, struct fault *f)
{
	c->commits.dir_fd = core_open_folder(c->state_fd, "commits", f);
	return c->commits.dir_fd < 0 ? c->commits.dir_fd : 0;
}

static int load(struct commits *s, const char *id, struct fault *f)
{
	struct commit *k = calloc(1, sizeof(*k));
	AUTO_FD fd = store_folder(s->dir_fd, id);
	struct stat st;
	char *text = NULL;
	int err = !k ? -ENOMEM : fd < 0 ? fd : read_file_at(fd, META, COMMIT_META_MAX, &text, NULL);

	if (!err) {
		memcpy(k->id, id, strlen(id) + 1);
		err = commit_meta_parse(k, text);
	}
	if (!err)
		err = record_load(&k->source, fd, f);
	if (!err && (fstatat(fd, STORE_DISK, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != k->bytes))
		err = -EINVAL;
	free(text);
	if (err)
		commit_free(k);
	else
		commits_add(s, k);
	return err;
}

void commits_load(struct core *c)
{
	int fd = openat(c->commits.dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return;
	}
	for (unsigned i = 0; i < 2 * COMMITS_MAX && (e = readdir(d)); i++) {
		struct fault f = { "" };

		if (e->d_name[0] == '.' && is_id(e->d_name + 1)) {
			commits_erase(&c->commits, e->d_name);
		} else if (is_id(e->d_name)) {
			err = load(&c->commits, e->d_name, &f);
			if (err)
				core_say(c, "NOTE", "folder commits/%s is left alone: %s", e->d_name,
					 f.text[0] ? f.text : err == -EINVAL || err == -ENOENT ? "its meta file, record or disk is damaged" : strerror(-err));
		}
	}
	closedir(d);
}

void commits_add(struct commits *s, struct commit *k_taken)
{
	struct commit **at = &s->first;

	while (*at && (*at)->created_ns > k_taken->created_ns)
		at = &(*at)->next;
	k_taken->next = *at;
	*at = k_taken;
	s->count++;
}

struct commit *commits_find(const struct commits *s, const char *id)
{
	struct commit *k = s->first;

	while (k && strcmp(k->id, id) != 0)
		k = k->next;
	return k;
}

struct commit *commits_with_key(const struct commits *s, const char *cache_key)
{
	struct commit *k = s->first;

	while (k && (!k->cache_key || strcmp(k->cache_key, cache_key) != 0))
		k = k->next;
	return k;
}

struct commit *commits_of(const struct commits *s, const struct vm *source)
{
	struct commit *k = s->first;

	while (k && (k->source.created_ns != source->r.created_ns || strcmp(k->source.name, source->r.name) != 0))
		k = k->next;
	return k;
}

int commits_disk(const struct commits *s, const char *id)
{
	return store_disk(s->dir_fd, id);
}

uint64_t commits_stored(const struct commits *s, const char *id)
{
	return store_taken_bytes(s->dir_fd, id);
}

/* ---- its making ---- */

static void unfinished(const char *id, char temp[RECORD_PARENT_BYTES + 1])
{
	snprintf(temp, RECORD_PARENT_BYTES + 1, ".%s", id);
}

int commits_begin(const struct commits *s, const char *id)
{
	char temp[RECORD_PARENT_BYTES + 1];

	unfinished(id, temp);
	return store_begin(s->dir_fd, temp);
}

int commits_finish(const struct commits *s, const struct commit *k, int disk_fd)
{
	char temp[RECORD_PARENT_BYTES + 1];
	int err;

	unfinished(k->id, temp);
	AUTO_FD dir = store_folder(s->dir_fd, temp);
	if (dir < 0 || fchmod(disk_fd, 0400) || fsync(disk_fd))
		return dir < 0 ? dir : -errno;
	err = record_save(&k->source, dir, true);
	if (!err)
		err = meta_write(k, dir);
	if (!err && (fsync(dir) || renameat(s->dir_fd, temp, s->dir_fd, k->id) || fsync(s->dir_fd)))
		err = -errno;
	return err;
}

int commits_abandon(const struct commits *s, const char *id)
{
	char temp[RECORD_PARENT_BYTES + 1];

	unfinished(id, temp);
	return commits_erase(s, temp);
}

/* ---- the end ---- */

int commits_take_out(struct commits *s, struct commit *k, char gone[RECORD_PARENT_BYTES + 1])
{
	struct commit **at = &s->first;

	unfinished(k->id, gone);
	if (renameat(s->dir_fd, k->id, s->dir_fd, gone) || fsync(s->dir_fd))
		return -errno;
	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	s->count--;
	commit_free(k);
	return 0;
}

int commits_erase(const struct commits *s, const char *gone)
{
	static const char *const names[] = { STORE_DISK, META, "." META ".new", "record", ".record.new" };
	AUTO_FD dir = store_folder(s->dir_fd, gone);

	if (dir == -ENOENT)
		return 0;
	for (size_t i = 0; dir >= 0 && i < ARRAY_LEN(names); i++)
		if (unlinkat(dir, names[i], 0) && errno != ENOENT)
			return -errno;
	return unlinkat(s->dir_fd, gone, AT_REMOVEDIR) && errno != ENOENT ? -errno : 0;
}
