/*
 * Quotas: the most that the VMs of one token, or of one host group, may be together. All VMs that exist count, stopped ones too, with what they were
 * given: a stopped VM keeps its place. Who adds them up is admit.c. No state, any thread; stands on lib/base.
 */
#ifndef API_CORE_QUOTA_H
#define API_CORE_QUOTA_H

#include "lib/base/base.h"

enum quota_what { Q_VMS, Q_VCPUS, Q_RAM, Q_DISK, Q_N };
struct quota {
	uint64_t v[Q_N]; /* VMs, vCPUs, bytes of RAM, bytes of disks (their sizes); 0: no limit */
};

extern const char *const quota_keys[Q_N]; /* "max_vms" …, as in YAML, JSON and the file of the tokens */
bool quota_given(const struct quota *q);  /* does it limit anything? */
int quota_find(const char *key, size_t n); /* index, or -1 */
/* Does one more fit? -EDQUOT with a sentence that names the quota, its use and what to do. whose: "token 'ci'"; how: who raises it, as "raise it in the group". */
int quota_check(const struct quota *most, const struct quota *used, const struct quota *more, const char *whose, const char *how, struct fault *f);

#endif
