/* cli/spawn: start a program from a descriptor, with exactly the descriptors it is meant to have. Room card: cli.h. */
#ifndef CLI_SPAWN_H
#define CLI_SPAWN_H

#include "lib/base/base.h"

#define SPAWN_FDS_MAX 9u

struct spawn_ask {
	int program;             /* borrowed: an executable, opened for reading */
	char *const *argv;
	const int *fds;          /* become 3, 4, …; -1 leaves that number closed */
	unsigned n_fds;
	int in, out, err;        /* become 0, 1, 2; -1: /dev/null */
	bool own_group;          /* keeps the terminal's Ctrl-C to us */
	int nice;                /* of its threads, where we may; below 0: before others */
};
/* pid or -errno. */
pid_t spawn(const struct spawn_ask *ask);
/* Runs it to its end, at most limit_ms; its standard output (cut at cap-1) in out, NUL-terminated. 0; -ETIMEDOUT; -EIO with f when it failed. */
int spawn_capture(int program, char *const *argv, char *out, size_t cap, int limit_ms, struct fault *f);

#endif
