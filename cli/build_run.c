/* Stages, one VM at a time: what is cached is passed over, the rest done in a builder, and what others will want again is kept on the way. */
#include "cli/answer.h"
#include "cli/build.h"
#include "cli/out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int make_stage(struct build *b, unsigned i);

/* Archives of what COPY --from copies, taken before the stage's own builder starts: one VM at a time. */
struct fetched {
	int fd;
	bool single;
};

static int fetch(struct build *b, const struct df_op *op, struct fetched *out)
{
	int code = op->from_stage >= 0 ? make_stage(b, (unsigned)op->from_stage) : 0;
	if (code)
		return code;
	code = guest_start(b, op->from_stage >= 0 ? b->stage[op->from_stage].from : op->from_image);
	for (unsigned i = 0; i < op->sources.n && !code; i++)
		code = guest_pack(b, op->sources.s[i], &out[i].fd, &out[i].single);
	guest_drop(b);
	return code;
}

static int do_op(struct build *b, unsigned i, unsigned k, const struct fetched *in)
{
	const struct df_op *op = &b->plan.stage[i].op[k];
	int status = 0, code = 0;
	if (op->kind == DF_RUN)
		code = guest_run(b, op, &status);
	else if (op->kind == DF_WORKDIR)
		code = guest_folder(b, op);
	else if (!in)
		code = guest_copy(b, op, &b->stage[i].picks[k]);
	for (unsigned n = 0; in && n < op->sources.n && !code; n++)
		code = guest_place(b, op, in[n].fd, in[n].single);
	if (!code && status)
		code = say_failed(b, op, status);
	return code;
}

/* How many of the stage's steps are in the store, and the image that holds them. */
static unsigned cached_steps(const struct build *b, unsigned i, const char **id)
{
	const struct df_stage *s = &b->plan.stage[i];
	*id = NULL;
	for (unsigned k = s->n; k > 0 && !arg_flag(b->a, "no-cache", false); k--)
		if ((*id = cache_find(b, b->stage[i].key[k])))
			return k;
	return 0;
}

static void say_cached(struct build *b, unsigned i, unsigned n, bool all)
{
	const struct df_stage *s = &b->plan.stage[i];
	char from[300];
	snprintf(from, sizeof(from), "FROM %.200s", s->image);
	say_step(b, s, s->line, from, all || n);
	for (unsigned k = 0; k < n; k++)
		say_step(b, s, s->op[k].line, s->op[k].text, true);
}

static int run_steps(struct build *b, unsigned i, unsigned from, struct fetched **in)
{
	const struct df_stage *s = &b->plan.stage[i];
	char name[64];
	int code = 0;
	for (unsigned k = from; k < s->n && !code; k++) {
		say_step(b, s, s->op[k].line, s->op[k].text, false);
		code = do_op(b, i, k, in[k]);
		if (!code && s->op[k].kind == DF_RUN && k + 1 < s->n) { /* the others are done again as quickly as they would be found */
			cache_name(b->stage[i].key[k + 1], name);
			code = guest_checkpoint(b, name);
		}
		if (!code)
			say_done(b);
	}
	return code;
}

/* What its builder begins with. */
static int stage_from(struct build *b, unsigned i, const char *cached, char from[64])
{
	const struct df_stage *s = &b->plan.stage[i];
	int code = 0;
	if (!cached && s->base == DF_STAGE)
		code = make_stage(b, (unsigned)s->base_stage);
	snprintf(from, 64, "%s", cached ? cached : s->base == DF_SCRATCH ? "" : s->base == DF_STAGE ? b->stage[s->base_stage].from : strncmp(s->base_id, "min ", 4) ? s->base_id : "min");
	return code;
}

/* Its archives, its builder, its steps; the builder stays. */
static int build_stage(struct build *b, unsigned i, unsigned from_step, const char *cached)
{
	const struct df_stage *s = &b->plan.stage[i];
	struct fetched **in = calloc(s->n + 1, sizeof(*in));
	char from[64];
	int code = in ? stage_from(b, i, cached, from) : out_error(EXIT_FAIL, strerror(ENOMEM), "free some memory", "cannot build");
	for (unsigned k = from_step; in && k < s->n && !code; k++) {
		const struct df_op *op = &s->op[k];
		if (op->from_stage < 0 && !op->from_image)
			continue;
		in[k] = calloc(op->sources.n, sizeof(**in));
		for (unsigned n = 0; in[k] && n < op->sources.n; n++)
			in[k][n].fd = -1;
		code = in[k] ? fetch(b, op, in[k]) : out_error(EXIT_FAIL, strerror(ENOMEM), "free some memory", "cannot build");
	}
	if (!code) {
		say_cached(b, i, from_step, false);
		code = guest_start(b, from);
	}
	if (!code)
		code = run_steps(b, i, from_step, in);
	for (unsigned k = 0; in && k < s->n; k++) {
		for (unsigned n = 0; in[k] && n < s->op[k].sources.n; n++)
			fd_close(&in[k][n].fd);
		free(in[k]);
	}
	free(in);
	return code;
}

/* A stage that others need: its files become an image of the cache. */
static int make_stage(struct build *b, unsigned i)
{
	const struct df_stage *s = &b->plan.stage[i];
	struct build_stage *st = &b->stage[i];
	const char *cached;
	char name[64];
	const char *const names[] = { name, NULL };
	struct answer an;
	unsigned k;
	int code;
	if (st->made)
		return 0;
	k = cached_steps(b, i, &cached);
	if (k == s->n) { /* also a stage without steps: what it stands on */
		code = stage_from(b, i, cached, st->from);
		if (!code)
			say_cached(b, i, k, cached);
		st->made = !code;
		return code;
	}
	code = build_stage(b, i, k, cached);
	if (code)
		return code;
	cache_name(st->key[s->n], name);
	code = guest_keep(b, names, NULL, NULL, &an);
	if (code)
		return code;
	snprintf(st->from, sizeof(st->from), "%s", json_text(an.json.v ? json_root(&an.json) : NULL, "id", ""));
	answer_done(&an);
	st->made = true;
	return 0;
}

static int ask_image(const struct build *b, const char *id, const char *add, struct answer *an)
{
	struct remote r = b->r;
	struct json_out o;
	struct buf target, body;
	r.cancel_fd = -1;
	buf_init(&target, 512);
	buf_init(&body, 1024);
	buf_printf(&target, "/images/%s", id);
	json_out_init(&o, &body);
	json_obj(&o, NULL);
	json_put_str(&o, "add", add);
	json_end(&o);
	int code = remote_ask(&r, add ? "PATCH" : "GET", buf_cstr(&target), add ? &body : NULL, an);
	buf_done(&target);
	buf_done(&body);
	if (!code && an->status >= 300) {
		code = remote_refused(&r, EXIT_FAIL, an->status, &an->text, "cannot name the image");
		answer_done(an);
	}
	return code;
}

/* Names for what is there already. */
static int name_again(struct build *b, const char *id)
{
	struct answer an;
	const char *t;
	unsigned i = 0;
	int code = ask_image(b, id, NULL, &an);
	while (!code && (t = arg_next(b->a, "tag", &i))) {
		answer_done(&an);
		code = ask_image(b, id, t, &an);
	}
	if (code)
		return code;
	say_image(b, an.json.v ? json_root(&an.json) : NULL, b->image_key, true);
	answer_done(&an);
	return 0;
}

static int keep_result(struct build *b, bool new_files)
{
	const struct df_stage *s = &b->plan.stage[b->plan.target];
	const char *names[BUILD_NAMES_MAX + 3], *t;
	char image[64], files[64];
	struct answer an;
	unsigned n = 0, i = 0;
	while ((t = arg_next(b->a, "tag", &i)) && n < BUILD_NAMES_MAX)
		names[n++] = t;
	cache_name(b->image_key, image);
	names[n++] = image;
	cache_name(b->stage[b->plan.target].key[s->n], files);
	if (new_files)
		names[n++] = files;
	names[n] = NULL;
	int code = guest_keep(b, names, &s->config, b->image_key, &an);
	if (code)
		return code;
	say_image(b, an.json.v ? json_root(&an.json) : NULL, b->image_key, false);
	answer_done(&an);
	return 0;
}

int build_run(struct build *b)
{
	unsigned target = b->plan.target, k;
	const char *whole = arg_flag(b->a, "no-cache", false) ? NULL : cache_find(b, b->image_key), *cached;
	int code;
	k = cached_steps(b, target, &cached);
	if (whole) {
		b->steps = 1 + b->plan.stage[target].n;
		say_cached(b, target, b->plan.stage[target].n, true);
		return name_again(b, whole);
	}
	code = build_stage(b, target, k, cached);
	return code ? code : keep_result(b, k < b->plan.stage[target].n);
}
