/* unpacked: what lib/arc makes of packed bytes, many at once for packed.py. In: a letter (g gzip, z zstd), u32 most bytes of a read, u32 length, the bytes; out:
 * i32 result, u64 how many bytes came out, their SHA-256, a sentence with its NUL. */
#include "lib/base/sha256.h"
#include "tests/fuzz/packed_in.h"

#include <stdlib.h>
#include <string.h>

struct job {
	struct packed_in in;
	uint64_t out;
	struct sha256_run sum;
};

static ssize_t take(void *arg, void *p, size_t n, struct fault *f)
{
	struct job *j = arg;

	(void)f;
	return packed_in_take(&j->in, p, n);
}

static int give(void *arg, const void *p, size_t n, struct fault *f)
{
	struct job *j = arg;

	(void)f;
	j->out += n;
	sha256_more(&j->sum, p, n);
	return 0;
}

static int answer(int32_t err, struct job *j, const struct fault *f)
{
	uint8_t out[12 + SHA256_BYTES];

	memcpy(out, &err, 4);
	memcpy(out + 4, &j->out, 8);
	sha256_end(&j->sum, out + 12);
	return write_full(1, out, sizeof(out)) || write_full(1, f->text, strlen(f->text) + 1);
}

int main(void)
{
	struct __attribute__((packed)) { char kind; uint32_t chunk, n; } ask;

	while (read_full(0, &ask, sizeof(ask)) == (ssize_t)sizeof(ask)) {
		uint8_t *p = malloc(ask.n + 1);
		struct job j = { .in = { p, ask.n, ask.chunk } };
		const struct packed_io io = { take, give, &j };
		struct fault f = { "" };
		int err;

		if (!p || read_full(0, p, ask.n) != (ssize_t)ask.n)
			return 1;
		sha256_begin(&j.sum);
		err = ask.kind == 'z' ? zstd_unpack(&io, 128u << 20, &f) : gzip_unpack(&io, &f);
		if (answer(err, &j, &f))
			return 1;
		free(p);
	}
	return 0;
}
