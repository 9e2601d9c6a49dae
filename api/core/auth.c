#include "api/core/auth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/core/timers.h"

#define TOKEN_RAW 32u
#define TOKEN_FILE_MAX 4096u

/* ---- the one token ---- */

static int make_token(int dir_fd, char *out, struct fault *f)
{
	uint8_t raw[TOKEN_RAW];
	size_t n;
	int err = random_fill(raw, sizeof(raw));

	if (err)
		return fault_errno(f, err, "random bytes for the token");
	n = base64url_encode(raw, sizeof(raw), out);
	out[n] = '\n';
	err = write_file_atomic(dir_fd, "token", out, n + 1, 0640);
	out[n] = 0;
	return err ? fault_errno(f, err, "auth/token") : 0;
}

static int read_token(int dir_fd, char *out, size_t cap, struct fault *f)
{
	char *text;
	size_t n;
	int err = read_file_at(dir_fd, "token", TOKEN_FILE_MAX, &text, &n);

	if (err)
		return err;
	n = strcspn(text, " \r\n");
	if (n < 16 || n >= cap) {
		free(text);
		return fault_set(f, -EINVAL, "auth/token in the state folder holds no token: remove the file to have one made [E_TOKEN_BAD]");
	}
	memcpy(out, text, n);
	out[n] = 0;
	free(text);
	return 0;
}

static int one_token(struct core *c, int dir_fd, struct fault *f)
{
	char token[600] = "";
	int err;

	if (c->config.token) {
		sha256(c->config.token, strlen(c->config.token), c->token_hash);
		return 0;
	}
	err = read_token(dir_fd, token, sizeof(token), f);
	if (err == -ENOENT)
		err = make_token(dir_fd, token, f);
	else if (err && !f->text[0])
		fault_errno(f, err, "auth/token");
	sha256(token, strlen(token), c->token_hash);
	explicit_bzero(token, sizeof(token));
	return err;
}

int core_tokens(struct core *c, struct fault *f)
{
	int dir_fd = core_open_folder(c->state_fd, "auth", f), err;

	if (dir_fd < 0)
		return dir_fd;
	err = tokens_load(&c->tokens, dir_fd, f);
	for (unsigned i = 0; i < c->tokens.n; i++) /* nothing is under way for those that ended before */
		c->tokens.list[i].cut = token_is_over(&c->tokens.list[i], now_real_ns());
	return err ? err : one_token(c, dir_fd, f);
}

/* ---- a request ---- */

static bool is_open(const struct core *c, const struct wire_msg *m)
{
	uint64_t local, listener;

	if (wire_get_u64(m, C_T_LOCAL, &local))
		return local_is_open(c, local);
	return wire_get_u64(m, C_T_LISTENER, &listener) && listener < c->n_listeners && !c->listeners[listener].local && !c->listeners[listener].auth_needed;
}

static bool refuse(struct ask *a)
{
	reply_err(a->core, a->id, 401, "a valid token is needed: it stands in the daemon's state folder, file auth/token");
	return false;
}

bool auth_has(struct ask *a, unsigned scope)
{
	unsigned lacks = a->token && scope != SCOPE_ANY ? scope & ~token_rights(a->token) : 0;

	if (lacks)
		reply_err(a->core, a->id, 403, "this token lacks scope '%s'", scope_name(lacks));
	return !lacks;
}

bool auth_admits(struct ask *a, unsigned scope)
{
	struct core *c = a->core;
	struct wire_field f;
	struct token *t;
	uint64_t now = now_real_ns();

	if (is_open(c, a->m))
		return true;
	if (!wire_get(a->m, C_T_AUTH, &f) || f.n != SHA256_BYTES)
		return refuse(a);
	if (equal_consttime(f.p, c->token_hash, SHA256_BYTES))
		return true;
	t = tokens_match(&c->tokens, f.p);
	if (!t)
		return refuse(a);
	if (token_is_over(t, now)) {
		reply_err(c, a->id, 401, "this token has expired: 'mica token create' makes another one");
		return false;
	}
	t->used_ns = now;
	a->token = t;
	a->who = t->serial;
	return auth_has(a, scope);
}

bool auth_still(struct core *c, uint32_t id, uint32_t who)
{
	if (!who || tokens_live(&c->tokens, who, now_real_ns()))
		return true;
	reply_err(c, id, 401, "this token was revoked or has expired");
	return false;
}

bool auth_bars_group(struct ask *a, const char *group)
{
	if (token_sees(a->token, group))
		return false;
	reply_err(a->core, a->id, 403, "this token is limited to other host groups: 'mica vm group' shows them");
	return true;
}

/* ---- the end of a token ---- */

void auth_cut(struct core *c, const struct token *t)
{
	uint32_t serial = t->serial;
	int err;

	wire_bytes(peer_begin_reply(&c->front, C_CUT, 0), C_T_AUTH, t->hash, sizeof(t->hash));
	err = peer_send(&c->front, NULL, 0);
	for (struct vm *vm = c->reg.first, *next; vm; vm = next) {
		next = vm->next;
		req_cut(vm, serial);
	}
	if (err && c->front.on_gone) /* a front that cannot be told must not go on: all start afresh, VMs live on */
		c->front.on_gone(&c->front, err);
}

static void on_timer(struct ev_timer *timer)
{
	auth_watch(timer->arg);
}

void auth_watch(struct core *c)
{
	uint64_t now = now_real_ns(), wait_ns = UINT64_MAX;

	for (unsigned i = 0; i < c->tokens.n; i++) {
		struct token *t = &c->tokens.list[i];
		bool cut = t->cut;

		t->cut = token_is_over(t, now); /* a clock that was set back makes it good again */
		if (t->cut && !cut)
			auth_cut(c, t);
		else if (!t->cut && t->expires_ns && t->expires_ns - now < wait_ns)
			wait_ns = t->expires_ns - now;
	}
	ev_timer_del(c->loop, &c->token_timer);
	if (wait_ns == UINT64_MAX)
		return;
	c->token_timer = (struct ev_timer){ .fn = on_timer, .arg = c };
	wait_ns = wait_ns / 1000000 + 1;
	ev_timer_set(c->loop, &c->token_timer, wait_ns < TOKEN_LOOK_MS ? wait_ns : TOKEN_LOOK_MS);
}
