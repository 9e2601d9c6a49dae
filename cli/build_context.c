/* The folder that is built from: which files a COPY names, what is in them, and the archive of them. */
#include "cli/build.h"
#include "lib/arc/glob.h"
#include "lib/arc/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PICKS_MAX 1000000u
#define DEPTH_MAX 128u
#define PATH_BYTES_MAX 4096u

struct finding {
	const struct build *b;
	const struct df_op *op;
	struct picks *p;
	const char *pattern; /* of a source with wildcards; NULL */
	unsigned found;      /* by this source */
	bool is_dir;         /* this source is (or holds) a folder */
	struct fault *f;
};

int pick_open(const struct build *b, const char *path)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, b->context_fd, path, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

static int refuse(const struct finding *x, const char *path, int err)
{
	const char *why = err == -EXDEV ? "it is a link that leads out of the folder" : strerror(-err);
	return df_refuse(&x->b->file, x->op->line, x->f, "'%.300s': %s", path, why);
}

/* ---- content ---- */

static int digest_file(int fd, uint64_t bytes, uint8_t sum[SHA256_BYTES])
{
	static uint8_t chunk[1 << 16];
	struct sha256_run r;
	uint64_t left = bytes;
	sha256_begin(&r);
	while (left) {
		ssize_t n = read_full(fd, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk));
		if (n <= 0)
			return n < 0 ? (int)n : -EAGAIN;
		sha256_more(&r, chunk, (size_t)n);
		left -= (uint64_t)n;
	}
	sha256_end(&r, sum);
	return 0;
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), e = strlen(end);
	return n > e && strcasecmp(s + n - e, end) == 0;
}

/* Does ADD unpack it? A tar by its magic; one in gzip by magic and name. *odd: packed in a way the builder cannot. */
static bool is_archive(int fd, const char *name, const char **odd)
{
	uint8_t h[512] = { 0 };
	ssize_t n = pread_full(fd, h, sizeof(h), 0);
	bool named = ends_with(name, ".tgz") || ends_with(name, ".txz") || ends_with(name, ".tbz2") || strstr(name, ".tar.");
	*odd = NULL;
	if (n < 6 || !named)
		return n == sizeof(h) && memcmp(h + 257, "ustar", 5) == 0;
	if (memcmp(h, "\xfd" "7zXZ", 5) == 0)
		*odd = "xz";
	else if (memcmp(h, "BZh", 3) == 0)
		*odd = "bzip2";
	else if (memcmp(h, "\x28\xb5\x2f\xfd", 4) == 0)
		*odd = "zstd";
	return (h[0] == 0x1f && h[1] == 0x8b) || (n == sizeof(h) && memcmp(h + 257, "ustar", 5) == 0);
}

static struct pick *add_pick(struct finding *x, const char *from, const char *to, const struct stat *st)
{
	struct picks *p = x->p;
	struct pick *more, *k;
	if (p->n == p->cap) {
		more = p->n < PICKS_MAX ? realloc(p->p, (p->cap ? 2 * p->cap : 64) * sizeof(*more)) : NULL;
		if (!more)
			return NULL;
		p->p = more;
		p->cap = p->cap ? 2 * p->cap : 64;
	}
	k = &p->p[p->n];
	*k = (struct pick){ .from = strdup(from), .to = strdup(to), .mode = st->st_mode & (S_IFMT | 07777), .mtime_s = st->st_mtim.tv_sec };
	p->n++;
	return k->from && k->to ? k : NULL;
}

static int add_file(struct finding *x, const char *from, const char *to, const struct stat *st, bool top)
{
	struct pick *k = add_pick(x, from, to, st);
	const char *odd = NULL;
	AUTO_FD fd = k ? pick_open(x->b, from) : -1;
	int err;
	if (!k)
		return fault_set(x->f, -ENOMEM, "more than %u files, or no memory for them", PICKS_MAX);
	if (fd < 0)
		return refuse(x, from, fd);
	k->bytes = (uint64_t)st->st_size;
	if (top && x->op->kind == DF_ADD)
		k->archive = is_archive(fd, to, &odd);
	if (odd)
		return df_refuse(&x->b->file, x->op->line, x->f, "ADD unpacks tar and gzip, and '%.200s' is packed by %s: unpack it into the folder, or COPY it as it is", from, odd);
	err = digest_file(fd, k->bytes, k->sum);
	return err ? refuse(x, from, err) : 0;
}

static int add_link(struct finding *x, const char *from, const char *to, const struct stat *st)
{
	char target[PATH_BYTES_MAX];
	char path[PATH_BYTES_MAX];
	struct pick *k = add_pick(x, from, to, st);
	const char *slash = strrchr(from, '/');
	snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - from) : 1, slash ? from : ".");
	AUTO_FD dir = pick_open(x->b, path);
	ssize_t n = k && dir >= 0 ? readlinkat(dir, slash ? slash + 1 : from, target, sizeof(target) - 1) : -1;
	if (!k || n <= 0)
		return refuse(x, from, k ? (dir < 0 ? dir : n < 0 ? -errno : -EINVAL) : -ENOMEM);
	target[n] = '\0';
	k->link = strdup(target);
	return k->link ? 0 : -ENOMEM;
}

/* ---- walking ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_in(int dir_fd, struct df_list *out)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	if (!d) {
		err = -errno;
		fd_close(&fd);
		return err;
	}
	out->cap = 0;
	while (!err && (errno = 0, e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			err = df_list_adds(out, e->d_name);
	closedir(d);
	if (out->n)
		qsort(out->s, out->n, sizeof(*out->s), by_name);
	return err;
}

static int walk(struct finding *x, const char *path, const char *to, unsigned depth);

/* What stands at path (from the top) goes to `to`. */
static int visit(struct finding *x, int dir_fd, const char *name, const char *path, const char *to, unsigned depth)
{
	struct stat st;
	bool ignored = df_ignored(&x->b->ignore, path);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : refuse(x, path, -errno);
	if (S_ISDIR(st.st_mode)) {
		if (ignored && !x->b->ignore.brings_back)
			return 0;
		if (!ignored && !add_pick(x, path, to, &st))
			return fault_set(x->f, -ENOMEM, "more than %u files, or no memory for them", PICKS_MAX);
		return walk(x, path, to, depth + 1);
	}
	if (ignored)
		return 0;
	if (S_ISREG(st.st_mode))
		return add_file(x, path, to, &st, false);
	return S_ISLNK(st.st_mode) ? add_link(x, path, to, &st) : 0; /* sockets, pipes and devices are no content */
}

/* A folder and what stands in it; an error is said, and leaves nothing in *names. */
static int open_names(struct finding *x, const char *path, unsigned depth, int *dir, struct df_list *names)
{
	*dir = pick_open(x->b, path);
	int err = *dir < 0 ? *dir : depth > DEPTH_MAX ? -ELOOP : names_in(*dir, names);
	if (!err)
		return 0;
	df_list_done(names);
	return refuse(x, path, err);
}

/* The content of a folder. */
static int walk(struct finding *x, const char *path, const char *to, unsigned depth)
{
	struct df_list names = { 0 };
	AUTO_FD dir = -1;
	int err = open_names(x, path, depth, &dir, &names);
	if (err)
		return err;
	for (unsigned i = 0; i < names.n && !err; i++) {
		char below[PATH_BYTES_MAX], there[PATH_BYTES_MAX];
		bool top = strcmp(path, ".") == 0;
		if ((size_t)snprintf(below, sizeof(below), "%s%s%s", top ? "" : path, top ? "" : "/", names.s[i]) >= sizeof(below) ||
		    (size_t)snprintf(there, sizeof(there), "%s%s%s", to, *to ? "/" : "", names.s[i]) >= sizeof(there))
			err = refuse(x, path, -ENAMETOOLONG);
		else
			err = visit(x, dir, names.s[i], below, there, depth);
	}
	df_list_done(&names);
	return err;
}

/* One source, named or matched: links at its end are followed, within the folder. */
static int take(struct finding *x, const char *path)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	AUTO_FD fd = pick_open(x->b, path);
	struct stat st;
	if (fd < 0 || fstat(fd, &st))
		return fd == -ENOENT ? df_refuse(&x->b->file, x->op->line, x->f, "'%.300s' is not in the folder", path) : refuse(x, path, fd < 0 ? fd : -errno);
	x->found++;
	if (S_ISDIR(st.st_mode)) {
		x->is_dir = true;
		return walk(x, path, "", 0);
	}
	if (!S_ISREG(st.st_mode))
		return df_refuse(&x->b->file, x->op->line, x->f, "'%.300s' is neither a file nor a folder", path);
	return add_file(x, path, base, &st, true);
}

/* ---- wildcards ---- */

static int match(struct finding *x, const char *path, unsigned depth);

static int match_one(struct finding *x, int dir_fd, const char *name, const char *path, unsigned depth)
{
	struct stat st;
	bool ignored = df_ignored(&x->b->ignore, path);
	if (!ignored && glob_match(x->pattern, path))
		return take(x, path);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode) || (ignored && !x->b->ignore.brings_back))
		return 0;
	return match(x, path, depth + 1);
}

static int match(struct finding *x, const char *path, unsigned depth)
{
	struct df_list names = { 0 };
	AUTO_FD dir = -1;
	int err = open_names(x, path, depth, &dir, &names);
	if (err)
		return err;
	for (unsigned i = 0; i < names.n && !err; i++) {
		char below[PATH_BYTES_MAX];
		bool top = strcmp(path, ".") == 0;
		if ((size_t)snprintf(below, sizeof(below), "%s%s%s", top ? "" : path, top ? "" : "/", names.s[i]) < sizeof(below))
			err = match_one(x, dir, names.s[i], below, depth);
	}
	df_list_done(&names);
	return err;
}

static void digest_all(struct picks *p)
{
	struct sha256_run r;
	uint8_t sum[SHA256_BYTES];
	sha256_begin(&r);
	for (size_t i = 0; i < p->n; i++) {
		const struct pick *k = &p->p[i];
		char head[64];
		snprintf(head, sizeof(head), "%o %d %zu ", k->mode, k->archive, strlen(k->to));
		sha256_more(&r, head, strlen(head));
		sha256_more(&r, k->to, strlen(k->to));
		if (k->link)
			sha256_more(&r, k->link, strlen(k->link) + 1);
		else if (S_ISREG(k->mode))
			sha256_more(&r, k->sum, sizeof(k->sum));
	}
	sha256_more(&r, p->single ? "1" : "0", 1);
	sha256_end(&r, sum);
	hex_encode(sum, sizeof(sum), p->digest);
}

int picks_find(struct picks *p, const struct build *b, const struct df_op *op, struct fault *f)
{
	struct finding x = { .b = b, .op = op, .p = p, .f = f };
	unsigned all = 0;
	bool folders = false;
	int err = 0;
	*p = (struct picks){ 0 };
	for (unsigned i = 0; i < op->sources.n && !err; i++) {
		const char *s = op->sources.s[i];
		x.found = 0;
		if (strpbrk(s, "*?[")) {
			x.pattern = s;
			err = match(&x, ".", 0);
			if (!err && !x.found)
				err = df_refuse(&b->file, op->line, f, "nothing in the folder matches '%.300s'", s);
		} else if (strcmp(s, ".") != 0 && df_ignored(&b->ignore, s) && !b->ignore.brings_back) {
			err = df_refuse(&b->file, op->line, f, "'%.300s' is left out by .dockerignore", s);
		} else {
			err = take(&x, s);
		}
		all += x.found;
		folders |= x.is_dir;
	}
	if (!err && all > 1 && op->dest[strlen(op->dest) - 1] != '/')
		err = df_refuse(&b->file, op->line, f, "several sources go into a folder: end '%.200s' with a '/'", op->dest);
	p->single = all == 1 && !folders;
	digest_all(p);
	return err;
}

void picks_done(struct picks *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->p[i].from);
		free(p->p[i].to);
		free(p->p[i].link);
	}
	free(p->p);
	*p = (struct picks){ 0 };
}

/* ---- the archive ---- */

static int changed(const struct pick *k, struct fault *f)
{
	return fault_set(f, -EAGAIN, "'%.300s' changed while the image was built: build again", k->from);
}

/* What it was digested as is what goes in. */
static int write_content(const struct build *b, const struct pick *k, int to, struct fault *f)
{
	static const uint8_t zeros[TAR_BLOCK_BYTES];
	static uint8_t chunk[1 << 16];
	uint8_t sum[SHA256_BYTES];
	struct sha256_run r;
	uint64_t left = k->bytes;
	AUTO_FD fd = pick_open(b, k->from);
	if (fd < 0)
		return changed(k, f);
	sha256_begin(&r);
	while (left) {
		ssize_t n = read_full(fd, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk));
		int err = n <= 0 ? changed(k, f) : write_full(to, chunk, (size_t)n);
		if (err)
			return n <= 0 ? err : fault_errno(f, err, "room in $TMPDIR");
		sha256_more(&r, chunk, (size_t)n);
		left -= (uint64_t)n;
	}
	sha256_end(&r, sum);
	if (memcmp(sum, k->sum, sizeof(sum)) != 0)
		return changed(k, f);
	return write_full(to, zeros, tar_padding(k->bytes));
}

int picks_write(const struct picks *p, const struct build *b, int fd, struct fault *f)
{
	struct tar_entry *e = calloc(1, sizeof(*e));
	struct buf head;
	int err = e ? 0 : -ENOMEM;
	buf_init(&head, TAR_HEADER_MAX + 1024);
	for (size_t i = 0; i < p->n && !err; i++) {
		const struct pick *k = &p->p[i];
		if (k->archive)
			continue;
		memset(e, 0, sizeof(*e));
		snprintf(e->name, sizeof(e->name), "%s", k->to);
		e->type = S_ISDIR(k->mode) ? TAR_DIR : k->link ? TAR_OTHER : TAR_FILE;
		e->kind = '2';
		e->mode = k->mode & 07777;
		e->size = k->bytes;
		e->mtime_s = k->mtime_s;
		snprintf(e->link, sizeof(e->link), "%s", k->link ? k->link : "");
		buf_clear(&head);
		err = tar_header(&head, e);
		if (err)
			fault_set(f, err, "'%.300s' is a name that cannot be copied", k->from);
		if (!err)
			err = write_full(fd, buf_data(&head), buf_len(&head));
		if (!err && e->type == TAR_FILE)
			err = write_content(b, k, fd, f);
	}
	buf_clear(&head);
	if (!err)
		err = tar_finish(&head) ? -ENOMEM : write_full(fd, buf_data(&head), buf_len(&head));
	buf_done(&head);
	free(e);
	return err && !f->text[0] ? fault_errno(f, err, "packing files") : err;
}
