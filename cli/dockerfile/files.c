/* RUN, COPY, ADD, WORKDIR: instructions that change files. */
#include "cli/dockerfile/plan_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static struct df_op *op_new(struct planning *g, const struct df_step *s)
{
	struct df_op *more = realloc(g->s->op, (g->s->n + 1) * sizeof(*more)), *op;
	if (!more) {
		plan_no_memory(g);
		return NULL;
	}
	g->s->op = more;
	op = &more[g->s->n++];
	*op = (struct df_op){ .kind = s->kind, .line = s->line, .text = s->text, .chmod = -1, .from_stage = -1 };
	return op;
}

static const char *workdir(const struct planning *g)
{
	return g->s->config.workdir && g->s->config.workdir[0] ? g->s->config.workdir : "/";
}

int plan_shell(struct planning *g, struct df_list *argv, const char *script)
{
	const struct df_list *shell = &g->s->config.shell;
	int err = shell->n ? df_list_copy(argv, shell) : df_list_adds(argv, "/bin/sh");
	if (!err && !shell->n)
		err = df_list_adds(argv, "-c");
	if (!err)
		err = df_list_adds(argv, script);
	return err ? plan_no_memory(g) : 0;
}

/* ARGs, and over them ENV: a command sees both. */
static int run_env(struct planning *g, struct df_op *op)
{
	const struct df_list *both[] = { &g->args, &g->s->config.env };
	int err = 0;
	for (size_t k = 0; k < ARRAY_LEN(both); k++)
		for (unsigned i = 0; i < both[k]->n && !err; i++) {
			char *eq = strchr(both[k]->s[i], '=');
			if (!eq)
				continue;
			*eq = '\0';
			err = df_list_set(&op->env, both[k]->s[i], eq + 1);
			*eq = '=';
		}
	if (!err && !df_list_get(&op->env, "PATH", 4))
		err = df_list_set(&op->env, "PATH", PATH_DEFAULT);
	for (size_t i = 0; plan_proxies[i] && !err; i++) {
		size_t n = strlen(plan_proxies[i]);
		const char *v = df_list_get(g->ask->args, plan_proxies[i], n);
		if (v && !df_list_get(&op->env, plan_proxies[i], n))
			err = df_list_set(&op->unkeyed, plan_proxies[i], v);
	}
	return err ? plan_no_memory(g) : 0;
}

int take_run(struct planning *g, const struct df_step *s)
{
	const char *net = df_flag(s, "network");
	struct df_op *op;
	int err;
	if (net && strcmp(net, "none") != 0 && strcmp(net, "default") != 0)
		return df_refuse(g->d, s->line, g->f, "RUN --network=%.40s: none or default; 'mica image build --network GROUP' gives a build the network of a host group", net);
	if (s->json && !s->words.n)
		return df_refuse(g->d, s->line, g->f, "RUN [] names no program");
	op = op_new(g, s);
	if (!op)
		return -ENOMEM;
	op->no_network = net && strcmp(net, "none") == 0;
	err = s->json ? df_list_copy(&op->argv, &s->words) : plan_shell(g, &op->argv, s->rest);
	if (!err)
		err = plan_set(g, &op->user, strdup(g->s->config.user ? g->s->config.user : ""));
	if (!err)
		err = plan_set(g, &op->workdir, strdup(workdir(g)));
	return err ? err : run_env(g, op);
}

static bool is_url(const char *s)
{
	static const char *const begins[] = { "http://", "https://", "ftp://", "git://", "git@", "ssh://" };
	for (size_t i = 0; i < ARRAY_LEN(begins); i++)
		if (strncasecmp(s, begins[i], strlen(begins[i])) == 0)
			return true;
	return false;
}

/* Does a path lead above where it begins? */
static bool leads_out(const char *path)
{
	int depth = 0;
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.')
			depth--;
		else if (n && !(n == 1 && *p == '.'))
			depth++;
		if (depth < 0)
			return true;
		p += n + (p[n] == '/');
	}
	return false;
}

static int take_source(struct planning *g, const struct df_step *s, struct df_op *op, const char *given)
{
	char path[PATH_BYTES_MAX];
	bool other = op->from_stage >= 0 || op->from_image;
	if (is_url(given))
		return df_refuse(g->d, s->line, g->f, "%s of a URL is not supported: download it into the folder first (curl -O), and COPY it", s->kind == DF_ADD ? "ADD" : "COPY");
	if (!other && leads_out(given))
		return df_refuse(g->d, s->line, g->f, "'%.200s' leads out of the folder: only what is in it can be copied", given);
	if (other && strpbrk(given, "*?["))
		return df_refuse(g->d, s->line, g->f, "'%.200s': with --from there are no wildcards: name a file, or its folder", given);
	if (df_path("/", given, path, sizeof(path)))
		return df_refuse(g->d, s->line, g->f, "a path has at most %u bytes", PATH_BYTES_MAX - 1);
	return df_list_adds(&op->sources, path[1] ? path + 1 : ".") ? plan_no_memory(g) : 0;
}

static int take_dest(struct planning *g, const struct df_step *s, struct df_op *op, const char *given)
{
	char path[PATH_BYTES_MAX + 1];
	size_t n = strlen(given), len;
	bool folder = !n || given[n - 1] == '/' || strcmp(given, ".") == 0 || strcmp(given, "..") == 0 || (n > 1 && strcmp(given + n - 2, "/.") == 0);
	if (df_path(workdir(g), given, path, PATH_BYTES_MAX))
		return df_refuse(g->d, s->line, g->f, "a path has at most %u bytes", PATH_BYTES_MAX - 1);
	if (op->sources.n > 1 && !folder)
		return df_refuse(g->d, s->line, g->f, "several sources go into a folder: end '%.200s' with a '/'", given);
	len = strlen(path);
	if (folder && path[len - 1] != '/')
		memcpy(path + len, "/", 2);
	return plan_set(g, &op->dest, strdup(path));
}

static int take_copy_flags(struct planning *g, const struct df_step *s, struct df_op *op)
{
	const char *chown = df_flag(s, "chown"), *chmod = df_flag(s, "chmod"), *from = df_flag(s, "from");
	char *w;
	int err = 0;
	if (from && !*from)
		return df_refuse(g->d, s->line, g->f, "--from= names a stage or an image");
	if (from) {
		op->from_stage = plan_stage(g->p, (unsigned)(g->s - g->p->stage), from);
		if (op->from_stage < 0)
			err = plan_set(g, &op->from_image, strdup(from));
	}
	if (!err && chown) {
		err = plan_set(g, &op->chown, plan_expand(g, s, chown, false));
		if (!err && (!*op->chown || *op->chown == ':'))
			err = df_refuse(g->d, s->line, g->f, "--chown=USER or --chown=USER:GROUP");
	}
	if (err || !chmod)
		return err;
	w = plan_expand(g, s, chmod, false);
	if (!w)
		return -EINVAL;
	if (strspn(w, "01234567") != strlen(w) || !*w || strlen(w) > 5 || strtoul(w, NULL, 8) > 07777)
		err = df_refuse(g->d, s->line, g->f, "--chmod=%.40s: it takes octal digits, as --chmod=0755", w);
	else
		op->chmod = (int)strtoul(w, NULL, 8);
	free(w);
	return err;
}

int take_copy(struct planning *g, const struct df_step *s)
{
	struct df_list w = { 0 };
	struct df_op *op = NULL;
	int err = plan_words(g, s, &w);
	if (!err && w.n < 2)
		err = df_refuse(g->d, s->line, g->f, "%s needs a source and a destination", s->kind == DF_ADD ? "ADD" : "COPY");
	if (!err && !(op = op_new(g, s)))
		err = -ENOMEM;
	if (!err)
		err = take_copy_flags(g, s, op);
	for (unsigned i = 0; !err && i + 1 < w.n; i++)
		err = take_source(g, s, op, w.s[i]);
	if (!err)
		err = take_dest(g, s, op, w.s[w.n - 1]);
	df_list_done(&w);
	return err;
}

int take_workdir(struct planning *g, const struct df_step *s)
{
	char path[PATH_BYTES_MAX], *w = plan_one_word(g, s, "WORKDIR");
	struct df_op *op;
	int err;
	if (!w)
		return -EINVAL;
	err = df_path(workdir(g), w, path, sizeof(path));
	free(w);
	if (err)
		return df_refuse(g->d, s->line, g->f, "a path has at most %u bytes", PATH_BYTES_MAX - 1);
	err = plan_set(g, &g->s->config.workdir, strdup(path));
	if (err || strcmp(path, "/") == 0)
		return err;
	op = op_new(g, s);
	return op ? plan_set(g, &op->dest, strdup(path)) : -ENOMEM;
}

