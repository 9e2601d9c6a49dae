/*
 * Local users: who may open a unix socket of the API that asks for no token is an administrator (its file's mode says who may). core
 * accepts on such sockets by itself, hands each connection to front with a number that nobody can guess (C_LOCAL), and keeps a descriptor of it.
 * A request that quotes the number has all rights, as long as neither end has closed: so front, which reads whatever the network sends, cannot make a
 * local user up; the most that one which was taken over can do is to act while a local user's connection is open.
 */
#ifndef API_CORE_LOCAL_H
#define API_CORE_LOCAL_H

#include "lib/ev/ev.h"

#define LOCAL_BUCKETS 256u
#define LOCALS_MAX 8192u /* as many as front holds; or a quarter of our descriptors. More wait until another has ended */

struct core;
struct local;
struct locals {
	struct local *bucket[LOCAL_BUCKETS]; /* owned */
	unsigned n, max;
	struct ev_timer again; /* after the host had no room for one more */
};

/* Accepts on all listeners that are local, from now on. 0 or -errno. */
int local_open(struct core *c);
/* Is that a connection which is still open? 0 is none. */
bool local_is_open(const struct core *c, uint64_t id);

#endif
