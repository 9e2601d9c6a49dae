#include "agent/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/place.h"

#define SESSION_PREFIX ".slicer-upload-"
#define SESSION_DIGITS 32u
#define NOBODY_ASKED UINT32_MAX /* the uid and gid that mean: the default user */

struct upload {
	struct who who;
	char parent[PATH_MAX];             /* the folder the session stands in */
	char session[sizeof SESSION_PREFIX + SESSION_DIGITS]; /* its name there */
	int parent_fd, session_fd;         /* owned until the end of the process */
};

static int usage(void)
{
	fputs("usage: slicer-agent upload check\n"
	      "       slicer-agent upload finalise|abort --manifest PATH [--uid N] [--gid N]\n", stderr);
	return 2;
}

static int read_who(struct who *w, uint64_t uid, uint64_t gid)
{
	bool root = geteuid() == 0;
	who_find(w, root ? (uid_t)(uid == NOBODY_ASKED ? DEFAULT_UID : uid) : getuid(), "/etc");
	if (gid != NOBODY_ASKED)
		w->gid = (gid_t)gid;
	umask(022);
	return root ? who_become(w) : 0;
}

/* Only a folder that an upload can have made is ever worked on, and removed. */
static int find_session(struct upload *u, const char *manifest, struct fault *f)
{
	char path[PATH_MAX], session[PATH_MAX];
	const char *leaf, *name;
	int rc = path_resolve(manifest, &u->who, path, f);
	if (rc < 0)
		return rc;
	path_split(path, session, &leaf);
	path_split(session, u->parent, &name);
	const char *digits = name + strlen(SESSION_PREFIX);
	if (strcmp(leaf, "manifest.json") != 0 || path_has_dotdot(path) || strlen(name) != strlen(SESSION_PREFIX) + SESSION_DIGITS ||
	    strncmp(name, SESSION_PREFIX, strlen(SESSION_PREFIX)) != 0 || strspn(digits, "0123456789abcdef") != SESSION_DIGITS)
		return fault_set(f, -EINVAL, "%.300s is not the manifest of an upload (%s<%u hex digits>/manifest.json)", manifest, SESSION_PREFIX, SESSION_DIGITS);
	strcpy(u->session, name);
	u->parent_fd = open(u->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (u->parent_fd < 0)
		return fault_errno(f, -errno, u->parent);
	u->session_fd = openat(u->parent_fd, u->session, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return u->session_fd < 0 ? fault_errno(f, -errno, u->session) : 0;
}

static int remove_session(struct upload *u, struct fault *f)
{
	int rc = dir_empty(u->session_fd);
	u->session_fd = -1;
	if (rc == 0 && unlinkat(u->parent_fd, u->session, AT_REMOVEDIR) < 0)
		rc = -errno;
	return rc < 0 ? fault_errno(f, rc, u->session) : 0;
}

/* ---- chunks ---- */

typedef int put_fn(void *arg, const void *p, size_t n, struct fault *f);

/* Both names that clients give a chunk. */
static int open_chunk(int chunks_fd, const struct chunk *c, struct fault *f)
{
	char name[128];
	struct stat st;
	snprintf(name, sizeof name, "%06u.chunk", c->index);
	int fd = openat(chunks_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		snprintf(name, sizeof name, "%06u-%s.chunk", c->index, c->hex);
		fd = openat(chunks_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	}
	if (fd < 0)
		return errno == ENOENT ? fault_set(f, -ENOENT, "chunk %u did not arrive", c->index) : fault_errno(f, -errno, name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != c->size) {
		fd_close(&fd);
		return fault_set(f, -EPROTO, "chunk %u is not the file of %llu bytes that the manifest says", c->index, (unsigned long long)c->size);
	}
	return fd;
}

static int each_byte(int fd, const struct chunk *c, put_fn *put, void *arg, struct fault *f)
{
	static uint8_t mem[128 * 1024];
	for (uint64_t left = c->size; left;) {
		ssize_t n = read_full(fd, mem, left < sizeof mem ? (size_t)left : sizeof mem);
		if (n <= 0)
			return fault_set(f, n < 0 ? (int)n : -EPROTO, "chunk %u cannot be read to its end", c->index);
		int rc = put(arg, mem, (size_t)n, f);
		if (rc < 0)
			return rc;
		left -= (uint64_t)n;
	}
	return 0;
}

struct sums {
	struct sha256_run chunk, all;
};

static int add_sum(void *arg, const void *p, size_t n, struct fault *f)
{
	struct sums *s = arg;
	(void)f;
	sha256_more(&s->chunk, p, n);
	sha256_more(&s->all, p, n);
	return 0;
}

/* Everything is there and unchanged: asked before anything is made of it. */
static int verify(const struct manifest *m, int chunks_fd, struct fault *f)
{
	const struct json_val *at = NULL;
	struct chunk c;
	struct sums s;
	uint8_t sum[SHA256_BYTES];
	sha256_begin(&s.all);
	while (manifest_next(m, &at, &c)) {
		AUTO_FD fd = open_chunk(chunks_fd, &c, f);
		if (fd < 0)
			return fd;
		sha256_begin(&s.chunk);
		int rc = each_byte(fd, &c, add_sum, &s, f);
		if (rc < 0)
			return rc;
		sha256_end(&s.chunk, sum);
		if (memcmp(sum, c.sum, sizeof sum) != 0)
			return fault_set(f, -EPROTO, "chunk %u is not what was sent: its sha256 differs", c.index);
	}
	sha256_end(&s.all, sum);
	if (m->has_sum && memcmp(sum, m->sum, sizeof sum) != 0)
		return fault_set(f, -EPROTO, "the chunks together are not what was sent: their sha256 differs");
	return 0;
}

static int feed(const struct manifest *m, int chunks_fd, put_fn *put, void *arg, struct fault *f)
{
	const struct json_val *at = NULL;
	struct chunk c;
	while (manifest_next(m, &at, &c)) {
		AUTO_FD fd = open_chunk(chunks_fd, &c, f);
		int rc = fd < 0 ? fd : each_byte(fd, &c, put, arg, f);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- finalise ---- */

static int make_file(const struct manifest *m, int chunks_fd, const struct place *p, struct fault *f)
{
	struct place_file pf;
	int rc = place_file_open(&pf, p, f);
	if (rc < 0)
		return rc;
	rc = feed(m, chunks_fd, place_file_put, &pf, f);
	if (rc == 0)
		rc = place_file_commit(&pf, p, f);
	if (rc < 0)
		place_file_drop(&pf);
	return rc;
}

static int put_tree(void *arg, const void *p, size_t n, struct fault *f)
{
	return tar_sink_feed(arg, p, n, f);
}

static int make_tree(const struct manifest *m, int chunks_fd, const struct place *p, struct fault *f)
{
	struct tar_sink *sink = NULL;
	AUTO_FD fd = place_folder_open(p, f);
	int rc = fd < 0 ? fd : tar_sink_new(&sink, fd, NULL);
	if (rc < 0)
		return rc;
	rc = feed(m, chunks_fd, put_tree, sink, f);
	if (rc == 0)
		rc = tar_sink_finish(sink, f);
	tar_sink_free(sink);
	return rc;
}

static int assemble(struct upload *u, const struct manifest *m, struct fault *f)
{
	struct place p;
	struct place_ask ask = {.path = m->destination, .is_dir = m->tar, .v1 = m->v1, .contents = m->contents, .source_name = m->source_name,
				.source_type = m->source_type, .has_mode = m->has_mode, .mode = m->mode};
	AUTO_FD chunks_fd = m->size == 0 ? -1 : openat(u->session_fd, "chunks", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (m->size && chunks_fd < 0)
		return fault_errno(f, -errno, "the folder of the chunks");
	int rc = verify(m, chunks_fd, f);
	if (rc < 0 || (rc = place_find(&p, &ask, &u->who, f)) < 0)
		return rc;
	p.size = m->tar ? m->unpacked_size : m->size;
	p.sized = !m->tar || m->unpacked_size;
	return m->tar ? make_tree(m, chunks_fd, &p, f) : make_file(m, chunks_fd, &p, f);
}

static int finalise(struct upload *u, struct fault *f)
{
	struct manifest m;
	char *text;
	size_t n;
	int rc = read_file_at(u->session_fd, "manifest.json", MANIFEST_BYTES_MAX, &text, &n);
	if (rc < 0)
		return fault_errno(f, rc, "manifest.json");
	rc = manifest_read(&m, text, n, f);
	free(text);
	if (rc == 0)
		rc = assemble(u, &m, f);
	manifest_done(&m);
	return rc < 0 ? rc : remove_session(u, f);
}

int upload_main(int argc, char **argv)
{
	struct upload u = {.parent_fd = -1, .session_fd = -1};
	struct fault f = {.text = ""};
	const char *manifest = NULL;
	uint64_t uid = NOBODY_ASKED, gid = NOBODY_ASKED;
	if (argc == 1 && strcmp(argv[0], "check") == 0) {
		puts("chunked-copy-v2");
		return fflush(stdout) == 0 ? 0 : 1;
	}
	bool abort_it = argc > 0 && strcmp(argv[0], "abort") == 0;
	if (argc == 0 || argc % 2 == 0 || (!abort_it && strcmp(argv[0], "finalise") != 0))
		return usage();
	for (int i = 1; i < argc; i += 2) {
		if (strcmp(argv[i], "--manifest") == 0)
			manifest = argv[i + 1];
		else if (strcmp(argv[i], "--uid") != 0 && strcmp(argv[i], "--gid") != 0)
			return usage();
		else if (parse_u64(argv[i + 1], UINT32_MAX, argv[i][2] == 'u' ? &uid : &gid) < 0)
			return usage();
	}
	if (!manifest)
		return usage();
	int rc = read_who(&u.who, uid, gid);
	if (rc < 0)
		fault_errno(&f, rc, "cannot become that user");
	else
		rc = find_session(&u, manifest, &f);
	if (abort_it && rc == -ENOENT)
		return 0; /* nothing was uploaded yet */
	if (rc == 0)
		rc = abort_it ? remove_session(&u, &f) : finalise(&u, &f);
	if (rc < 0)
		fprintf(stderr, "slicer-agent: %s\n", f.text[0] ? f.text : strerror(-rc));
	return rc < 0 ? 1 : 0;
}
