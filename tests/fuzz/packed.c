/* First byte: how many bytes a read gives at most, 0x80: zstd; the rest is packed. What comes out is bounded here. */
#include "lib/arc/packed.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct job {
	const uint8_t *p;
	size_t n, chunk, out;
};

static ssize_t take(void *arg, void *p, size_t n, struct fault *f)
{
	struct job *j = arg;

	(void)f;
	n = n < j->chunk ? n : j->chunk;
	n = n < j->n ? n : j->n;
	memcpy(p, j->p, n);
	j->p += n;
	j->n -= n;
	return (ssize_t)n;
}

static int give(void *arg, const void *p, size_t n, struct fault *f)
{
	struct job *j = arg;
	volatile uint8_t seen = 0;

	for (size_t i = 0; i < n; i++) /* all of it can be read */
		seen = (uint8_t)(seen ^ ((const uint8_t *)p)[i]);
	j->out += n;
	return j->out > 4u << 20 ? fault_set(f, -EFBIG, "enough") : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fault f = { "" };

	if (size < 1)
		return 0;
	struct job j = { data + 1, size - 1, data[0] & 0x7f ? data[0] & 0x7f : 1u << 20, 0 };
	const struct packed_io io = { take, give, &j };
	if (data[0] & 0x80)
		zstd_unpack(&io, 1u << 20, &f);
	else
		gzip_unpack(&io, &f);
	return 0;
}
