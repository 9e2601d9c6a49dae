/*
 * What the daemon counts and what it sees of its host, for GET /metrics. The host's files are opened before core gives up its rights and
 * read again by pread; a file that is not there leaves its numbers out. One thread.
 */
#ifndef API_CORE_METRICS_H
#define API_CORE_METRICS_H

#include "lib/base/buf.h"
#include "lib/wire/core.h"

#define LAUNCH_COUNTS_MAX 1024u /* pairs of group and status; more are counted with the last */

struct launch_count {
	char group[64];
	unsigned code;   /* HTTP status of the launch: 201 or its refusal */
	uint64_t n;
};
struct metrics {
	int loadavg_fd, file_nr_fd, sockstat_fd, net_dev_fd, route_fd; /* owned; -1: not there */
	char adapter[32];             /* of the way out, by the operator's word; "": the default route's */
	struct launch_count *counts;  /* owned */
	unsigned n_counts;
};

void metrics_open(struct metrics *m); /* also reads MICA_EGRESS_ADAPTER and SLICER_EGRESS_ADAPTER */
void metrics_done(struct metrics *m);
void metrics_launch(struct metrics *m, const char *group, unsigned code);
/* The host's numbers as fields C_T_LOAD_1 … C_T_EGRESS_RX; those that are not known are left out. */
void metrics_put_host(const struct metrics *m, struct buf *b);

/* The parsers behind it; text is NUL-terminated. false: not there. */
bool metrics_loads(const char *text, uint64_t out[3]);                              /* /proc/loadavg, in 1/100 */
bool metrics_route(const char *text, char adapter[32]);                             /* /proc/net/route: the default route's */
bool metrics_traffic(const char *text, const char *adapter, uint64_t *rx, uint64_t *tx); /* /proc/net/dev */
bool metrics_word(const char *text, const char *before, uint64_t *out);            /* the number behind the first `before` */

#endif
