/*
 * Networks, asked of netd and (isolated) jail: what a group needs on the host, and a VM's card from its start to its end. net.c the host and groups,
 * net_vm.c VMs, net_mode.c what they are. Without netd (not root) VMs have no card. netd keeps what an earlier core set up until net_sync(): adopted VMs come first.
 */
#ifndef API_CORE_NET_H
#define API_CORE_NET_H

#include "api/core/vm.h"

void net_owner(const struct core *c, char out[9]);
/* The group's bridge or range. 0: netd was asked, fn gets its reply; -ENOTCONN: there is no netd; -ENODEV: the group has no network. */
int net_group_up(struct core *c, struct host_group *g, peer_reply_fn *fn, void *arg);
void net_group_down(struct core *c, const struct host_group *g);
/* All VMs that live were told to netd (those that do not answer yet are named): what is left of others goes. */
void net_sync(struct core *c);

/* Has it a card, and does its group's network stand? */
bool net_has_card(const struct vm *vm);
bool net_is_isolated(const struct vm *vm);
bool net_is_macvtap(const struct vm *vm);
bool net_mode_is_bridge(const struct vm *vm);
bool net_has_rules(const struct vm *vm); /* is what it sends judged? An isolated VM's always, on a bridge where there is an entry */
void net_rules_frame(struct vm *vm);     /* a frame to netd, begun and whole: its rules as they are now (on a bridge without any: they go) */
bool net_is_dhcp(const struct vm *vm); /* its address is the LAN's to give; net_gateway_of() has none to tell */
/* A card for a VM that starts, vm->tap_fds: of a bridge or the LAN before there is a process, of an isolated VM in the namespace of its process.
 * done(vm) once it is there; else the VM fails. 0 or -errno (then done is not called). */
int net_vm_up(struct vm *vm, void (*done)(struct vm *vm));
/* The same for one that runs: nothing of it is interrupted. done(vm) in any case; what could not be had is a NOTE, and the rules it had go on. */
void net_vm_adopt(struct vm *vm, void (*done)(struct vm *vm));
void net_vm_down(struct vm *vm);   /* its process is gone; safe always */
void net_vm_forget(struct vm *vm); /* nothing is asked any more; what stands stays */
/* "bridge", "isolated", "macvtap", "none" */
const char *net_mode_of(const struct vm *vm);
/* IPv6 of a VM and its gateway, with and without a length; "" when it has none. */
struct net_addr6 { char guest[ADDR6_TEXT_MAX], guest_alone[ADDR6_TEXT_MAX], gateway[ADDR6_TEXT_MAX]; };
void net_addr6_of(const struct vm *vm, struct net_addr6 *out);
void net_gateway_of(const struct vm *vm, char out[ADDR_TEXT_MAX]);

#endif
