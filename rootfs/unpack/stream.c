/* Bytes of a layer. Packed ones go through the builder's own gzip or zstd: a child feeds it the range, we read what comes out. */
#include "rootfs/unpack/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 1 << 18 };

enum packing range_packing(const struct range *r)
{
	uint8_t b[6] = { 0 };

	if (r->bytes < sizeof(b) || pread_full(r->fd, b, sizeof(b), r->at) != (ssize_t)sizeof(b))
		return PACK_NONE;
	if (b[0] == 0x1f && b[1] == 0x8b) /* RFC 1952 §2.3.1 */
		return PACK_GZIP;
	if (memcmp(b, "\x28\xb5\x2f\xfd", 4) == 0) /* RFC 8878 §3.1.1 */
		return PACK_ZSTD;
	return memcmp(b, "\xfd" "7zXZ", 6) == 0 || memcmp(b, "BZh", 3) == 0 ? PACK_OTHER : PACK_NONE;
}

/* Next piece of a range into buf: bytes, 0 at its end. */
static ssize_t piece(const struct range *r, uint64_t done, void *buf, struct fault *f)
{
	size_t want = r->bytes - done < CHUNK ? (size_t)(r->bytes - done) : CHUNK;
	ssize_t n = want ? pread_full(r->fd, buf, want, r->at + done) : 0;

	if (n < 0)
		return fault_errno(f, (int)n, "reading the archive");
	return (size_t)n == want ? n : fault_set(f, -EPROTO, "the archive is shorter than it says");
}

static void digest_text(struct sha256_run *s, char out[DIGEST_TEXT_MAX])
{
	uint8_t sum[SHA256_BYTES];

	sha256_end(s, sum);
	memcpy(out, "sha256:", 7);
	hex_encode(sum, sizeof(sum), out + 7);
}

int range_digest(const struct range *r, char out[DIGEST_TEXT_MAX], struct fault *f)
{
	static uint8_t buf[CHUNK];
	struct sha256_run s;
	ssize_t n;

	sha256_begin(&s);
	for (uint64_t done = 0; (n = piece(r, done, buf, f)) > 0; done += (uint64_t)n)
		sha256_more(&s, buf, (size_t)n);
	if (n == 0)
		digest_text(&s, out);
	return (int)n;
}

int range_text(const struct range *r, char **out, struct fault *f)
{
	ssize_t n;

	if (r->bytes > BLOB_TEXT_MAX)
		return fault_set(f, -EFBIG, "a manifest of %llu bytes: at most %u", (unsigned long long)r->bytes, BLOB_TEXT_MAX);
	*out = malloc((size_t)r->bytes + 1);
	if (!*out)
		return fault_set(f, -ENOMEM, "out of memory");
	n = pread_full(r->fd, *out, (size_t)r->bytes, r->at);
	if (n != (ssize_t)r->bytes) {
		free(*out);
		return fault_set(f, -EPROTO, "the archive is shorter than it says");
	}
	(*out)[n] = '\0';
	return 0;
}

/* ---- children ---- */

__attribute__((noreturn)) static void feed(const struct range *r, int to)
{
	static uint8_t buf[CHUNK];
	struct fault f;
	ssize_t n;

	for (uint64_t done = 0; (n = piece(r, done, buf, &f)) > 0; done += (uint64_t)n)
		if (write_full(to, buf, (size_t)n) < 0)
			_exit(1);
	_exit(n < 0);
}

__attribute__((noreturn)) static void unpacker(enum packing how, int from, int to)
{
	int quiet = open("/dev/null", O_WRONLY); /* what it would say is said by us */

	if (quiet >= 0)
		dup2(quiet, 2);
	if (dup2(from, 0) == 0 && dup2(to, 1) == 1 && close_from(3) == 0) {
		if (how == PACK_ZSTD)
			execlp("zstd", "zstd", "-dcq", (char *)NULL);
		else
			execlp("gzip", "gzip", "-dc", (char *)NULL);
	}
	_exit(127);
}

struct pipeline {
	pid_t feeder, unpacker;
	int from; /* owned: unpacked bytes */
};

static int pipeline_start(struct pipeline *p, const struct range *r, enum packing how, struct fault *f)
{
	int in[2], out[2];

	*p = (struct pipeline){ -1, -1, -1 };
	if (pipe(in) < 0)
		return fault_errno(f, -errno, "pipe");
	if (pipe(out) < 0) {
		close(in[0]), close(in[1]);
		return fault_errno(f, -errno, "pipe");
	}
	p->feeder = fork();
	if (p->feeder == 0) {
		close(in[0]), close(out[0]), close(out[1]);
		feed(r, in[1]);
	}
	p->unpacker = p->feeder < 0 ? -1 : fork();
	if (p->unpacker == 0) {
		close(in[1]), close(out[0]);
		unpacker(how, in[0], out[1]);
	}
	close(in[0]), close(in[1]), close(out[1]);
	p->from = out[0];
	return p->unpacker < 0 ? fault_errno(f, -errno, "fork") : 0;
}

static bool ended_well(pid_t pid, int *status)
{
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(*status) && WEXITSTATUS(*status) == 0;
}

/* err: what reading the pipe came to; 0 when all was read. */
static int pipeline_end(struct pipeline *p, enum packing how, int err, struct fault *f)
{
	int status = 0, ignored;
	bool good = false;

	fd_close(&p->from);
	if (p->unpacker > 0)
		good = ended_well(p->unpacker, &status);
	if (p->feeder > 0)
		ended_well(p->feeder, &ignored);
	if (err || good)
		return err;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return fault_set(f, -EOPNOTSUPP, "the builder has no program '%s' to unpack this archive: save it with %s", how == PACK_ZSTD ? "zstd" : "gzip",
				 how == PACK_ZSTD ? "gzip, or not packed at all" : "no packing at all");
	return fault_set(f, -EPROTO, "packed bytes of the archive are broken");
}

/* ---- both ways ---- */

struct sink {
	int (*fn)(void *arg, const void *p, size_t n, struct fault *f);
	void *arg;
	struct sha256_run sum;
};

static int give(struct sink *s, const void *p, size_t n, struct fault *f)
{
	sha256_more(&s->sum, p, n);
	return s->fn(s->arg, p, n, f);
}

static int run_plain(const struct range *r, struct sink *s, struct fault *f)
{
	static uint8_t buf[CHUNK];
	ssize_t n;

	for (uint64_t done = 0; (n = piece(r, done, buf, f)) > 0; done += (uint64_t)n) {
		int err = give(s, buf, (size_t)n, f);

		if (err)
			return err;
	}
	return (int)n;
}

static int run_packed(const struct range *r, enum packing how, struct sink *s, struct fault *f)
{
	static uint8_t buf[CHUNK];
	struct pipeline p;
	int err = pipeline_start(&p, r, how, f);
	ssize_t n = 0;

	while (!err && (n = read_full(p.from, buf, sizeof(buf))) > 0)
		err = give(s, buf, (size_t)n, f);
	if (!err && n < 0)
		err = fault_errno(f, (int)n, "reading unpacked bytes");
	return pipeline_end(&p, how, err, f);
}

int stream_run(const struct range *r, int (*fn)(void *arg, const void *p, size_t n, struct fault *f), void *arg, char digest[DIGEST_TEXT_MAX],
	       struct fault *f)
{
	struct sink s = { .fn = fn, .arg = arg };
	enum packing how = range_packing(r);
	int err;

	if (how == PACK_OTHER)
		return fault_set(f, -EOPNOTSUPP, "packed by xz or bzip2: only gzip and zstd are understood");
	sha256_begin(&s.sum);
	err = how == PACK_NONE ? run_plain(r, &s, f) : run_packed(r, how, &s, f);
	if (!err && digest)
		digest_text(&s.sum, digest);
	return err;
}
