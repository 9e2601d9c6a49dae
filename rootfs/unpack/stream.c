/* Bytes of a layer, unpacked on the way. */
#include "rootfs/unpack/unpack.h"

#include "lib/arc/packed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ZSTD_WINDOW_MAX (128u << 20) /* zstd --ultra -22, or --long; a builder of 512 MiB has twice that */
enum { CHUNK = 1 << 18, NAMES_CHUNK = 1 << 14 };

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
static ssize_t piece(const struct range *r, uint64_t done, void *buf, size_t room, struct fault *f)
{
	size_t want = r->bytes - done < room ? (size_t)(r->bytes - done) : room;
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
	for (uint64_t done = 0; (n = piece(r, done, buf, sizeof(buf), f)) > 0; done += (uint64_t)n)
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

/* ---- unpacked ---- */

struct stream {
	const struct range *r;
	uint64_t done;
	int (*fn)(void *arg, const void *p, size_t n, struct fault *f);
	void *arg;
	bool digested;
	struct sha256_run sum;
};

static ssize_t take(void *arg, void *p, size_t n, struct fault *f)
{
	struct stream *s = arg;
	ssize_t got = piece(s->r, s->done, p, n, f);

	s->done += got > 0 ? (uint64_t)got : 0;
	return got;
}

static int give(void *arg, const void *p, size_t n, struct fault *f)
{
	struct stream *s = arg;

	if (s->digested)
		sha256_more(&s->sum, p, n);
	return s->fn(s->arg, p, n, f);
}

static int run_plain(struct stream *s, struct fault *f)
{
	static uint8_t buf[CHUNK];
	ssize_t n;
	int err = 0;

	while (!err && (n = take(s, buf, sizeof(buf), f)) != 0)
		err = n < 0 ? (int)n : give(s, buf, (size_t)n, f);
	return err;
}

int stream_run(const struct range *r, int (*fn)(void *arg, const void *p, size_t n, struct fault *f), void *arg, char digest[DIGEST_TEXT_MAX],
	       struct fault *f)
{
	struct stream s = { .r = r, .fn = fn, .arg = arg, .digested = digest };
	const struct packed_io io = { take, give, &s };
	int err;

	sha256_begin(&s.sum);
	switch (range_packing(r)) {
	case PACK_NONE:
		err = run_plain(&s, f);
		break;
	case PACK_GZIP:
		err = gzip_unpack(&io, f);
		break;
	case PACK_ZSTD:
		err = zstd_unpack(&io, ZSTD_WINDOW_MAX, f);
		break;
	default:
		return fault_set(f, -EOPNOTSUPP, "packed by xz or bzip2: only gzip and zstd are understood; save it with those, or not packed at all");
	}
	if (!err && digest)
		digest_text(&s.sum, digest);
	return err;
}

/* ---- names alone ---- */

static int feed(void *arg_reader, const void *p, size_t n, struct fault *f)
{
	return tar_reader_feed(arg_reader, p, n, f);
}

int stream_names(const struct range *r, struct tar_reader *reader, struct fault *f)
{
	static uint8_t buf[CHUNK];
	uint64_t at = 0, skipped;
	ssize_t n;
	int err = 0;

	if (range_packing(r) != PACK_NONE)
		return stream_run(r, feed, reader, NULL, f);
	while (!err && (n = piece(r, at, buf, NAMES_CHUNK, f)) != 0) {
		err = n < 0 ? (int)n : tar_reader_feed(reader, buf, (size_t)n, f);
		at += n < 0 ? 0 : (uint64_t)n;
		if (!err)
			err = tar_reader_skip(reader, r->bytes - at, &skipped, f);
		if (!err)
			at += skipped;
	}
	return err;
}
