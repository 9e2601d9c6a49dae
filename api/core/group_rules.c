/*
 * Rules of a whole host group while it has VMs. Those of a group that the API made stand among its keys (groups.c). Over those of the daemon's file the
 * API's stand in groups/<name>.rules of the state folder: format, then "allow ENTRY" and "drop ENTRY", a line each, both lists whole; they hold from start to
 * start until they are given back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/core/gate.h"
#include "api/core/groups.h"
#include "api/core/policy.h"

#define FORMAT "mica-rules 1"
#define SUFFIX ".rules"
#define FILE_NAME_MAX (GROUP_NAME_MAX + sizeof(SUFFIX))
#define FILE_BYTES_MAX (4u * POLICY_LIST_BYTES_MAX)

static const char *const words[2] = { [POLICY_ALLOW] = "allow ", [POLICY_DROP] = "drop " };

static const char *file_name(const char *group, char out[FILE_NAME_MAX])
{
	snprintf(out, FILE_NAME_MAX, "%.*s" SUFFIX, (int)GROUP_NAME_MAX, group);
	return out;
}

/* ---- the file ---- */

static int write_rules(const struct core *c, const char *group, const struct policy *p)
{
	char name[FILE_NAME_MAX], entry[POLICY_TEXT_MAX + 1];
	struct buf text;
	int err;

	buf_init(&text, FILE_BYTES_MAX);
	buf_printf(&text, FORMAT "\n");
	for (unsigned list = 0; list < 2; list++)
		for (size_t i = 0; i < p->n[list]; i++) {
			policy_entry_format(&p->list[list][i], entry);
			buf_printf(&text, "%s%s\n", words[list], entry);
		}
	err = text.failed ? -EFBIG : write_file_atomic(c->groups_fd, file_name(group, name), buf_data(&text), buf_len(&text), 0600);
	buf_done(&text);
	return err;
}

static int unlink_rules(const struct core *c, const char *group)
{
	char name[FILE_NAME_MAX];

	if (unlinkat(c->groups_fd, file_name(group, name), 0))
		return errno == ENOENT ? 0 : -errno;
	return fsync(c->groups_fd) ? -errno : 0;
}

static int take_line(struct policy *p, const char *line, struct fault *f)
{
	for (unsigned list = 0; list < 2; list++)
		if (strncmp(line, words[list], strlen(words[list])) == 0)
			return policy_add(p, (enum policy_list)list, line + strlen(words[list]), f);
	return fault_set(f, -EINVAL, "'%.40s' is no rule", line);
}

/* 0, -ENOENT, or what is wrong with it in f. */
static int read_rules(const struct core *c, const char *group, struct policy *out, struct fault *f)
{
	char name[FILE_NAME_MAX], *text, *save = NULL, *line;
	size_t n;
	int err = read_file_at(c->groups_fd, file_name(group, name), FILE_BYTES_MAX, &text, &n);

	if (err)
		return err == -ENOENT ? err : fault_errno(f, err, name);
	line = strlen(text) == n ? strtok_r(text, "\n", &save) : NULL;
	if (!line || strcmp(line, FORMAT) != 0)
		err = fault_set(f, -EINVAL, "it was not written by this version of mica");
	while (!err && (line = strtok_r(NULL, "\n", &save)))
		err = take_line(out, line, f);
	free(text);
	if (err)
		policy_done(out);
	return err;
}

void group_rules_load(struct core *c)
{
	for (size_t i = 0; i < c->config.n_groups; i++) {
		struct host_group *g = &c->config.groups[i];
		struct policy kept = { 0 };
		struct fault f = { "" };
		int err = g->by_api ? -ENOENT : read_rules(c, g->name, &kept, &f);

		if (!err)
			err = group_rules_fit(g, &kept, &f);
		if (err == -ENOENT)
			continue;
		if (err) {
			core_say(c, "NOTE", "host group '%s': the rules that the API gave it cannot be used, those of the file hold: %s", g->name, f.text);
			policy_done(&kept);
			continue;
		}
		g->said = g->policy;
		g->policy = kept;
		g->rules_kept = true;
		core_say(c, "NOTE", "host group '%s': allow and drop are those that the API gave, not the file's ('mica policy set --group %s --reset' gives them back)",
			 g->name, g->name);
	}
}

/* ---- changing ---- */

bool policy_same(const struct policy *a, const struct policy *b)
{
	char one[POLICY_TEXT_MAX + 1], other[POLICY_TEXT_MAX + 1];

	for (unsigned list = 0; list < 2; list++) {
		if (a->n[list] != b->n[list])
			return false;
		for (size_t i = 0; i < a->n[list]; i++) {
			policy_entry_format(&a->list[list][i], one);
			policy_entry_format(&b->list[list][i], other);
			if (strcmp(one, other) != 0)
				return false;
		}
	}
	return true;
}

int group_rules_set(struct core *c, struct host_group *g, const struct policy *p)
{
	struct policy fresh = { 0 };
	int err = policy_copy_list(&fresh, p, POLICY_ALLOW);

	if (!err)
		err = policy_copy_list(&fresh, p, POLICY_DROP);
	if (!err)
		err = write_rules(c, g->name, p);
	if (err) {
		policy_done(&fresh);
		return err;
	}
	if (g->rules_kept)
		policy_done(&g->policy);
	else
		g->said = g->policy;
	g->policy = fresh;
	g->rules_kept = true;
	return 0;
}

int group_rules_reset(struct core *c, struct host_group *g)
{
	int err = g->rules_kept ? unlink_rules(c, g->name) : 0;

	if (err || !g->rules_kept)
		return err;
	policy_done(&g->policy);
	g->policy = g->said;
	g->said = (struct policy){ 0 };
	g->rules_kept = false;
	return 0;
}

/* ---- to its VMs ---- */

struct spreading {
	unsigned waiting;
	struct fault f; /* the first that went wrong */
	void (*done)(void *arg, const struct fault *f);
	void *arg;
};

static void one_less(void *arg, const struct fault *f)
{
	struct spreading *s = arg;

	if (f && f->text[0] && !s->f.text[0])
		s->f = *f;
	if (--s->waiting)
		return;
	s->done(s->arg, &s->f);
	free(s);
}

int group_rules_spread(struct core *c, const struct host_group *g, void (*done)(void *, const struct fault *), void *arg)
{
	struct spreading *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	*s = (struct spreading){ .waiting = 1, .done = done, .arg = arg };
	for (struct vm *vm = c->reg.first; vm; vm = vm->next) {
		struct fault f = { "" };
		int err;

		if (vm->group != g || (vm->r.allow && vm->r.drop)) /* both of its own: nothing changes */
			continue;
		policy_load(vm);
		s->waiting++;
		err = gate_policy_changed(vm, one_less, s);
		if (err) {
			fault_errno(&f, err, vm->r.name);
			one_less(s, &f);
		}
	}
	one_less(s, NULL);
	return 0;
}
