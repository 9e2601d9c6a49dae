/* SHA-256 (FIPS 180-4) of a whole buffer: bearer tokens are compared and passed between processes as digests. */
#ifndef LIB_BASE_SHA256_H
#define LIB_BASE_SHA256_H

#include "lib/base/base.h"

#define SHA256_BYTES 32u

void sha256(const void *data, size_t n, uint8_t out[SHA256_BYTES]);

#endif
