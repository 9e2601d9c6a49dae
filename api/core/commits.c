#include "api/core/commits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/store.h"
#include "api/core/vm.h"

#define HEAD "mica-commit=1\n"
#define END "end=1\n"
#define META_MAX (96u << 10)
#define META "meta"

/* ---- one commit ---- */

struct commit *commit_new(const char *source)
{
	struct commit *k = calloc(1, sizeof(*k));
	char digits[17];
	uint8_t random[8];

	if (!k || random_fill(random, sizeof(random))) {
		free(k);
		return NULL;
	}
	hex_encode(random, sizeof(random), digits);
	snprintf(k->id, sizeof(k->id), "cmt-%.63s-%s", source, digits);
	for (char *p = k->id + 4; p < k->id + strlen(k->id) - sizeof(digits); p++)
		if (*p == '-')
			*p = 'x';
	k->created_ns = now_real_ns();
	return k;
}

void commit_free(struct commit *k)
{
	if (!k)
		return;
	while (k->n_tags)
		free(k->tags[--k->n_tags]);
	while (k->n_labels) {
		free(k->labels[--k->n_labels].key);
		free(k->labels[k->n_labels].value);
	}
	free(k->cache_key);
	record_done(&k->source);
	free(k);
}

bool commit_has_tag(const struct commit *k, const char *tag)
{
	for (unsigned i = 0; i < k->n_tags; i++)
		if (strcmp(k->tags[i], tag) == 0)
			return true;
	return false;
}

int commit_add_tag(struct commit *k, const char *tag)
{
	if (!tag_is_valid(tag, strlen(tag)))
		return -EINVAL;
	if (commit_has_tag(k, tag))
		return 0;
	if (k->n_tags == TAGS_MAX)
		return -ENOSPC;
	k->tags[k->n_tags] = strdup(tag);
	return k->tags[k->n_tags] ? (k->n_tags++, 0) : -ENOMEM;
}

static const char *label_of(const struct commit *k, const char *key)
{
	for (unsigned i = 0; i < k->n_labels; i++)
		if (strcmp(k->labels[i].key, key) == 0)
			return k->labels[i].value;
	return NULL;
}

int commit_add_label(struct commit *k, const char *key, const char *value)
{
	char *own_key, *own_value;

	if (!tag_is_valid(key, strlen(key)) || strlen(key) > LABEL_KEY_MAX || strchr(key, '=') || (*value && !tag_is_valid(value, strlen(value))))
		return -EINVAL;
	if (label_of(k, key))
		return -EEXIST;
	if (k->n_labels == LABELS_MAX)
		return -ENOSPC;
	own_key = strdup(key);
	own_value = strdup(value);
	if (!own_key || !own_value) {
		free(own_key);
		free(own_value);
		return -ENOMEM;
	}
	k->labels[k->n_labels].key = own_key;
	k->labels[k->n_labels++].value = own_value;
	return 0;
}

bool commit_same_words(const struct commit *a, const struct commit *b)
{
	if (a->n_tags != b->n_tags || a->n_labels != b->n_labels || !a->cache_key != !b->cache_key)
		return false;
	if (a->cache_key && strcmp(a->cache_key, b->cache_key) != 0)
		return false;
	for (unsigned i = 0; i < a->n_tags; i++)
		if (!commit_has_tag(b, a->tags[i]))
			return false;
	for (unsigned i = 0; i < a->n_labels; i++) {
		const char *other = label_of(b, a->labels[i].key);

		if (!other || strcmp(other, a->labels[i].value) != 0)
			return false;
	}
	return true;
}

/* ---- meta ---- */

static int meta_write(const struct commit *k, int dir_fd)
{
	struct buf b;
	int err;

	buf_init(&b, META_MAX);
	buf_printf(&b, HEAD "id=%s\nbytes=%" PRIu64 "\ncreated_ns=%" PRIu64 "\nsource_mtime_ns=%" PRIu64 "\n", k->id, k->bytes, k->created_ns, k->source_mtime_ns);
	if (k->cache_key)
		buf_printf(&b, "cache_key=%s\n", k->cache_key);
	for (unsigned i = 0; i < k->n_tags; i++)
		buf_printf(&b, "tag=%s\n", k->tags[i]);
	for (unsigned i = 0; i < k->n_labels; i++)
		buf_printf(&b, "label=%s=%s\n", k->labels[i].key, k->labels[i].value);
	buf_adds(&b, END);
	err = b.failed ? -EFBIG : write_file_atomic(dir_fd, META, buf_data(&b), buf_len(&b), 0600);
	buf_done(&b);
	return err;
}

static int meta_line(struct commit *k, const char *key, char *value)
{
	char *eq;

	if (strcmp(key, "id") == 0)
		return strcmp(value, k->id) == 0 ? 0 : -EINVAL;
	if (strcmp(key, "bytes") == 0)
		return parse_u64(value, INT64_MAX, &k->bytes);
	if (strcmp(key, "created_ns") == 0)
		return parse_u64(value, UINT64_MAX, &k->created_ns);
	if (strcmp(key, "source_mtime_ns") == 0)
		return parse_u64(value, UINT64_MAX, &k->source_mtime_ns);
	if (strcmp(key, "tag") == 0)
		return commit_add_tag(k, value);
	if (strcmp(key, "label") == 0) {
		eq = strchr(value, '=');
		if (!eq)
			return -EINVAL;
		*eq = 0;
		return commit_add_label(k, value, eq + 1);
	}
	if (strcmp(key, "cache_key") != 0 || k->cache_key || !tag_is_valid(value, strlen(value)))
		return -EINVAL;
	k->cache_key = strdup(value);
	return k->cache_key ? 0 : -ENOMEM;
}

static int meta_parse(struct commit *k, char *text)
{
	char *line = text + strlen(HEAD), *nl;
	int err = strncmp(text, HEAD, strlen(HEAD)) == 0 ? 0 : -EINVAL;

	for (; !err && strcmp(line, END) != 0; line = nl + 1) { /* the text holds at most META_MAX lines */
		char *eq = strchr(line, '=');

		nl = strchr(line, '\n');
		if (!nl || !eq || eq > nl)
			return -EINVAL;
		*nl = *eq = 0;
		err = meta_line(k, line, eq + 1);
	}
	return err ? err : k->bytes ? 0 : -EINVAL;
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
	int err = !k ? -ENOMEM : fd < 0 ? fd : read_file_at(fd, META, META_MAX, &text, NULL);

	if (!err) {
		memcpy(k->id, id, strlen(id) + 1);
		err = meta_parse(k, text);
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

void commits_done(struct commits *s)
{
	for (struct commit *next; s->first; s->first = next) {
		next = s->first->next;
		commit_free(s->first);
	}
	fd_close(&s->dir_fd);
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
