/* One commit, and its meta file. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/commits.h"
#include "api/core/store.h"

#define HEAD "mica-commit=1\n"

struct commit *commit_new(const char *source)
{
	struct commit *k = calloc(1, sizeof(*k));
	char digits[17];
	uint8_t random[8];

	if (!k || random_fill(random, sizeof(random))) {
		free(k);
		return NULL;
	}
	hex_encode(random, sizeof(random), digits);
	snprintf(k->id, sizeof(k->id), "cmt-%.63s-%s", source, digits);
	for (char *p = k->id + 4; p < k->id + strlen(k->id) - sizeof(digits); p++)
		if (*p == '-')
			*p = 'x';
	k->created_ns = now_real_ns();
	return k;
}

void commit_free(struct commit *k)
{
	if (!k)
		return;
	while (k->n_tags)
		free(k->tags[--k->n_tags]);
	while (k->n_labels) {
		free(k->labels[--k->n_labels].key);
		free(k->labels[k->n_labels].value);
	}
	free(k->cache_key);
	record_done(&k->source);
	free(k);
}

bool commit_has_tag(const struct commit *k, const char *tag)
{
	for (unsigned i = 0; i < k->n_tags; i++)
		if (strcmp(k->tags[i], tag) == 0)
			return true;
	return false;
}

int commit_add_tag(struct commit *k, const char *tag)
{
	if (!tag_is_valid(tag, strlen(tag)))
		return -EINVAL;
	if (commit_has_tag(k, tag))
		return 0;
	if (k->n_tags == TAGS_MAX)
		return -ENOSPC;
	k->tags[k->n_tags] = strdup(tag);
	return k->tags[k->n_tags] ? (k->n_tags++, 0) : -ENOMEM;
}

static const char *label_of(const struct commit *k, const char *key)
{
	for (unsigned i = 0; i < k->n_labels; i++)
		if (strcmp(k->labels[i].key, key) == 0)
			return k->labels[i].value;
	return NULL;
}

int commit_add_label(struct commit *k, const char *key, const char *value)
{
	char *own_key, *own_value;

	if (!tag_is_valid(key, strlen(key)) || strlen(key) > LABEL_KEY_MAX || strchr(key, '=') || (*value && !tag_is_valid(value, strlen(value))))
		return -EINVAL;
	if (label_of(k, key))
		return -EEXIST;
	if (k->n_labels == LABELS_MAX)
		return -ENOSPC;
	own_key = strdup(key);
	own_value = strdup(value);
	if (!own_key || !own_value) {
		free(own_key);
		free(own_value);
		return -ENOMEM;
	}
	k->labels[k->n_labels].key = own_key;
	k->labels[k->n_labels++].value = own_value;
	return 0;
}

bool commit_same_words(const struct commit *a, const struct commit *b)
{
	if (a->n_tags != b->n_tags || a->n_labels != b->n_labels || !a->cache_key != !b->cache_key)
		return false;
	if (a->cache_key && strcmp(a->cache_key, b->cache_key) != 0)
		return false;
	for (unsigned i = 0; i < a->n_tags; i++)
		if (!commit_has_tag(b, a->tags[i]))
			return false;
	for (unsigned i = 0; i < a->n_labels; i++) {
		const char *other = label_of(b, a->labels[i].key);

		if (!other || strcmp(other, a->labels[i].value) != 0)
			return false;
	}
	return true;
}

/* ---- meta ---- */

int commit_meta_format(const struct commit *k, struct buf *out)
{
	buf_printf(out, HEAD "id=%s\nbytes=%" PRIu64 "\ncreated_ns=%" PRIu64 "\nsource_mtime_ns=%" PRIu64 "\n", k->id, k->bytes, k->created_ns, k->source_mtime_ns);
	if (k->cache_key)
		buf_printf(out, "cache_key=%s\n", k->cache_key);
	for (unsigned i = 0; i < k->n_tags; i++)
		buf_printf(out, "tag=%s\n", k->tags[i]);
	for (unsigned i = 0; i < k->n_labels; i++)
		buf_printf(out, "label=%s=%s\n", k->labels[i].key, k->labels[i].value);
	buf_adds(out, STORE_META_END);
	return out->failed ? -EFBIG : 0;
}

static int meta_line(void *arg, const char *key, char *value)
{
	struct commit *k = arg;
	char *eq;

	if (strcmp(key, "id") == 0)
		return strcmp(value, k->id) == 0 ? 0 : -EINVAL;
	if (strcmp(key, "bytes") == 0)
		return parse_u64(value, INT64_MAX, &k->bytes);
	if (strcmp(key, "created_ns") == 0)
		return parse_u64(value, UINT64_MAX, &k->created_ns);
	if (strcmp(key, "source_mtime_ns") == 0)
		return parse_u64(value, UINT64_MAX, &k->source_mtime_ns);
	if (strcmp(key, "tag") == 0)
		return commit_add_tag(k, value);
	if (strcmp(key, "label") == 0) {
		eq = strchr(value, '=');
		if (!eq)
			return -EINVAL;
		*eq = 0;
		return commit_add_label(k, value, eq + 1);
	}
	if (strcmp(key, "cache_key") != 0 || k->cache_key || !tag_is_valid(value, strlen(value)))
		return -EINVAL;
	k->cache_key = strdup(value);
	return k->cache_key ? 0 : -ENOMEM;
}

int commit_meta_parse(struct commit *k, char *text)
{
	int err = store_meta_parse(text, HEAD, meta_line, k);

	return err ? err : k->bytes ? 0 : -EINVAL;
}
