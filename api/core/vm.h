/*
 * One VM's life. The functions here are the only ones that change vm->state; files: vm.c (states and endings), vm_make.c
 * (name, address, disk, record), vm_boot.c (tap, jail, vmm), vm_link.c (the agent's hello stream), agent_call.c (one question to
 * the agent), vm_secrets.c (secrets into the guest), vm_stop.c (shutdown, kill, delete). Whoever waits for a VM is a struct req in vm->reqs (req.h).
 */
#ifndef API_CORE_VM_H
#define API_CORE_VM_H

#include "api/core/core.h"
#include "api/core/helper.h"
#include "lib/wire/jail.h"
#include "lib/wire/netd.h"
#include "lib/wire/vmm.h"

enum vm_state {
	VM_MAKING,   /* disk and record are written → QUEUED; failed or unwanted → REMOVING */
	VM_QUEUED,   /* waits for its turn → STARTING; unwanted → STOPPED or REMOVING */
	VM_STARTING, /* tap, vmm, V_BOOT → RUNNING; failed → ENDING */
	VM_RUNNING,  /* ↔ PAUSED; asked to stop → STOPPING; its process ends → ENDING */
	VM_PAUSED,   /* → RUNNING; → STOPPING; its process ends → ENDING */
	VM_STOPPING, /* agent asked, then vmm, then jail; its process ends → ENDING */
	VM_ENDING,   /* no process; last words are collected → STOPPED, or REMOVING when nothing is to stay */
	VM_STOPPED,  /* a record and (persistent) a disk → QUEUED by relaunch; delete → REMOVING */
	VM_REMOVING, /* files go → buried; they cannot go → STOPPED */
	VM_ADOPTING, /* a vmm may live: hello and jail decide → RUNNING, PAUSED, or ENDING */
};

struct vm_grow {                 /* its disk grows, and front waits (ask_disks.c) */
	bool busy;
	uint32_t id, who;
	uint64_t bytes;
	unsigned looks;          /* at what the guest sees */
	struct ev_timer timer;
};

struct req;
struct agent_call;
struct disk_job;
struct vm {
	struct vm *next;             /* in the registry */
	struct core *core;           /* borrowed */
	const struct host_group *group;   /* borrowed; NULL when the file has it no more */
	struct record r;
	enum vm_state state;
	int dir_fd;                  /* owned: its folder */

	struct helper helper;        /* making or removing files */
	char *userdata;              /* owned, until it is written; NULL */
	char *ssh_keys;              /* the same (ssh_keys.h) */

	uint64_t copy_bytes;         /* what its disk takes of the state folder at once, while it is made */
	unsigned hellos;             /* streams that its guest opened to the hello port since hellos_since_ms (vm_link.c) */
	uint64_t hellos_since_ms;
	bool starts;                 /* counts among the VMs that start now */
	struct ev_timer timer;       /* bounds the present state */
	int tap_fds[NETD_QUEUES_MAX]; /* owned, on their way to vmm: the queues of its tap */
	unsigned n_taps;
	int ns_fds[J_NS_FDS];        /* owned, from jail on their way to netd and gate (net_vm.c); -1 */
	void (*net_done)(struct vm *vm); /* its network is under way: what follows */
	struct peer vmm;
	pid_t pid;
	int pidfd;                   /* owned; -1: no process */
	struct ev_io pid_io;

	int agent_fd;                /* owned: the hello stream; -1 */
	struct ev_io agent_io;
	struct buf agent_in;
	bool ready;                  /* the agent said hello since this boot */
	bool maybe_ready;            /* adopted: it may well answer before its hello comes again */
	bool userdata_done;          /* as the agent said */
	bool grown;                  /* A_GROW was answered (or cannot be) in this boot */
	bool hello_seen;             /* V_HELLO came on this connection */
	bool greeted;                /* A_GROW and A_USERDATA were sent in this boot */
	uint64_t secrets_seen;       /* every change of a secret up to this one was offered to the guest in this boot */
	uint64_t secrets_offered;    /* the change that is on its way … */
	bool secrets_busy;           /* … if one is (or one goes, or SSH keys are) */
	struct buf secrets_gone;     /* names that this guest may still have, each with its NUL */
	bool secrets_done;           /* those of its start are there (or cannot be) */
	struct ev_timer poll_timer;  /* asks for userdata_done while somebody waits */
	struct agent_call *calls;    /* owned */

	bool adopting;               /* core waits for this VM before it serves */
	bool adopt_new, adopt_paused; /* what its hello said */

	bool remove;                 /* nothing of it is to stay */
	bool stop_asked;             /* its end is no failure */
	bool undo;                   /* its creation failed: unwanted, whatever its record says */
	bool never_booted;           /* no boot was tried with this disk */
	char *reason, *words;        /* owned: from V_EXITED or the report; NULL */
	int exit_status;             /* from J_EXITED; -1: not known */
	unsigned made_status;        /* HTTP status of a start that failed; 0: 500 */
	struct disk_job *disk_job;   /* owned: something reads or changes its disk while it is stopped (disks.h); NULL */
	struct vm_grow grow;
	int disk_errno[VMM_DISKS_MAX]; /* what the host fails them with now, as vmm told; 0: nothing */
	uint64_t disk_said_ms;       /* monotonic: when that was said aloud last */
	bool disks_claimed;          /* those besides its root disk (vm_disks.c) */
	struct commit *commit;       /* owned: what its disk is to become (vm_commit.c); NULL */
	struct ev_timer fork_timer;  /* bounds a fork's first boot */
	bool target_min;             /* a builder, while it is made: its second disk starts as the built-in image … */
	char target_step[24];        /* … or as this step of a build, which lies over its base; "" */
	struct image *keep;          /* owned: what its second disk becomes once it has ended well … */
	const struct image *kept;    /* borrowed: … and became */
	const char *stop_action;     /* "shutdown", "reboot" */
	int stop_stage;              /* STOPPING: who was asked last (vm_stop.c) */
	struct policy policy;        /* owned: what it may reach (policy.h) */
	bool gated;                  /* gate serves it */
	bool ruled;                  /* netd holds rules for it … */
	bool rules_stale;            /* … or is about to: others than they are by now */
	bool named;                  /* gate knows it as one on a bridge */
	bool net_locked;             /* audit: its record cannot be written, so no new connections */
	uint64_t net_missed;         /* flows that were not logged, as netd told last */
	uint64_t net_counts[7];      /* as gate told last: allowed and denied flows, bytes out and in, DNS questions and refusals, lost lines */
	uint64_t last_call_ns;
	struct req *reqs;            /* owned: who waits */
};

/* ---- made ---- */
struct vm_wish {                 /* what a creator asks for; zeros: the group's own */
	const struct host_group *group;
	uint64_t ram_bytes;
	unsigned vcpus;
	bool persistent, protected_;
	uint32_t addr;               /* 0: the next free one */
	uint64_t net_bytes_s, net_packets_s; /* limits of its network card */
	const char *userdata;        /* borrowed; NULL: the group's */
	const char *secrets;         /* borrowed, as in struct record; NULL: all */
	const char *ssh_keys;        /* borrowed, lines; NULL: those of the file alone */
	const char *allow, *drop;    /* borrowed, as in struct record; NULL: the group's */
	const char *publish;         /* borrowed, as in struct record; NULL: nothing */
	const struct commit *from;   /* a fork: what its disk starts as; NULL */
	unsigned fixups;             /* a fork: bits FIX_… */
	const struct image *image;   /* of the store; NULL: the group's */
	uint64_t target_bytes;       /* a builder: size of its second disk, which starts as `image` or empty */
	bool target_min;             /* a builder: that disk starts as the built-in image */
	uint64_t disk_bytes;         /* of its root disk; 0: the group's */
	const char *const *tags;     /* borrowed, valid tags */
	const char *token;           /* borrowed: name of the token that makes it; NULL */
	unsigned n_tags;
};
/* Begins; *status is the HTTP status of a refusal. The VM is found in *out at once, in state VM_MAKING. */
int vm_create(struct core *c, const struct vm_wish *w, struct vm **out, unsigned *status, struct fault *f);
/* Has the host the memory for one more, the state folder the room for its files (sets vm->copy_bytes), the group a place? 0, or a refusal with its HTTP
 * status and sentence. admit.c */
int vm_admit(struct core *c, uint64_t ram_bytes, unsigned *status, struct fault *f);
int vm_admit_disk(struct core *c, struct vm *vm, unsigned *status, struct fault *f);
int vm_admit_promise(const struct core *c, uint64_t more_bytes, unsigned *status, struct fault *f); /* of disks: for one more, or one that grows */
uint64_t vm_disk_promised(const struct vm *vm); /* bytes that its disks may come to: all that are its own, and a builder's second one */
unsigned vm_n_disks(const struct vm *vm); /* of its host group's, besides the root disk; a builder has none of them */
uint64_t vm_disk_in_memory(const struct vm *vm); /* bytes of its disks that its process will hold in memory: all, where the state folder is in one */
/* Quotas of its group, and of the token that makes it. vm has its sizes, group and token, and is not registered yet. */
int vm_admit_quotas(struct core *c, const struct vm *vm, unsigned *status, struct fault *f);
int vm_admit_grow(const struct vm *vm, uint64_t more_bytes, unsigned *status, struct fault *f); /* the same, of disks, when one grows */
/* What the VMs of a host group, or made by a token, were given; the other is NULL. */
struct quota vm_quota_used(const struct core *c, const char *group, const char *token);
void vm_put_limits(const struct vm *vm, struct buf *b); /* into a frame to jail */
/* Of a record that was read. 0, -ENOMEM, -EEXIST. Takes r and dir_fd over. */
int vm_from_record(struct core *c, struct record *r, int dir_fd, struct vm **out);
struct vm *vm_alloc(struct core *c); /* empty, not in the registry; NULL: out of memory */
void vm_free(struct vm *vm);     /* memory and descriptors only; used by the registry */

/* ---- started ---- */
void vm_queue(struct vm *vm);    /* MAKING, STOPPED, ENDING → QUEUED; starts when there is a place */
void vm_start_queued(struct core *c);
int vm_connect_vmm(struct vm *vm);  /* to its control socket; vm->vmm is there afterwards. 0 or -errno */
void vm_on_vmm_msg(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds);
int vm_watch_pid(struct vm *vm, int pidfd_taken); /* its end is seen from now on */
void vm_running(struct vm *vm, bool paused);      /* vCPUs run: STARTING, ADOPTING → RUNNING or PAUSED */
void vm_listen_agent(struct vm *vm);              /* V_LISTEN for the hello stream */

/* ---- its files, in a helper child (vm_disk.c); arg is the VM ---- */
int vm_disk_make(void *arg);
int vm_disk_copy(int from, int to, uint64_t bytes); /* all of a raw disk into an empty file, sharing extents where it can. 0 or -errno */
/* What lies over a base, that is a map and a disk, to the image `to` that was begun. 0 or -errno */
int vm_step_copy(const struct images *s, int map_from, int from, const char *to, uint64_t bytes);
uint64_t vm_disk_copies(struct vm *vm); /* bytes that making it will write, where extents cannot be shared */
int vm_disk_remove(void *arg);
int vm_files_remove(int dir_fd); /* all that a VM's folder may hold. 0 or -errno */

/* ---- a builder's image (vm_keep.c) ---- */
/* Its process has ended well: the second disk goes into the store as vm->keep, then the VM goes. */
void vm_keep(struct vm *vm);
/* The same of a builder that goes on: its second disk, not mounted now, is copied. im gets its id; answered when it is in the store, or could not be. 0 or
 * -errno: im is the caller's, nothing was answered. */
int vm_keep_copy(struct vm *vm, struct image *im_taken, uint32_t id, uint32_t who);

/* ---- commits and forks (vm_commit.c, vm_fork.c) ---- */
/* k, without source and sizes yet, is to be made of a VM that is stopped; it waits while another one with the same cache key is made. Who waits has
 * GOAL_COMMITTED. 0; -errno: nothing was begun, k is the caller's. */
int vm_commit(struct vm *vm, struct commit *k_taken);
uint64_t vm_disk_mtime_ns(const struct vm *vm);   /* of its disk.img; 0: not known */
/* Commits that waited for this one go on: it was made, failed, or went with its VM. */
void vm_commits_go_on(struct core *c);
int vm_base_fd(const struct vm *vm);              /* what lies under its disk when it has a map: read-only, caller closes; or -errno */
int vm_fork_fill(struct vm *vm, const struct vm_wish *w); /* into the record of a new VM. 0 or -errno */
void vm_fork_watch(struct vm *vm);                /* it runs: its first boot has a limit */
void vm_fork_fix(struct vm *vm);                  /* its agent is there for the first time: fix-ups, then vm_fixed() */
void vm_fixed(struct vm *vm);                     /* vm_link.c: the agent's other questions */
void fork_put(struct buf *b, const struct vm *vm); /* what a node's fields say of commits */

/* ---- its network card (vm_net.c) ---- */
unsigned vm_net_queues(const struct vm *vm);      /* of its tap: one for each vCPU, up to NETD_QUEUES_MAX */
int vm_take_taps(struct vm *vm, int *fds, unsigned n_fds); /* what netd gave: taken over, and -1 then. -EPROTO: none, or too many */
void vm_taps_close(struct vm *vm);
void vm_net_limits(const struct vm *vm, struct buf *b);    /* into V_T_NET */

/* ---- the agent ---- */
void vm_agent_incoming(struct vm *vm, int fd_taken);
void vm_agent_lost(struct vm *vm);
int vm_agent_shutdown(struct vm *vm, const char *action); /* A_SHUTDOWN on the hello stream; -ENOTCONN */
/* One frame to AGENT_PORT and its answer (m NULL: none came). `frame` is taken whole and cleared. */
typedef void agent_reply_fn(struct vm *vm, const struct wire_msg *m);
int agent_ask(struct vm *vm, struct buf *frame, unsigned timeout_ms, agent_reply_fn *fn);
void agent_calls_drop(struct vm *vm);
void vm_poll_userdata(struct vm *vm); /* until it ran, waiting requests are told */
bool vm_is_up(const struct vm *vm, bool userdata);
/* Offers the guest every secret that it may have and that changed since it was last offered; calls vm_secrets_there() once all of its
 * start were. Does nothing while the VM is not running or one is on its way (then what is new follows). */
void vm_sync_secrets(struct vm *vm);
void vm_secrets_there(struct vm *vm);
void vm_secret_gone(struct vm *vm, const char *name); /* it was deleted: out of the guest, now or when it goes on */

/* ---- ended ---- */
void vm_fail(struct vm *vm, const char *reason, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void vm_exited_frame(struct vm *vm, const struct wire_msg *m); /* V_EXITED */
void vm_on_timer(struct ev_timer *t);
void vm_process_gone(struct vm *vm);            /* its process ended (or never was): → ENDING */
void vm_stop(struct vm *vm, const char *action); /* with grace: agent, vmm, jail */
void vm_agent_is_back(struct vm *vm);           /* while STOPPING: it may have to be asked only now */
void vm_kill(struct vm *vm);                    /* without */
void vm_tell_jail_kill(struct vm *vm);          /* J_KILL, nothing else */
void vm_remove(struct vm *vm);                  /* everything of it, from any state */
void vm_remove_files(struct vm *vm);            /* STOPPED, ENDING, MAKING → REMOVING */
void vm_settle(struct vm *vm);                  /* ENDING → STOPPED or REMOVING, by what its record and requests say */
static inline bool vm_has_process(const struct vm *vm) { return vm->pidfd >= 0 || peer_there(&vm->vmm); }
const char *vm_status(const struct vm *vm);     /* "Running", "Paused", "Stopped" */

#endif
