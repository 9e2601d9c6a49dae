/* image list, inspect, tag, remove: the store of root file systems that host groups name. */
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/image.h"
#include "cli/out.h"
#include "cli/remote.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 256u

static const struct opt list_opts[] = {
	{ "all", 'a', OPT_FLAG, NULL, "also the steps that builds keep" },
	{ "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" },
	{ 0 },
};
static const struct opt json_opts[] = { { "json", 0, OPT_FLAG, NULL, "print the daemon's JSON" }, { 0 } };

/* One request about the store; the caller ends *an when 0 is returned. */
static int ask(const struct remote *r, const char *method, const char *name, const struct buf *body, struct answer *an, const char *doing)
{
	struct buf target;
	buf_init(&target, 4096);
	buf_adds(&target, "/images");
	if (name) {
		buf_adds(&target, "/");
		http_escape(&target, name);
	}
	int code = remote_ask(r, method, buf_cstr(&target), body, an);
	buf_done(&target);
	if (code || an->status < 300)
		return code;
	code = remote_refused(r, EXIT_FAIL, an->status, &an->text, doing);
	answer_done(an);
	return code;
}

/* The name behind `at` (NULL: the first) that a person gave, or with all any; *found is where it stands, for the next. */
static const char *next_name(const struct json_val *names, const struct json_val *at, bool all, const struct json_val **found)
{
	for (at = at ? json_next(names, at) : json_first(names); at; at = json_next(names, at))
		if (json_str(at) && (all || !cache_name_is(json_str(at)))) {
			if (found)
				*found = at;
			return json_str(at);
		}
	return NULL;
}

void image_print(const struct json_val *v)
{
	char name[NAME_MAX_BYTES] = "", size[WORDS_MAX];
	const char *first = next_name(json_get(v, "names"), NULL, false, NULL);
	if (first)
		out_clean(name, sizeof(name), first);
	printf("%s %s, %s on disk\n", name[0] ? name : "-", json_text(v, "id", "-"), words_bytes((uint64_t)json_int(v, "stored_bytes"), size));
}

static int run_list(struct args *a)
{
	static const char *const titles[] = { "NAME", "ID", "DISK", "STORED", "AGE", "VMS" };
	struct remote r;
	struct answer an;
	struct table t;
	char w[3][WORDS_MAX], name[NAME_MAX_BYTES];
	int code = remote_init(&r, a);
	if (!code)
		code = ask(&r, "GET", NULL, NULL, &an, "cannot list images");
	if (code)
		return code;
	if (answer_as_json(a, &an)) {
		answer_done(&an);
		return 0;
	}
	table_init(&t, ARRAY_LEN(titles), titles);
	const struct json_val *root = an.json.v ? json_root(&an.json) : NULL;
	for (const struct json_val *v = json_first(root); v; v = json_next(root, v)) {
		const struct json_val *names = json_get(v, "names"), *at = NULL;
		bool all = arg_flag(a, "all", false);
		const char *n = next_name(names, NULL, all, &at);
		if (!n && json_first(names))
			continue; /* a step that a build keeps */
		do { /* a row for each name, one without when there is none */
			out_clean(name, sizeof(name), n ? n : "-");
			table_cell(&t, "%s", name);
			table_cell(&t, "%s", json_text(v, "id", "-"));
			table_cell(&t, "%s", words_bytes((uint64_t)json_int(v, "size_bytes"), w[0]));
			table_cell(&t, "%s", words_bytes((uint64_t)json_int(v, "stored_bytes"), w[1]));
			table_cell(&t, "%s", words_age(rfc3339_age_s(json_text(v, "created_at", "")), w[2]));
			table_cell(&t, "%lld", (long long)json_int(v, "vms"));
		} while (n && (n = next_name(names, at, all, &at)));
	}
	answer_done(&an);
	return table_print(&t, stdout) ? EXIT_FAIL : 0;
}

static int run_inspect(struct args *a)
{
	struct remote r;
	struct answer an;
	int code = remote_init(&r, a);
	if (!code)
		code = ask(&r, "GET", a->pos[0], NULL, &an, "cannot inspect the image");
	if (code)
		return code;
	fwrite(buf_data(&an.text), 1, buf_len(&an.text), stdout);
	if (buf_len(&an.text) && buf_data(&an.text)[buf_len(&an.text) - 1] != '\n')
		putchar('\n');
	answer_done(&an);
	return 0;
}

static int run_tag(struct args *a)
{
	struct remote r;
	struct answer an;
	struct json_out o;
	struct buf body;
	int code = remote_init(&r, a);
	if (code)
		return code;
	buf_init(&body, 4096);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_put_str(&o, "add", a->pos[1]);
	json_end(&o);
	code = ask(&r, "PATCH", a->pos[0], &body, &an, "cannot name the image");
	buf_done(&body);
	if (code)
		return code;
	if (!answer_as_json(a, &an))
		image_print(json_root(&an.json));
	answer_done(&an);
	return 0;
}

static int run_remove(struct args *a)
{
	struct remote r;
	struct answer an;
	char text[300];
	int code = remote_init(&r, a);
	for (int i = 0; i < a->n_pos && !code; i++) {
		code = ask(&r, "DELETE", a->pos[i], NULL, &an, "cannot remove the image");
		if (code)
			break;
		out_clean(text, sizeof(text), json_text(an.json.v ? json_root(&an.json) : NULL, "message", "removed"));
		printf("%s: %s\n", a->pos[i], text);
		answer_done(&an);
	}
	return code;
}

/* A name that a build keeps; others of the image stay. *bytes grows by what is free then. */
static int prune_name(const struct remote *r, const struct json_val *image, const char *name, uint64_t *bytes)
{
	struct answer an;
	struct buf target;
	char text[1024];
	buf_init(&target, 1024);
	buf_adds(&target, "/images/");
	http_escape(&target, name);
	int code = remote_ask(r, "DELETE", buf_cstr(&target), NULL, &an);
	buf_done(&target);
	if (code)
		return code;
	if (an.status == 409) { /* a VM stands on it */
		remote_error_text(&an.text, text, sizeof(text));
		out_note("note: %s stays: %s", json_text(image, "id", "?"), text);
	} else if (an.status >= 300 && an.status != 404) {
		code = remote_refused(r, EXIT_FAIL, an.status, &an.text, "cannot remove a step");
	} else if (strstr(json_text(an.json.v ? json_root(&an.json) : NULL, "message", ""), "image was removed")) {
		*bytes += (uint64_t)json_int(image, "stored_bytes");
	}
	answer_done(&an);
	return code;
}

/* An image that a later build took the names from. */
static int prune_nameless(const struct remote *r, const struct json_val *image, uint64_t *bytes)
{
	const char *id = json_text(image, "id", "");
	struct answer an;
	int code = ask(r, "GET", id, NULL, &an, "cannot inspect the image");
	if (code)
		return code;
	bool built = strcmp(json_text(json_get(an.json.v ? json_root(&an.json) : NULL, "report"), "format", ""), "build") == 0;
	answer_done(&an);
	return built ? prune_name(r, image, id, bytes) : 0;
}

static int run_prune(struct args *a)
{
	struct remote r;
	struct answer an;
	uint64_t bytes = 0;
	char w[WORDS_MAX];
	int code = remote_init(&r, a);
	if (!code)
		code = ask(&r, "GET", NULL, NULL, &an, "cannot list images");
	if (code)
		return code;
	const struct json_val *root = an.json.v ? json_root(&an.json) : NULL;
	for (const struct json_val *v = json_first(root); v && !code; v = json_next(root, v)) {
		const struct json_val *names = json_get(v, "names");
		if (!json_first(names))
			code = prune_nameless(&r, v, &bytes);
		for (const struct json_val *n = json_first(names); n && !code; n = json_next(names, n))
			if (json_str(n) && cache_name_is(json_str(n)))
				code = prune_name(&r, v, json_str(n), &bytes);
	}
	answer_done(&an);
	if (!code)
		printf("%s freed\n", words_bytes(bytes, w));
	return code;
}

const struct cmd cmd_image_prune = {
	.group = "image", .name = "prune", .synopsis = "", .summary = "remove the steps that builds keep, and built images without a name", .examples = "mica image prune",
	.max_pos = 0, .command_at = -1, .flags = CMD_REMOTE, .run = run_prune,
};
const struct cmd cmd_image_list = {
	.group = "image", .name = "list", .aliases = "ls l", .synopsis = "", .summary = "images of the store", .opts = list_opts, .examples = "mica image list",
	.max_pos = 0, .command_at = -1, .flags = CMD_REMOTE, .run = run_list,
};
const struct cmd cmd_image_inspect = {
	.group = "image", .name = "inspect", .synopsis = "IMAGE", .summary = "one image as JSON, with what its archive said", .examples = "mica image inspect web:1",
	.min_pos = 1, .max_pos = 1, .command_at = -1, .flags = CMD_REMOTE, .run = run_inspect,
};
const struct cmd cmd_image_tag = {
	.group = "image", .name = "tag", .synopsis = "IMAGE NAME[:TAG]", .summary = "give an image one more name", .opts = json_opts, .examples = "mica image tag web:1 web:stable",
	.min_pos = 2, .max_pos = 2, .command_at = -1, .flags = CMD_REMOTE, .run = run_tag,
};
const struct cmd cmd_image_remove = {
	.group = "image", .name = "remove", .aliases = "rm delete", .synopsis = "IMAGE…", .summary = "remove a name, with the last one the image",
	.examples = "mica image remove web:1", .min_pos = 1, .max_pos = -1, .command_at = -1, .flags = CMD_REMOTE, .run = run_remove,
};
