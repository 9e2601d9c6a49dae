#include "cli/lz4.h"

#include <errno.h>
#include <string.h>

#define MATCH_MIN 4u

/* A length of 15 goes on in bytes, each adding up to 255, until one is less. */
static bool read_length(const uint8_t **p, const uint8_t *end, size_t *len)
{
	uint8_t b;
	do {
		if (*p == end || *len > SIZE_MAX / 2)
			return false;
		b = *(*p)++;
		*len += b;
	} while (b == 255);
	return true;
}

/* Overlapping on purpose: an offset smaller than the length repeats what was just written. */
static void copy_match(uint8_t *to, size_t offset, size_t len)
{
	const uint8_t *from = to - offset;
	while (len > offset) { /* each round doubles what can be copied at once */
		memcpy(to, from, offset);
		to += offset;
		len -= offset;
		offset *= 2;
	}
	memcpy(to, from, len);
}

int lz4_block_decode(const void *src, size_t n, void *dst, size_t dst_len)
{
	const uint8_t *p = src, *end = p + n;
	uint8_t *out = dst, *out_end = out + dst_len;
	/* Every round eats at least one byte of the input. */
	while (p < end) {
		uint8_t token = *p++;
		size_t len = token >> 4;
		if (len == 15 && !read_length(&p, end, &len))
			return -EBADMSG;
		if (len > (size_t)(end - p) || len > (size_t)(out_end - out))
			return -EBADMSG;
		memcpy(out, p, len);
		out += len;
		p += len;
		if (p == end) /* the last sequence has literals only */
			return out == out_end ? 0 : -EBADMSG;
		if (end - p < 2)
			return -EBADMSG;
		size_t offset = (size_t)p[0] | (size_t)p[1] << 8;
		p += 2;
		len = token & 15;
		if (len == 15 && !read_length(&p, end, &len))
			return -EBADMSG;
		len += MATCH_MIN;
		if (!offset || offset > (size_t)(out - (uint8_t *)dst) || len > (size_t)(out_end - out))
			return -EBADMSG;
		copy_match(out, offset, len);
		out += len;
	}
	return -EBADMSG;
}
