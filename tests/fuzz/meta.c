/* Meta files of images and commits as any bytes (the first says which): refused, or something that is written and read back the same. */
#include <stdlib.h>
#include <string.h>

#include "api/core/commits.h"
#include "api/core/images.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static struct image *image_read(const void *text, size_t n)
{
	struct image *im = must(calloc(1, sizeof(*im)));
	char *copy = must(strndup(text, n));
	int err;

	strcpy(im->id, "img-0123456789abcdef");
	err = image_meta_parse(im, copy);
	free(copy);
	if (!err)
		return im;
	image_free(im);
	return NULL;
}

static void image(const void *text, size_t n)
{
	struct image *a = image_read(text, n), *b;
	struct buf out;

	if (!a)
		return;
	buf_init(&out, IMAGE_META_MAX);
	if (image_meta_format(a, &out))
		abort();
	b = must(image_read(buf_data(&out), buf_len(&out)));
	if (a->bytes != b->bytes || a->created_ns != b->created_ns || a->n_names != b->n_names || strcmp(a->report, b->report) != 0)
		abort();
	for (unsigned i = 0; i < a->n_names; i++)
		if (strcmp(a->names[i], b->names[i]) != 0)
			abort();
	buf_done(&out);
	image_free(a);
	image_free(b);
}

static struct commit *commit_read(const void *text, size_t n)
{
	struct commit *k = must(calloc(1, sizeof(*k)));
	char *copy = must(strndup(text, n));
	int err;

	strcpy(k->id, "cmt-sboxx1-0123456789abcdef");
	err = commit_meta_parse(k, copy);
	free(copy);
	if (!err)
		return k;
	commit_free(k);
	return NULL;
}

static void commit(const void *text, size_t n)
{
	struct commit *a = commit_read(text, n), *b;
	struct buf out;

	if (!a)
		return;
	buf_init(&out, COMMIT_META_MAX);
	if (commit_meta_format(a, &out))
		abort();
	b = must(commit_read(buf_data(&out), buf_len(&out)));
	if (a->bytes != b->bytes || a->created_ns != b->created_ns || a->source_mtime_ns != b->source_mtime_ns || !commit_same_words(a, b))
		abort();
	buf_done(&out);
	commit_free(a);
	commit_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t max = size && *data & 1 ? COMMIT_META_MAX : IMAGE_META_MAX;

	if (size && size - 1 <= max)
		(*data & 1 ? commit : image)(data + 1, size - 1);
	return 0;
}
