/* The table of vmm processes that live, and what core may ask about them. See cage.h for the room. */
#ifndef VMM_JAIL_JAIL_H
#define VMM_JAIL_JAIL_H

#include "lib/ev/ev.h"
#include "lib/wire/chan.h"
#include "vmm/jail/cage.h"

#define JAIL_NAME_MAX 64u

struct inmate {
	struct inmate *next;
	struct jail *jail;     /* borrowed */
	struct ev_io exited;   /* watches pidfd */
	int pidfd;             /* owned */
	pid_t pid;
	unsigned slot;
	char name[JAIL_NAME_MAX];
	char leaf[CGROUP_LEAF_MAX]; /* its cgroup; "" */
};

struct jail {
	struct ev_loop *loop;  /* owned */
	struct chan core;
	struct ev_io core_io;
	struct cage_host host;
	struct inmate *inmates; /* owned list */
	struct buf out;
};

/* core_fd is taken. 0 or -errno. */
int jail_init(struct jail *j, int core_fd, const struct cage_host *host);
/* Serves until core's end of the channel closes. VMs live on. */
int jail_run(struct jail *j);

#endif
