/* A VM's tags. `name=<label>` is its friendly name: one at most, unique, set and removed by TAG_NAME (or at creation) only. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/core/auth.h"

#define NAME "name="

bool tag_names_vm_of(const char *tag, const char *group)
{
	size_t n = strlen(group);
	uint64_t number;

	if (strncmp(tag, NAME, strlen(NAME)) != 0)
		return false;
	tag += strlen(NAME);
	return strncmp(tag, group, n) == 0 && tag[n] == '-' && !parse_u64(tag + n + 1, UINT32_MAX, &number);
}

int tags_check_name(const struct ask *a, const struct vm *self, const char *tag, struct fault *f)
{
	const struct core *c = a->core;
	const char *label = tag + strlen(NAME);

	if (!name_is_valid(label, VM_NAME_MAX))
		return fault_set(f, -EINVAL, "a VM's name may hold a-z, 0-9 and '-' (not first or last), at most %u characters", VM_NAME_MAX);
	for (size_t i = 0; i < c->config.n_groups; i++)
		if (tag_names_vm_of(tag, c->config.groups[i].name))
			return fault_set(f, -EINVAL, "the name '%s' looks like a VM of host group '%s': choose another", label, c->config.groups[i].name);
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
		if (vm != self && !vm->remove && (strcmp(vm->r.name, label) == 0 || record_has_tag(&vm->r, tag)))
			return token_sees(a->token, vm->r.group) ?
			       fault_set(f, -EEXIST, "the name '%s' is taken by VM '%s': choose another [E_NAME_TAKEN]", label, vm->r.name) :
			       fault_set(f, -EEXIST, "the name '%s' is taken: choose another [E_NAME_TAKEN]", label);
	return 0;
}

static bool is_name(const char *tag)
{
	return strncmp(tag, NAME, strlen(NAME)) == 0;
}

static int copy_tags(struct record *to, const struct record *from, bool names_only)
{
	int err = 0;

	for (unsigned i = 0; i < from->n_tags && !err; i++)
		if (!names_only || is_name(from->tags[i]))
			err = record_add_tag(to, from->tags[i]);
	return err;
}

static int apply(struct record *r, uint16_t op, const char *tag, struct fault *f)
{
	int err;

	if (!tag || !tag_is_valid(tag, strlen(tag)))
		return fault_set(f, -EINVAL, "a tag must be 1 to %u bytes of UTF-8 text without control characters", TAG_MAX);
	if (is_name(tag))
		return fault_set(f, -EINVAL, "'name=' cannot be changed as a tag: use the field 'name'");
	if (op == C_T_REMOVE) {
		record_drop_tag(r, tag);
		return 0;
	}
	err = record_add_tag(r, tag);
	return err == -ENOSPC ? fault_set(f, -EINVAL, "at most %u tags are possible", TAGS_MAX) : err;
}

static int apply_name(const struct ask *a, struct record *r, struct fault *f)
{
	char label[VM_NAME_MAX + 1], tag[VM_NAME_MAX + 8];
	int err = wire_get_str(a->m, C_T_TAG_NAME, label, sizeof(label));

	if (err == -ENOENT)
		return 0;
	for (unsigned i = 0; i < r->n_tags;)
		if (is_name(r->tags[i]))
			record_drop_tag(r, r->tags[i]);
		else
			i++;
	if (!err && !label[0])
		return 0;
	snprintf(tag, sizeof(tag), NAME "%s", err ? "?" : label);
	err = tags_check_name(a, a->vm, tag, f);
	return err ? err : record_add_tag(r, tag);
}

static int apply_all(const struct ask *a, struct record *r, bool replace, struct fault *f)
{
	struct wire_iter it;
	struct wire_field fd;
	int err = 0;

	wire_iter_init(&it, a->m->p, a->m->n);
	while (!err && wire_next(&it, &fd)) {
		char *tag;

		if (fd.tag != C_T_ADD && fd.tag != C_T_REMOVE && fd.tag != C_T_REPLACE)
			continue;
		if ((fd.tag == C_T_REPLACE) != replace)
			return fault_set(f, -EINVAL, "give either 'replace' or 'add' and 'remove'");
		tag = wire_field_dup(&fd);
		err = apply(r, fd.tag, tag, f);
		free(tag);
	}
	return err ? err : apply_name(a, r, f);
}

/* All or nothing: a copy is changed, written, and only then put in place. */
static int change(struct ask *a, bool replace, struct fault *f)
{
	struct record next = a->vm->r;
	int err;

	memset(next.tags, 0, sizeof(next.tags));
	next.n_tags = 0;
	err = copy_tags(&next, &a->vm->r, replace);
	if (!err)
		err = apply_all(a, &next, replace, f);
	if (!err) {
		err = record_save(&next, a->vm->dir_fd, next.persistent || next.protected_);
		if (err)
			fault_errno(f, err, "the tags cannot be written");
	}
	if (!err) {
		struct record old = a->vm->r;

		a->vm->r = next;
		next = old;
	}
	for (unsigned i = 0; i < next.n_tags; i++) /* the rest of the record is shared with the other copy */
		free(next.tags[i]);
	return err;
}

void ask_tags(struct ask *a)
{
	struct fault f = { "" };
	struct wire_field fd;
	uint64_t all = 0;
	bool replace = wire_get(a->m, C_T_REPLACE, &fd) || (wire_get_u64(a->m, C_T_REPLACE_ALL, &all) && all);
	bool changes = replace || wire_get(a->m, C_T_ADD, &fd) || wire_get(a->m, C_T_REMOVE, &fd) || wire_get(a->m, C_T_TAG_NAME, &fd);
	int err;
	struct buf *b;

	if (changes && !auth_has(a, SCOPE_VM))
		return;
	err = changes && a->vm->state == VM_MAKING ? -EBUSY : changes ? change(a, replace, &f) : 0;
	if (err) {
		reply_err(a->core, a->id, err == -EINVAL ? 400 : err == -EEXIST || err == -EBUSY ? 409 : 500, "%s",
			  f.text[0] ? f.text : strerror(-err));
		return;
	}
	b = peer_begin_reply(&a->core->front, WIRE_OK, a->id);
	for (unsigned i = 0; i < a->vm->r.n_tags; i++)
		wire_str(b, C_T_TAG, a->vm->r.tags[i]);
	peer_send(&a->core->front, NULL, 0);
}
