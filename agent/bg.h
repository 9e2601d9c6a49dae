/*
 * Background commands: they belong to the agent, not to a stream, until they are reaped. bg.c keeps the list and answers
 * the requests, bg_run.c moves a command's output into its ring and sees it end, bg_flow.c carries frames to hosts,
 * each at its own speed: a command never waits for a reader. Everything runs on the agent's loop.
 */
#ifndef AGENT_BG_H
#define AGENT_BG_H

#include "agent/exec.h"
#include "agent/ring.h"

#define BG_REAPED_MAX 4096u /* ids remembered after the reaping */

struct bg_flow;
struct bg_exec {
	struct bg_exec *next;    /* younger */
	struct agent *a;
	uint32_t id;
	uint64_t serial;         /* order of starting, from 1 */
	struct buf about;        /* fields of A_BG_IS that never change */
	struct ring ring;        /* its frames, without A_STARTED and A_EXIT */
	struct bg_flow *flows;   /* streams that follow or wait */
	pid_t pid;               /* 0 once nothing of it can be signalled any more */
	int pid_fd, from_fd[2];  /* owned; -1 when closed */
	struct ev_io from[2], death;
	struct ev_timer drain;   /* it ended, but something it left behind holds its output open */
	struct ev_timer escalate;
	bool dead;               /* the command ended; its last output may still come */
	bool ended;              /* everything of it stands in the ring: exit_id, code, sig, end_ns are valid */
	bool as_text;            /* A_T_AS_TEXT */
	bool escalating;         /* TERM was sent, KILL follows */
	uint64_t start_ns, end_ns, exit_id;
	int code, sig;
};
struct bg {
	struct bg_exec *oldest;
	unsigned n;
	uint64_t serial, ring_bytes;           /* last given; of all rings */
	uint32_t reaped[BG_REAPED_MAX];        /* a ring of ids, 0 = unused */
	unsigned next_reaped;
};

/* ---- bg_run.c ---- */

/* Takes the plumbing's from. x is otherwise filled in. 0, or -errno with the command killed. */
int bg_run(struct bg_exec *x, const struct plumbing *p);
/* Signals the group. False when there is nobody any more. grace_ms counts for TERM alone. */
bool bg_signal(struct bg_exec *x, int sig, uint64_t grace_ms);
/* Ends what still holds resources of a command that has ended. */
void bg_stop(struct bg_exec *x);

/* ---- bg_flow.c ---- */

enum bg_flow_kind { FLOW_ANSWER, FLOW_LIST, FLOW_LOGS, FLOW_WAIT };
struct bg_flow {
	struct bg_flow *next;      /* of the same command */
	struct agent *a;
	struct bg_exec *x;         /* NULL: no single one, or reaped meanwhile */
	enum bg_flow_kind kind;
	uint32_t req_id;
	int fd;                    /* owned */
	struct ev_io io;
	struct ev_timer limit;     /* WAIT */
	struct buf out;
	bool ending;               /* the last frame stands in out */
	bool follow, timed_out;
	uint64_t from_id, until_id, listed; /* LOGS; LOGS without follow; LIST: serial */
	struct ring_cursor at;
};
/* Takes the connection's stream. NULL when out of memory (nothing taken). x may be NULL. */
struct bg_flow *bg_flow_new(struct conn *c, const struct wire_msg *m, enum bg_flow_kind kind, struct bg_exec *x);
/* Sends what there is; may free the flow. */
void bg_flow_go(struct bg_flow *w);
/* Something happened to the command: everybody who waits for it looks. */
void bg_wake(struct bg_exec *x);
/* Its flows learn that it is gone. */
void bg_forget(struct bg_exec *x);

/* ---- bg.c ---- */

/* An A_BG_IS frame. signal_name: what was just sent; timed_out: how a wait went; NULL: neither. */
void bg_describe(struct buf *b, uint32_t req_id, const struct bg_exec *x, const char *signal_name, const bool *timed_out);

#endif
