/* The manifest of a chunked upload: any bytes give a refusal with a sentence, or chunks that add up. */
#include <stdlib.h>
#include <string.h>

#include "agent/upload.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct manifest m;
	struct fault f = {.text = ""};
	struct chunk c;
	const struct json_val *at = NULL;
	uint64_t total = 0;
	unsigned count = 0;
	int rc = manifest_read(&m, p, n, &f);
	if (rc < 0 && !f.text[0])
		abort();
	while (rc == 0 && manifest_next(&m, &at, &c)) {
		if (c.index != count++ || c.size == 0 || c.size > CHUNK_BYTES_MAX || strlen(c.hex) != 64)
			abort();
		total += c.size;
	}
	if (rc == 0 && (total != m.size || !m.destination || !m.source_name || !m.source_type))
		abort();
	manifest_done(&m);
	return 0;
}
