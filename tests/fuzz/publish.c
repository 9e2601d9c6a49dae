/* Any text as published ports: refused with a sentence, or taken, and then its own writing is taken too and means the same; lists come back whole. */
#include <stdlib.h>
#include <string.h>

#include "api/core/publish_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool one(struct buf *list, const char *text)
{
	struct publish_spec s, again;
	struct sockaddr_storage a;
	struct fault f = { "" };

	if (publish_parse(text, &s, &f)) {
		if (!f.text[0])
			abort();
		return false;
	}
	if (publish_parse(s.text, &again, &f) || strcmp(s.text, again.text) != 0 || strcmp(s.to, again.to) != 0 || !publish_clash(&s, &again))
		abort();
	publish_sockaddr(&s, &a);
	return publish_add(list, text, &f) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct publish_spec s;
	unsigned added = 0, back = 0;
	struct buf list;
	char line[600];
	const char *at;

	buf_init(&list, PUBLISH_LINES_MAX);
	while (size) {
		const uint8_t *nl = memchr(data, '\n', size);
		size_t n = nl ? (size_t)(nl - data) : size, keep = n < sizeof(line) - 1 ? n : sizeof(line) - 1;

		memcpy(line, data, keep);
		line[keep] = 0;
		added += one(&list, line);
		data += n + (nl != NULL);
		size -= n + (nl != NULL);
	}
	for (at = buf_len(&list) ? buf_cstr(&list) : ""; publish_next(&at, &s) > 0;)
		back++;
	if (back != added || *at)
		abort();
	buf_done(&list);
	return 0;
}
