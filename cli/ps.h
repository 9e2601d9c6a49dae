/*
 * cli/ps: what the kernel says of mica's processes on this machine: read from /proc, with no right that the caller does not have. What may not be read is
 * said to be unknown. A daemon is found by its jail: whose parent is the supervisor, whose other children are the rest. Room card: cli.h.
 */
#ifndef CLI_PS_H
#define CLI_PS_H

#include "lib/base/base.h"

#define PS_MAX 4096u   /* processes looked at for good */
#define PS_NS_N 6

struct ps_calls { const char *process; unsigned n; };
extern const struct ps_calls ps_calls[]; /* made by tools/walls from the rule tables; ends with a row without name */

enum ps_ns { PS_NS_UNKNOWN, PS_NS_SHARED, PS_NS_OWN };
struct ps_proc {
	const char *process;      /* "supervisor", "front", …, "vmm" */
	char vm[64];              /* a vmm's VM; "" */
	pid_t pid, parent;
	int64_t uid;              /* effective; -1: unknown */
	uint64_t caps;            /* effective and permitted */
	bool caps_known;
	uint8_t ns[PS_NS_N];      /* enum ps_ns, in the order of ps_ns_names */
	unsigned threads, filtered; /* threads, and those behind a seccomp filter */
	int no_new_privs;         /* 0, 1; -1: unknown */
	char cgroup[256];         /* of the unified hierarchy; "": none, or unknown */
	uint64_t memory_max;      /* bytes; 0: no limit */
	unsigned cpu_percent, cpu_weight, tasks_max; /* 100: one CPU. 0: no limit */
	uint64_t io_bytes_s, io_ops_s; /* io.max of the first disk in it, each way; 0: no limit */
};
extern const char *const ps_ns_names[PS_NS_N];

/* Those of all daemons, each supervisor followed by its own; at most cap. Their number, or -errno when there is no /proc. */
int ps_scan(struct ps_proc *out, unsigned cap);
/* "none", "net_admin", "sys_admin,setuid,…"; a number for one without a name here. */
void ps_caps_words(const struct ps_proc *p, char *dst, size_t cap);
/* "mnt net ipc", "-" when it shares all, "?" */
void ps_ns_words(const struct ps_proc *p, char *dst, size_t cap);
/* "640MiB, 3 CPUs, weight 100, 34 tasks, io 100MiB/s, io 2000/s"; "none" */
void ps_limits_words(const struct ps_proc *p, char *dst, size_t cap);
/* What the process asked Landlock for, or why it has none; the kernel does not show it. abi: of this kernel, 0 for none. */
const char *ps_landlock(const struct ps_proc *p, int abi);
int ps_landlock_abi(void);
/* System calls that the process (thread NULL) or that kind of its threads may make; 0: not filtered. */
unsigned ps_calls_of(const char *process, const char *thread);

#endif
