/*
 * cli/stack: the daemon's processes as their supervisor sees them: core, front, jail and (as root) netd and gate, joined by channels. Used by
 * up (which starts them again when one dies) and by run and doctor (a private, ephemeral one). Room card: cli.h.
 */
#ifndef CLI_STACK_H
#define CLI_STACK_H

#include "cli/parts.h"
#include "lib/base/buf.h"

/* Where `up` tells `join`, in the state folder: lines "API <addresses>" and, with HTTPS, "TLS <fingerprint>". */
#define STACK_LISTEN_FILE "listen"

enum { STACK_CORE, STACK_FRONT, STACK_JAIL, STACK_NETD, STACK_GATE, STACK_N };

struct stack_ask {
	const struct parts *parts;
	enum route route;
	const char *state;      /* folder */
	const char *config;     /* file for core; NULL: config_text */
	const char *config_text;
	const char *kvm;        /* device path */
	bool ephemeral, with_netd;
	bool with_full;         /* groups may name the kernel `full`, where this file has it and the route boots it */
	bool tls;               /* of the TCP listener, whatever the config says */
	int log_fd;             /* standard error of all; -1: ours */
};
struct stack {
	pid_t pids[STACK_N];    /* 0: not running */
	int status_fd;          /* owned: core's status lines; -1 when it ended */
	int control_fd;         /* owned: a channel to core; -1 */
	struct buf lines;
	int program[STACK_N];   /* owned: kept for the next start; -1 */
	int vmm, kernel, kernel_full, image; /* owned; kernel_full -1: none */
};

void stack_init(struct stack *s);
/* Opens programs, kernel, image (once) and starts all. 0 or -errno with f; on error nothing runs. */
int stack_start(struct stack *s, const struct stack_ask *ask, struct fault *f);
/* Next status line into line (NUL-terminated, clean): 1; 0 none now; -EPIPE at the end. Does not wait. */
int stack_line(struct stack *s, char *line, size_t cap);
/* Notes a child that waitpid returned: its index, or -1 when it is none of ours. */
int stack_reaped(struct stack *s, pid_t pid);
/* Kills what still runs (core first, by SIGKILL: VMs live on unless ephemeral) and reaps it. */
void stack_kill(struct stack *s);
/* Core has ended: gives the others grace_ms to follow, then kills and reaps them. */
void stack_finish(struct stack *s, int grace_ms);
void stack_done(struct stack *s); /* frees; nothing may run */
const char *stack_name(int i);

#endif
