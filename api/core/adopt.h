/*
 * After a start: which VMs of the state folder still live? For each record core connects to the control socket; the vmm says hello
 * (its pid by SCM_CREDENTIALS), jail confirms that pid and gives a pidfd. VMs that are gone: those of `count` are started again,
 * persistent ones are Stopped, the rest is removed with its files. A folder without a record was never acknowledged: it is removed.
 */
#ifndef API_CORE_ADOPT_H
#define API_CORE_ADOPT_H

#include "api/core/vm.h"

void adopt_hello(struct vm *vm, const struct wire_msg *m); /* V_HELLO in state VM_ADOPTING */
void adopt_decided(struct vm *vm);                         /* it lives, or it is settled; every path may call it */

#endif
