/* Instructions that change no file: what the image remembers of them. */
#include "cli/dockerfile/plan_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ENV and LABEL: NAME=VALUE…, or NAME and the rest of the line. */
static int take_pairs(struct planning *g, const struct df_step *s, struct df_list *to)
{
	struct df_list raw = { 0 }, fresh = { 0 };
	const char *what = s->kind == DF_ENV ? "ENV" : "LABEL";
	int err = plan_split(g, s, &raw);
	bool old = !err && raw.n && !strchr(raw.s[0], '=');
	for (unsigned i = 0; i < raw.n && !err && !(old && i); i++) {
		char *eq = strchr(raw.s[i], '=');
		size_t n = strcspn(s->rest, " \t");
		const char *value = old ? s->rest + n + strspn(s->rest + n, " \t") : eq ? eq + 1 : NULL;
		char *k, *v;
		if (!value || (old && !*value)) {
			err = df_refuse(g->d, s->line, g->f, "%s takes NAME=VALUE, with quotes around a VALUE that has blanks", what);
			break;
		}
		if (!old)
			*eq = '\0';
		k = plan_expand(g, s, raw.s[i], false);
		v = k ? plan_expand(g, s, value, false) : NULL;
		if (!v)
			err = -EINVAL;
		else if (!*k || strchr(k, '='))
			err = df_refuse(g->d, s->line, g->f, "%s: a name is empty or has a '='", what);
		else
			err = df_list_set(&fresh, k, v) ? plan_no_memory(g) : 0;
		free(k);
		free(v);
	}
	for (unsigned i = 0; i < fresh.n && !err; i++) { /* none of them sees another of the same line */
		char *eq = strchr(fresh.s[i], '=');
		*eq = '\0';
		err = df_list_set(to, fresh.s[i], eq + 1) ? plan_no_memory(g) : 0;
	}
	df_list_done(&raw);
	df_list_done(&fresh);
	return err;
}

/* 80, 80/tcp, 8000-8010/udp. */
static bool port_is_valid(const char *s)
{
	char part[8];
	unsigned long v[2] = { 0, 0 };
	for (int i = 0; i < 2; i++) {
		size_t n = strspn(s, "0123456789");
		if (!n || n > 5)
			return false;
		memcpy(part, s, n);
		part[n] = '\0';
		v[i] = strtoul(part, NULL, 10);
		if (!v[i] || v[i] > 65535 || (i && v[1] < v[0]))
			return false;
		s += n;
		if (*s != '-' || i)
			break;
		s++;
	}
	return !*s || !strcasecmp(s, "/tcp") || !strcasecmp(s, "/udp") || !strcasecmp(s, "/sctp");
}

/* EXPOSE, VOLUME: a set of words; what a variable holds may be several. */
static int take_set(struct planning *g, const struct df_step *s, struct df_list *to)
{
	struct df_list w = { 0 }, parts = { 0 };
	int err = plan_words(g, s, &w);
	for (unsigned i = 0; i < w.n && !err; i++)
		err = s->json ? df_list_adds(&parts, w.s[i]) : df_split(w.s[i], g->d->escape, &parts) ? plan_no_memory(g) : 0;
	for (unsigned i = 0; i < parts.n && !err; i++) {
		char one[300];
		unsigned k = 0;
		if (s->kind == DF_EXPOSE && !port_is_valid(parts.s[i]))
			err = df_refuse(g->d, s->line, g->f, "EXPOSE '%.60s': a port is 80, 80/tcp or 8000-8010/udp", parts.s[i]);
		else if (s->kind == DF_VOLUME && !*parts.s[i])
			err = df_refuse(g->d, s->line, g->f, "VOLUME names no folder");
		if (err)
			break;
		snprintf(one, sizeof(one), "%.280s%s", parts.s[i], s->kind == DF_EXPOSE && !strchr(parts.s[i], '/') ? "/tcp" : "");
		while (k < to->n && strcmp(to->s[k], one) != 0)
			k++;
		if (k == to->n)
			err = df_list_adds(to, one) ? plan_no_memory(g) : 0;
	}
	df_list_done(&w);
	df_list_done(&parts);
	return err;
}

static int take_command(struct planning *g, const struct df_step *s)
{
	struct df_config *c = &g->s->config;
	struct df_list *to = s->kind == DF_CMD ? &c->cmd : s->kind == DF_SHELL ? &c->shell : &c->entrypoint;
	df_list_done(to);
	if (s->kind == DF_CMD)
		g->own_cmd = true;
	else if (s->kind == DF_ENTRYPOINT && !g->own_cmd)
		df_list_done(&c->cmd); /* the base's was made for the base's */
	if (!s->json)
		return plan_shell(g, to, s->rest);
	return df_list_copy(to, &s->words) ? plan_no_memory(g) : 0;
}

static int take_healthcheck(struct planning *g, const struct df_step *s)
{
	char *text = NULL;
	size_t n = strcspn(s->rest, " \t");
	bool none = n == 4 && strncasecmp(s->rest, "NONE", 4) == 0 && !s->rest[4];
	if (!none && (n != 3 || strncasecmp(s->rest, "CMD", 3) != 0 || !s->rest[n]))
		return df_refuse(g->d, s->line, g->f, "HEALTHCHECK [--interval=…] CMD command, or HEALTHCHECK NONE");
	if (none) {
		free(g->s->config.healthcheck);
		g->s->config.healthcheck = NULL;
		return 0;
	}
	text = strdup(s->text + strcspn(s->text, " \t") + 1);
	return plan_set(g, &g->s->config.healthcheck, text);
}

int take_words(struct planning *g, const struct df_step *s)
{
	struct df_config *c = &g->s->config;
	switch (s->kind) {
	case DF_ENV:
		return take_pairs(g, s, &c->env);
	case DF_LABEL:
		return take_pairs(g, s, &c->labels);
	case DF_USER:
		return plan_set(g, &c->user, plan_one_word(g, s, "USER"));
	case DF_STOPSIGNAL:
		return plan_set(g, &c->stop_signal, plan_one_word(g, s, "STOPSIGNAL"));
	case DF_EXPOSE:
		return take_set(g, s, &c->exposed);
	case DF_VOLUME:
		return take_set(g, s, &c->volumes);
	case DF_HEALTHCHECK:
		return take_healthcheck(g, s);
	default:
		return take_command(g, s);
	}
}
