/* The first two bytes say how long the result must be; the rest is the block. */
#include "cli/lz4.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	size_t want = (size_t)data[0] | (size_t)data[1] << 8;
	uint8_t *out = malloc(want + 1), *in = malloc(size - 1);
	if (out && in) {
		for (size_t i = 2; i < size; i++) /* a block of its own, so that a read past its end is seen */
			in[i - 2] = data[i];
		lz4_block_decode(in, size - 2, out, want);
	}
	free(in);
	free(out);
	return 0;
}
