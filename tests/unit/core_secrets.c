/* The store of secrets: what is refused, what is on the disk, what comes back after a restart or a fall. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/secrets.h"
#include "tests/unit/tap.h"

static unsigned n_notes;
static char last_note[500];

static void note(void *arg, const char *text)
{
	(void)arg;
	n_notes++;
	snprintf(last_note, sizeof(last_note), "%s", text);
}

static struct secret wish(const char *name, unsigned perm, uint32_t uid)
{
	struct secret e = { .perm = perm, .uid = uid, .gid = uid };

	snprintf(e.name, sizeof(e.name), "%s", name);
	return e;
}

static int set(struct secrets *s, const char *name, unsigned perm, uint32_t uid, const char *data)
{
	struct secret e = wish(name, perm, uid);
	const struct secret *out;

	return secrets_set(s, &e, data, data ? strlen(data) : 0, &out);
}

static void test_names(void)
{
	static const char *const good[] = { "a", "api-key", "A.b_c-9", "-x", "x.", "a..b", "x.new", "x.meta" };
	static const char *const bad[] = { "", ".", "..", ".a", "a/b", "a b", "a\n", "\xc3\xa4", "a:b", "../a", "a\\b" };
	char name[SECRET_NAME_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ok(secret_name_is_valid(good[i]), "name %s", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ok(!secret_name_is_valid(bad[i]), "no name: %zu", i);
	memset(name, 'a', sizeof(name));
	name[SECRET_NAME_MAX + 1] = 0;
	ok(!secret_name_is_valid(name), "too long");
	name[SECRET_NAME_MAX] = 0;
	ok(secret_name_is_valid(name), "the longest");
}

#define GOOD "mica-secret=1\npermissions=384\nuid=1000\ngid=7\nmodified_ns=5\nend=1\n"

static void test_meta(void)
{
	static const char *const bad[] = {
		"", "mica-secret=2\npermissions=1\nuid=1\ngid=1\nmodified_ns=1\nend=1\n", "mica-secret=1\nend=1\n", GOOD "x", GOOD "end=1\n",
		"mica-secret=1\nuid=1000\npermissions=384\ngid=7\nmodified_ns=5\nend=1\n", "mica-secret=1\npermissions=512\nuid=1\ngid=7\nmodified_ns=5\nend=1\n",
		"mica-secret=1\npermissions=384\nuid=4294967295\ngid=7\nmodified_ns=5\nend=1\n",
		"mica-secret=1\npermissions=384\nuid=-1\ngid=7\nmodified_ns=5\nend=1\n", "mica-secret=1\npermissions=\nuid=1\ngid=7\nmodified_ns=5\nend=1\n",
		"mica-secret=1\npermissions=384\nuid=1\ngid=7\nmodified_ns=18446744073709551616\nend=1\n",
		"mica-secret=1\npermissions=384\nuid=1\ngid=7\nmodified_ns=5\ncolour=red\nend=1\n",
	};
	struct secret e = { .perm = 0 };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ok(secret_meta_parse(&e, bad[i], strlen(bad[i])) == -EINVAL, "metadata refused: %zu", i);
	for (size_t n = 0; n < strlen(GOOD); n++)
		if (secret_meta_parse(&e, GOOD, n) == 0)
			ok(false, "cut at %zu was taken", n);
	ok(secret_meta_parse(&e, GOOD "\0", strlen(GOOD) + 1) == -EINVAL, "a NUL");
	ok(secret_meta_parse(&e, GOOD, strlen(GOOD)) == 0 && e.perm == 0600 && e.uid == 1000 && e.gid == 7 && e.modified_ns == 5, "metadata read");
}

static void test_changes(struct secrets *s)
{
	static char big[SECRET_BYTES_MAX + 1];
	struct secret e = wish("big", 0600, 0);
	const struct secret *out, *a;
	struct stat st;
	char *text = NULL;
	size_t n = 0;

	ok(set(s, ".x", 0600, 0, "v") == -EINVAL && set(s, "a/b", 0600, 0, "v") == -EINVAL && set(s, "x", 01000, 0, "v") == -EINVAL &&
	   set(s, "x", 0600, UINT32_MAX, "v") == -EINVAL && set(s, "x", 0600, 0, NULL) == -ENOENT && s->n == 0, "refused: name, permissions, owner, no bytes");
	ok(secrets_set(s, &e, big, sizeof(big), &out) == -EFBIG && secrets_set(s, &e, big, sizeof(big) - 1, &out) == 0 && out->size == SECRET_BYTES_MAX, "the largest");
	ok(set(s, "b", 0600, 0, "two") == 0 && set(s, "a", 0440, 1000, "one") == 0 && s->n == 3 && strcmp(s->list[0].name, "a") == 0, "added, by name");
	a = secrets_find(s, "a");
	ok(a && a->size == 3 && a->perm == 0440 && a->uid == 1000 && a->modified_ns && a->change == s->changes && !secrets_find(s, "c"), "found");
	ok(fstatat(s->dir_fd, "a", &st, 0) == 0 && (st.st_mode & 07777) == 0600 && fstatat(s->dir_fd, ".a.meta", &st, 0) == 0 &&
	   (st.st_mode & 07777) == 0600 && fstat(s->dir_fd, &st) == 0 && (st.st_mode & 07777) == 0700, "files for us alone");
	ok(set(s, "a", 0400, 5, NULL) == 0 && s->n == 3 && secrets_find(s, "a")->perm == 0400 && secrets_read(s, secrets_find(s, "a"), &text, &n) == 0 &&
	   n == 3 && memcmp(text, "one", 3) == 0, "metadata alone");
	free(text);
	ok(set(s, "a", 0400, 5, "") == 0 && secrets_find(s, "a")->size == 0, "made empty");
	ok(secrets_remove(s, "zz") == -ENOENT && secrets_remove(s, "big") == 0 && s->n == 2 && !secrets_find(s, "big") &&
	   fstatat(s->dir_fd, "big", &st, 0) && fstatat(s->dir_fd, ".big.meta", &st, 0), "removed, with its metadata");
	ok(set(s, "x.new", 0600, 0, "v") == 0 && set(s, "x.meta", 0600, 0, "v") == 0 && set(s, "x", 0600, 0, "v") == 0, "names like our own files");
}

static void touch(int dir_fd, const char *name, const char *text)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ok(fd >= 0 && write_full(fd, text, strlen(text)) == 0, "file %s", name);
	close(fd);
}

static void test_restart(struct secrets *s, int state_fd)
{
	struct fault f = { "" };
	struct stat st;

	touch(s->dir_fd, ".half.new", "half");
	touch(s->dir_fd, ".gone.meta", GOOD);
	touch(s->dir_fd, "bare", "no metadata");
	touch(s->dir_fd, "bad", "x");
	touch(s->dir_fd, ".bad.meta", GOOD "x");
	ok(symlinkat("b", s->dir_fd, "link") == 0, "a link");
	secrets_done(s);
	ok(secrets_open(s, state_fd, &f) == 0 && secrets_load(s, note, NULL) == 0 && s->n == 5, "read again: %u", s->n);
	ok(secrets_find(s, "b") && secrets_find(s, "b")->size == 3 && secrets_find(s, "a")->perm == 0400 && secrets_find(s, "x.meta") &&
	   secrets_find(s, "x.new"), "as they were");
	ok(n_notes == 3 && strstr(last_note, "secrets/") && !strstr(last_note, "no metadata"), "three are left alone, and told: %s", last_note);
	ok(fstatat(s->dir_fd, ".half.new", &st, 0) && fstatat(s->dir_fd, ".gone.meta", &st, 0) && fstatat(s->dir_fd, "bare", &st, 0) == 0,
	   "left-overs are removed, the rest is not");
	for (unsigned i = s->n; i < SECRETS_MAX; i++) {
		char name[20];

		snprintf(name, sizeof(name), "n%u", i);
		if (set(s, name, 0600, 0, "v"))
			ok(false, "%s", name);
	}
	ok(s->n == SECRETS_MAX && set(s, "more", 0600, 0, "v") == -ENOSPC && set(s, "b", 0600, 0, "w") == 0, "full, but one of them may change");
	while (s->n)
		if (secrets_remove(s, s->list[s->n - 1].name))
			break;
	ok(s->n == 0, "all removed");
}

int main(void)
{
	char dir[] = "/tmp/mica-secrets-XXXXXX";
	int fd = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY) : -1;
	static const char *const rest[] = { "secrets/bare", "secrets/bad", "secrets/.bad.meta", "secrets/link" };
	struct fault f = { "" };
	struct secrets s;

	test_names();
	test_meta();
	ok(secrets_open(&s, fd, &f) == 0 && secrets_load(&s, note, NULL) == 0 && s.n == 0, "an empty folder: %s", f.text);
	test_changes(&s);
	test_restart(&s, fd);
	secrets_done(&s);
	for (size_t i = 0; i < ARRAY_LEN(rest); i++)
		unlinkat(fd, rest[i], 0);
	ok(unlinkat(fd, "secrets", AT_REMOVEDIR) == 0 && rmdir(dir) == 0, "nothing else was there");
	close(fd);
	return tap_done();
}
