/* Patterns, names and destinations that clients send: pattern, name and path with a NUL between. What counts as clean holds no way out. */
#include "lib/arc/dest.h"
#include "lib/arc/glob.h"
#include "lib/arc/tar.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT_MAX 300u /* the work of a pattern grows with pattern times text */

static const char *take(const uint8_t **p, size_t *left, char to[TEXT_MAX])
{
	size_t n = *left < TEXT_MAX - 1 ? *left : TEXT_MAX - 1;
	const uint8_t *end = memchr(*p, 0, n);

	n = end ? (size_t)(end - *p) : n;
	memcpy(to, *p, n);
	to[n] = '\0';
	*p += n + (end != NULL);
	*left -= n + (end != NULL);
	return to;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char a[TEXT_MAX], b[TEXT_MAX], c[TEXT_MAX], out[DEST_PATH_MAX];
	const char *pattern, *name, *path;
	struct dest_ask ask = { 0 };
	struct fault f = { "" };
	uint8_t bits = size ? data[0] : 0;

	if (size) {
		data++;
		size--;
	}
	pattern = take(&data, &size, a);
	name = take(&data, &size, b);
	path = take(&data, &size, c);
	if (glob_is_valid(pattern)) {
		struct glob_list list = { .patterns = &pattern, .n = 1 };
		bool direct = glob_excludes(&list, name, bits & 1);

		if (direct && !glob_excludes_deep(&list, name, bits & 1))
			abort();
		(void)glob_match(pattern, path);
	}
	if (tar_name_is_clean(name) && (name[0] == '/' || strstr(name, "//") || !strcmp(name, "..") || !strncmp(name, "../", 3) || strstr(name, "/../")))
		abort();
	ask.path = path;
	ask.source_name = bits & 2 ? name : NULL;
	ask.is_dir = bits & 4;
	ask.v1 = bits & 8;
	ask.contents = bits & 16;
	ask.there = bits & 32 ? DEST_DIR : bits & 64 ? DEST_FILE : DEST_MISSING;
	if (dest_decide(&ask, out, &f) == 0 && (!out[0] || strlen(out) >= DEST_PATH_MAX))
		abort();
	return 0;
}
