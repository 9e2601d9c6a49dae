/* cli/lz4: one LZ4 block (lz4_Block_format.md), decoded within bounds whatever the input is. Room card: cli.h. */
#ifndef CLI_LZ4_H
#define CLI_LZ4_H

#include "lib/base/base.h"

/* Decodes src[0..n) into dst, which must come out as exactly dst_len bytes. 0 or -EBADMSG. */
int lz4_block_decode(const void *src, size_t n, void *dst, size_t dst_len);

#endif
