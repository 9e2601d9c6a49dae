/* Requests that only look. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "api/core/requests.h"

#ifndef MICA_GIT_COMMIT
#define MICA_GIT_COMMIT ""
#endif

void ask_info(struct ask *a)
{
	struct buf *b = peer_begin_reply(&a->core->front, WIRE_OK, a->id);

	wire_str(b, C_T_VERSION, MICA_VERSION);
	wire_str(b, C_T_GIT_COMMIT, MICA_GIT_COMMIT);
	wire_str(b, C_T_ARCH, "amd64");
	peer_send(&a->core->front, NULL, 0);
}

void ask_auth(struct ask *a)
{
	reply_ok(a->core, a->id, NULL);
}

void ask_groups(struct ask *a)
{
	struct core *c = a->core;

	for (size_t i = 0; i < c->config.n_groups; i++) {
		const struct host_group *g = &c->config.groups[i];
		struct buf *b = peer_begin_reply(&c->front, C_ITEM, a->id);
		unsigned count = 0;

		for (const struct vm *vm = c->reg.first; vm; vm = vm->next)
			count += !vm->remove && strcmp(vm->r.group, g->name) == 0;
		wire_str(b, C_T_NAME, g->name);
		wire_u64(b, C_T_COUNT, count);
		wire_u64(b, C_T_RAM_BYTES, g->ram_bytes);
		wire_u64(b, C_T_CPUS, g->vcpus);
		wire_str(b, C_T_ARCH, "x86_64");
		wire_u64(b, C_T_GPU_COUNT, 0);
		peer_send(&c->front, NULL, 0);
	}
	reply_ok(c, a->id, NULL);
}

static bool tag_matches(const struct vm *vm, const char *tag, const char *prefix)
{
	if (tag)
		return record_has_tag(&vm->r, tag);
	if (!prefix)
		return true;
	for (unsigned i = 0; i < vm->r.n_tags; i++)
		if (strncmp(vm->r.tags[i], prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

void ask_nodes(struct ask *a)
{
	struct core *c = a->core;
	char group[VM_NAME_MAX + 1], tag[TAG_MAX + 1], prefix[TAG_MAX + 1];
	int in_group = wire_get_str(a->m, C_T_GROUP, group, sizeof(group));
	int by_tag = wire_get_str(a->m, C_T_TAG, tag, sizeof(tag)), by_prefix = wire_get_str(a->m, C_T_TAG_PREFIX, prefix, sizeof(prefix));

	if (in_group != -ENOENT && (in_group || !config_group(&c->config, group))) {
		reply_err(c, a->id, 404, "no host group of that name: 'mica vm group' shows all");
		return;
	}
	if ((by_tag && by_tag != -ENOENT) || (by_prefix && by_prefix != -ENOENT) || (!by_tag && !by_prefix)) {
		reply_err(c, a->id, 400, "give either 'tag' or 'tag_prefix', of at most %u bytes", TAG_MAX);
		return;
	}
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next) {
		if (vm->remove || (!in_group && strcmp(vm->r.group, group) != 0) ||
		    !tag_matches(vm, by_tag ? NULL : tag, by_prefix ? NULL : prefix))
			continue;
		node_put(peer_begin_reply(&c->front, C_ITEM, a->id), vm, false);
		peer_send(&c->front, NULL, 0);
	}
	reply_ok(c, a->id, NULL);
}

void ask_describe(struct ask *a)
{
	struct buf *b = peer_begin_reply(&a->core->front, WIRE_OK, a->id);

	node_put(b, a->vm, false);
	wire_str(b, C_T_STORAGE, a->vm->group ? a->vm->group->storage : "image");
	wire_str(b, C_T_IMAGE, a->vm->r.image);
	wire_str(b, C_T_NET_MODE, a->vm->r.ip[0] ? "bridge" : "none");
	peer_send(&a->core->front, NULL, 0);
}

void ask_logs(struct ask *a)
{
	AUTO_FD fd = openat(a->vm->dir_fd, "console.log", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);

	if (fd >= 0)
		reply_fd(a->core, a->id, fd);
	else
		reply_err(a->core, a->id, errno == ENOENT ? 404 : 500, "VM '%s' has no console log yet: %s", a->name, strerror(errno));
}

void ask_ready(struct ask *a)
{
	struct buf *b = peer_begin_reply(&a->core->front, WIRE_OK, a->id);

	wire_u64(b, C_T_READY, a->vm->ready);
	peer_send(&a->core->front, NULL, 0);
}
