/* lib/http: the chunked transfer coding (RFC 9112 §7.1), both ways. Room card: http.h. */
#ifndef LIB_HTTP_CHUNK_H
#define LIB_HTTP_CHUNK_H

#include "lib/http/http.h"

#define HTTP_CHUNK_LINE_MAX 256u      /* a chunk-size line with its extensions */
#define HTTP_CHUNK_TRAILER_MAX 8192u  /* all trailer fields (read and dropped) */

/* Decoder; zero it before each body. Its states in order; each leads only to the next or as said. */
enum http_chunk_state {
	HTTP_CHUNK_SIZE,      /* hex digits → EXT, SIZE_LF */
	HTTP_CHUNK_EXT,       /* ";…" skipped → SIZE_LF */
	HTTP_CHUNK_SIZE_LF,   /* → DATA, or TRAILER after the last chunk */
	HTTP_CHUNK_DATA,      /* → DATA_CR */
	HTTP_CHUNK_DATA_CR,
	HTTP_CHUNK_DATA_LF,   /* → SIZE */
	HTTP_CHUNK_TRAILER,   /* → TRAILER_LF at CR */
	HTTP_CHUNK_TRAILER_LF,/* → TRAILER, or DONE after an empty line */
	HTTP_CHUNK_DONE,
};
struct http_chunked {
	enum http_chunk_state state;
	uint64_t left;        /* bytes of this chunk still to come */
	unsigned digits;      /* of the size */
	unsigned line_bytes;  /* of the size line */
	unsigned trailer_bytes;
	unsigned trailer_line_bytes;
	bool last;
};

/*
 * One step over p[0..n): *used bytes were eaten, and when 1 is returned data[0..data_n) (inside p) is body.
 *   1 data   0 all eaten, more is needed   2 the body and its trailers ended   -EPROTO broken (answer 400 and close)
 */
int http_chunked_step(struct http_chunked *c, const uint8_t *p, size_t n, size_t *used,
		      const uint8_t **data, size_t *data_n);

/* Writes one chunk; nothing when n is 0 (that would end the body). */
void http_chunk_add(struct buf *b, const void *p, size_t n);
/* The last chunk. */
void http_chunk_end(struct buf *b);

#endif
