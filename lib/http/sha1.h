/* lib/http: SHA-1 (FIPS 180-4), for the WebSocket handshake alone: it proves nothing and protects nothing there.
 * Room card: http.h. */
#ifndef LIB_HTTP_SHA1_H
#define LIB_HTTP_SHA1_H

#include <stddef.h>
#include <stdint.h>

/* Short messages only: n at most 119 bytes (two blocks). */
#define SHA1_SHORT_MAX 119u
void sha1_short(const void *p, size_t n, uint8_t out[20]);

#endif
