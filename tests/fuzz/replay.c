/*
 * replay DIR...: calls LLVMFuzzerTestOneInput with every file of the folders, and with a bounded number of variants of
 * each (prefixes, one changed byte), so that `make test` proves the corpus without a fuzzing compiler. TAP, one result
 * a file; a crash ends the program and the last "# replaying" line names the input.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (1u << 20)
#define VARIANTS_MAX 256u
#define VARIANT_BYTES_MAX 65536u /* of a larger file only the file itself is replayed */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The copy has exactly the input's size, so that a sanitiser sees the first byte read too far. */
static void feed(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void feed_variants(uint8_t *data, size_t size)
{
	size_t step = size / (VARIANTS_MAX / 2) + 1;
	uint32_t noise = 0x9e3779b9u;

	if (size > VARIANT_BYTES_MAX)
		return;
	for (size_t at = 0; at < size; at += step) {
		uint8_t was = data[at];

		feed(data, at);
		noise = noise * 1664525u + 1013904223u;
		data[at] = (uint8_t)(was ^ (1u << (noise >> 29)));
		feed(data, size);
		data[at] = (noise & 0x10000) ? 0xff : 0;
		feed(data, size);
		data[at] = was;
	}
}

static int replay_file(const char *dir, const char *name, uint8_t *room)
{
	char path[4096];
	FILE *f;
	size_t size;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		return -1;
	size = fread(room, 1, FILE_BYTES_MAX, f);
	fclose(f);
	printf("# replaying %s (%zu bytes)\n", path, size);
	fflush(stdout);
	feed(room, size);
	feed_variants(room, size);
	return 0;
}

int main(int argc, char **argv)
{
	uint8_t *room = malloc(FILE_BYTES_MAX);
	int count = 0, failed = 0;

	if (!room)
		return 1;
	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			if (entry->d_name[0] == '.')
				continue;
			int bad = replay_file(argv[i], entry->d_name, room) != 0;

			failed += bad;
			printf("%sok %d - %s\n", bad ? "not " : "", ++count, entry->d_name);
		}
		if (dir)
			closedir(dir);
	}
	if (!count) {
		printf("not ok 1 - there is a corpus\n");
		count = failed = 1;
	}
	printf("1..%d\n", count);
	free(room);
	return failed ? 1 : 0;
}
