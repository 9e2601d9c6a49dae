/* A VM's record as any bytes: refused with a sentence, or a record that is written and read back the same. */
#include <stdlib.h>
#include <string.h>

#include "api/core/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record a, b;
	struct fault f = { "" };
	struct buf text;

	if (record_parse(&a, (const char *)data, size, &f)) {
		if (!f.text[0])
			abort();
		return 0;
	}
	buf_init(&text, 4 * RECORD_MAX); /* escaping makes it longer */
	if (record_format(&a, &text))
		abort();
	if (buf_len(&text) <= RECORD_MAX) {
		if (record_parse(&b, (const char *)buf_data(&text), buf_len(&text), &f) || a.n_tags != b.n_tags || strcmp(a.name, b.name) != 0 ||
		    strcmp(a.image, b.image) != 0)
			abort();
		record_done(&b);
	}
	buf_done(&text);
	record_done(&a);
	return 0;
}
