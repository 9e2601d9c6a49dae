/*
 * Failures on order. A unit test that lists tests/unit/induce.o among its objects is linked with --wrap for the calls below: each counts,
 * and the one that was ordered fails with the errno that was ordered; the next succeeds again. Way through all failures of an operation:
 *   for (unsigned n = 0; ; n++) { induce(INDUCE_malloc, n, ENOMEM); int err = operation(); if (!induced()) break; ok(err == -ENOMEM, …); }
 * One thread. The Makefile's list INDUCE_CALLS says the same names.
 */
#ifndef TESTS_UNIT_INDUCE_H
#define TESTS_UNIT_INDUCE_H

#include <stdbool.h>

enum induce_call {
	INDUCE_NONE,
	INDUCE_malloc,
	INDUCE_calloc,
	INDUCE_realloc,
	INDUCE_mmap,
	INDUCE_ftruncate,
	INDUCE_memfd_create,
	INDUCE_read,
	INDUCE_write,
	INDUCE_readv,
	INDUCE_writev,
	INDUCE_sendmsg,
	INDUCE_recvmsg,
	INDUCE_poll,
	INDUCE_socketpair,
	INDUCE_eventfd,
	INDUCE_epoll_ctl,
	INDUCE_fcntl,
	INDUCE_dup,
	INDUCE_ioctl,
	INDUCE_pthread_mutex_init,
	INDUCE_random_fill, /* ours: lib/base, … */
	INDUCE_gm_read, /* … vmm/mem */
	INDUCE_gm_write,
	INDUCE_gm_iov,
	INDUCE_gm_load_acquire_u16,
	INDUCE_gm_store_release_u16,
};

/* After `skip` calls of it the next one fails. Takes back an earlier order. */
void induce(enum induce_call which, unsigned skip, int error);
/* Has the order been carried out? Takes it back if not. */
bool induced(void);

#endif
