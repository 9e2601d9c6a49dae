/* Packed bytes in memory as lib/arc reads them, at most `chunk` at a time: for the fuzz target and for tests/it/unpacked.c. */
#ifndef TESTS_FUZZ_PACKED_IN_H
#define TESTS_FUZZ_PACKED_IN_H

#include <string.h>

#include "lib/arc/packed.h"

struct packed_in {
	const uint8_t *p;
	size_t n, chunk;
};

static inline ssize_t packed_in_take(struct packed_in *in, void *p, size_t n)
{
	n = n < in->chunk ? n : in->chunk;
	n = n < in->n ? n : in->n;
	memcpy(p, in->p, n);
	in->p += n;
	in->n -= n;
	return (ssize_t)n;
}

#endif
