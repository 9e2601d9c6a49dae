/* What the store holds: base images, cached steps, and what an image's report says. */
#include "cli/answer.h"
#include "cli/build.h"
#include "cli/out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_DIGITS 40u /* of a key: enough, and names stay short */
#define REPORT_BYTES_MAX (48u << 10)

bool cache_name_is(const char *name)
{
	size_t n = sizeof(CACHE_PREFIX) - 1;
	return strncmp(name, CACHE_PREFIX, n) == 0 && strlen(name + n) == CACHE_DIGITS && strspn(name + n, "0123456789abcdef") == CACHE_DIGITS;
}

void cache_name(const char *key, char out[64])
{
	snprintf(out, 64, CACHE_PREFIX "%.*s", (int)CACHE_DIGITS, key);
}

int cache_load(struct build *b)
{
	int code = remote_ask(&b->r, "GET", "/images", NULL, &b->images);
	if (code)
		return code;
	if (b->images.status >= 300) {
		code = remote_refused(&b->r, EXIT_FAIL, b->images.status, &b->images.text, "cannot list images");
		answer_done(&b->images);
		return code;
	}
	b->have_images = true;
	return 0;
}

const char *cache_find(const struct build *b, const char *key)
{
	const struct json_val *root = b->have_images && b->images.json.v ? json_root(&b->images.json) : NULL;
	char wanted[64];
	cache_name(key, wanted);
	for (const struct json_val *im = json_first(root); im; im = json_next(root, im)) {
		const struct json_val *names = json_get(im, "names");
		for (const struct json_val *n = json_first(names); n; n = json_next(names, n))
			if (json_str(n) && strcmp(json_str(n), wanted) == 0)
				return json_text(im, "id", NULL);
	}
	return NULL;
}

/* ---- base images ---- */

/* The built-in image changes with the daemon's version alone. */
static int builtin(struct build *b, char id[64], struct fault *f)
{
	struct answer an;
	b->remote_code = remote_ask(&b->r, "GET", "/info", NULL, &an);
	if (b->remote_code)
		return fault_set(f, -EIO, "the daemon does not answer");
	const struct json_val *v = an.json.v ? json_root(&an.json) : NULL;
	snprintf(id, 64, "min %.18s %.40s", json_text(v, "version", "?"), json_text(v, "git_commit", "?"));
	answer_done(&an);
	return 0;
}

static int take_list(const struct json_val *report, const char *key, struct df_list *to)
{
	const struct json_val *list = json_get(report, key);
	int err = 0;
	for (const struct json_val *v = json_first(list); v && !err; v = json_next(list, v))
		if (json_str(v))
			err = df_list_adds(to, json_str(v));
	return err;
}

static int take_text(const struct json_val *report, const char *key, char **to)
{
	const char *s = json_text(report, key, "");
	*to = *s ? strdup(s) : NULL;
	return *s && !*to ? -ENOMEM : 0;
}

static int take_report(const struct json_val *report, struct df_config *c)
{
	static const char *const keys[] = { "env", "entrypoint", "cmd", "exposed", "volumes", "shell" };
	struct df_list *const lists[] = { &c->env, &c->entrypoint, &c->cmd, &c->exposed, &c->volumes, &c->shell };
	const struct json_val *labels = json_get(report, "labels");
	int err = 0;
	for (size_t i = 0; i < ARRAY_LEN(keys) && !err; i++)
		err = take_list(report, keys[i], lists[i]);
	for (const struct json_val *v = json_first(labels); v && !err; v = json_next(labels, v))
		if (json_str(v) && v->key && !strchr(v->key, '='))
			err = df_list_set(&c->labels, v->key, json_str(v));
	if (!err)
		err = take_text(report, "workdir", &c->workdir);
	if (!err)
		err = take_text(report, "user", &c->user);
	if (!err)
		err = take_text(report, "stop_signal", &c->stop_signal);
	return err ? err : take_text(report, "healthcheck", &c->healthcheck);
}

int cache_base(void *arg_build, const char *name, struct df_config *into, char id[64], struct fault *f)
{
	struct build *b = arg_build;
	struct answer an;
	struct buf target;
	int err = 0;
	if (strcmp(name, "min") == 0)
		return builtin(b, id, f);
	buf_init(&target, 4096);
	buf_adds(&target, "/images/");
	http_escape(&target, name);
	if (!buf_cstr(&target))
		err = -ENOENT;
	else if ((b->remote_code = remote_ask(&b->r, "GET", buf_cstr(&target), NULL, &an)))
		err = fault_set(f, -EIO, "the daemon does not answer");
	buf_done(&target);
	if (err)
		return err;
	const struct json_val *v = an.json.v ? json_root(&an.json) : NULL;
	if (an.status == 404)
		err = -ENOENT;
	else if (an.status >= 300 || !*json_text(v, "id", ""))
		err = fault_set(f, -EIO, "the daemon does not tell what image '%.100s' is (HTTP %d)", name, an.status);
	if (!err) {
		snprintf(id, 64, "%s", json_text(v, "id", ""));
		err = take_report(json_get(v, "report"), into) ? fault_set(f, -ENOMEM, "image '%.100s' remembers too much", name) : 0;
		if ((uint64_t)json_int(v, "size_bytes") > b->disk_bytes) {
			if (arg_text(b->a, "size"))
				err = fault_set(f, -EFBIG, "--size is less than the disk of image '%.100s': leave it out, or give %lld at least", name, (long long)json_int(v, "size_bytes"));
			b->disk_bytes = (uint64_t)json_int(v, "size_bytes");
		}
	}
	answer_done(&an);
	return err;
}

/* ---- the report ---- */

static void put_list(struct json_out *o, const char *key, const struct df_list *l)
{
	json_arr(o, key);
	for (unsigned i = 0; i < l->n; i++)
		json_put_str(o, NULL, l->s[i]);
	json_end(o);
}

static void put_text(struct json_out *o, const char *key, const char *s)
{
	json_put_str(o, key, s ? s : "");
}

void cache_report(struct buf *out, const struct df_config *c, const char *key, bool systemd)
{
	struct json_out o;
	char digest[80];
	buf_init(out, REPORT_BYTES_MAX);
	json_out_init(&o, out);
	snprintf(digest, sizeof(digest), "sha256:%s", key);
	json_obj(&o, NULL);
	put_text(&o, "format", "build");
	put_text(&o, "digest", digest);
	put_text(&o, "build", digest);
	put_text(&o, "architecture", "amd64");
	put_text(&o, "workdir", c->workdir);
	put_text(&o, "user", c->user);
	put_text(&o, "stop_signal", c->stop_signal);
	put_text(&o, "healthcheck", c->healthcheck);
	put_list(&o, "env", &c->env);
	put_list(&o, "entrypoint", &c->entrypoint);
	put_list(&o, "cmd", &c->cmd);
	put_list(&o, "exposed", &c->exposed);
	put_list(&o, "volumes", &c->volumes);
	put_list(&o, "shell", &c->shell);
	json_obj(&o, "labels");
	for (unsigned i = 0; i < c->labels.n; i++) {
		const char *eq = strchr(c->labels.s[i], '=');
		char *name = eq ? strndup(c->labels.s[i], (size_t)(eq - c->labels.s[i])) : NULL;
		if (name)
			json_put_str(&o, name, eq + 1);
		free(name);
	}
	json_end(&o);
	json_put_bool(&o, "systemd", systemd);
	json_end(&o);
}
