/* Targets with any bytes: what is accepted can be walked to its end and stays inside its memory. */
#include <stdlib.h>
#include <string.h>
#include "lib/http/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct http_target t;
	struct http_param param;
	unsigned index = 0;
	size_t pos = 0, total = 0;

	if (http_target_parse(&t, (const char *)p, n))
		return 0;
	for (unsigned i = 0; i < t.n_segments; i++)
		total += strlen(t.segments[i]) + 1;
	while (http_target_next(&t, &index, &pos, &param))
		if (!http_target_param(&t, param.key))
			abort();
	if (total + pos > 3 * n + 16)
		abort();
	http_target_done(&t);
	return 0;
}
