/*
 * Front's defence against clients that only cost: how long each state of a connection may last, who goes when the table is full, and
 * a count of everything refused, for GET /metrics. Part of front.h's room; one thread. The limits stand here with their defaults;
 * flags of the program change them (for tests, which do not wait for minutes).
 */
#ifndef API_FRONT_GUARD_H
#define API_FRONT_GUARD_H

#include "lib/base/buf.h"
#include "lib/http/http.h"

struct front;
struct conn;

struct limits { /* ms but for conns */
	uint64_t handshake; /* 10 000: TLS must be up by then */
	uint64_t first;     /* 15 000: the first byte of a request must be there by then, on a connection that nobody has shown a right on yet */
	uint64_t head;      /* 30 000: a head must be whole by then, from its first byte */
	uint64_t idle;      /* 180 000: between the requests of a client that had the right to ask */
	uint64_t body;      /* 60 000: a JSON body must be whole by then */
	uint64_t conns;     /* 8 192, less when the process may not open so many files: connections at once */
};
void limits_init(struct limits *l, uint64_t files_max);
/* "--head-ms 500" and the like. 0; -ENOENT no such flag; -EINVAL no such value. */
int limits_flag(struct limits *l, const char *flag, const char *value);

/* Why something was refused; the words are in guard.c and in README.md. */
enum reject {
	REJECT_HEAD, REJECT_HEAD_SIZE, REJECT_FRAMING, REJECT_VERSION, REJECT_EXPECT, REJECT_TARGET, REJECT_CHUNK, REJECT_BODY_SIZE,
	REJECT_JSON, REJECT_AUTH, REJECT_WS_OPEN, REJECT_WS_FRAME, REJECT_TLS_PLAIN, REJECT_TLS, REJECT_TLS_LATE, REJECT_FIRST_LATE,
	REJECT_HEAD_LATE, REJECT_BODY_LATE, REJECT_EVICTED, REJECT_FULL, REJECTS,
};
struct rejects {
	uint64_t n[REJECTS];
};
void rejects_put(const struct rejects *r, struct buf *out); /* mica_http_rejected_total{reason} */
enum reject reject_of(const struct http_refusal *why);

/* Is there room for one more connection? Ends one that is idle when there is none: the oldest that has shown no right, else the oldest. */
bool guard_room(struct front *f);
/* The same to get its descriptor back, when the process has no more. */
bool guard_evict(struct front *f);
/* Has this connection had its time in the state it is in (those before a request)? Then it is ended, or answered with 408. */
bool guard_late(struct conn *c, uint64_t now_ms);

#endif
