/* What an archive says of its image: docker-save's manifest.json, or the OCI image layout (image-spec 1.0: image-layout.md, image-index.md,
 * manifest.md, config.md). Where both stand, docker's names are taken, for its layers are the same. */
#include "rootfs/unpack/unpack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES_MAX = 200000, INDEX_DEPTH = 3 };

/* "sha256:" and 64 lower-case digits: it becomes part of a path. */
static bool digest_is_valid(const char *s)
{
	return s && strncmp(s, "sha256:", 7) == 0 && strlen(s) == 71 && strspn(s + 7, "0123456789abcdef") == 64;
}

static int parse_range(struct json *j, const struct range *r, const char *what, struct fault *f)
{
	char *text;
	int err = range_text(r, &text, f);

	if (err)
		return fault_wrap(f, err, "%s", what);
	err = json_parse(j, text, (size_t)r->bytes, VALUES_MAX, f);
	free(text);
	return err ? fault_wrap(f, err, "%s", what) : 0;
}

/* A blob by its digest, which is checked. */
static int blob(const struct outer *o, const char *digest, struct range *out, struct fault *f)
{
	char path[16 + DIGEST_TEXT_MAX] = "blobs/sha256/", is[DIGEST_TEXT_MAX];
	int err;

	if (!digest_is_valid(digest))
		return fault_set(f, -EPROTO, "a digest in the archive is not 'sha256:' and 64 digits: '%.80s'", digest ? digest : "");
	memcpy(path + 13, digest + 7, 65);
	err = outer_find(o, path, out, f);
	if (!err)
		err = range_digest(out, is, f);
	if (!err && strcmp(is, digest) != 0)
		err = fault_set(f, -EBADMSG, "blob %s has other content than its digest says (%s): the archive is damaged", digest, is);
	return err;
}

/* ---- the configuration: diff_ids ---- */

static int take_config(struct image *im, const struct range *r, struct fault *f)
{
	const struct json_val *ids, *id;
	unsigned i = 0;
	int err = range_digest(r, im->digest, f);

	if (!err)
		err = parse_range(&im->config, r, "the image's configuration", f);
	if (err)
		return err;
	ids = json_get(json_get(json_root(&im->config), "rootfs"), "diff_ids");
	for (id = json_first(ids); id; id = json_next(ids, id), i++) {
		const char *s = json_str(id);

		if (!digest_is_valid(s))
			return fault_set(f, -EPROTO, "the image's configuration: a diff_id is no sha256 digest");
		if (i < im->n_layers)
			memcpy(im->layer[i].diff_id, s, strlen(s) + 1);
	}
	return !ids || i == im->n_layers ? 0 : fault_set(f, -EPROTO, "the image has %u layers, its configuration knows %u", im->n_layers, i);
}

static int add_layer(struct image *im, const struct range *r, struct fault *f)
{
	if (im->n_layers == LAYERS_MAX)
		return fault_set(f, -E2BIG, "the image has more than %u layers", LAYERS_MAX);
	im->layer[im->n_layers++].range = *r;
	return 0;
}

/* ---- docker-save ---- */

static int read_docker(struct image *im, const struct outer *o, const struct range *r, struct fault *f)
{
	const struct json_val *root, *first, *layers, *l;
	const char *config;
	struct range at;
	int err = parse_range(&im->names, r, "manifest.json", f);

	im->format = "docker-archive";
	if (err)
		return err;
	root = json_root(&im->names);
	first = root->kind == JSON_ARRAY ? json_first(root) : NULL;
	if (!first)
		return fault_set(f, -EPROTO, "manifest.json names no image");
	if (root->count > 1)
		return fault_set(f, -EOPNOTSUPP, "the archive holds %u images: save one at a time", root->count);
	layers = json_get(first, "Layers");
	for (l = json_first(layers); l && !err; l = json_next(layers, l)) {
		const char *name = json_str(l);

		err = name ? outer_find(o, name, &at, f) : fault_set(f, -EPROTO, "manifest.json: a layer without a name");
		if (!err)
			err = add_layer(im, &at, f);
	}
	if (!err && json_get_str(first, "Config", &config))
		err = fault_set(f, -EPROTO, "manifest.json names no configuration");
	if (!err)
		err = outer_find(o, config, &at, f);
	return err ? err : take_config(im, &at, f);
}

/* ---- OCI layout ---- */

/* The descriptor for this machine: of several, linux/amd64. */
static const struct json_val *choose(const struct json_val *index)
{
	const struct json_val *list = json_get(index, "manifests"), *d, *only = NULL;

	for (d = json_first(list); d; d = json_next(list, d)) {
		const struct json_val *p = json_get(d, "platform");
		const char *os = "", *arch = "";

		json_get_str(p, "os", &os);
		json_get_str(p, "architecture", &arch);
		if (strcmp(os, "linux") == 0 && strcmp(arch, "amd64") == 0)
			return d;
		if (!p)
			only = d;
	}
	return only;
}

static int read_oci_manifest(struct image *im, const struct outer *o, const struct json_val *m, struct fault *f)
{
	const struct json_val *layers = json_get(m, "layers"), *l;
	const char *digest = NULL;
	struct range at;
	int err = 0;

	for (l = json_first(layers); l && !err; l = json_next(layers, l)) {
		digest = NULL;
		json_get_str(l, "digest", &digest);
		err = blob(o, digest, &at, f);
		if (!err)
			err = add_layer(im, &at, f);
	}
	digest = NULL;
	json_get_str(json_get(m, "config"), "digest", &digest);
	if (!err)
		err = blob(o, digest, &at, f);
	return err ? err : take_config(im, &at, f);
}

/* From the index down to the manifest: an index may hold an index. */
static int read_oci(struct image *im, const struct outer *o, const struct range *r, struct fault *f)
{
	struct json nested = { 0 };
	const struct json_val *at;
	struct range range;
	int err = parse_range(&im->names, r, "index.json", f);

	im->format = "oci-archive";
	if (err)
		return err;
	at = json_root(&im->names);
	for (unsigned depth = 0; !err && json_get(at, "manifests"); depth++) {
		const char *digest = NULL;

		json_get_str(choose(at), "digest", &digest);
		if (!digest || depth == INDEX_DEPTH) {
			err = fault_set(f, -ENOENT, "the archive has no image for linux/amd64");
			break;
		}
		err = blob(o, digest, &range, f);
		if (depth)
			json_done(&nested);
		nested = (struct json){ 0 };
		if (!err)
			err = parse_range(&nested, &range, "a manifest", f);
		at = err ? NULL : json_root(&nested);
	}
	if (!err)
		err = json_get(at, "layers") ? read_oci_manifest(im, o, at, f) : fault_set(f, -EPROTO, "the archive's manifest has no layers");
	json_done(&nested);
	return err;
}

int image_read(struct image *im, const struct outer *o, struct fault *f)
{
	struct range r;
	int err;

	memset(im, 0, sizeof(*im));
	if (o->rootfs) {
		im->format = "rootfs";
		im->layer[0].range = o->whole;
		im->n_layers = 1;
		return 0;
	}
	err = outer_find(o, "manifest.json", &r, f);
	if (err != -ENOENT)
		return err ? err : read_docker(im, o, &r, f);
	err = outer_find(o, "index.json", &r, f);
	if (err != -ENOENT)
		return err ? err : read_oci(im, o, &r, f);
	return fault_set(f, -EPROTO, "neither manifest.json (docker save) nor index.json (OCI layout) is in the archive");
}

void image_done(struct image *im)
{
	json_done(&im->config);
	json_done(&im->names);
}

/* ---- report ---- */

static void put_strings(struct json_out *o, const char *key, const struct json_val *list)
{
	json_arr(o, key);
	for (const struct json_val *v = json_first(list); v; v = json_next(list, v))
		if (json_str(v))
			json_put_str(o, NULL, json_str(v));
	json_end(o);
}

static void put_names(const struct image *im, struct json_out *o)
{
	const struct json_val *root = im->names.v ? json_root(&im->names) : NULL;

	if (root && root->kind == JSON_ARRAY) {
		put_strings(o, "names", json_get(json_first(root), "RepoTags"));
		return;
	}
	json_arr(o, "names");
	for (const struct json_val *list = json_get(root, "manifests"), *d = json_first(list); d; d = json_next(list, d)) {
		const char *name = NULL;

		json_get_str(json_get(d, "annotations"), "org.opencontainers.image.ref.name", &name);
		if (name)
			json_put_str(o, NULL, name);
	}
	json_end(o);
}

void image_report(const struct image *im, struct json_out *o)
{
	const struct json_val *root = im->config.v ? json_root(&im->config) : NULL, *c = json_get(root, "config");
	const struct json_val *labels = json_get(c, "Labels");
	const char *arch = "", *dir = "", *user = "";

	json_get_str(root, "architecture", &arch);
	json_get_str(c, "WorkingDir", &dir);
	json_get_str(c, "User", &user);
	json_put_str(o, "format", im->format);
	json_put_str(o, "digest", im->digest);
	put_names(im, o);
	json_put_str(o, "architecture", arch);
	put_strings(o, "env", json_get(c, "Env"));
	put_strings(o, "entrypoint", json_get(c, "Entrypoint"));
	put_strings(o, "cmd", json_get(c, "Cmd"));
	json_put_str(o, "workdir", dir);
	json_put_str(o, "user", user);
	json_obj(o, "labels");
	for (const struct json_val *l = json_first(labels); l; l = json_next(labels, l))
		if (json_str(l))
			json_put_str(o, l->key, json_str(l));
	json_end(o);
	json_put_u64(o, "layers", im->n_layers);
}
