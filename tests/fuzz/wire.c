/* The frame decoder with any bytes: what it accepts must be readable to its end, and write back to the same bytes. */
#include <stdlib.h>
#include <string.h>
#include "lib/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct wire_msg m, sub;
	size_t used, at = 0;
	for (int frames = 0; frames < 64 && wire_parse(p + at, n - at, &m, &used) == 0; frames++, at += used) {
		struct buf again;
		struct wire_iter it;
		struct wire_field f;
		char text[64];
		uint64_t v;
		buf_init(&again, 1 << 20);
		size_t mark = wire_begin(&again, m.type, m.id);
		wire_iter_init(&it, m.p, m.n);
		while (wire_next(&it, &f)) {
			wire_bytes(&again, f.tag, f.p, f.n);
			wire_get_u64(&m, f.tag, &v);
			wire_get_str(&m, f.tag, text, sizeof text);
			free(wire_field_dup(&f));
			wire_sub(&f, &sub);
		}
		if (wire_end(&again, mark) || buf_len(&again) != used || memcmp(buf_data(&again), p + at, used) != 0)
			abort();
		buf_done(&again);
	}
	return 0;
}
