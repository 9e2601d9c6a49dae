/*
 * cli/mask: takes secrets out of text that is to be shown to others: values that are known (tokens, secrets, keys, userdata, read where they are
 * kept) and what looks like one (PEM private keys, SSH keys, "password=…", "Bearer …"). It rather takes too much. Room card: cli.h.
 */
#ifndef CLI_MASK_H
#define CLI_MASK_H

#include "lib/base/buf.h"

#define MASKED "<masked>"
#define MASK_LEAST 6u  /* shorter values would take words apart */
#define MASK_WORDS_MAX 20000u

struct mask {
	char **words;       /* owned */
	size_t n;
	bool full;          /* memory or MASK_WORDS_MAX ran out: nothing may be shown */
};
/* Its lines, without blanks around them. */
void mask_add(struct mask *m, const char *text, size_t n);
/* Of a file that may be missing. false: it is there and cannot be read. */
bool mask_add_file(struct mask *m, int dir_fd, const char *name);
/* Appends text without secrets. 0; -ENOMEM, -ENOBUFS of out, or when the mask is full. */
int mask_put(const struct mask *m, struct buf *out, const char *text, size_t n);
void mask_done(struct mask *m);

#endif
