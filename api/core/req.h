/*
 * A request of front that cannot be answered at once: it hangs on its VM until the VM is where it should be, the time is over,
 * or the VM goes. Answered exactly once, then freed.
 */
#ifndef API_CORE_REQ_H
#define API_CORE_REQ_H

#include "api/core/vm.h"
#include "lib/wire/core.h"

enum req_goal {
	GOAL_MADE,     /* its record is written */
	GOAL_READY,    /* the agent answers */
	GOAL_USERDATA, /* and userdata ran */
	GOAL_STOPPED,  /* no process */
	GOAL_REMOVED,  /* nothing left */
	GOAL_KEPT,     /* its second disk is an image */
	GOAL_COMMITTED, /* its disk is a commit */
};

struct req {
	struct req *next;
	struct vm *vm;      /* borrowed */
	uint32_t id;        /* front's */
	uint32_t who;       /* serial of the named token that asks; 0 */
	enum req_goal goal;
	bool creates;       /* came from C_CREATE: a failure takes the VM with it */
	char *late;         /* owned: the refusal that is sent once the VM is gone; NULL */
	unsigned late_status;
	bool node_reply;    /* answered with the node's fields */
	struct ev_timer timer;
};

/* ms 0: no limit. 0 or -ENOMEM. */
int req_add(struct vm *vm, uint32_t id, uint32_t who, enum req_goal goal, bool creates, uint64_t timeout_ms);
/* The VM got somewhere: answers who waited for that. */
void req_reached(struct vm *vm, enum req_goal goal);
/* Answers all who wait for one of these goals with a refusal. `goals`: bits 1u << GOAL_… */
void req_refuse(struct vm *vm, unsigned goals, unsigned status, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The same, but they hear it when the VM's files are gone: what failed leaves nothing behind. The caller removes the VM. */
void req_refuse_late(struct vm *vm, unsigned goals, unsigned status, const char *text);
/* Whoever asks by that token hears 401, and creations that are not answered yet are undone. */
void req_cut(struct vm *vm, uint32_t who);
bool req_any(const struct vm *vm, unsigned goals);
/* One who waits for its creation? Then it goes when that fails. */
bool req_creator_waits(const struct vm *vm);
void req_free_all(struct vm *vm);

/* Replies to front. */
void reply_ok(struct core *c, uint32_t id, const char *text); /* text NULL: none */
void reply_fd(struct core *c, uint32_t id, int fd);           /* fd stays the caller's */
void reply_err(struct core *c, uint32_t id, unsigned status, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void reply_node(struct core *c, uint32_t id, const struct vm *vm);
void image_put(struct buf *b, const struct core *c, const struct image *im); /* ask_images.c: an image's fields */
void commit_put(struct buf *b, const struct commit *k); /* ask_commits.c: a commit's fields */
/* The node's fields into a frame. with_prefix: "192.168.137.2/24" instead of "192.168.137.2". */
void node_put(struct buf *b, const struct vm *vm, bool with_prefix);

#endif
