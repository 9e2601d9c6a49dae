/* One request of front in hand, and the functions that answer each type (lib/wire/core.h says what each may hold). */
#ifndef API_CORE_REQUESTS_H
#define API_CORE_REQUESTS_H

#include "api/core/req.h"

struct ask {
	struct core *core;
	const struct wire_msg *m; /* borrowed */
	uint32_t id;
	struct vm *vm;            /* when the row says that it names one */
	char name[VM_NAME_MAX + 1];
	const struct token *token; /* borrowed, until a token changes; NULL: it may do everything */
	uint32_t who;             /* its serial; 0 */
};

/* ask_list.c */
void ask_info(struct ask *a);
void ask_auth(struct ask *a);
void ask_nodes(struct ask *a);
void ask_describe(struct ask *a);
void ask_logs(struct ask *a);
void ask_ready(struct ask *a);
/* ask_groups.c */
void ask_groups(struct ask *a);
void ask_group_create(struct ask *a);
void ask_group_change(struct ask *a);
void ask_group_delete(struct ask *a);
struct host_group;
struct yaml_doc;
struct config_notes;
/* Its keys with that patch over them (taken), checked, kept, and g is so from now on; notes may be NULL. false: refused, and answered. */
bool group_apply(struct ask *a, struct host_group *g, struct yaml_doc *patch_taken, struct config_notes *notes);
/* ask_group_rules.c */
void ask_group_policy(struct ask *a);
/* ask_create.c */
void ask_create(struct ask *a);
void ask_relaunch(struct ask *a);
/* What a request wishes of a new VM (C_CREATE, C_FORK): each takes some fields of it. 0, or -errno with a sentence and wish_status(err). */
struct tag_list {
	char *v[TAGS_MAX]; /* owned */
	unsigned n;
};
void tag_list_done(struct tag_list *t);
struct policy_lists;
int wish_tags(const struct ask *a, struct tag_list *out, struct fault *f);
int wish_sizes(const struct ask *a, struct vm_wish *w, struct fault *f);
int wish_rules(const struct ask *a, struct vm_wish *w, struct policy_lists *l, struct fault *f);
int wish_secrets(const struct ask *a, struct vm_wish *w, struct buf *names, struct fault *f);
int wish_wait(const struct ask *a, enum req_goal *goal, uint64_t *timeout_ms, struct fault *f);
unsigned wish_status(int err);
/* The launch ends before there is a VM; or it begins, and is answered when the goal is reached. */
void wish_refuse(const struct ask *a, const struct vm_wish *w, unsigned status, const char *text);
void wish_begin(const struct ask *a, struct vm_wish *w, enum req_goal goal, uint64_t timeout_ms);
/* ask_commits.c */
void ask_commit(struct ask *a);
void ask_commit_list(struct ask *a);
void ask_fork(struct ask *a);
void ask_commit_delete(struct ask *a);
/* ask_act.c */
void ask_delete(struct ask *a);
void ask_shutdown(struct ask *a);
void ask_connect(struct ask *a);
void ask_pause(struct ask *a);
void ask_resume(struct ask *a);
void ask_daemon_shutdown(struct ask *a);
/* ask_secrets.c */
void ask_secret_list(struct ask *a);
void ask_secret_put(struct ask *a);
void ask_secret_patch(struct ask *a);
void ask_secret_delete(struct ask *a);
/* ask_tokens.c */
void ask_token_list(struct ask *a);
void ask_token_create(struct ask *a);
void ask_token_revoke(struct ask *a);
/* ask_metrics.c */
void ask_metrics(struct ask *a);
/* ask_policy.c */
void ask_policy(struct ask *a);
void ask_explain(struct ask *a);
void ask_net_log(struct ask *a);
/* ask_net.c */
void ask_net(struct ask *a);
/* What a network card does to packets, from a reply of vmm into one to front. only_chaos: nothing when it does nothing. */
void net_put(struct buf *b, const struct wire_msg *from_vmm, bool only_chaos);
/* An item VM GROUP COUNTER* of each VM whose process answers within a second, then done. */
void net_gather(struct ask *a, void (*done)(struct core *c, uint32_t id));
/* ask_disks.c */
void ask_disk_list(struct ask *a);
void ask_disk_df(struct ask *a);
void ask_disk_grow(struct ask *a);
void ask_disk_export(struct ask *a);
void ask_disk_sparsify(struct ask *a);
/* ask_images.c */
void ask_image_list(struct ask *a);
void ask_image_get(struct ask *a);
void ask_image_export(struct ask *a);
void ask_image_name(struct ask *a);
void ask_image_delete(struct ask *a);
void ask_image_keep(struct ask *a);
void ask_builder(struct ask *a);
void builder_group(struct host_group *g); /* the host group of all builders */
/* ask_tags.c */
void ask_tags(struct ask *a);
/* Is `name=<value>` a good friendly name that nobody else has? 0, or -EINVAL, -EEXIST with a sentence. */
bool tag_names_vm_of(const char *tag, const char *group); /* `name=<group>-<n>` */
int tags_check_name(const struct ask *a, const struct vm *self, const char *tag, struct fault *f);

#endif
