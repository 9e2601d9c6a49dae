/* cli/lines: an answer that is read line by line while it comes: logs of a command in the background, file events. Room card: cli.h. */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include "cli/remote.h"

#define LINE_BYTES_MAX (1u << 20)

struct lines {
	/* One line without its '\n', not NUL-terminated. Not 0: that is enough, and what lines_read() returns. */
	int (*line)(struct lines *l, const char *p, size_t n);
	void *arg;
	int fail;           /* EXIT_* of ours */
	const char *doing;  /* "cannot follow ex_1 in vm-1" */
	struct buf rest;    /* private */
};
enum { LINES_END = -1 }; /* the answer ended as it should */

/* GET /vm/<vm><tail>, with the friendly-name retry (vm is replaced then). LINES_END, what l->line said, or after saying why l->fail;
 * 130 when r->cancel_fd became readable. */
int lines_read(const struct remote *r, char vm[VM_NAME_MAX], const char *tail, struct lines *l);

#endif
