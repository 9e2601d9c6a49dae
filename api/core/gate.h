/*
 * core's side of gate (lib/wire/gate.h): which VMs it serves, where their record goes, what a name may open. Every G_OPEN is held against the VM's policy here
 * before netd hears of it. VMs on a bridge (gate_bridge.c) have DNS of it: names of their group, all else from the group's dns_servers; and a record where they have rules.
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
void gate_put_own(struct buf *b, const struct core *c);
int gate_log_open(struct vm *vm); /* the newest file of its record, to append, or -errno (told; with audit: required nothing new is allowed then) */
void gate_watch_unlogged(struct vm *vm); /* flows that the kernel did not log are asked for from now on, and told to gate */

/* ---- gate_bridge.c ---- */
/* g's bridge stands: unless it is served already, or nobody on it wants that, jail opens port 53 of its gateway for gate. What comes to nothing is a NOTE.
 * Settled before anything that jail is asked later. */
void gate_bridge_up(struct core *c, const struct host_group *g);
void gate_bridge_down(struct core *c, const struct host_group *g); /* the bridge goes; safe always */
void gate_bridge_vm_up(struct vm *vm); /* its card is there (started or adopted): it may ask, and siblings find it */
/* What gate shall know of it by now: its addresses, and with rules the policy and a record. fn gets the reply. 0, or -errno: gate was not asked. */
int gate_bridge_tell(struct vm *vm, peer_reply_fn *fn, void *arg);
bool gate_bridge_serves(const struct vm *vm); /* may it ask at its gateway? */

/* vm->policy (or vm->net_locked) changed: netd, then gate are told; done(arg, f) when both hold it (f->text "" when all is well). Without a running VM
 * at once. */
int gate_policy_changed(struct vm *vm, void (*done)(void *arg, const struct fault *f), void *arg);
/* What gate says unasked. */
void gate_on_msg(struct peer *p, const struct wire_msg *m, int *fds, unsigned n_fds);

#endif
