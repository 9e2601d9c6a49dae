/*
 * Who asks, and whether they may: core's own look at the credential of each request of front, before anything else is done for it.
 * The one token (STATE/auth/token, api.auth.token), local users (local.h) and TCP without authentication may do everything; a named token (tokens.h) what
 * its scopes and host groups say. When a named token is revoked or over, front is told to cut what it has under way (C_CUT), and what
 * waits here is refused. lib/wire/core.h says what this can hold a front to that was taken over, and what it cannot.
 */
#ifndef API_CORE_AUTH_H
#define API_CORE_AUTH_H

#include "api/core/requests.h"

/* Sets a->token and a->who. scope: what the request needs. false: it was answered (401, 403). */
bool auth_admits(struct ask *a, unsigned scope);
/* The same for a scope that shows only later in the request. */
bool auth_has(struct ask *a, unsigned scope);
/* An answer that took its time: may `who` still have it? false: id was answered with 401. */
bool auth_still(struct core *c, uint32_t id, uint32_t who);
/* 403: this host group is beyond the token's. true: it was answered. */
bool auth_bars_group(struct ask *a, const char *group);
/* That token is no more: everything under way for it ends. */
void auth_cut(struct core *c, const struct token *t);
/* Cuts those that are over by now, and looks again in time. After start, and after every change of the tokens. */
void auth_watch(struct core *c);

#endif
