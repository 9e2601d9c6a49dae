/* Join strings come by mail and chat. */
#include "cli/context.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct context c, again;
	struct buf b;
	struct fault f;
	char *text = malloc(n + 1);
	if (!text)
		return 0;
	memcpy(text, p, n);
	text[n] = 0;
	if (!join_read(text, &c, &f)) { /* what was taken can be given on */
		buf_init(&b, 65536);
		if (!join_make(&c, &b) && (join_read(buf_cstr(&b), &again, &f) || strcmp(c.url, again.url) || strcmp(c.token, again.token)))
			abort();
		buf_done(&b);
	}
	free(text);
	return 0;
}
