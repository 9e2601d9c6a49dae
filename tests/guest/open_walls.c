/*
 * In place of lib/sandbox in the vmm that is built with sanitizers (make asan-vmm), and nowhere else. ASan maps a shadow of 16 TiB, reads /proc
 * and writes its report to standard error, in whichever thread: no filter of ours lets that through, and every thread's stack must hold its red zones.
 * The product has no such switch: its filters are the same in every build.
 */
#include <pthread.h>

#include "lib/sandbox/sandbox.h"

int __real_pthread_attr_setstacksize(pthread_attr_t *attr, size_t bytes);
int __wrap_pthread_attr_setstacksize(pthread_attr_t *attr, size_t bytes);

int sandbox_seccomp(const struct sandbox_rule *rules, unsigned n)
{
	(void)rules, (void)n;
	return 0;
}

int sandbox_seccomp_thread(const struct sandbox_rule *rules, unsigned n)
{
	return sandbox_seccomp(rules, n);
}

int sandbox_no_paths(void)
{
	return 0;
}

int __wrap_pthread_attr_setstacksize(pthread_attr_t *attr, size_t bytes)
{
	return __real_pthread_attr_setstacksize(attr, 16 * bytes);
}
