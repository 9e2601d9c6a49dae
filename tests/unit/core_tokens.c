/* The store of named tokens: what its file may say, what a change leaves on the disk, what comes back. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/core/tokens.h"
#include "lib/wire/core.h"
#include "tests/unit/tap.h"

#define D0 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define D1 "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define D2 "20112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEAD "mica-tokens=1\n"
#define LINE0 "token ci " D0 " exec,files sbox,prod-2 5 0\n"
#define LINE1 "token root-2 " D1 " admin - 5 18446744073709551615\n"
#define LINE2 "token team " D2 " vm - 5 0 max_vms=2,max_ram=8589934592\n"
#define END "end=1\n"
#define GOOD HEAD LINE0 LINE1 LINE2 END

static int parse(struct tokens *t, const char *text, size_t n, struct fault *f)
{
	*t = (struct tokens){ .dir_fd = -1 };
	*f = (struct fault){ "" };
	tokens_room(t);
	return tokens_parse(t, text, n, f);
}

static void test_good(void)
{
	struct tokens t;
	struct fault f;
	struct buf b;

	ok(parse(&t, HEAD END, strlen(HEAD END), &f) == 0 && t.n == 0, "an empty list");
	tokens_done(&t);
	ok(parse(&t, GOOD, strlen(GOOD), &f) == 0 && t.n == 3, "three tokens: %s", f.text);
	ok(!quota_given(&t.list[0].quota) && t.list[2].quota.v[Q_VMS] == 2 && t.list[2].quota.v[Q_RAM] == 8ull << 30 && !t.list[2].quota.v[Q_VCPUS], "the quotas of the third");
	ok(strcmp(t.list[0].name, "ci") == 0 && t.list[0].scopes == (SCOPE_EXEC | SCOPE_FILES) && t.list[0].n_groups == 2 && t.list[0].created_ns == 5, "the first");
	ok(token_sees(&t.list[0], "sbox") && token_sees(&t.list[0], "prod-2") && !token_sees(&t.list[0], "prod") && !token_sees(&t.list[0], "") &&
	   token_sees(&t.list[1], "prod") && token_sees(NULL, "prod"), "the host groups that they see");
	ok(token_rights(&t.list[0]) == (SCOPE_EXEC | SCOPE_FILES | SCOPE_READ) && token_rights(&t.list[1]) == SCOPE_ALL, "what scopes imply");
	ok(!token_is_over(&t.list[0], UINT64_MAX) && !token_is_over(&t.list[1], UINT64_MAX - 1) && token_is_over(&t.list[1], UINT64_MAX), "their ends");
	ok(t.list[0].serial && t.list[1].serial && t.list[0].serial != t.list[1].serial, "serials");
	buf_init(&b, TOKENS_FILE_MAX);
	ok(tokens_format(&t, &b) == 0 && strcmp(buf_cstr(&b), GOOD) == 0, "written as read");
	buf_done(&b);
	tokens_done(&t);
}

#define SCOPES(s) HEAD "token a " D0 " " s " - 5 0\n" END
#define QUOTAS(s) HEAD "token a " D0 " vm - 5 0 " s "\n" END
#define GROUPS(s) HEAD "token a " D0 " read " s " 5 0\n" END

static void test_bad(void)
{
	static const struct { const char *text, *where; } bad[] = {
		{ "", ":1:" }, { "\n", ":1:" }, { "mica-tokens=2\n" END, ":1:" }, { HEAD, ":2:" }, { HEAD "end=1", ":2:" }, { HEAD END "\n", ":2:" },
		{ HEAD "\n" END, ":2:" }, { HEAD LINE0 END END, ":3:" }, { HEAD LINE0 LINE0 END, ":3:" },
		{ HEAD LINE0 "token cj " D0 " read - 5 0\n" END, ":3:" }, { HEAD LINE0 "token ci " D1 " read - 5 0\n" END, ":3:" },
		{ HEAD "Token a " D0 " read - 5 0\n" END, ":2:" }, { HEAD "token a " D0 " read - 5 0 0\n" END, ":2:" }, { HEAD "token a " D0 " read - 5\n" END, ":2:" },
		{ HEAD "token  " D0 " read - 5 0\n" END, ":2:" }, { HEAD "token .a " D0 " read - 5 0\n" END, ":2:" }, { HEAD "token a/b " D0 " read - 5 0\n" END, ":2:" },
		{ HEAD "token aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa " D0 " read - 5 0\n" END, ":2:" },
		{ HEAD "token a " D0 "0 read - 5 0\n" END, ":2:" }, { HEAD "token a 0g" D0 " read - 5 0\n" END, ":2:" }, { HEAD "token a - read - 5 0\n" END, ":2:" },
		{ SCOPES(""), ":2:" }, { SCOPES("-"), ":2:" }, { SCOPES("root"), ":2:" }, { SCOPES("read,"), ":2:" }, { SCOPES(",read"), ":2:" }, { SCOPES("read,,vm"), ":2:" },
		{ SCOPES("read,read"), ":2:" }, { SCOPES("READ"), ":2:" }, { SCOPES("reads"), ":2:" }, { SCOPES("rea"), ":2:" },
		{ GROUPS(""), ":2:" }, { GROUPS("a,"), ":2:" }, { GROUPS(",a"), ":2:" }, { GROUPS("A"), ":2:" }, { GROUPS("-a"), ":2:" }, { GROUPS("a,b,c,d,e,f,g,h,i"), ":2:" },
		{ GROUPS("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), ":2:" }, { HEAD "token a " D0 " admin sbox 5 0\n" END, ":2:" },
		{ HEAD "token a " D0 " read - x 0\n" END, ":2:" }, { HEAD "token a " D0 " read - 5 -1\n" END, ":2:" }, { HEAD "token a " D0 " read - 5 18446744073709551616\n" END, ":2:" },
		{ HEAD "token a " D0 " read - 5 0\r\n" END, ":2:" },
		{ QUOTAS(""), ":2:" }, { QUOTAS("max_vms"), ":2:" }, { QUOTAS("max_vms=0"), ":2:" }, { QUOTAS("max_vms=x"), ":2:" }, { QUOTAS("max_vms=1,"), ":2:" },
		{ QUOTAS("max_vms=1,max_vms=2"), ":2:" }, { QUOTAS("max_vm=1"), ":2:" }, { QUOTAS("=1"), ":2:" }, { QUOTAS("max_vms=1 x"), ":2:" },
		{ HEAD "token a " D0 " admin - 5 0 max_vms=1\n" END, ":2:" },
	};
	struct tokens t;
	struct fault f;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int err = parse(&t, bad[i].text, strlen(bad[i].text), &f);

		ok(err == -EINVAL && strstr(f.text, bad[i].where) && strstr(f.text, "auth/tokens") && strstr(f.text, "revoked"), "refused %zu: %.60s", i, f.text);
		tokens_done(&t);
	}
	for (size_t n = 0; n < strlen(GOOD); n++) {
		if (parse(&t, GOOD, n, &f) == 0)
			ok(false, "cut at %zu was taken", n);
		tokens_done(&t);
	}
	ok(parse(&t, GOOD "\0", strlen(GOOD) + 1, &f) == -EINVAL, "a NUL");
	tokens_done(&t);
}

static void test_quota_check(void)
{
	struct quota most = { { 2, 8, 4ull << 30, 0 } }, used = { { 1, 6, 3ull << 30, 1ull << 50 } }, fits = { { 1, 2, 1ull << 30, UINT64_MAX } }, more = fits;
	struct fault f = { "" };

	ok(quota_check(&most, &used, &fits, "token 'a'", "mend it", &f) == 0, "what fits exactly; no limit of disks %s", f.text);
	more.v[Q_VCPUS]++;
	ok(quota_check(&most, &used, &more, "token 'a'", "mend it", &f) == -EDQUOT &&
	   strcmp(f.text, "the VMs of token 'a' have 6 vCPUs together, this wants 3 more, and max_vcpus is 8: delete a VM, ask for less, or mend it [E_QUOTA]") == 0, "%s", f.text);
	more = fits;
	more.v[Q_RAM] = UINT64_MAX;
	ok(quota_check(&most, &used, &more, "token 'a'", "mend it", &f) == -EDQUOT && strstr(f.text, "3072 MiB of RAM together") && strstr(f.text, "max_ram is 4096"), "no overflow: %s", f.text);
	used.v[Q_VMS] = 3;
	ok(quota_check(&most, &used, &fits, "token 'a'", "mend it", &f) == -EDQUOT && strstr(f.text, "token 'a' has 3 VMs, and max_vms is 2: delete one"), "a quota that was lowered: %s", f.text);
	more = (struct quota){ { 0, 0, 0, 5 } };
	ok(quota_check(&most, &used, &more, "token 'a'", "mend it", &f) == 0, "what it wants nothing more of is not asked");
}

static void test_crowd(void)
{
	struct tokens t;
	struct fault f;
	struct buf b;

	for (unsigned n = TOKENS_MAX; n <= TOKENS_MAX + 1; n++) {
		buf_init(&b, TOKENS_FILE_MAX);
		buf_adds(&b, HEAD);
		for (unsigned i = 0; i < n; i++)
			buf_printf(&b, "token t%u %064x read - 5 0\n", i, i);
		buf_adds(&b, END);
		ok((parse(&t, buf_cstr(&b), buf_len(&b), &f) == 0) == (n == TOKENS_MAX), "%u tokens: %s", n, f.text);
		tokens_done(&t);
		buf_done(&b);
	}
}

static struct token wish(const char *name, unsigned scopes)
{
	struct token k = { .scopes = scopes };

	snprintf(k.name, sizeof(k.name), "%s", name);
	return k;
}

static int add(struct tokens *t, const struct token *want, char *text)
{
	const struct token *out;

	return tokens_add(t, want, text, &out);
}

static bool file_has(int dir_fd, const char *what)
{
	char *text;
	size_t n;
	bool has;

	if (read_file_at(dir_fd, "tokens", TOKENS_FILE_MAX, &text, &n))
		return false;
	has = strstr(text, what) != NULL;
	free(text);
	return has;
}

static void test_refused_changes(struct tokens *t)
{
	char text[TOKEN_TEXT_BYTES + 1];
	struct token k = wish("a", 0), grouped = wish("a", SCOPE_ADMIN), bad_group = wish("a", SCOPE_VM);

	grouped.n_groups = bad_group.n_groups = 1;
	strcpy(grouped.groups[0], "sbox");
	strcpy(bad_group.groups[0], "a b");
	ok(add(t, &k, text) == -EINVAL, "no scope");
	k.scopes = 64;
	ok(add(t, &k, text) == -EINVAL, "no such scope");
	ok(add(t, &grouped, text) == -EINVAL, "admin with a host group");
	ok(add(t, &bad_group, text) == -EINVAL, "no name for a host group");
	grouped.n_groups = 0;
	grouped.quota.v[Q_DISK] = 1;
	ok(add(t, &grouped, text) == -EINVAL, "admin with a quota");
	k = wish("a b", SCOPE_VM);
	ok(add(t, &k, text) == -EINVAL, "no name");
	ok(tokens_remove(t, "a") == -ENOENT && tokens_remove(t, "") == -ENOENT, "nothing to remove");
}

static void test_changes(int dir_fd)
{
	struct tokens t = { .dir_fd = -1 };
	char text[TOKEN_TEXT_BYTES + 1], other[TOKEN_TEXT_BYTES + 1];
	uint8_t hash[SHA256_BYTES], none[SHA256_BYTES] = { 0 };
	struct token k = wish("ci", SCOPE_EXEC), *found;
	struct fault f = { "" };
	struct stat st;

	ok(tokens_load(&t, dup(dir_fd), &f) == 0 && t.n == 0 && faccessat(dir_fd, "tokens", F_OK, 0), "nothing there yet");
	test_refused_changes(&t);
	ok(faccessat(dir_fd, "tokens", F_OK, 0) != 0, "what is refused is not written");
	k.expires_ns = now_real_ns() + 1000000000;
	k.n_groups = 1;
	strcpy(k.groups[0], "sbox");
	ok(add(&t, &k, text) == 0 && strlen(text) == TOKEN_TEXT_BYTES && strncmp(text, "mica_", 5) == 0, "made: a text of %zu", strlen(text));
	ok(add(&t, &k, other) == -EEXIST, "twice");
	k = wish("b", SCOPE_ADMIN);
	ok(add(&t, &k, other) == 0 && strcmp(text, other) != 0, "another has another text");
	ok(fstatat(dir_fd, "tokens", &st, 0) == 0 && (st.st_mode & 0777) == 0600, "the file is core's alone");
	ok(!file_has(dir_fd, text) && !file_has(dir_fd, text + 5) && file_has(dir_fd, "token ci "), "and holds no text of a token");
	sha256(text, strlen(text), hash);
	found = tokens_match(&t, hash);
	ok(found && strcmp(found->name, "ci") == 0 && !tokens_match(&t, none), "found by its digest");
	ok(tokens_live(&t, found->serial, found->expires_ns - 1) && !tokens_live(&t, found->serial, found->expires_ns) && !tokens_live(&t, 0, 1) &&
	   !tokens_live(&t, 99, 1), "lives until its end");
	tokens_done(&t);
	t = (struct tokens){ .dir_fd = -1 };
	ok(tokens_load(&t, dup(dir_fd), &f) == 0 && t.n == 2 && tokens_match(&t, hash) && token_sees(tokens_find(&t, "ci"), "sbox") &&
	   !token_sees(tokens_find(&t, "ci"), "prod"), "there again after a restart %s", f.text);
	ok(tokens_remove(&t, "ci") == 0 && !tokens_match(&t, hash) && !file_has(dir_fd, "token ci ") && file_has(dir_fd, "token b "), "removed, also from the file");
	close(openat(dir_fd, ".tokens.new", O_WRONLY | O_CREAT, 0600));
	tokens_done(&t);
	t = (struct tokens){ .dir_fd = -1 };
	ok(tokens_load(&t, dup(dir_fd), &f) == 0 && t.n == 1 && faccessat(dir_fd, ".tokens.new", F_OK, 0) != 0, "what a fall left is gone");
	tokens_done(&t);
}

/* With TOKENS_MAX of them, those that are over make room, the longest first; then there is none. */
static void test_room(int dir_fd)
{
	struct tokens t = { .dir_fd = -1 };
	char text[TOKEN_TEXT_BYTES + 1];
	uint64_t now = now_real_ns();
	struct fault f = { "" };
	struct token k;
	int err = tokens_load(&t, dup(dir_fd), &f);

	for (unsigned i = t.n; i < TOKENS_MAX && !err; i++) {
		k = wish("", SCOPE_READ);
		snprintf(k.name, sizeof(k.name), "t%u", i);
		err = add(&t, &k, text);
	}
	ok(!err && t.n == TOKENS_MAX, "%u tokens", t.n);
	k = wish("more", SCOPE_READ);
	ok(add(&t, &k, text) == -ENOSPC && t.n == TOKENS_MAX, "no room");
	tokens_find(&t, "t7")->expires_ns = now - 1000;
	tokens_find(&t, "t9")->expires_ns = now - 2000;
	ok(add(&t, &k, text) == 0 && !tokens_find(&t, "t9") && tokens_find(&t, "t7"), "the one that was over first made room");
	tokens_find(&t, "t7")->expires_ns = now - TOKEN_SHOWN_NS - 1000000000;
	tokens_find(&t, "t8")->expires_ns = now - TOKEN_SHOWN_NS - 1000000000;
	k = wish("more-2", SCOPE_READ);
	ok(add(&t, &k, text) == 0 && !tokens_find(&t, "t7") && !tokens_find(&t, "t8") && t.n == TOKENS_MAX - 1, "those that were over for long went");
	tokens_done(&t);
	t = (struct tokens){ .dir_fd = -1 };
	ok(tokens_load(&t, dup(dir_fd), &f) == 0 && t.n == TOKENS_MAX - 1, "and so says the file %s", f.text);
	close(t.dir_fd);
	t.dir_fd = open("/proc/self", O_RDONLY | O_DIRECTORY); /* where nothing can be written */
	k = wish("ro", SCOPE_READ);
	ok(add(&t, &k, text) < 0 && !tokens_find(&t, "ro") && tokens_remove(&t, "b") < 0 && tokens_find(&t, "b"), "what cannot be written has not happened");
	tokens_done(&t);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	char dir[300];
	int fd;

	snprintf(dir, sizeof(dir), "%s/mica-tokens.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return 1;
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	test_good();
	test_bad();
	test_quota_check();
	test_crowd();
	test_changes(fd);
	test_room(fd);
	unlinkat(fd, "tokens", 0);
	rmdir(dir);
	return tap_done();
}
