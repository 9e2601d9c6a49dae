/* From instructions to stages: which are needed, on what they stand, what each step does with every variable in its place. */
#include "cli/dockerfile/plan_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const platform[][2] = { { "TARGETPLATFORM", "linux/amd64" }, { "TARGETOS", "linux" }, { "TARGETARCH", "amd64" }, { "TARGETVARIANT", "" },
	{ "BUILDPLATFORM", "linux/amd64" }, { "BUILDOS", "linux" }, { "BUILDARCH", "amd64" }, { "BUILDVARIANT", "" } };
const char *const plan_proxies[] = { "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
	NULL };

int plan_no_memory(const struct planning *g)
{
	return fault_set(g->f, -ENOMEM, "out of memory");
}

/* A word with its variables and quotes resolved; caller frees. NULL after a sentence. */
char *plan_expand(struct planning *g, const struct df_step *s, const char *word, bool global)
{
	struct df_scope scope = { .first = global ? &g->global : &g->s->config.env, .second = global ? NULL : &g->args, .escape = g->d->escape };
	struct fault own = { "" };
	struct buf b;
	char *out = NULL;
	int err;
	buf_init(&b, DF_VALUE_MAX);
	err = df_expand(word, &scope, &b, &own);
	if (err || !buf_cstr(&b)) {
		df_refuse(g->d, s->line, g->f, "%s", own.text[0] ? own.text : "a value is too long");
	} else {
		out = strdup(buf_cstr(&b));
		if (!out)
			plan_no_memory(g);
	}
	buf_done(&b);
	return out;
}

int plan_split(struct planning *g, const struct df_step *s, struct df_list *out)
{
	int err = s->json ? df_list_copy(out, &s->words) : df_split(s->rest, g->d->escape, out);
	return err ? df_refuse(g->d, s->line, g->f, "%s", err == -EINVAL ? "a quote is not closed" : "too many words") : 0;
}

/* The instruction's words, expanded. */
int plan_words(struct planning *g, const struct df_step *s, struct df_list *out)
{
	struct df_list raw = { 0 };
	int err = plan_split(g, s, &raw);
	for (unsigned i = 0; i < raw.n && !err; i++) {
		char *w = plan_expand(g, s, raw.s[i], false);
		err = w ? df_list_adds(out, w) : -EINVAL;
		free(w);
	}
	df_list_done(&raw);
	return err;
}

/* One word that must be there, expanded. NULL after a sentence. */
char *plan_one_word(struct planning *g, const struct df_step *s, const char *what)
{
	char *w = plan_expand(g, s, s->rest, false);
	if (w && !*w) {
		df_refuse(g->d, s->line, g->f, "%s is empty", what);
		free(w);
		return NULL;
	}
	return w;
}

int plan_set(struct planning *g, char **at, char *taken)
{
	free(*at);
	*at = taken;
	return taken ? 0 : g->f->text[0] ? -EINVAL : plan_no_memory(g);
}

/* ---- FROM, and which stages count ---- */

int plan_stage(const struct df_plan *p, unsigned before, const char *name)
{
	uint64_t number;
	for (unsigned i = before; i-- > 0;)
		if (p->stage[i].name[0] && strcasecmp(p->stage[i].name, name) == 0)
			return (int)i;
	return parse_u64(name, UINT32_MAX, &number) == 0 && number < before ? (int)number : -1;
}

static bool stage_name_is_valid(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
	return n == strlen(s) && n && n < 128 && ((s[0] | 32) >= 'a' && (s[0] | 32) <= 'z') && strcasecmp(s, "scratch") != 0;
}

static int take_platform(struct planning *g, const struct df_step *s)
{
	const char *flag = df_flag(s, "platform");
	char *w = flag ? plan_expand(g, s, flag, true) : NULL;
	int err = 0;
	if (flag && !w)
		return -EINVAL;
	if (w && strcmp(w, "linux/amd64") != 0 && strcmp(w, "linux/x86_64") != 0 && *w)
		err = df_refuse(g->d, s->line, g->f, "--platform=%.60s: images are built for linux/amd64 only", w);
	free(w);
	return err;
}

static int take_from(struct planning *g, const struct df_step *s)
{
	struct df_plan *p = g->p;
	struct df_list w = { 0 };
	struct df_stage *stage;
	int err = take_platform(g, s), at;
	if (!err)
		err = plan_split(g, s, &w);
	if (!err && w.n != 1 && !(w.n == 3 && strcasecmp(w.s[1], "AS") == 0))
		err = df_refuse(g->d, s->line, g->f, "FROM IMAGE, or FROM IMAGE AS NAME");
	if (!err && p->n == DF_STAGES_MAX)
		err = df_refuse(g->d, s->line, g->f, "more than %u stages", DF_STAGES_MAX);
	if (!err && w.n == 3 && !stage_name_is_valid(w.s[2]))
		err = df_refuse(g->d, s->line, g->f, "'%.60s': a stage is named by letters, digits and '_.-', a letter first", w.s[2]);
	if (err) {
		df_list_done(&w);
		return err;
	}
	stage = &p->stage[p->n];
	stage->line = s->line;
	stage->name = strdup(w.n == 3 ? w.s[2] : "");
	stage->image = plan_expand(g, s, w.s[0], true);
	df_list_done(&w);
	p->n++;
	if (!stage->name)
		return plan_no_memory(g);
	if (!stage->image)
		return -EINVAL;
	if (!stage->image[0])
		return df_refuse(g->d, s->line, g->f, "FROM names no image: its variable is empty");
	at = plan_stage(p, p->n - 1, stage->image);
	if (at >= 0 && strspn(stage->image, "0123456789") == strlen(stage->image))
		at = -1; /* FROM 0 is an image; only --from counts stages */
	stage->base_stage = at;
	stage->base = at >= 0 ? DF_STAGE : strcmp(stage->image, "scratch") == 0 ? DF_SCRATCH : DF_IMAGE;
	return 0;
}

static int declare(struct planning *g, const char *name)
{
	return df_list_set(&g->declared, name, "");
}

/* ARG NAME or NAME=VALUE: what it is for this build. to: where it is kept. */
static int take_arg(struct planning *g, const struct df_step *s, bool global)
{
	struct df_list raw = { 0 };
	int err = plan_split(g, s, &raw);
	for (unsigned i = 0; i < raw.n && !err; i++) {
		char *eq = strchr(raw.s[i], '='), *own = NULL;
		size_t n = eq ? (size_t)(eq - raw.s[i]) : strlen(raw.s[i]);
		const char *value;
		if (!df_name_is_valid(raw.s[i], n)) {
			err = df_refuse(g->d, s->line, g->f, "ARG NAME or ARG NAME=VALUE: a name has letters, digits and '_'");
			break;
		}
		if (eq && !(own = plan_expand(g, s, eq + 1, global))) {
			err = -EINVAL;
			break;
		}
		raw.s[i][n] = '\0';
		value = df_list_get(g->ask->args, raw.s[i], n);
		if (!value)
			value = own ? own : global ? NULL : df_list_get(&g->global, raw.s[i], n);
		err = declare(g, raw.s[i]);
		if (!err && value)
			err = df_list_set(global ? &g->global : &g->args, raw.s[i], value);
		free(own);
		if (err)
			plan_no_memory(g);
	}
	df_list_done(&raw);
	return err;
}

static int outline(struct planning *g)
{
	const struct df_file *d = g->d;
	int err = 0;
	for (size_t i = 0; i < ARRAY_LEN(platform) && !err; i++)
		err = df_list_set(&g->global, platform[i][0], platform[i][1]) ? plan_no_memory(g) : 0;
	for (unsigned i = 0; i < d->n && !err; i++) {
		const struct df_step *s = &d->step[i];
		if (s->kind == DF_FROM) {
			err = take_from(g, s);
			if (!err) {
				g->first[g->p->n - 1] = i + 1;
				g->end[g->p->n - 1] = d->n;
				if (g->p->n > 1)
					g->end[g->p->n - 2] = i;
			}
		} else if (!g->p->n) {
			err = s->kind == DF_ARG ? take_arg(g, s, true) : df_refuse(d, s->line, g->f, "a Dockerfile begins with FROM; only ARG may stand before it");
		}
	}
	return err || g->p->n ? err : df_refuse(d, 1, g->f, "there is no FROM: write FROM scratch, FROM min or the name of an image");
}

static int choose(struct planning *g)
{
	struct df_plan *p = g->p;
	int at = g->ask->target ? plan_stage(p, p->n, g->ask->target) : (int)p->n - 1;
	if (at < 0)
		return fault_set(g->f, -ENOENT, "%s: no stage is called '%.100s': FROM … AS %.100s makes one", g->d->name, g->ask->target, g->ask->target);
	p->target = (unsigned)at;
	p->stage[at].needed = true;
	for (unsigned i = (unsigned)at + 1; i-- > 0;) { /* a stage refers to earlier ones only */
		if (!p->stage[i].needed)
			continue;
		if (p->stage[i].base == DF_STAGE)
			p->stage[p->stage[i].base_stage].needed = true;
		for (unsigned k = g->first[i]; k < g->end[i]; k++) {
			const char *from = g->d->step[k].kind == DF_COPY ? df_flag(&g->d->step[k], "from") : NULL;
			int other = from ? plan_stage(p, i, from) : -1;
			if (other >= 0)
				p->stage[other].needed = true;
		}
	}
	return 0;
}

/* ---- stages ---- */

static int take(struct planning *g, const struct df_step *s)
{
	switch (s->kind) {
	case DF_RUN:
		return take_run(g, s);
	case DF_COPY:
	case DF_ADD:
		return take_copy(g, s);
	case DF_WORKDIR:
		return take_workdir(g, s);
	case DF_ARG:
		return take_arg(g, s, false);
	default:
		return take_words(g, s);
	}
}


static int take_base(struct planning *g)
{
	struct df_stage *s = g->s;
	int err;
	if (s->base == DF_STAGE)
		return df_config_copy(&s->config, &g->p->stage[s->base_stage].config) ? plan_no_memory(g) : 0;
	if (s->base == DF_SCRATCH)
		return 0;
	err = g->ask->image(g->ask->arg, s->image, &s->config, s->base_id, g->f);
	if (err == -ENOENT)
		return df_refuse(g->d, s->line, g->f, "FROM '%.200s': the store has no such image: 'mica image list' shows all, 'mica image import' makes one; FROM min and FROM scratch are always there",
				 s->image);
	return err;
}

static int walk(struct planning *g, unsigned i)
{
	int err;
	g->s = &g->p->stage[i];
	df_list_done(&g->args);
	g->own_cmd = false;
	err = take_base(g);
	for (unsigned k = g->first[i]; k < g->end[i] && !err; k++)
		err = take(g, &g->d->step[k]);
	return err;
}

static int find_unused(struct planning *g)
{
	for (unsigned i = 0; i < g->ask->args->n; i++) {
		const char *a = g->ask->args->s[i];
		size_t n = strcspn(a, "="), k = 0;
		while (plan_proxies[k] && (strlen(plan_proxies[k]) != n || strncmp(plan_proxies[k], a, n) != 0))
			k++;
		if (!plan_proxies[k] && !df_list_get(&g->declared, a, n) && df_list_add(&g->p->unused, a, n))
			return plan_no_memory(g);
	}
	return 0;
}

int df_plan(struct df_plan *p, const struct df_file *d, const struct df_ask *ask, struct fault *f)
{
	struct fault own = { "" };
	struct planning *g = calloc(1, sizeof(*g));
	int err;
	*p = (struct df_plan){ .stage = calloc(DF_STAGES_MAX, sizeof(struct df_stage)) };
	if (!g || !p->stage) {
		free(g);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	*g = (struct planning){ .p = p, .d = d, .ask = ask, .f = f ? f : &own };
	err = outline(g);
	if (!err)
		err = choose(g);
	for (unsigned i = 0; i < p->n && !err; i++)
		if (p->stage[i].needed)
			err = walk(g, i);
	if (!err)
		err = find_unused(g);
	if (err && !g->f->text[0])
		fault_set(g->f, err, "%s: %s", d->name, strerror(-err));
	df_list_done(&g->global);
	df_list_done(&g->declared);
	df_list_done(&g->args);
	free(g);
	return err;
}

static void op_done(struct df_op *op)
{
	df_list_done(&op->argv);
	df_list_done(&op->env);
	df_list_done(&op->unkeyed);
	df_list_done(&op->sources);
	free(op->user);
	free(op->workdir);
	free(op->dest);
	free(op->chown);
	free(op->from_image);
}

void df_plan_done(struct df_plan *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		struct df_stage *s = &p->stage[i];
		for (unsigned k = 0; k < s->n; k++)
			op_done(&s->op[k]);
		free(s->op);
		free(s->name);
		free(s->image);
		df_config_done(&s->config);
	}
	free(p->stage);
	df_list_done(&p->unused);
	*p = (struct df_plan){ 0 };
}
