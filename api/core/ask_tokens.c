/* Requests about named tokens. A token's text leaves core once, in the answer to its creation. */
#include <errno.h>
#include <string.h>

#include "api/core/auth.h"

_Static_assert(TOKEN_GROUP_NAME_MAX == GROUP_NAME_MAX, "a token may be limited to any host group");

static void token_put(struct buf *b, const struct token *t, const struct quota *used)
{
	wire_str(b, C_T_NAME, t->name);
	for (unsigned bit = 1; bit <= SCOPE_ADMIN; bit <<= 1)
		if (t->scopes & bit)
			wire_str(b, C_T_SCOPE, scope_name(bit));
	for (unsigned i = 0; i < t->n_groups; i++)
		wire_str(b, C_T_GROUP, t->groups[i]);
	for (int i = 0; i < Q_N; i++) {
		if (!t->quota.v[i])
			continue;
		size_t mark = wire_open(b, C_T_QUOTA);
		wire_str(b, C_T_NAME, quota_keys[i]);
		wire_u64(b, C_T_COUNT, t->quota.v[i]);
		wire_u64(b, C_T_SIZE, used->v[i]);
		wire_close(b, mark);
	}
	wire_u64(b, C_T_CREATED_NS, t->created_ns);
	if (t->expires_ns)
		wire_u64(b, C_T_EXPIRES_NS, t->expires_ns);
	if (t->used_ns)
		wire_u64(b, C_T_LAST_USED_NS, t->used_ns);
	wire_u64(b, C_T_EXPIRED, token_is_over(t, now_real_ns()));
}

void ask_token_list(struct ask *a)
{
	const struct tokens *t = &a->core->tokens;

	for (unsigned i = 0; i < t->n; i++) {
		struct quota used = { { 0 } };

		if (quota_given(&t->list[i].quota))
			used = vm_quota_used(a->core, NULL, t->list[i].name);
		token_put(peer_begin_reply(&a->core->front, C_ITEM, a->id), &t->list[i], &used);
		peer_send(&a->core->front, NULL, 0);
	}
	reply_ok(a->core, a->id, NULL);
}

static int take_name(const struct ask *a, struct token *t, struct fault *f)
{
	if (wire_get_str(a->m, C_T_NAME, t->name, sizeof(t->name)) || !token_name_is_valid(t->name))
		return fault_set(f, -EINVAL, "a token's name holds A-Z, a-z, 0-9, '.', '_' and '-', at most %u of them, and begins with no dot", TOKEN_NAME_MAX);
	return 0;
}

static int take_group(const struct ask *a, const struct wire_field *fd, struct token *t, struct fault *f)
{
	char *name = t->groups[t->n_groups];

	if (t->n_groups == TOKEN_GROUPS_MAX)
		return fault_set(f, -EINVAL, "a token is limited to at most %u host groups", TOKEN_GROUPS_MAX);
	if (!fd->n || fd->n > TOKEN_GROUP_NAME_MAX || memchr(fd->p, 0, fd->n))
		return fault_set(f, -EINVAL, "'groups' holds what cannot be a host group: 'mica vm group' shows all");
	memcpy(name, fd->p, fd->n);
	name[fd->n] = 0;
	if (!config_group(&a->core->config, name))
		return fault_set(f, -EINVAL, "there is no host group of a name in 'groups': 'mica vm group' shows all");
	t->n_groups++;
	return 0;
}

static int take_quota(const struct wire_field *fd, struct token *t, struct fault *f)
{
	char key[16] = "";
	struct wire_msg inside;
	uint64_t n = 0;
	int i = wire_sub(fd, &inside) || wire_get_str(&inside, C_T_NAME, key, sizeof(key)) ? -1 : quota_find(key, strlen(key));

	if (i < 0)
		return fault_set(f, -EINVAL, "a quota is one of max_vms, max_vcpus, max_ram, max_disk");
	if (!wire_get_u64(&inside, C_T_COUNT, &n) || !n || n > INT64_MAX)
		return fault_set(f, -EINVAL, "'%s' must be more than 0: leave it out for no limit", quota_keys[i]);
	t->quota.v[i] = n;
	return 0;
}

/* Every SCOPE, GROUP and QUOTA of the request. */
static int take_limits(const struct ask *a, struct token *t, struct fault *f)
{
	struct wire_iter it;
	struct wire_field fd;
	int err = 0;

	wire_iter_init(&it, a->m->p, a->m->n);
	while (!err && wire_next(&it, &fd)) { /* as many as the frame holds */
		unsigned scope = fd.tag == C_T_SCOPE ? scope_parse((const char *)fd.p, fd.n) : 0;

		t->scopes |= scope;
		if (fd.tag == C_T_SCOPE && !scope)
			err = fault_set(f, -EINVAL, "a scope is one of read, vm, exec, files, net, admin");
		else if (fd.tag == C_T_GROUP)
			err = take_group(a, &fd, t, f);
		else if (fd.tag == C_T_QUOTA)
			err = take_quota(&fd, t, f);
	}
	if (!err && !t->scopes)
		return fault_set(f, -EINVAL, "a token needs a scope: read, vm, exec, files, net, admin");
	if (!err && t->scopes & SCOPE_ADMIN && t->n_groups)
		return fault_set(f, -EINVAL, "scope 'admin' is for the whole daemon: leave the host groups out, or the scope");
	if (!err && t->scopes & SCOPE_ADMIN && quota_given(&t->quota))
		return fault_set(f, -EINVAL, "scope 'admin' can make tokens without quotas: leave the quotas out, or the scope");
	return err;
}

static int take_end(const struct ask *a, struct token *t, struct fault *f)
{
	uint64_t now = now_real_ns(), ms;

	if (wire_get_u64(a->m, C_T_LIFE_MS, &ms))
		t->expires_ns = ms && ms <= TOKEN_LIFE_MAX_NS / 1000000 ? now + ms * 1000000 : UINT64_MAX;
	else if (!wire_get_u64(a->m, C_T_EXPIRES_NS, &t->expires_ns))
		return 0;
	if (t->expires_ns <= now || t->expires_ns - now > TOKEN_LIFE_MAX_NS)
		return fault_set(f, -EINVAL, "'expires' must lie ahead, and within ten years");
	return 0;
}

static void refuse(struct ask *a, const char *name, int err)
{
	struct core *c = a->core;

	if (err == -EEXIST)
		reply_err(c, a->id, 409, "there is a token '%s' already: revoke it, or choose another name [E_NAME_TAKEN]", name);
	else if (err == -ENOSPC && c->tokens.n == TOKENS_MAX)
		reply_err(c, a->id, 507, "there are %u tokens already: revoke one", TOKENS_MAX);
	else if (err == -EROFS)
		reply_err(c, a->id, 409, "this daemon lives for one 'mica run': it keeps no tokens");
	else
		reply_err(c, a->id, err == -ENOSPC || err == -EDQUOT ? 507 : 500, "token '%s' could not be written: %s", name, strerror(-err));
}

void ask_token_create(struct ask *a)
{
	struct token want = { .n_groups = 0 };
	char text[TOKEN_TEXT_BYTES + 1];
	const struct token *made;
	struct quota used;
	struct fault f = { "" };
	struct buf *b;
	int err = take_name(a, &want, &f);

	if (!err)
		err = take_limits(a, &want, &f);
	if (!err)
		err = take_end(a, &want, &f);
	if (err) {
		reply_err(a->core, a->id, 400, "%s", f.text);
		return;
	}
	err = tokens_add(&a->core->tokens, &want, text, &made);
	if (err) {
		refuse(a, want.name, err);
		return;
	}
	used = vm_quota_used(a->core, NULL, made->name);
	b = peer_begin_reply(&a->core->front, WIRE_OK, a->id);
	token_put(b, made, &used);
	wire_str(b, C_T_TOKEN, text);
	explicit_bzero(text, sizeof(text));
	peer_send(&a->core->front, NULL, 0);
	auth_watch(a->core);
}

void ask_token_revoke(struct ask *a)
{
	struct core *c = a->core;
	struct token wanted = { .n_groups = 0 }, gone;
	struct token *t = take_name(a, &wanted, NULL) ? NULL : tokens_find(&c->tokens, wanted.name);
	int err;

	if (!t) {
		reply_err(c, a->id, 404, "no token is named '%s': 'mica token list' shows all", token_name_is_valid(wanted.name) ? wanted.name : "?");
		return;
	}
	gone = *t;
	err = tokens_remove(&c->tokens, gone.name);
	if (err) {
		reply_err(c, a->id, err == -ENOSPC || err == -EDQUOT ? 507 : 500, "token '%s' is still good, the file could not be written: %s", gone.name,
			  strerror(-err));
		return;
	}
	reply_ok(c, a->id, "revoked");
	auth_cut(c, &gone);
}
