#include "agent/upload.h"

#include <errno.h>
#include <string.h>

static int chunk_read(const struct json_val *v, struct chunk *c)
{
	int64_t index, size;
	if (json_get_i64(v, "index", &index) < 0 || json_get_i64(v, "size", &size) < 0 || json_get_str(v, "sha256", &c->hex) < 0)
		return -EINVAL;
	if (index < 0 || index >= CHUNKS_MAX || size <= 0 || size > CHUNK_BYTES_MAX || strlen(c->hex) != 2 * SHA256_BYTES ||
	    hex_decode(c->hex, c->sum, SHA256_BYTES) < 0)
		return -EINVAL;
	c->index = (unsigned)index;
	c->size = (uint64_t)size;
	return 0;
}

bool manifest_next(const struct manifest *m, const struct json_val **at, struct chunk *c)
{
	*at = *at ? json_next(m->chunks, *at) : json_first(m->chunks);
	return *at && chunk_read(*at, c) == 0;
}

static int check_chunks(const struct manifest *m, struct fault *f)
{
	struct chunk c;
	uint64_t total = 0;
	unsigned n = 0;
	if (!m->chunks || m->chunks->kind != JSON_ARRAY)
		return fault_set(f, -EINVAL, "the manifest has no list of chunks");
	if (m->chunks->count > CHUNKS_MAX)
		return fault_set(f, -EINVAL, "the manifest has more than %u chunks", CHUNKS_MAX);
	for (const struct json_val *v = json_first(m->chunks); v; v = json_next(m->chunks, v)) {
		if (chunk_read(v, &c) < 0)
			return fault_set(f, -EINVAL, "chunk %u of the manifest has no proper index, size (1 byte to 64 MiB) and sha256", n);
		if (c.index != n++)
			return fault_set(f, -EINVAL, "chunk %u of the manifest says it is %u", n - 1, c.index);
		total += c.size; /* at most CHUNKS_MAX × CHUNK_BYTES_MAX */
	}
	if (total != m->size)
		return fault_set(f, -EINVAL, "the chunks have %llu bytes together, the manifest says %llu", (unsigned long long)total,
				 (unsigned long long)m->size);
	return 0;
}

/* Octal digits; "" is not said. */
static int read_mode(struct manifest *m, struct fault *f)
{
	const char *text = "";
	if (json_get_str(json_root(&m->json), "permissions", &text) == -EINVAL || strlen(text) > 6 || text[strspn(text, "01234567")])
		return fault_set(f, -EINVAL, "permissions must be octal");
	for (const char *p = text; *p; p++)
		m->mode = m->mode * 8 + (uint64_t)(*p - '0');
	m->has_mode = text[0] != '\0';
	return 0;
}

static int read_size(const struct json_val *root, const char *key, uint64_t *out, struct fault *f)
{
	int64_t v = 0;
	if (json_get_i64(root, key, &v) == -EINVAL || v < 0)
		return fault_set(f, -EINVAL, "%s must be a number of bytes", key);
	*out = (uint64_t)v;
	return 0;
}

static int read_fields(struct manifest *m, struct fault *f)
{
	const struct json_val *root = json_root(&m->json);
	const char *mode = "", *semantics = "", *sum = "";
	int64_t version = 0;
	(void)json_get_i64(root, "version", &version);
	if (version != 1 && version != 2)
		return fault_set(f, -EINVAL, "the manifest's version is neither 1 nor 2");
	(void)json_get_str(root, "mode", &mode);
	if (strcmp(mode, "binary") != 0 && strcmp(mode, "tar") != 0)
		return fault_set(f, -EINVAL, "the manifest's mode is neither binary nor tar");
	m->tar = mode[0] == 't';
	if (json_get_str(root, "destination", &m->destination) < 0)
		return fault_set(f, -EINVAL, "the manifest names no destination");
	m->source_name = m->source_type = "";
	(void)json_get_str(root, "source_name", &m->source_name);
	(void)json_get_str(root, "source_type", &m->source_type);
	(void)json_get_str(root, "copy_semantics", &semantics);
	(void)json_get_bool(root, "copy_contents", &m->contents);
	m->v1 = strcmp(semantics, "cp-v1") == 0;
	if (semantics[0] && !m->v1)
		return fault_set(f, -EINVAL, "copy_semantics is not cp-v1");
	(void)json_get_str(root, "sha256", &sum);
	m->has_sum = sum[0] != '\0';
	if (m->has_sum && (strlen(sum) != 2 * SHA256_BYTES || hex_decode(sum, m->sum, SHA256_BYTES) < 0))
		return fault_set(f, -EINVAL, "sha256 must be 64 hexadecimal digits");
	int rc = read_mode(m, f);
	if (rc < 0 || (rc = read_size(root, "size", &m->size, f)) < 0 || (rc = read_size(root, "unpacked_size", &m->unpacked_size, f)) < 0)
		return rc;
	m->chunks = json_get(root, "chunks");
	return check_chunks(m, f);
}

int manifest_read(struct manifest *m, const void *text, size_t n, struct fault *f)
{
	memset(m, 0, sizeof *m);
	int rc = json_parse(&m->json, text, n, CHUNKS_MAX * 4 + 64, f);
	if (rc < 0)
		return fault_wrap(f, rc, "the manifest");
	return read_fields(m, f);
}

void manifest_done(struct manifest *m)
{
	json_done(&m->json);
}
