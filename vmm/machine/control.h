/*
 * vmm/machine/control.h: the control socket (lib/wire/vmm.h): one connection at a time, the newest; core may go and come back. Main thread.
 * Also where an ended machine is told to the world: report file, V_EXITED, end of the process.
 */
#ifndef VMM_MACHINE_CONTROL_H
#define VMM_MACHINE_CONTROL_H

#include "lib/wire/chan.h"
#include "vmm/machine/machine.h"

#define CONTROL_CONNECTS_MAX 1024u /* V_CONNECT under way: more than the agent serves, so that it is the agent that says what is used up */
#define CONTROL_LISTENS_MAX 16u

struct control;
struct control_connect { /* one V_CONNECT that waits for the guest */
	struct control *c;      /* borrowed; NULL: place is free */
	uint32_t id;            /* of the request */
	uint64_t generation;    /* of the connection that asked */
};

struct control {
	struct machine m;
	struct boot_request req;
	struct ev_loop *loop;   /* owned */
	int listen_fd, kvm_fd;  /* owned; kvm_fd is closed once the machine is built */
	struct ev_io listen_io, chan_io, note_io;
	struct ev_timer console_timer, panic_timer, lonely_timer;
	struct chan chan;
	bool connected;
	bool built;             /* V_BOOT succeeded: m is real */
	uint64_t generation;    /* of connections */
	struct control_connect connect[CONTROL_CONNECTS_MAX];
	uint32_t listen_port[CONTROL_LISTENS_MAX]; /* of V_LISTENs that came before V_BOOT */
	unsigned n_listens;
	int disk_errno[VMM_DISKS_MAX]; /* as this connection was told */
	struct buf out;         /* frame being written */
};

/* Takes both descriptors over. */
int control_init(struct control *c, int listen_fd, int kvm_fd, struct fault *f);
/* Serves until the machine has ended or a V_BOOT failed. Exit status for the process. */
int control_run(struct control *c);

/* ---- between the files of the control socket ---- */

/* Sends what was written into c->out since wire_begin() returned mark. A peer that cannot be written to is dropped; the next asks anew. */
void control_send(struct control *c, size_t mark, const int *fds, unsigned n_fds);
void control_ok(struct control *c, uint32_t id);
void control_err(struct control *c, uint32_t id, uint64_t status, int err, const char *text);
/* One counter into c->out. */
void control_stat(struct control *c, const char *name, uint64_t v);
/* control_net.c */
void control_net(struct control *c, const struct wire_msg *m);
void control_net_stats(struct control *c);
/* control_ask.c: carries out one request; takes fds over. */
void control_do(struct control *c, const struct wire_msg *m, int *fds, unsigned n_fds);

#endif
