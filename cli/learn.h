/* cli/learn: what a VM tried, out of its network record, as entries that would allow it. Room card: cli.h. */
#ifndef CLI_LEARN_H
#define CLI_LEARN_H

#include "cli/cli.h"
#include "lib/json/json.h"

#define LEARN_MAX 4096u /* different entries */

struct learned {
	char entry[320];    /* "example.com:443", "1.2.3.4:53", "1.2.3.4" */
	char rule[40];      /* that decided last */
	bool denied;        /* was it denied the last time? */
	bool builtin;       /* by a builtin rule: it takes an explicit entry */
	bool asked;         /* a name that was asked for, and led nowhere */
	uint64_t times;
};
struct learning {
	struct learned *v;  /* owned */
	size_t n;
	uint64_t left_out;  /* beyond LEARN_MAX, or gaps of the record */
	struct json mem;
};

void learn_line(struct learning *l, const char *line, size_t n); /* one line of the record */
void learn_done(struct learning *l);
/* Names that were asked for stay only when no flow went to them. Sorts: by entry. */
void learn_finish(struct learning *l);
/* As the `network` part of a host group's YAML. */
int learn_yaml(const struct learning *l, const char *vm, struct buf *out);

#endif
