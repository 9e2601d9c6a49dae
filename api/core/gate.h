/*
 * core's side of gate (lib/wire/gate.h): which VMs it serves, where their record goes, what a name may open. Every G_OPEN is held against the VM's policy here
 * before netd hears of it. VMs on a bridge (gate_bridge.c) have DNS of it only: names of their group, all else from the group's dns_servers.
 */
#ifndef API_CORE_GATE_H
#define API_CORE_GATE_H

#include "api/core/vm.h"

#define GATE_LOG_FILES { "net.jsonl", "net.jsonl.1", "net.jsonl.2", "net.jsonl.3" } /* newest first; GATE_LOG_KEEP of them */

struct gate_place {                       /* where a VM is; texts without length, NULL: none */
	const char *ip4, *gw4, *ip6, *gw6;
	int events_fd, udp_fd, tcp_fd;    /* of its namespace, borrowed */
};
/* A VM's network stands (started or adopted): gate serves its DNS and keeps its record. 0 or -errno; without gate 0. */
int gate_vm_up(struct vm *vm, const struct gate_place *at);
void gate_vm_down(struct vm *vm); /* its process ended; safe always */
void gate_put_upstreams(struct buf *b, const struct vm *vm);

/* ---- gate_bridge.c ---- */
/* g's bridge stands: unless it is served already, or nobody on it wants that, jail opens port 53 of its gateway for gate. What comes to nothing is a NOTE.
 * Settled before anything that jail is asked later. */
void gate_bridge_up(struct core *c, const struct host_group *g);
void gate_bridge_down(struct core *c, const struct host_group *g); /* the bridge goes; safe always */
void gate_bridge_vm_up(struct vm *vm); /* its card is there (started or adopted): it may ask, and siblings find it */
bool gate_bridge_serves(const struct vm *vm); /* may it ask at its gateway? */

/* vm->policy (or vm->net_locked) changed: netd, then gate are told; done(arg, f) when both hold it (f->text "" when all is well). Without a running VM
 * at once. */
int gate_policy_changed(struct vm *vm, void (*done)(void *arg, const struct fault *f), void *arg);
/* What gate says unasked. */
void gate_on_msg(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds);

#endif
