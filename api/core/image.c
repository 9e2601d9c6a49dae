/* One image, and its meta file. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/images.h"
#include "api/core/store.h"

#define HEAD "mica-image=1\n"

int image_id_new(char out[IMAGE_ID_BYTES + 1])
{
	uint8_t random[8];
	int err = random_fill(random, sizeof(random));

	memcpy(out, "img-", 4);
	hex_encode(random, sizeof(random), out + 4);
	return err;
}

struct image *image_new(void)
{
	struct image *im = calloc(1, sizeof(*im));

	if (!im || image_id_new(im->id)) {
		free(im);
		return NULL;
	}
	im->created_ns = now_real_ns();
	return im;
}

bool image_id_is_valid(const char *s)
{
	return strncmp(s, "img-", 4) == 0 && strlen(s) == IMAGE_ID_BYTES && strspn(s + 4, "0123456789abcdef") == 16;
}

void image_free(struct image *im)
{
	if (!im)
		return;
	while (im->n_names)
		free(im->names[--im->n_names]);
	free(im->report);
	free(im);
}

/* ---- meta ---- */

int image_meta_format(const struct image *im, struct buf *out)
{
	buf_printf(out, HEAD "id=%s\nbytes=%" PRIu64 "\ncreated_ns=%" PRIu64 "\n", im->id, im->bytes, im->created_ns);
	if (im->base[0])
		buf_printf(out, "base=%s\n", im->base);
	for (unsigned i = 0; i < im->n_names; i++)
		buf_printf(out, "name=%s\n", im->names[i]);
	buf_printf(out, "report=%s\n" STORE_META_END, im->report ? im->report : "");
	return out->failed ? -EFBIG : 0;
}

static int meta_line(void *arg, const char *key, char *value)
{
	struct image *im = arg;
	char name[IMAGE_NAME_MAX + 1];

	if (strcmp(key, "id") == 0)
		return strcmp(value, im->id) == 0 ? 0 : -EINVAL;
	if (strcmp(key, "bytes") == 0)
		return parse_u64(value, INT64_MAX, &im->bytes);
	if (strcmp(key, "created_ns") == 0)
		return parse_u64(value, UINT64_MAX, &im->created_ns);
	if (strcmp(key, "base") == 0) {
		if (!image_id_is_valid(value) || im->base[0])
			return -EINVAL;
		memcpy(im->base, value, sizeof(im->base));
		return 0;
	}
	if (strcmp(key, "name") == 0) {
		if (im->n_names == IMAGE_NAMES_MAX || !image_name_complete(value, name) || strcmp(name, value) != 0)
			return -EINVAL;
		im->names[im->n_names] = strdup(value);
		return im->names[im->n_names] ? (im->n_names++, 0) : -ENOMEM;
	}
	if (strcmp(key, "report") != 0 || im->report || !image_report_is_valid(value, strlen(value)))
		return -EINVAL;
	im->report = strdup(value);
	return im->report ? 0 : -ENOMEM;
}

int image_meta_parse(struct image *im, char *text)
{
	int err = store_meta_parse(text, HEAD, meta_line, im);

	return err ? err : im->bytes && im->report ? 0 : -EINVAL;
}
