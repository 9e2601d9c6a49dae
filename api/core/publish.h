/*
 * Published ports: sockets of the host whose connections go through a VM's agent to a port or socket in the guest, for as long as the VM
 * exists. What a VM publishes stands in its record (record.h, `publish`); what its group's `publish` says holds for the VM that `count: 1`
 * keeps. core opens the sockets and hands them to front (C_PUBLISH), which accepts and asks for a stream per connection
 * (C_PUB_CONNECT): core makes that stream in the guest itself, so that front gets one that can say nothing to the agent. A port that
 * cannot be had now is tried again every few seconds, with a note. Connections carry no token: whoever reaches the port is in.
 */
#ifndef API_CORE_PUBLISH_H
#define API_CORE_PUBLISH_H

#include "api/core/publish_spec.h"
#include "lib/ev/ev.h"

struct core;
struct vm;
struct ask;
struct host_group;
struct pub_call;
struct publication {
	struct publication *next;
	struct vm *vm;      /* borrowed */
	uint32_t id;        /* front's name for it */
	struct publish_spec spec;
	bool listening;     /* front has its socket */
	unsigned tries;     /* that failed */
	char why[400];      /* the last one */
};
struct publishing {
	struct publication *first; /* owned */
	struct pub_call *calls;    /* owned: streams that are being made (publish_connect.c) */
	unsigned n_calls;
	uint32_t last_id;
	struct ev_timer retry;
};

/* A new VM's, before anything else of it is there: all of them listen, or none and a refusal: 409 a port is taken, 400. A VM of count gets
 * what is free now, and the rest later. */
int publish_claim(struct vm *vm, unsigned *status, struct fault *f);
/* Of every VM that was read from disk. */
void publish_start(struct core *c);
/* That group's `publish` changed, or may have: the VM of count follows it. */
void publish_follow(struct core *c, const struct host_group *g);
/* The VM goes: its sockets close, and the connections through them. */
void publish_drop(struct vm *vm);
/* It could not be removed after all. */
void publish_restore(struct vm *vm);
/* Into a node: C_T_PUBLISH*. And C_T_PUB_FAULT*: those that wait, and why. */
void publish_put(struct buf *b, const struct vm *vm);
void publish_put_faults(struct buf *b, const struct vm *vm);

void ask_pub_connect(struct ask *a);
void pub_calls_drop(struct vm *vm); /* publish_connect.c: its streams under way are refused */

#endif
