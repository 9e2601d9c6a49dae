/* lib/arc/tree.h: trees out and in, and what a hostile archive cannot do. */
#include "lib/arc/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/tap.h"

static int root, in_fd, out_fd;
static struct fault why;

static void put(int dir, const char *name, const char *text, mode_t mode)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	(void)!write(fd, text, strlen(text));
	fchmod(fd, mode);
	close(fd);
}

static bool holds(int dir, const char *name, const char *text)
{
	char *got;
	size_t n;
	if (read_file_at(dir, name, 1 << 20, &got, &n) < 0)
		return false;
	bool same = strcmp(got, text) == 0;
	free(got);
	return same;
}

/* The whole tree from one folder into another, in pieces of `step`. */
static int carry(int from, int to, size_t step, const struct glob_list *excludes)
{
	struct tar_source *src = NULL;
	struct tar_sink *sink = NULL;
	uint8_t piece[4096];
	int rc = tar_source_new(&src, from, excludes);
	if (rc == 0)
		rc = tar_sink_new(&sink, to, NULL);
	while (rc == 0) {
		ssize_t n = tar_source_read(src, piece, step, &why);
		if (n <= 0) {
			rc = (int)n;
			break;
		}
		rc = tar_sink_feed(sink, piece, (size_t)n, &why);
	}
	if (rc == 0)
		rc = tar_sink_finish(sink, &why);
	tar_source_free(src);
	tar_sink_free(sink);
	return rc;
}

static int feed_one(const char *name, enum tar_type type, const char *text, size_t cut)
{
	struct tar_entry e = {.type = type, .mode = 07755, .size = type == TAR_FILE ? strlen(text) : 0, .mtime_s = 1500000000};
	struct tar_sink *sink = NULL;
	struct buf b;
	strcpy(e.name, name);
	buf_init(&b, 1 << 20);
	tar_header(&b, &e);
	if (type == TAR_FILE) {
		buf_add(&b, text, strlen(text));
		memset(buf_room(&b, 512), 0, 512);
		buf_grew(&b, tar_padding(e.size));
	}
	tar_finish(&b);
	tar_sink_new(&sink, out_fd, NULL);
	int rc = tar_sink_feed(sink, buf_data(&b), cut ? cut : buf_len(&b), &why);
	if (rc == 0)
		rc = tar_sink_finish(sink, &why);
	tar_sink_free(sink);
	buf_done(&b);
	return rc;
}

static void test_refusals(void)
{
	struct stat st;
	mkdirat(root, "outside", 0755);
	put(root, "outside/keep", "precious", 0644);
	symlinkat("../outside", out_fd, "trap");
	symlinkat("../outside/keep", out_fd, "leaf");
	mkdirat(out_fd, "folder", 0755);
	put(out_fd, "file", "old", 0640);
	ok(feed_one("trap/keep", TAR_FILE, "evil", 0) == -ELOOP, "a link on the way is refused: %s", why.text);
	ok(feed_one("trap/sub/x", TAR_FILE, "evil", 0) == -ELOOP, "also above missing parents");
	ok(feed_one("trap", TAR_DIR, "", 0) == -ELOOP || why.text[0], "a link is no folder: %s", why.text);
	ok(feed_one("file/x", TAR_FILE, "x", 0) == -ENOTDIR, "a file is no folder: %s", why.text);
	ok(feed_one("folder", TAR_FILE, "x", 0) == -EISDIR, "a folder is not replaced by a file: %s", why.text);
	ok(feed_one("file", TAR_DIR, "", 0) == -ENOTDIR, "a file is not replaced by a folder: %s", why.text);
	ok(feed_one("file", TAR_FILE, "new content", 515) == -EPROTO && holds(out_fd, "file", "old"), "an archive cut short leaves the old file");
	ok(feed_one("leaf", TAR_FILE, "new", 0) == 0 && holds(out_fd, "leaf", "new") && fstatat(out_fd, "leaf", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	   S_ISREG(st.st_mode), "a link in a file's place is replaced");
	ok(holds(root, "outside/keep", "precious"), "outside nothing changed");
	ok(feed_one("file", TAR_FILE, "new", 0) == 0 && holds(out_fd, "file", "new") && fstatat(out_fd, "file", &st, 0) == 0 &&
	   (st.st_mode & 07777) == 0755 && st.st_mtim.tv_sec == 1500000000, "setuid, setgid and sticky are dropped, the time is kept");
	ok(feed_one("p/q/r/s", TAR_FILE, "deep", 0) == 0 && holds(out_fd, "p/q/r/s", "deep"), "missing parents are made");
}

static void build_tree(void)
{
	char name[300];
	mkdirat(in_fd, "a", 0750);
	mkdirat(in_fd, "a/b", 0555);
	mkdirat(in_fd, "empty", 0755);
	put(in_fd, "a/one", "1", 0640);
	put(in_fd, "a/run", "#!", 0744);
	put(in_fd, "zero", "", 0600);
	put(in_fd, "skip.o", "object", 0644);
	memset(name, 'n', 200);
	name[200] = '\0';
	put(in_fd, name, "long", 0644);
	symlinkat("/etc/passwd", in_fd, "a/link");
	mkfifoat(in_fd, "a/fifo", 0644);
	struct timespec times[2] = {{.tv_sec = 1400000000}, {.tv_sec = 1400000000}};
	utimensat(in_fd, "a", times, 0);
}

static void test_carry(void)
{
	static const char *const patterns[] = {"*.o"};
	static const size_t steps[] = {1, 13, 511, 512, 513, 4096};
	struct glob_list excludes = {patterns, 1};
	struct tar_source_stats st;
	struct stat s;
	char name[300], to[16];
	build_tree();
	memset(name, 'n', 200);
	name[200] = '\0';
	ok(tar_source_measure(in_fd, &excludes, &st, &why) == 0 && st.files == 4 && st.dirs == 3 && st.skipped == 2 && st.data_bytes == 7,
	   "measured: %llu files, %llu folders, %llu left out", (unsigned long long)st.files, (unsigned long long)st.dirs, (unsigned long long)st.skipped);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		snprintf(to, sizeof to, "copy%zu", i);
		mkdirat(root, to, 0755);
		int fd = openat(root, to, O_RDONLY | O_DIRECTORY);
		ok(carry(in_fd, fd, steps[i], &excludes) == 0 && holds(fd, "a/one", "1") && holds(fd, "zero", "") && holds(fd, name, "long"),
		   "carried in steps of %zu", steps[i]);
		ok(faccessat(fd, "skip.o", F_OK, 0) < 0 && faccessat(fd, "a/link", F_OK, AT_SYMLINK_NOFOLLOW) < 0, "without excluded and special files");
		ok(fstatat(fd, "a/run", &s, 0) == 0 && (s.st_mode & 0777) == 0755 && fstatat(fd, "a/one", &s, 0) == 0 && (s.st_mode & 0777) == 0640,
		   "any x becomes all, other modes stay");
		ok(fstatat(fd, "a", &s, 0) == 0 && (s.st_mode & 0777) == 0750 && s.st_mtim.tv_sec == 1400000000 && fstatat(fd, "a/b", &s, 0) == 0 &&
		   (s.st_mode & 0777) == 0555, "folders keep modes and times");
		close(fd);
	}
}

static void test_depth(void)
{
	int at = dup(in_fd);
	for (unsigned i = 0; i < TREE_DEPTH_MAX + 2 && at >= 0; i++) {
		mkdirat(at, "d", 0755);
		int next = openat(at, "d", O_RDONLY | O_DIRECTORY);
		close(at);
		at = next;
	}
	close(at);
	struct tar_source_stats st;
	ok(tar_source_measure(in_fd, NULL, &st, &why) == -ELOOP, "a tree too deep is refused: %.60s…", why.text);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	char dir[256], cmd[1024];
	snprintf(dir, sizeof dir, "%s/mica-tree-XXXXXX", tmp ? tmp : "/tmp");
	umask(022);
	if (!mkdtemp(dir) || (root = open(dir, O_RDONLY | O_DIRECTORY)) < 0)
		return 1;
	mkdirat(root, "in", 0755);
	mkdirat(root, "out", 0755);
	in_fd = openat(root, "in", O_RDONLY | O_DIRECTORY);
	out_fd = openat(root, "out", O_RDONLY | O_DIRECTORY);
	test_refusals();
	test_carry();
	test_depth();
	snprintf(cmd, sizeof cmd, "chmod -R u+w '%s' && rm -rf '%s'", dir, dir);
	if (system(cmd) != 0)
		printf("# %s is left\n", dir);
	return tap_done();
}
