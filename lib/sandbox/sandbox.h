/*
 * lib/sandbox: how a mica process gives up what it does not need: users, capabilities,
 * the view of the file system, system calls. Each call only takes away. Stands on lib/base
 * alone. Call from the thread that is to lose the right, before other threads exist
 * (seccomp filters are per thread on purpose: each kind of thread has its own).
 */
#ifndef LIB_SANDBOX_SANDBOX_H
#define LIB_SANDBOX_SANDBOX_H

#include "lib/base/base.h"

/* uids of our processes when the daemon runs as root; core +0, front +1, netd +2, gate +4, the vmm of slot n +16+n. */
#define SANDBOX_UID_BASE 1835597824u
#define SANDBOX_UID_VMM_FIRST 16u

/* Becomes uid/gid for good (real, effective, saved; no groups), keeping only the capabilities in keep_caps (bit n = capability n).
 * When the process is not root it keeps its ids and only clears capabilities. 0 or -errno. */
int sandbox_become(uid_t uid, gid_t gid, uint64_t keep_caps, struct fault *f);
/* Only the capabilities in keep_caps remain in every set; the user stays who it is. */
int sandbox_keep_caps(uint64_t keep_caps, struct fault *f);
/* execve gives no rights from here on; also no core dumps with guest memory in them. */
int sandbox_no_new_privs(void);
/* The thread group sees an empty read-only root and nothing else. Needs a mount namespace of its own and CAP_SYS_ADMIN in it. */
int sandbox_empty_root(struct fault *f);
/* Landlock: no path can be opened, made, or removed (descriptors already open stay usable). 0; -EOPNOTSUPP when the kernel has none.
 * sandbox_no_new_privs() holds in both cases. */
int sandbox_no_paths(void);
/* Landlock: only beneath this folder (nothing executed from it). As above. */
int sandbox_paths_beneath(int dir_fd);

/* One allowed system call; several rows for one nr mean "any of them". */
struct sandbox_rule {
	unsigned nr;      /* __NR_… */
	int arg;          /* -1: any arguments; else argument `arg` … */
	uint64_t value;   /* … has this low 32-bit value (ioctl requests, clone flags) */
};
#define SANDBOX_ALLOW(name) {__NR_##name, -1, 0}
#define SANDBOX_ALLOW_ARG(name, arg, value) {__NR_##name, (arg), (value)}
#define SANDBOX_RULES_MAX 128u

/* Installs the filter on this thread: the rows are allowed, anything else kills the process (SIGSYS). Sets no_new_privs. */
int sandbox_seccomp(const struct sandbox_rule *rules, unsigned n);
/* The same for a thread of a process that had no_new_privs before it made the thread, which has it then, too. Without it: -EACCES, but for
 * CAP_SYS_ADMIN, which the kernel believes: so only where sandbox_no_new_privs() has succeeded. */
int sandbox_seccomp_thread(const struct sandbox_rule *rules, unsigned n);

#endif
