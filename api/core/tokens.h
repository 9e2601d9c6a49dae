/*
 * Named tokens: what each may do, in which host groups, until when, and how much its VMs may be together (quota.h). Kept in <state>/auth/tokens (0600), which is replaced whole and is on
 * the disk before a change is acknowledged. A token's text is made here, told once, and kept as its SHA-256 only. The file is our own, so its
 * reader is strict: what it does not understand is a fault that names the line, never a token with other rights than were given.
 * Who asks for what is auth.h's. One thread; stands on lib/base, and on lib/wire/core.h for the scopes.
 *
 *   mica-tokens=1
 *   token NAME SHA256-HEX SCOPE,… GROUP,…|- CREATED-NS EXPIRES-NS|0 [QUOTA=N,…]
 *   end=1
 */
#ifndef API_CORE_TOKENS_H
#define API_CORE_TOKENS_H

#include "lib/base/buf.h"
#include "lib/base/sha256.h"
#include "api/core/quota.h"

#define TOKEN_NAME_MAX 64u
#define TOKEN_GROUPS_MAX 8u
#define TOKEN_GROUP_NAME_MAX 40u
#define TOKENS_MAX 256u
#define TOKENS_FILE_MAX 262144u
#define TOKEN_LIFE_MAX_NS (3653ull * 86400 * 1000000000) /* ten years */
#define TOKEN_SHOWN_NS (7ull * 86400 * 1000000000)       /* how long one that is over is still listed, when there is need of room */
#define TOKEN_TEXT_BYTES 48u /* "mica_" and 256 random bits in base64url */

struct token {
	char name[TOKEN_NAME_MAX + 1];
	uint8_t hash[SHA256_BYTES];
	unsigned scopes;           /* enum scope, as given: token_rights() knows what they imply */
	char groups[TOKEN_GROUPS_MAX][TOKEN_GROUP_NAME_MAX + 1];
	unsigned n_groups;         /* 0: all */
	struct quota quota;        /* of the VMs that it makes: those whose record names it. Not with admin, who can make tokens without */
	uint64_t created_ns;       /* real time */
	uint64_t expires_ns;       /* 0: never */
	uint64_t used_ns;          /* real time, of the last request; 0: none since core began. Not on disk */
	uint32_t serial;           /* never given twice, never 0. Not on disk */
	bool cut;                  /* that it is over was acted upon */
};
struct tokens {
	int dir_fd;                /* owned: auth/ of the state folder; -1: no tokens here */
	struct token *list;        /* owned; by name */
	unsigned n;
	uint32_t serials;
};

/* [A-Za-z0-9._-], at most TOKEN_NAME_MAX, not beginning with a dot. */
bool token_name_is_valid(const char *s);
unsigned scope_parse(const char *s, size_t n); /* one name; 0: there is none such */
const char *scope_name(unsigned scope);        /* of the lowest bit */
unsigned token_rights(const struct token *t);  /* with all that is implied */
bool token_sees(const struct token *t, const char *group); /* t NULL: yes */
bool token_is_over(const struct token *t, uint64_t now_ns);

/* t must be zeroed. Takes the folder over and reads the file if there is one. f says which line is wrong and how to go on. */
int tokens_load(struct tokens *t, int dir_fd_taken, struct fault *f);
void tokens_done(struct tokens *t); /* safe on a zeroed struct whose dir_fd is -1 */
/* The one of that digest, over or not. Looks at all of them, whichever it is. NULL: unknown. */
struct token *tokens_match(struct tokens *t, const uint8_t hash[SHA256_BYTES]);
struct token *tokens_find(struct tokens *t, const char *name);
/* Does that one still exist, and is not over? */
bool tokens_live(const struct tokens *t, uint32_t serial, uint64_t now_ns);
/* Makes one of want's name, scopes, groups, quota and expires_ns. text: for its owner, and for nobody else. *out is valid until the next change.
 * -EINVAL (also admin with groups or quotas), -EEXIST, -ENOSPC (TOKENS_MAX that are not over), or of the disk. */
int tokens_add(struct tokens *t, const struct token *want, char text[TOKEN_TEXT_BYTES + 1], const struct token **out);
int tokens_remove(struct tokens *t, const char *name); /* -ENOENT, or of the disk: then it is still there */

/* The file's text and the opposite (for tests, too). parse adds to an empty t that has room (tokens_room). */
int tokens_room(struct tokens *t);
int tokens_format(const struct tokens *t, struct buf *out);
int tokens_parse(struct tokens *t, const char *text, size_t n, struct fault *f);

#endif
