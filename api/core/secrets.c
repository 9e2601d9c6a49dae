#include "api/core/secrets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define META_MAX 512u
#define META_NAME_MAX (SECRET_NAME_MAX + 8)
#define ENTRIES_MAX 4096u /* of the folder */
#define HEAD "mica-secret=1\n"
#define END "end=1\n"

bool secret_name_is_valid(const char *s)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strspn(s, good);

	return n && n <= SECRET_NAME_MAX && !s[n] && s[0] != '.';
}

/* ---- metadata: four lines in this order between head and end ---- */

int secret_meta_format(const struct secret *e, struct buf *out)
{
	buf_printf(out, HEAD "permissions=%u\nuid=%" PRIu32 "\ngid=%" PRIu32 "\nmodified_ns=%" PRIu64 "\n" END, e->perm, e->uid, e->gid, e->modified_ns);
	return out->failed ? -ENOMEM : 0;
}

/* Takes "key=<number>\n" from *at. */
static int take_line(char **at, const char *key, uint64_t max, uint64_t *out)
{
	size_t n = strlen(key);
	char *value = *at + n, *nl = strchr(*at, '\n');

	if (!nl || strncmp(*at, key, n) != 0)
		return -EINVAL;
	*nl = 0;
	*at = nl + 1;
	return parse_u64(value, max, out) ? -EINVAL : 0;
}

int secret_meta_parse(struct secret *e, const char *text, size_t n)
{
	char copy[META_MAX + 1], *at = copy + strlen(HEAD);
	uint64_t perm, uid, gid, ns;

	if (n > META_MAX || n < strlen(HEAD) || memcmp(text, HEAD, strlen(HEAD)) != 0 || strnlen(text, n) != n)
		return -EINVAL;
	memcpy(copy, text, n);
	copy[n] = 0;
	if (take_line(&at, "permissions=", SECRET_PERM_MAX, &perm) || take_line(&at, "uid=", UINT32_MAX - 1, &uid) ||
	    take_line(&at, "gid=", UINT32_MAX - 1, &gid) || take_line(&at, "modified_ns=", UINT64_MAX, &ns) || strcmp(at, END) != 0)
		return -EINVAL;
	e->perm = (unsigned)perm;
	e->uid = (uint32_t)uid;
	e->gid = (uint32_t)gid;
	e->modified_ns = ns;
	return 0;
}

static void meta_name(const char *name, char out[META_NAME_MAX])
{
	snprintf(out, META_NAME_MAX, ".%s.meta", name);
}

/* ---- the list ---- */

/* Where this name stands, or would. */
static unsigned place_of(const struct secrets *s, const char *name)
{
	unsigned i = 0;

	while (i < s->n && strcmp(s->list[i].name, name) < 0)
		i++;
	return i;
}

const struct secret *secrets_find(const struct secrets *s, const char *name)
{
	unsigned i = place_of(s, name);

	return i < s->n && strcmp(s->list[i].name, name) == 0 ? &s->list[i] : NULL;
}

/* Puts e into the list, or in the place of its namesake. The caller looked for room. */
static const struct secret *keep(struct secrets *s, const struct secret *e)
{
	unsigned i = place_of(s, e->name);

	if (i == s->n || strcmp(s->list[i].name, e->name) != 0) {
		memmove(&s->list[i + 1], &s->list[i], (s->n - i) * sizeof(s->list[0]));
		s->n++;
	}
	s->list[i] = *e;
	s->list[i].change = ++s->changes;
	return &s->list[i];
}

int secrets_open(struct secrets *s, int state_fd, struct fault *f)
{
	*s = (struct secrets){ .dir_fd = -1 };
	s->list = calloc(SECRETS_MAX, sizeof(s->list[0]));
	if (!s->list)
		return fault_errno(f, -ENOMEM, "secrets");
	if (mkdirat(state_fd, "secrets", 0700) && errno != EEXIST)
		return fault_errno(f, -errno, "folder 'secrets' in the state folder");
	s->dir_fd = openat(state_fd, "secrets", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->dir_fd < 0 || fchmod(s->dir_fd, 0700))
		return fault_errno(f, -errno, "folder 'secrets' in the state folder");
	return 0;
}

void secrets_done(struct secrets *s)
{
	fd_close(&s->dir_fd);
	free(s->list);
	s->list = NULL;
	s->n = 0;
}

/* ---- from disk ---- */

static int load_meta(const struct secrets *s, struct secret *e)
{
	char name[META_NAME_MAX], *text;
	size_t n;
	int err;

	meta_name(e->name, name);
	err = read_file_at(s->dir_fd, name, META_MAX, &text, &n);
	if (err)
		return err;
	err = secret_meta_parse(e, text, n);
	free(text);
	return err;
}

static int load_one(struct secrets *s, const char *name)
{
	struct secret e = { .change = 0 };
	struct stat st;

	if (!secret_name_is_valid(name))
		return -EINVAL;
	snprintf(e.name, sizeof(e.name), "%s", name);
	if (fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > SECRET_BYTES_MAX)
		return -EINVAL;
	if (s->n == SECRETS_MAX)
		return -ENOSPC;
	e.size = (uint32_t)st.st_size;
	int err = load_meta(s, &e);
	if (!err)
		keep(s, &e);
	return err;
}

/* A file that was being written, or metadata of a secret that was not put or is removed: true. */
static bool is_left_over(const struct secrets *s, const char *entry)
{
	char name[256];
	size_t n = strlen(entry);
	struct stat st;

	if (entry[0] != '.' || n >= sizeof(name))
		return false;
	if (n > 5 && strcmp(entry + n - 4, ".new") == 0)
		return true;
	if (n <= 6 || strcmp(entry + n - 5, ".meta") != 0)
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)(n - 6), entry + 1);
	return fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) && errno == ENOENT;
}

static void load_entry(struct secrets *s, const char *entry, void (*note)(void *, const char *), void *arg)
{
	char text[400];
	int err;

	if (is_left_over(s, entry)) {
		unlinkat(s->dir_fd, entry, 0);
		return;
	}
	if (entry[0] == '.')
		return;
	err = load_one(s, entry);
	if (!err)
		return;
	snprintf(text, sizeof(text), "file secrets/%s is left alone, guests do not get it: %s", entry,
		 err == -EINVAL ? "it is damaged, or no secret" : strerror(-err));
	note(arg, text);
}

int secrets_load(struct secrets *s, void (*note)(void *arg, const char *text), void *arg)
{
	int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		int err = -errno;

		fd_close(&fd);
		return err;
	}
	for (unsigned i = 0; i < ENTRIES_MAX && (e = readdir(d)); i++)
		load_entry(s, e->d_name, note, arg);
	closedir(d);
	return 0;
}

int secrets_read(const struct secrets *s, const struct secret *e, char **out, size_t *n)
{
	return read_file_at(s->dir_fd, e->name, SECRET_BYTES_MAX, out, n);
}

/* ---- changes ---- */

static int check(const struct secrets *s, const struct secret *want, const void *data, size_t n)
{
	const struct secret *old = secrets_find(s, want->name);

	if (!secret_name_is_valid(want->name) || want->perm > SECRET_PERM_MAX || want->uid == UINT32_MAX || want->gid == UINT32_MAX)
		return -EINVAL;
	if (!data && !old)
		return -ENOENT;
	if (data && n > SECRET_BYTES_MAX)
		return -EFBIG;
	return !old && s->n == SECRETS_MAX ? -ENOSPC : 0;
}

static int save_meta(const struct secrets *s, const struct secret *e)
{
	char name[META_NAME_MAX];
	struct buf b;
	int err;

	meta_name(e->name, name);
	buf_init(&b, META_MAX);
	err = secret_meta_format(e, &b);
	if (!err)
		err = write_file_atomic(s->dir_fd, name, buf_data(&b), buf_len(&b), 0600);
	buf_done(&b);
	return err;
}

int secrets_set(struct secrets *s, const struct secret *want, const void *data, size_t n, const struct secret **out)
{
	const struct secret *old = secrets_find(s, want->name);
	struct secret e = *want;
	int err = check(s, want, data, n);

	if (err)
		return err;
	e.size = data ? (uint32_t)n : old->size;
	e.modified_ns = now_real_ns();
	err = save_meta(s, &e); /* before the bytes: a secret without its permissions is never there */
	if (!err && data) {
		err = write_file_atomic(s->dir_fd, e.name, data, n, 0600);
		if (err && old) /* what was refused has changed nothing, as far as the disk lets us */
			save_meta(s, old);
	}
	if (!err)
		*out = keep(s, &e);
	return err;
}

int secrets_remove(struct secrets *s, const char *name)
{
	const struct secret *e = secrets_find(s, name);
	char meta[META_NAME_MAX];
	unsigned i = place_of(s, name);

	if (!e)
		return -ENOENT;
	meta_name(name, meta);
	if ((unlinkat(s->dir_fd, name, 0) && errno != ENOENT) || fsync(s->dir_fd))
		return -errno;
	unlinkat(s->dir_fd, meta, 0); /* one that stays is a left-over of the next start */
	memmove(&s->list[i], &s->list[i + 1], (s->n - i - 1) * sizeof(s->list[0]));
	s->n--;
	return 0;
}
