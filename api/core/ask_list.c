/* Requests that only look. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "api/core/auth.h"
#include "api/core/disks.h"
#include "api/core/net.h"
#include "api/core/policy.h"

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

	if (in_group != -ENOENT && (in_group || !config_group(&c->config, group) || !token_sees(a->token, group))) {
		reply_err(c, a->id, 404, "no host group of that name: 'mica vm group' shows all");
		return;
	}
	if ((by_tag && by_tag != -ENOENT) || (by_prefix && by_prefix != -ENOENT) || (!by_tag && !by_prefix)) {
		reply_err(c, a->id, 400, "give either 'tag' or 'tag_prefix', of at most %u bytes", TAG_MAX);
		return;
	}
	for (const struct vm *vm = c->reg.first; vm; vm = vm->next) {
		if (vm->remove || !token_sees(a->token, vm->r.group) || (!in_group && strcmp(vm->r.group, group) != 0) ||
		    !tag_matches(vm, by_tag ? NULL : tag, by_prefix ? NULL : prefix))
			continue;
		node_put(peer_begin_reply(&c->front, C_ITEM, a->id), vm, false);
		if (peer_send(&c->front, NULL, 0)) { /* front's queue is full: a list with gaps would be a lie */
			reply_err(c, a->id, 503, "more is asked of the daemon than it can answer now: try again");
			return;
		}
	}
	reply_ok(c, a->id, NULL);
}

/* Besides the root disk. */
static void disks_put(struct buf *b, const struct vm *vm)
{
	for (unsigned i = 0; i < vm_n_disks(vm); i++) {
		const struct conf_disk *d = &vm->group->disks[i];
		size_t mark = wire_open(b, C_T_DISK);
		char dev[16];

		snprintf(dev, sizeof(dev), "/dev/vd%c", (int)('b' + i));
		wire_str(b, C_T_NAME, dev);
		wire_u64(b, C_T_SIZE, d->bytes);
		wire_u64(b, C_T_PLAIN, d->read_only);
		if (d->file.fd >= 0)
			wire_str(b, C_T_TEXT, d->file.path);
		wire_close(b, mark);
	}
}

/* stats: what vmm says of itself; NULL: there is none, or it does not. */
static void describe(struct core *c, uint32_t id, const struct vm *vm, uint64_t streams, const struct wire_msg *stats)
{
	struct buf *b = peer_begin_reply(&c->front, WIRE_OK, id);

	node_put(b, vm, false);
	wire_str(b, C_T_STORAGE, vm->group ? vm->group->storage : "image");
	wire_str(b, C_T_IMAGE, vm->r.image);
	wire_str(b, C_T_NET_MODE, net_mode_of(vm));
	policy_put(b, vm);
	publish_put_faults(b, vm);
	wire_u64(b, C_T_OPEN_CONNS, streams);
	disks_put(b, vm);
	vm_disk_error_put(b, vm);
	if (vm->r.net_bytes_s)
		wire_u64(b, C_T_NET_BYTES_S, vm->r.net_bytes_s);
	if (vm->r.net_packets_s)
		wire_u64(b, C_T_NET_PACKETS_S, vm->r.net_packets_s);
	if (stats)
		net_put(b, stats, true);
	peer_send(&c->front, NULL, 0);
}

struct describing {
	struct vm *vm; /* borrowed: answers all its calls before it is freed */
	uint32_t id, who;
};

/* V_STATS' counter of that name, 0 when it is not there. */
static uint64_t counter(const struct wire_msg *m, const char *name)
{
	struct wire_iter it;
	struct wire_field f;
	struct wire_msg stat;
	char text[40];
	uint64_t v = 0;

	wire_iter_init(&it, m->p, m->n);
	while (wire_next(&it, &f)) { /* as many as the frame holds */
		if (f.tag == V_T_STAT && !wire_sub(&f, &stat) && !wire_get_str(&stat, V_T_NAME, text, sizeof(text)) && strcmp(text, name) == 0)
			return wire_get_u64(&stat, V_T_VALUE, &v) ? v : 0;
	}
	return 0;
}

static void on_stats(void *arg, const struct wire_msg *m, int *fds, unsigned n_fds)
{
	struct describing *d = arg;
	uint64_t streams = m ? counter(m, "vsock.streams") : 0;

	(void)fds; (void)n_fds;
	if (streams && d->vm->agent_fd >= 0) /* core's own: the hello stream */
		streams--;
	if (auth_still(d->vm->core, d->id, d->who))
		describe(d->vm->core, d->id, d->vm, streams, m);
	free(d);
}

/* A living VM is asked how many streams are open in it. */
void ask_describe(struct ask *a)
{
	struct describing *d = peer_there(&a->vm->vmm) ? malloc(sizeof(*d)) : NULL;

	if (d) {
		*d = (struct describing){ a->vm, a->id, a->who };
		peer_begin(&a->vm->vmm, V_STATS);
		if (!peer_call(&a->vm->vmm, NULL, 0, on_stats, d))
			return;
		free(d);
	}
	describe(a->core, a->id, a->vm, 0, NULL);
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
