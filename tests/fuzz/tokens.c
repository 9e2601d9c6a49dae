/* The file of named tokens as any bytes: refused with a sentence, or tokens that are written and read back the same. */
#include <stdlib.h>
#include <string.h>

#include "api/core/tokens.h"
#include "lib/wire/core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct tokens *a, const struct tokens *b)
{
	if (a->n != b->n)
		abort();
	for (unsigned i = 0; i < a->n; i++) {
		const struct token *x = &a->list[i], *y = &b->list[i];

		if (strcmp(x->name, y->name) != 0 || memcmp(x->hash, y->hash, SHA256_BYTES) != 0 || x->scopes != y->scopes || x->n_groups != y->n_groups ||
		    x->created_ns != y->created_ns || x->expires_ns != y->expires_ns || memcmp(&x->quota, &y->quota, sizeof(x->quota)) != 0)
			abort();
		for (unsigned g = 0; g < x->n_groups; g++)
			if (strcmp(x->groups[g], y->groups[g]) != 0)
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tokens a = { .dir_fd = -1 }, b = { .dir_fd = -1 };
	struct fault f = { "" };
	struct buf text;

	if (tokens_room(&a) || tokens_room(&b))
		abort();
	buf_init(&text, TOKENS_FILE_MAX);
	if (tokens_parse(&a, (const char *)data, size, &f)) {
		if (!f.text[0])
			abort();
	} else {
		for (unsigned i = 0; i < a.n; i++) /* whoever may make tokens is bounded by nothing else */
			if ((a.list[i].scopes & SCOPE_ADMIN && (a.list[i].n_groups || quota_given(&a.list[i].quota))) || tokens_find(&a, a.list[i].name) != &a.list[i] ||
			    tokens_match(&a, a.list[i].hash) != &a.list[i])
				abort();
		if (tokens_format(&a, &text) || tokens_parse(&b, (const char *)buf_data(&text), buf_len(&text), &f))
			abort();
		same(&a, &b);
	}
	buf_done(&text);
	tokens_done(&a);
	tokens_done(&b);
	return 0;
}
