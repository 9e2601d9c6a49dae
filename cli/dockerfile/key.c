/* Every field goes in with its length before it, so that no two different steps feed the same bytes. */
#include "cli/dockerfile/dockerfile.h"
#include "lib/base/sha256.h"

#include <stdio.h>
#include <string.h>

#define EDITION "mica-build-1" /* another one when steps come to mean something else: old cached ones are then not found */

static void text(struct sha256_run *r, const char *s)
{
	char n[24];
	if (!s) {
		sha256_more(r, "-", 1);
		return;
	}
	snprintf(n, sizeof(n), "%zu:", strlen(s));
	sha256_more(r, n, strlen(n));
	sha256_more(r, s, strlen(s));
}

static void number(struct sha256_run *r, int v)
{
	char n[16];
	snprintf(n, sizeof(n), "%d", v);
	text(r, n);
}

static void list(struct sha256_run *r, const struct df_list *l)
{
	number(r, (int)l->n);
	for (unsigned i = 0; i < l->n; i++)
		text(r, l->s[i]);
}

static void end(struct sha256_run *r, char key[DF_KEY_MAX])
{
	uint8_t sum[SHA256_BYTES];
	sha256_end(r, sum);
	hex_encode(sum, sizeof(sum), key);
}

void df_key_begin(const char *what, const char *how, char key[DF_KEY_MAX])
{
	struct sha256_run r;
	sha256_begin(&r);
	text(&r, EDITION);
	text(&r, what);
	text(&r, how);
	end(&r, key);
}

void df_key_next(const struct df_op *op, const char *content, char key[DF_KEY_MAX])
{
	struct sha256_run r;
	sha256_begin(&r);
	text(&r, key);
	number(&r, (int)op->kind);
	list(&r, &op->argv);
	list(&r, &op->env);
	text(&r, op->user);
	text(&r, op->workdir);
	number(&r, op->no_network);
	list(&r, &op->sources);
	text(&r, op->dest);
	text(&r, op->chown);
	number(&r, op->chmod);
	number(&r, op->from_stage >= 0 || op->from_image);
	text(&r, content);
	end(&r, key);
}

void df_key_image(const struct df_config *c, const char *key, char out[DF_KEY_MAX])
{
	const struct df_list *const lists[] = { &c->env, &c->labels, &c->entrypoint, &c->cmd, &c->exposed, &c->volumes, &c->shell };
	struct sha256_run r;
	sha256_begin(&r);
	text(&r, key);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		list(&r, lists[i]);
	text(&r, c->workdir);
	text(&r, c->user);
	text(&r, c->stop_signal);
	text(&r, c->healthcheck);
	end(&r, out);
}
