#include "cli/lz4.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <string.h>

static int decode(const char *src, size_t n, char *dst, size_t want)
{
	return lz4_block_decode(src, n, dst, want);
}

#define BLOCK(s) (s), sizeof(s) - 1

int main(void)
{
	char out[600];
	ok(!decode(BLOCK("\x50hello"), out, 5) && !memcmp(out, "hello", 5), "literals only");
	/* "ab" then a match of 10 at offset 2, then the literal "!" */
	ok(!decode(BLOCK("\x26" "ab\x02\0\x10!"), out, 13) && !memcmp(out, "ababababababa!" + 0, 12) && out[12] == '!', "an overlapping match");
	ok(!decode(BLOCK("\x1f" "x\x01\0\xff\xff\x05\x00"), out, 1 + 4 + 15 + 255 + 255 + 5) && out[534] == 'x', "a long run of one byte");
	char big[300];
	memset(big, 'y', sizeof(big));
	big[0] = (char)0xf0, big[1] = (char)(270 - 15 - 0);
	ok(decode(big, 2 + 270, out, 270) == -EBADMSG, "a length of 255 goes on"); /* 255 then 'y' … is another length */
	big[1] = (char)200;
	ok(!decode(big, 2 + 215, out, 215), "fifteen and more literals");

	ok(decode(NULL, 0, out, 0) == -EBADMSG, "no bytes at all");
	ok(!decode(BLOCK("\0"), out, 0), "an empty block");
	ok(decode(BLOCK("\x50hell"), out, 5) == -EBADMSG, "literals cut");
	ok(decode(BLOCK("\x50hello"), out, 4) == -EBADMSG, "longer than was said");
	ok(decode(BLOCK("\x50hello"), out, 6) == -EBADMSG, "shorter than was said");
	ok(decode(BLOCK("\xf0"), out, 100) == -EBADMSG, "a length that ends in the air");
	ok(decode(BLOCK("\xf0\xff\xff"), out, 100) == -EBADMSG, "a longer one too");
	ok(decode(BLOCK("\x10" "a\0\0\0"), out, 10) == -EBADMSG, "offset zero");
	ok(decode(BLOCK("\x10" "a\x02\0\0"), out, 10) == -EBADMSG, "offset before the start");
	ok(decode(BLOCK("\x10" "a\x01"), out, 10) == -EBADMSG, "half an offset");
	ok(decode(BLOCK("\x1f" "a\x01\0\xff\xff\xff\0\0"), out, 100) == -EBADMSG, "a match that runs over the end");
	ok(decode(BLOCK("\x10" "a\x01\0"), out, 5) == -EBADMSG, "a block that ends with a match");
	return tap_done();
}
