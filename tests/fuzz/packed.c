/* First byte: how many bytes a read gives at most, 0x80: zstd; the rest is packed. What comes out is bounded here. */
#include "tests/fuzz/packed_in.h"

#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct job {
	struct packed_in in;
	size_t out;
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
	struct job j = { { data + 1, size - 1, data[0] & 0x7f ? data[0] & 0x7f : 1u << 20 }, 0 };
	const struct packed_io io = { take, give, &j };
	if (data[0] & 0x80)
		zstd_unpack(&io, 1u << 20, &f);
	else
		gzip_unpack(&io, &f);
	return 0;
}
