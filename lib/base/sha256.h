/* SHA-256 (FIPS 180-4) of a whole buffer or of bytes as they come: bearer tokens are compared and passed between processes as digests,
 * and images are checked by it. */
#ifndef LIB_BASE_SHA256_H
#define LIB_BASE_SHA256_H

#include "lib/base/base.h"

#define SHA256_BYTES 32u

void sha256(const void *data, size_t n, uint8_t out[SHA256_BYTES]);

struct sha256_run {
	uint32_t h[8];
	uint8_t block[64]; /* the last n % 64 bytes */
	uint64_t n;        /* bytes so far */
	uint8_t how;       /* which instructions */
};
void sha256_begin(struct sha256_run *r);
void sha256_more(struct sha256_run *r, const void *data, size_t n);
void sha256_end(struct sha256_run *r, uint8_t out[SHA256_BYTES]); /* begin again before more */

#endif
