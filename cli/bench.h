/* cli/bench: what bench measured, and how it is told. Room card: cli.h. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli/remote.h"

#define LEVELS_MAX 32u
#define AT_ONCE_MAX 256u
#define RUNS_MAX 1000u

struct observation {
	unsigned at_once, run;
	uint64_t ns; /* from the request to the whole answer */
	bool ok;
	char hostname[64], error[256];
};
struct launch;
struct bench {
	struct remote r;
	char group[VM_NAME_MAX], id[17], started[RFC3339_MAX];
	const char *wait, *timeout; /* wait NULL: none */
	unsigned levels[LEVELS_MAX], n_levels, runs;
	bool verbose, json, keep;
	struct observation *seen; /* owned */
	size_t n_seen;
	struct launch *launches;  /* owned, AT_ONCE_MAX */
};

void bench_print_table(const struct bench *b);
/* {receipt, config, observations, summary}. 0 or EXIT_FAIL after saying why. */
int bench_print_json(const struct bench *b);

#endif
