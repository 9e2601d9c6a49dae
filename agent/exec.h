/*
 * A command or a shell that runs for the host. exec_start.c makes pipes or a terminal and the process; exec.c pumps
 * bytes between it and its stream until one of them ends.
 */
#ifndef AGENT_EXEC_H
#define AGENT_EXEC_H

#include "agent/agent.h"

struct plumbing {
	int child[3];      /* owned: the child's ends of 0, 1, 2 */
	int from[2], to;   /* owned: our ends of stdout, stderr, stdin; a terminal is from[0] and, dup'ed, to */
};
/* Plumbing and process (A_SHELL: a terminal). 0 with the descriptors in p and s->pid set; or -errno with a sentence and, when the command cannot be
 * executed, its code. The descriptors are the caller's either way. */
int exec_launch(struct spawn *s, struct plumbing *p, const struct wire_msg *m, struct fault *f, const char **code);
void plumbing_close(struct plumbing *p, bool ours); /* the child's ends; with ours: all */
/* Takes the connection's stream and the plumbing's from and to; all is event-driven from here. 0, or -ENOMEM with nothing taken. */
int exec_run(struct conn *c, const struct spawn *s, const struct plumbing *p);

#endif
