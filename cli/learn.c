#include "cli/learn.h"
#include "cli/answer.h"
#include "cli/out.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_VALUES_MAX 256u

static struct learned *place(struct learning *l, const char *entry)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].entry, entry))
			return &l->v[i];
	if (l->n == LEARN_MAX)
		return NULL;
	struct learned *more = realloc(l->v, (l->n + 1) * sizeof(*more));
	if (!more)
		return NULL;
	l->v = more;
	more[l->n] = (struct learned){ .rule = "" };
	snprintf(more[l->n].entry, sizeof(more[l->n].entry), "%s", entry);
	return &more[l->n++];
}

/* Does it look like a name or address? What stands in the record came from a guest, and goes into a file for the daemon. */
static bool clean(const char *s)
{
	size_t n = strlen(s);
	return n && n < 254 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-_") == n;
}

static bool entry_of(const struct json_val *v, char *dst, size_t cap)
{
	const char *addr = json_text(v, "dst", ""), *name = json_text(v, "name", ""), *proto = json_text(v, "proto", "");
	int64_t port = json_int(v, "dport");
	bool ports = !strcmp(proto, "tcp") || !strcmp(proto, "udp");
	const char *host = clean(name) && !strchr(name, ':') ? name : addr;
	if (!clean(host))
		return false;
	if (ports && port > 0 && port < 65536)
		snprintf(dst, cap, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, (int)port);
	else
		snprintf(dst, cap, "%s", host);
	return true;
}

static void note(struct learning *l, const char *entry, const struct json_val *v, bool asked)
{
	struct learned *x = place(l, entry);
	const char *rule = json_text(v, "rule", "?");
	if (!x) {
		l->left_out++;
		return;
	}
	x->times++;
	x->asked = asked;
	x->denied = !strcmp(json_text(v, "verdict", ""), "denied");
	x->builtin = x->denied && !strncmp(rule, "builtin:", 8);
	out_clean(x->rule, sizeof(x->rule), rule);
}

void learn_line(struct learning *l, const char *line, size_t n)
{
	char entry[sizeof(l->v->entry)];
	if (!n || json_parse_next(&l->mem, line, n, LINE_VALUES_MAX, NULL) || json_root(&l->mem)->kind != JSON_OBJECT)
		return;
	const struct json_val *v = json_root(&l->mem);
	const char *event = json_text(v, "event", "");
	if (!strcmp(event, "gap"))
		l->left_out += (uint64_t)json_int(v, "lost");
	else if ((!strcmp(event, "start") || !strcmp(event, "denied")) && entry_of(v, entry, sizeof(entry)))
		note(l, entry, v, false);
	else if (!strcmp(event, "dns") && !json_get(v, "dst") && clean(json_text(v, "name", "")) && strchr(json_text(v, "name", ""), '.'))
		note(l, json_text(v, "name", ""), v, true);
}

void learn_done(struct learning *l)
{
	free(l->v);
	json_done(&l->mem);
	*l = (struct learning){ 0 };
}

static int by_entry(const void *a, const void *b)
{
	const struct learned *x = a, *y = b;
	return strcmp(x->entry, y->entry);
}

/* A flow to that name? "example.com" begins "example.com:443". */
static bool has_flow(const struct learning *l, const char *name)
{
	size_t n = strlen(name);
	for (size_t i = 0; i < l->n; i++)
		if (!l->v[i].asked && !strncmp(l->v[i].entry, name, n) && (l->v[i].entry[n] == ':' || !l->v[i].entry[n]))
			return true;
	return false;
}

void learn_finish(struct learning *l)
{
	size_t kept = 0;
	for (size_t i = 0; i < l->n; i++) /* first told apart: has_flow() looks at all */
		if (l->v[i].asked && has_flow(l, l->v[i].entry))
			l->v[i].times = 0;
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].times)
			l->v[kept++] = l->v[i];
	l->n = kept;
	if (l->n)
		qsort(l->v, l->n, sizeof(*l->v), by_entry);
}

int learn_yaml(const struct learning *l, const char *vm, struct buf *out)
{
	size_t plain = 0;
	buf_printf(out, "# What %s tried, as its network record has it: look it over before it becomes a rule.\n", vm);
	if (l->left_out)
		buf_printf(out, "# The record lacks %llu lines: there may be more.\n", (unsigned long long)l->left_out);
	buf_adds(out, "network:\n  mode: isolated\n  allow:");
	for (size_t i = 0; i < l->n; i++)
		plain += !l->v[i].builtin;
	buf_adds(out, plain ? "\n" : " []\n");
	for (size_t i = 0; i < l->n; i++) {
		const struct learned *x = &l->v[i];
		buf_printf(out, "  %s- \"%s\"  # %s by %s, %llu times%s\n", x->builtin ? "# " : "", x->entry, x->denied ? "denied" : "allowed", x->rule,
			(unsigned long long)x->times, x->asked ? ", asked for only" : x->builtin ? "; take the # away to allow it" : "");
	}
	return out->failed ? -ENOMEM : 0;
}
