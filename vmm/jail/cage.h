/*
 * vmm/jail: the process that builds the cage around a vmm and can end it by force. It parses only frames of
 * lib/wire/jail.h from core and never a byte of a guest, a client or a file. cage.c makes one cage, cgroup.c its limits, netns.c opens its network
 * namespace, jail.c takes the frames and keeps the table of those that live, walls.c is what jail itself gives up. One thread, one ev loop.
 */
#ifndef VMM_JAIL_CAGE_H
#define VMM_JAIL_CAGE_H

#include "vmm/jail/cgroup.h"

struct cage_host {           /* what every cage on this host is made from; filled at start */
	int vmm_fd;          /* borrowed: the vmm program, executable */
	const char *kvm_path; /* borrowed: /dev/kvm */
	uid_t uid_base;      /* vmm in slot n runs as uid_base + SANDBOX_UID_VMM_FIRST + n; unused when not root */
	bool root;           /* started as root: own uids and namespaces can be had */
	bool user_ns;        /* not root, but user namespaces work here */
	uid_t uid;           /* who jail itself is */
	struct cgroups groups; /* owned */
};
struct cage_ask {            /* one cage */
	const char *vm;      /* its name: of its cgroup, and to be seen in `ps` */
	unsigned slot;
	struct cgroup_limits limits;
	int listen_fd;       /* borrowed: becomes its fd 3 */
};

/* Finds out what this host allows. Removes cgroups of VMs that are gone. */
void cage_host_probe(struct cage_host *h, int vmm_fd, const char *kvm_path, uid_t uid_base);
/* One sentence for J_DESCRIBE. */
void cage_host_describe(const struct cage_host *h, char *out, size_t cap);
/* Opens /dev/kvm; -errno with a sentence that says how to mend it. fd or -errno. */
int cage_open_kvm(const struct cage_host *h, struct fault *f);
/* Starts vmm in a new cage: fd 3 = listen_fd, fd 4 = kvm, nothing else. Returns 0 with *pid, *pidfd (the caller owns it) and the name of its cgroup,
 * or -errno: also when the child could not finish its cage (its sentence is carried back before exec). */
int cage_spawn(const struct cage_host *h, const struct cage_ask *a, pid_t *pid, int *pidfd, char leaf[CGROUP_LEAF_MAX], struct fault *f);
/* Whether that process may be taken over as the vmm of this slot: 0 with *pidfd, -ESRCH, -EPERM. */
int cage_adopt(const struct cage_host *h, unsigned slot, pid_t pid, int *pidfd);

#endif
